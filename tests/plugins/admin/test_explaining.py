"""``forebay explain`` and ``cache`` against a running gateway."""

import pytest

from forebay.config import MountConfig
from forebay.events import BreakerOpened
from forebay.objects.breakers import note
from forebay.types import PageId, WriteType
from forebay_admin.explaining import _cost

SIZE = 20 << 20


@pytest.fixture
def operator(make_gateway, root, operate):
    mounts = {"/": MountConfig("/", root, write_type=WriteType.THROUGH)}
    gateway = make_gateway(mounts=mounts)
    s3 = gateway.client("tester")
    s3.create_bucket(Bucket="lake")
    s3.put_object(Bucket="lake", Key="key", Body=bytes(SIZE))
    return operate(gateway)


def test_explain_tells_the_truth_before_and_after_a_load(operator):
    said = operator.run("explain", "s3://lake/key")
    assert "20.0 MiB, not in the cache" in said
    assert "asks the under store first whether it changed" in said
    assert "fetches 20.0 MiB in 3 requests" in said
    assert "pages 0-19  20.0 MiB  -" in said
    operator.run("load", "s3://lake/key")
    said = operator.run("explain", "s3://lake/key")
    assert "needs nothing of it" in said
    assert "pages 0-19  20.0 MiB  SSD" in said
    record = operator.forebay.reads.head(operator.forebay.buckets.get("lake"), "key")
    operator.forebay.cache.drop(PageId(record.object_id, 1 << 20, 3))
    said = operator.run("explain", "s3://lake/key")
    assert "fetches 1.0 MiB in 1 request" in said
    lines = [line.split()[:2] for line in said.splitlines() if line.startswith("page")]
    assert lines == [["pages", "0-2"], ["page", "3"], ["pages", "4-19"]]


def test_explain_as_json_has_every_piece(operator):
    answer = operator.json("explain", "/lake/key")
    assert [one["index"] for one in answer["pieces"]] == list(range(20))
    assert answer["cost"] == {
        "looks": 1,
        "requests": 3,
        "size": SIZE,
        "left_alone": "",
        "stale": False,
    }


def test_explain_tells_of_a_store_that_is_left_alone(operator, root):
    note(operator.forebay._shared, BreakerOpened(root, "reads", "it\x1bhangs"))
    said = operator.run("explain", "s3://lake/key")
    assert "which is left alone just now: it is refused (503); it\\x1bhangs" in said
    state = operator.run("mounts").splitlines()[1]
    assert state.endswith("reads are left alone: it\\x1bhangs")


@pytest.mark.parametrize(
    ("looks", "requests", "stale", "says"),
    [
        (
            1,
            0,
            True,
            "changed, which is left alone just now: the cache's copy is sent, STALE; down",
        ),
        (1, 2, False, "changed, which is left alone just now: it is refused (503); down"),
        (0, 2, False, "needs 7 B of the under store, which is left alone just now: it is refused"),
        (0, 0, False, "needs nothing of the under store"),
    ],
)
def test_a_read_without_the_store_is_told(looks, requests, stale, says):
    cost = {
        "looks": looks, "requests": requests, "size": 7, "left_alone": "down", "stale": stale
    }  # fmt: skip
    assert says in _cost(cost, {"held": {"place": "pages"}})


def test_cache_counts_by_tier_and_mount(operator):
    s3 = operator.gateway.client("tester")
    for _ in range(3):
        s3.get_object(Bucket="lake", Key="key")["Body"].read()
        # What is still on its way to a shelf is given from memory, and no hit of a tier.
        assert operator.forebay._shared.fetches.settle(30)
    said = operator.run("cache")
    assert "SSD" in said
    assert "hit ratio" in said
    answer = operator.json("cache")
    (tier,) = answer["tiers"]
    assert (tier["name"], tier["pages"], tier["used"]) == ("SSD", 20, SIZE)
    assert tier["tally"]["admitted"] == 20
    assert tier["tally"]["hits"] >= 40
    (mount,) = [one for one in answer["mounts"] if one["path"] == "/"]
    assert mount["used"] == SIZE
    assert answer["complete"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["explain"], 2, "Missing argument"),
        (["explain", "s3://lake"], 2, "names no object"),
        (["explain", "s3://lake/none"], 1, "there is no object"),
        (["explain", "lake/key"], 2, "did you mean s3://lake/key"),
    ],
)
def test_what_cannot_be_is_a_sentence(operator, arguments, status, says):
    assert says in operator.run(*arguments, status=status)
