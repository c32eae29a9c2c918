"""Every difference between the two endpoints, one row each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one endpoint answers where the two differ; `DIFFERENCES` says each row in words."""

    name: str
    folders_in_listing: bool
    """Listings show every sub-directory as a 0-byte key that ends in ``/``."""
    empty_bucket_tags_is_error: bool
    """GetBucketTagging of a bucket without tags is NoSuchTagSet."""
    location_is_path: bool
    """CompleteMultipartUpload gives ``/bucket/key`` as Location, not a URL."""
    own_bucket_again_is_ok: bool
    """Creating a bucket one owns is 200 in every region; else only in us-east-1."""
    digest_required: bool
    """DeleteObjects needs a digest, and each part of a completion its ETag."""
    xml_namespace: str | None
    default_content_type: str
    bucket_tag_limit: int


ALLUXIO = Dialect(
    name="alluxio",
    folders_in_listing=True,
    empty_bucket_tags_is_error=False,
    location_is_path=True,
    own_bucket_again_is_ok=True,
    digest_required=False,
    xml_namespace=None,
    default_content_type="application/octet-stream",
    bucket_tag_limit=10,
)

AWS = Dialect(
    name="aws",
    folders_in_listing=False,
    empty_bucket_tags_is_error=True,
    location_is_path=False,
    own_bucket_again_is_ok=False,
    digest_required=True,
    xml_namespace="http://s3.amazonaws.com/doc/2006-03-01/",
    default_content_type="binary/octet-stream",
    bucket_tag_limit=50,
)

DIFFERENCES: tuple[tuple[str, str, str], ...] = (
    (
        "Listing",
        "every sub-directory appears as a 0-byte key ending in `/`, also the implied parents "
        "of keys",
        "only keys that were written (a key ending in `/` is an ordinary object)",
    ),
    (
        "GetBucketTagging without tags",
        "200, empty TagSet",
        "404 NoSuchTagSet",
    ),
    ("CompleteMultipartUpload `Location`", "`/bucket/key`", "full URL"),
    (
        "CreateBucket on a bucket you own",
        "200",
        "409 BucketAlreadyOwnedByYou (200 in us-east-1, as AWS)",
    ),
    (
        "Digest of DeleteObjects, ETags in Complete",
        "optional",
        "required",
    ),
    ("XML namespace", "none", "`http://s3.amazonaws.com/doc/2006-03-01/`"),
    (
        "Content-Type when none was given",
        "`application/octet-stream`",
        "`binary/octet-stream`",
    ),
    ("Tags of a bucket", "10", "50"),
)
"""(point, on the Alluxio endpoint, on the AWS endpoint), in the order of Dialect's fields."""
