"""``forebay load``, ``loads`` and ``free`` against a running gateway."""

import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial

import pytest
from click.testing import CliRunner

from forebay.cli import main
from forebay.config import MountConfig
from forebay.testing.faults import UnderStoreLayer
from forebay.types import WriteType
from forebay_admin import bringing

BODY = b"x" * 20_000


@pytest.fixture
def layer(slow_store):
    return UnderStoreLayer(slow_store)


@pytest.fixture
def operator(make_gateway, layer, root, operate):
    mounts = {"/": MountConfig("/", root, write_type=WriteType.THROUGH)}
    gateway = make_gateway(mounts=mounts, plugins=[layer])
    s3 = gateway.client("tester")
    s3.create_bucket(Bucket="lake")
    for number in range(30):
        s3.put_object(Bucket="lake", Key=f"a/{number:03}", Body=BODY)
    return operate(gateway)


def test_load_brings_a_prefix_and_stat_tells_the_truth(operator, layer):
    said = operator.run("load", "s3://lake/a")
    assert re.fullmatch(
        r"load \d+ is DONE: 30 objects, 585\.9 KiB, 585\.9 KiB fetched, "
        r"0 objects were there\n",
        said,
    )
    assert len(layer.stores[0].opened) == 30
    assert operator.json("stat", "s3://lake/a/007")["held"]["place"] == "pages"
    assert "30 objects were there" in operator.run("load", "s3://lake/a")
    assert len(layer.stores[0].opened) == 30
    rows = operator.run("loads").splitlines()
    assert [row.split()[1:4] for row in rows[1:]] == [["DONE", "100%", "30"]] * 2


def test_without_a_terminal_a_line_is_printed_when_something_changed(operator, layer, monkeypatch):
    monkeypatch.setattr(bringing, "LINE_EVERY", 0.0)
    monkeypatch.setattr(bringing, "PAUSE", 0.01)
    layer.stores[0].pause = 0.3
    environment = {"FOREBAY_SERVER": operator.server.url}
    result = CliRunner().invoke(
        main, ["load", "s3://lake", "--token", operator.server.token], env=environment
    )
    assert result.exit_code == 0
    told = [line.split(",")[:2] for line in result.stderr.splitlines() if "objects," in line]
    assert told[-1][1] == " 585.9 KiB"
    assert 1 < len(told) <= 64
    assert all(one != after for one, after in itertools.pairwise(told))


def test_load_by_a_list_from_a_file(operator, tmp_path, layer):
    listed = tmp_path / "hot.txt"
    listed.write_text("# hot\ns3://lake/a/001\n\n/lake/a/002\n")
    assert "2 objects" in operator.run("load", "--from-list", listed)
    assert sorted(layer.stores[0].opened) == ["lake/a/001", "lake/a/002"]


def test_a_list_with_a_bad_path_leaves_no_job(operator, tmp_path):
    listed = tmp_path / "hot.txt"
    listed.write_text("s3://lake/a/001\nlake/a/002\n")
    assert "did you mean s3://lake/a/002" in operator.run("load", "--from-list", listed, status=2)
    for _ in range(100):
        if operator.json("loads") == {"loads": []}:
            break
        time.sleep(0.1)
    assert operator.json("loads") == {"loads": []}


def test_where_nothing_is_there_a_load_says_so(operator, tmp_path):
    said = operator.run("load", "s3://lake/nosuch", status=1)
    assert "there is no object at or below s3://lake/nosuch" in said
    assert "nothing is there" in operator.run("loads")
    listed = tmp_path / "hot.txt"
    listed.write_text("# nothing was hot\n\n")
    assert "the list names no object" in operator.run("load", "--from-list", listed, status=1)
    assert len(operator.json("loads")["loads"]) == 1


def test_failures_are_listed_and_can_be_tried_again(operator, layer):
    layer.stores[0].bad = {"lake/a/003"}
    said = operator.run("load", "s3://lake", status=1)
    assert "s3://lake/a/003: StorageError: lake/a/003 is bad" in said
    number = re.search(r"forebay load --resume (\d+)", said)[1]
    layer.stores[0].bad = set()
    answer = operator.json("load", "--resume", number)
    assert (answer["load"]["objects"], answer["load"]["failed"]) == (30, 0)
    assert answer["failures"] == []


def test_a_job_is_left_to_the_server_and_cancelled(operator):
    said = operator.run("load", "s3://lake", "--detach")
    number = re.search(r"load (\d+) is RUNNING", said)[1]
    assert "is CANCELLED" in operator.run("load", "--cancel", number)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "give one of PATH, --from-list FILE, --resume ID and --cancel ID"),
        (["s3://lake", "--resume", "1"], 2, "give one of"),
        (["lake/a"], 2, "did you mean s3://lake/a"),
        (["s3://lak"], 1, "did you mean lake"),
        (["--resume", "99"], 2, "there is no load 99"),
        (["--resume", "x"], 2, "not a valid integer"),
        (["--from-list", "/none"], 2, "/none"),
    ],
)
def test_what_cannot_be_is_a_sentence(operator, arguments, status, says):
    assert says in operator.run("load", *arguments, status=status)


