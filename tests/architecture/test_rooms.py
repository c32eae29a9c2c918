"""Who may import whom. The tables are the rule; the imports are read, not run."""

import ast
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "forebay"

# Each room with its modules, from the top down. A room imports itself and the rooms above it.
ROOMS = {
    "vocabulary": {"errors", "types", "streams", "events", "checksums", "lanes"},
    "stores": {"stores"},
    "specification": {
        "hookspecs",
        "config",
        "places",
        "properties",
        "settings",
        "units",
        "plugins",
        "making",
    },
    "catalog": {"catalog"},
    "cache": {"cache"},
    "objects": {"objects"},
    "runtime": {"runtime"},
    "s3": {"s3"},
    "server": {"server"},
    "cli": {"cli", "__main__"},
    "testing": {"testing"},
}

# Rooms that stand side by side although one is listed above the other.
STRANGERS = {("cache", "catalog")}

# Every dependency and the only places that may import it.
DEPENDENCIES = {
    "awscrt": {"checksums", "plugins/*"},
    "click": {"cli", "hookspecs", "plugins/forebay_admin"},
    "falcon": {"s3", "hookspecs", "plugins/forebay_admin"},
    "fsspec": {"plugins/*"},
    "hypothesis": {"testing"},
    "lxml": {"s3"},
    "obstore": {"plugins/forebay_obstore"},
    "msgspec": {
        "config",
        "properties",
        "settings",
        "cache",
        "catalog",
        "objects",
        "cli",
        "plugins/forebay_admin",
    },
    "pluggy": {"hookspecs", "plugins"},
    "pytest": {"testing"},
    "rich": {"cli", "plugins/forebay_admin"},
    "urllib3": {"plugins/forebay_obstore"},
    "waitress": {"server"},
    # The standard library's database belongs to one plugin.
    "sqlite3": {"plugins/forebay_sqlite"},
}

# What a plugin may import of Forebay.
PUBLIC = {"errors", "types", "streams", "events", "hookspecs", "stores"}
# What else a plugin may import that adds commands: how the configuration is read and found.
PUBLIC_TO_COMMANDS = {"config", "places", "units"}
WITH_COMMANDS = {"forebay_admin"}


@dataclass
class Import:
    """One imported module; `for_types` only the type checker sees, `late` stands in a function."""

    name: str
    line: int
    for_types: bool
    late: bool


@cache
def imports(path):
    """Every import of a module, wherever it stands; ``from a import b`` counts as ``a.b``."""
    found = []

    def walk(node, for_types, late):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for one in node.body:
                walk(one, True, late)
            for one in node.orelse:
                walk(one, for_types, late)
            return
        if isinstance(node, ast.Import):
            found.extend(Import(one.name, node.lineno, for_types, late) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = (f"{node.module}.{one.name}" for one in node.names)
            found.extend(Import(name, node.lineno, for_types, late) for name in names)
        for one in ast.iter_child_nodes(node):
            walk(one, for_types, late or isinstance(node, ast.FunctionDef))

    walk(ast.parse(path.read_text()), False, False)
    return found


def inner(module):
    """The first name below ``forebay`` of an imported module, or None for the package itself."""
    below = module.split(".")[1:]
    known = set().union(*ROOMS.values())
    return below[0] if below and below[0] in known else None


def room_of(name):
    return next(room for room, modules in ROOMS.items() if name in modules)


def name_of(path):
    return path.relative_to(CORE).parts[0].removesuffix(".py")


CORE_FILES = sorted(CORE.rglob("*.py"))
PLUGIN_FILES = sorted((ROOT / "plugins").rglob("*.py"))


def named(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CORE_FILES, ids=named)
def test_every_module_has_a_room(path):
    name = name_of(path)
    assert name == "__init__" or any(name in modules for modules in ROOMS.values())


@pytest.mark.parametrize("path", CORE_FILES, ids=named)
def test_a_room_imports_only_rooms_above_it(path):
    name = name_of(path)
    order = list(ROOMS)
    for one in imports(path):
        assert not one.name.startswith("forebay_"), f"{named(path)}:{one.line}: a plugin"
        if not one.name.startswith("forebay."):
            continue
        if name == "__init__":
            # The package offers names of its rooms, but opens a room only when it is asked to.
            assert one.late or one.for_types, f"{named(path)}:{one.line}: {one.name} is not late"
            continue
        target = inner(one.name)
        # The specification names everything that hooks speak of, for the type checker alone.
        if target is None or (one.for_types and name == "hookspecs"):
            continue
        here, there = room_of(name), room_of(target)
        allowed = order.index(there) <= order.index(here) and (here, there) not in STRANGERS
        assert allowed, f"{named(path)}:{one.line}: {here} may not import {there} ({one.name})"


@pytest.mark.parametrize("path", CORE_FILES + PLUGIN_FILES, ids=named)
def test_a_dependency_lives_in_its_room(path):
    places = set()
    if path.is_relative_to(CORE):
        places = {name_of(path)}
    else:
        places = {"plugins/*", "plugins/" + path.relative_to(ROOT / "plugins").parts[0]}
    own = {"forebay"} | {folder.name for folder in (ROOT / "plugins").glob("forebay_*")}
    for one in imports(path):
        top = one.name.split(".")[0]
        standard = top in sys.stdlib_module_names or (one.for_types and top == "_typeshed")
        if top in own or (standard and top not in DEPENDENCIES):
            continue
        assert top in DEPENDENCIES, f"{named(path)}:{one.line}: {top} is no dependency of ours"
        assert places & DEPENDENCIES[top], (
            f"{named(path)}:{one.line}: {top} belongs to {', '.join(sorted(DEPENDENCIES[top]))}"
        )


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=named)
def test_a_plugin_imports_only_contracts(path):
    plugin = path.relative_to(ROOT / "plugins").parts[0]
    for one in imports(path):
        top, *below = one.name.split(".")
        where = f"{named(path)}:{one.line}"
        if top == "forebay":
            # A hook is handed the running Forebay and its mounts: their names are for types.
            public = PUBLIC | {"config", "runtime"} if one.for_types else PUBLIC
            public = public | PUBLIC_TO_COMMANDS if plugin in WITH_COMMANDS else public
            assert {*below[:1]} & public, f"{where}: {one.name} is not public"
        elif top.startswith("forebay_"):
            assert top == plugin, f"{where}: {one.name} is another plugin"


def test_the_tables_name_only_what_is_there():
    modules = {name_of(path) for path in CORE_FILES}
    rooms = set().union(*ROOMS.values())
    assert rooms - modules == set()
    places = set().union(*DEPENDENCIES.values()) - {"plugins/*"}
    plugins = {f"plugins/{folder.name}" for folder in (ROOT / "plugins").glob("forebay_*")}
    assert places - rooms - plugins == set()
