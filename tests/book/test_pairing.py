"""The pairs `book/*.md` and `notebooks/*.ipynb`: one direction, no outputs, nothing lost."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml
from pipeline.chapters import Chapter, read_chapters, tags_of
from pipeline.layout import BuildError, Layout
from pipeline.pairs import pair_text, stale_pairs, write_pairs
from tiny_book import REPOSITORY, make_tiny_book

LAYOUT = Layout.of(REPOSITORY)
NOTEBOOKS = [chapter for chapter in read_chapters(LAYOUT) if chapter.is_notebook]
EACH = pytest.mark.parametrize("chapter", NOTEBOOKS, ids=lambda c: c.name)


def test_the_book_has_notebooks():
    assert NOTEBOOKS


def test_converting_the_pages_changes_nothing():
    assert stale_pairs(LAYOUT, NOTEBOOKS) == []


@EACH
def test_no_outputs_are_kept(chapter: Chapter):
    notebook = nbformat.read(LAYOUT.notebooks / f"{chapter.name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@EACH
def test_the_default_profile_is_quick(chapter: Chapter):
    assert "profile" in chapter.parameters
    (cell,) = [c for c in chapter.code_cells if "parameters" in tags_of(c)]
    values = {
        target.id: ast.literal_eval(line.value)
        for line in ast.parse(cell.source).body
        if isinstance(line, ast.Assign)
        for target in line.targets
    }
    assert values["profile"] == "quick"


@EACH
def test_the_install_cell_names_the_configured_repository(chapter: Chapter):
    first = chapter.code_cells[0]
    assert {"install", "remove-cell"} <= set(tags_of(first))
    url = yaml.safe_load((REPOSITORY / "_config.yml").read_text())["repository"]["url"]
    assert f"git+{url}" in first.source
    assert "import causalprune_lib" in first.source
    assert "%pip install" in first.source


@EACH
def test_jupytext_itself_makes_the_same_notebook(chapter: Chapter, tmp_path):
    source = shutil.copy(chapter.source, tmp_path)
    made = tmp_path / "made.ipynb"
    command = [sys.executable, "-m", "jupytext", "--to", "ipynb", "-o", str(made), source]
    subprocess.run(command, check=True, capture_output=True)
    theirs, ours = json.loads(made.read_text()), json.loads(pair_text(chapter))
    for notebook in (theirs, ours):
        for cell in notebook["cells"]:
            del cell["id"]  # theirs are random
    assert theirs["cells"] == ours["cells"]
    assert theirs["metadata"].items() <= ours["metadata"].items()


@pytest.fixture
def tiny(tmp_path):
    """The layout and notebooks of a fresh tiny book, with its pairs written."""
    layout = Layout.of(make_tiny_book(tmp_path / "tiny"))
    notebooks = [c for c in read_chapters(layout) if c.is_notebook]
    assert write_pairs(layout, notebooks) == ["01-first", "02-second"]
    return layout, notebooks


def test_writing_pairs_twice_changes_nothing(tiny):
    layout, notebooks = tiny
    assert write_pairs(layout, notebooks) == []
    assert stale_pairs(layout, notebooks) == []


def test_stray_missing_and_late_notebooks_are_named(tiny):
    layout, _ = tiny
    (layout.notebooks / "01-first.ipynb").rename(layout.notebooks / "09-stray.ipynb")
    source = layout.book / "02-second.md"
    source.write_text(source.read_text() + "\nMore.\n")
    again = [c for c in read_chapters(layout) if c.is_notebook]
    wrong = "\n".join(stale_pairs(layout, again))
    assert "01-first.ipynb is missing" in wrong
    assert "02-second.ipynb is not what 02-second.md says" in wrong
    assert "09-stray.ipynb has no source" in wrong


def test_a_notebook_edited_by_hand_is_not_overwritten(tiny):
    layout, notebooks = tiny
    path = layout.notebooks / "01-first.ipynb"
    edited = nbformat.read(path, as_version=4)
    edited.cells[1].source += "\nkept = True"
    nbformat.write(edited, path)
    before = path.read_bytes()
    with pytest.raises(BuildError, match=r"01-first\.ipynb was edited by hand"):
        write_pairs(layout, notebooks)
    assert path.read_bytes() == before
    assert write_pairs(layout, notebooks, force=True) == ["01-first"]


def test_outputs_alone_are_not_an_edit(tiny):
    layout, notebooks = tiny
    path = layout.notebooks / "01-first.ipynb"
    ran = nbformat.read(path, as_version=4)
    code = next(cell for cell in ran.cells if cell.cell_type == "code")
    code.outputs = [nbformat.v4.new_output("stream", text="5")]
    nbformat.write(ran, path)
    assert write_pairs(layout, notebooks) == ["01-first"]
