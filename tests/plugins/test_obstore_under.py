"""Object stores: the kit over two S3 servers, and what only such a store can do."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import logging
import random
import re
import select
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

import forebay
from forebay.errors import (
    InvalidKey,
    NotFound,
    NotSupported,
    PreconditionFailed,
    SourceChanged,
    StorageError,
    Unavailable,
)
from forebay.streams import BLOCK
from forebay.testing.under import ODD_KEYS, UnderStoreTests
from forebay.testing.under_kit import ATTRIBUTES, expected_names, names, put, read
from forebay.testing.under_listing import ListingTests
from forebay.types import Attributes, ByteRange
from forebay_obstore import s3
from forebay_obstore.carrier import PART
from forebay_obstore.keys import MARK
from forebay_obstore.opening import open_store
from forebay_obstore.options import Patience
from forebay_obstore.wire import Wire

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def moto():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def gateway():
    with forebay.Gateway("memory://") as gateway:
        yield gateway.url


@pytest.fixture(scope="module")
def clients():
    """Give a client of a server, one for all tests: it takes a while to make."""
    made = {}
    yield lambda url: made[url] if url in made else made.setdefault(url, boto_client(url))
    for client in made.values():
        client.close()


def boto_client(url):
    return boto3.client(
        "s3", endpoint_url=url, aws_access_key_id="tester", aws_secret_access_key="any"
    )


@pytest.fixture
def client(url, clients):
    return clients(url)


class Bucket:
    """A bucket for each test, and the ways around the store."""

    PREFIX = ""

    @pytest.fixture
    def under(self, url, client):
        bucket = f"bucket-{next(_numbers)}"
        client.create_bucket(Bucket=bucket)
        uri = f"s3://{bucket}/{self.PREFIX}"
        store = open_store(uri, {"endpoint_url": url, "durability": "disk"})
        store.client, store.bucket, store.uri, store.url = client, bucket, uri, url
        yield store
        store.close()
        if hasattr(store, "severed"):
            store.severed.close()

    def poke(self, under, key, content):
        under.client.put_object(Bucket=under.bucket, Key=self.PREFIX + key, Body=content)

    def peek(self, under, key):
        try:
            found = under.client.get_object(Bucket=under.bucket, Key=self.PREFIX + key)
        except under.client.exceptions.NoSuchKey:
            return None
        return found["Body"].read()

    def opening(self, under):
        return open_store, (under.uri, {"endpoint_url": under.url})

    def sever(self, under):
        nowhere = {"endpoint_url": f"http://127.0.0.1:{unused_port()}", "max_retries": 0}
        under.severed = open_store(under.uri, nowhere)
        under._carrier = under.severed._carrier
        return True


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class TestForebay(Bucket, UnderStoreTests):
    @pytest.fixture
    def url(self, gateway):
        return gateway

    @pytest.fixture(autouse=True)
    def _claim(self, under):
        # This server holds every key, so the store is held to the claim it makes nowhere else.
        under.capabilities = dataclasses.replace(under.capabilities, any_key=True)


class TestForebayBelowAPrefix(Bucket, ListingTests):
    PREFIX = "deep/er/"

    @pytest.fixture
    def url(self, gateway):
        return gateway


class TestMoto(Bucket, UnderStoreTests):
    histories = 8

    @pytest.mark.skip("moto answers 500 to whatever names an upload that it does not know")
    def _over(self):
        pass

    test_a_part_of_an_upload_that_is_over_is_not_found = _over
    test_an_aborted_upload_makes_no_object = _over
    test_a_complete_upload_changes_nothing_any_more = _over

    @pytest.mark.slow
    def test_store_behaves_as_a_dictionary_for_long(self, under):
        self.histories = 40
        self.test_store_behaves_as_a_dictionary(under)

    @pytest.fixture
    def url(self, moto):
        return moto

    @pytest.mark.parametrize("key", [key for key in ODD_KEYS if "\n" not in key])
    def test_odd_key_is_held_literally_or_refused(self, under, key):
        # This server has no route to keys with line ends.
        super().test_odd_key_is_held_literally_or_refused(under, key)


@pytest.fixture(params=["forebay", "moto"])
def url(request):
    return request.getfixturevalue("gateway" if request.param == "forebay" else "moto")


@pytest.fixture
def bucket(client):
    name = f"bucket-{next(_numbers)}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def opened(bucket, url):
    """Open stores of the bucket; keyword arguments are options."""
    with contextlib.ExitStack() as stack:

        def opened(uri=f"s3://{bucket}", **options):
            return stack.enter_context(
                contextlib.closing(open_store(uri, {"endpoint_url": url, **options}))
            )

        yield opened


@pytest.fixture
def under(opened):
    return opened()


# --- large objects -----------------------------------------------------------------------


class Counted:
    """A body of `size` bytes that notes how far ahead of the store it is asked for."""

    def __init__(self, size, error=None):
        self.left, self.error = size, error

    def read(self, size):
        taken = min(size, self.left)
        self.left -= taken
        if not taken and self.error is not None:
            raise self.error
        return b"x" * taken


LARGE = PART + 3 * BLOCK + 7
PLAIN, ODD = "kit/large", "kit//large/"


@pytest.mark.parametrize("key", [PLAIN, ODD])
@pytest.mark.parametrize("announced", [LARGE, None])
def test_large_object_goes_up_in_parts(under, client, bucket, key, announced):
    info = under.put(key, Counted(LARGE), size=announced, attributes=ATTRIBUTES)
    assert info.fingerprint == under.head(key).fingerprint
    assert info.size == LARGE
    assert re.fullmatch("[0-9a-f]{32}-[12]", info.etag)
    assert under.head(key).attributes == ATTRIBUTES
    with under.open(key, ByteRange(LARGE - 3, LARGE + 3)) as reader:
        assert reader.read(10) == b"xxx"
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize("key", [PLAIN, ODD])
@pytest.mark.parametrize("error", [ValueError("a digest"), FileNotFoundError(2, "the body's")])
def test_large_body_that_fails_leaves_nothing_behind(under, client, bucket, key, error):
    with pytest.raises(type(error)) as caught:
        under.put(key, Counted(LARGE, error), size=LARGE, attributes=Attributes())
    assert caught.value is error
    assert names(under.list()) == []
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize("key", [PLAIN, ODD])
@pytest.mark.parametrize("off", [-1, 1])
def test_large_body_of_another_length_leaves_nothing_behind(under, client, bucket, key, off):
    with pytest.raises(StorageError):
        under.put(key, Counted(LARGE + off), size=LARGE, attributes=Attributes())
    assert names(under.list()) == []
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize("url", ["forebay"], indirect=True)  # moto ignores these conditions
def test_condition_of_a_large_put_is_decided_when_it_completes(under):
    old = put(under, PLAIN, b"old")
    for condition in ({"if_none_match": True}, {"if_match": "3-0"}):
        with pytest.raises(PreconditionFailed):
            under.put(PLAIN, Counted(LARGE), size=LARGE, attributes=Attributes(), **condition)
    assert read(under, PLAIN) == b"old"
    new = under.put(
        PLAIN, Counted(LARGE), size=LARGE, attributes=Attributes(), if_match=old.fingerprint
    )
    assert under.head(PLAIN).fingerprint == new.fingerprint
    under.put("kit/new", Counted(LARGE), size=LARGE, attributes=Attributes(), if_none_match=True)
    assert under.head("kit/new").size == LARGE


def test_large_object_is_read_as_it_was_put(under):
    content = random.Random(1).randbytes(LARGE)
    info = put(under, PLAIN, content)
    for named in (None, info.fingerprint):
        with under.open(PLAIN, if_match=named) as reader:
            assert b"".join(iter(lambda reader=reader: reader.read(300_001), b"")) == content
            assert reader.info.size == LARGE
    assert read(under, PLAIN, ByteRange(5, 9 << 20)) == content[5 : 9 << 20]


class Cutter:
    """A way to a server: notes requests, cuts connections after so many bytes of answers."""

    def __init__(self, url, after):
        address = urlsplit(url)
        self._target = (address.hostname, address.port)
        self._after = after
        self._closing = threading.Event()
        self.connections = 0
        self.methods = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._forward, args=(client,)))
            self._threads[-1].start()

    def _forward(self, client):
        left = self._after
        with client, socket.create_connection(self._target) as server:
            for one in (client, server):
                one.settimeout(20)
            while left and not self._closing.is_set():
                ready, _, _ = select.select([client, server], [], [], 0.2)
                for source in ready:
                    try:
                        block = source.recv(min(65536, left) if source is server else 65536)
                        if source is client:
                            self.methods += re.findall(rb"\A([A-Z]+) /", block)
                        (client if source is server else server).sendall(block)
                    except OSError:
                        return
                    if not block:
                        return
                    left -= len(block) if source is server else 0

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._closing.set()
        for thread in self._threads:
            thread.join(30)


@pytest.fixture
def cut(url, bucket):
    """Open a store over connections that break after 3 MiB of answers."""
    with contextlib.closing(Cutter(url, 3 << 20)) as cutter:
        options = {"endpoint_url": cutter.url, "max_retries": 0}
        with contextlib.closing(open_store(f"s3://{bucket}", options)) as store:
            store.cutter = cutter
            yield store


@pytest.mark.parametrize("key", [PLAIN, ODD])
def test_connection_that_breaks_goes_on_where_it_broke(under, cut, key):
    content = random.Random(3).randbytes(LARGE)
    info = put(under, key, content)
    with cut.open(key, if_match=info.fingerprint) as reader:
        assert b"".join(iter(lambda: reader.read(BLOCK), b"")) == content
    assert cut.cutter.connections >= 4


@pytest.mark.parametrize("key", [PLAIN, ODD])
def test_object_replaced_while_the_connection_breaks_is_never_a_mixture(under, cut, key):
    info = put(under, key, bytes(LARGE))
    with cut.open(key, if_match=info.fingerprint) as reader:
        assert reader.read(10) == bytes(10)
        put(under, key, b"\1" * LARGE)
        with pytest.raises(SourceChanged):
            collections.deque(iter(lambda: reader.read(BLOCK).strip(b"\1"), b""), maxlen=0)


@pytest.mark.parametrize("key", [PLAIN, ODD])
def test_put_and_a_range_are_one_request_each(cut, key):
    info = put(cut, key, b"0123456789", attributes=ATTRIBUTES)
    assert cut.cutter.methods == [b"PUT"]
    with cut.open(key, ByteRange(2, 5), if_match=info.fingerprint) as reader:
        assert reader.read(10) == b"234"
    assert cut.cutter.methods == [b"PUT", b"GET"]


# --- versions, attributes ----------------------------------------------------------------


@pytest.mark.parametrize("named", ["", "other", "1-0", "x-1", "-1-0"])
def test_fingerprint_of_another_store_is_another_version(under, named):
    put(under, "kit/object", b"x")
    with pytest.raises(PreconditionFailed), under.open("kit/object", if_match=named):
        pass
    with pytest.raises(PreconditionFailed):
        put(under, "kit/object", b"y", if_match=named)
    with pytest.raises(NotFound), under.open("kit/missing", if_match=named):
        pass
    assert read(under, "kit/object") == b"x"


@pytest.mark.parametrize("size", [0, 1])
def test_version_is_looked_at_where_no_byte_is_asked_for(under, size):
    info = put(under, "kit/object", b"x" * size)
    with under.open("kit/object", ByteRange(5, 9), if_match=info.fingerprint) as reader:
        assert reader.read(1) == b""
        assert reader.info.size == size
    put(under, "kit/object", b"other")
    with pytest.raises(PreconditionFailed):
        under.open("kit/object", ByteRange(5, 5), if_match=info.fingerprint).__enter__()


@pytest.mark.parametrize(
    "attributes",
    [
        Attributes({"expires": "Thu, 01 Dec 2044 16:00:00 GMT", "content-language": "de"}),
        Attributes({}, {"content-type": "metadata", "storage-class": "too"}, {"t": "a+b=c/d é"}),
        Attributes({}, {"word": "=?UTF-8?B?eA==?=", "edges": " x ", "long": "ü" * 300}),
        Attributes({}, {"x-y_z": "a, b", "n": "1"}, {}),
    ],
)
def test_attributes_that_the_library_cannot_keep_are_kept(under, attributes):
    for key in ("kit/object", "kit//odd"):
        put(under, key, b"x", attributes=attributes)
        assert under.head(key).attributes == attributes


def test_attributes_are_where_other_programs_look_for_them(under, client, bucket):
    put(under, "kit/object", b"x", attributes=ATTRIBUTES)
    told = client.head_object(Bucket=bucket, Key="kit/object")
    assert (told["ContentType"], told["CacheControl"]) == ("text/x-kit", "no-store")
    tags = client.get_object_tagging(Bucket=bucket, Key="kit/object")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == ATTRIBUTES.tags


def test_tags_put_by_others_are_seen(under, client, bucket):
    put(under, "kit/object", b"x")
    assert under.head("kit/object").attributes.tags == {}
    tags = {"TagSet": [{"Key": "added", "Value": "later"}]}
    client.put_object_tagging(Bucket=bucket, Key="kit/object", Tagging=tags)
    assert under.head("kit/object").attributes.tags == {"added": "later"}


def test_object_whose_metadata_the_library_cannot_read_is_read(moto, clients):
    # This server gives back what it was sent, bytes that are no text to the library.
    clients(moto).create_bucket(Bucket="raw-metadata")
    wire = Wire(f"{moto}/raw-metadata", "us-east-1", None, Patience(), ssl.create_default_context())
    wire.send("PUT", "object", (), {"x-amz-meta-colour": "grün"}, b"bytes")
    wire.close()
    with contextlib.closing(open_store("s3://raw-metadata", {"endpoint_url": moto})) as store:
        info = store.head("object")
        assert info.attributes.metadata == {"colour": "grün"}
        with store.open("object", if_match=info.fingerprint) as reader:
            assert reader.read(10) == b"bytes"


# --- keys that others made ---------------------------------------------------------------


FOREIGN = ["/lead", "a/", "a/./b", "a//b", "b/", "b/c", "f", "f/", "with space+plus%25"]


def test_keys_that_the_library_would_mangle_are_listed_as_they_are(under, client, bucket):
    for key in FOREIGN:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert names(under.list()) == sorted(FOREIGN)
    level = names(under.list(delimiter="/"))
    assert level == ["/", "a/", "b/", "f", "f/", "with space+plus%25"]
    for key in FOREIGN:
        assert read(under, key) == key.encode()
        under.delete(key)
    assert names(under.list()) == []


@pytest.mark.parametrize("url", ["forebay"], indirect=True)
def test_listing_goes_on_over_many_pages(under):
    keys = sorted(f"k/{n % 3}/{n:04}" for n in range(1100))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: put(under, key, b""), keys))
    assert names(under.list()) == keys
    assert names(under.list("k/", delimiter="/")) == ["k/0/", "k/1/", "k/2/"]
    assert names(under.list("k/", start_after="k/2/1090")) == [
        key for key in keys if key > "k/2/1090"
    ]


@pytest.mark.parametrize(
    "bound", ["kit/b\0", "kit/b\x01", "kit/b\ud800", "kit/b\uffff", "kit/b\x7f"]
)
def test_bound_that_cannot_be_sent_is_honoured(under, bound):
    keys = ["kit/a", "kit/b", "kit/b!", "kit/c"]
    for key in keys:
        put(under, key, b"")
    assert names(under.list(start_after=bound)) == [key for key in keys if key > bound]


def test_prefix_of_a_mount_hides_what_is_beside_it(opened, bucket, client):
    for key in ("raw", "raw/", "raw/a", "raw-b", "rawc/d"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    store = opened(f"s3://{bucket}/raw/")
    assert names(store.list()) == ["a"]
    with pytest.raises(InvalidKey):
        put(store, "x" * 1021, b"")
    put(store, "x" * 1020, b"")


def test_a_bucket_that_is_not_there_comes_with_advice(opened):
    with pytest.raises(Unavailable, match="there is no such bucket: make it first, or correct"):
        next(iter(opened("s3://no-such-bucket").list()), None)


# --- copying -----------------------------------------------------------------------------


def test_copy_stays_in_the_store_and_takes_new_attributes(under):
    source = put(under, "kit/source", b"bytes", attributes=ATTRIBUTES)
    given = under.copy(
        "kit/source", "kit//tar get", attributes=Attributes({}, {"a": "b"}), if_match=None
    )
    assert read(under, "kit//tar get") == b"bytes"
    told = under.head("kit//tar get")
    assert told.fingerprint == given.fingerprint
    assert told.attributes == Attributes({}, {"a": "b"})
    under.copy("kit/source", "kit/b", attributes=ATTRIBUTES, if_match=source.fingerprint)
    assert under.head("kit/b").attributes == ATTRIBUTES
    with pytest.raises(NotFound):
        under.copy("kit/missing", "kit/b", attributes=ATTRIBUTES, if_match=None)


def test_copy_of_another_version_is_refused(under):
    source = put(under, "kit/source", b"bytes")
    put(under, "kit/source", b"other")
    for named in (source.fingerprint, "of another store"):
        with pytest.raises(PreconditionFailed):
            under.copy("kit/source", "kit/b", attributes=ATTRIBUTES, if_match=named)
    assert names(under.list()) == ["kit/source"]


def test_copy_of_what_is_too_large_for_one_request_goes_in_parts(under, monkeypatch):
    monkeypatch.setattr(s3, "COPY_PART", 5 << 20)
    content = random.Random(2).randbytes(11 << 20)
    put(under, "kit/source", content)
    given = under.copy("kit/source", "kit/target", attributes=ATTRIBUTES, if_match=None)
    assert given.etag.endswith("-3")
    assert read(under, "kit/target") == content
    assert under.head("kit/target").attributes == ATTRIBUTES


# --- what goes wrong ---------------------------------------------------------------------


def test_missing_bucket_is_no_missing_object(opened):
    # Otherwise every record of the mount would be taken for gone.
    store = opened("s3://no-such-bucket-here")
    for call in (
        lambda: store.head("kit/object"),
        lambda: store.open("kit/object").__enter__(),
        lambda: store.open("kit/object", if_match="1-0").__enter__(),
        lambda: list(store.list()),
        lambda: put(store, "kit/object", b"x"),
        lambda: put(store, "kit//object", b"x"),
        lambda: store.put("kit/x", Counted(LARGE), size=LARGE, attributes=Attributes()),
        lambda: store.delete("kit/object"),
        lambda: store.delete("kit//object"),
    ):
        with pytest.raises(Unavailable):
            call()


def test_server_that_is_down_is_unavailable():
    options = {"endpoint_url": f"http://127.0.0.1:{unused_port()}", "max_retries": 0}
    with contextlib.closing(open_store("s3://bucket", options)) as store:
        for call in (
            lambda: store.head("kit/object"),
            lambda: store.open("kit/object", if_match="1-0").__enter__(),
            lambda: list(store.list()),
            lambda: put(store, "kit/object", b"x"),
            lambda: store.delete("kit/object"),
        ):
            with pytest.raises(Unavailable) as caught:
                call()
            assert caught.value.__cause__ is not None


# --- the other providers -----------------------------------------------------------------


@pytest.fixture
def gs(moto, clients):
    """Open a gs:// store: the server speaks enough of the same protocol for the bytes."""
    bucket, client = f"bucket{next(_numbers)}", clients(moto)
    client.create_bucket(Bucket=bucket)
    options = {"endpoint_url": moto, "bearer_token": "any"}
    with contextlib.closing(open_store(f"gs://{bucket}/pre", options)) as store:
        store.client, store.bucket = client, bucket
        yield store


