"""The kits are tested by stores that lie: each lie is caught by the test named after it.

Pytest runs over each file of the zoo as it runs over a plugin author's test file.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from forebay.testing import credentials, eviction, metadata, pages, under

ZOO = Path(__file__).with_name("zoo")
KITS = {
    "under": under.UnderStoreTests,
    "pages": pages.PageStoreTests,
    "eviction": eviction.EvictionPolicyTests,
    "metadata": metadata.MetadataStoreTests,
    "credentials": credentials.CredentialStoreTests,
}
"""The liars of each kind are in a file of its name."""
AS_AT_HOME = {
    name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER")
}
"""Where these are set, pytest writes out every difference, of megabytes too; that never ends."""
STUMBLED = tuple(f"failed: {error}" for error in ("AttributeError", "NameError", "TypeError"))


def load(kind):
    spec = importlib.util.spec_from_file_location(f"zoo_{kind}", ZOO / f"{kind}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


LIARS = [(kind, liar) for kind in KITS for liar in load(kind).LIARS]
each_liar = pytest.mark.parametrize(
    ("kind", "liar"), LIARS, ids=lambda value: getattr(value, "__name__", value)
)


def honest_class(liar):
    """The tests of the honest store that a liar is made from, or says that it stands beside."""
    names = [one.__name__ for one in liar.mro() if one.__name__.startswith("Honest")]
    return "Test" + getattr(liar, "beside", names[0] if names else "Honest")


@cache
def outcomes(kind):
    """Run every liar, and the honest stores, through the tests that are to catch the liars."""
    liars = [liar for of, liar in LIARS if of == kind]
    wanted = {(f"Test{liar.__name__}", liar.caught_by) for liar in liars}
    wanted |= {(honest_class(liar), liar.caught_by) for liar in liars}
    with tempfile.TemporaryDirectory() as scratch:
        ini, report = Path(scratch, "pytest.ini"), Path(scratch, "report.xml")
        ini.write_text("[pytest]\n")
        nodes = [f"{ZOO}/{kind}.py::{case}::{test}" for case, test in sorted(wanted)]
        command = [
            *[sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            *["-p", "no:randomly", "-c", str(ini), f"--basetemp={scratch}/tmp"],
            *[f"--junitxml={report}", *nodes],
        ]
        environ = {**AS_AT_HOME, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command, env=environ, capture_output=True, text=True, check=False, timeout=240
            )
        except subprocess.TimeoutExpired:
            # Returned, not raised: it is remembered, and not waited for by each liar again.
            return defaultdict(lambda: ["the tests did not end"])
        if done.returncode != 1:
            why = done.stdout[-3000:] + done.stderr
            return defaultdict(lambda: [why])
        cases = list(ElementTree.parse(report).iter("testcase"))
    found = defaultdict(list)
    for case in cases:
        name = case.get("classname").rpartition(".")[2], case.get("name").partition("[")[0]
        failure = case.find("failure")
        found[name].append(
            "failed: " + failure.get("message")
            if failure is not None
            else next((child.tag for child in case if child.tag in ("error", "skipped")), "passed")
        )
    return found


@pytest.mark.timeout(300)
@each_liar
def test_liar_is_caught_by_the_test_named_after_its_lie(kind, liar):
    found = outcomes(kind)[f"Test{liar.__name__}", liar.caught_by]
    assert [one for one in found if one.startswith("failed: ")], found
    assert "error" not in found
    assert not [one for one in found if one.startswith(STUMBLED)], "the liar itself is broken"


@pytest.mark.timeout(300)
@each_liar
def test_honest_store_passes_where_the_liar_is_caught(kind, liar):
    assert set(outcomes(kind)[honest_class(liar), liar.caught_by]) == {"passed"}


@pytest.mark.parametrize("kind", KITS)
def test_every_test_of_the_kit_catches_a_liar(kind):
    tests = {name for name in dir(KITS[kind]) if name.startswith("test_")}
    assert tests == {liar.caught_by for of, liar in LIARS if of == kind}
