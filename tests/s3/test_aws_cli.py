"""The real AWS command line against a real server of two processes over a directory."""

import base64
import getpass
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

AWS = str(Path(sys.executable).with_name("aws"))
FORKS = str(Path(__file__).with_name("aws_forks.py"))
ENDPOINTS = {"aws": "", "alluxio": "/api/v1/s3/"}
LICENSE = bytes(range(256)) * 106  # the page's LICENSE has about as many bytes
PART = 5 << 20  # the smallest part that is not the last

# As it stands on Alluxio's page, dots and all; who copies a command from there sends this.
HEADER = "AWS4-HMAC-SHA256 Credential=tester/... SignedHeaders=... Signature=..."
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?(Z|\+00:00)")
SOME = re.compile(r".+")
_names = count(1)


class CommandLine:
    """The command line, loaded once for all tests."""

    def __init__(self, folder):
        self._folder, self._count = folder, count()
        self.process = subprocess.Popen(
            [sys.executable, FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *commands):
        """Run commands at once; give the exit status, the output and the complaints of each."""
        files = [
            [self._folder / f"{next(self._count)}.{kind}" for kind in ("out", "err")]
            for _ in commands
        ]
        order = [
            {"arguments": [str(one) for one in command], "out": str(out), "err": str(err)}
            for command, (out, err) in zip(commands, files, strict=True)
        ]
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        statuses = json.loads(self.process.stdout.readline())
        return [
            (status, out.read_bytes(), err.read_bytes())
            for status, (out, err) in zip(statuses, files, strict=True)
        ]

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


class Served(NamedTuple):
    """A running server: its port, and the directory that it serves; and the command line."""

    port: int
    root: Path
    command_line: CommandLine

    def url(self, endpoint: str) -> str:
        return f"http://127.0.0.1:{self.port}{ENDPOINTS[endpoint]}"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


@pytest.fixture(scope="module")
def command_line(tmp_path_factory):
    command_line = CommandLine(tmp_path_factory.mktemp("line"))
    yield command_line
    command_line.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory, command_line):
    root, state = tmp_path_factory.mktemp("lake"), tmp_path_factory.mktemp("state")
    command = [sys.executable, "-m", "forebay", "serve", str(root), "--listen", "127.0.0.1:0"]
    with (
        (state / "log").open("w") as log,
        subprocess.Popen(
            [*command, "--workers", "2"],
            env={**os.environ, "XDG_STATE_HOME": str(state), "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            said = ""
            for line in process.stdout:
                said += line
                if "s3 ls" in line:
                    break
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
            assert found, said + (state / "log").read_text()
            yield Served(int(found[1]), root, command_line)
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(30)
    assert (status, (state / "log").read_text().count("Traceback")) == (0, 0)


@pytest.fixture
def bucket(served):
    """A bucket that is there, of user `tester`; every test has its own."""
    name = f"bucket-{next(_names)}"
    ask(served, "PUT", f"/{name}")
    return name


def ask(served, method, path, body=None, endpoint="aws", **headers):
    """Send one request with the page's header; `user=None` sends no header at all."""
    if headers.pop("user", "tester") is not None:
        headers["Authorization"] = HEADER
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    try:
        target = ENDPOINTS[endpoint].rstrip("/") + path
        connection.request(method, target, body, {k.replace("_", "-"): headers[k] for k in headers})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def start(served, endpoint, *arguments, **options):
    """Start the program `aws` itself."""
    return subprocess.Popen(
        [AWS, "--endpoint-url", served.url(endpoint), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def aws(served, endpoint, *arguments):
    """Run the command line to its end and give what it printed; it has to succeed."""
    [(status, out, err)] = served.command_line.run(
        ["--endpoint-url", served.url(endpoint), *arguments]
    )
    assert (status, err) == (0, b""), arguments
    return out.decode()


def matches(expected, found):
    """Whether `found` has all that `expected` names; lists have to have the same length."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            key in found and matches(value, found[key]) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(expected) == len(found)
            and all(map(matches, expected, found))
        )
    if isinstance(expected, re.Pattern):
        return isinstance(found, str) and expected.fullmatch(found) is not None
    return expected == found


# --- every action of Alluxio's page ---------------------------------------------------------


class World(NamedTuple):
    """What is there before an action, as on the page; `fill` completes texts with it."""

    served: Served
    endpoint: str
    bucket: str
    upload: str
    etag: str
    file: Path
    out: Path

    def fill(self, text):
        for name, value in self._asdict().items():
            text = text.replace("{" + name + "}", str(value))
        return text


TAGS = (
    b"<Tagging><TagSet><Tag><Key>key1</Key><Value>val1</Value></Tag>"
    b"<Tag><Key>key2</Key><Value>val2</Value></Tag></TagSet></Tagging>"
)


@pytest.fixture
def make_world(served, tmp_path):
    """Make a bucket with tags, three objects, one of them with tags, and an upload of one part."""
    (tmp_path / "LICENSE").write_bytes(LICENSE)

    def make_world(endpoint):
        bucket = f"{endpoint}-{next(_names)}"
        for method, path, body in (
            ("PUT", "", None),
            ("PUT", "?tagging", TAGS),
            ("PUT", "/test.txt", LICENSE),
            ("PUT", "/test.txt?tagging", TAGS),
            ("PUT", "/temp.txt", LICENSE),
            ("PUT", "/temp2.txt", LICENSE),
        ):
            assert ask(served, method, f"/{bucket}{path}", body).status == 200
        begun = ask(served, "POST", f"/{bucket}/multipart.txt?uploads").body.decode()
        upload = re.search("<UploadId>(.*)</UploadId>", begun)[1]
        part = ask(
            served, "PUT", f"/{bucket}/multipart.txt?partNumber=1&uploadId={upload}", LICENSE
        )
        out = tmp_path / f"{bucket}.out"
        etag = part.headers["etag"].strip('"')
        return World(served, endpoint, bucket, upload, etag, tmp_path / "LICENSE", out)

    return make_world


class Action(NamedTuple):
    """One command of the page; `then` is a request that shows what it left behind."""

    command: str
    expected: object = ""
    then: tuple[str, str, int, str] | None = None


MD5 = hashlib.md5(LICENSE).hexdigest()
ETAG = f'"{MD5}"'
CREATED = [{"Key": "key1", "Value": "val1"}, {"Key": "key2", "Value": "val2"}]
OBJECT = {"LastModified": SOME, "ContentLength": len(LICENSE), "ETag": ETAG, "Metadata": {}}
LISTED = [
    {"Key": key, "LastModified": DATE, "Size": len(LICENSE), "ETag": ETAG}
    for key in ("temp.txt", "temp2.txt", "test.txt")
]
PARTS = [{"PartNumber": 1, "LastModified": DATE, "ETag": ETAG, "Size": len(LICENSE)}]
B, K = "--bucket {bucket}", "--bucket {bucket} --key test.txt"
U = "--bucket {bucket} --key multipart.txt --upload-id {upload}"
SET = "--tagging TagSet=[{Key=a,Value=1}]"
GONE = "NoSuchUpload"

ACTIONS = {
    "AbortMultipartUpload": Action(
        f"abort-multipart-upload {U}",
        then=("GET", "/{bucket}/multipart.txt?uploadId={upload}", 404, GONE),
    ),
    "CompleteMultipartUpload": Action(
        f"complete-multipart-upload {U} --multipart-upload Parts=[{{PartNumber=1,ETag={{etag}}}}]",
        {
            "Location": SOME,
            "Bucket": "{bucket}",
            "Key": "multipart.txt",
            "ETag": re.compile(r'"[0-9a-f]{32}-1"'),
        },
        ("HEAD", "/{bucket}/multipart.txt", 200, ""),
    ),
    "CopyObject": Action(
        "copy-object --copy-source {bucket}/test.txt --bucket {bucket} --key test_copy.txt",
        {"CopyObjectResult": {"ETag": ETAG, "LastModified": DATE}},
        ("GET", "/{bucket}/test_copy.txt?tagging", 200, "val2"),
    ),
    "CreateBucket": Action(
        "create-bucket --bucket {bucket}-new",
        {"Location": "/{bucket}-new"},
        ("HEAD", "/{bucket}-new", 200, ""),
    ),
    "CreateMultipartUpload": Action(
        "create-multipart-upload --bucket {bucket} --key another.txt",
        {"Bucket": "{bucket}", "Key": "another.txt", "UploadId": SOME},
        ("GET", "/{bucket}?uploads", 200, "<Key>another.txt</Key>"),
    ),
    "DeleteBucket": Action(
        "delete-bucket --bucket {bucket}-empty", then=("HEAD", "/{bucket}-empty", 404, "")
    ),
    "DeleteBucketTagging": Action(
        f"delete-bucket-tagging {B}", then=("GET", "/{bucket}?tagging", 404, "NoSuchTagSet")
    ),
    "DeleteObject": Action(f"delete-object {K}", then=("GET", "/{bucket}/test.txt", 404, "")),
    "DeleteObjects": Action(
        f"delete-objects {B} --delete Objects=[{{Key=temp.txt}},{{Key=temp2.txt}}]",
        {"Deleted": [{"Key": "temp.txt"}, {"Key": "temp2.txt"}]},
        ("GET", "/{bucket}/temp2.txt", 404, "NoSuchKey"),
    ),
    "DeleteObjectTagging": Action(
        f"delete-object-tagging {K}", then=("GET", "/{bucket}/test.txt?tagging", 200, "<TagSet></")
    ),
    "GetBucketTagging": Action(f"get-bucket-tagging {B}", {"TagSet": CREATED}),
    "GetObject": Action(f"get-object {K} {{out}}", OBJECT),
    "GetObjectTagging": Action(f"get-object-tagging {K}", {"TagSet": CREATED}),
    "HeadBucket": Action(f"head-bucket {B}", {"BucketRegion": "us-east-1"}),
    "HeadObject": Action(f"head-object {K}", OBJECT),
    "ListBuckets": Action(
        "list-buckets --query Buckets[?Name=='{bucket}']",
        [{"Name": "{bucket}", "CreationDate": DATE}],
    ),
    "ListMultipartUploads": Action(
        f"list-multipart-uploads {B}",
        {"Uploads": [{"UploadId": "{upload}", "Key": "multipart.txt", "Initiated": DATE}]},
    ),
    "ListObjects": Action(f"list-objects {B}", {"Contents": LISTED}),
    "ListObjectsV2": Action(f"list-objects-v2 {B}", {"Contents": LISTED}),
    "ListParts": Action(f"list-parts {U}", {"Parts": PARTS, "StorageClass": "STANDARD"}),
    "PutBucketTagging": Action(
        f"put-bucket-tagging {B} {SET}", then=("GET", "/{bucket}?tagging", 200, "<Key>a</Key>")
    ),
    "PutObject": Action(
        "put-object --bucket {bucket} --key new.txt --body {file}",
        {"ETag": ETAG},
        ("HEAD", "/{bucket}/new.txt", 200, ""),
    ),
    "PutObjectTagging": Action(
        f"put-object-tagging {K} {SET}", then=("GET", "/{bucket}/test.txt?tagging", 200, ">a<")
    ),
    "UploadPart": Action(
        f"upload-part {U} --part-number 2 --body {{file}}",
        {"ETag": ETAG},
        ("GET", "/{bucket}/multipart.txt?uploadId={upload}", 200, "<PartNumber>2</PartNumber>"),
    ),
    "UploadPartCopy": Action(
        f"upload-part-copy {U} --part-number 2 --copy-source {{bucket}}/test.txt",
        {"CopyPartResult": {"ETag": ETAG}},
        ("GET", "/{bucket}/multipart.txt?uploadId={upload}", 200, "<PartNumber>2</PartNumber>"),
    ),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_of_the_page_by_the_command_line(served, make_world, name):
    action = ACTIONS[name]
    worlds = [make_world(endpoint) for endpoint in ENDPOINTS]
    for world in worlds:
        ask(served, "PUT", f"/{world.bucket}-empty")
    answers = served.command_line.run(
        *(
            ["--endpoint-url", served.url(world.endpoint), "s3api"]
            + [world.fill(argument) for argument in action.command.split()]
            for world in worlds
        )
    )
    for world, (status, out, err) in zip(worlds, answers, strict=True):
        assert (status, err) == (0, b""), world.endpoint
        expected = filled(world, action.expected)
        found = json.loads(out) if expected else out.decode()
        assert matches(expected, found), (world.endpoint, found)
        if action.then:
            method, path, status, text = action.then
            after = ask(served, method, world.fill(path))
            assert (after.status, text in after.body.decode("latin-1")) == (status, True)
    if name == "GetObject":
        assert {world.out.read_bytes() for world in worlds} == {LICENSE}


def filled(world, expected):
    match expected:
        case dict():
            return {key: filled(world, value) for key, value in expected.items()}
        case list():
            return [filled(world, value) for value in expected]
        case str():
            return world.fill(expected)
    return expected


class Sample(NamedTuple):
    """One request of the page and its answer: status, root element and the elements below it."""

    method: str
    path: str
    status: int
    root: str = ""
    elements: tuple[str, ...] = ()
    body: bytes | None = None
    headers: dict[str, str] = {}


_CONTENTS = ("Contents/Key", "Contents/Size", "Contents/LastModified", "Contents/ETag")
_LISTING = ("Name", "Prefix", "MaxKeys", "IsTruncated", *_CONTENTS)
_PART = "/{bucket}/multipart.txt?uploadId={upload}&partNumber=2"
_SOURCE = {"x-amz-copy-source": "{bucket}/test.txt"}
_TAGS = ("TagSet/Tag/Key", "TagSet/Tag/Value")

SAMPLES = {
    "AbortMultipartUpload": Sample("DELETE", "/{bucket}/multipart.txt?uploadId={upload}", 204),
    "CompleteMultipartUpload": Sample(
        "POST",
        "/{bucket}/multipart.txt?uploadId={upload}",
        200,
        "CompleteMultipartUploadResult",
        ("Location", "Bucket", "Key", "ETag"),
        b'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Part>'
        b"<PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>",
    ),
    "CopyObject": Sample(
        "PUT", "/{bucket}/copy", 200, "CopyObjectResult", ("ETag", "LastModified"), None, _SOURCE
    ),
    "CreateBucket": Sample("PUT", "/{bucket}-new", 200),
    "CreateMultipartUpload": Sample(
        "POST",
        "/{bucket}/another.txt?uploads",
        200,
        "InitiateMultipartUploadResult",
        ("Bucket", "Key", "UploadId"),
    ),
    "DeleteBucket": Sample("DELETE", "/{bucket}-empty", 204),
    "DeleteBucketTagging": Sample("DELETE", "/{bucket}?tagging", 204),
    "DeleteObject": Sample("DELETE", "/{bucket}/temp.txt", 204),
    "DeleteObjectTagging": Sample("DELETE", "/{bucket}/test.txt?tagging", 204),
    "DeleteObjects": Sample(
        "POST",
        "/{bucket}?delete",
        200,
        "DeleteResult",
        ("Deleted/Key",),
        b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>temp.txt</Key>'
        b"</Object><Quiet>false</Quiet></Delete>",
        {"Content-MD5": "of the body"},
    ),
    "GetBucketTagging": Sample("GET", "/{bucket}?tagging", 200, "Tagging", _TAGS),
    "GetObject": Sample("GET", "/{bucket}/test.txt", 200),
    "GetObjectTagging": Sample("GET", "/{bucket}/test.txt?tagging", 200, "Tagging", _TAGS),
    "HeadBucket": Sample("HEAD", "/{bucket}", 200),
    "HeadObject": Sample("HEAD", "/{bucket}/test.txt", 200),
    "ListBuckets": Sample(
        "GET",
        "/",
        200,
        "ListAllMyBucketsResult",
        ("Buckets/Bucket/Name", "Buckets/Bucket/CreationDate"),
    ),
    "ListMultipartUploads": Sample(
        "GET",
        "/{bucket}?uploads",
        200,
        "ListMultipartUploadsResult",
        ("Bucket", "Upload/Key", "Upload/UploadId", "Upload/Initiated"),
    ),
    "ListObjects": Sample("GET", "/{bucket}", 200, "ListBucketResult", ("Marker", *_LISTING)),
    "ListObjectsV2": Sample(
        "GET", "/{bucket}?list-type=2", 200, "ListBucketResult", ("KeyCount", *_LISTING)
    ),
    "ListParts": Sample(
        "GET",
        "/{bucket}/multipart.txt?uploadId={upload}",
        200,
        "ListPartsResult",
        (
            "Bucket",
            "Key",
            "UploadId",
            "StorageClass",
            "IsTruncated",
            "Part/PartNumber",
            "Part/LastModified",
            "Part/ETag",
            "Part/Size",
        ),
    ),
    "PutBucketTagging": Sample("PUT", "/{bucket}?tagging", 200, body=TAGS),
    "PutObject": Sample("PUT", "/{bucket}/new.txt", 200, body=LICENSE),
    "PutObjectTagging": Sample("PUT", "/{bucket}/temp.txt?tagging", 200, body=TAGS),
    "UploadPart": Sample("PUT", _PART, 200, body=LICENSE),
    "UploadPartCopy": Sample("PUT", _PART, 200, "CopyPartResult", ("ETag",), None, _SOURCE),
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("name", SAMPLES)
def test_an_action_of_the_page_as_a_request(served, make_world, name, endpoint):
    sample, world = SAMPLES[name], make_world(endpoint)
    ask(served, "PUT", f"/{world.bucket}-empty")
    body = sample.body and sample.body.replace(b"{etag}", world.etag.encode())
    headers = {key: world.fill(value) for key, value in sample.headers.items()}
    if "Content-MD5" in headers:
        headers["Content-MD5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
    answer = ask(served, sample.method, world.fill(sample.path), body, endpoint, **headers)
    assert (answer.status, answer.headers["x-amz-request-id"] is not None) == (sample.status, True)
    if not sample.root:
        assert answer.body == (LICENSE if name == "GetObject" else b"")
        return
    root = ElementTree.fromstring(answer.body)
    space = "" if endpoint == "alluxio" else NAMESPACE
    assert root.tag == space + sample.root
    missing = [
        path
        for path in sample.elements
        if root.find("/".join(space + one for one in path.split("/"))) is None
    ]
    assert missing == []


def test_both_tables_have_the_same_actions():
    assert sorted(ACTIONS) == sorted(SAMPLES)


def test_the_page_leaves_out_etags_and_digests_and_its_endpoint_takes_that(served, make_world):
    world = make_world("alluxio")
    aws(
        *(served, "alluxio", "s3api", "complete-multipart-upload", "--bucket", world.bucket),
        *("--key", "multipart.txt", "--upload-id", world.upload),
        *("--multipart-upload", "Parts=[{PartNumber=1}]"),
    )
    assert ask(served, "GET", f"/{world.bucket}/multipart.txt").body == LICENSE
    body = b"<Delete><Object><Key>temp.txt</Key></Object></Delete>"
    assert ask(served, "POST", f"/{world.bucket}?delete", body, "alluxio").status == 200
    assert ask(served, "POST", f"/{world.bucket}?delete", body).status == 400


def test_where_the_two_endpoints_differ_for_the_command_line(served, bucket):
    ask(served, "PUT", f"/{bucket}/a/b/c.txt", b"c")
    listed = {
        endpoint: json.loads(aws(served, endpoint, "s3api", "list-objects-v2", "--bucket", bucket))
        for endpoint in ENDPOINTS
    }
    keys = {one: [each["Key"] for each in listed[one]["Contents"]] for one in listed}
    assert keys == {"aws": ["a/b/c.txt"], "alluxio": ["a/", "a/b/", "a/b/c.txt"]}
    tags = json.loads(aws(served, "alluxio", "s3api", "get-bucket-tagging", "--bucket", bucket))
    assert tags == {"TagSet": []}
    with start(served, "aws", "s3api", "get-bucket-tagging", "--bucket", bucket) as process:
        assert b"(NoSuchTagSet)" in process.communicate(timeout=60)[1]


# --- the commands that people type ----------------------------------------------------------


def real_files(to, wanted, most):
    """Copy the first `wanted` installed files of at most `most` bytes below `to`."""
    source = Path(sysconfig.get_path("purelib"))
    files = (
        path
        for path in sorted(source.rglob("*"))
        if path.is_file()
        and path.stat().st_size <= most
        and path.suffix not in {".pyc", ".rst"}
        and "__pycache__" not in path.parts
    )
    chosen = list(islice(files, wanted))
    assert len(chosen) == wanted
    for path in chosen:
        target = to / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def there_and_back(served, endpoint, tmp_path, files):
    tree, back, bucket = tmp_path / "tree", tmp_path / "back", f"tree-{next(_names)}"
    real_files(tree, files, 16384)
    assert aws(served, endpoint, "s3", "mb", f"s3://{bucket}") == f"make_bucket: {bucket}\n"
    aws(served, endpoint, "s3", "sync", tree, f"s3://{bucket}/tree", "--only-show-errors")
    same(tree, served.root / bucket / "tree")
    assert aws(served, endpoint, "s3", "sync", tree, f"s3://{bucket}/tree") == ""
    aws(served, endpoint, "s3", "sync", f"s3://{bucket}/tree", back, "--only-show-errors")
    same(tree, back)
    aws(served, endpoint, "s3", "rm", "--recursive", f"s3://{bucket}", "--only-show-errors")
    assert [path for path in (served.root / bucket).rglob("*") if path.is_file()] == []
    assert aws(served, endpoint, "s3", "rb", f"s3://{bucket}") == f"remove_bucket: {bucket}\n"
    assert ask(served, "HEAD", f"/{bucket}").status == 404


def same(one, other):
    result = subprocess.run(["diff", "-r", one, other], capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (0, b"")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_tree_goes_up_and_comes_back(served, endpoint, tmp_path):
    there_and_back(served, endpoint, tmp_path, 120)


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_large_tree_goes_up_and_comes_back(served, endpoint, tmp_path):
    there_and_back(served, endpoint, tmp_path, 2200)


def a_large_file(served, bucket, tmp_path, size):
    """Up in parts, copied in parts on the server, and back; gives the ETag."""
    big, back = tmp_path / "big", tmp_path / "back"
    big.write_bytes(os.urandom(size))
    quiet = "--only-show-errors"
    aws(served, "aws", "s3", "cp", big, f"s3://{bucket}/big", quiet)
    aws(served, "alluxio", "s3", "cp", f"s3://{bucket}/big", f"s3://{bucket}/copy", quiet)
    aws(served, "aws", "s3", "cp", f"s3://{bucket}/copy", back, quiet)
    wanted = hashlib.sha256(big.read_bytes()).digest()
    assert hashlib.sha256(back.read_bytes()).digest() == wanted
    assert hashlib.sha256((served.root / bucket / "big").read_bytes()).digest() == wanted
    return ask(served, "HEAD", f"/{bucket}/big").headers["etag"]


def test_a_file_goes_up_in_parts_and_comes_back(served, bucket, tmp_path):
    assert a_large_file(served, bucket, tmp_path, 20 << 20).endswith('-3"')


@pytest.mark.slow
def test_a_very_large_file_goes_up_in_parts_and_comes_back(served, bucket, tmp_path):
    assert a_large_file(served, bucket, tmp_path, 200 << 20).endswith('-25"')


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_ls_shows_prefixes_sizes_and_sums(served, bucket, endpoint):
    for key in ("a.txt", "docs/b.txt", "docs/c d.txt"):
        ask(served, "PUT", f"/{bucket}/{key.replace(' ', '%20')}", b"12345")
    shown = aws(served, endpoint, "s3", "ls", f"s3://{bucket}")
    assert [line.split()[-2:] for line in shown.splitlines()] == [["PRE", "docs/"], ["5", "a.txt"]]
    summed = aws(
        served, endpoint, "s3", "ls", "--recursive", "--summarize", f"s3://{bucket}/docs/b"
    )
    assert re.search(r"5 docs/b\.txt\n\nTotal Objects: 1\n *Total Size: 5\n$", summed)


def test_mv_takes_an_object_from_one_key_to_another(served, bucket):
    ask(served, "PUT", f"/{bucket}/from.txt", b"moved", x_amz_meta_colour="blue")
    old, new = f"s3://{bucket}/from.txt", f"s3://{bucket}/to/here.txt"
    said = aws(served, "aws", "s3", "mv", "--no-progress", old, new)
    assert said == f"move: {old} to {new}\n"
    assert ask(served, "HEAD", f"/{bucket}/from.txt").status == 404
    moved = ask(served, "GET", f"/{bucket}/to/here.txt")
    assert (moved.body, moved.headers["x-amz-meta-colour"]) == (b"moved", "blue")


def test_cp_through_pipes(served, bucket):
    copy = [AWS, "--endpoint-url", served.url("aws"), "s3", "cp"]
    subprocess.run([*copy, "-", f"s3://{bucket}/key"], input=b"piped", check=True, timeout=60)
    assert ask(served, "GET", f"/{bucket}/key").body == b"piped"
    with start(served, "aws", "s3", "cp", f"s3://{bucket}/key", "-") as process:
        assert process.communicate(timeout=60) == (b"piped", b"")
    assert process.returncode == 0


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_presigned_url_acts_as_its_signer(served, bucket, endpoint):
    ask(served, "PUT", f"/{bucket}/a%20b.txt", b"signed")
    url = aws(served, endpoint, "s3", "presign", f"s3://{bucket}/a b.txt").strip()
    path = url.removeprefix(f"http://127.0.0.1:{served.port}")
    assert ask(served, "GET", path, user=None).body == b"signed"
    assert ask(served, "GET", path.partition("?")[0], user=None).status == 403


def test_a_bucket_with_something_in_it_is_not_removed(served, bucket):
    ask(served, "PUT", f"/{bucket}/key", b"kept")
    with start(served, "aws", "s3", "rb", f"s3://{bucket}") as process:
        assert b"(BucketNotEmpty)" in process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert ask(served, "GET", f"/{bucket}/key").body == b"kept"


# --- curl, which says nothing of who it is --------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
class TestCurl:
    @staticmethod
    def curl(*arguments):
        command = ["curl", "--silent", "--show-error", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout

    @pytest.mark.parametrize("endpoint", ENDPOINTS)
    def test_without_a_header_it_is_the_user_who_launched_the_server(
        self, served, tmp_path, endpoint
    ):
        bucket = f"curl-{next(_names)}"
        url = f"{served.url(endpoint).rstrip('/')}/{bucket}"
        (tmp_path / "file").write_bytes(LICENSE)
        assert self.curl("--request", "PUT", url) == b""
        assert self.curl("-T", tmp_path / "file", f"{url}/LICENSE") == b""
        assert self.curl(f"{url}/LICENSE") == LICENSE
        assert self.curl("--range", "10-19", f"{url}/LICENSE") == LICENSE[10:20]
        head = self.curl("--head", f"{url}/LICENSE").decode().lower()
        assert head.startswith("http/1.1 200 ok\r\n")
        assert f"\r\ncontent-length: {len(LICENSE)}\r\n" in head
        assert f'\r\netag: "{MD5}"\r\n' in head
        listed = ask(served, "GET", f"/{bucket}", user=None)
        assert f"<ID>{getpass.getuser()}</ID>" in listed.body.decode()

    def test_a_directory_below_a_bucket_is_a_bucket(self, served, tmp_path):
        # The aws command refuses a colon in a bucket name before it sends anything.
        bucket = f"curl-{next(_names)}"
        url = f"{served.url('alluxio')}{bucket}"
        (tmp_path / "file").write_bytes(b"inner")
        self.curl("--request", "PUT", url)
        self.curl("-T", tmp_path / "file", f"{url}/a/b/c.txt")
        assert self.curl(f"{url}:a:b/c.txt") == b"inner"
        assert re.findall("<Key>(.*?)</Key>", self.curl(f"{url}:a").decode()) == ["b/", "b/c.txt"]

    def test_a_body_of_unknown_length(self, served, tmp_path):
        bucket = f"curl-{next(_names)}"
        url = f"{served.url('aws')}/{bucket}"
        (tmp_path / "file").write_bytes(LICENSE)
        self.curl("--request", "PUT", url)
        said = self.curl(
            *("--header", "Transfer-Encoding: chunked", "-T", tmp_path / "file", f"{url}/key")
        )
        assert said == b""
        assert self.curl(f"{url}/key") == LICENSE

    def test_it_fetches_a_presigned_url(self, served, bucket):
        ask(served, "PUT", f"/{bucket}/key", b"signed")
        url = aws(served, "aws", "s3", "presign", f"s3://{bucket}/key").strip()
        assert self.curl(url) == b"signed"
