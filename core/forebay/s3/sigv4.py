"""The one place that turns a request into an identity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from forebay.s3.errors import S3Error
from forebay.types import Identity

_HEADER_V4 = re.compile(r"AWS4-(?:HMAC|ECDSA-P256)-SHA256[ \t]+(.*)", re.DOTALL)
_CREDENTIAL = re.compile(r"(?:^|[,\s])Credential=([^,\s]*)")
_HEADER_V2 = re.compile(r"AWS[ \t]+(.*)", re.DOTALL)
_SIGNED_QUERY = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "AWSAccessKeyId")


class AuthKind(Protocol):
    """The part of the configuration that decides who is believed."""

    @property
    def kind(self) -> str:
        """``simple``: the name in the credential is believed, the signature is not looked at."""
        ...


def identify(
    headers: Mapping[str, str], query: Mapping[str, str], *, auth: AuthKind, launch_user: str
) -> Identity:
    """Tell who is asking; `headers` by lower-case name, `query` decoded once.

    A request without any signature is `launch_user`'s. Raises S3Error:
    AuthorizationHeaderMalformed, AuthorizationQueryParametersError, InvalidArgument (an unknown
    scheme, or two kinds of signature), AccessDenied (an empty header).
    """
    if auth.kind != "simple":
        raise S3Error("NotImplemented", f"auth kind {auth.kind} comes with a later version.")
    header = headers.get("authorization")
    signed_query = _has_signed_query(query)
    if header is not None and signed_query:
        raise S3Error("InvalidArgument", "Only one auth mechanism allowed.")
    if header is not None:
        return _identity(_user_of_header(header.strip()), "AuthorizationHeaderMalformed")
    if signed_query:
        return _identity(_user_of_query(query), "AuthorizationQueryParametersError")
    return Identity(launch_user)


def is_signed(headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    """Whether the request carries a signature, as header or as presigned URL."""
    return "authorization" in headers or _has_signed_query(query)


def _has_signed_query(query: Mapping[str, str]) -> bool:
    return any(name in query for name in _SIGNED_QUERY)


def _user_of_header(header: str) -> str | None:
    if not header:
        raise S3Error("AccessDenied")
    if v4 := _HEADER_V4.fullmatch(header):
        credential = _CREDENTIAL.search(v4[1])
        return _before("/", credential[1]) if credential else None
    if v2 := _HEADER_V2.fullmatch(header):
        return _before(":", v2[1])
    raise S3Error("InvalidArgument", "Unsupported Authorization Type")


def _user_of_query(query: Mapping[str, str]) -> str | None:
    if (credential := query.get("X-Amz-Credential")) is not None:
        return _before("/", credential)
    return query.get("AWSAccessKeyId")


def _before(separator: str, text: str) -> str | None:
    user, found, _ = text.partition(separator)
    return user if found else None


def _identity(user: str | None, fault: str) -> Identity:
    if not user or not user.isprintable() or " " in user:
        raise S3Error(fault)
    return Identity(user, access_key=user)
