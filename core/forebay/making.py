"""Which factories a configuration needs, and what each of them is handed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from forebay.config import Config, MountConfig, TierConfig
from forebay.errors import ConfigurationError
from forebay.plugins import FACTORIES, Plugins
from forebay.stores.checked import Checked


@dataclass(frozen=True, slots=True)
class Wanted:
    """One store or policy: its place in the configuration, who makes it, and of what.

    `arguments` is None where the factory is called by others, with what only they know.
    """

    where: str
    hook: str
    asked: str
    plugin: str | None
    arguments: tuple[Any, ...] | None

    def factory(self, plugins: Plugins) -> Any:
        """Give the factory. Raises ConfigurationError when no plugin has it, or several do."""
        return plugins.ask(self.hook, plugin=self.plugin, **{FACTORIES[self.hook][0]: self.asked})

    def make(self, plugins: Plugins) -> Any:
        """Open the store. Raises as its factory does."""
        return self.factory(plugins)(*self.arguments or ())

    def check(self, plugins: Plugins) -> None:
        """Raise ConfigurationError with every fault that shows without opening anything."""
        factory = self.factory(plugins)
        if isinstance(factory, Checked) and self.arguments is not None:
            factory.check(*self.arguments)


def metadata_store(config: Config) -> Wanted:
    """Give what makes the metadata store."""
    settings = config.metadata
    options: dict[str, Any] = dict(settings.options)
    if settings.path:
        options["path"] = settings.path
    hook = "metadata_store_factory"
    return Wanted("metadata", hook, settings.kind, settings.plugin, (options,))


def page_store(config: Config, tier: TierConfig, where: str = "") -> Wanted:
    """Give what makes the page store of a tier."""
    options: dict[str, Any] = dict(tier.options)
    if tier.path:
        options["path"] = tier.path
    if tier.kind == "disk":
        options.setdefault("verify", config.cache.verify)
    return Wanted(where, "page_store_factory", tier.kind, tier.plugin, (options,))


def eviction_policy(tier: TierConfig, where: str = "") -> Wanted:
    """Give what makes the eviction policy of a tier."""
    return Wanted(where, "eviction_policy_factory", tier.eviction, None, None)


def under_store(config: Config, mount: MountConfig) -> Wanted:
    """Give what makes the under store of a mount."""
    scheme = mount.under.partition("://")[0].lower()
    options = {"durability": config.durability, **mount.options}
    hook, where = "under_store_factory", f"mounts.{mount.path}"
    return Wanted(where, hook, scheme, mount.plugin, (mount.under, options))


def everything(config: Config) -> Iterator[Wanted]:
    """Give all that opening `config` makes, in the order of the file."""
    yield metadata_store(config)
    for number, tier in enumerate(config.cache.tiers):
        where = f"cache.tiers[{number}]"
        yield page_store(config, tier, where)
        yield eviction_policy(tier, where)
    for mount in config.mounts.values():
        yield under_store(config, mount)


def faults_of(config: Config, plugins: Plugins, known: Collection[str] = ()) -> list[str]:
    """Check all of it and open nothing; give every fault that is not among the `known` ones."""
    faults = []
    for one in everything(config):
        own = (f"{one.where}.options", f"{one.where}.path")
        try:
            if any(fault.startswith(own) for fault in known):
                one.factory(plugins)  # its check would speak of what is faulty already
            else:
                one.check(plugins)
        except ConfigurationError as error:
            for fault in error.faults:
                # Of tiers and of the metadata store the plugins name the place themselves.
                said = fault.removeprefix("cache.tiers: ").removeprefix("metadata: ")
                faults.append(f"{one.where}: {said}")
    return faults
