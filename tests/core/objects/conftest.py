"""Forebays whose work behind the requests is done when a test says so."""

from contextlib import ExitStack

import pytest

from forebay.hookspecs import hookimpl
from forebay.objects import persist
from forebay.testing.opened import OpenedForebay


@pytest.fixture
def open_forebay(make_config, monkeypatch):
    """Open another Forebay of the same configuration; keyword arguments are fields of it."""
    monkeypatch.setattr(persist, "FIRST_PAUSE", 0.0)
    with ExitStack() as stack:

        def open_forebay(*, plugins=(), **overrides):
            return stack.enter_context(OpenedForebay(make_config(**overrides), plugins))

        yield open_forebay


@pytest.fixture
def opened(open_forebay):
    """A Forebay with an empty bucket."""
    opened = open_forebay()
    opened.forebay.buckets.create("bucket", "tester")
    return opened


@pytest.fixture
def files(tmp_path):
    """The directory under the mount, where `root` is ``file``."""
    return tmp_path / "root" / "bucket"


class Origins:
    """A plugin whose two stores outlive a Forebay, and that hears what is told."""

    def __init__(self, make):
        self.one, self.two = make(), make()
        self.events = []

    @hookimpl
    def under_store_factory(self, scheme):
        if scheme != "origin":
            return None
        return lambda uri, options: self.two if uri.endswith("two") else self.one

    @hookimpl
    def track_event(self, event):
        self.events.append(event)


@pytest.fixture
def origins(request):
    """Two stores of another machine, of the class `Origin` of the module."""
    return Origins(request.module.Origin)
