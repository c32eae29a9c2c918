"""``forebay persist`` against a running gateway."""

import pytest

from forebay.config import MountConfig
from forebay.errors import PermissionDenied
from forebay.testing.faults import FailingUnderStore, UnderStoreLayer
from forebay.types import WriteType


@pytest.fixture
def layer():
    return UnderStoreLayer(FailingUnderStore)


@pytest.fixture
def operator(make_gateway, layer, root, operate):
    mounts = {"/": MountConfig("/", root, write_type=WriteType.MUST_CACHE)}
    gateway = make_gateway(mounts=mounts, plugins=[layer])
    s3 = gateway.client("tester")
    s3.create_bucket(Bucket="lake")
    for key in ("a/1", "a/2", "ab"):
        s3.put_object(Bucket="lake", Key=key, Body=b"x" * 1024)
    return operate(gateway)


def under(layer):
    return {info.key for info in layer.stores[0].inner.list("lake/")}


def test_persist_moves_what_only_the_cache_holds(operator, layer):
    assert under(layer) == set()
    said = operator.run("persist", "s3://lake/a", "--wait")
    assert said == "queued 2 objects (2.0 KiB), retried 0 at once; 0 still wait (0 B)\n"
    assert under(layer) == {"lake/a/1", "lake/a/2"}
    assert operator.json("persist", "--wait")["queued"] == 1
    assert under(layer) == {"lake/a/1", "lake/a/2", "lake/ab"}


def test_persist_tells_what_cannot_be_and_tries_it_again_when_asked(operator, layer):
    layer.stores[0].at, layer.stores[0].error = "start", PermissionDenied
    said = operator.run("persist", "s3://lake/a", "--wait", status=1)
    assert "2 objects are parked, the first: s3://lake/a/1: PermissionDenied" in said
    assert "parked" in operator.run("status")
    layer.stores[0].at = None
    assert "retried 2 at once; 0 still wait" in operator.run("persist", "--wait")
    assert operator.json("status")["waiting"]["parked"] == 0


def test_persist_refuses_a_bucket_that_is_not_there(operator):
    assert "did you mean lake" in operator.run("persist", "s3://lak", status=1)
