"""ListBuckets."""


def names(answer):
    return answer.texts("Buckets/Bucket/Name")


def test_buckets_by_name(s3):
    for name in ("zebra", "alpha", "alpine"):
        s3.ok("PUT", f"/{name}")
    answer = s3.ok("GET", "/")
    assert answer.root.tag == "ListAllMyBucketsResult"
    assert names(answer) == ["alpha", "alpine", "bucket", "zebra"]
    assert answer.text("Owner/ID") == "alice"
    assert answer.text("Buckets/Bucket/CreationDate").endswith("Z")
    assert answer.text("ContinuationToken") is None


def test_pages_and_prefix(s3):
    for name in ("alpha", "alpine", "zebra"):
        s3.ok("PUT", f"/{name}")
    first = s3.ok("GET", "/?max-buckets=3")
    assert names(first) == ["alpha", "alpine", "bucket"]
    rest = s3.ok("GET", f"/?max-buckets=3&continuation-token={first.text('ContinuationToken')}")
    assert names(rest) == ["zebra"]
    assert rest.text("ContinuationToken") is None
    found = s3.ok("GET", "/?prefix=al")
    assert names(found) == ["alpha", "alpine"]
    assert found.text("Prefix") == "al"


def test_arguments_that_cannot_be(s3):
    for query in ("max-buckets=0", "max-buckets=x", "continuation-token=x", "continuation-token="):
        assert s3("GET", f"/?{query}").code == "InvalidArgument", query


def test_sub_directories_are_not_listed(s3):
    s3.ok("PUT", "/bucket:inner")
    assert names(s3.ok("GET", "/")) == ["bucket"]
