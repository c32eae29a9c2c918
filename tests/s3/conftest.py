"""Black box: a gateway over each kind of storage, asked over the wire.

The gateways serve the whole session; every test acts as a user of its own, in buckets of its own.
"""

import contextlib
import itertools
import re
import socket
import xml.etree.ElementTree as ET

import boto3
import botocore.config
import pytest
from botocore.exceptions import ClientError
from botocore.handlers import validate_bucket_name

from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig
from forebay.server.gateway import Gateway

_numbers = itertools.count(1)


class Refused:
    """What a client was told instead of an answer."""

    def __init__(self, error):
        self.code = error.response["Error"]["Code"]
        self.status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        self.headers = error.response["ResponseMetadata"]["HTTPHeaders"]


@contextlib.contextmanager
def _refused(code, status=None):
    with pytest.raises(ClientError) as caught:
        yield
    told = Refused(caught.value)
    assert (told.code, told.status) == (str(code), status or told.status)


@pytest.fixture
def refused():
    """Expect a ClientError of that code, and of that status."""
    return _refused


class Wire:
    """Sends bytes as they are, and takes answers apart."""

    def __init__(self, gateway, user):
        self.gateway = gateway
        self.signed = (
            f"AWS4-HMAC-SHA256 Credential={user}/20260101/us-east-1/s3/aws4_request, "
            "SignedHeaders=host, Signature=0"
        )

    def raw(self, sent, timeout=5):
        """Give everything that comes back before the server closes or says no more."""
        with socket.create_connection(("127.0.0.1", self.gateway.port), timeout) as connection:
            received = b""
            # A server that has refused already may close before it has read everything.
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                while block := connection.recv(1 << 16):
                    received += block
        return received

    def __call__(self, method, target, body=b"", **headers):
        named = {
            "Host": f"127.0.0.1:{self.gateway.port}",
            "Authorization": self.signed,
            "Connection": "close",
            "Content-Length": str(len(body)),
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value is not None)
        sent = f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
        return Reply(self.raw(sent))


class Reply:
    """One answer off the wire."""

    def __init__(self, received):
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.version, _, rest = first.partition(" ")
        self.status = int(rest.split(" ")[0]) if rest else 0
        self.headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        self.body = body

    @property
    def root(self):
        """The document, namespaces taken off."""
        return ET.fromstring(re.sub(rb' xmlns="[^"]*"', b"", self.body))

    @property
    def code(self):
        return self.root.findtext("Code")


@pytest.fixture(scope="session")
def gateways(tmp_path_factory):
    """Give the gateway over a kind of storage, started at its first use."""
    with contextlib.ExitStack() as stack:
        started = {}

        def gateway(kind):
            if kind not in started:
                started[kind] = stack.enter_context(Gateway(_config(kind, tmp_path_factory)))
            return started[kind]

        yield gateway


def _config(kind, tmp_path_factory):
    place = tmp_path_factory.mktemp(kind)
    (place / "root").mkdir()
    shared = kind == "file"
    return Config(
        mounts={"/": MountConfig("/", (place / "root").as_uri() if shared else "memory://root")},
        metadata=MetadataConfig(
            kind="sqlite" if shared else "memory", path=str(place / "catalog.db") if shared else ""
        ),
        cache=CacheConfig(
            tiers=[TierConfig(name="SSD", path=str(place / "pages"), capacity=512 << 20)]
        ),
        durability="process",
        state=str(place),
    )


@pytest.fixture
def root():
    """The kind of storage; modules parametrize it."""
    return "memory"


@pytest.fixture
def gateway(gateways, root):
    """The gateway over that storage."""
    return gateways(root)


@pytest.fixture
def unique():
    """What makes this test's names its own."""
    return f"n{next(_numbers)}"


@pytest.fixture
def user(unique):
    """Whom this test acts as."""
    return f"user-{unique}"


@pytest.fixture(scope="session")
def boto():
    """One boto3 session: each one reads the whole description of S3 anew."""
    return boto3.session.Session()


@pytest.fixture
def connect(boto, gateway, user):
    """Make boto3 clients; with `colons` they let colons stand in bucket names."""
    with contextlib.ExitStack() as stack:

        def connect(*, user=user, alluxio=False, colons=False, config=None):
            client = boto.client(
                "s3",
                endpoint_url=gateway.alluxio_url if alluxio else gateway.url,
                region_name="us-east-1",
                aws_access_key_id=user,
                aws_secret_access_key="any",
                config=botocore.config.Config(
                    signature_version="s3v4",
                    s3={"addressing_style": "path"},
                    retries={"total_max_attempts": 1},
                ).merge(config or botocore.config.Config()),
            )
            if colons:
                client.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)
            stack.callback(client.close)
            return client

        yield connect


@pytest.fixture
def s3(connect):
    """A boto3 client of the AWS endpoint."""
    return connect()


@pytest.fixture
def wire(gateway, user):
    """Bytes to and from the gateway."""
    return Wire(gateway, user)


@pytest.fixture
def alluxio(connect):
    """A boto3 client of the Alluxio endpoint."""
    return connect(alluxio=True)


@pytest.fixture
def bucket(s3, unique):
    """The name of a fresh bucket."""
    s3.create_bucket(Bucket=f"bucket-{unique}")
    return f"bucket-{unique}"