def test_library_alone_carries_plain_keys(gs):
    info = put(gs, "kit/a b%c", b"bytes")
    assert info.etag is None
    assert read(gs, "kit/a b%c") == b"bytes"
    assert gs.client.get_object(Bucket=gs.bucket, Key="pre/kit/a b%c")["Body"].read() == b"bytes"
    gs.delete("kit/a b%c")
    gs.delete("kit/a b%c")
    assert names(gs.list()) == []


@pytest.mark.parametrize("key", ["/", "/a", "a//b", "..", "a/./b", "\n", f"a/{MARK}"])
def test_library_alone_refuses_what_it_would_mangle(gs, key):
    with pytest.raises(InvalidKey):
        put(gs, key, b"x")
    with pytest.raises(NotFound):
        gs.head(key)
    gs.delete(key)
    assert names(gs.list()) == []


def test_folder_markers_are_kept_under_a_name_of_their_own(gs):
    for key in ("d/", "d/ low", "d/!", "d/x", "d/x/ y/", "e/"):
        put(gs, key, b"of " + key.encode())
    stored = [one["Key"] for one in gs.client.list_objects_v2(Bucket=gs.bucket)["Contents"]]
    assert stored == [
        f"pre/{name}"
        for name in ("d/ low", "d/!", f"d/{MARK}", "d/x", f"d/x/ y/{MARK}", f"e/{MARK}")
    ]
    assert names(gs.list()) == ["d/", "d/ low", "d/!", "d/x", "d/x/ y/", "e/"]
    assert names(gs.list("d/", start_after="d/")) == ["d/ low", "d/!", "d/x", "d/x/ y/"]
    assert names(gs.list(delimiter="/")) == ["d/", "e/"]
    assert read(gs, "d/x/ y/") == b"of d/x/ y/"
    for key in ("d/", "e/", "d/x/ y/", "d/x/"):
        gs.delete(key)
    assert names(gs.list()) == ["d/ low", "d/!", "d/x"]


