"""One notebook, another one at each commit, is run again: it must show the same numbers."""

from __future__ import annotations

import datetime
import re
import subprocess

from nbformat import NotebookNode
from pipeline.chapters import read_chapters, tags_of
from pipeline.execute import LIMITS, kept_run, run_notebook
from pipeline.keys import shared_part
from pipeline.layout import Layout
from pipeline.runner import Plan
from tiny_book import REPOSITORY

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


def test_a_notebook_in_rotation_shows_the_same_numbers_again(built_book, tmp_path):
    notebooks = [c for c in read_chapters(built_book) if c.is_notebook]
    chapter, plan = notebooks[turn() % len(notebooks)], Plan()
    _, before = kept_run(built_book, chapter.name, plan.profile)
    after = run_notebook(
        Layout.of(REPOSITORY, tmp_path),
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
