"""Notebooks run again show the same: one in rotation, and those whose data could come from afar."""

from __future__ import annotations

import datetime
import re
import subprocess
from pathlib import Path

import pytest
from nbformat import NotebookNode
from pipeline.chapters import Chapter, read_chapters, tags_of
from pipeline.execute import LIMITS, kept_run, run_notebook
from pipeline.keys import shared_part
from pipeline.layout import Layout
from pipeline.runner import Plan
from tiny_book import REPOSITORY

pytestmark = pytest.mark.alone(seconds=30)
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
SHOWN = ("text/plain", "text/html", "image/png", "application/vnd.plotly.v1+json")


def turn() -> int:
    """A number that changes with each commit; outside a git repository, with each day."""
    answer = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    today = datetime.datetime.now(datetime.UTC).timetuple().tm_yday
    return int(answer.stdout[:8], 16) if answer.returncode == 0 else today


def shown(notebook: NotebookNode) -> list[list[object]]:
    """What each code cell shows, without addresses in memory; nothing for `timing` cells."""
    cells = []
    for cell in notebook.cells:
        if cell.cell_type != "code" or "injected-parameters" in tags_of(cell):
            continue
        texts = []
        for output in cell.outputs if "timing" not in tags_of(cell) else []:
            if output.output_type == "stream" and output.name == "stdout":
                texts.append(output.text)
            texts += [output.data[kind] for kind in SHOWN if kind in output.get("data", {})]
        cells.append([ADDRESS.sub("0x", t) if isinstance(t, str) else t for t in texts])
    return cells


def assert_says_the_same(built_book: Layout, chapter: Chapter, folder: Path) -> None:
    """Run a notebook again: every number, sentence, table and picture must be as in the book."""
    plan = Plan()
    _, before = kept_run(built_book, chapter.name, plan.profile)
    after = run_notebook(
        Layout.of(REPOSITORY, folder),
        chapter,
        parameters=plan.arguments(),
        shared=shared_part(built_book, plan.profile),
        key="again",
        threads=plan.threads,
        limit=LIMITS[plan.profile],
    )
    assert any(shown(before))
    for number, (old, new) in enumerate(zip(shown(before), shown(after), strict=True), start=1):
        assert new == old, f"{chapter.source.name}, code cell {number}"


def test_a_notebook_in_rotation_shows_the_same_numbers_again(built_book, tmp_path):
    notebooks = [c for c in read_chapters(built_book) if c.is_notebook]
    assert_says_the_same(built_book, notebooks[turn() % len(notebooks)], tmp_path)


@pytest.mark.data
@pytest.mark.parametrize("name", ["05-legcnet", "11-do-the-explanations-survive"])
def test_the_papers_tables_say_the_same_from_the_bundle_and_from_the_mirror(
    built_book, tmp_path, name
):
    """`.ci/run` builds the book without mirror and network; here the mirror is there."""
    (chapter,) = (c for c in read_chapters(built_book) if c.name == name)
    assert_says_the_same(built_book, chapter, tmp_path)
