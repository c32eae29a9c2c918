"""Every GET says where its bytes came from, and how long ago the store was asked."""

import time

import pytest
from botocore.config import Config as Botocore
from botocore.exceptions import ClientError

from forebay.config import MountConfig
from forebay.errors import Unavailable
from forebay.streams import BytesReader
from forebay.testing.faults import Around, UnderStoreLayer
from forebay.types import Attributes

SIZE = 3 << 20


class Down(Around):
    down = False

    def __getattr__(self, name):
        if self.down and name in ("head", "open", "list"):
            raise Unavailable("no route to it")
        return super().__getattr__(name)


@pytest.fixture
def far(make_gateway):
    """A gateway and the store behind it, in which ``lake/key`` lies that Forebay never saw."""
    layer = UnderStoreLayer(Down)
    mounts = {"/": MountConfig("/", "memory://", metadata_sync=0.5)}
    gateway = make_gateway(mounts=mounts, plugins=[layer])
    s3 = gateway.client("tester", config=Botocore(retries={"max_attempts": 1}))
    s3.create_bucket(Bucket="lake")
    store = layer.stores[0]
    store.inner.put("lake/key", BytesReader(bytes(SIZE)), size=SIZE, attributes=Attributes())
    return s3, store


def get(s3, key="key", **more):
    answer = s3.get_object(Bucket="lake", Key=key, **more)
    answer["Body"].read()
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return headers["x-forebay-cache"], int(headers["age"])


def test_miss_partial_hit_and_stale(far):
    s3, store = far
    assert get(s3, Range="bytes=0-99") == ("MISS", 0)
    assert get(s3, Range="bytes=50-149")[0] == "HIT"
    assert get(s3) == ("PARTIAL", 0)
    assert get(s3)[0] == "HIT"
    store.down = True
    time.sleep(1.1)
    cache, age = get(s3)
    assert cache == "STALE"
    assert age >= 1
    with pytest.raises(ClientError) as caught:
        get(s3, "never-seen")
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
    assert answer["Error"]["Code"] == "ServiceUnavailable"
    store.down = False
    assert get(s3) == ("HIT", 0)


def test_a_file_of_this_machine_bypasses_the_cache(make_gateway, tmp_path):
    (tmp_path / "files").mkdir()
    mounts = {"/": MountConfig("/", (tmp_path / "files").as_uri())}
    s3 = make_gateway(mounts=mounts).client("tester")
    s3.create_bucket(Bucket="lake")
    s3.put_object(Bucket="lake", Key="key", Body=b"x" * 100_000)
    assert get(s3) == ("BYPASS", 0)


def test_what_is_in_no_store_yet_is_a_hit(make_gateway):
    s3 = make_gateway(mounts={"/": MountConfig("/", "memory://")}).client("tester")
    s3.create_bucket(Bucket="lake")

    def ask(params, **_):
        params["headers"]["x-forebay-write-type"] = "MUST_CACHE"

    s3.meta.events.register("before-call.s3.PutObject", ask)
    for key, size in (("small", 10), ("large", 100_000), ("empty", 0)):
        s3.put_object(Bucket="lake", Key=key, Body=b"x" * size)
        assert get(s3, key) == ("HIT", 0)
