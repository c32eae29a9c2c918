import pytest

from forebay.catalog import keys
from forebay.errors import InvalidArgument, InvalidRequest, NoSuchBucket
from forebay.objects import loads as module


@pytest.fixture
def loads(opened):
    return opened.forebay.loads


def test_a_job_is_begun_followed_paused_and_resumed(loads):
    job = loads.begin("/bucket/a")
    assert (job.path, job.state) == ("s3://bucket/a", "RUNNING")
    assert loads.get(job.id) == job
    assert loads.pause(job.id).state == "PAUSED"
    assert loads.pause(job.id).state == "PAUSED"
    assert loads.resume(job.id).state == "RUNNING"
    assert loads.cancel(job.id).state == "CANCELLED"
    assert loads.resume(job.id).state == "CANCELLED"


def test_a_list_comes_in_pieces_and_starts_with_the_last(loads):
    job = loads.begin_list()
    assert job.state == "FILLING"
    assert loads.add(job.id, ["s3://bucket/a", "/bucket/b"], last=False).state == "FILLING"
    job = loads.add(job.id, ["s3://bucket/c"], last=True)
    assert (job.state, job.total, job.counted) == ("RUNNING", 3, True)
    with pytest.raises(InvalidRequest, match="complete"):
        loads.add(job.id, ["s3://bucket/d"], last=True)


def test_a_bad_path_of_a_list_adds_nothing_of_its_piece(opened, loads):
    job = loads.begin_list()
    for bad in (["s3://bucket/a", "b/c"], ["s3://bucket"], ["s3://b/k"] * 1001):
        with pytest.raises(InvalidArgument):
            loads.add(job.id, bad, last=True)
    assert loads.get(job.id).state == "FILLING"
    assert opened.held(b"K") == []


def test_jobs_are_listed_newest_first(loads):
    ids = [loads.begin("s3://bucket").id for _ in range(3)]
    assert [job.id for job in loads.list()] == ids[::-1]


def test_what_is_done_long_ago_is_forgotten(opened, loads, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    monkeypatch.setattr(module, "ABANDONED", -1)
    filling = loads.begin_list()
    ids = []
    for _ in range(4):
        ids.append(loads.begin("s3://bucket").id)
        while opened.forebay.loading.run_some():
            pass
    assert [job.id for job in loads.list()] == ids[:1:-1]
    assert filling.id not in ids


@pytest.mark.parametrize("call", ["get", "pause", "resume", "cancel"])
def test_a_job_that_is_not_there_is_refused(loads, call):
    loads.begin("s3://bucket")
    with pytest.raises(InvalidArgument, match="there is no load 999"):
        getattr(loads, call)(999)


def test_a_path_that_cannot_be_is_refused_before_there_is_a_job(opened, loads):
    with pytest.raises(NoSuchBucket, match="did you mean bucket"):
        loads.begin("s3://buckett/x")
    with pytest.raises(InvalidArgument):
        loads.begin("bucket/x")
    assert loads.list() == []


def test_a_purge_leaves_no_row_and_may_be_repeated(opened, loads):
    job = loads.begin_list()
    for _ in range(3):
        loads.add(job.id, [f"s3://bucket/{n}" for n in range(10)], last=False)
    shared = opened.forebay.loading._shared
    for _ in range(2):
        module.purge(shared, job.id, chunk=7)
        assert [opened.held(kind) for kind in (keys.LOADS, b"K", b"F")] == [[], [], []]