def test_markers_that_others_made_are_shown_with_their_slash(gs):
    for key in ("a", "a!", "a/", "a/b", "c/", "empty"):
        gs.client.put_object(Bucket=gs.bucket, Key=f"pre/{key}", Body=b"")
    assert names(gs.list()) == ["a", "a!", "a/", "a/b", "c/", "empty"]
    assert names(gs.list(delimiter="/")) == ["a", "a!", "a/", "c/", "empty"]
    assert gs.head("c/").size == 0
    assert read(gs, "c/") == b""
    with pytest.raises(NotFound):
        gs.head("empty/")
    with pytest.raises(InvalidKey):
        gs.delete("c/")


def test_name_that_the_library_cannot_read_stops_a_listing_with_an_error(gs):
    gs.client.put_object(Bucket=gs.bucket, Key="pre/a//b", Body=b"")
    with pytest.raises(StorageError, match="name"):
        list(gs.list())


def test_library_alone_lists_by_prefix_and_bound(gs):
    keys = ["a/b", "a/c/d", "a/c/e", "a.txt", "ab", "b/c"]
    for key in keys:
        put(gs, key, b"x")
    for prefix, delimiter, bound in itertools.product(
        ("", "a", "a/", "a/c", "b/", "x", "a/c/"), ("", "/", "c"), ("", "a/", "a/c/d", "ab", "z")
    ):
        listed = names(gs.list(prefix, delimiter=delimiter, start_after=bound))
        assert listed == expected_names(keys, prefix, delimiter, bound), (prefix, delimiter, bound)


