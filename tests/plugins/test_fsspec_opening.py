"""From a URI and options to a store: which schemes are ours, and what is said of faults."""

import importlib.util
import tomllib
from pathlib import Path

import fsspec
import pytest

import forebay_fsspec
from forebay.errors import ConfigurationError, PermissionDenied
from forebay.testing.under_kit import names, put, read
from forebay_fsspec import opening
from forebay_fsspec.opening import answers, check, open_store
from forebay_fsspec.protocols import BY_NAME, ROWS, UNKNOWN

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


@pytest.mark.parametrize(
    ("scheme", "ours"),
    [
        ("sftp", True),
        ("https", True),
        ("webhdfs", True),
        ("dropbox", True),
        ("fsspec+s3", True),
        ("fsspec+no-such", True),
        ("s3", False),
        ("gs", False),
        ("abfs", False),
        ("adl", False),
        ("file", False),
        ("memory", False),
        ("no-such", False),
    ],
)
def test_hook_under_store_factory_answers_for_what_no_other_plugin_of_forebay_makes(scheme, ours):
    assert answers(scheme) == ours
    assert (forebay_fsspec.under_store_factory(scheme) is not None) == ours


def test_every_row_is_a_protocol_of_fsspec():
    known = {*fsspec.available_protocols(), "ssh", "s3a", "webHDFS", "hdfs"}
    assert set(BY_NAME) - known == set()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.names[0])
def test_what_a_row_tells_to_install_is_an_extra_or_a_package(row):
    assert bool(row.install) == bool(row.modules)
    if row.install.startswith("forebay["):
        assert row.install.removeprefix("forebay[").removesuffix("]") in EXTRAS


@pytest.mark.parametrize("row", [r for r in ROWS if r.modules], ids=lambda row: row.names[0])
def test_a_missing_package_is_named_with_the_line_that_mends_it(row, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as raised:
        open_store(f"fsspec+{row.names[0]}://host/path", {})
    assert f"needs {', '.join(row.modules)}: pip install '{row.install}'" in str(raised.value)


def test_a_package_that_only_fsspec_knows_of_is_named_in_its_words():
    if importlib.util.find_spec("dropboxdrivefs") is not None:
        pytest.skip("it is installed here")
    with pytest.raises(ConfigurationError, match=r"dropbox:// cannot be used: .*dropboxdrivefs"):
        open_store("dropbox://x", {})


@pytest.mark.parametrize(
    ("uri", "options", "said"),
    [
        ("fsspec+stfp://host/x", {}, "fsspec knows no protocol 'stfp'; nearest: 'sftp'"),
        ("fsspec+sftp:/host", {}, "write fsspec+protocol://"),
        ("sftp:///x", {}, "names no host"),
        ("sftp://host:many/x", {}, "Port could not be cast"),
        ("http:///x", {}, "names no host"),
        ("fsspec+file://relative", {}, "write an absolute path"),
        ("sftp://host/x", {"pasword": "x"}, "'pasword' is no option of sftp://; nearest: 'pass"),
        ("ftp://host/x", {"tiemout": 3}, "'tiemout' is no option of ftp://; nearest: 'timeout'"),
        ("ftp://host/x", {"timeout": 0}, "timeout = 0: must be a number of seconds above 0"),
        ("ftp://host/x", {"timeout": True}, "timeout = True: must be a number"),
        ("ftp://host/x", {"parallel_reads": 65}, "must be a whole number from 1 to 64"),
        ("ftp://host/x", {"durability": "paper"}, "must be disk or process"),
        ("ftp://host/x", {"longest_command": 99}, "a whole number from 256 to 65536"),
        ("sftp://host/x", {"longest_command": 999}, "'longest_command' is no option of sftp://"),
    ],
)
def test_what_cannot_be_is_said_before_connecting(uri, options, said):
    with pytest.raises(ConfigurationError) as raised:
        open_store(uri, options)
    assert said in str(raised.value)
    with pytest.raises(ConfigurationError) as checked:
        check(uri, options)
    assert checked.value.faults == raised.value.faults


def test_the_store_of_an_archive_is_checked_too():
    with pytest.raises(ConfigurationError, match="'pasword' is no option of sftp://"):
        check("zip://sftp://host/a.zip", {"target_options": {"pasword": "x"}})


def test_a_missing_package_hides_no_other_fault(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as raised:
        check("smb://host/share", {"timeout": 0})
    assert [one.partition(" ")[0] for one in raised.value.faults] == ["smb://", "timeout"]


def test_all_faults_are_said_at_once():
    with pytest.raises(ConfigurationError) as raised:
        open_store("sftp:///x", {"timeout": -1, "colour": "red"})
    assert len(raised.value.faults) == 3


def test_no_secret_is_said():
    with pytest.raises(ConfigurationError) as raised:
        open_store("ftp://host/x", {"password": "hush", "timeout": 0, "acct": "hush", "x": "hush"})
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "arguments", "root"),
    [
        (
            "sftp://a%40b:p%2Fw@host:2222/srv/l%20ake/",
            {"host": "host", "port": 2222, "username": "a@b", "password": "p/w"},
            "/srv/l ake",
        ),
        ("ftp://host", {"host": "host"}, ""),
        ("webhdfs://user@host:9870/x", {"host": "host", "port": 9870, "user": "user"}, "/x"),
        ("s3://bucket/some/prefix/", {}, "bucket/some/prefix/"),
        ("s3://bucket", {}, "bucket/"),
        ("https://host/a%20b/", {}, "https://host/a%20b/"),
        ("zip:///tmp/a%20b.zip", {"fo": "/tmp/a b.zip"}, ""),
        ("zip://https://host/a%20b.zip", {"fo": "https://host/a%20b.zip"}, ""),
    ],
)
def test_a_uri_says_where(uri, arguments, root):
    protocol, _, rest = uri.partition("://")
    faults = []
    assert opening._place(BY_NAME[protocol], None, protocol, rest, faults) == (arguments, root)
    assert faults == []


