"""Which plugins there are, in which order they answer, and which one does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any

import pluggy

from forebay import hookspecs
from forebay.errors import ConfigurationError, PluginError
from forebay.settings import nearest

Hooks = pluggy.HookRelay
"""Asks every plugin: ``hooks.authorize(identity=…, action=…, bucket=…, key=…)``."""

GROUP = "forebay"
"""The entry-point group in which distributions announce their plugins."""

FACTORIES: Mapping[str, tuple[str, str]] = {
    "under_store_factory": ("scheme", "an under store"),
    "page_store_factory": ("kind", "a page store"),
    "eviction_policy_factory": ("kind", "an eviction policy"),
    "metadata_store_factory": ("kind", "a metadata store"),
    "credential_store_factory": ("kind", "a credential store"),
}
"""The hooks that make stores: their argument, and what they make."""


@dataclass(frozen=True, slots=True)
class PluginRow:
    """One plugin as it is listed: its name, the distribution it came with, the hooks it has."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]


class Plugins:
    """The plugins of one Forebay; several with different ones can live in one interpreter.

    Takes the plugins of all installed distributions but those named in `blocked`, then the
    objects in `extra`, which answer before them. Raises PluginError.
    """

    def __init__(self, *, blocked: Iterable[str] = (), extra: Sequence[object] = ()) -> None:
        self._pluggy = pluggy.PluginManager("forebay")
        self._pluggy.add_hookspecs(hookspecs)
        self._distributions: dict[str, Distribution] = {}
        self._load(frozenset(blocked))
        for plugin in extra:
            self._register(plugin, getattr(plugin, "__name__", type(plugin).__name__))
        self._check()

    @property
    def hooks(self) -> Hooks:
        """The hooks, ready to be called."""
        return self._pluggy.hook

    def ask(self, hook: str, *, plugin: str | None = None, **arguments: Any) -> Any:
        """Ask for the factory of a store and insist on an answer.

        With `plugin`, only that plugin is asked; wrappers of other plugins stay around its
        answer. Raises ConfigurationError when nobody answers, or when two plugins that are
        not Forebay's own do and nothing says which is meant.
        """
        if plugin is not None and not self._pluggy.has_plugin(plugin):
            known = [row.name for row in self.listing()]
            raise ConfigurationError(f"no plugin is called {plugin}{nearest(plugin, known)}")
        if plugin is None:
            self._insist_on_one(hook, arguments)
            caller = getattr(self._pluggy.hook, hook)
        else:
            pinned = self._pluggy.get_plugin(plugin)
            others = [one.plugin for one in self._answering(hook) if one.plugin is not pinned]
            caller = self._pluggy.subset_hook_caller(hook, others)
        answer = caller(**arguments)
        if answer is None:
            raise ConfigurationError(self._nobody(hook, plugin, arguments))
        return answer

    def listing(self) -> list[PluginRow]:
        """Give every plugin by name."""
        rows = [
            PluginRow(name, *self._origin(name), tuple(sorted(self._hooks_of(plugin))))
            for name, plugin in self._pluggy.list_name_plugin()
            if plugin is not None
        ]
        return sorted(rows, key=lambda row: row.name)

    def _load(self, blocked: frozenset[str]) -> None:
        # Sorted, so that the order of answers never hangs on the order of installation.
        found = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
        if not found:
            raise PluginError(
                "no plugin is installed, not even Forebay's own; "
                "install Forebay (`pip install forebay`, or `pip install -e .` in a checkout)"
            )
        for point in found:
            if point.name in blocked:
                continue
            if point.dist is not None:
                self._distributions.setdefault(point.name, point.dist)
            self._register(_load_point(point), point.name)

    def _register(self, plugin: object, name: str) -> None:
        try:
            self._pluggy.register(plugin, name)
        except pluggy.PluginValidationError as error:
            raise PluginError(f"{self._described(name)} does not fit: {error}") from error
        except ValueError as error:
            raise PluginError(
                f"{self._described(name)} cannot be told apart from another: two plugins are "
                f"called {name}; uninstall one, or block the name in plugins_blocked"
            ) from error

    def _check(self) -> None:
        """Refuse hook implementations that no hook calls for: they are misspelt."""
        try:
            self._pluggy.check_pending()
        except pluggy.PluginValidationError as error:
            known = [name for name, one in vars(hookspecs).items() if hasattr(one, "forebay_spec")]
            wrong = next(name for name in self._hooks_of(error.plugin) if name not in known)
            described = self._described(self._pluggy.get_name(error.plugin) or "")
            raise PluginError(
                f"{described} implements {wrong}, which is no hook{nearest(wrong, known)}"
            ) from error

    def _answering(self, hook: str) -> Iterator[pluggy.HookImpl]:
        """Give the implementations that answer themselves, the first asked first."""
        for implementation in reversed(getattr(self._pluggy.hook, hook).get_hookimpls()):
            if not (implementation.wrapper or implementation.hookwrapper):
                yield implementation

    def _insist_on_one(self, hook: str, arguments: Mapping[str, Any]) -> None:
        """Refuse to choose between two answers by the accident of their order."""
        answered = [
            one.plugin_name
            for one in self._answering(hook)
            if not one.trylast
            and one.function(*(arguments[name] for name in one.argnames)) is not None
        ]
        if len(answered) > 1:
            argument, what = FACTORIES[hook]
            raise ConfigurationError(
                f"several plugins make {what} for {argument} {arguments[argument]!r}: "
                f'{", ".join(sorted(answered))}; say which by plugin = "{answered[0]}"'
            )

    def _nobody(self, hook: str, plugin: str | None, arguments: Mapping[str, Any]) -> str:
        argument, what = FACTORIES[hook]
        asked = str(arguments[argument])
        who = f"the plugin {plugin} does not make" if plugin else "no plugin makes"
        known, silent = self._kinds(hook, plugin)
        known -= {asked}
        there = [f"there {'is' if len(known) == 1 else 'are'} {', '.join(sorted(known))}"]
        there += [f"{one} does not say which it makes" for one in silent]
        rest = "; ".join(there if known else there[1:])
        told = f"{who} {what} for {argument} {asked!r}{nearest(asked, known)}"
        return f"{told} ({rest})" if rest else told

    def _kinds(self, hook: str, plugin: str | None) -> tuple[set[str], list[str]]:
        """Give what plugins say that they answer a hook for, and the plugins that do not say."""
        telling = {one.plugin_name: one for one in self._answering("factory_kinds")}
        known: set[str] = set()
        silent = []
        for one in self._answering(hook):
            if plugin not in (None, one.plugin_name):
                continue
            if one.plugin_name in telling:
                tell = telling[one.plugin_name]
                kinds: Any = tell.function(*(hook for _ in tell.argnames))
                known.update(kinds or ())
            else:
                silent.append(one.plugin_name)
        return known, sorted(silent)

    def _hooks_of(self, plugin: object) -> list[str]:
        return [caller.name for caller in self._pluggy.get_hookcallers(plugin) or ()]

    def _origin(self, name: str) -> tuple[str, str]:
        found = self._distributions.get(name)
        return (found.name, found.version) if found is not None else ("", "")

    def _described(self, name: str) -> str:
        distribution, version = self._origin(name)
        return f"the plugin {name}" + (f" of {distribution} {version}" if distribution else "")


def _load_point(point: EntryPoint) -> object:
    dist = point.dist
    try:
        return point.load()
    # A foreign module can raise anything while it is imported; whose it is must be said.
    except Exception as error:
        origin = f" of {dist.name} {dist.version}" if dist is not None else ""
        raise PluginError(
            f"the plugin {point.name}{origin} cannot be loaded: "
            f"{type(error).__name__}: {error}; uninstall or mend it, or add its name to "
            "plugins_blocked"
        ) from error
