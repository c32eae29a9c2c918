import json

from click.testing import CliRunner

import forebay
from forebay.cli import main


def test_plugins_are_listed_with_their_hooks():
    result = CliRunner().invoke(main, ["plugins"])
    assert result.exit_code == 0
    for expected in ("sqlite", f"forebay {forebay.__version__}", "metadata_store_factory"):
        assert expected in result.output


def test_plugins_are_listed_as_json():
    rows = json.loads(CliRunner().invoke(main, ["plugins", "--json"]).output)
    [sqlite] = [row for row in rows if row["name"] == "sqlite"]
    assert sqlite == {
        "name": "sqlite",
        "distribution": "forebay",
        "version": forebay.__version__,
        "hooks": ["factory_kinds", "metadata_store_factory"],
    }
