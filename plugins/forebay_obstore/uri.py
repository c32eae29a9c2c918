"""Where a store is: the schemes, and what stands behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from forebay.errors import ConfigurationError

S3, GCS, AZURE = "s3", "gcs", "azure"

PROVIDERS = {
    "s3": S3,
    "s3a": S3,
    "gs": GCS,
    "gcs": GCS,
    "az": AZURE,
    "azure": AZURE,
    "abfs": AZURE,
    "abfss": AZURE,
    "adl": AZURE,
}
"""Scheme, and the provider that answers for it; also the name of the extra that installs it."""

_BUCKET = re.compile(r"[0-9A-Za-z$][0-9A-Za-z._-]{0,254}")
_AZURE_HOST = re.compile(r"([0-9a-z]+)\.(?:dfs|blob)\.[0-9a-z.-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket (container) of a provider; `prefix` is empty or ends with ``/``.

    `account` is set where the URI names an Azure account.
    """

    provider: str
    bucket: str
    prefix: str = ""
    account: str = ""


def parse(uri: str) -> Place:
    """Give the place that a URI names; nothing in it is percent-encoded.

    >>> parse("s3://lake/raw")
    Place(provider='s3', bucket='lake', prefix='raw/', account='')

    Raises ConfigurationError.
    """
    scheme, found, rest = uri.partition("://")
    provider = PROVIDERS.get(scheme)
    if provider is None or not found:
        raise ConfigurationError(f"{uri!r}: write s3://, gs:// or az://, then bucket/prefix")
    name, _, prefix = rest.partition("/")
    account = ""
    if provider == AZURE and "@" in name:
        name, _, host = name.partition("@")
        match = _AZURE_HOST.fullmatch(host)
        if match is None:
            raise ConfigurationError(
                f"{uri!r}: write {scheme}://container@account.dfs.core.windows.net/prefix"
            )
        account = match[1]
    if not _BUCKET.fullmatch(name):
        raise ConfigurationError(f"{uri!r}: {name!r} is no name of a bucket or container")
    prefix = prefix.removesuffix("/")
    segments = prefix.split("/") if prefix else []
    if any(one in ("", ".", "..") for one in segments) or _CONTROL.search(prefix):
        raise ConfigurationError(
            f"{uri!r}: the prefix has a segment that is empty, . or .., or a control character"
        )
    return Place(provider, name, f"{prefix}/" if prefix else "", account)
