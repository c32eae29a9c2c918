"""Every hook is documented with its arguments, used by a plugin of ours and named in a test."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest

from forebay import hookspecs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hooks.md").read_text()
HOOKS = {
    name: ", ".join(inspect.signature(one).parameters)
    for name, one in vars(hookspecs).items()
    if hasattr(one, "forebay_spec")
}


def functions(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path, node


@cache
def first_party():
    return {
        node.name
        for _, node in functions("plugins")
        if any("hookimpl" in ast.unparse(mark) for mark in node.decorator_list)
    }


@cache
def named_tests():
    # The kit's tests count: they run for every plugin that subclasses them.
    found = [*functions("tests"), *functions("core/forebay/testing")]
    return {node.name for _, node in found if node.name.startswith("test_")}


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_its_exact_arguments(hook):
    headings = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    assert f"{hook}({HOOKS[hook]})" in headings


def test_no_hook_is_documented_that_is_not_there():
    headings = re.findall(r"^### (\w+)\(", PAGE, re.MULTILINE)
    assert headings == list(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_an_example(hook):
    section = PAGE.partition(f"### {hook}(")[2].partition("\n### ")[0]
    example = re.search(r"```python\n(.+?)```", section, re.DOTALL)
    assert example is not None
    made = ast.parse(example[1]).body[0]
    assert isinstance(made, ast.FunctionDef)
    assert made.name == hook
    assert {one.arg for one in made.args.args} <= set(HOOKS[hook].split(", "))


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_user_among_our_plugins(hook):
    assert hook in first_party()


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_named_by_a_test(hook):
    assert any(hook in name for name in named_tests()), f"no test has {hook} in its name"
