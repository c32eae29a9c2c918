"""What is in the tree is in the wheel, and what is announced is there."""

import ast
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import forebay

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = sorted(path.name for path in (ROOT / "plugins").iterdir() if path.name[0] not in "._")


def test_every_folder_of_plugins_is_packed():
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packages) == ["core/forebay", *(f"plugins/{name}" for name in FOLDERS)]


def test_every_plugin_is_announced_under_its_own_name():
    points = PROJECT["project"]["entry-points"]["forebay"]
    assert points == {name.removeprefix("forebay_"): name for name in FOLDERS}


def test_what_is_installed_is_what_the_project_announces():
    installed = {
        point.name: point.value
        for point in entry_points(group="forebay")
        if point.dist is not None and point.dist.name == "forebay"
    }
    assert installed == PROJECT["project"]["entry-points"]["forebay"]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_plugin_module_holds_only_its_hooks(name):
    tree = ast.parse((ROOT / "plugins" / name / "__init__.py").read_text())
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Expr, ast.Assign, ast.AnnAssign)
    for node in tree.body:
        # The shape of what a hook is handed is part of its signature.
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases):
            continue
        type_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        assert isinstance(node, kinds) or type_only, f"{name}/__init__.py:{node.lineno}"


def test_first_party_hooks_come_last():
    for name in FOLDERS:
        tree = ast.parse((ROOT / "plugins" / name / "__init__.py").read_text())
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef):
                continue
            marks = [ast.unparse(one) for one in node.decorator_list]
            if node.name in {"startup", "shutdown", "track_event"} or not marks:
                continue
            # A layer of ours is the innermost one.
            layer = marks == ["hookimpl(wrapper=True, trylast=True)"]
            assert layer or marks == ["hookimpl(trylast=True)"], f"{name}/__init__.py:{node.lineno}"


def test_the_version_has_one_home():
    assert "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "core/forebay/__init__.py"
    assert forebay.__version__


def test_nothing_that_is_packed_is_ignored_by_git():
    ignored = (ROOT / ".gitignore").read_text().split()
    assert not {"core", "core/", "/core", "plugins", "plugins/", "/plugins"} & set(ignored)


def test_types_are_announced():
    assert (ROOT / "core" / "forebay" / "py.typed").is_file()
