"""Every link of the documentation leads somewhere, and every page is led to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def links(page):
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            yield target, (page.parent / target).resolve()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    assert [target for target, path in links(page) if not path.exists()] == []


def test_every_page_can_be_reached_from_the_readme():
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached:
            continue
        reached.add(page)
        for _, path in links(page):
            if path.suffix == ".md":
                todo.append(path)
            elif path.is_dir():
                todo += path.glob("*.md")
    assert set() == {
        str(page.relative_to(ROOT)) for page in PAGES if "changes" not in page.parts
    } - {str(page.relative_to(ROOT)) for page in reached}
