"""Gateways inside this process, spoken to by boto3."""

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

import forebay
from forebay.config import load
from forebay.errors import ConfigurationError

BODY = bytes(range(256)) * 400


def round_trip(gateway: forebay.Gateway, name: str = "bucket") -> None:
    s3 = gateway.client()
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="a b/ü", Body=BODY)
    assert s3.get_object(Bucket=name, Key="a b/ü")["Body"].read() == BODY
    assert s3.head_object(Bucket=name, Key="a b/ü")["ContentLength"] == len(BODY)
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=name)["Contents"]] == ["a b/ü"]


def descriptors() -> set[str]:
    return {
        os.readlink(f"/proc/self/fd/{one}")
        for one in os.listdir("/proc/self/fd")
        if Path(f"/proc/self/fd/{one}").exists()
    }


def test_a_gateway_over_memory_keeps_objects():
    with forebay.Gateway("memory://") as gateway:
        round_trip(gateway)


def test_a_gateway_over_a_directory_keeps_objects_as_files(tmp_path):
    with forebay.Gateway(tmp_path) as gateway:
        round_trip(gateway)
    assert (tmp_path / "bucket" / "a b" / "ü").read_bytes() == BODY


def test_a_gateway_over_a_directory_has_a_state_of_its_own(tmp_path):
    with forebay.Gateway(tmp_path) as gateway:
        state = Path(gateway.config.state)
        assert state.is_dir()
        round_trip(gateway)
    assert not state.exists(), "it is gone with the gateway"
    with forebay.Gateway(tmp_path) as gateway:
        assert gateway.config.state != str(state)
        body = gateway.client().get_object(Bucket="bucket", Key="a b/ü")["Body"].read()
        assert body == BODY


def test_a_state_that_is_named_stays(tmp_path):
    storage, state = tmp_path / "storage", tmp_path / "state"
    storage.mkdir()
    with forebay.Gateway(storage, state=state) as gateway:
        s3 = gateway.client()
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="k", Body=b"1", Metadata={"colour": "blue"})
    with forebay.Gateway(storage, state=state) as gateway:
        head = gateway.client().head_object(Bucket="bucket", Key="k")
        assert head["Metadata"] == {"colour": "blue"}


def test_a_gateway_reads_a_file(tmp_path):
    path = tmp_path / "forebay.toml"
    path.write_text('[metadata]\nkind = "memory"\n[mounts."/"]\nunder = "memory://"\n')
    with forebay.Gateway(path) as gateway:
        round_trip(gateway)


def test_a_gateway_takes_a_config(tmp_path):
    path = tmp_path / "forebay.toml"
    path.write_text('[metadata]\nkind = "memory"\n[server]\nregion = "eu-west-9"\n')
    with forebay.Gateway(load(path, storage="memory://")) as gateway:
        assert gateway.port != 39999
        assert gateway.client().meta.region_name == "eu-west-9"
    with pytest.raises(TypeError, match="its own properties"):
        forebay.Gateway(load(path, storage="memory://"), state=tmp_path)


def test_properties_reach_the_gateway():
    properties = {"alluxio.proxy.s3.bucket.naming.restrictions.enabled": "false"}
    with forebay.Gateway("memory://", properties=properties) as gateway:
        gateway.client().create_bucket(Bucket="UPPER")
    with forebay.Gateway("memory://") as gateway, pytest.raises(ClientError, match="InvalidBucket"):
        gateway.client().create_bucket(Bucket="UPPER")


def test_two_gateways_live_in_one_process(tmp_path):
    with forebay.Gateway("memory://") as one, forebay.Gateway(tmp_path) as two:
        assert one.port != two.port
        round_trip(one, "first")
        round_trip(two, "second")
        assert [b["Name"] for b in one.client().list_buckets()["Buckets"]] == ["first"]
        assert [b["Name"] for b in two.client().list_buckets()["Buckets"]] == ["second"]


