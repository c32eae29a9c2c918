import re
from pathlib import Path

import pytest

from forebay.places import (
    default_state,
    default_tiers,
    is_loopback,
    mount_uri,
    refused,
    split_address,
)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:39999", ("127.0.0.1", 39999)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        (":80", ("", 80)),
    ],
)
def test_an_address_is_host_and_port(listen, address):
    assert address == split_address(listen)


@pytest.mark.parametrize("listen", ["", "80", "host", "host:", "host:65536", "host:-1", "::1:80"])
def test_what_is_no_address_is_refused(listen):
    with pytest.raises(ValueError, match="is not an address"):
        split_address(listen)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_what_only_this_machine_reaches(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_everything_else_is_not_loopback(host):
    assert not is_loopback(host)


@pytest.mark.parametrize("path", ["/", "/raw", "/raw/archive", "/a-b/-", "/raw/a:b"])
def test_a_mount_can_be_at(path):
    assert refused(path, path) == ""


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("raw", "begins with /"),
        ("/raw//archive", "no empty name"),
        ("/raw/../etc", r"no \.\."),
        ("/./raw", "no ."),
        ("/-", "Forebay's own"),
        ("/-/health", "Forebay's own"),
        ("/a:b", "colon"),
    ],
)
def test_a_mount_cannot_be_at(path, reason):
    assert re.search(reason, refused(path, "/" + path.strip("/")))


def test_a_path_becomes_an_absolute_uri(tmp_path):
    assert f"file://{tmp_path}/lake" == mount_uri("lake", tmp_path)
    assert f"file://{tmp_path}/lake" == mount_uri("./x/../lake/", tmp_path)
    assert mount_uri("/srv/lake", tmp_path) == "file:///srv/lake"
    assert mount_uri("~", tmp_path) == Path.home().resolve().as_uri()


def test_special_characters_of_a_path_are_escaped_once(tmp_path):
    assert mount_uri("/srv/a b#c?%", tmp_path) == "file:///srv/a%20b%23c%3F%25"
    assert mount_uri("file:///srv/a%20b", tmp_path) == "file:///srv/a%20b"
    assert mount_uri("file:///srv/a b", tmp_path) == "file:///srv/a%20b"


def test_a_file_uri_is_made_normal(tmp_path):
    assert mount_uri("file:///srv/x/../lake/", tmp_path) == "file:///srv/lake"
    assert mount_uri("file://localhost/srv/lake", tmp_path) == "file:///srv/lake"


def test_a_file_uri_of_another_host_is_refused(tmp_path):
    with pytest.raises(ValueError, match="names the host"):
        mount_uri("file://data/lake", tmp_path)


def test_another_scheme_stays_as_it_is(tmp_path):
    assert mount_uri("s3://lake/raw", tmp_path) == "s3://lake/raw"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("s3:/lake/raw", r"did you mean s3://lake/raw\? A directory is \./s3:/lake/raw"),
        ("file:/srv/lake", r"did you mean file:///srv/lake\?"),
        ("my_store://x", "'my_store' is no name of a scheme"),
        ("://x", "'' is no name of a scheme"),
        ("s3://[x", r"'s3://\[x' is no URI"),
    ],
)
def test_what_is_nearly_a_uri_is_no_directory(given, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        mount_uri(given, tmp_path)


def test_a_directory_with_colons_is_one_all_the_same(tmp_path):
    for given in ("./s3:/lake", "a:b", "12:30", "x/s3:/y", "x/my_store://y"):
        assert mount_uri(given, tmp_path) == (tmp_path / given).as_uri()


def test_the_state_hangs_on_the_root(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, other = default_state("file:///a"), default_state("file:///b")
    assert one == default_state("file:///a")
    assert one != other
    assert tmp_path / "forebay" == Path(one).parent


@pytest.mark.parametrize("home", ["", "relative/state"])
def test_a_useless_state_home_is_ignored(monkeypatch, tmp_path, home):
    monkeypatch.setenv("XDG_STATE_HOME", home)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_state("file:///a").startswith(f"{tmp_path}/.local/state/forebay/")


def test_the_default_tier_leaves_half_of_the_free_space(tmp_path):
    [tier] = default_tiers(str(tmp_path / "not" / "yet"))
    assert tier["path"] == str(tmp_path / "not" / "yet" / "pages")
    assert 1 << 20 <= tier["capacity"] <= 10 << 30


def test_without_state_the_default_tier_is_in_memory():
    assert default_tiers("") == [{"name": "MEM", "kind": "memory", "capacity": 1 << 30}]
