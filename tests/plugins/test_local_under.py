"""The local under store: the kit, and what only files and directories can do to it."""

from __future__ import annotations

import pytest

from forebay.testing.under import UnderStoreTests
from forebay_local.under import LocalUnderStore


class TestLocalUnderStore(UnderStoreTests):
    @pytest.fixture
    def under(self, tmp_path):
        store = LocalUnderStore.from_uri((tmp_path / "root").as_uri(), {"durability": "process"})
        store.root = tmp_path / "root"
        yield store
        store.close()

    def poke(self, under, key, content):
        path = under.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def peek(self, under, key):
        path = under.root / key
        return path.read_bytes() if path.is_file() else None

    def twin(self, under):
        return LocalUnderStore.from_uri(under.root.as_uri(), {})
