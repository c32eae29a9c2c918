"""What clients ask by habit: the answers S3 gives where a feature was never used."""

from __future__ import annotations

from collections.abc import Callable

from forebay.s3.call import Answer, Call
from forebay.s3.errors import S3Error

Function = Callable[[Call], Answer]


def empty(root: str) -> Function:
    """Make the operation that answers with an empty document."""

    def answer(call: Call) -> Answer:
        return call.document(root)

    return answer


def missing(code: str) -> Function:
    """Make the operation that answers with an error of a bucket without a configuration."""

    def answer(call: Call) -> Answer:
        raise S3Error(code, BucketName=call.shown_bucket)

    return answer


def request_payment(call: Call) -> Answer:
    """Say that the owner pays."""
    return call.document("RequestPaymentConfiguration", ("Payer", "BucketOwner"))


def bucket_acl(call: Call) -> Answer:
    """Say that the bucket's owner may do everything."""
    return _acl(call, call.shown_owner)


def object_acl(call: Call) -> Answer:
    """Say that the object's owner may do everything."""
    record = call.forebay.reads.head(call.bucket, call.key)
    return _acl(call, record.owner or call.shown_owner)


def _acl(call: Call, owner: str) -> Answer:
    person = [("ID", owner), ("DisplayName", owner)]
    user = 'Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"'
    return call.document(
        "AccessControlPolicy",
        ("Owner", person),
        ("AccessControlList", [("Grant", [(user, person), ("Permission", "FULL_CONTROL")])]),
    )


def object_without_lock(call: Call) -> Answer:
    """Say that the bucket never had Object Lock, once the object is known to exist."""
    call.forebay.reads.head(call.bucket, call.key)
    raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")


def preflight(call: Call) -> Answer:
    """Refuse a browser's preflight: no origin was ever allowed."""
    raise S3Error("AccessDenied", "CORSResponse: CORS is not enabled for this bucket.")
