"""Azure Blob Storage: the kit over the emulator Azurite, where `azurite-blob` can be found."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import time

import pytest

from forebay.errors import InvalidKey, NotSupported
from forebay.testing.under import UnderStoreTests
from forebay.testing.under_kit import ATTRIBUTES, names, put, read
from forebay.testing.under_listing import ListingTests
from forebay.types import Attributes
from forebay_obstore.carrier import PART
from forebay_obstore.keys import MARK
from forebay_obstore.opening import open_store

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""What every emulator has, as Microsoft publishes it; no secret."""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def azurite(tmp_path_factory):
    """Start an emulator; give its URL and a client of Microsoft's."""
    command = shutil.which("azurite-blob") or os.environ.get("AZURITE_BLOB")
    if command is None:
        pytest.skip("no azurite-blob on the PATH (npm install -g azurite) or in AZURITE_BLOB")
    blob = pytest.importorskip("azure.storage.blob", reason="pip install azure-storage-blob")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    where = tmp_path_factory.mktemp("azurite")
    with subprocess.Popen(
        [command, "--blobPort", str(port), "--location", str(where), "--silent",
         "--skipApiVersionCheck", "--disableTelemetry"],
        stdout=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            url = f"http://127.0.0.1:{port}/{ACCOUNT}"
            with contextlib.closing(blob.BlobServiceClient(url, KEY)) as client:
                yield url, client
        finally:
            server.terminate()


@contextlib.contextmanager
def opened(azurite, prefix=""):
    """Open a store of a new container."""
    url, client = azurite
    container = client.create_container(f"kit{next(_numbers)}")
    uri = f"az://{container.container_name}/{prefix}"
    options = {"endpoint_url": url, "account_name": ACCOUNT, "account_key": KEY}
    with contextlib.closing(open_store(uri, options)) as store:
        store.container, store.opening = container, (open_store, (uri, options))
        yield store


class Azure:
    """The ways around the store."""

    PREFIX = ""

    @pytest.fixture
    def under(self, azurite):
        with opened(azurite, self.PREFIX) as store:
            yield store

    def poke(self, under, key, content):
        under.container.upload_blob(self.PREFIX + key, content, overwrite=True)

    def peek(self, under, key):
        blob = under.container.get_blob_client(self.PREFIX + key)
        return blob.download_blob().readall() if blob.exists() else None

    def opening(self, under):
        return under.opening

    def fill(self, under, keys):
        # The emulator orders names by UTF-16.
        return super().fill(under, [key for key in keys if max(key) <= "\uffff"])


class TestAzure(Azure, UnderStoreTests):
    pass


class TestAzureBelowAPrefix(Azure, ListingTests):
    PREFIX = "deep/er/"


@pytest.fixture
def under(azurite):
    with opened(azurite) as store:
        yield store


class Zeros:
    """A body of `size` zeros, and then `error` if there is one."""

    def __init__(self, size, error=None):
        self.left, self.error = size, error

    def read(self, size):
        taken = min(size, self.left)
        self.left -= taken
        if not taken and self.error is not None:
            raise self.error
        return bytes(taken)


LARGE = 2 * PART + 7


@pytest.mark.parametrize("size", [LARGE, None])
def test_large_object_goes_up_in_parts(under, size):
    info = under.put("kit/large", Zeros(LARGE), size=size, attributes=ATTRIBUTES)
    assert under.head("kit/large").fingerprint == info.fingerprint
    assert read(under, "kit/large") == bytes(LARGE)
    assert under.head("kit/large").attributes == ATTRIBUTES


@pytest.mark.parametrize("error", [ValueError("a digest"), OSError(28, "the body's own")])
def test_large_body_that_fails_leaves_nothing_behind(under, error):
    with pytest.raises(type(error)) as caught:
        under.put("kit/x", Zeros(LARGE, error), size=LARGE, attributes=Attributes())
    assert caught.value is error
    assert names(under.list()) == []
    assert list(under.container.list_blobs(include=["uncommittedblobs"])) == []


def test_condition_of_a_large_put_is_refused(under):
    with pytest.raises(NotSupported):
        under.put("x", Zeros(LARGE), size=LARGE, attributes=Attributes(), if_none_match=True)


def test_folder_markers_are_kept_under_a_name_of_their_own(under):
    for key in ("d/", "d/ low", "d/!", "d/x", "d/x/y/", "e/"):
        put(under, key, b"")
    stored = [blob.name for blob in under.container.list_blobs()]
    assert stored == ["d/ low", "d/!", f"d/{MARK}", "d/x", f"d/x/y/{MARK}", f"e/{MARK}"]
    assert names(under.list()) == ["d/", "d/ low", "d/!", "d/x", "d/x/y/", "e/"]
    assert names(under.list("d/", start_after="d/")) == ["d/ low", "d/!", "d/x", "d/x/y/"]
    assert names(under.list(delimiter="/")) == ["d/", "e/"]
    with pytest.raises(InvalidKey):
        put(under, f"d/{MARK}", b"")
