"""How TOML becomes structs: each key by its declaration, every fault collected with its path."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from forebay.errors import ConfigurationError

S = TypeVar("S", bound=msgspec.Struct)

BAD: Any = object()
"""Stands for a value that is a fault already."""

_EMPTY: Mapping[Any, Any] = {str: "", int: 0}
"""What stands for a required value that is missing or faulty."""

_SECRET = re.compile(r"secret|password|passwd|token|key|credential|sas", re.IGNORECASE)


def key(
    text: str,
    *,
    parse: Callable[[Any], object] | None = None,
    kind: str = "",
    default: str = "",
    ge: float | None = None,
    le: float | None = None,
) -> msgspec.Meta:
    """Declare a configuration key: its one sentence, and how its value is read.

    `parse` turns what the operator wrote into the field's value and raises ValueError. `kind`
    and `default` say in the documentation what the annotation and the default cannot.
    """
    extra = {"parse": parse, "kind": kind, "default": default}
    return msgspec.Meta(description=text, extra=extra, ge=ge, le=le)


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Give ``; did you mean …?`` for the known name nearest to `name`, or nothing.

    `cutoff` is the least likeness, 0 (anything) to 1 (the same).
    """
    candidates = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), candidates, 1, cutoff)
    return f"; did you mean {candidates[found[0]]}?" if found else ""


def hide_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Copy options with ``…`` in place of each value whose name speaks of a secret."""
    return {
        name: "…"
        if _SECRET.search(name)
        else hide_secrets(value)
        if isinstance(value, Mapping)
        else value
        for name, value in options.items()
    }


def hide_password(uri: str) -> str:
    """Give the URI with ``…`` in place of the password of ``user:password@host``."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:…@", uri)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises ConfigurationError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error


class Guarded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A struct whose `repr`, and so any log of it, shows no secret of its options."""

    def __repr__(self) -> str:
        shown = {
            name: hide_secrets(value)
            if isinstance(value, Mapping)
            else hide_password(value)
            if isinstance(value, str)
            else value
            for name, value in msgspec.structs.asdict(self).items()
        }
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in shown.items())})"


def meta_of(hint: Any) -> tuple[Any, msgspec.Meta | None]:
    """Split an annotation into its bare type and the declaration made by `key`."""
    if typing.get_origin(hint) is typing.Annotated:
        bare, *rest = typing.get_args(hint)
        return bare, next((m for m in rest if isinstance(m, msgspec.Meta)), None)
    return hint, None


def keys_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Give the annotations of the fields an operator may write, by name; the rest is derived."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        field.name: hints[field.name]
        for field in msgspec.structs.fields(kind)
        if meta_of(hints[field.name])[1] is not None
    }


class Reading:
    """One pass over what the operator wrote; `faults` grows, nothing is raised.

    `folder` is where relative paths of ``{ file = … }`` begin. What is faulty has its default, or
    an empty value, in what is read, so that the rest can be checked further.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: list[str] = []

    def fault(self, where: str, text: str) -> Any:
        """Take note of a fault at the path `where`."""
        self.faults.append(f"{where}: {text}")
        return BAD

    def struct(self, kind: type[S], raw: object, where: str) -> S:
        """Read a table into `kind`; give `BAD` when what is missing can stand for nothing."""
        values, known = self.values(kind, raw, where), keys_of(kind)
        for field in msgspec.structs.fields(kind):
            if field.required and field.name not in values:
                empty = _EMPTY.get(meta_of(known[field.name])[0], BAD)
                if empty is BAD:
                    return BAD  # type: ignore[no-any-return]  # a mark, never used as a struct
                values[field.name] = empty
        return kind(**values)

    def values(self, kind: type[msgspec.Struct], raw: object, where: str) -> dict[str, Any]:
        """Read a table into the values of `kind`'s fields, the faulty and absent ones left out."""
        if not isinstance(raw, dict):
            self.fault(where, "must be a table")
            return {}
        known = keys_of(kind)
        values: dict[str, Any] = {}
        for name, given in raw.items():
            here = f"{where}.{name}" if where else name
            if name not in known:
                self.fault(here, f"unknown key{nearest(name, known)}")
            elif (value := self.value(known[name], given, here)) is not BAD:
                values[name] = value
        for field in msgspec.structs.fields(kind):
            if field.required and field.name in known and field.name not in raw:
                self.fault(f"{where}.{field.name}", "must be given")
        return values

    def value(self, hint: Any, raw: object, where: str) -> Any:
        """Read one value by its annotation, or give `BAD`."""
        bare, meta = meta_of(hint)
        origin, args = typing.get_origin(bare), typing.get_args(bare)
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
            return self.struct(bare, raw, where)
        if origin is list and isinstance(raw, list):
            items = [self.value(args[0], one, f"{where}[{i}]") for i, one in enumerate(raw)]
            return BAD if any(one is BAD for one in items) else items
        if origin is dict:
            return self._table(args[1], raw, where)
        extra = (meta and meta.extra) or {}
        try:
            given = self._resolve(raw)
            if extra.get("parse"):
                given = extra["parse"](given)
            choices = _choices(bare)
            if choices and given not in choices:
                return self.fault(
                    where,
                    f"{given!r} is not one of {', '.join(choices)}{nearest(str(given), choices)}",
                )
            return msgspec.convert(given, hint)
        except msgspec.ValidationError as error:
            return self.fault(where, str(error)[0].lower() + str(error)[1:])
        except ValueError as error:
            return self.fault(where, str(error))

    def _table(self, hint: Any, raw: object, where: str) -> Any:
        if not isinstance(raw, dict):
            return self.fault(where, "must be a table")
        read = self._free if hint is Any else lambda one, at: self.value(hint, one, at)
        values = {name: read(one, f"{where}.{name}") for name, one in raw.items()}
        return BAD if BAD in values.values() else values

    def _free(self, raw: object, where: str) -> Any:
        """Read an option whose meaning only a plugin knows; secrets may hide at any depth."""
        try:
            given = self._resolve(raw)
        except ValueError as error:
            return self.fault(where, str(error))
        if isinstance(given, dict):
            return self._table(Any, given, where)
        if isinstance(given, list):
            items = [self._free(one, f"{where}[{i}]") for i, one in enumerate(given)]
            return BAD if BAD in items else items
        return given

    def _resolve(self, raw: object) -> object:
        """Fetch ``{ env = "NAME" }`` and ``{ file = "path" }``; give anything else as it is."""
        match raw:
            case {"env": str(name), **rest} if not rest:
                if name not in os.environ:
                    raise ValueError(f"the environment variable {name} is not set")
                return os.environ[name]
            case {"file": str(name), **rest} if not rest:
                try:
                    return (self.folder / name).expanduser().read_text().rstrip("\r\n")
                except (OSError, UnicodeError) as error:
                    reason = getattr(error, "strerror", None) or "it is not UTF-8"
                    raise ValueError(f"the file {name} cannot be read: {reason}") from error
        return raw


