import doctest
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from forebay.s3 import xml
from forebay.s3.errors import S3Error
from forebay.types import CommonPrefix

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
# what XML 1.0 can carry, so that a strict parser can read it back
carried = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r&<>\"'+ ")
)
any_key = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from(" +%&/~")
)


@dataclass(frozen=True, slots=True)
class Listed:
    key: str
    size: int = 3
    etag: str = "900150983cd24fb0d6963f7d28e17f72"
    modified: int = 1795423560123
    owner: str | None = None
    checksum_algorithms: tuple[str, ...] = ()
    checksum_type: str = ""


def refused(body: bytes, root: str = "Delete") -> str:
    with pytest.raises(S3Error) as caught:
        xml.parse(body, root)
    assert caught.value.status == 400
    return caught.value.code


def test_docstrings():
    assert doctest.testmod(xml).failed == 0


def test_reading():
    body = b"""<?xml version="1.0" encoding="UTF-8"?>
    <!-- who --><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
      <Object><Key>a<!-- x -->b<?pi y?>&amp;&#13;</Key></Object><Object><Key/></Object>
      <Quiet>true</Quiet></Delete>"""
    root = xml.parse(body, "Delete")
    objects = xml.children(root, "Object")
    assert [xml.text(one, "Key") for one in objects] == ["ab&\r", ""]
    assert xml.text(root, "Quiet") == "true"
    assert xml.text(root, "Missing") is None
    assert xml.child(root, "Missing") is None
    assert xml.child(root, "Quiet") is not None


@pytest.mark.parametrize(
    "head",
    [
        "<Delete>",
        '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
        '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01">',
        '<Delete xmlns="http://doc.s3.amazonaws.com/2006-03-01/">',
        '\ufeff<?xml version="1.0" encoding="utf-8"?><Delete>',
    ],
)
def test_heads_of_documents_that_clients_send(head):
    assert xml.text(xml.parse(f"{head}<Key>é</Key></Delete>".encode(), "Delete"), "Key") == "é"


BOMB = (
    b'<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (name, b"&%c;" % (name - 1) * 10) for name in range(98, 120))
    + b"]><Delete>&w;</Delete>"
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"Delete",
        b"<Delete>",
        b"<Delete/><Delete/>",
        b"<Other/>",
        b'<Delete xmlns="http://example.com/"/>',
        b"<!DOCTYPE Delete><Delete/>",
        b"<!DOCTYPE Delete>",
        b'<!DOCTYPE d SYSTEM "http://127.0.0.1:1/x.dtd"><Delete/>',
        b'<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]><Delete><Key>&e;</Key></Delete>',
        BOMB,
        b"<a>" * 100_000,
        b"<Delete>\0</Delete>",
        b"<Delete>&#x1;</Delete>",
        b"<Delete>\xff</Delete>",
        b"<Delete>&nbsp;</Delete>",
        "<Delete/>".encode("utf-16"),
        '<?xml version="1.0" encoding="UTF-16"?><Delete/>'.encode("utf-16-le"),
        b'<?xml version="1.0" encoding="ISO-8859-1"?><Delete/>',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_documents_that_are_refused(body):
    assert refused(body) == "MalformedXML"


def test_a_document_too_long_is_not_parsed():
    assert refused(b"<Delete>" + b" " * xml.MAX_DOCUMENT) == "MaxMessageLengthExceeded"
    body = b"<Delete>" + b"<Object><Key>k</Key></Object>" * 10_000 + b"</Delete>"
    assert len(xml.children(xml.parse(body, "Delete"), "Object")) == 10_000


@pytest.mark.parametrize("body", [b"<D><Key>a</Key><Key>b</Key></D>", b"<D><Key>a<b/></Key></D>"])
def test_texts_that_are_not_one(body):
    root = xml.parse(body, "D")
    with pytest.raises(S3Error) as caught:
        xml.text(root, "Key")
    assert caught.value.code == "MalformedXML"


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_malformed_xml(body):
    for document in (body, b"<D>" + body + b"</D>"):
        with suppress(S3Error):
            assert xml.parse(document, "D") is not None


def test_writing():
    written = xml.document(
        "Tagging",
        NAMESPACE,
        ("TagSet", [("Tag", [("Key", "a<b"), ("Value", 1)]), ("Tag", ())]),
        ("Yes", True),
        ("Left", None),
        ('Grantee xsi:type="CanonicalUser"', "é"),
    )
    assert written.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Tagging xmlns="{NAMESPACE}"><TagSet><Tag><Key>a&lt;b</Key><Value>1</Value></Tag>'
        '<Tag></Tag></TagSet><Yes>true</Yes><Grantee xsi:type="CanonicalUser">é</Grantee>'
        "</Tagging>"
    )


