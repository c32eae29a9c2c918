import dataclasses
import re
from pathlib import Path

import pytest

from forebay import events

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text()
EVENTS = {
    name: one
    for name, one in vars(events).items()
    if isinstance(one, type) and issubclass(one, events.Event) and one is not events.Event
}


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_is_documented_with_its_fields(name):
    row = re.search(rf"^\| `{name}` \| ([^|]*) \|", PAGE, re.MULTILINE)
    assert row is not None
    assert row[1].split(", ") == [field.name for field in dataclasses.fields(EVENTS[name])]


def test_no_event_is_documented_that_is_not_there():
    documented = re.findall(r"^\| `(\w+)` \|", PAGE.partition("## Events")[2], re.MULTILINE)
    assert sorted(documented) == sorted(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_a_frozen_value(name):
    assert EVENTS[name].__dataclass_params__.frozen
    assert EVENTS[name].__doc__
