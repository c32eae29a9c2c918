from functools import partial

from forebay.stores.checked import Checked


def test_a_checked_factory_makes_what_its_factory_makes():
    seen = []
    factory = Checked(partial(dict, a=1), seen.append)
    assert factory() == {"a": 1}
    assert seen == [], "who makes does not check"
    factory.check({"b": 2})
    assert seen == [{"b": 2}]
