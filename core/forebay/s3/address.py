"""What a request is about: bucket, sub-directory and key, decoded once and only here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from forebay.s3.errors import S3Error

MAX_KEY = 1024
"""Bytes of UTF-8 that a key may have, the sub-directory of its bucket name included."""
_MAX_BUCKET = 255

_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+){3}", re.ASCII)
_RESERVED_BEGINNINGS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_OURS = frozenset({"", "-", ".", "..", ".forebay"})
"""Names no bucket and no sub-directory of a bucket name can have: `-` is the product's own."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a request points: nothing (the service), a bucket, or a key of it.

    `prefix` is the sub-directory of a bucket name ``a:b:c`` as ``b/c/``, else empty.
    """

    bucket: str | None
    prefix: str = ""
    key: str | None = None

    @property
    def full_key(self) -> str:
        """The key from the top-level bucket on; for a bucket, its sub-directory."""
        return self.prefix + (self.key or "")


@dataclass(frozen=True, slots=True)
class CopySource:
    """What x-amz-copy-source names; `version_id` is None when it names no version."""

    bucket: str
    prefix: str
    key: str
    version_id: str | None = None

    @property
    def full_key(self) -> str:
        """The key from the top-level bucket on."""
        return self.prefix + self.key


def parse_address(raw_path: str, *, host: str | None = None, domain: str | None = None) -> Address:
    """Give what the undecoded `raw_path` (base path taken off) of a request is about.

    Every octet of the request is one character of `raw_path`, as WSGI has it. With `domain`,
    a `host` of ``bucket.domain`` names the bucket. Raises S3Error InvalidURI, InvalidBucketName,
    KeyTooLongError.

    >>> parse_address("/a%3Ab/x+y%20z//")
    Address(bucket='a', prefix='b/', key='x+y z//')
    """
    path = raw_path[1:] if raw_path.startswith("/") else raw_path
    name = _bucket_of_host(host, domain)
    if name is None:
        raw_name, _, path = path.partition("/")
        if not raw_name and not path:
            return Address(None)
        name = decode(raw_name)
    bucket, prefix = split_bucket(name)
    if not path:
        return Address(bucket, prefix)
    key = decode(path)
    check_key(prefix + key)
    return Address(bucket, prefix, key)


def parse_copy_source(header: str) -> CopySource:
    """Give what an x-amz-copy-source header names; percent-decoded once, ``+`` stays ``+``.

    Raises S3Error InvalidArgument, or NotImplemented for an ARN of an access point.

    >>> parse_copy_source("a/b%3Fc?versionId=v1")
    CopySource(bucket='a', prefix='', key='b?c', version_id='v1')
    """
    raw, marked, version_id = header.strip().partition("?versionId=")
    try:
        path = decode(raw)
        if path.removeprefix("/").startswith("arn:"):
            raise S3Error("NotImplemented", "A copy source cannot be an access point.")
        name, _, key = path.removeprefix("/").partition("/")
        bucket, prefix = split_bucket(name)
        check_key(prefix + key)
    except S3Error as error:
        if error.code == "NotImplemented":
            raise
        raise _bad_source(header) from error
    if not key or (marked and not version_id):
        raise _bad_source(header)
    return CopySource(bucket, prefix, key, version_id if marked else None)


def decode(raw: str) -> str:
    """Percent-decode one time, strictly; S3Error InvalidURI unless it is UTF-8 without NUL."""
    if _BAD_PERCENT.search(raw):
        raise S3Error("InvalidURI")
    try:
        text = unquote_to_bytes(raw.encode("latin-1")).decode("utf-8")
    except UnicodeError as error:
        raise S3Error("InvalidURI") from error
    if "\0" in text:
        raise S3Error("InvalidURI")
    return text


def check_key(key: str) -> None:
    """Refuse a full key that no object can have; S3Error KeyTooLongError, InvalidURI."""
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise S3Error("InvalidURI") from error
    if size > MAX_KEY:
        raise S3Error("KeyTooLongError", Size=str(size), MaxSizeAllowed=str(MAX_KEY))
    if "\0" in key:
        raise S3Error("InvalidURI")


def split_bucket(name: str) -> tuple[str, str]:
    """Give top-level bucket and sub-directory of a bucket name; S3Error InvalidBucketName.

    >>> split_bucket("a:b:c")
    ('a', 'b/c/')
    """
    bucket, *folders = name.split(":")
    if not bucket or "/" in name or _CONTROL.search(name):
        raise _bad_bucket(name)
    if any(folder in _OURS for folder in folders):
        raise _bad_bucket(name)
    return bucket, "".join(f"{folder}/" for folder in folders)


def valid_bucket_name(name: str) -> bool:
    """Whether S3 allows a bucket of that name (general purpose buckets)."""
    return (
        3 <= len(name) <= 63
        and all(_LABEL.fullmatch(label) for label in name.split("."))
        and not name.startswith(_RESERVED_BEGINNINGS)
        and not name.endswith(_RESERVED_ENDS)
        # Four groups of digits look like an address to clients even when no host has it.
        and not _ADDRESS.fullmatch(name)
    )


def check_new_bucket_name(name: str, restricted: bool) -> None:
    """Refuse a name that CreateBucket cannot give; S3Error InvalidBucketName.

    `restricted` holds it to S3's naming rules; what no path can say is refused in any case.
    """
    bucket, _ = split_bucket(name)
    if (
        bucket in _OURS
        or len(bucket.encode("utf-8", "surrogatepass")) > _MAX_BUCKET
        or (restricted and not valid_bucket_name(bucket))
    ):
        raise _bad_bucket(name)


def _bucket_of_host(host: str | None, domain: str | None) -> str | None:
    if not host or not domain:
        return None
    name = re.sub(r":[0-9]*$", "", host.lower())
    suffix = "." + domain.lower().strip(".")
    return name.removesuffix(suffix) if name.endswith(suffix) else None


def _bad_bucket(name: str) -> S3Error:
    return S3Error("InvalidBucketName", BucketName=_CONTROL.sub("?", name)[:_MAX_BUCKET])


def _bad_source(header: str) -> S3Error:
    return S3Error(
        "InvalidArgument",
        "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        ArgumentName="x-amz-copy-source",
        ArgumentValue=_CONTROL.sub("?", header)[:200],
    )
