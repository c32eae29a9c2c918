"""``forebay mount``, ``unmount`` and ``mounts`` against a running gateway."""

import pytest

from forebay_admin.asking import Mistyped
from forebay_admin.mounting import _pairs


@pytest.fixture
def operator(gateway, operate):
    return operate(gateway)


@pytest.fixture
def published(tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "one").write_bytes(b"one")
    return tmp_path / "published"


def test_a_mount_comes_is_listed_and_goes(operator, published, s3):
    said = operator.run(
        "mount", "/pub", published, "--read-only", "--metadata-sync", "5min", "--set", "pin=true"
    )
    assert said == "mounted /pub\n"
    assert s3.get_object(Bucket="pub", Key="one")["Body"].read() == b"one"
    lines = operator.run("mounts").splitlines()
    assert [line.split()[0] for line in lines] == ["path", "/", "/pub"]
    assert "refused" in lines[2]
    assert "5min" in lines[2]
    assert lines[2].split()[-1] == "reachable"
    shown = operator.json("mounts")["mounts"][1]
    assert (shown["read_only"], shown["metadata_sync"]) == (True, 300.0)
    assert operator.run("unmount", "/pub") == "unmounted /pub\n"
    assert [one["path"] for one in operator.json("mounts")["mounts"]] == ["/"]
    assert (published / "one").read_bytes() == b"one"


def test_a_relative_directory_begins_where_the_command_is_run(operator, published, monkeypatch):
    monkeypatch.chdir(published.parent)
    operator.run("mount", "/pub", "published")
    assert operator.json("mounts")["mounts"][1]["under"] == published.as_uri()


def test_secrets_are_not_shown(operator):
    operator.run(
        "mount", "/pub", "s3://lake", "--option", "secret_access_key=hidden-one",
        "-o", "endpoint_url=http://127.0.0.1:9", "-o", "region=x", "-o", "access_key_id=a",
        status=1,
    )  # fmt: skip
    said = operator.run("mounts", "--json")
    assert "hidden-one" not in said


def test_an_unmount_refuses_to_lose_something(operator, s3):
    operator.run("mount", "/pub", "memory://p", "--write-type", "MUST_CACHE")
    s3.put_object(Bucket="pub", Key="kept", Body=b"k")
    said = operator.run("unmount", "/pub", "--drain", "1s", status=1)
    assert "1 objects that are in no under store" in said
    operator.run("persist", "s3://pub")
    assert operator.run("unmount", "/pub", "--drain", "30s") == "unmounted /pub\n"


def test_force_loses_it(operator, s3):
    operator.run("mount", "/pub", "memory://p", "--write-type", "MUST_CACHE")
    s3.put_object(Bucket="pub", Key="kept", Body=b"k")
    assert operator.json("unmount", "/pub", "--force")["path"] == "/pub"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["mount", "pub", "memory://p"], 2, "begins with /"),
        (["mount", "/-/x", "memory://p"], 2, "Forebay's own"),
        (["mount", "/", "memory://p"], 2, "the root mount is part of the configuration"),
        (["mount", "/pub", "memry://p"], 2, "did you mean memory"),
        (["mount", "/pub", "memory://p", "--set", "red_only=true"], 2, "did you mean read_only"),
        (["mount", "/pub", "memory://p", "--option", "x"], 2, "write it as KEY=VALUE"),
        (["mount", "/pub", "memory://p", "--write-type", "SOON"], 2, "SOON"),
        (["mount", "/pub", "memory://p", "--metadata-sync", "soon"], 2, "soon"),
        (["mount", "/pub"], 2, "Missing argument"),
        (["unmount", "/none"], 2, "nothing is mounted at /none"),
        (["unmount", "/"], 2, "part of the configuration"),
        (["unmount", "/x", "--drain", "soon"], 2, "'soon' is not a time"),
    ],
)
def test_what_cannot_be_is_a_sentence(operator, arguments, status, says):
    assert says in operator.run(*arguments, status=status)
    assert [one["path"] for one in operator.json("mounts")["mounts"]] == ["/"]


def test_the_same_path_twice_is_refused(operator):
    operator.run("mount", "/pub", "memory://p")
    assert "mounted already" in operator.run("mount", "/pub", "memory://q", status=2)


def test_the_value_of_an_option_is_toml_or_text():
    given = ["a=8", 'b="8"', "c=true", "d=plain text", 'e={env = "X"}', "f=", "g=k=v", "h=[1, 2]"]
    assert _pairs("--option", given) == {
        "a": 8, "b": "8", "c": True, "d": "plain text", "e": {"env": "X"}, "f": "", "g": "k=v",
        "h": [1, 2],
    }  # fmt: skip
    for bad in ("x", "=x"):
        with pytest.raises(Mistyped):
            _pairs("--option", [bad])