def test_free_lets_copies_go_and_says_what_it_kept(operator, layer):
    operator.run("load", "s3://lake")
    s3 = operator.gateway.client("tester")

    def kept(request, **_):
        request.headers["x-forebay-write-type"] = "MUST_CACHE"

    s3.meta.events.register("before-sign.s3.PutObject", kept)
    s3.put_object(Bucket="lake", Key="kept", Body=b"k")
    said = operator.run("free", "s3://lake")
    assert said == (
        "freed 585.9 KiB of 30 objects\n"
        "kept 1 objects (1 B) that no under store has yet, like s3://lake/kept; "
        "`forebay persist` moves them\n"
    )
    assert operator.json("free", "/")["objects"] == 0
    assert operator.json("stat", "s3://lake/a/000")["held"]["place"] == "nowhere"
    assert "is no path" in operator.run("free", "lake", status=2)


def command(operator, *arguments, stderr=subprocess.PIPE):
    """Run a command as a process of its own, so that it can be interrupted."""
    return subprocess.Popen(
        [sys.executable, "-m", "forebay", *arguments],
        env={
            **os.environ,
            "FOREBAY_SERVER": operator.server.url,
            "FOREBAY_ADMIN_TOKEN": operator.server.token,
            "TERM": "xterm",
            "COLUMNS": "120",
        },
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        # Where the tests run in the background of a shell, Ctrl-C is ignored by all below it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def blocks(terminal):
    """Give what is written to a terminal, until nothing has its other end open."""
    with suppress(OSError):
        while block := os.read(terminal, 65536):
            yield block.decode(errors="replace")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_pauses_a_load_and_says_how_to_go_on(operator, layer, number):
    watched = layer.stores[0]
    watched.hold(after=10)
    ours, theirs = pty.openpty()
    with command(operator, "load", "s3://lake", stderr=theirs) as loading:
        os.close(theirs)
        drawn, said = blocks(ours), ""
        while "objects" not in said:  # before its bar it follows nothing yet
            said += next(drawn)
        while len(watched.opened) <= 10:
            assert loading.poll() is None
            time.sleep(0.01)
        loading.send_signal(number)
        said += "".join(drawn)
        assert loading.wait(60) == 130
    os.close(ours)
    paused = re.search(r"is paused after .*; go on with `forebay load --resume (\d+)`", said)[1]
    watched.release()
    assert "is DONE: 30 objects" in operator.run("load", "--resume", paused)
    assert len(set(watched.opened)) == 30
    assert operator.json("stat", "s3://lake/a/029")["held"]["size"] == len(BODY)


def test_a_terminal_sees_a_bar_with_all_that_counts(operator, layer):
    layer.stores[0].pause = 0.6
    ours, theirs = pty.openpty()
    with command(operator, "load", "s3://lake", stderr=theirs) as loading:
        os.close(theirs)
        drawn = "".join(blocks(ours))
        os.close(ours)
        assert loading.wait(60) == 0
    done = {int(one) for one in re.findall(r"(\d+)/30 objects", drawn)}
    assert len(done) > 2, "it moves"
    assert re.search(r"[\d.]+/600\.0 kB|[\d.]+/585\.9 KiB", drawn), "bytes done of all"
    assert re.search(r"B/s", drawn), "how fast"
    assert re.search(r"0:00:\d\d", drawn), "how long still"


# --- a server that is killed ------------------------------------------------------------------


@pytest.mark.timeout(900)
@pytest.mark.parametrize("objects", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_load_goes_on_when_its_server_was_killed(tmp_path, objects, serving):
    """Done-when: progress, interrupted, resumed; afterwards stat tells the truth."""
    origin = serving.origin(objects, 20_000)
    serving.start()
    origin.hold(after=objects // 2)
    job = json.loads(serving.ask("load", "s3://lake", "--detach", "--json"))
    deadline = time.monotonic() + 300
    while len(origin.read) < objects // 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    serving.kill()
    before = len(origin.read)
    assert before < objects, "it was killed in the middle"
    origin.release()
    serving.start()
    deadline = time.monotonic() + 600
    while True:
        found = json.loads(serving.ask("loads", "--json"))["loads"]
        if found[0]["state"] == "DONE":
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    assert [one["id"] for one in found] == [job["id"]]
    assert (found[0]["objects"], found[0]["failed"]) == (objects, 0)
    # What was under way when it died came twice at most; what was settled once.
    assert set(origin.read) == {f"bucket/{n:05}" for n in range(objects)}
    assert len(origin.read) - objects <= 40
    listed = serving.ask("ls", "s3://lake", "--json").splitlines()
    entries = [json.loads(line) for line in listed]
    assert len(entries) == objects
    assert {(one["place"], one["held"]) for one in entries} == {("pages", 20_000)}
    told = json.loads(serving.ask("explain", "s3://lake/00007", "--json"))
    assert told["cost"]["requests"] == 0
    assert [one["tiers"] for one in told["pieces"]] == [["SSD"]]
