import pytest

from forebay.config import MountConfig
from forebay.errors import StorageError
from forebay.events import BreakerClosed, BreakerOpened
from forebay.objects.breakers import open_breakers
from forebay.testing.faults import Around, UnderStoreLayer


class Telling(Around):
    """A store whose breakers a test opens and closes."""

    def on_event(self, track, /):
        self.tell = track


@pytest.fixture
def layer():
    return UnderStoreLayer(Telling)


@pytest.fixture
def opened(open_forebay, layer):
    mounts = {"/": MountConfig("/", "memory://me:secret@root?x=1")}
    return open_forebay(plugins=[layer], mounts=mounts)


def found(opened):
    return [
        (one.under, one.operations, one.reason, one.processes)
        for one in opened.forebay.explain.status().breakers
    ]


def test_a_breaker_is_told_while_it_is_open(opened, layer):
    tell = layer.stores[0].tell
    assert found(opened) == []
    tell(BreakerOpened("memory://root", "reads", "it hangs"))
    tell(BreakerOpened("memory://root", "writes", "it refuses"))
    assert found(opened) == [
        ("memory://root", "reads", "it hangs", 1),
        ("memory://root", "writes", "it refuses", 1),
    ]
    tell(BreakerClosed("memory://root", "reads"))
    assert [one[1] for one in found(opened)] == ["writes"]


def test_a_mount_that_is_left_alone_is_not_reachable(opened, layer):
    def state():
        (mount,) = (one.shown() for one in opened.forebay.mounting.list())
        return mount["reachable"], mount["reason"]

    assert state() == (True, "")
    layer.stores[0].tell(BreakerOpened("memory://elsewhere", "reads", "gone"))
    assert state() == (True, "")
    layer.stores[0].tell(BreakerOpened("memory://root", "writes", "it refuses"))
    assert state() == (False, "writes are left alone: it refuses")
    layer.stores[0].tell(BreakerClosed("memory://root", "writes"))
    assert state() == (True, "")


def test_what_is_not_mounted_any_more_is_not_told(opened, layer):
    layer.stores[0].tell(BreakerOpened("memory://elsewhere", "reads", "gone"))
    assert found(opened) == []


@pytest.mark.parametrize("root", ["file"], indirect=True)
def test_processes_are_counted_together_and_the_dead_forgotten(open_forebay, root):
    layers = [UnderStoreLayer(Telling) for _ in range(3)]
    mounts = {"/": MountConfig("/", root)}
    one, two, three = (open_forebay(plugins=[layer], mounts=mounts) for layer in layers)
    for layer in layers[:2]:
        layer.stores[0].tell(BreakerOpened(root, "reads", "down"))
    assert found(three) == [(root, "reads", "down", 2)]
    one.forebay.close()
    assert found(three) == [(root, "reads", "down", 1)]
    layers[2].stores[0].tell(BreakerOpened(root, "reads", "down"))
    assert len(three.held(b"B")) == 2, "the row of the dead is gone"
    two.forebay.close()


def test_a_catalog_that_cannot_be_written_is_no_fault_of_the_store(opened, layer, monkeypatch):
    shared = opened.forebay._shared

    def fail(*_, **__):
        raise StorageError("full")

    monkeypatch.setattr(shared.catalog, "write", fail)
    layer.stores[0].tell(BreakerOpened("memory://root", "reads", "it hangs"))
    assert open_breakers(shared) == []
