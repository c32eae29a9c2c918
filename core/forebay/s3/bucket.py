"""Buckets: create, head, delete and location; sub-directories (``a:b``) as buckets too."""

from __future__ import annotations

from xml.sax.saxutils import escape

from forebay.errors import BucketAlreadyOwnedByYou, NoSuchKey
from forebay.s3 import xml
from forebay.s3.address import check_new_bucket_name
from forebay.s3.call import Answer, Call
from forebay.s3.errors import S3Error
from forebay.s3.tagging import make_folder, parse_tags

CLASSIC_REGION = "us-east-1"
"""Where S3 gives no LocationConstraint, and where creating one's own bucket again is fine."""


def create_bucket(call: Call) -> Answer:
    """Create a bucket, or for ``a:b`` the folder ``b/`` in bucket ``a``."""
    restricted = call.forebay.config.properties.bucket_naming_restrictions
    if not call.address.prefix:
        check_new_bucket_name(call.shown_bucket, restricted)
    tags = _configuration(call)
    try:
        if call.address.prefix:
            if folder_exists(call):
                raise BucketAlreadyOwnedByYou(BucketName=call.shown_bucket)
            make_folder(call, tags)
        else:
            call.forebay.buckets.create(call.shown_bucket, call.identity.user, tags)
    except BucketAlreadyOwnedByYou:
        again = call.dialect.own_bucket_again_is_ok
        if not again and call.forebay.config.server.region != CLASSIC_REGION:
            raise
    return Answer({"location": f"/{call.shown_bucket}"})


def _configuration(call: Call) -> dict[str, str]:
    """Check the region that the body asks for, and give the tags it brings."""
    if not call.has_body:
        return {}
    root = call.xml("CreateBucketConfiguration")
    asked = xml.text(root, "LocationConstraint")
    region = call.forebay.config.server.region
    if asked and asked != region and (asked, region) != ("EU", "eu-west-1"):
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {asked[:100]} location constraint is incompatible for the region specific "
            "endpoint this request was sent to.",
        )
    if xml.child(root, "Bucket") is not None or xml.child(root, "Location") is not None:
        raise S3Error("NotImplemented", "Directory buckets are not implemented.")
    tags = xml.child(root, "Tags")
    return {} if tags is None else parse_tags(call, tags, most=call.dialect.bucket_tag_limit)


def head_bucket(call: Call) -> Answer:
    """Tell whether a bucket exists, and in which region."""
    _check_folder(call)
    return Answer({"x-amz-bucket-region": call.forebay.config.server.region})


def delete_bucket(call: Call) -> Answer:
    """Delete an empty bucket, or for ``a:b`` the folder when nothing is in it."""
    requested = call.delete_type()
    if not call.address.prefix:
        done = call.forebay.buckets.delete(call.bucket, requested)
        return Answer({"x-forebay-delete-type": done.value})
    _check_folder(call)
    prefix = call.address.prefix
    if call.forebay.listings.objects(
        call.bucket, prefix=prefix, after=prefix, limit=1, certain=True
    ).entries:
        raise S3Error("BucketNotEmpty", BucketName=call.shown_bucket)
    done = call.forebay.deletes.delete(call.bucket, prefix, requested=requested)
    return Answer({"x-forebay-delete-type": done.value})


def get_bucket_location(call: Call) -> Answer:
    """Tell the region of a bucket; nothing in us-east-1, as S3 has it."""
    region = call.forebay.config.server.region
    answer = call.document("LocationConstraint")
    if region != CLASSIC_REGION:
        # The one document of S3's whose root holds text.
        answer.body = answer.body.replace(b"></", f">{escape(region)}</".encode())
    return answer


# --- sub-directories as buckets ---------------------------------------------------------


def folder_exists(call: Call) -> bool:
    """Whether the folder of a bucket name ``a:b`` is there: its marker, or any key in it."""
    try:
        call.forebay.reads.head(call.bucket, call.address.prefix)
    except NoSuchKey:
        return call.forebay.listings.exists(call.bucket, call.address.prefix)
    return True


def _check_folder(call: Call) -> None:
    if call.address.prefix and not folder_exists(call):
        raise S3Error("NoSuchBucket", BucketName=call.shown_bucket)
