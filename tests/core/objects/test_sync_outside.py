"""Storage changed behind Forebay's back: seen within the configured age, never two versions in one.

Over real stores and over the wire: a directory, the memory of a process, an SFTP server and an
S3 server.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import itertools
import logging
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import boto3
import botocore.exceptions
import pytest

from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig
from forebay.objects import sync
from forebay.server.gateway import Gateway
from forebay.streams import BytesReader
from forebay.types import Attributes

PAGE = 1 << 16
_numbers = itertools.count(1)


# --- the stores, and the ways around Forebay ------------------------------------------------


class Directory:
    """A directory: what another program does there, it does by renaming."""

    options: dict = {}

    def __init__(self, path):
        self.path, self.uri = path, path.as_uri()
        path.mkdir(parents=True, exist_ok=True)

    def attach(self, gateway):
        pass

    def write(self, key, content):
        draft = self.path.parent / f"draft-{next(_numbers)}"
        draft.write_bytes(content)
        (self.path / key).parent.mkdir(parents=True, exist_ok=True)
        draft.rename(self.path / key)

    def delete(self, key):
        (self.path / key).unlink()


class Sftp(Directory):
    """A directory behind an SFTP server, whose protocol has a clock of whole seconds."""

    def __init__(self, path, uri):
        super().__init__(path)
        self.uri, self.options = uri, {"known_hosts": False}
        self._clock = int(time.time()) - 100_000

    def write(self, key, content):
        super().write(key, content)
        # No two versions of one second, which the protocol could not tell apart.
        self._clock += 2
        os.utime(self.path / key, (self._clock, self._clock))


class InPlace(Directory):
    """A directory that others write over in its place, with whatever time the server gives."""

    def __init__(self, path, uri, options):
        super().__init__(path)
        self.uri, self.options = uri, options

    def write(self, key, content):
        fd = os.open(self.path / key, os.O_WRONLY | os.O_CREAT)
        try:
            # In one call: half a version in the file itself is nobody's mixture but its writer's.
            assert os.pwrite(fd, content, 0) == len(content)
        finally:
            os.close(fd)


class Memory:
    """The memory of this process."""

    uri, options = "memory://", {}

    def attach(self, gateway):
        self._store = gateway.forebay.mounts.find("raw", "key").store

    def write(self, key, content):
        self._store.put(key, BytesReader(content), size=len(content), attributes=Attributes())

    def delete(self, key):
        self._store.delete(key)


class S3:
    """A bucket of an S3 server."""

    def __init__(self, url, client, bucket):
        self.uri, self.options = f"s3://{bucket}", {"endpoint_url": url}
        self._client, self._bucket = client, bucket

    def attach(self, gateway):
        pass

    def write(self, key, content):
        self._client.put_object(Bucket=self._bucket, Key=key, Body=content)

    def delete(self, key):
        self._client.delete_object(Bucket=self._bucket, Key=key)

    def say(self, key, **said):
        """Leave the bytes as they are, and say something else of them."""
        source = {"Bucket": self._bucket, "Key": key}
        self._client.copy_object(
            Bucket=self._bucket, Key=key, CopySource=source, MetadataDirective="REPLACE", **said
        )


@pytest.fixture(scope="module")
def moto():
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def servers():
    """Load the servers that the tests of the plugins are run against."""
    path = Path(__file__).parents[2] / "plugins" / "servers.py"
    spec = importlib.util.spec_from_file_location("servers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["file", "memory", "sftp", "s3"])
def outside(request, tmp_path):
    """A store that is changed from outside."""
    with ExitStack() as stack:
        if request.param == "file":
            yield Directory(tmp_path / "outside")
        elif request.param == "memory":
            yield Memory()
        elif request.param == "file in place":
            yield InPlace(tmp_path / "home", (tmp_path / "home").as_uri(), {})
        elif request.param.endswith("in place"):
            (tmp_path / "home").mkdir()
            if request.param.startswith("sftp"):
                url, _ = stack.enter_context(servers().sftp_server(tmp_path / "home"))
            else:
                url = stack.enter_context(servers().ftp_server(tmp_path / "home"))
            options = {"known_hosts": False} if url.startswith("sftp") else {}
            yield InPlace(tmp_path / "home" / "lake", f"{url}/lake", options)
        elif request.param == "sftp":
            (tmp_path / "home").mkdir()
            url, _ = stack.enter_context(servers().sftp_server(tmp_path / "home"))
            yield Sftp(tmp_path / "home" / "lake", f"{url}/lake")
        else:
            url, bucket = request.getfixturevalue("moto"), f"outside-{next(_numbers)}"
            client = stack.enter_context(
                contextlib.closing(
                    boto3.client(
                        "s3",
                        endpoint_url=url,
                        aws_access_key_id="tester",
                        aws_secret_access_key="any",
                    )
                )
            )
            client.create_bucket(Bucket=bucket)
            yield S3(url, client, bucket)


@pytest.fixture
def serve(tmp_path, outside):
    """Serve a bucket ``raw`` over the store; `sync` and `negative` are ages in seconds."""
    with ExitStack() as stack:

        def serve(sync, negative=0.3):
            mounts = {
                "/": MountConfig("/", "memory://"),
                "/raw": MountConfig(
                    "/raw",
                    outside.uri,
                    options=outside.options,
                    metadata_sync=sync,
                    negative_sync=negative,
                ),
            }
            tier = TierConfig(name="SSD", path=str(tmp_path / "pages"), capacity=64 << 20)
            gateway = stack.enter_context(
                Gateway(
                    Config(
                        mounts=mounts,
                        metadata=MetadataConfig(kind="memory"),
                        cache=CacheConfig(tiers=[tier], page_size=PAGE),
                        durability="process",
                        state=str(tmp_path / "state"),
                    )
                )
            )
            outside.attach(gateway)
            return Client(gateway)

        yield serve


class Client:
    """Reads the bucket ``raw`` over the wire, without retries that would hide anything."""

    def __init__(self, gateway):
        self.gateway = gateway
        self._s3 = gateway.client(
            config=botocore.config.Config(
                retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
            )
        )

    def get(self, key, start=None, stop=None):
        """Give the bytes and the ETag of an answer, or None for 404."""
        span = {} if start is None else {"Range": f"bytes={start}-{stop - 1}"}
        try:
            answer = self._s3.get_object(Bucket="raw", Key=key, **span)
        except self._s3.exceptions.NoSuchKey:
            return None
        return answer["Body"].read(), answer["ETag"]

    def content(self, key):
        found = self.get(key)
        return None if found is None else found[0]

    def size(self, key):
        try:
            return self._s3.head_object(Bucket="raw", Key=key)["ContentLength"]
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            return None

    def head(self, key):
        return self._s3.head_object(Bucket="raw", Key=key)

    def put(self, key, content, **headers):
        self._s3.put_object(Bucket="raw", Key=key, Body=content, **headers)

    def tag(self, key, **tags):
        pairs = [{"Key": name, "Value": value} for name, value in tags.items()]
        self._s3.put_object_tagging(Bucket="raw", Key=key, Tagging={"TagSet": pairs})

    def listed(self):
        found = self._s3.list_objects_v2(Bucket="raw").get("Contents", [])
        return {entry["Key"]: entry["Size"] for entry in found}

    def hide(self, key):
        def ask(request, **_):
            request.headers["x-forebay-delete-type"] = "ALLUXIO_ONLY"

        self._s3.meta.events.register_first("before-sign.s3.DeleteObject", ask)
        self._s3.delete_object(Bucket="raw", Key=key)
        self._s3.meta.events.unregister("before-sign.s3.DeleteObject", ask)


def version(letter, size):
    """A version whose every byte names it."""
    return letter.encode() * size


# --- how soon ---------------------------------------------------------------------------------


def test_always_shows_every_change_at_once(serve, outside):
    raw = serve(0.0)
    assert raw.content("key") is None
    for n, letter in enumerate("abcdef"):
        content = version(letter, 3 * PAGE + n % 2)
        outside.write("key", content)
        outside.write(f"dir/{letter}", content[:9])
        if n % 2:
            assert raw.size("key") == len(content)
        assert raw.content("key") == content
        assert raw.content(f"dir/{letter}") == content[:9]
        assert raw.listed() == {"key": len(content)} | {
            f"dir/{one}": 9 for one in "abcdef"[: n + 1]
        }
    outside.delete("key")
    assert raw.size("key") is None
    assert raw.content("key") is None
    assert "key" not in raw.listed()


def test_with_an_age_every_change_shows_when_it_ran_out(serve, outside):
    age, negative = 0.3, 0.15
    raw = serve(age, negative)
    outside.write("changed", version("a", PAGE + 1))
    outside.write("deleted", version("a", 100))
    assert raw.content("changed") == version("a", PAGE + 1)
    assert raw.size("deleted") == 100
    assert raw.content("added") is None
    for letter in "bc":
        outside.write("changed", version(letter, 2 * PAGE))
        outside.write("added", version(letter, 77))
        time.sleep(age + 0.05)
        # Whatever was remembered when it changed is older than its age by now.
        assert raw.content("changed") == version(letter, 2 * PAGE)
        assert raw.content("added") == version(letter, 77)
    outside.delete("deleted")
    time.sleep(age + 0.05)
    assert raw.content("deleted") is None
    assert raw.size("deleted") is None
    # A listing asks each time.
    outside.write("listed", b"12345")
    assert raw.listed() == {"added": 77, "changed": 2 * PAGE, "listed": 5}


@pytest.mark.parametrize("outside", ["s3"], indirect=True)
@pytest.mark.parametrize(
    ("age", "looked"), [(0.0, True), (0.2, False), pytest.param(0.2, True, marks=pytest.mark.slow)]
)
def test_what_is_said_anew_of_the_same_bytes_shows(serve, outside, age, looked, monkeypatch):
    if not looked:
        monkeypatch.setattr(sync, "SKEW", 0)
    raw = serve(age)
    outside.write("theirs", b"12345")
    raw.put("ours", b"12345", ContentType="text/ours", Metadata={"of": "us"}, Tagging="a=b")
    time.sleep(age * looked)
    etags = {key: raw.head(key)["ETag"] for key in ("ours", "theirs")}
    for said in ("one", "two"):
        time.sleep(1.0)  # the store's clock has whole seconds
        for key in etags:
            outside.say(key, ContentType=f"text/{said}", Metadata={"new": said})
            assert age or raw.head(key)["ContentType"] == f"text/{said}"
        time.sleep(age)
        for key, etag in etags.items():
            found = raw.head(key)
            assert (found["ContentType"], found["Metadata"]) == (f"text/{said}", {"new": said})
            assert found["ETag"] == etag
            assert (time.time() - found["LastModified"].timestamp()) < 60
            assert raw.content(key) == b"12345"


@pytest.mark.parametrize("outside", ["s3"], indirect=True)
def test_a_look_takes_nothing_away_that_only_we_know(serve, outside):
    raw = serve(0.0)
    raw.put("ours", b"12345", Metadata={"of": "us"})
    raw.tag("ours", a="b")
    time.sleep(1.0)
    for _ in range(3):
        found = raw.head("ours")
        assert (found["Metadata"], found["TagCount"]) == ({"of": "us"}, 1)


def test_within_a_long_age_nothing_is_asked_and_nothing_is_wrong(serve, outside):
    raw = serve(3600.0, 3600.0)
    outside.write("key", version("a", 4 * PAGE))
    first = raw.get("key")
    outside.write("key", version("b", 5 * PAGE))
    if not isinstance(outside, Directory):
        # The cache has all of it: the old version, whole, for the hour that was configured.
        assert raw.get("key") == first
    # A listing shows what is there now, and with it the hour is over for what has changed.
    assert raw.listed() == {"key": 5 * PAGE}
    assert raw.content("key") == version("b", 5 * PAGE)


def test_what_was_hidden_stays_hidden_until_it_changes(serve, outside):
    raw = serve(0.0)
    outside.write("key", version("a", 100))
    outside.write("other", b"other")
    raw.hide("key")
    for _ in range(3):
        assert raw.content("key") is None
        assert raw.listed() == {"other": 5}
    outside.write("key", version("b", 101))
    assert raw.content("key") == version("b", 101)
    raw.hide("key")
    assert raw.content("key") is None
    outside.delete("key")
    assert raw.listed() == {"other": 5}


# --- one version in one answer -------------------------------------------------------------


@pytest.mark.parametrize("sync", [0.0, 3600.0])
def test_an_object_overwritten_while_the_cache_has_part_of_it_is_never_mixed(serve, outside, sync):
    raw = serve(sync)
    outside.write("key", version("a", 8 * PAGE))
    # Pages at the begin and in the middle are cached, others are not.
    assert raw.get("key", 0, 2 * PAGE)[0] == version("a", 2 * PAGE)
    assert raw.get("key", 4 * PAGE, 5 * PAGE)[0] == version("a", PAGE)
    outside.write("key", version("b", 8 * PAGE + 1))
    for _ in range(3):
        with contextlib.suppress(*CUT):
            content, _ = raw.get("key")
            assert content == version("b", 8 * PAGE + 1)
            break
    else:
        pytest.fail("the new version never came")
    assert raw.content("key") == version("b", 8 * PAGE + 1)


CUT = (
    botocore.exceptions.ResponseStreamingError,
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.ConnectionClosedError,
    http.client.IncompleteRead,
)


@pytest.mark.parametrize("sync", [0.0, 0.05])
def test_a_storm_of_changes_from_outside_mixes_nothing(serve, outside, sync):
    raw = serve(sync)
    size, versions = 6 * PAGE, "abcdefghijkl"
    outside.write("key", version("a", size))
    done, wrong, whole, cut = threading.Event(), [], [0], [0]

    def change():
        for n, letter in enumerate(versions):
            outside.write("key", version(letter, size + n))
            time.sleep(0.02)
        done.set()

    def look():
        client = Client(raw.gateway)
        etags = {}
        spans = itertools.cycle([(None, None), (PAGE, 5 * PAGE), (3 * PAGE - 7, size)])
        while not done.is_set():
            start, stop = next(spans)
            try:
                found = client.get("key", start, stop)
            except CUT:
                cut[0] += 1
                continue
            except botocore.exceptions.ClientError as error:
                # It changes faster than it can be opened.
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 503:
                    wrong.append(error)
                continue
            if found is None:
                wrong.append("gone")
                continue
            content, etag = found
            letters = set(content)
            etags.setdefault(etag, letters)
            length = size + versions.index(chr(content[0])) if start is None else stop - start
            if len(letters) != 1 or etags[etag] != letters or len(content) != length:
                wrong.append((len(content), letters, etag))
            whole[0] += 1

    threads = [threading.Thread(target=each) for each in (change, look, look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert whole[0], f"{cut[0]} answers were cut, none was whole"
    time.sleep(sync)
    assert raw.content("key") == version(versions[-1], size + len(versions) - 1)


@pytest.mark.parametrize("outside", ["file in place"], indirect=True)
@pytest.mark.parametrize("size", [40_000, 32 << 20])
def test_a_file_written_over_while_it_is_sent_is_cut(serve, outside, size, monkeypatch):
    raw = serve(0.0)
    outside.write("key", version("a", size))
    pread = os.pread

    def slow(fd, length, offset):
        block = pread(fd, length, offset)
        if offset + length == size and block[:1] == b"a":
            outside.write("key", version("b", size))
        return block

    monkeypatch.setattr(os, "pread", slow)
    if size < PAGE:
        # Nothing has left yet: the client gets the new version, and never knows.
        assert raw.content("key") == version("b", size)
    else:
        with pytest.raises(CUT):
            raw.content("key")
    assert set(raw.content("key")) == set(b"b")


# --- versions of one size within one second -----------------------------------------------

in_place = pytest.mark.parametrize("outside", ["sftp in place", "ftp in place"], indirect=True)


def early_in_a_second():
    time.sleep(1.05 - time.time() % 1.0)


@pytest.mark.parametrize(
    "outside",
    ["sftp in place", pytest.param("ftp in place", marks=pytest.mark.slow)],
    indirect=True,
)
@pytest.mark.parametrize("sync", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_a_storm_within_a_second_mixes_nothing_and_shows_its_last(serve, outside, sync):
    raw = serve(sync)
    size, letters = 6 * PAGE, itertools.cycle("abcdefghijklmnopqrst")
    outside.write("key", version("z", size))
    done, wrong, whole = threading.Event(), [], [0]

    def change():
        for _ in range(2):
            early_in_a_second()
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                outside.write("key", version(next(letters), size))
                time.sleep(0.005)
            # Long enough for the second to be over and the last version to be read.
            time.sleep(1.5)
        done.set()

    def look():
        client, etags = Client(raw.gateway), {}
        spans = itertools.cycle([(None, None), (PAGE, 5 * PAGE), (3 * PAGE - 7, size)])
        while not done.is_set():
            start, stop = next(spans)
            try:
                content, etag = client.get("key", start, stop)
            except CUT:
                continue
            except botocore.exceptions.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 503:
                    wrong.append(error)
                continue
            found = set(content)
            if len(found) != 1 or etags.setdefault(etag, found) != found:
                wrong.append((len(content), found, etag))
            whole[0] += 1

    threads = [threading.Thread(target=each) for each in (change, look, look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert whole[0]
    last = chr((outside.path / "key").read_bytes()[0])
    time.sleep(sync)
    assert set(raw.content("key")) == set(version(last, 1))


@in_place
def test_always_shows_what_was_written_over_within_a_second_at_once(serve, outside):
    raw = serve(0.0)
    early_in_a_second()
    for letter in "ab":
        outside.write("key", version(letter, 3 * PAGE))
        assert raw.content("key") == version(letter, 3 * PAGE)
    early_in_a_second()
    raw.put("key", version("d", 3 * PAGE))
    outside.write("key", version("e", 3 * PAGE))
    assert raw.content("key") == version("e", 3 * PAGE)
    assert raw.content("key") == version("e", 3 * PAGE)


@in_place
def test_a_put_over_a_coarse_clock_keeps_what_came_with_it(serve, outside):
    raw = serve(0.0)
    for letter in "abc":
        raw.put("key", version(letter, PAGE), ContentType=f"text/{letter}")
        assert raw.head("key")["ContentType"] == f"text/{letter}"
        assert raw.content("key") == version(letter, PAGE)