def test_library_alone_has_no_conditional_upload_in_parts(gs):
    with pytest.raises(NotSupported):
        gs.put("kit/x", Counted(LARGE), size=LARGE, attributes=Attributes(), if_none_match=True)
    assert names(gs.list()) == []


# --- behind a gateway --------------------------------------------------------------------


def test_gateway_serves_a_bucket_of_another(gateway, clients, tmp_path):
    far = clients(gateway)
    far.create_bucket(Bucket="far")
    config = tmp_path / "forebay.toml"
    config.write_text(
        f'state = "{tmp_path}/state"\n[mounts."/"]\nunder = "s3://far/root"\n'
        f'options = {{ endpoint_url = "{gateway}" }}\n'
    )
    with forebay.Gateway(str(config)) as near:
        s3 = near.client()
        s3.create_bucket(Bucket="lake")
        body = random.Random(3).randbytes(LARGE)
        s3.put_object(Bucket="lake", Key="dir/x", Body=body, Metadata={"a": "b"})
        got = far.get_object(Bucket="far", Key="root/lake/dir/x")
        assert got["Body"].read() == body
        assert got["Metadata"] == {"a": "b"}
        far.put_object(Bucket="far", Key="root/lake/dir/y", Body=body)
        for _ in range(2):
            assert s3.get_object(Bucket="lake", Key="dir/y")["Body"].read() == body
        listed = s3.list_objects_v2(Bucket="lake", Prefix="dir/")["Contents"]
        assert [one["Key"] for one in listed] == ["dir/x", "dir/y"]


def test_a_client_is_told_that_its_key_is_too_long_with_the_mounts_prefix(
    gateway, clients, tmp_path
):
    clients(gateway).create_bucket(Bucket="narrow")
    config = tmp_path / "forebay.toml"
    config.write_text(
        f'state = "{tmp_path}/state"\n[mounts."/"]\nunder = "s3://narrow/pre"\n'
        f'options = {{ endpoint_url = "{gateway}" }}\n'
    )
    with forebay.Gateway(str(config)) as near:
        s3 = near.client()
        s3.create_bucket(Bucket="lake")
        for call in (
            lambda key: s3.put_object(Bucket="lake", Key=key, Body=b"x"),
            lambda key: s3.get_object(Bucket="lake", Key=key),
        ):
            with pytest.raises(ClientError) as caught:
                call("k" * 1024)
            told = caught.value.response["Error"]
            assert told["Code"] == "KeyTooLongError"
            assert "has 1033 bytes, its mount's prefix included" in told["Message"]
