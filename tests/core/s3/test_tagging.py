"""Tags of objects and buckets."""

import pytest


def document(*pairs):
    tags = "".join(f"<Tag><Key>{k}</Key><Value>{v}</Value></Tag>" for k, v in pairs)
    return f"<Tagging><TagSet>{tags}</TagSet></Tagging>".encode()


def pairs_of(answer):
    return [(tag.findtext("Key"), tag.findtext("Value")) for tag in answer.root.iter("Tag")]


@pytest.mark.parametrize("base", ["", "/api/v1/s3"])
@pytest.mark.parametrize("target", ["/bucket/key", "/bucket", "/bucket:folder"])
def test_put_get_and_delete(s3, base, target):
    s3.ok("PUT", "/bucket/key", b"x")
    s3.ok("PUT", "/bucket/folder/key", b"x")
    answer = s3.ok("PUT", f"{base}{target}?tagging", document(("z", "1"), ("a", "")))
    assert (answer.status, answer.body) == (200, b"")
    got = s3.ok("GET", f"{base}{target}?tagging")
    assert pairs_of(got) == [("a", ""), ("z", "1")]
    assert got.headers["content-type"] == "application/xml"
    assert s3.ok("DELETE", f"{base}{target}?tagging").status == 204
    after = s3("GET", f"{base}{target}?tagging")
    if target == "/bucket/key" or base:
        assert (after.status, pairs_of(after)) == (200, [])
    else:
        assert (after.status, after.code) == (404, "NoSuchTagSet")


def test_tagging_leaves_bytes_and_etag_alone(s3):
    before = s3.ok("PUT", "/bucket/key", b"bytes").headers["etag"]
    s3.ok("PUT", "/bucket/key?tagging", document(("a", "1")))
    after = s3.ok("GET", "/bucket/key")
    assert (after.body, after.headers["etag"]) == (b"bytes", before)
    assert after.headers["x-amz-tagging-count"] == "1"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MalformedXML"),
        (b"<Tagging/>", "MalformedXML"),
        (b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", "MalformedXML"),
        (b"<Other/>", "MalformedXML"),
        (document(("a", "1"), ("a", "2")), "InvalidTag"),
        (document(("", "1")), "InvalidTag"),
        (document(("k" * 129, "1")), "InvalidTag"),
        (document(("a", "v" * 257)), "InvalidTag"),
        (document(("aws:a", "1")), "InvalidTag"),
        (document(*((f"k{i}", "v") for i in range(11))), "BadRequest"),
    ],
)
def test_tag_sets_that_cannot_be(s3, body, code):
    s3.ok("PUT", "/bucket/key", b"x", x_amz_tagging="kept=1")
    answer = s3("PUT", "/bucket/key?tagging", body)
    assert (answer.status, answer.code) == (400, code)
    assert pairs_of(s3.ok("GET", "/bucket/key?tagging")) == [("kept", "1")]


def test_a_bucket_may_have_more_tags_on_the_aws_endpoint(s3):
    tags = document(*((f"k{i:02}", "v") for i in range(50)))
    s3.ok("PUT", "/bucket?tagging", tags)
    assert len(pairs_of(s3.ok("GET", "/bucket?tagging"))) == 50
    assert s3("PUT", "/api/v1/s3/bucket?tagging", tags).code == "BadRequest"
    more = document(*((f"k{i:02}", "v") for i in range(51)))
    assert s3("PUT", "/bucket?tagging", more).code == "BadRequest"


def test_tags_of_what_is_not_there(s3):
    for method in ("GET", "PUT", "DELETE"):
        body = document(("a", "1")) if method == "PUT" else b""
        assert s3(method, "/bucket/none?tagging", body).code == "NoSuchKey"
        assert s3(method, "/absent?tagging", body).code == "NoSuchBucket"
        assert s3(method, "/bucket:none?tagging", body).code == "NoSuchBucket"
