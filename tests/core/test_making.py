import pytest

from forebay import making
from forebay.config import CacheConfig, Config, MetadataConfig, MountConfig, TierConfig
from forebay.errors import ConfigurationError
from forebay.hookspecs import hookimpl
from forebay.plugins import Plugins
from forebay.stores.checked import Checked

TIER = TierConfig(name="A", path="/pages", capacity=1 << 20, options={"verify": "always"})
MOUNT = MountConfig("/", "FAR://host/x", options={"colour": "blue"})
CONFIG = Config(
    mounts={"/": MOUNT},
    metadata=MetadataConfig(path="/catalog.db", options={"busy_timeout": 1}),
    cache=CacheConfig(tiers=[TIER], verify="first"),
    durability="process",
)


def refuse(*arguments):
    raise ConfigurationError("this cannot be")


class Far:
    """Makes what it is handed, and refuses everything at a check."""

    @hookimpl
    def under_store_factory(self, scheme):
        return Checked(lambda *arguments: arguments, refuse) if scheme == "far" else None


class Unchecked:
    """Has no check."""

    @hookimpl
    def under_store_factory(self, scheme):
        return refuse if scheme == "far" else None


def test_factories_are_handed_what_the_file_says():
    assert making.metadata_store(CONFIG).arguments == ({"busy_timeout": 1, "path": "/catalog.db"},)
    assert making.page_store(CONFIG, TIER).arguments == ({"verify": "always", "path": "/pages"},)
    handed = ("FAR://host/x", {"durability": "process", "colour": "blue"})
    wanted = making.under_store(CONFIG, MOUNT)
    assert wanted.arguments == handed
    assert wanted.make(Plugins(blocked=["guard"], extra=[Far()])) == handed


def test_everything_is_named_by_its_place():
    places = [one.where for one in making.everything(CONFIG)]
    assert places == ["metadata", "cache.tiers[0]", "cache.tiers[0]", "mounts./"]


@pytest.mark.parametrize("blocked", [[], ["guard"]])
def test_a_check_is_asked_and_a_factory_without_one_is_not(blocked):
    faults = making.faults_of(CONFIG, Plugins(blocked=blocked, extra=[Far()]))
    assert faults == ["mounts./: this cannot be"]
    assert making.faults_of(CONFIG, Plugins(blocked=blocked, extra=[Unchecked()])) == []


def test_what_is_known_to_be_faulty_is_not_checked_again():
    plugins = Plugins(extra=[Far()])
    assert making.faults_of(CONFIG, plugins, ["mounts./.options.colour: no such colour"]) == []
