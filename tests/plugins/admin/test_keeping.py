"""``forebay pin``, ``unpin``, ``ttl`` and ``rules`` against a running gateway."""

import pytest

from forebay.config import MountConfig


@pytest.fixture
def operator(make_gateway, root, operate):
    mounts = {
        "/": MountConfig("/", root),
        "/tmp": MountConfig("/tmp", "memory://t", ttl=3600.0, ttl_action="delete"),
    }
    gateway = make_gateway(mounts=mounts)
    s3 = gateway.client("tester")
    s3.create_bucket(Bucket="lake")
    s3.put_object(Bucket="lake", Key="a/one", Body=b"x" * 2048)
    return operate(gateway)


def test_pins_and_times_to_live_are_set_listed_and_taken_back(operator):
    assert operator.run("pin", "s3://lake/a") == (
        "pinned s3://lake/a: 1 objects known there, 2.0 KiB\n"
    )
    assert operator.run("ttl", "/lake/a/one", "7d", "--action", "delete") == (
        "objects of s3://lake/a/one are deleted when they are 7d old: "
        "1 objects known there, 2.0 KiB\n"
    )
    lines = [line.split() for line in operator.run("rules").splitlines()]
    assert lines[1] == ["/tmp", "1h,", "then", "delete", "0", "0", "B", "configuration"]
    assert lines[2] == ["s3://lake/a", "yes", "1", "2.0", "KiB", "an", "operator"]
    assert lines[3][:4] == ["s3://lake/a/one", "7d,", "then", "delete"]
    said = operator.run("stat", "s3://lake/a/one")
    assert "by s3://lake/a " in said
    assert "deleted" in said
    assert operator.run("unpin", "s3://lake/a") == "unpinned s3://lake/a\n"
    assert operator.run("ttl", "s3://lake/a/one", "never") == (
        "objects of s3://lake/a/one live for ever\n"
    )
    assert [one["path"] for one in operator.json("rules")["rules"]] == ["/tmp"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["pin"], 2, "Missing argument 'PATH'"),
        (["pin", "lake"], 2, "did you mean s3://lake"),
        (["pin", "/"], 2, "configuration decides"),
        (["pin", "s3://lak"], 1, "did you mean lake"),
        (["unpin", "s3://lake/b"], 1, "s3://lake/b is not pinned"),
        (["ttl", "s3://lake", "soon"], 2, "'soon' is not a time"),
        (["ttl", "s3://lake", "-1"], 2, "-1"),
        (["ttl", "s3://lake", "1d", "--action", "burn"], 2, "burn"),
    ],
)
def test_what_cannot_be_is_a_sentence(operator, arguments, status, says):
    assert says in operator.run(*arguments, status=status)
