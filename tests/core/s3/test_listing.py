"""ListObjects, ListObjectsV2 and versions, on both endpoints."""

from urllib.parse import quote, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.s3.errors import S3Error
from forebay.s3.listing import parse_token, token
from forebay.streams import BytesReader, ReaderBody
from forebay.types import Attributes

KEYS = ["a", "a/", "a/1", "a/2", "a/b/3", "b+c", "d e", "z", "é"]


@pytest.fixture
def full(s3):
    for key in KEYS:
        s3.ok("PUT", f"/bucket/{quote(key)}", key.encode())
    return s3


def keys(answer):
    return answer.texts("Contents/Key")


def prefixes(answer):
    return answer.texts("CommonPrefixes/Prefix")


@pytest.mark.parametrize("kind", ["", "list-type=2&"])
def test_keys_come_in_byte_order(full, kind):
    answer = full.ok("GET", f"/bucket?{kind}")
    assert answer.root.tag == "ListBucketResult"
    assert keys(answer) == KEYS
    assert answer.text("IsTruncated") == "false"
    assert answer.text("MaxKeys") == "1000"
    assert answer.text("Name") == "bucket"
    entry = answer.root.find("Contents")
    assert entry.findtext("ETag") == '"0cc175b9c0f1b6a831c399e269772661"'
    assert entry.findtext("Size") == "1"
    assert entry.findtext("StorageClass") == "STANDARD"
    assert entry.findtext("LastModified").endswith("Z")


def test_owners(full):
    assert full.ok("GET", "/bucket").texts("Contents/Owner/ID") == ["alice"] * len(KEYS)
    assert full.ok("GET", "/bucket?list-type=2").texts("Contents/Owner/ID") == []
    asked = full.ok("GET", "/bucket?list-type=2&fetch-owner=true")
    assert asked.texts("Contents/Owner/ID") == ["alice"] * len(KEYS)


@pytest.mark.parametrize("kind", ["", "list-type=2&"])
def test_delimiters(full, kind):
    answer = full.ok("GET", f"/bucket?{kind}delimiter=/")
    assert keys(answer) == ["a", "b+c", "d e", "z", "é"]
    assert prefixes(answer) == ["a/"]
    inside = full.ok("GET", f"/bucket?{kind}delimiter=/&prefix=a/")
    assert keys(inside) == ["a/", "a/1", "a/2"]
    assert prefixes(inside) == ["a/b/"]
    assert (inside.text("Prefix"), inside.text("Delimiter")) == ("a/", "/")
    odd = full.ok("GET", f"/bucket?{kind}delimiter=%2B")
    assert prefixes(odd) == ["b+"]


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_pages_of_the_second_kind(full, delimiter, size):
    query = f"/bucket?list-type=2&max-keys={size}&delimiter={delimiter}"
    whole = full.ok("GET", f"/bucket?list-type=2&delimiter={delimiter}")
    seen, more = [], None
    for _ in range(20):
        page = full.ok("GET", query + (f"&continuation-token={quote(more)}" if more else ""))
        found = keys(page) + prefixes(page)
        assert page.text("KeyCount") == str(len(found))
        assert page.text("ContinuationToken") == more
        seen += found
        more = page.text("NextContinuationToken")
        assert page.text("IsTruncated") == ("true" if more else "false")
        if not more:
            break
        assert len(found) == size
    assert sorted(seen) == sorted(keys(whole) + prefixes(whole))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_of_the_first_kind(full, size):
    seen, marker = [], ""
    for _ in range(20):
        page = full.ok("GET", f"/bucket?max-keys={size}&delimiter=/&marker={quote(marker)}")
        assert page.text("Marker") == marker
        seen += sorted(keys(page) + prefixes(page))
        marker = page.text("NextMarker")
        if page.text("IsTruncated") == "false":
            break
    assert marker is None
    assert seen == ["a", "a/", "b+c", "d e", "z", "é"]


def test_next_marker_is_told_only_with_a_delimiter(full):
    page = full.ok("GET", "/bucket?max-keys=2")
    assert page.text("IsTruncated") == "true"
    assert page.text("NextMarker") is None


