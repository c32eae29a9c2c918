"""The servers of this machine, for the tests of stores behind a network."""

import contextlib
import importlib.util
import logging
from pathlib import Path

import boto3
import pytest

import forebay

_spec = importlib.util.spec_from_file_location("servers", Path(__file__).with_name("servers.py"))
_servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_servers)


@pytest.fixture(scope="session")
def servers():
    """Give the module of context managers that each run one server."""
    return _servers


@contextlib.contextmanager
def moto_server():
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@contextlib.contextmanager
def forebay_server():
    with forebay.Gateway("memory://") as gateway:
        yield gateway.url


@pytest.fixture(scope="module", params=["moto", "forebay"])
def origin(request):
    """Give a client of an S3 server, of another make or our own, with the bucket ``far``."""
    with {"moto": moto_server, "forebay": forebay_server}[request.param]() as url:
        access = {"aws_access_key_id": "tester", "aws_secret_access_key": "any"}
        client = boto3.client("s3", endpoint_url=url, **access)
        with contextlib.closing(client):
            client.create_bucket(Bucket="far")
            yield client
