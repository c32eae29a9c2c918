import http.client
import os
import re
import signal
import subprocess
import sys
from io import StringIO

import pytest
from click.testing import CliRunner
from rich.console import Console

import forebay
from forebay.cli import main
from forebay.cli.serve import greet
from forebay.config import Config, MountConfig


def test_help_teaches_by_examples():
    for arguments in (["--help"], ["serve", "--help"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0
        assert "forebay serve ./data" in result.output


def test_the_version_is_told():
    result = CliRunner().invoke(main, ["--version"])
    assert result.output == f"forebay {forebay.__version__}\n"


def test_the_greeting_has_all_that_a_client_needs():
    out = StringIO()
    mounts = {"/": MountConfig("/", "file:///srv/[lake]")}
    greet(Config(mounts=mounts), Console(file=out, width=200), "http://127.0.0.1:1234")
    for expected in (
        "http://127.0.0.1:1234/",
        "http://127.0.0.1:1234/api/v1/s3/",
        "/srv/[lake]",
        "aws --endpoint-url http://127.0.0.1:1234 s3 ls",
        "AWS_ACCESS_KEY_ID=me",
    ):
        assert expected in out.getvalue()


@pytest.mark.parametrize("arguments", [[], ["memory://x", "--listen", "0.0.0.0:0"], ["rian://x"]])
def test_a_refusal_is_a_sentence_and_status_2(arguments):
    result = CliRunner().invoke(main, ["serve", *arguments])
    assert result.exit_code == 2
    assert result.output.startswith("forebay: ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize("there", [True, False])
def test_a_directory_that_is_made_is_told_of(tmp_path, monkeypatch, caplog, there):
    monkeypatch.setattr("forebay.server.workers.serve", lambda *given, **options: 0)
    caplog.set_level("INFO", "forebay")
    place = tmp_path / ("" if there else "typo")
    assert CliRunner().invoke(main, ["serve", str(place)]).exit_code == 0
    assert ("is not there and is made, for /" in caplog.text) is not there


def test_serve_serves_until_it_is_told_to_stop(tmp_path):
    (tmp_path / "lake" / "hello").mkdir(parents=True)
    command = [sys.executable, "-m", "forebay", "serve", "lake", "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "200"}
    with subprocess.Popen(
        [*command, "--workers", "1"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as served:
        try:
            said = ""
            for line in served.stdout:
                said += line
                if "s3 ls" in line:
                    break
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
            assert found, said
            connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert (answer.status, b"<Name>hello</Name>" in answer.read()) == (200, True)
            connection.close()
        finally:
            served.send_signal(signal.SIGTERM)
            status = served.wait(30)
    assert status == 0
