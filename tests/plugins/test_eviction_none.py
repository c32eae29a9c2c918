from forebay.types import PageId
from forebay_eviction.none import NoPolicy


def test_nothing_goes():
    policy = NoPolicy.from_options({"capacity": 1})
    for index in range(4):
        page = PageId("s", 1, index)
        policy.on_put(page, 1)
        policy.on_get(page)
        assert list(policy.victims()) == []
    policy.on_delete(page)
    policy.on_delete(PageId("unknown"))
    assert list(policy.victims()) == []
