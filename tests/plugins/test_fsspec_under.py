"""The under store over fsspec's protocols: the kit over each of those that can be run here."""

from __future__ import annotations

import io
import itertools
import os
import tarfile
import time
import zipfile

import pytest

from forebay.errors import InvalidKey, PermissionDenied
from forebay.testing.under import ODD_KEYS, UnderStoreTests
from forebay.testing.under_kit import put, read
from forebay.testing.under_listing import ListingTests
from forebay.testing.under_reading import ReadingTests
from forebay_fsspec.opening import open_store
from forebay_fsspec.protocols import ROWS

_numbers = itertools.count(1)

SFTP_SERVERS = filter(
    None,
    [os.environ.get("SFTP_SERVER"), "/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server"],
)


def directories_listed(files, call):
    listed = []
    with pytest.MonkeyPatch.context() as patch:
        ls = files.ls
        patch.setattr(files, "ls", lambda path: listed.append(path) or ls(path))
        call()
    return len(listed)


class OverDirectory(UnderStoreTests):
    """The kit over a server of a directory, `home`, that the test can look into."""

    OPTIONS = {}

    @pytest.fixture(scope="class")
    @classmethod
    def home(cls, tmp_path_factory):
        return tmp_path_factory.mktemp("served")

    @pytest.fixture
    def under(self, url, home):
        name = f"root{next(_numbers)}"
        uri = f"{url}/{name}"
        store = open_store(uri, self.OPTIONS)
        store.uri, store.home = uri, home / name
        yield store
        store.close()

    def poke(self, under, key, content):
        path = under.home / key
        path.parent.mkdir(parents=True, exist_ok=True)
        # In one step: half of it may have the old size, which is all that some protocols tell.
        fresh = under.home.with_name(f"fresh{next(_numbers)}")
        fresh.write_bytes(content)
        fresh.replace(path)

    def peek(self, under, key):
        path = under.home / key
        return path.read_bytes() if path.is_file() else None

    def opening(self, under):
        return open_store, (under.uri, self.OPTIONS)

    def poke_directory(self, under, key):
        (under.home / key).mkdir(parents=True)
        return True

    def steps(self, under, call):
        return directories_listed(under._files, call)


class TestFile(OverDirectory):
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, home):
        return f"fsspec+file://{home}"


@pytest.mark.slow
class TestDir(OverDirectory):
    OPTIONS = {"target_protocol": "file", "durability": "process"}

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, home):
        return f"fsspec+dir://{home}"


class NotSoDeep(OverDirectory):
    """Without keys of 500 directories in each other: a thousand requests each, and slow ones."""

    @pytest.mark.parametrize("key", [key for key in ODD_KEYS if key.count("/") < 100])
    def test_odd_key_is_held_literally_or_refused(self, under, key):
        super().test_odd_key_is_held_literally_or_refused(under, key)


class TestSftp(NotSoDeep):
    OPTIONS = {"known_hosts": False, "timeout": 20}
    histories = 8

    @pytest.mark.slow
    def test_store_behaves_as_a_dictionary_for_long(self, under):
        self.histories = 40
        self.test_store_behaves_as_a_dictionary(under)

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, home, servers):
        with servers.sftp_server(home) as (url, _):
            yield url


OPENSSH = next(filter(os.path.exists, SFTP_SERVERS), None)


@pytest.mark.slow
@pytest.mark.skipif(OPENSSH is None, reason="OpenSSH's sftp-server is not installed")
class TestOpenSsh(OverDirectory):
    """OpenSSH's own sftp-server behind the same connections."""

    OPTIONS = TestSftp.OPTIONS

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, home, servers):
        with servers.sftp_server(home, program=OPENSSH) as (url, _):
            yield f"{url}{home}"


class TestFtp(NotSoDeep):
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, home, servers):
        with servers.ftp_server(home) as url:
            yield url


@pytest.mark.slow
class TestFtpOfOldServers(TestFtp):
    """Without MLST and MLSD: by SIZE, MDTM and LIST."""

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, home, servers):
        with servers.ftp_server(home, without=("MLST", "MLSD")) as url:
            yield url


@pytest.mark.slow
class TestWebHdfs(NotSoDeep):
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, home, servers):
        with servers.webhdfs_server(home) as url:
            yield url


class TestMemory(UnderStoreTests):
    @pytest.fixture
    def under(self):
        store = open_store("fsspec+memory://", {})
        with store._files._connections.use() as store.fs:
            yield store
        store.close()

    def poke(self, under, key, content):
        under.fs.pipe_file(f"/{key}", content)

    def peek(self, under, key):
        return under.fs.cat_file(f"/{key}") if under.fs.isfile(f"/{key}") else None

    def opening(self, under):
        return open_store, ("fsspec+memory://", {})

    def steps(self, under, call):
        return directories_listed(under._files, call)