def test_writing_without_namespace_and_declaration():
    assert xml.document("A", None, ("B", False), declaration=False) == b"<A><B>false</B></A>"


@given(carried)
def test_what_is_written_is_read_back(text):
    root = xml.parse(xml.document("D", NAMESPACE, ("Key", text)), "D")
    assert text == xml.text(root, "Key")


def test_control_characters_are_numeric_references_as_s3_writes_them():
    assert b"<Key>a&#x1;&#x1f;b\t&#13;</Key>" in xml.document("D", None, ("Key", "a\x01\x1fb\t\r"))


def test_url_encoding():
    assert xml.url_encode("test_file(3).png") == "test_file%283%29.png"
    assert xml.url_encode("a/*-._") == "a/*-._"
    assert xml.url_encode("a b+%~\x01") == "a+b%2B%25%7E%01"


@given(any_key)
def test_url_encoding_is_undone_by_clients(key):
    encoded = xml.url_encode(key)
    assert encoded.isascii()
    assert key == unquote_plus(encoded)


def read_listing(body: bytes):
    root = etree.fromstring(body)
    name = root.tag.removeprefix(f"{{{NAMESPACE}}}")
    rows = [
        (child.tag.rpartition("}")[2], {e.tag.rpartition("}")[2]: e.text or "" for e in child})
        for child in root
    ]
    return name, rows


@given(st.lists(carried.filter(bool), max_size=8), st.lists(carried.filter(bool), max_size=4))
def test_a_listing_is_read_back(keys, prefixes):
    entries = [*map(Listed, keys), *map(CommonPrefix, prefixes)]
    name, rows = read_listing(xml.list_objects(NAMESPACE, [], entries))
    assert name == "ListBucketResult"
    assert keys == [row["Key"] for kind, row in rows if kind == "Contents"]
    assert prefixes == [row["Prefix"] for kind, row in rows if kind == "CommonPrefixes"]


@given(st.lists(any_key.filter(bool), min_size=1, max_size=8))
def test_a_listing_with_encoded_keys_carries_every_key(keys):
    entries = [*map(Listed, keys), *map(CommonPrefix, keys)]
    _, rows = read_listing(xml.list_objects(None, [], entries, encode=True))
    assert keys * 2 == [unquote_plus(row.get("Key", row.get("Prefix"))) for _, row in rows]


def test_rows_of_a_listing():
    listed = Listed("k", owner="me&", checksum_algorithms=("crc32",), checksum_type="FULL_OBJECT")
    body = xml.list_objects(
        NAMESPACE,
        [("Name", "b"), ("IsTruncated", False)],
        [CommonPrefix("p/"), listed],
        owners=True,
    )
    assert body.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<ListBucketResult xmlns="{NAMESPACE}"><Name>b</Name><IsTruncated>false</IsTruncated>'
        "<Contents><Key>k</Key><LastModified>2026-11-23T08:46:00.123Z</LastModified>"
        "<ETag>&quot;900150983cd24fb0d6963f7d28e17f72&quot;</ETag>"
        "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
        "<Size>3</Size><Owner><ID>me&amp;</ID><DisplayName>me&amp;</DisplayName></Owner>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>"
    )


def test_owners_are_left_out_where_they_are_not_asked_or_not_known():
    assert b"Owner" not in xml.list_objects(None, [], [Listed("k", owner="me")])
    assert b"Owner" not in xml.list_objects(None, [], [Listed("k")], owners=True)


@given(st.integers(0, 253402300799_999))
def test_dates(ms):
    when = datetime.fromtimestamp(ms // 1000, UTC)
    assert when.strftime("%a, %d %b %Y %H:%M:%S GMT") == xml.http_date(ms)
    assert f"{when:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z" == xml.iso_date(ms)


@pytest.mark.parametrize("ms", [-1, -(10**18), 10**18])
def test_dates_that_no_calendar_has_are_cut(ms):
    assert xml.iso_date(ms)[:4] in ("1970", "9999")
    assert len(xml.http_date(ms)) == 29
