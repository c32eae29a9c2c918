"""One request on its way through the S3 front end, and the answer it gets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from forebay.catalog.records import Bucket
from forebay.errors import AccessDenied, StorageError
from forebay.s3 import xml
from forebay.s3.address import Address
from forebay.s3.body import RequestBody, read_body
from forebay.s3.dialect import Dialect
from forebay.s3.errors import S3Error, to_s3_error
from forebay.streams import Chunk, Reader
from forebay.types import DeleteType, Identity, WriteType

if TYPE_CHECKING:
    from forebay.runtime import Forebay

W = TypeVar("W", WriteType, DeleteType)

log = logging.getLogger("forebay.s3")


class Stream(Protocol):
    """A body that leaves block by block; `close` is called whatever happens."""

    def __iter__(self) -> Iterator[Chunk]:
        """Give the blocks; raises when the rest cannot be had, so that the connection is cut."""
        ...

    def close(self) -> None:
        """Let go of what the blocks come from."""
        ...


@dataclass(slots=True)
class Answer:
    """What goes back: header names in lower case; `status` None means the operation's own.

    Of `body` and `stream` at most one is used; with a stream ``content-length`` is in `headers`,
    unless nobody can know it.
    """

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    status: int | None = None
    stream: Stream | None = None


@dataclass(slots=True)
class Call:
    """One request: where it goes, what it says, and who sent it.

    `headers` has lower-case names. `query` is decoded once and holds the first value of each
    name. `resource` is the path for error documents, `url` the URL asked for, without its
    query. `pool` gives what runs the work that may outlast a keep-alive.
    """

    forebay: Forebay
    dialect: Dialect
    address: Address
    method: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    identity: Identity
    request_id: str
    resource: str
    url: str
    raw: Reader
    content_length: int | None
    transfer_chunked: bool
    pool: Callable[[], Executor]
    _bucket: Bucket | None = None

    @property
    def bucket(self) -> Bucket:
        """The addressed bucket, looked up once. Raises NoSuchBucket."""
        if self._bucket is None:
            self._bucket = self.forebay.buckets.get(self.address.bucket or "")
        return self._bucket

    @property
    def key(self) -> str:
        """The key below the top-level bucket."""
        return self.address.full_key

    @property
    def shown_bucket(self) -> str:
        """The bucket's name as the client wrote it: ``a:b`` for the sub-directory ``a/b``."""
        return ":".join([self.address.bucket or "", *self.address.prefix.split("/")[:-1]])

    @property
    def shown_owner(self) -> str:
        """The bucket's owner, or the launcher of the server for a bucket that has none."""
        return self.bucket.owner or self.forebay.launch_user

    # --- what may be done -------------------------------------------------------------

    def authorize(
        self, action: str, bucket: Bucket | None, name: str | None, key: str | None
    ) -> None:
        """Raise AccessDenied unless plugins and the ownership of `bucket` allow `action`.

        `name` is the bucket's, None for the service; `bucket` is None where there is none yet.
        """
        if not self.forebay.hooks.authorize(
            identity=self.identity, action=action, bucket=name, key=key
        ):
            raise AccessDenied
        self.check_ownership(bucket)

    def check_ownership(self, bucket: Bucket | None) -> None:
        """Raise AccessDenied when the bucket is another user's, unless all are open."""
        if (
            bucket is not None
            and bucket.owner not in (None, self.identity.user)
            and self.forebay.config.auth.authorization != "open"
        ):
            raise AccessDenied

    def expect_owner(self, bucket: Bucket, header: str = "x-amz-expected-bucket-owner") -> None:
        """Raise AccessDenied when the client expects the bucket to be somebody else's."""
        expected = self.headers.get(header)
        if expected is not None and bucket.owner is not None and expected != bucket.owner:
            raise AccessDenied

    # --- what goes back ---------------------------------------------------------------

    def document(self, root: str, *content: tuple[str, Any], status: int | None = None) -> Answer:
        """Give an answer that is an XML document in the dialect's namespace."""
        body = xml.document(root, self.dialect.xml_namespace, *content)
        return Answer({"content-type": "application/xml"}, body, status)

    # --- what the client asked for ----------------------------------------------------

    def number(self, name: str, default: int, *, most: int, least: int = 0) -> int:
        """Give a whole number from the query, cut at `most`; `default` when absent or empty."""
        given = self.query.get(name, "")
        if not given:
            return default
        if not (given.isascii() and given.isdigit() and len(given) <= 10) or int(given) < least:
            raise S3Error(
                "InvalidArgument",
                f"Provided {name} not an integer or within integer range",
                ArgumentName=name,
                ArgumentValue=given,
            )
        return min(int(given), most)

    def write_type(self) -> WriteType | None:
        """Give the write type of ``x-forebay-write-type``, if there is one."""
        return _word(self.headers, "x-forebay-write-type", WriteType)

    def delete_type(self) -> DeleteType | None:
        """Give the delete type of ``x-forebay-delete-type``, if there is one."""
        return _word(self.headers, "x-forebay-delete-type", DeleteType)

    def body(self) -> RequestBody:
        """Give the body as the bytes of an object, verified at its end."""
        return read_body(
            self.headers,
            self.raw,
            content_length=self.content_length,
            transfer_chunked=self.transfer_chunked,
        )

    @property
    def has_body(self) -> bool:
        """Whether the client announced a body of at least one byte."""
        return self.transfer_chunked or bool(self.content_length)

    def xml(self, root: str, *, object_checksums: bool = False) -> Any:
        """Read the body as an XML document, verified like any body.

        With `object_checksums` the checksum headers speak of an object, not of the document.
        Raises MaxMessageLengthExceeded over 2 MiB, MalformedXML.
        """
        if (self.content_length or 0) > xml.MAX_DOCUMENT:
            raise S3Error("MaxMessageLengthExceeded")
        body = read_body(
            self.headers,
            self.raw,
            content_length=self.content_length,
            transfer_chunked=self.transfer_chunked,
            object_checksums=object_checksums,
        )
        read = bytearray()
        while block := body.read(1 << 16):
            read += block
            if len(read) > xml.MAX_DOCUMENT:
                raise S3Error("MaxMessageLengthExceeded")
        return xml.parse(bytes(read), root)


def _word(headers: Mapping[str, str], name: str, kind: type[W]) -> W | None:
    given = headers.get(name)
    if given is None:
        return None
    try:
        return kind(given.strip().upper())
    except ValueError:
        raise S3Error(
            "InvalidArgument",
            f"{name} is one of {', '.join(kind)}",
            ArgumentName=name,
            ArgumentValue=given,
        ) from None


def explain(exc: Exception, request_id: str) -> S3Error:
    """Give the answer to what went wrong, and tell the log what the client is not told."""
    error = to_s3_error(exc)
    if error.code == "InternalError":
        log.error("request %s failed", request_id, exc_info=exc)
    elif isinstance(exc, StorageError):
        log.warning("request %s: %s: %s", request_id, type(exc).__name__, exc)
    return error


def error_document(
    error: S3Error, resource: str, request_id: str, *, declaration: bool = True
) -> bytes:
    """Render an error as S3 does; error documents never have a namespace."""
    return xml.document(
        "Error",
        None,
        ("Code", error.code),
        ("Message", error.message),
        *error.fields.items(),
        ("Resource", resource),
        ("RequestId", request_id),
        declaration=declaration,
    )