# --- what is read only: the back door stands in for `put` -------------------------------


class BackDoor:
    """Reads from a store; puts by `poke` behind it, and gives what the store tells then."""

    def __init__(self, store, poke):
        self.store = store
        self._poke = poke

    def __getattr__(self, name):
        return getattr(self.store, name)

    def put(self, key, body, *, size=None, **_):
        if any(part in ("", ".", "..") for part in key.split("/")):
            raise InvalidKey(key)
        self._poke(self, key, b"".join(iter(lambda: body.read(1 << 20), b"")))
        return self.store.head(key)

    def delete(self, key):
        self._poke(self, key, None)


class ReadOnly(ReadingTests, ListingTests):
    """The kit's promises of reading and listing."""

    def test_read_only_stores_refuse_to_write(self, under):
        with pytest.raises(PermissionDenied):
            put(under.store, "kit/object", b"x")
        with pytest.raises(PermissionDenied):
            under.store.delete("kit/object")

    def peek(self, under, key):
        raise NotImplementedError("nothing is written through the store")


class TestHttp(ReadOnly):
    OPTIONS = {}

    @pytest.fixture(scope="class")
    @classmethod
    def home(cls, tmp_path_factory):
        return tmp_path_factory.mktemp("served")

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, home, servers):
        with servers.http_server(home) as url:
            yield url

    @pytest.fixture
    def under(self, url, home):
        name = f"a b{next(_numbers)}"
        store = open_store(f"{url}/{name.replace(' ', '%20')}", self.OPTIONS)
        store.home = home / name
        yield BackDoor(store, self.poke)
        store.close()

    def poke(self, under, key, content):
        path = under.home / key
        if content is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"fresh{next(_numbers)}")
        fresh.write_bytes(content)
        fresh.rename(path)


class Archives(ReadOnly):
    @pytest.fixture
    def under(self, tmp_path):
        path = tmp_path / f"some.{self.KIND}"
        content = {}
        self.write(path, content)
        store = open_store(f"{self.KIND}://{path}", {})
        store.content, store.path = content, path
        yield BackDoor(store, self.poke)
        store.close()

    def poke(self, under, key, content):
        if content is None:
            under.content.pop(key, None)
        else:
            under.content[key] = content
        fresh = under.path.with_name(f"fresh{next(_numbers)}.{self.KIND}")
        self.write(fresh, under.content)
        fresh.rename(under.path)

    def fill(self, under, keys):
        """Write the archive once, as archives are."""
        odd = [key for key in keys if any(part in ("", ".", "..") for part in key.split("/"))]
        held = [f"kit/{key}" for key in keys if key not in odd]
        under.content.update({key: key.removeprefix("kit/").encode() for key in held[:-1]})
        self.poke(under, held[-1], held[-1].removeprefix("kit/").encode())
        return held

    def test_fingerprint_changes_whenever_the_bytes_do(self, under):
        """It is the archive's own: whatever changes in it changes every member's."""
        seen = [put(under, "kit/object", content).fingerprint for content in (b"1", b"2", b"33")]
        assert len(set(seen)) == 3
        read(under, "kit/object")
        assert under.head("kit/object").fingerprint == seen[-1]
        put(under, "kit/other", b"1")
        assert under.head("kit/object").fingerprint not in seen


class TestZip(Archives):
    KIND = "zip"

    @staticmethod
    def write(path, content):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, member in content.items():
                found = zipfile.ZipInfo(key, time.gmtime()[:6])
                archive.writestr(found, member, zipfile.ZIP_DEFLATED)


class TestTar(Archives):
    KIND = "tar"

    @staticmethod
    def write(path, content):
        with tarfile.open(path, "w") as archive:
            for key, member in content.items():
                found = tarfile.TarInfo(key)
                found.size, found.mtime = len(member), time.time()
                archive.addfile(found, io.BytesIO(member))


def test_every_row_said_to_be_held_is_held_here():
    kinds = {
        "s3": "test_fsspec_s3.py",
        "sftp": TestSftp,
        "ftp": TestFtp,
        "webhdfs": TestWebHdfs,
        "http": TestHttp,
        "zip": TestZip,
        "tar": TestTar,
        "memory": TestMemory,
        "file": TestFile,
    }
    assert {row.names[0] for row in ROWS if row.server} == set(kinds)
    print(f"\nran by the kit: {', '.join(sorted(kinds))}; {os.uname().sysname}")
