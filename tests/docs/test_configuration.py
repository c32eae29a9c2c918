import tomllib
from pathlib import Path

import pytest

from forebay.cli.documents import TABLES, main, renewed
from forebay.config import Config, load
from forebay.properties import NAMES
from forebay.settings import describe

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "forebay.toml"


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_are_fresh(name):
    text = (ROOT / "docs" / name).read_text()
    assert text == renewed(text, TABLES[name]), "run `make docs`"


def test_the_generator_writes_between_the_markers_only(tmp_path):
    for name, tables in TABLES.items():
        marks = "".join(f"<!-- generated: {t} -->\nstale\n<!-- end: {t} -->\n" for t in tables)
        (tmp_path / name).write_text(f"before\n{marks}after\n")
    main(tmp_path)
    text = (tmp_path / "configuration.md").read_text()
    assert text.startswith("before\n<!-- generated: keys -->\n\n| Key |")
    assert text.endswith("<!-- end: properties -->\nafter\n")
    assert "stale" not in text


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="the markers of keys are missing"):
        renewed("nothing here", TABLES["configuration.md"])


@pytest.mark.parametrize("key", list(describe(Config)), ids=lambda key: key.path)
def test_every_key_is_described_by_one_sentence(key):
    assert key.text.endswith(".")
    assert key.kind
    assert key.default


def test_the_example_loads():
    config = load(EXAMPLE)
    assert list(config.mounts) == ["/", "/scratch", "/published/2024"]
    assert config.mounts["/"].under == (EXAMPLE.parent / "data").as_uri()


def test_the_example_shows_every_key():
    text = EXAMPLE.read_text()
    for key in describe(Config):
        name = key.path.rpartition(".")[2]
        if name not in {"options", "plugin", "kind"}:
            assert f"{name} =" in text, f"{key.path} is not in examples/forebay.toml"
    for name in NAMES:
        assert f'"{name}" =' in text, f"{name} is not in examples/forebay.toml"


def test_the_example_shows_defaults_of_properties(tmp_path):
    (tmp_path / "forebay.toml").write_text(
        '[mounts."/"]\nunder = "memory://x"\n[properties]\n'
        + EXAMPLE.read_text().partition("[properties]")[2]
    )
    assert load(tmp_path / "forebay.toml").properties == Config(mounts={}).properties


def test_the_example_is_plain_toml():
    assert tomllib.loads(EXAMPLE.read_text())["server"]["workers"] == "auto"
