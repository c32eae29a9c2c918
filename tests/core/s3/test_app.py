"""The request as WSGI has it, identity, the two dialects, and how errors look."""

import io
import logging

import pytest

from forebay.errors import PluginError, StorageError
from forebay.hookspecs import hookimpl
from forebay.s3.app import FrontEnd, parse_query
from forebay.s3.errors import S3Error


def test_health_is_a_route_and_no_bucket(s3):
    result = s3.client.simulate_get("/-/health")
    assert (result.status_code, result.text) == (200, "ok")
    assert s3("PUT", "/-").code == "InvalidBucketName"


def test_ready_says_whether_requests_can_be_answered(s3, monkeypatch):
    ready = s3.client.simulate_get("/-/ready")
    assert (ready.status_code, ready.text) == (200, "ready")
    forebay = s3.forebay

    def silent(_):
        raise StorageError("the disk is gone")

    monkeypatch.setattr(forebay.catalog, "read", silent)
    assert s3.client.simulate_get("/-/ready").status_code == 503
    assert s3.client.simulate_get("/-/health").status_code == 200


class Routes:
    """A plugin that answers a path."""

    def __init__(self, path, *, sink=False):
        self.path, self.sink = path, sink

    def on_get(self, req, resp):
        resp.text = "mine"

    @hookimpl
    def register_routes(self, app, forebay):
        if self.sink:
            app.add_sink(lambda req, resp, **_: self.on_get(req, resp), prefix=self.path)
        else:
            app.add_route(self.path, self)


@pytest.mark.parametrize("sink", [True, False])
def test_register_routes_adds_what_is_below_its_own_prefix(make, sink):
    s3 = make(plugins=[Routes("/-/mine", sink=sink)])
    assert s3.client.simulate_get("/-/mine").text == "mine"
    s3.ok("PUT", "/bucket")
    assert s3("GET", "/bucket/-/mine").code == "NoSuchKey"


@pytest.mark.parametrize("sink", [True, False])
@pytest.mark.parametrize("path", ["/bucket/key", "/-"])
def test_register_routes_cannot_take_the_place_of_objects(make, path, sink):
    with pytest.raises(PluginError, match="a plugin's routes begin with /-/"):
        make(plugins=[Routes(path, sink=sink)])


def test_every_answer_has_a_request_id(s3):
    ids = [s3("GET", target).headers["x-amz-request-id"] for target in ("/", "/bucket/none", "/%")]
    assert len(set(ids)) == 3
    failed = s3("GET", "/bucket/none")
    assert failed.text("RequestId") == failed.headers["x-amz-request-id"]


def test_an_error_names_code_message_and_resource(s3):
    answer = s3("GET", "/bucket/a%20b?versionId=null")
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/xml"
    assert [element.tag for element in answer.root] == [
        "Code",
        "Message",
        "Key",
        "Resource",
        "RequestId",
    ]
    assert answer.text("Resource") == "/bucket/a b"
    assert answer.text("Key") == "a b"


def test_an_error_of_head_has_no_body(s3):
    answer = s3("HEAD", "/bucket/none")
    assert (answer.status, answer.body) == (404, b"")
    assert answer.headers["content-length"] == "0"


def test_the_base_path_speaks_the_other_dialect(s3):
    assert b"xmlns" not in s3.ok("GET", "/api/v1/s3").body
    assert b"xmlns" not in s3.ok("GET", "/api/v1/s3/").body
    assert b"http://s3.amazonaws.com/doc/2006-03-01/" in s3.ok("GET", "/").body
    assert s3.ok("GET", "/api/v1/s3/bucket").text("Name") == "bucket"


def test_a_bucket_called_api_is_reached_through_the_base_path(s3):
    s3.ok("PUT", "/api/v1/s3/api")
    s3.ok("PUT", "/api/v1/s3/api/v1/s3", b"inside")
    assert s3.ok("GET", "/api/v1/s3/api/v1/s3").body == b"inside"
    s3.ok("PUT", "/api/v1/s3x", b"not the base path")
    assert s3.ok("GET", "/api/v1/s3x").body == b"not the base path"


def test_a_base_path_of_ones_own(make):
    from forebay.config import S3Config

    s3 = make(s3=S3Config(base_path="/alluxio"))
    assert b"xmlns" not in s3.ok("GET", "/alluxio/").body
    assert s3("GET", "/api/v1/s3").code == "NoSuchBucket"


