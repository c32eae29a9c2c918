"""Every S3 error code this product answers, and the one way from an exception to it."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from forebay import errors
from forebay.errors import BodyError, ForebayError, S3Condition


class ErrorKind(NamedTuple):
    """The HTTP status and the default message of an S3 error code."""

    status: int
    message: str


ERRORS: Mapping[str, ErrorKind] = MappingProxyType(
    {
        code: ErrorKind(status, message)
        for code, status, message in (
            # --- who is asking ---
            ("AccessDenied", 403, "Access Denied"),
            (
                "AuthorizationHeaderMalformed",
                400,
                "The authorization header is malformed.",
            ),
            (
                "AuthorizationQueryParametersError",
                400,
                "The authorization query parameters are malformed.",
            ),
            (
                "InvalidAccessKeyId",
                403,
                "The access key Id you provided does not exist in our records.",
            ),
            (
                "SignatureDoesNotMatch",
                403,
                "The request signature we calculated does not match the signature you provided.",
            ),
            (
                "RequestTimeTooSkewed",
                403,
                "The difference between the request time and the server's time is too large.",
            ),
            ("ExpiredToken", 400, "The provided token has expired."),
            ("InvalidToken", 400, "The provided token is malformed or otherwise not valid."),
            ("MissingSecurityHeader", 400, "Your request is missing a required header."),
            ("InvalidSecurity", 403, "The provided security credentials are not valid."),
            # --- names ---
            ("NoSuchBucket", 404, "The specified bucket does not exist."),
            ("NoSuchKey", 404, "The specified key does not exist."),
            ("NoSuchVersion", 404, "The specified version does not exist."),
            (
                "NoSuchUpload",
                404,
                "The specified multipart upload does not exist. The upload ID might be invalid, "
                "or the multipart upload might have been aborted or completed.",
            ),
            ("InvalidBucketName", 400, "The specified bucket is not valid."),
            ("KeyTooLongError", 400, "Your key is too long."),
            ("InvalidURI", 400, "Couldn't parse the specified URI."),
            (
                "BucketAlreadyExists",
                409,
                "The requested bucket name is not available. Select a different name and try "
                "again.",
            ),
            (
                "BucketAlreadyOwnedByYou",
                409,
                "Your previous request to create the named bucket succeeded and you already own "
                "it.",
            ),
            ("BucketNotEmpty", 409, "The bucket you tried to delete is not empty."),
            (
                "IllegalLocationConstraintException",
                400,
                "The specified location constraint is not valid for this region.",
            ),
            ("InvalidLocationConstraint", 400, "The specified location constraint is not valid."),
            ("TooManyBuckets", 400, "You have attempted to create more buckets than allowed."),
            # --- bodies ---
            ("MissingContentLength", 411, "You must provide the Content-Length HTTP header."),
            ("MissingRequestBodyError", 400, "Request body is empty."),
            (
                "IncompleteBody",
                400,
                "You did not provide the number of bytes specified by the Content-Length HTTP "
                "header.",
            ),
            ("InvalidChunkSizeError", 400, "A chunk of the body has a size that cannot be."),
            (
                "MalformedTrailerError",
                400,
                "The request contained trailing data that was not "
                "well-formed or did not conform to our published schema.",
            ),
            (
                "RequestTimeout",
                400,
                "Your socket connection to the server was not read from or written to within the "
                "timeout period.",
            ),
            ("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size."),
            (
                "EntityTooSmall",
                400,
                "Your proposed upload is smaller than the minimum allowed object size.",
            ),
            ("InvalidDigest", 400, "The Content-MD5 you specified is not valid."),
            (
                "BadDigest",
                400,
                "The digest or checksum you specified did not match what we received.",
            ),
            (
                "XAmzContentSHA256Mismatch",
                400,
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ),
            (
                "MalformedXML",
                400,
                "The XML you provided was not well-formed or did not validate against our "
                "published schema.",
            ),
            ("MaxMessageLengthExceeded", 400, "Your request was too big."),
            (
                "MalformedPOSTRequest",
                400,
                "The body of your POST request is not well-formed multipart/form-data.",
            ),
            # --- arguments ---
            ("InvalidArgument", 400, "Invalid Argument"),
            ("InvalidRequest", 400, "Invalid Request"),
            ("BadRequest", 400, "Bad Request"),
            (
                "MetadataTooLarge",
                400,
                "Your metadata headers exceed the maximum allowed metadata size.",
            ),
            (
                "RequestHeaderSectionTooLarge",
                400,
                "Your request header section exceeds the maximum allowed size.",
            ),
            ("InvalidTag", 400, "The tag provided was not a valid tag."),
            ("InvalidStorageClass", 400, "The storage class you specified is not valid."),
            (
                "InvalidEncryptionAlgorithmError",
                400,
                "The encryption request that you specified is not valid.",
            ),
            (
                "InvalidPart",
                400,
                "One or more of the specified parts could not be found. The part "
                "might not have been uploaded, or the specified entity tag might not have matched "
                "the part's entity tag.",
            ),
            (
                "InvalidPartOrder",
                400,
                "The list of parts was not in ascending order. Parts list "
                "must be specified in order by part number.",
            ),
            ("InvalidPartNumber", 416, "The requested partnumber is not satisfiable"),
            ("InvalidRange", 416, "The requested range is not satisfiable"),
            (
                "InvalidObjectState",
                403,
                "The operation is not valid for the current state of the object.",
            ),
            # --- conditions ---
            ("NotModified", 304, "Not Modified"),
            (
                "PreconditionFailed",
                412,
                "At least one of the pre-conditions you specified did not hold",
            ),
            (
                "ConditionalRequestConflict",
                409,
                "The conditional request cannot succeed due to a "
                "conflicting operation against this resource.",
            ),
            (
                "OperationAborted",
                409,
                "A conflicting conditional operation is currently in "
                "progress against this resource. Try again.",
            ),
            # --- what is not there, and what is not made ---
            ("NoSuchTagSet", 404, "The TagSet does not exist"),
            ("NoSuchBucketPolicy", 404, "The bucket policy does not exist"),
            ("NoSuchCORSConfiguration", 404, "The CORS configuration does not exist"),
            ("NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist"),
            (
                "NoSuchWebsiteConfiguration",
                404,
                "The specified bucket does not have a website configuration",
            ),
            ("NoSuchConfiguration", 404, "The specified configuration does not exist."),
            (
                "NoSuchPublicAccessBlockConfiguration",
                404,
                "The public access block configuration was not found",
            ),
            (
                "NoSuchObjectLockConfiguration",
                404,
                "The specified object does not have a ObjectLock configuration",
            ),
            (
                "ObjectLockConfigurationNotFoundError",
                404,
                "Object Lock configuration does not exist for this bucket",
            ),
            ("OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found"),
            (
                "ReplicationConfigurationNotFoundError",
                404,
                "The replication configuration was not found",
            ),
            (
                "ServerSideEncryptionConfigurationNotFoundError",
                404,
                "The server side encryption configuration was not found",
            ),
            ("MethodNotAllowed", 405, "The specified method is not allowed against this resource."),
            (
                "NotImplemented",
                501,
                "A header or query you provided implies functionality that is not implemented.",
            ),
            ("UnsupportedOperation", 400, "The operation is not supported."),
            # --- our own trouble ---
            ("InternalError", 500, "We encountered an internal error. Please try again."),
            ("ServiceUnavailable", 503, "Service is unable to handle request."),
            ("SlowDown", 503, "Please reduce your request rate."),
            ("InsufficientStorage", 507, "There is not enough room to complete the request."),
        )
    }
)
"""Every code this product answers, with its status and the message when nothing better is known."""


class S3Error(ForebayError):
    """An answer that is an error: `code` is a key of ERRORS.

    `fields` become elements of the error document, `headers` go out with the answer.
    """

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **fields: str,
    ) -> None:
        kind = ERRORS[code]
        self.code = code
        self.status = kind.status
        self.message = message or kind.message
        self.fields = fields
        self.headers = dict(headers or {})
        if kind.status == 503:
            self.headers.setdefault("Retry-After", "1")
        super().__init__(f"{code}: {self.message}")


_STORAGE: Mapping[type[BaseException], str] = MappingProxyType(
    {
        errors.NotFound: "NoSuchKey",
        errors.PreconditionFailed: "PreconditionFailed",
        errors.NotSupported: "NotImplemented",
        errors.InvalidKey: "InvalidArgument",
        errors.PermissionDenied: "AccessDenied",
        errors.Unavailable: "ServiceUnavailable",
        errors.NoSpace: "SlowDown",
        errors.Corrupt: "InternalError",
        errors.SourceChanged: "ServiceUnavailable",
        errors.CatalogTooNew: "InternalError",
        errors.StorageError: "ServiceUnavailable",
    }
)
"""Code of each storage error; its own text stays inside, for it may name paths and hosts.

InvalidKey alone is told to the client: it speaks of the client's own key.
"""


def to_s3_error(exc: BaseException) -> S3Error:
    """Give the answer to a request that ended with `exc`; InternalError if nothing fits."""
    if isinstance(exc, S3Error):
        return exc
    if isinstance(exc, S3Condition):
        answer = S3Error(_code(exc), exc.message or None)
        answer.fields.update(exc.fields)
        return answer
    if isinstance(exc, errors.InvalidKey):
        code = "KeyTooLongError" if _too_long(exc) else "InvalidArgument"
        # What another library said may name paths and hosts.
        return S3Error(code, str(exc) if exc.__cause__ is None else None)
    for kind in type(exc).__mro__:
        if kind in _STORAGE:
            return S3Error(_STORAGE[kind])
    return S3Error("InternalError")


def _code(exc: S3Condition) -> str:
    if isinstance(exc, errors.ConditionFailed):
        return "PreconditionFailed"
    code = exc.code if isinstance(exc, BodyError) else type(exc).__name__
    return code if code in ERRORS else "InternalError"


def _too_long(exc: errors.InvalidKey) -> bool:
    if isinstance(exc, errors.KeyTooLong):
        return True
    return isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.ENAMETOOLONG
