"""The table of operations: dispatch is done from it, and the documentation is made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from forebay.s3 import (
    batch,
    bucket,
    copy,
    details,
    listing,
    object,
    probes,
    service,
    tagging,
    uploads,
)
from forebay.s3.call import Answer, Call
from forebay.s3.errors import S3Error


class Level(StrEnum):
    """What an operation is about."""

    SERVICE = "service"
    BUCKET = "bucket"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; `query` and `headers` select it, ``name=value`` asks for that very value.

    `name` is S3's, and the action that the authorize hook is asked about; `asks_per_key` says
    that the operation asks for each key by itself. `status` is that of success. `probe` marks
    what only tells that a feature was never used, `makes_bucket` what works without a bucket.
    """

    name: str
    method: str
    level: Level
    function: Callable[[Call], Answer]
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    status: int = 200
    probe: bool = False
    makes_bucket: bool = False
    asks_per_key: bool = False

    def selected(self, query: Mapping[str, str], headers: Mapping[str, str]) -> bool:
        """Whether a request of the right method and level is for this operation."""
        for one in self.query:
            name, pinned, value = one.partition("=")
            if name not in query or (pinned and query[name] != value):
                return False
        return all(name in headers for name in self.headers)


S, B, O = Level.SERVICE, Level.BUCKET, Level.OBJECT  # noqa: E741  # columns of the table
_COPY = ("x-amz-copy-source",)

OPERATIONS: tuple[Operation, ...] = (
    Operation("ListBuckets", "GET", S, service.list_buckets),
    # --- buckets ---
    Operation("CreateBucket", "PUT", B, bucket.create_bucket, makes_bucket=True),
    Operation("HeadBucket", "HEAD", B, bucket.head_bucket),
    Operation("DeleteBucket", "DELETE", B, bucket.delete_bucket, status=204),
    Operation("GetBucketLocation", "GET", B, bucket.get_bucket_location, ("location",)),
    Operation("GetBucketTagging", "GET", B, tagging.get_bucket_tagging, ("tagging",)),
    Operation("PutBucketTagging", "PUT", B, tagging.put_bucket_tagging, ("tagging",)),
    Operation(
        "DeleteBucketTagging", "DELETE", B, tagging.delete_bucket_tagging, ("tagging",), status=204
    ),
    # --- listings ---
    Operation("ListObjects", "GET", B, listing.list_objects),
    Operation("ListObjectsV2", "GET", B, listing.list_objects_v2, ("list-type=2",)),
    Operation("ListObjectVersions", "GET", B, listing.list_object_versions, ("versions",)),
    Operation("ListMultipartUploads", "GET", B, uploads.list_multipart_uploads, ("uploads",)),
    Operation("ListParts", "GET", O, uploads.list_parts, ("uploadId",)),
    # --- objects ---
    Operation("PutObject", "PUT", O, object.put_object),
    Operation("GetObject", "GET", O, object.get_object),
    Operation("HeadObject", "HEAD", O, object.head_object),
    Operation("DeleteObject", "DELETE", O, object.delete_object, status=204),
    Operation("DeleteObjects", "POST", B, batch.delete_objects, ("delete",), asks_per_key=True),
    Operation("CopyObject", "PUT", O, copy.copy_object, headers=_COPY),
    Operation("GetObjectAttributes", "GET", O, details.get_object_attributes, ("attributes",)),
    Operation("GetObjectTagging", "GET", O, tagging.get_object_tagging, ("tagging",)),
    Operation("PutObjectTagging", "PUT", O, tagging.put_object_tagging, ("tagging",)),
    Operation(
        "DeleteObjectTagging", "DELETE", O, tagging.delete_object_tagging, ("tagging",), status=204
    ),
    # --- multipart uploads ---
    Operation("CreateMultipartUpload", "POST", O, uploads.create_multipart_upload, ("uploads",)),
    Operation("UploadPart", "PUT", O, uploads.upload_part, ("uploadId",)),
    Operation("UploadPartCopy", "PUT", O, copy.upload_part_copy, ("uploadId",), _COPY),
    Operation(
        "CompleteMultipartUpload", "POST", O, uploads.complete_multipart_upload, ("uploadId",)
    ),
    Operation(
        "AbortMultipartUpload",
        "DELETE",
        O,
        uploads.abort_multipart_upload,
        ("uploadId",),
        status=204,
    ),
    # --- what clients ask by habit, answered as where the feature was never used ---
    *(
        Operation(name, "GET", level, function, (parameter,), probe=True)
        for name, level, parameter, function in (
            ("GetBucketVersioning", B, "versioning", probes.empty("VersioningConfiguration")),
            ("GetBucketAcl", B, "acl", probes.bucket_acl),
            ("GetBucketPolicy", B, "policy", probes.missing("NoSuchBucketPolicy")),
            ("GetBucketPolicyStatus", B, "policyStatus", probes.missing("NoSuchBucketPolicy")),
            (
                "GetObjectLockConfiguration",
                B,
                "object-lock",
                probes.missing("ObjectLockConfigurationNotFoundError"),
            ),
            (
                "GetBucketEncryption",
                B,
                "encryption",
                probes.missing("ServerSideEncryptionConfigurationNotFoundError"),
            ),
            (
                "GetBucketLifecycleConfiguration",
                B,
                "lifecycle",
                probes.missing("NoSuchLifecycleConfiguration"),
            ),
            ("GetBucketCors", B, "cors", probes.missing("NoSuchCORSConfiguration")),
            ("GetBucketWebsite", B, "website", probes.missing("NoSuchWebsiteConfiguration")),
            ("GetBucketLogging", B, "logging", probes.empty("BucketLoggingStatus")),
            (
                "GetBucketNotificationConfiguration",
                B,
                "notification",
                probes.empty("NotificationConfiguration"),
            ),
            ("GetBucketRequestPayment", B, "requestPayment", probes.request_payment),
            (
                "GetBucketAccelerateConfiguration",
                B,
                "accelerate",
                probes.empty("AccelerateConfiguration"),
            ),
            (
                "GetBucketReplication",
                B,
                "replication",
                probes.missing("ReplicationConfigurationNotFoundError"),
            ),
            (
                "GetBucketOwnershipControls",
                B,
                "ownershipControls",
                probes.missing("OwnershipControlsNotFoundError"),
            ),
            (
                "GetPublicAccessBlock",
                B,
                "publicAccessBlock",
                probes.missing("NoSuchPublicAccessBlockConfiguration"),
            ),
            ("GetObjectAcl", O, "acl", probes.object_acl),
            ("GetObjectRetention", O, "retention", probes.object_without_lock),
            ("GetObjectLegalHold", O, "legal-hold", probes.object_without_lock),
        )
    ),
    Operation("PreflightRequest", "OPTIONS", B, probes.preflight, probe=True),
    Operation("PreflightRequest", "OPTIONS", O, probes.preflight, probe=True),
)
"""Every operation that is answered."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """An operation of S3's that is known and not made; `parameter` is "" for a plain request."""

    name: str
    method: str
    level: Level
    parameter: str