def test_virtual_hosts(make):
    from forebay.config import S3Config

    s3 = make(s3=S3Config(domain="s3.test"))
    s3.ok("PUT", "/", Host="bucket.s3.test")
    s3.ok("PUT", "/key", b"virtual", Host="bucket.s3.test:39999")
    assert s3.ok("GET", "/bucket/key", Host="s3.test").body == b"virtual"
    s3.ok("PUT", "/api/v1/s3/x", b"a key", Host="bucket.s3.test")
    assert s3.ok("GET", "/bucket/api/v1/s3/x", Host="s3.test").body == b"a key"


@pytest.mark.parametrize(
    "key", ["a//b", "/a", "a/", "..", "../x", "./a", "a+b", "a%2Bb", "a%20b", "%C3%A9", "a%252Fb"]
)
def test_keys_are_decoded_once_and_kept_as_they_are(s3, key):
    s3.ok("PUT", f"/bucket/{key}", key.encode())
    s3.ok("PUT", "/bucket/other", b"")
    assert s3.ok("GET", f"/bucket/{key}").body == key.encode()
    assert len(s3.ok("GET", "/bucket").texts("Contents/Key")) == 2


@pytest.mark.parametrize("path", ["/bucket/%", "/bucket/%zz", "/bucket/%c0%ae", "/bucket/a%00b"])
def test_a_path_that_cannot_be_decoded_is_refused(s3, path):
    answer = s3("PUT", path, b"x")
    assert (answer.status, answer.code) == (400, "InvalidURI")


def test_the_target_may_be_absolute(s3):
    assert s3.ok("GET", "http://falconframework.org/bucket").text("Name") == "bucket"
    assert s3.ok("GET", "http://falconframework.org").root.tag == "ListAllMyBucketsResult"
    assert s3("GET", "http://elsewhere/bucket").code == "InvalidURI"
    assert s3("OPTIONS", "*").code == "InvalidURI"


def test_without_a_raw_target_the_decoded_path_has_to_do(s3):
    environ = {"PATH_INFO": "/bucket/a b", "QUERY_STRING": "acl"}
    from forebay.s3.app import _target

    assert _target(environ) == "/bucket/a%20b?acl"
    assert _target({"RAW_URI": "/b", "QUERY_STRING": "acl"}) == "/b?acl"
    assert _target({"PATH_INFO": ""}) == "/"


@pytest.mark.parametrize("host", ["h:39999", "127.0.0.1", "[::1]:39999", "a.b-c_d"])
def test_hosts(s3, host):
    s3.ok("GET", "/bucket", Host=host)


@pytest.mark.parametrize("host", ["", "user@h", "h, other", "h/x", "h:x", "a b"])
def test_hosts_that_cannot_be(s3, host):
    answer = s3("GET", "/bucket", Host=host)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_queries():
    assert parse_query("a=b&a=c&uploads&=x&p=%2B+%25") == {"a": "b", "uploads": "", "p": "+ %"}
    for bad in ("a=%zz", "a=%ff", "a=%00"):
        with pytest.raises(S3Error, match="InvalidURI"):
            parse_query(bad)


@pytest.mark.parametrize("length", ["-1", "+10", "0x10", "1e3", "1_0", "x"])
def test_a_length_that_is_no_number_is_refused(s3, length):
    front = FrontEnd(s3.forebay)
    environ = {
        "REQUEST_URI": "/bucket/key",
        "CONTENT_LENGTH": length,
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(b"0123456789"),
    }
    with pytest.raises(S3Error, match="InvalidArgument"):
        front._answer(environ, "PUT", "/bucket/key", "/bucket/key", "id")


def test_a_put_without_a_length_is_refused(s3):
    s3.ok("PUT", "/launchers", Authorization="AWS root:x")
    signed = {"Authorization": "AWS root:x"}
    assert s3.client.simulate_put("/launchers/key", headers=signed).status_code == 411


# --- who is asking --------------------------------------------------------------------


