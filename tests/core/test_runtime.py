"""Opening and closing a whole Forebay."""

from __future__ import annotations

import threading

import pytest

from forebay.config import MetadataConfig, MountConfig
from forebay.errors import ConfigurationError
from forebay.runtime import Forebay, recover


def test_every_fault_of_the_mounts_is_told_at_once(make_config):
    mounts = {
        "/": MountConfig("/", "memory://", options={"colour": "blue"}),
        "/a": MountConfig("/a", "nosuch://x"),
    }
    with pytest.raises(ConfigurationError) as caught:
        Forebay(make_config(mounts=mounts))
    told = "\n".join(caught.value.faults)
    assert "mounts./:" in told
    assert "mounts./a:" in told


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_nothing_stays_open_or_running(make_config, open_files):
    config = make_config()
    Forebay(config).close()
    threads = set(threading.enumerate())
    with Forebay(config):
        assert open_files() != []
    assert (open_files(), set(threading.enumerate()) - threads) == ([], set())


@pytest.mark.parametrize(("root", "shared"), [("file", True), ("memory", False)], indirect=["root"])
def test_recovery_tells_whether_several_processes_can_serve(make_config, shared):
    report = recover(make_config())
    assert (shared, 0) == (report.shared_between_processes, report.recovered.intents)
    assert ("mounts./" in report.private) is not shared


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_a_private_catalog_is_named(make_config):
    report = recover(make_config(metadata=MetadataConfig(kind="memory")))
    assert report.private == ("metadata",)


def test_what_has_to_end_before_ends_before(make_config):
    forebay = Forebay(make_config())
    order = []
    forebay.before_close(lambda: order.append(forebay.buckets.list("me", limit=1)[0]))
    forebay.close()
    assert order == [[]]
