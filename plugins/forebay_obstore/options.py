"""What may be written in ``options`` of a mount, for each provider: one table."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from forebay.errors import ConfigurationError
from forebay_obstore.uri import AZURE, GCS, S3, Place

_PATIENCE = {
    "timeout": "seconds",
    "connect_timeout": "seconds",
    "max_retries": "number",
    "retry_timeout": "seconds",
}
_EVERY = {
    "durability": "text",  # every store is handed it; an object store has no use for it
    "endpoint_url": "url",
    "allow_http": "flag",
    "anonymous": "flag",
    "ca_file": "text",
    **_PATIENCE,
}

OPTIONS: Mapping[str, Mapping[str, str]] = {
    S3: {
        **_EVERY,
        "region": "text",
        "access_key_id": "text",
        "secret_access_key": "text",
        "session_token": "text",
        "profile": "text",
        "addressing_style": "path or virtual",
    },
    GCS: {
        **_EVERY,
        "service_account": "text",
        "service_account_key": "text",
        "application_credentials": "text",
        "bearer_token": "text",
    },
    AZURE: {
        **_EVERY,
        "account_name": "text",
        "account_key": "text",
        "sas_token": "text",
        "tenant_id": "text",
        "client_id": "text",
        "client_secret": "text",
        "bearer_token": "text",
        "use_azure_cli": "flag",
        "use_emulator": "flag",
    },
}
"""For each provider its options and what each has to be."""

_NEEDS = {
    "access_key_id": "secret_access_key",
    "secret_access_key": "access_key_id",
    "session_token": "access_key_id",
    "client_secret": "client_id",
}
_SECRETS = (
    "access_key_id",
    "profile",
    "service_account",
    "service_account_key",
    "application_credentials",
    "bearer_token",
    "account_key",
    "sas_token",
    "client_secret",
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take, in seconds, and how often it is tried again.

    `timeout` is for the time without a byte, `total` bounds the time in which it is begun anew.
    """

    timeout: float = 60.0
    connect: float = 5.0
    retries: int = 4
    total: float = 30.0


def check(place: Place, options: Mapping[str, Any]) -> None:
    """Check every option; raise ConfigurationError with all faults."""
    known = OPTIONS[place.provider]
    faults = []
    for name, value in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0) or [""]
            faults.append(
                f"{name!r} is no option of an under store on {place.provider}; nearest: {near[0]!r}"
            )
        elif (fault := _fault(known[name], value)) is not None:
            shown = "" if name in _SECRETS or name in _NEEDS else f" = {value!r}"
            faults.append(f"{name}{shown}: {fault}")
    for name, other in _NEEDS.items():
        if name in options and other not in options:
            faults.append(f"{name} is of no use without {other}")
    if options.get("anonymous") is True:
        faults += [f"{name} contradicts anonymous" for name in _SECRETS if name in options]
    endpoint = options.get("endpoint_url")
    plain = isinstance(endpoint, str) and urlsplit(endpoint).scheme == "http"
    if plain and options.get("allow_http") is False:
        faults.append(f"endpoint_url = {endpoint!r}: allow_http forbids it")
    if faults:
        raise ConfigurationError(*faults)


def _fault(kind: str, value: object) -> str | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "flag":
        return None if isinstance(value, bool) else "must be true or false"
    if kind == "number":
        return None if isinstance(value, int) and number and value >= 0 else "must be 0 or more"
    if kind == "seconds":
        positive = isinstance(value, int | float) and number and 0 < value < math.inf
        return None if positive else "must be seconds, more than 0"
    if not isinstance(value, str) or not value:
        return "must be text"
    if kind == "url":
        parts = urlsplit(value)
        odd = parts.query or parts.fragment or parts.username
        valid = parts.scheme in ("http", "https") and parts.hostname and not odd
        return None if valid else "must be http://host:port or https://host:port"
    if kind == "path or virtual" and value not in ("path", "virtual"):
        return "must be path or virtual"
    return None


def patience_of(options: Mapping[str, Any]) -> Patience:
    """Give the times and tries that checked options ask for."""
    usual = Patience()
    return Patience(
        float(options.get("timeout", usual.timeout)),
        float(options.get("connect_timeout", usual.connect)),
        int(options.get("max_retries", usual.retries)),
        float(options.get("retry_timeout", usual.total)),
    )


@dataclass(frozen=True, slots=True)
class S3Address:
    """Where requests for a bucket go: `base` is ``scheme://host/path`` of the bucket itself."""

    base: str
    region: str
    is_aws: bool


def s3_address(place: Place, options: Mapping[str, Any]) -> S3Address:
    """Work out a bucket's address from checked options, then from the environment."""
    env = os.environ.get
    region = options.get("region") or env("AWS_REGION") or env("AWS_DEFAULT_REGION") or "us-east-1"
    given = (
        options.get("endpoint_url") or env("AWS_ENDPOINT_URL_S3") or env("AWS_ENDPOINT_URL") or ""
    ).rstrip("/")
    # A dot in the name does not fit the certificate of the virtual host.
    usual = "path" if given or "." in place.bucket else "virtual"
    virtual = options.get("addressing_style", usual) == "virtual"
    cn = ".cn" if region.startswith("cn-") else ""
    service = given or f"https://s3.{region}.amazonaws.com{cn}"
    if not virtual:
        return S3Address(f"{service}/{place.bucket}", region, not given)
    scheme, _, host = service.partition("://")
    return S3Address(f"{scheme}://{place.bucket}.{host}", region, not given)