@dataclass(frozen=True, slots=True)
class Key:
    """One row of the documentation: a key's path, its type and default in words, its meaning."""

    path: str
    kind: str
    default: str
    text: str


def describe(kind: type[msgspec.Struct], path: str = "") -> Iterator[Key]:
    """Give a row for each key of `kind` and of the structs inside it, in their order."""
    hints = keys_of(kind)
    for field in msgspec.structs.fields(kind):
        if field.name not in hints:
            continue
        here = f"{path}.{field.name}" if path else field.name
        bare, meta = meta_of(hints[field.name])
        extra: dict[str, Any] = (meta and meta.extra) or {}
        inner, place = _inside(bare, extra["kind"])
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from describe(inner, here + place)
        elif meta is not None:
            shown = extra["default"] or ("required" if field.required else _show(field.default))
            yield Key(here, extra["kind"] or _kind(bare), shown, meta.description or "")


def _inside(bare: Any, name: str) -> tuple[Any, str]:
    """Give what a list or table holds and how its place is written: ``[]`` or ``.<name>``."""
    args = typing.get_args(bare)
    if typing.get_origin(bare) is dict:
        return args[1], f".<{name}>"
    return (args[0], "[]") if typing.get_origin(bare) is list else (bare, "")


def _choices(bare: Any) -> tuple[str, ...]:
    if typing.get_origin(bare) is typing.Literal:
        return typing.get_args(bare)
    if isinstance(bare, type) and issubclass(bare, Enum):
        return tuple(str(one.value) for one in bare)
    return ()


_KINDS = {str: "text", int: "number", float: "number", bool: "true or false", dict: "table"}


def _kind(bare: Any) -> str:
    if choices := _choices(bare):
        return " or ".join(choices)
    if typing.get_origin(bare) in (types.UnionType, typing.Union):
        return _kind(next(one for one in typing.get_args(bare) if one is not types.NoneType))
    if typing.get_origin(bare) is list:
        return f"list of {_kind(typing.get_args(bare)[0])}"
    return _KINDS[typing.get_origin(bare) or bare]


def _show(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Enum):
        return str(default.value)
    return "none" if default in (None, "", msgspec.NODEFAULT) else str(default)
