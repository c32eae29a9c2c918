"""The matrix finds a store that breaks the product's promise."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

LIAR = """
import pytest
from forebay.hookspecs import hookimpl
from forebay.testing.matrix import WriteTypeTests
from forebay_memory.under import MemoryUnderStore
from forebay.streams import BytesReader


class Liar(MemoryUnderStore):
    {lie}


class Plugin:
    @hookimpl
    def under_store_factory(self, scheme):
        if scheme == "liar":
            return lambda uri, options: Liar.from_uri("memory://", dict(options))


class TestLiar(WriteTypeTests):
    plugins = [Plugin()]
    catalog_kind, tier_kind = "memory", "memory"

    @pytest.fixture
    def mount_uri(self):
        return "liar://"
"""

LIES = {
    "honest": ("pass", "test_a_bad_body_changes_nothing", 0),
    "publishes a bad body": (
        """
    def put(self, key, /, body, *, size, attributes, **ifs):
        content = b""
        try:
            while block := body.read(65536):
                content += block
        except Exception:
            super().put(key, BytesReader(content), size=None, attributes=attributes)
            raise
        return super().put(key, BytesReader(content), size=None, attributes=attributes)
""",
        "test_a_bad_body_changes_nothing",
        1,
    ),
    "does not delete": (
        "def delete(self, key, /): pass",
        "test_a_delete_takes_the_object_away_and_reaches_as_far_as_its_type",
        1,
    ),
    "loses what it was given": (
        """
    def put(self, key, /, body, *, size, attributes, **ifs):
        info = super().put(key, body, size=size, attributes=attributes, **ifs)
        super().delete(key)
        return info
""",
        "test_a_write_is_visible_and_says_where_it_is",
        1,
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found_by_the_test_named_after_it(tmp_path, name):
    lie, test, expected = LIES[name]
    file = tmp_path / "test_liar.py"
    file.write_text(LIAR.format(lie=textwrap.dedent(lie).strip().replace("\n", "\n    ")))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", test]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert expected == done.returncode, done.stdout[-2000:]


def test_the_content_of_a_test_fails_at_its_end_when_told_to():
    from forebay.errors import BodyError
    from forebay.testing.opened import Content

    for fault, given in (("digest", 10), ("short", 5)):
        content = Content(b"0123456789", fault)
        assert given == len(content.read(100))
        with pytest.raises(BodyError):
            content.read(100)
