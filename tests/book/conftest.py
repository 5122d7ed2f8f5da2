"""What the tests of the book share: the tools beside them, and the built book."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
for folder in (Path(__file__).parent, REPOSITORY / "book"):
    sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def built_book():
    """The layout of the real book, which must have been built and be up to date."""
    from pipeline.chapters import read_chapters
    from pipeline.layout import Layout
    from pipeline.runner import Plan, stale

    layout = Layout.of(REPOSITORY)
    notebooks = [c for c in read_chapters(layout) if c.is_notebook]
    reason = ""
    if not (layout.html / "index.html").exists():
        reason = "the book is not built"
    elif late := stale(layout, notebooks, Plan()):
        reason = f"the built book is out of date: {', '.join(c.name for c in late)}"
    if reason and os.environ.get("CAUSALPRUNE_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}; run `make book` first")
    if reason:
        pytest.skip(f"{reason}; `make book` makes it")
    return layout