def test_ownership(s3):
    s3.ok("PUT", "/bucket/key", b"mine")
    other = s3.as_user("bob")
    for method, target in (
        ("GET", "/bucket"),
        ("GET", "/bucket/key"),
        ("PUT", "/bucket/key"),
        ("DELETE", "/bucket"),
        ("POST", "/bucket?delete"),
        ("GET", "/bucket?acl"),
    ):
        assert other(method, target).status == 403, target
    assert other("HEAD", "/bucket").status == 403
    assert other("GET", "/absent").code == "NoSuchBucket"
    assert s3.ok("GET", "/").texts("Buckets/Bucket/Name") == ["bucket"]
    assert other.ok("GET", "/").texts("Buckets/Bucket/Name") == []
    other.ok("PUT", "/bobs-own")
    answer = other("PUT", "/bobs-own/copy", x_amz_copy_source="bucket/key")
    assert (answer.status, answer.code) == (403, "AccessDenied")


def test_open_authorization_switches_ownership_off(make):
    from forebay.config import AuthConfig

    s3 = make(auth=AuthConfig(authorization="open"))
    s3.ok("PUT", "/bucket")
    s3.as_user("bob").ok("PUT", "/bucket/key", b"x")


def test_without_credentials_the_launcher_asks(s3):
    nobody = s3.as_user(None)
    nobody.ok("PUT", "/launchers")
    assert nobody.ok("GET", "/").text("Owner/ID") == s3.forebay.launch_user


def test_a_malformed_header_is_refused_before_anything_else(s3):
    answer = s3("GET", "/%zz", Authorization="AWS4-HMAC-SHA256 Credential=HAHAHA")
    assert (answer.status, answer.code) == (400, "AuthorizationHeaderMalformed")


def test_the_expected_owner_is_held_to(s3):
    s3.ok("GET", "/bucket", x_amz_expected_bucket_owner="alice")
    assert s3("GET", "/bucket", x_amz_expected_bucket_owner="123456789012").status == 403


def test_the_hook_authorize_decides(make):
    asked = []

    class Policy:
        @hookimpl
        def authorize(self, identity, action, bucket, key):
            asked.append((identity.user, action, bucket, key))
            return False if action in ("DeleteObject", "PutBucketTagging") else None

    s3 = make(plugins=[Policy()])
    s3.ok("PUT", "/bucket")
    s3.ok("PUT", "/bucket/a", b"x")
    assert s3("DELETE", "/bucket/a").code == "AccessDenied"
    assert s3("PUT", "/bucket?tagging").code == "AccessDenied"
    s3.ok("PUT", "/bucket:folder/b", x_amz_copy_source="bucket/a")
    s3.ok("GET", "/")
    assert asked == [
        ("alice", "CreateBucket", "bucket", None),
        ("alice", "PutObject", "bucket", "a"),
        ("alice", "DeleteObject", "bucket", "a"),
        ("alice", "PutBucketTagging", "bucket", None),
        ("alice", "CopyObject", "bucket", "folder/b"),
        ("alice", "GetObject", "bucket", "a"),
        ("alice", "ListBuckets", None, None),
    ]


# --- what goes wrong inside -------------------------------------------------------------


def test_an_unexpected_fault_is_logged_and_not_told(make, caplog):
    class Broken:
        @hookimpl
        def authorize(self, action):
            if action == "ListBuckets":
                raise RuntimeError("secret path /var/x")

    s3 = make(plugins=[Broken()])
    with caplog.at_level(logging.ERROR, "forebay.s3"):
        answer = s3("GET", "/")
    assert (answer.status, answer.code) == (500, "InternalError")
    assert b"secret" not in answer.body
    assert answer.headers["x-amz-request-id"] in caplog.text
    assert "secret path" in caplog.text


@pytest.mark.parametrize(
    ("version", "status", "code"),
    [
        ("garbage", 400, "InvalidArgument"),
        ("", 400, "InvalidArgument"),
        ("x" * 32, 404, "NoSuchVersion"),
    ],
)
def test_versions_that_cannot_be(s3, version, status, code):
    s3.ok("PUT", "/bucket/key", b"x")
    for method in ("GET", "DELETE"):
        answer = s3(method, f"/bucket/key?versionId={version}")
        assert (answer.status, answer.code) == (status, code)
    assert s3.ok("GET", "/bucket/key?versionId=null").body == b"x"


def test_a_preflight_is_refused(s3):
    answer = s3("OPTIONS", "/bucket/key", Origin="http://evil.test")
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
