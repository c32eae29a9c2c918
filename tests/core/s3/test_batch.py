"""DeleteObjects."""

import base64
import hashlib

import pytest

from forebay.hookspecs import hookimpl


def document(*keys, quiet=None, more=""):
    objects = "".join(f"<Object><Key>{key}</Key>{more}</Object>" for key in keys)
    asked = "" if quiet is None else f"<Quiet>{quiet}</Quiet>"
    return f"<Delete>{objects}{asked}</Delete>".encode()


def delete(s3, body, target="/bucket", **headers):
    headers.setdefault("Content-MD5", base64.b64encode(hashlib.md5(body).digest()).decode())
    return s3("POST", f"{target}?delete", body, **headers)


@pytest.fixture
def full(s3):
    for key in ("a", "b", "c"):
        s3.ok("PUT", f"/bucket/{key}", key.encode())
    return s3


def left(s3):
    return s3.ok("GET", "/bucket").texts("Contents/Key")


def test_each_key_has_its_outcome(full):
    answer = delete(full, document("a", "none", "c"))
    assert (answer.status, answer.root.tag) == (200, "DeleteResult")
    assert answer.texts("Deleted/Key") == ["a", "none", "c"]
    assert answer.texts("Error") == []
    assert left(full) == ["b"]


def test_quiet_tells_only_of_errors(full):
    assert len(delete(full, document("a", quiet="true")).root) == 0
    assert delete(full, document("b", quiet="false")).texts("Deleted/Key") == ["b"]
    failed = delete(full, document("k" * 1025, quiet="true"))
    assert failed.texts("Error/Code") == ["KeyTooLongError"]


def test_a_digest_is_needed_on_the_aws_endpoint_only(full):
    body = document("a")
    answer = full("POST", "/bucket?delete", body)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert left(full) == ["a", "b", "c"]
    wrong = delete(full, body, **{"Content-MD5": base64.b64encode(bytes(16)).decode()})
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    assert left(full) == ["a", "b", "c"]
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    full.ok("POST", "/bucket?delete", body, x_amz_checksum_sha256=digest)
    full.ok("POST", "/api/v1/s3/bucket?delete", document("b"))
    assert left(full) == ["c"]


@pytest.mark.parametrize(
    "body",
    [
        document(),
        document(*(f"k{n}" for n in range(1001))),
        document(""),
        b"",
        b"<Other/>",
        b"<Delete><Object/></Delete>",
        b'<!DOCTYPE x [<!ENTITY e "x">]><Delete><Object><Key>&e;</Key></Object></Delete>',
    ],
)
def test_documents_that_cannot_be(full, body):
    answer = delete(full, body)
    assert (answer.status, answer.code) == (400, "MalformedXML")
    assert left(full) == ["a", "b", "c"]


def test_a_thousand_keys_twice_over(full):
    keys = [f"k{n}" for n in range(500)]
    assert len(delete(full, document(*keys, *keys)).texts("Deleted/Key")) == 1000


def test_conditions_and_versions_of_single_keys(full):
    etag = hashlib.md5(b"a").hexdigest()
    missed = delete(full, document("a", more="<ETag>x</ETag>"))
    assert missed.texts("Error/Code") == ["PreconditionFailed"]
    assert delete(full, document("a", more=f'<ETag>"{etag}"</ETag>')).texts("Deleted/Key") == ["a"]
    version = delete(full, document("b", more="<VersionId>v1</VersionId>"))
    assert version.texts("Error/Code") == ["NoSuchVersion"]
    assert version.texts("Error/VersionId") == ["v1"]
    null = delete(full, document("b", more="<VersionId>null</VersionId>"))
    assert null.texts("Deleted/VersionId") == ["null"]
    size = delete(full, document("c", more="<Size>1</Size>"))
    assert size.texts("Error/Code") == ["NotImplemented"]
    assert left(full) == ["c"]


def test_the_delete_type_applies(full):
    assert delete(full, document("a"), x_forebay_delete_type="ALLUXIO_ONLY").status == 200
    assert delete(full, document("b"), x_forebay_delete_type="x").code == "InvalidArgument"
    assert left(full) == ["b", "c"]


def test_keys_of_a_sub_directory(full):
    full.ok("PUT", "/bucket/in/a", b"x")
    assert delete(full, document("a"), "/bucket:in").texts("Deleted/Key") == ["a"]
    assert left(full) == ["a", "b", "c"]


def test_each_key_is_authorized(make):
    class Policy:
        @hookimpl
        def authorize(self, action, key):
            return False if (action, key) == ("DeleteObject", "b") else None

    s3 = make(plugins=[Policy()])
    s3.ok("PUT", "/bucket")
    for key in ("a", "b"):
        s3.ok("PUT", f"/bucket/{key}")
    answer = delete(s3, document("a", "b"))
    assert answer.texts("Deleted/Key") == ["a"]
    assert answer.texts("Error/Key") == ["b"]
    assert answer.texts("Error/Code") == ["AccessDenied"]
    assert left(s3) == ["b"]