def test_both_endpoints_answer():
    with forebay.Gateway("memory://") as gateway:
        assert gateway.url == f"http://127.0.0.1:{gateway.port}"
        assert gateway.alluxio_url == f"{gateway.url}/api/v1/s3"
        gateway.client(alluxio=True).create_bucket(Bucket="bucket")
        gateway.client().head_bucket(Bucket="bucket")


def test_a_client_acts_as_the_user_it_names():
    with forebay.Gateway("memory://") as gateway:
        gateway.client("ann").create_bucket(Bucket="anns")
        assert gateway.client("bob").list_buckets()["Buckets"] == []
        with pytest.raises(ClientError, match="AccessDenied"):
            gateway.client("bob").list_objects_v2(Bucket="anns")
        gateway.client().create_bucket(Bucket="mine")
        with urllib.request.urlopen(f"{gateway.url}/mine", timeout=5) as answer:
            assert answer.status == 200, "no credentials: the user who launched it"


def test_start_and_stop_without_with():
    gateway = forebay.Gateway("memory://").start()
    round_trip(gateway)
    with pytest.raises(RuntimeError, match="started already"):
        gateway.start()
    gateway.stop()
    gateway.stop()
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(gateway.url, timeout=5)
    gateway.start()
    assert gateway.client().list_buckets()["Buckets"] == [], "memory is new each time"
    gateway.stop()


def test_nothing_is_left_of_a_gateway(tmp_path):
    with forebay.Gateway(tmp_path) as gateway:
        round_trip(gateway)  # what is imported and opened once per process
    threads, open_files = set(threading.enumerate()), descriptors()
    with forebay.Gateway(tmp_path) as gateway:
        gateway.client().put_object(Bucket="bucket", Key="k", Body=BODY)
        assert set(threading.enumerate()) > threads
    assert set(threading.enumerate()) == threads
    assert descriptors() == open_files


def test_no_thread_is_left_of_a_completion():
    threads = set(threading.enumerate())
    with forebay.Gateway("memory://") as gateway:
        s3 = gateway.client()
        s3.create_bucket(Bucket="bucket")
        upload = s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
        where = {"Bucket": "bucket", "Key": "parts", "UploadId": upload}
        etag = s3.upload_part(**where, PartNumber=1, Body=BODY)["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        s3.complete_multipart_upload(**where, MultipartUpload=parts)
    assert set(threading.enumerate()) == threads


def test_a_stop_finishes_what_is_in_flight():
    gateway = forebay.Gateway("memory://").start()
    gateway.client().create_bucket(Bucket="bucket")
    began = threading.Barrier(9)

    def put(number: int) -> int:
        request = urllib.request.Request(
            f"{gateway.url}/bucket/{number}", data=BODY * 20, method="PUT"
        )
        began.wait(5)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(put, number) for number in range(8)]
        began.wait(5)
        wait(answers, 5, FIRST_COMPLETED)
        gateway.stop()
        faults = [one.exception() for one in answers if one.exception()]
    refused = [fault for fault in faults if "refused" in str(fault)]
    assert faults == refused, "a connection is refused or answered, never cut"


def test_a_gateway_that_cannot_be_opened_leaves_nothing(tmp_path):
    threads = set(threading.enumerate())
    with pytest.raises(ConfigurationError):
        forebay.Gateway("nosuchscheme://x").start()
    with forebay.Gateway("memory://") as gateway, pytest.raises(ConfigurationError, match="in use"):
        forebay.Gateway(tmp_path, listen=f"127.0.0.1:{gateway.port}").start()
    assert set(threading.enumerate()) == threads


def test_forebay_is_imported_without_its_server():
    code = "import sys, forebay; assert 'falcon' not in sys.modules; forebay.Gateway"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=20)
    with pytest.raises(AttributeError, match="no attribute 'Gatehouse'"):
        forebay.Gatehouse  # noqa: B018


def test_boto3_without_a_profile_speaks_to_it(monkeypatch):
    with forebay.Gateway("memory://") as gateway:
        round_trip(gateway)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", gateway.forebay.launch_user)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        monkeypatch.setenv("AWS_ENDPOINT_URL", gateway.url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3 = boto3.session.Session().client("s3")
        assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["bucket"]
        s3.close()