UNSUPPORTED: tuple[Unsupported, ...] = (
    *(
        Unsupported(name, method, B, parameter)
        for parameter, names in {
            "abac": {"GET": "GetBucketAbac", "PUT": "PutBucketAbac"},
            "accelerate": {"PUT": "PutBucketAccelerateConfiguration"},
            "acl": {"PUT": "PutBucketAcl"},
            "analytics": {
                "GET": "GetBucketAnalyticsConfiguration",
                "PUT": "PutBucketAnalyticsConfiguration",
                "DELETE": "DeleteBucketAnalyticsConfiguration",
            },
            "cors": {"PUT": "PutBucketCors", "DELETE": "DeleteBucketCors"},
            "encryption": {"PUT": "PutBucketEncryption", "DELETE": "DeleteBucketEncryption"},
            "intelligent-tiering": {
                "GET": "GetBucketIntelligentTieringConfiguration",
                "PUT": "PutBucketIntelligentTieringConfiguration",
                "DELETE": "DeleteBucketIntelligentTieringConfiguration",
            },
            "inventory": {
                "GET": "GetBucketInventoryConfiguration",
                "PUT": "PutBucketInventoryConfiguration",
                "DELETE": "DeleteBucketInventoryConfiguration",
            },
            "lifecycle": {
                "PUT": "PutBucketLifecycleConfiguration",
                "DELETE": "DeleteBucketLifecycle",
            },
            "logging": {"PUT": "PutBucketLogging"},
            "metadataConfiguration": {
                "GET": "GetBucketMetadataConfiguration",
                "POST": "CreateBucketMetadataConfiguration",
                "DELETE": "DeleteBucketMetadataConfiguration",
            },
            "metadataAnnotationTable": {"PUT": "UpdateBucketMetadataAnnotationTableConfiguration"},
            "metadataInventoryTable": {"PUT": "UpdateBucketMetadataInventoryTableConfiguration"},
            "metadataJournalTable": {"PUT": "UpdateBucketMetadataJournalTableConfiguration"},
            "metadataTable": {
                "GET": "GetBucketMetadataTableConfiguration",
                "POST": "CreateBucketMetadataTableConfiguration",
                "DELETE": "DeleteBucketMetadataTableConfiguration",
            },
            "metrics": {
                "GET": "GetBucketMetricsConfiguration",
                "PUT": "PutBucketMetricsConfiguration",
                "DELETE": "DeleteBucketMetricsConfiguration",
            },
            "notification": {"PUT": "PutBucketNotificationConfiguration"},
            "object-lock": {"PUT": "PutObjectLockConfiguration"},
            "ownershipControls": {
                "PUT": "PutBucketOwnershipControls",
                "DELETE": "DeleteBucketOwnershipControls",
            },
            "policy": {"PUT": "PutBucketPolicy", "DELETE": "DeleteBucketPolicy"},
            "publicAccessBlock": {
                "PUT": "PutPublicAccessBlock",
                "DELETE": "DeletePublicAccessBlock",
            },
            "replication": {"PUT": "PutBucketReplication", "DELETE": "DeleteBucketReplication"},
            "requestPayment": {"PUT": "PutBucketRequestPayment"},
            "session": {"GET": "CreateSession"},
            "versioning": {"PUT": "PutBucketVersioning"},
            "website": {"PUT": "PutBucketWebsite", "DELETE": "DeleteBucketWebsite"},
            "": {"POST": "PostObject"},
        }.items()
        for method, name in names.items()
    ),
    Unsupported("GetObjectAnnotation", "GET", O, "annotation"),
    Unsupported("PutObjectAnnotation", "PUT", O, "annotation"),
    Unsupported("DeleteObjectAnnotation", "DELETE", O, "annotation"),
    Unsupported("PutObjectAcl", "PUT", O, "acl"),
    Unsupported("PutObjectLegalHold", "PUT", O, "legal-hold"),
    Unsupported("PutObjectRetention", "PUT", O, "retention"),
    Unsupported("UpdateObjectEncryption", "PUT", O, "encryption"),
    Unsupported("RenameObject", "PUT", O, "renameObject"),
    Unsupported("RestoreObject", "POST", O, "restore"),
    Unsupported("SelectObjectContent", "POST", O, "select"),
    Unsupported("GetObjectTorrent", "GET", O, "torrent"),
)
"""Every operation that is refused by name; none of them falls through to another."""

