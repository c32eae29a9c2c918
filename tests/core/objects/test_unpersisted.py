import pytest

from forebay.catalog import catalog, keys
from forebay.errors import InvalidArgument, NoSuchBucket, PermissionDenied
from forebay.objects import unpersisted
from forebay.testing.opened import content_of
from forebay.types import PersistState, WriteType

ASYNC, MUST = WriteType.ASYNC_THROUGH, WriteType.MUST_CACHE
SMALL, LARGE = content_of("small", 100), content_of("large", 100_000)


def moved(opened, path="/"):
    """Set going all of a path, run by run."""
    runs, after = [], ""
    while True:
        runs.append(opened.forebay.unpersisted.set_going(path, after))
        after = runs[-1].next_after
        if not after:
            return runs


def test_what_waits_is_counted_by_path(opened):
    opened.put("a/kept", SMALL, MUST)
    opened.put("a/queued", LARGE, ASYNC)
    opened.put("b/there", LARGE, WriteType.CACHE_THROUGH)
    waiting = opened.forebay.unpersisted.waiting()
    assert (waiting.objects, waiting.size) == (1, 100_000)
    assert (waiting.kept, waiting.kept_size) == (1, 100)
    assert (waiting.parked, waiting.failing) == (0, 0)
    assert opened.forebay.unpersisted.waiting("s3://bucket/b").objects == 0
    assert opened.forebay.unpersisted.waiting("s3://bucket/a").kept == 1


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["inline", "segment"])
def test_what_only_the_cache_holds_reaches_the_under_store(opened, content):
    opened.put("key", content, MUST)
    (run,) = moved(opened)
    assert (run.queued, run.queued_size, run.hastened) == (1, len(content), 0)
    assert opened.head("key").state is PersistState.TO_BE_PERSISTED
    opened.persist()
    assert opened.head("key").state is PersistState.PERSISTED
    with opened.raw.open("bucket/key") as reader:
        assert reader.read(1 << 20) == content
    assert opened.get("key") == content
    assert opened.forebay.unpersisted.waiting() == unpersisted.Waiting(0, 0, 0.0, 0, 0, 0, 0)
    assert opened.leavings() == {}


def test_a_queued_object_counts_against_the_limit_of_dirty_bytes_and_is_given_back(opened):
    opened.put("key", LARGE, MUST)
    moved(opened)
    dirty = opened.forebay.catalog.read(lambda s: catalog.get_number(s, keys.DIRTY))
    assert dirty == len(LARGE)
    opened.persist()
    assert opened.forebay.catalog.read(lambda s: catalog.get_number(s, keys.DIRTY)) == 0


def test_many_objects_go_run_by_run_and_each_once(opened, monkeypatch):
    monkeypatch.setattr(unpersisted, "CHUNK", 3)
    for number in range(7):
        opened.put(f"k{number}", SMALL, MUST)
    runs = moved(opened)
    assert [run.queued for run in runs] == [3, 3, 1]
    assert [run.queued for run in moved(opened)] == [0, 0, 0]


def test_a_parked_job_is_tried_again_at_once(opened):
    opened.fail("start", PermissionDenied)
    opened.put("key", SMALL, ASYNC)
    opened.persist()
    waiting = opened.forebay.unpersisted.waiting()
    assert (waiting.parked, waiting.failing) == (1, 1)
    (job,) = opened.forebay.unpersisted.failing("s3://bucket")
    assert (job.path, job.attempts, job.parked) == ("s3://bucket/key", 1, True)
    assert "PermissionDenied" in job.reason
    assert job.due_in > 60
    opened.fail(None)
    opened.persist()
    assert opened.head("key").state is PersistState.TO_BE_PERSISTED, "not due for an hour"
    (run,) = moved(opened, "s3://bucket/key")
    assert run.hastened == 1
    opened.persist()
    assert opened.head("key").state is PersistState.PERSISTED
    assert opened.forebay.unpersisted.failing() == []


def test_a_job_that_a_process_has_in_hand_is_left_to_it(opened):
    opened.put("key", SMALL, ASYNC)
    assert opened.forebay.persist._claim() is not None
    (run,) = moved(opened)
    assert (run.queued, run.hastened) == (0, 0)


def test_what_cannot_be_is_refused(opened):
    with pytest.raises(InvalidArgument):
        opened.forebay.unpersisted.set_going("bucket")
    with pytest.raises(NoSuchBucket, match="did you mean bucket"):
        opened.forebay.unpersisted.waiting("s3://bucke")
