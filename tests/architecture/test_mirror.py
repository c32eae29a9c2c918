"""Every module has a test file at the same place of tests/: one of its name, or that imports it."""

import re
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Modules without a test file of their own, each with the reason.
EXEMPT = {
    "core/forebay/errors.py": "names only; raised in every other test",
    "core/forebay/events.py": "names only; checked by tests/docs/test_events.py",
    "core/forebay/types.py": "values without behaviour",
    "core/forebay/hookspecs.py": "checked by tests/architecture/test_hooks.py",
    "core/forebay/__main__.py": "one call; run by tests/core/cli/test_serve.py",
    "core/forebay/cli/documents.py": "checked by tests/docs/test_configuration.py",
    "core/forebay/stores/credentials.py": "a contract; held by the conformance kit",
    "core/forebay/stores/eviction.py": "a contract; held by the conformance kit",
    "core/forebay/stores/metadata.py": "a contract; held by the conformance kit",
    "core/forebay/stores/pages.py": "a contract; held by the conformance kit",
    "core/forebay/stores/under.py": "a contract; held by the conformance kit",
}


def modules():
    for source in ("core/forebay", "plugins"):
        for path in sorted((ROOT / source).rglob("*.py")):
            if path.name != "__init__.py":
                yield str(path.relative_to(ROOT))


def mirrored(module):
    """The name of a module when it is imported, and the test files at its place."""
    parts = Path(module).with_suffix("").parts
    if parts[0] == "core":
        # core/forebay/cache/tier.py: tests/core/cache/test_*.py
        return ".".join(parts[1:]), (ROOT / "tests" / "core").joinpath(*parts[2:-1]).glob("test_*")
    # plugins/forebay_local/under.py: tests/plugins/test_local_*.py, tests/plugins/local/test_*.py
    plugin, tests = parts[1].removeprefix("forebay_"), ROOT / "tests" / "plugins"
    places = (f"test_{plugin}*.py", f"{plugin}/test_*.py", f"{parts[1]}/test_*.py")
    return ".".join(parts[1:]), chain.from_iterable(tests.glob(place) for place in places)


@pytest.mark.parametrize("module", list(modules()))
def test_every_module_has_its_test_file(module):
    name, tests = mirrored(module)
    package, _, last = name.rpartition(".")
    own = re.compile(rf"test_(\w+_)?{last}(_\w+)?\.py")
    imported = re.compile(rf"{name}\b|from {package} import [^\n]*\b{last}\b".replace(".", r"\."))
    found = [
        test for test in tests if own.fullmatch(test.name) or imported.search(test.read_text())
    ]
    assert found or module in EXEMPT, f"no test file at its place is called {last} or imports it"


def test_only_what_is_there_is_exempt():
    assert set(EXEMPT) - set(modules()) == set()
