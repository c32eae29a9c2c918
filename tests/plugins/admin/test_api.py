"""The admin API over the wire: who is let in, and what a bad request is told."""

import http.client
import json

import pytest

from forebay.config import AdminConfig
from forebay_admin.api import LARGEST, Api
from forebay_admin.endpoints import ENDPOINTS


@pytest.fixture
def ask(gateway, tmp_path):
    """Ask the admin API of a gateway; gives status, answer and headers."""
    return asker(gateway, (tmp_path / "state" / "admin.token").read_text().strip())


def asker(gateway, token):
    def ask(method, target, body=None, *, token=token, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        sent = {"Authorization": f"Bearer {token}"} if token is not None else {}
        given = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, f"/-/{target}", given, {**sent, **dict(headers)})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        kind = answer.headers["Content-Type"]
        return answer.status, json.loads(text) if "json" in kind else text, answer.headers

    return ask


def test_register_routes_answers_below_its_own_prefix_only(ask, s3):
    s3.create_bucket(Bucket="admin")
    s3.put_object(Bucket="admin", Key="status", Body=b"mine")
    assert s3.get_object(Bucket="admin", Key="status")["Body"].read() == b"mine"
    status, answer, headers = ask("GET", "admin/status")
    assert status == 200
    assert answer["waiting"]["objects"] == 0
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("token", [None, "", "wrong"])
@pytest.mark.parametrize("target", ["admin/status", "admin", "admin/none"])
def test_nobody_is_let_in_without_the_token(ask, token, target):
    status, answer, headers = ask("GET", target, token=token)
    assert status == 401
    assert answer["error"]["code"] == "Unauthorized"
    assert "admin.token" in answer["error"]["message"]
    assert headers["WWW-Authenticate"] == 'Bearer realm="forebay"'


def test_a_configured_token_is_the_only_one(make_gateway, tmp_path):
    gateway = make_gateway(admin=AdminConfig(token="of-the-operator"))
    assert asker(gateway, "of-the-operator")("GET", "admin/status")[0] == 200
    status, answer, _ = asker(gateway, "wrong")("GET", "admin/status")
    assert status == 401
    assert "[admin] token" in answer["error"]["message"]
    assert not (tmp_path / "state" / "admin.token").exists()


def test_a_server_without_state_says_how_to_get_a_token(make_gateway):
    gateway = make_gateway(state="")
    status, answer, _ = asker(gateway, "")("GET", "admin/status")
    assert status == 401
    assert "write token under [admin]" in answer["error"]["message"]


def test_it_can_be_switched_off(make_gateway):
    gateway = make_gateway(admin=AdminConfig(enabled=False))
    _, body, _ = asker(gateway, "x")("GET", "admin/status", headers={"Host": "x"})
    assert b"<Error>" in body, "it is S3 that answers"
    assert asker(gateway, None)("GET", "health")[0] == 200


def test_health_and_ready_stay_open(ask):
    assert ask("GET", "health", token=None)[:2] == (200, b"ok")
    assert ask("GET", "ready", token=None)[:2] == (200, b"ready")


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "says"),
    [
        ("GET", "admin/stats", None, 404, "there is no /-/admin/stats; did you mean stat"),
        ("GET", "admin", None, 404, "there is no /-/admin/"),
        ("POST", "admin/stat", b"{}", 405, "stat takes GET, not POST"),
        ("DELETE", "admin/persist", None, 405, "persist takes GET and POST, not DELETE"),
        ("GET", "admin/stat", None, 400, "missing required field `path`"),
        ("GET", "admin/stat?pat=x", None, 400, "there is no argument pat; did you mean path?"),
        ("GET", "admin/status?path=x", None, 400, "there is no argument path (it takes none)"),
        ("GET", "admin/stat?path=s3://b/k&path=s3://b/l", None, 400, "Expected `str`"),
        ("GET", "admin/stat?path=b/k", None, 400, "did you mean s3://b/k"),
        ("GET", "admin/stat?path=s3://nowhere/k", None, 404, "there is no bucket nowhere"),
        ("GET", "admin/ls?limit=0", None, 400, "limit"),
        ("GET", "admin/ls?limit=many", None, 400, "limit"),
        ("GET", "admin/ls?recursive=perhaps", None, 400, "recursive"),
        ("GET", "admin/ls?path=s3://b%00", None, 400, "is no path"),
        ("POST", "admin/persist", b"{", 400, "the body is not JSON"),
        ("POST", "admin/persist", b"[]", 400, "Expected `object`"),
        ("POST", "admin/persist", b'{"path": 5}', 400, "Expected `str`"),
        ("POST", "admin/persist", b'{"path": "/", "aftr": ""}', 400, "did you mean after"),
        ("POST", "admin/persist", b"", 400, "missing required field `path`"),
        ("POST", "admin/persist", b" " * (LARGEST + 1), 413, "bytes at most"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(ask, method, target, body, status, says):
    found, answer, _ = ask(method, target, body)
    assert found == status
    assert says in answer["error"]["message"]


def test_a_fault_of_ours_is_no_secret_to_the_log_and_one_to_the_client(ask, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("inner secret")

    monkeypatch.setattr(Api, "_answer", fail)
    status, answer, _ = ask("GET", "admin/status")
    assert (status, answer["error"]["code"]) == (500, "InternalError")
    assert "secret" not in json.dumps(answer)
    assert "inner secret" in caplog.text


def test_every_endpoint_is_one_row_with_one_sentence():
    assert len({(row.method, row.name) for row in ENDPOINTS}) == len(ENDPOINTS)
    for row in ENDPOINTS:
        assert row.method in ("GET", "POST")
        assert row.text.endswith(".")