def test_a_protocol_of_fsspec_that_the_table_does_not_name_is_read_only(tmp_path):
    class Shelf(fsspec.get_filesystem_class("file")):
        protocol = "shelf"

    fsspec.register_implementation("shelf", Shelf, clobber=True)
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "object").write_bytes(b"0123456789")
    store = open_store(f"fsspec+shelf://{tmp_path}", {})
    try:
        assert store.capabilities == UNKNOWN.capabilities
        assert names(store.list()) == ["kit/object"]
        assert read(store, "kit/object") == b"0123456789"
        with pytest.raises(PermissionDenied):
            put(store, "kit/object", b"x")
        with pytest.raises(PermissionDenied):
            store.delete("kit/object")
    finally:
        store.close()
    assert (tmp_path / "kit" / "object").read_bytes() == b"0123456789"


def test_a_directory_of_another_file_system_is_that_one_below_a_path(tmp_path):
    options = {"target_protocol": "file", "target_options": {"auto_mkdir": False}}
    store = open_store(f"fsspec+dir://{tmp_path}", options)
    put(store, "kit/object", b"x")
    store.close()
    assert (tmp_path / "kit" / "object").read_bytes() == b"x"
    with pytest.raises(ConfigurationError, match=r"needs sshfs|names no host"):
        open_store("fsspec+dir:///x", {"target_protocol": "sftp"})


def test_no_file_system_of_fsspec_is_shared_with_others(tmp_path):
    one, two = (open_store(f"fsspec+file://{tmp_path}", {}) for _ in range(2))
    with one._files._connections.use() as first, two._files._connections.use() as second:
        assert first is not second
        assert fsspec.filesystem("file") is not first
    one.close()
    two.close()


def test_a_file_system_that_has_a_session_only_later_can_be_opened(monkeypatch):
    class Later(fsspec.get_filesystem_class("memory")):
        protocol = "later"
        async_impl = True
        session = None

    fsspec.register_implementation("later", Later, clobber=True)
    store = open_store("fsspec+later://", {})
    with store._files._connections.use() as fs:
        assert isinstance(fs, Later)
    store.close()
