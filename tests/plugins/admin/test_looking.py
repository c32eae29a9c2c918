"""``forebay status``, ``stat`` and ``ls`` against a running gateway."""

import json
import re

import pytest

from forebay.events import BreakerOpened
from forebay.objects.breakers import note
from forebay_admin import looking

LARGE = b"x" * 2_500_000


@pytest.fixture
def operator(gateway, s3, operate):
    s3.create_bucket(Bucket="lake")
    s3.put_object(Bucket="lake", Key="a/one.bin", Body=LARGE)
    s3.put_object(
        Bucket="lake", Key="a/[two]", Body=b"two", Tagging="team=sea",
        Metadata={"v": "1"}, CacheControl="no-store",
    )  # fmt: skip
    return operate(gateway)


def put(s3, key, body, write_type):
    def add(request, **_):
        request.headers["x-forebay-write-type"] = write_type

    s3.meta.events.register("before-sign.s3.PutObject", add)
    s3.put_object(Bucket="lake", Key=key, Body=body)
    s3.meta.events.unregister("before-sign.s3.PutObject", add)


def test_a_key_moves_no_terminal(operator, s3):
    put(s3, "x/\x1b[2J\n", b"one", "CACHE_THROUGH")
    for command in (["ls", "-r", "s3://lake/x"], ["stat", "s3://lake/x/\x1b[2J\n"]):
        said = operator.run(*command)
        assert "s3://lake/x/\\x1b[2J\\n" in said
        assert "\x1b" not in said


def test_stat_shows_an_object(operator):
    said = operator.run("stat", "s3://lake/a/one.bin")
    for word in ("2500000 (2.4 MiB)", "PERSISTED, written CACHE_THROUGH", "there lake/a/one.bin"):
        assert word in said
    assert looking.PLACES["segments"] in said
    assert "on SSD" in said
    said = operator.run("stat", "/lake/a/[two]")
    for word in ("header cache-control", "metadata v ", "tag team", "checksum "):
        assert word in said
    answer = operator.json("stat", "s3://lake/a/one.bin")
    assert answer["held"] == {"place": "segments", "size": 2500000, "tiers": {"SSD": 2500000}}


def test_ls_lines_up_and_shows_what_is_held(operator, s3):
    put(s3, "a/kept", b"k", "MUST_CACHE")
    put(s3, "a/through", LARGE, "THROUGH")
    lines = operator.run("ls", "s3://lake/a").splitlines()
    assert [line.split()[-1] for line in lines] == [
        "path", "s3://lake/a/[two]", "s3://lake/a/kept", "s3://lake/a/one.bin",
        "s3://lake/a/through",
    ]  # fmt: skip
    assert len({line.index(line.split()[-1]) for line in lines}) == 1
    state = {line.split()[-1]: line.split()[4:6] for line in lines[1:]}
    assert state["s3://lake/a/kept"] == ["100%", "NOT_PERSISTED"]
    assert state["s3://lake/a/one.bin"] == ["100%", "PERSISTED"]
    assert state["s3://lake/a/through"] == ["0%", "PERSISTED"]
    assert "s3://lake" in operator.run("ls")


def test_ls_as_json_is_a_document_a_line(operator):
    lines = operator.run("ls", "-r", "s3://lake", "--json").splitlines()
    assert [json.loads(line)["path"] for line in lines] == [
        "s3://lake/a/[two]",
        "s3://lake/a/one.bin",
    ]
    assert len(operator.run("ls", "-r", "s3://lake", "--limit", 1, "--json").splitlines()) == 1


def test_ls_goes_on_over_many_runs(operator, s3, monkeypatch):
    for number in range(5):
        s3.put_object(Bucket="lake", Key=f"b/{number}", Body=b"")
    monkeypatch.setattr(looking, "RUN", 2)
    lines = operator.run("ls", "s3://lake/b").splitlines()
    assert [line.split()[-1] for line in lines[1:]] == [f"s3://lake/b/{n}" for n in range(5)]


def test_status_shows_what_waits(operator, s3):
    put(s3, "kept", b"k" * 1024, "MUST_CACHE")
    said = operator.run("status")
    assert "1 objects, 1.0 KiB (MUST_CACHE; `forebay persist` moves them)" in said
    assert "SSD" in said
    assert operator.json("status")["waiting"]["kept"] == 1


def test_status_shows_which_stores_are_left_alone(operator):
    note(operator.forebay._shared, BreakerOpened("memory://root", "reads", "it hangs"))
    said = operator.run("status")
    assert re.search(r"memory://root +reads +\S+ \S+ UTC +1 +it hangs", said)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["stat", "s3://lake/none"], 1, "forebay: there is no object s3://lake/none\n"),
        (["stat", "s3://lak/none"], 1, "forebay: there is no bucket lak; did you mean lake?\n"),
        (["stat", "lake/a"], 2, "did you mean s3://lake/a"),
        (["stat"], 2, "Missing argument 's3://BUCKET/KEY'"),
        (["ls", "--limit", "0"], 2, "--limit"),
        (["status", "--token", "x"], 1, "FOREBAY_ADMIN_TOKEN"),
    ],
)
def test_what_cannot_be_is_a_sentence(operator, arguments, status, says):
    said = operator.run(*arguments, status=status)
    assert says in said
    assert "Traceback" not in said
