"""Forebay's own plugins: one goes away only together with its line here."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
OWN = {
    "forebay_admin": ["bringing", "keeping", "mounting", "persisting"],
    "forebay_credentials": ["static"],
    "forebay_eviction": ["arc", "lru", "none", "s3fifo", "sieve"],
    "forebay_fsspec": ["under"],
    "forebay_local": ["pages", "under"],
    "forebay_log": [],
    "forebay_memory": ["metadata", "pages", "under"],
    "forebay_obstore": ["under"],
    "forebay_policy": [],
    "forebay_sqlite": ["metadata"],
}


def test_no_plugin_of_ours_is_lost():
    there = {
        plugin: [name for name in names if (ROOT / "plugins" / plugin / f"{name}.py").is_file()]
        for plugin, names in OWN.items()
        if (ROOT / "plugins" / plugin / "__init__.py").is_file()
    }
    assert there == OWN
