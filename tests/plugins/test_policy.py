from types import SimpleNamespace

import pluggy
import pytest

import forebay_policy
from forebay import hookspecs
from forebay.types import DeleteType, Identity, WriteType

MOUNT = SimpleNamespace(write_type=WriteType.CACHE_THROUGH, delete_type=DeleteType.ALLUXIO_AND_UFS)


class Opinionated:
    @hookspecs.hookimpl
    def write_type(self, key):
        return WriteType.THROUGH if key.endswith(".log") else None

    @hookspecs.hookimpl
    def authorize(self, action):
        return False if action == "DeleteBucket" else None


@pytest.fixture
def hooks():
    plugins = pluggy.PluginManager("forebay")
    plugins.add_hookspecs(hookspecs)
    plugins.register(Opinionated())
    plugins.register(forebay_policy)
    plugins.check_pending()
    return plugins.hook


@pytest.mark.parametrize("requested", [None, *WriteType])
def test_write_type_is_what_was_asked_for_or_the_mounts(hooks, requested):
    asked = hooks.write_type(mount=MOUNT, key="k", size=None, requested=requested)
    assert asked == (requested or WriteType.CACHE_THROUGH)


@pytest.mark.parametrize("requested", [None, *DeleteType])
def test_delete_type_is_what_was_asked_for_or_the_mounts(hooks, requested):
    asked = hooks.delete_type(mount=MOUNT, key="k", requested=requested)
    assert asked == (requested or DeleteType.ALLUXIO_AND_UFS)


def test_authorize_allows_what_nobody_denied(hooks):
    ann = Identity("ann")
    assert hooks.authorize(identity=ann, action="GetObject", bucket="b", key="k") is True
    assert hooks.authorize(identity=ann, action="ListBuckets", bucket=None, key=None) is True


def test_any_other_plugin_outranks_it(hooks):
    """The other plugin was registered before it, which would make it the last one to be asked."""
    asked = hooks.write_type(mount=MOUNT, key="a.log", size=1, requested=WriteType.MUST_CACHE)
    assert asked == WriteType.THROUGH
    ann = Identity("ann")
    assert hooks.authorize(identity=ann, action="DeleteBucket", bucket="b", key=None) is False
