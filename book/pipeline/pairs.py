"""`book/X.md` -> `notebooks/X.ipynb`, in that direction only, and without outputs.

Jupytext's `--sync` lets the newer file win, and a git checkout decides which file is newer; so this
never syncs. Cell ids are taken from the content: everybody who converts a page gets the same bytes.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .chapters import Chapter, tags_of
from .layout import BuildError, Layout, write_whole

MARK = "causalprune_pair"  # the notebook's metadata key for the digest of what was generated


def notebook_of(chapter: Chapter) -> NotebookNode:
    """The page as a notebook without outputs, ready to be written."""
    notebook = copy.deepcopy(chapter.notebook)
    notebook.metadata.get("jupytext", {}).pop("text_representation", None)
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        text = f"{cell.cell_type}\n{cell.source}"
        seen[text] = seen.get(text, 0) + 1
        cell.id = hashlib.sha256(f"{text}\n{seen[text]}".encode()).hexdigest()[:8]
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata[MARK] = _digest(notebook)
    return notebook


def pair_text(chapter: Chapter) -> str:
    """The text of `notebooks/X.ipynb`."""
    return nbformat.writes(notebook_of(chapter), indent=1) + "\n"


def stale_pairs(layout: Layout, chapters: list[Chapter]) -> list[str]:
    """What is wrong with `notebooks/`: one line for each file that a conversion would change."""
    wrong = []
    for chapter in chapters:
        path = layout.notebooks / f"{chapter.name}.ipynb"
        if not path.exists():
            wrong.append(f"{layout.shown(path)} is missing")
        elif path.read_text(encoding="utf-8") != pair_text(chapter):
            wrong.append(f"{layout.shown(path)} is not what {chapter.source.name} says")
    known = {chapter.name for chapter in chapters}
    wrong += [
        f"{layout.shown(path)} has no source book/{path.stem}.md"
        for path in sorted(layout.notebooks.glob("*.ipynb"))
        if path.stem not in known
    ]
    return wrong


def write_pairs(layout: Layout, chapters: list[Chapter], *, force: bool = False) -> list[str]:
    """Write `notebooks/*.ipynb`; return the names of those that changed.

    A notebook that somebody edited by hand is not overwritten unless `force`: its code would be
    lost. Outputs, and edits that the page already has, do not count.
    """
    changed = []
    for chapter in chapters:
        path = layout.notebooks / f"{chapter.name}.ipynb"
        if path.exists() and not force and _edited_by_hand(path, chapter):
            raise BuildError(
                f"{layout.shown(path)} was edited by hand, and writing it anew would lose the "
                f"edits. The source is book/{chapter.source.name}: move them there, then run "
                f"`python book/build.py --pairs --force`."
            )
        if write_whole(path, pair_text(chapter)):
            changed.append(chapter.name)
    return changed


def _edited_by_hand(path: Path, chapter: Chapter) -> bool:
    """Whether the notebook's cells are neither what was generated nor what the page says."""
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (ValueError, nbformat.ValidationError, AttributeError, KeyError):
        return False  # not a notebook at all: nothing to lose
    digest = _digest(notebook)
    return digest not in (notebook.metadata.get(MARK), _digest(chapter.notebook))


def _digest(notebook: NotebookNode) -> str:
    """A digest of what a person writes in a notebook: kinds, sources and tags of its cells."""
    cells = [[cell.cell_type, cell.source.strip(), tags_of(cell)] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]
