"""Fixtures only: a Forebay or a whole gateway over stores in memory or below `tmp_path`."""

import gc
import os
from contextlib import ExitStack, suppress

import hypothesis
import pytest

from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig

# A shared machine may be slow; only an answer can be wrong, not its duration.
hypothesis.settings.register_profile("forebay", deadline=None)
hypothesis.settings.load_profile("forebay")

_AWS = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def pytest_collection_finish():
    """Let no collection of garbage walk over the tests themselves, a third of a second each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory):
    """Neither read nor write what belongs to the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "FOREBAY_CONFIG"):
            patch.delenv(name, raising=False)
        for name, value in _AWS.items():
            patch.setenv(name, value)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _loaded_once():
    """Let the sessions of botocore share what they read of its data, 80 ms for each client."""
    from botocore import session

    shared, create_loader = {}, session.create_loader

    def create(path=None):
        loader = create_loader(path)
        loader._cache = shared
        return loader

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "create_loader", create)
        yield


@pytest.fixture
def open_files(tmp_path):
    """Give what this process has open below `tmp_path`; what other tests left may come and go."""

    def open_files():
        found = []
        for number in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/self/fd/{number}"))
        return sorted(path for path in found if f"{path}/".startswith(f"{tmp_path}/"))

    return open_files


@pytest.fixture
def root(request, tmp_path):
    """URI of the mount ``/``; parametrize indirectly with ``memory``, ``file`` or a URI."""
    wanted = getattr(request, "param", "memory")
    if wanted == "file":
        (tmp_path / "root").mkdir()
        return (tmp_path / "root").as_uri()
    return "memory://root" if wanted == "memory" else wanted


@pytest.fixture
def make_config(root, tmp_path):
    """Make a `Config` of one mount and one disk tier; keyword arguments are its fields."""

    def make_config(**overrides):
        state = tmp_path / "state"
        kind = "memory" if root.startswith("memory:") else "sqlite"
        path = str(state / "catalog.db") if kind == "sqlite" else ""
        tier = TierConfig(name="SSD", path=str(state / "pages"), capacity=64 << 20)
        defaults = {
            "mounts": {"/": MountConfig("/", root)},
            "metadata": MetadataConfig(kind=kind, path=path),
            "cache": CacheConfig(tiers=[tier]),
            "durability": "process",
            "state": str(state),
        }
        return Config(**{**defaults, **overrides})

    return make_config


@pytest.fixture
def make_forebay(make_config):
    """Open a Forebay and start it; `plugins` and fields of `Config` as keyword arguments."""
    from forebay.runtime import Forebay

    with ExitStack() as stack:

        def make_forebay(*, plugins=(), **overrides):
            return stack.enter_context(Forebay(make_config(**overrides), plugins=plugins))

        yield make_forebay


@pytest.fixture
def make_gateway(make_config):
    """Serve on a free port; `plugins` and fields of `Config` as keyword arguments."""
    from forebay.server.gateway import Gateway

    with ExitStack() as stack:

        def make_gateway(*, plugins=(), **overrides):
            return stack.enter_context(Gateway(make_config(**overrides), plugins=plugins))

        yield make_gateway


@pytest.fixture
def gateway(make_gateway):
    """A gateway over the mount of `root`."""
    return make_gateway()


@pytest.fixture
def s3(gateway):
    """A boto3 client of `gateway` with its default settings, path style, as user `tester`."""
    return gateway.client("tester")
