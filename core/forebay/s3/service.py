"""The service itself: the list of buckets."""

from __future__ import annotations

from forebay.s3 import xml
from forebay.s3.call import Answer, Call
from forebay.s3.listing import parse_token, token

MAX_BUCKETS = 10_000


def list_buckets(call: Call) -> Answer:
    """List the caller's own buckets and those without an owner."""
    prefix = call.query.get("prefix", "")
    limit = call.number("max-buckets", MAX_BUCKETS, least=1, most=MAX_BUCKETS)
    given = call.query.get("continuation-token")
    buckets, truncated = call.forebay.buckets.list(
        call.identity.user,
        prefix=prefix,
        after="" if given is None else parse_token(given),
        limit=limit,
    )
    rows = [
        ("Bucket", [("Name", one.name), ("CreationDate", xml.iso_date(one.created))])
        for one in buckets
    ]
    return call.document(
        "ListAllMyBucketsResult",
        ("Owner", [("ID", call.identity.user), ("DisplayName", call.identity.user)]),
        ("Buckets", rows),
        ("Prefix", prefix or None),
        ("ContinuationToken", token(buckets[-1].name) if truncated else None),
    )