def test_start_after(full):
    answer = full.ok("GET", "/bucket?list-type=2&start-after=a/2")
    assert keys(answer) == ["a/b/3", "b+c", "d e", "z", "é"]
    assert answer.text("StartAfter") == "a/2"
    more = full.ok("GET", "/bucket?list-type=2&start-after=a/2&max-keys=1")
    behind = full.ok(
        "GET",
        "/bucket?list-type=2&start-after=a/2&continuation-token="
        + quote(more.text("NextContinuationToken")),
    )
    assert keys(behind) == ["b+c", "d e", "z", "é"]


def test_url_encoding_of_every_name(full):
    query = "list-type=2&encoding-type=url&prefix=d%20&delimiter=%2B&start-after=a%20b"
    answer = full.ok("GET", f"/bucket?{query}")
    assert answer.text("EncodingType") == "url"
    assert answer.text("Prefix") == "d+"
    assert answer.text("Delimiter") == "%2B"
    assert answer.text("StartAfter") == "a+b"
    assert keys(answer) == ["d+e"]
    rolled = full.ok("GET", "/bucket?encoding-type=url&delimiter=%2B&marker=a%20&max-keys=5")
    assert rolled.text("Marker") == "a+"
    assert prefixes(rolled) == ["b%2B"]
    assert rolled.text("NextMarker") == "b%2B"
    assert full("GET", "/bucket?encoding-type=base64").code == "InvalidArgument"


def test_keys_that_xml_cannot_carry_survive_url_encoding(s3):
    odd = "a\x01\t\n\r<&>\"'b"
    s3.ok("PUT", f"/bucket/{quote(odd)}")
    found = keys(s3.ok("GET", "/bucket?encoding-type=url"))
    assert [unquote_plus(key) for key in found] == [odd]


@pytest.mark.parametrize("kind", ["", "list-type=2&"])
def test_limits(full, kind):
    none = full.ok("GET", f"/bucket?{kind}max-keys=0")
    assert (keys(none), none.text("IsTruncated"), none.text("MaxKeys")) == ([], "false", "0")
    assert full.ok("GET", f"/bucket?{kind}max-keys=5000").text("MaxKeys") == "1000"
    assert keys(full.ok("GET", f"/bucket?{kind}max-keys=")) == KEYS
    for bad in ("-1", "x", "1e3", "10000000000000"):
        answer = full("GET", f"/bucket?{kind}max-keys={bad}")
        assert (answer.status, answer.code) == (400, "InvalidArgument"), bad


def test_a_thousand_keys_are_one_page(s3):
    bucket = s3.forebay.buckets.get("bucket")
    for number in range(1001):
        s3.forebay.writes.put(
            bucket,
            f"k{number:04}",
            ReaderBody(BytesReader(b""), 0),
            attributes=Attributes(),
            owner="alice",
        )
    page = s3.ok("GET", "/bucket?list-type=2&max-keys=2000")
    assert (len(keys(page)), page.text("IsTruncated")) == (1000, "true")


def test_is_truncated_is_false_when_the_last_common_prefix_was_given(s3):
    for key in ("a/1", "a/2"):
        s3.ok("PUT", f"/bucket/{key}")
    page = s3.ok("GET", "/bucket?list-type=2&delimiter=/&max-keys=1")
    assert (prefixes(page), page.text("IsTruncated")) == (["a/"], "false")


