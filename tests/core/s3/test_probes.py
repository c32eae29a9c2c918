"""What clients ask by habit is answered as where the feature was never used."""

import pytest


@pytest.mark.parametrize(
    ("parameter", "root"),
    [
        ("versioning", "VersioningConfiguration"),
        ("logging", "BucketLoggingStatus"),
        ("notification", "NotificationConfiguration"),
        ("accelerate", "AccelerateConfiguration"),
    ],
)
def test_empty_documents(s3, parameter, root):
    answer = s3.ok("GET", f"/bucket?{parameter}")
    assert (answer.root.tag, len(answer.root)) == (root, 0)
    assert s3.ok("HEAD", f"/bucket?{parameter}").body == b""


@pytest.mark.parametrize(
    ("parameter", "code"),
    [
        ("policy", "NoSuchBucketPolicy"),
        ("policyStatus", "NoSuchBucketPolicy"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("cors", "NoSuchCORSConfiguration"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("ownershipControls", "OwnershipControlsNotFoundError"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
    ],
)
def test_configurations_that_were_never_made(s3, parameter, code):
    answer = s3("GET", f"/bucket?{parameter}")
    assert (answer.status, answer.code) == (404, code)
    assert answer.text("BucketName") == "bucket"
    assert s3("GET", f"/absent?{parameter}").code == "NoSuchBucket"


def test_who_pays(s3):
    assert s3.ok("GET", "/bucket?requestPayment").text("Payer") == "BucketOwner"


@pytest.mark.parametrize("target", ["/bucket?acl", "/bucket/key?acl"])
def test_the_owner_may_do_everything(s3, target):
    s3.ok("PUT", "/bucket/key")
    answer = s3.ok("GET", target)
    assert answer.text("Owner/ID") == "alice"
    grant = answer.root.find("AccessControlList/Grant")
    assert grant.findtext("Grantee/ID") == "alice"
    assert grant.findtext("Permission") == "FULL_CONTROL"
    kind = "{http://www.w3.org/2001/XMLSchema-instance}type"
    assert grant.find("Grantee").get(kind) == "CanonicalUser"


@pytest.mark.parametrize("parameter", ["retention", "legal-hold"])
def test_objects_were_never_locked(s3, parameter):
    s3.ok("PUT", "/bucket/key")
    answer = s3("GET", f"/bucket/key?{parameter}")
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert s3("GET", f"/bucket/none?{parameter}").code == "NoSuchKey"
    assert s3("GET", "/bucket/none?acl").code == "NoSuchKey"
