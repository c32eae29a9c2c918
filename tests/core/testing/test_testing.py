"""`forebay.testing` is the one place from which the kit is imported."""

import inspect
import re
import subprocess
import sys

import pytest

from forebay import testing


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_is_there_and_says_what_it_is(name):
    found = getattr(testing, name)
    assert found.__name__ == name
    assert inspect.getdoc(found)


def test_type_checkers_know_the_same_names():
    source = inspect.getsource(testing)
    assert sorted(re.findall(r"import (\w+) as \1$", source, re.MULTILINE)) == testing.__all__


def test_another_name_is_not():
    with pytest.raises(AttributeError, match="Storetests"):
        testing.Storetests  # noqa: B018 - looking is the test


def test_a_failing_test_of_the_kit_says_what_it_saw(tmp_path):
    (tmp_path / "test_it.py").write_text("""
import pytest
from forebay.testing import EvictionPolicyTests

class TestIt(EvictionPolicyTests):
    @pytest.fixture
    def policy(self):
        class Ghost:
            def victims(self):
                return iter(["the ghost"])
        return Ghost()
""")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "nothing_goes", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "assert ['the ghost'] == []" in done.stdout
