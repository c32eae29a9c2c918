"""The S3 application in this process, over stores in memory."""

import re
import xml.etree.ElementTree as ET

import pytest
from falcon import testing

from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig
from forebay.runtime import Forebay
from forebay.s3.app import create_app

BASE = "/api/v1/s3"


class Answer:
    """One answer: status, headers by lower-case name, body."""

    def __init__(self, result):
        self.status = result.status_code
        self.headers = {name.lower(): value for name, value in result.headers.items()}
        self.body = result.content

    @property
    def root(self):
        """The document, namespaces taken off."""
        return ET.fromstring(re.sub(rb' xmlns="[^"]*"', b"", self.body))

    @property
    def code(self):
        return self.root.findtext("Code")

    def text(self, path):
        return self.root.findtext(path)

    def texts(self, path):
        return [element.text or "" for element in self.root.findall(path)]


class Endpoint:
    """Sends requests exactly as written to the application of one Forebay."""

    def __init__(self, forebay, user="alice"):
        self.forebay = forebay
        self.user = user
        self.client = testing.TestClient(create_app(forebay))

    def as_user(self, user):
        other = Endpoint.__new__(Endpoint)
        other.forebay, other.client, other.user = self.forebay, self.client, user
        return other

    def __call__(self, method, target, body=b"", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.user:
            named.setdefault(
                "Authorization",
                f"AWS4-HMAC-SHA256 Credential={self.user}/20260101/us-east-1/s3/aws4_request, "
                "SignedHeaders=host, Signature=0",
            )
        if method in ("PUT", "POST"):
            named.setdefault("Content-Length", str(len(body)))
        result = self.client.simulate_request(
            method, "/", body=body, headers=named, extras={"REQUEST_URI": target}
        )
        return Answer(result)

    def ok(self, method, target, body=b"", **headers):
        answer = self(method, target, body, **headers)
        assert answer.status < 300, answer.body
        return answer


def open_forebay(plugins=(), mount=None, **config):
    """Open a Forebay whose every store is in memory."""
    return Forebay(
        Config(
            mounts={"/": MountConfig(path="/", under="memory://", **(mount or {}))},
            metadata=MetadataConfig(kind="memory"),
            cache=CacheConfig(tiers=[TierConfig(name="MEM", kind="memory", capacity=64 << 20)]),
            **config,
        ),
        plugins=plugins,
    )


@pytest.fixture
def make():
    """Make endpoints; their Forebays are closed at the end."""
    opened = []

    def make(**options):
        forebay = open_forebay(**options)
        opened.append(forebay)
        forebay.start()
        return Endpoint(forebay)

    yield make
    for forebay in opened:
        forebay.close()


@pytest.fixture
def s3(make):
    """An endpoint with the bucket ``bucket``."""
    endpoint = make()
    endpoint.ok("PUT", "/bucket")
    return endpoint
