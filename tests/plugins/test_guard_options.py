import pytest

from forebay.errors import ConfigurationError
from forebay_guard.options import GuardOptions, take


def test_the_guard_takes_its_own_and_leaves_the_rest():
    given = {"retries": 0, "timeout": "3s", "breaker_pause": 0.5, "call_timeout": 7}
    assert take(given) == (
        GuardOptions(retries=0, breaker_pause=0.5, call_timeout=7),
        {"timeout": "3s"},
    )
    assert given["retries"] == 0, "what was given is not changed"
    assert take({}) == (GuardOptions(), {})


def test_every_fault_is_told():
    with pytest.raises(ConfigurationError) as caught:
        take({"retries": 1.5, "breaker_failures": -1, "breaker_pause": "x", "call_timeout": True})
    assert sorted(caught.value.faults) == [
        "options.breaker_failures: -1 is not between 0 and 86400",
        "options.breaker_pause: 'x' is not a number",
        "options.call_timeout: True is not a number",
        "options.retries: 1.5 is not a number",
    ]
