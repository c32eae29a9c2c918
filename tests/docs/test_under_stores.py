"""The page of under stores says what the table of protocols says."""

from pathlib import Path

from forebay.cli.documents import renewed
from forebay_fsspec.protocols import documented

PAGE = Path(__file__).parents[2] / "docs" / "under-stores.md"


def test_the_table_of_protocols_is_the_one_of_the_code():
    text = PAGE.read_text(encoding="utf-8")
    fresh = renewed(text, {"protocols": documented})
    assert text == fresh, f"put this between the markers:\n\n{documented()}\n"
