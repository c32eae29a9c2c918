"""Tags of objects and of buckets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay.errors import NoSuchKey
from forebay.s3 import xml
from forebay.s3.attributes import OBJECT_TAGS, checked_tags
from forebay.s3.call import Answer, Call
from forebay.s3.errors import S3Error
from forebay.streams import BytesReader, ReaderBody
from forebay.types import Attributes


def get_object_tagging(call: Call) -> Answer:
    """Give the tags of an object."""
    return _document(call, call.forebay.reads.head(call.bucket, call.key).tags)


def put_object_tagging(call: Call) -> Answer:
    """Replace the tags of an object."""
    tags = parse_tags(call, _tag_set(call), most=OBJECT_TAGS)
    call.forebay.writes.set_tags(call.bucket, call.key, tags)
    return Answer()


def delete_object_tagging(call: Call) -> Answer:
    """Take all tags off an object."""
    call.forebay.writes.set_tags(call.bucket, call.key, {})
    return Answer()


def get_bucket_tagging(call: Call) -> Answer:
    """Give the tags of a bucket; for ``a:b`` those of the folder's marker."""
    tags = _folder_tags(call) if call.address.prefix else call.bucket.tags
    if not tags and call.dialect.empty_bucket_tags_is_error:
        raise S3Error("NoSuchTagSet", BucketName=call.shown_bucket)
    return _document(call, tags)


def put_bucket_tagging(call: Call) -> Answer:
    """Replace the tags of a bucket."""
    most = call.dialect.bucket_tag_limit
    _set_bucket_tags(call, parse_tags(call, _tag_set(call), most=most, kind="Bucket tag count"))
    return Answer()


def delete_bucket_tagging(call: Call) -> Answer:
    """Take all tags off a bucket."""
    _set_bucket_tags(call, {})
    return Answer()


def parse_tags(call: Call, tag_set: Any, *, most: int, kind: str = "Object tags") -> dict[str, str]:
    """Give the tags of an element that holds Tag elements. Raises MalformedXML, InvalidTag."""
    pairs = []
    for tag in xml.children(tag_set, "Tag"):
        key, value = xml.text(tag, "Key"), xml.text(tag, "Value")
        if key is None or value is None:
            raise S3Error("MalformedXML")
        pairs.append((key, value))
    return checked_tags(call, pairs, most, kind)


def _tag_set(call: Call) -> Any:
    tag_set = xml.child(call.xml("Tagging"), "TagSet")
    if tag_set is None:
        raise S3Error("MalformedXML")
    return tag_set


def _document(call: Call, tags: Mapping[str, str]) -> Answer:
    rows = [("Tag", [("Key", key), ("Value", tags[key])]) for key in sorted(tags)]
    return call.document("Tagging", ("TagSet", rows))


def _folder_tags(call: Call) -> Mapping[str, str]:
    try:
        return call.forebay.reads.head(call.bucket, call.address.prefix).tags
    except NoSuchKey:
        if call.forebay.listings.exists(call.bucket, call.address.prefix):
            return {}
        raise S3Error("NoSuchBucket", BucketName=call.shown_bucket) from None


def _set_bucket_tags(call: Call, tags: dict[str, str]) -> None:
    if not call.address.prefix:
        call.forebay.buckets.set_tags(call.bucket, tags)
        return
    try:
        call.forebay.writes.set_tags(call.bucket, call.address.prefix, tags)
    except NoSuchKey:
        _folder_tags(call)
        if tags:
            # An implied folder gets its marker with the first tags it has to keep.
            make_folder(call, tags)


def make_folder(call: Call, tags: dict[str, str]) -> None:
    """Write the marker of the folder that a bucket name ``a:b`` addresses."""
    call.forebay.writes.put(
        call.bucket,
        call.address.prefix,
        ReaderBody(BytesReader(b""), 0),
        attributes=Attributes(tags=tags),
        owner=call.identity.user,
        requested=call.write_type(),
    )
