"""Owners: numbers that are never reused, and locks that die with their process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from forebay.catalog.catalog import Catalog
from forebay.objects.owners import Owner, owner_of
from forebay_sqlite.metadata import SqliteMetadataStore


@pytest.fixture
def book(tmp_path):
    store = SqliteMetadataStore.from_options({"path": str(tmp_path / "catalog.db")})
    yield Catalog(store)
    store.close()


def test_ids_name_their_owner_and_never_repeat(book, tmp_path):
    one, two = Owner(book, str(tmp_path)), Owner(book, str(tmp_path))
    made = [owner.new_id() for owner in (one, two) for _ in range(100)]
    assert len(made) == len(set(made))
    assert {one.number, two.number} == {owner_of(each) for each in made}
    one.close()
    two.close()


def test_an_owner_lives_until_it_is_closed(book, tmp_path):
    me, other = Owner(book, str(tmp_path)), Owner(book, str(tmp_path))
    assert me.alive(other.number)
    other.close()
    assert not me.alive(other.number)
    assert list(me.dead()) == []
    me.close()


def test_a_killed_process_is_dead_and_met_once(book, tmp_path):
    program = """
        import sys, time
        from forebay_sqlite.metadata import SqliteMetadataStore
        from forebay.catalog.catalog import Catalog
        from forebay.objects.owners import Owner
        store = SqliteMetadataStore.from_options({"path": sys.argv[1] + "/catalog.db"})
        print(Owner(Catalog(store), sys.argv[1]).number, flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        number = int(victim.stdout.readline())
        me = Owner(book, str(tmp_path))
        assert me.alive(number)
        assert list(me.dead()) == []
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
    assert not me.alive(number)
    assert [number] == list(me.dead())
    assert list(me.dead()) == []
    me.close()