_SELECTORS: frozenset[str] = frozenset(
    {one for row in OPERATIONS for one in row.query if "=" not in one}
    | {row.parameter for row in UNSUPPORTED if row.parameter}
)
"""Query parameters that name an operation; all others belong to one."""


def _by_target() -> Mapping[tuple[str, Level, frozenset[str]], tuple[Operation, ...]]:
    """Sort the table by what a request has to name, the row that asks for most first."""
    found: dict[tuple[str, Level, frozenset[str]], list[Operation]] = {}
    for row in OPERATIONS:
        target = (row.method, row.level, _SELECTORS.intersection(row.query))
        found.setdefault(target, []).append(row)
    return MappingProxyType(
        {
            target: tuple(sorted(rows, key=lambda row: -len(row.query) - len(row.headers)))
            for target, rows in found.items()
        }
    )


_BY_TARGET = _by_target()
_REFUSED = MappingProxyType(
    {(row.method, row.level, row.parameter): row.name for row in UNSUPPORTED}
)


def level_of(bucket: str | None, key: str | None) -> Level:
    """Tell what an address is about."""
    return O if key is not None else S if bucket is None else B


def select(
    method: str, level: Level, query: Mapping[str, str], headers: Mapping[str, str]
) -> Operation:
    """Choose the operation of a request, the one that more of it asks for first.

    Raises NotImplemented for one that is known and not made, MethodNotAllowed for what S3
    does not know: a parameter that names an operation is never left unheard.
    """
    named = _SELECTORS.intersection(query)
    for row in _BY_TARGET.get((method, level, named), ()):
        if row.selected(query, headers):
            return row
    for parameter in sorted(named) or [""]:
        name = _REFUSED.get((method, level, parameter))
        if name is not None:
            raise S3Error("NotImplemented", f"{name} is not implemented.", Operation=name)
    if method == "HEAD":
        for row in _BY_TARGET.get(("GET", level, named), ()):
            if row.probe:
                return row
    raise S3Error("MethodNotAllowed", Method=method, ResourceType=level.value.upper())