@pytest.mark.parametrize("bad", ["", "x", "MQ==", "é", "MTAwMDBrZXk="])
def test_tokens_that_were_never_given(full, bad):
    answer = full("GET", f"/bucket?list-type=2&continuation-token={quote(bad)}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


@given(st.text())
def test_a_token_gives_back_its_name(name):
    name = name.encode("utf-8", "replace").decode()
    assert parse_token(token(name)) == name


@given(st.text(max_size=40))
def test_no_other_text_is_a_token(text):
    try:
        name = parse_token(text)
    except S3Error as error:
        name, code = None, error.code
    assert token(name) == text if name is not None else code == "InvalidArgument"


def test_checksum_algorithms_are_listed(s3):
    s3.ok("PUT", "/bucket/key", b"", x_amz_checksum_crc32="AAAAAA==")
    answer = s3.ok("GET", "/bucket?list-type=2")
    assert answer.text("Contents/ChecksumAlgorithm") == "CRC32"
    assert answer.text("Contents/ChecksumType") == "FULL_OBJECT"


# --- the Alluxio endpoint -------------------------------------------------------------------


def test_folders_appear_on_the_alluxio_endpoint(s3):
    for key in ("x/y/1", "x/z", "plain"):
        s3.ok("PUT", f"/bucket/{key}", b"1")
    answer = s3.ok("GET", "/api/v1/s3/bucket")
    assert keys(answer) == ["plain", "x/", "x/y/", "x/y/1", "x/z"]
    assert answer.texts("Contents/Size") == ["1", "0", "0", "1", "1"]
    inside = s3.ok("GET", "/api/v1/s3/bucket?list-type=2&prefix=x/")
    assert keys(inside) == ["x/y/", "x/y/1", "x/z"]
    rolled = s3.ok("GET", "/api/v1/s3/bucket?delimiter=/")
    assert (keys(rolled), prefixes(rolled)) == (["plain"], ["x/"])
    assert keys(s3.ok("GET", "/bucket")) == ["plain", "x/y/1", "x/z"]


def test_pages_with_folders_lose_nothing(s3):
    for key in ("x/y/1", "x/z/1", "x/z/2"):
        s3.ok("PUT", f"/bucket/{key}")
    seen, more = [], None
    while True:
        page = s3.ok(
            "GET",
            "/api/v1/s3/bucket?list-type=2&max-keys=1"
            + (f"&continuation-token={quote(more)}" if more else ""),
        )
        seen += keys(page)
        more = page.text("NextContinuationToken")
        if not more:
            break
    assert seen == ["x/", "x/y/", "x/y/1", "x/z/", "x/z/1", "x/z/2"]


# --- sub-directories as buckets ---------------------------------------------------------------


@pytest.mark.parametrize("base", ["", "/api/v1/s3"])
def test_keys_of_a_sub_directory_are_relative(s3, base):
    for key in ("in/", "in/1", "in/d/2", "in/d/3", "other"):
        s3.ok("PUT", f"/bucket/{key}")
    answer = s3.ok("GET", f"{base}/bucket:in?delimiter=/&max-keys=1")
    assert (answer.text("Name"), answer.text("Prefix")) == ("bucket:in", "")
    assert (keys(answer), answer.text("NextMarker")) == (["1"], "1")
    rest = s3.ok("GET", f"{base}/bucket:in?delimiter=/&marker=1")
    assert (keys(rest), prefixes(rest)) == ([], ["d/"])
    deep = s3.ok("GET", f"{base}/bucket:in?list-type=2&prefix=d/&start-after=d/2")
    assert keys(deep) == ["d/3"]


# --- versions -----------------------------------------------------------------------------


def test_every_object_is_its_null_version(full):
    answer = full.ok("GET", "/bucket?versions")
    assert answer.root.tag == "ListVersionsResult"
    assert answer.texts("Version/Key") == KEYS
    assert set(answer.texts("Version/VersionId")) == {"null"}
    assert set(answer.texts("Version/IsLatest")) == {"true"}
    page = full.ok("GET", "/bucket?versions&max-keys=2&delimiter=/&encoding-type=url&key-marker=a")
    assert (page.texts("Version/Key"), prefixes(page)) == (["b%2Bc"], ["a/"])
    assert (page.text("NextKeyMarker"), page.text("NextVersionIdMarker")) == ("b%2Bc", "null")
    rest = full.ok("GET", "/bucket?versions&key-marker=b%2Bc&version-id-marker=null")
    assert rest.texts("Version/Key") == ["d e", "z", "é"]
    assert full("GET", "/bucket?versions&version-id-marker=null").code == "InvalidArgument"
