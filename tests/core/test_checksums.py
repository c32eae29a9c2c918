import base64
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.checksums import ALGORITHMS, composite, full_object, parse_base64

CHECK = b"123456789"
KNOWN = {  # the check values of the catalogue of CRC algorithms, and hashlib's
    "crc32": bytes.fromhex("cbf43926"),
    "crc32c": bytes.fromhex("e3069283"),
    "crc64nvme": bytes.fromhex("ae8b14860a799888"),
    "sha1": hashlib.sha1(CHECK, usedforsecurity=False).digest(),
    "sha256": hashlib.sha256(CHECK).digest(),
}


def checksum_of(name: str, content: bytes) -> str:
    checksum = ALGORITHMS[name].new()
    checksum.update(content)
    return checksum.base64()


@pytest.mark.parametrize("name", KNOWN)
def test_known_values(name):
    checksum = ALGORITHMS[name].new()
    checksum.update(CHECK[:4])
    checksum.update(CHECK[4:])
    assert KNOWN[name] == checksum.digest()
    assert base64.b64encode(KNOWN[name]).decode() == checksum.base64()
    assert len(KNOWN[name]) == ALGORITHMS[name].digest_size


def test_every_algorithm_has_a_known_value():
    assert set(KNOWN) == set(ALGORITHMS)


@given(st.sampled_from(["crc32", "crc32c", "crc64nvme"]), st.lists(st.binary(max_size=40)))
def test_full_object_equals_the_checksum_of_the_joined_parts(name, parts):
    assert ALGORITHMS[name].combinable
    of_parts = [(checksum_of(name, part), len(part)) for part in parts]
    assert checksum_of(name, b"".join(parts)) == full_object(name, of_parts)


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_hashes_do_not_combine(name):
    assert not ALGORITHMS[name].combinable
    with pytest.raises(ValueError, match=name):
        full_object(name, [(checksum_of(name, b"a"), 1)])


def test_composite_is_the_checksum_of_the_digests():
    parts = [b"one", b"two"]
    digests = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in parts)
    expected = base64.b64encode(zlib.crc32(digests).to_bytes(4, "big")).decode() + "-2"
    assert expected == composite("crc32", [checksum_of("crc32", part) for part in parts])


@given(st.sampled_from(sorted(ALGORITHMS)), st.binary(max_size=40))
def test_parse_base64_takes_the_digest_size_only(name, digest):
    text = base64.b64encode(digest).decode()
    if len(digest) == ALGORITHMS[name].digest_size:
        assert digest == parse_base64(name, text)
    else:
        with pytest.raises(ValueError, match="bytes"):
            parse_base64(name, text)


@pytest.mark.parametrize("text", ["bad", "", "AAAAA===", "AAAA\nAA==", "AAAA*A==", "ÄAAAAA=="])
def test_parse_base64_refuses_what_is_not_base64(text):
    with pytest.raises(ValueError, match=r"base64|bytes"):
        parse_base64("crc32", text)
