"""The write types and delete types over both of Forebay's own under stores."""

import pytest

from forebay.testing.matrix import WriteTypeTests


class TestFiles(WriteTypeTests):
    @pytest.fixture
    def mount_uri(self, tmp_path):
        self.root = tmp_path / "root"
        return self.root.as_uri()

    def peek(self, opened, key):
        staged = list((self.root / ".forebay" / "staging").iterdir())
        assert staged == [], "nothing is left in staging"
        path = self.root / key
        return path.read_bytes() if path.exists() else None

    def poke(self, opened, key, content):
        (self.root / key).write_bytes(content)

    def remove(self, opened, key):
        (self.root / key).unlink()


class TestMemory(WriteTypeTests):
    @pytest.fixture
    def mount_uri(self):
        return "memory://"


class TestAllInMemory(WriteTypeTests):
    catalog_kind = "memory"
    tier_kind = "memory"

    @pytest.fixture
    def mount_uri(self):
        return "memory://"
