"""The decision: asked of a whole Forebay, which found the plugin by its entry point."""

from __future__ import annotations

import urllib.request

import pytest

import forebay
import forebay_example

KEY = "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request"


def ask(gateway, method, path, body=None, **headers):
    request = urllib.request.Request(
        gateway.url + path, body, {"Authorization": KEY, **headers}, method=method
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read(), answer.headers


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "forebay.toml").write_text(f"""
state = "{folder}/state"
[mounts."/"]
under = "sqlite://{folder}/objects.db"
[[cache.tiers]]
name = "SSD"
kind = "disk"
path = "{folder}/pages"
capacity = "64 MiB"
eviction = "clock"
""")
    with forebay.Gateway(folder / "forebay.toml") as gateway:
        ask(gateway, "PUT", "/lake")
        yield gateway


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (100, "CACHE_THROUGH"),
        (forebay_example.LARGE - 1, "CACHE_THROUGH"),
        (forebay_example.LARGE, "THROUGH"),
    ],
)
def test_large_objects_go_by_the_cache(gateway, size, expected):
    content = bytes(size)
    _, headers = ask(gateway, "PUT", "/lake/object", content)
    assert headers["x-forebay-write-type"] == expected
    assert ask(gateway, "GET", "/lake/object")[0] == content
