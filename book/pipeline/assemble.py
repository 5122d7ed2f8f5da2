"""Prose pages + executed notebooks -> one flat folder that Sphinx reads.

The folder holds `_config.yml`, `_toc.yml`, every prose page, every notebook as `.ipynb`, and the
folders of `book/` (`_static`, `_ext`, `_vendor`, images). Flat, so that a link between two pages
reads the same in `book/`, on GitHub and in the site.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from .chapters import Chapter, tags_of
from .execute import kept_run
from .glance import (
    STATUS_MARK,
    STUDIES_MARK,
    at_a_glance,
    status_table,
    studies_table,
    under_title,
)
from .keys import STUDIES
from .layout import PROFILES, BuildError, Layout
from .pairs import MARK, notebook_of

NOT_PAGES = ("pipeline", "causalprune_studies", "__pycache__")
PLOTLY = "application/vnd.plotly.v1+json"
PAGE_METADATA = ("kernelspec", "language_info")


def assemble(layout: Layout, chapters: list[Chapter], profile: str, folder: Path) -> None:
    """Fill the new folder `folder` with the source of the site."""
    home = check_toc(layout, chapters)
    folder.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(layout.root / name, folder)
    for path in layout.book.iterdir():
        if path.name in NOT_PAGES or path.name.startswith("."):
            continue
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.suffix not in (".md", ".py"):
            shutil.copy(path, folder)
    notebooks = [c for c in chapters if c.is_notebook]
    kept = {c.name: {p: kept_run(layout, c.name, p) for p in PROFILES} for c in notebooks}
    runs = {name: {p: k[0] if k else None for p, k in row.items()} for name, row in kept.items()}
    status_page = any(c.name == "status" for c in chapters)
    names = [c.name for c in notebooks]
    for chapter in chapters:
        if not chapter.is_notebook:
            text = chapter.source.read_text(encoding="utf-8")
            text = text.replace(STATUS_MARK, status_table(notebooks, runs))
            if STUDIES_MARK in text:
                text = text.replace(STUDIES_MARK, studies_table(stored_rows(layout)))
            (folder / chapter.source.name).write_text(link(text, names), encoding="utf-8")
            continue
        box = at_a_glance(chapter, runs[chapter.name], profile, status_page=status_page)
        executed = kept[chapter.name][profile][1]
        notebook = page_of(chapter, executed, box, at_end=chapter.name == home)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = link(cell.source, names)
        nbformat.write(notebook, folder / f"{chapter.name}.ipynb")


def stored_rows(layout: Layout) -> list[dict]:
    """What the committed rows hold of every study; nothing where a book has no studies."""
    if not (layout.book / STUDIES).exists():
        return []
    answer = subprocess.run(
        [sys.executable, "-m", STUDIES, "run", "--list", "--json"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (layout.root, layout.book)))},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise BuildError(f"the studies cannot be listed:\n{answer.stderr.strip()}")
    return json.loads(answer.stdout)


def page_of(
    chapter: Chapter, executed: NotebookNode, box: str, *, at_end: bool = False
) -> NotebookNode:
    """The page as it is written now, with the outputs of `executed` in its code cells.

    `box` stands under the title, or, on the home page (`at_end`), in the last cell, which is text.

    The two have the same code cells, because they have the same key. The cell in which papermill
    sets other parameters than those written is shown too.
    """
    notebook = notebook_of(chapter)
    notebook.metadata.pop(MARK, None)
    notebook.metadata = {k: v for k, v in notebook.metadata.items() if k in PAGE_METADATA}
    ran = [cell for cell in executed.cells if cell.cell_type == "code"]
    injected = [cell for cell in ran if "injected-parameters" in tags_of(cell)]
    outputs = iter([cell for cell in ran if "injected-parameters" not in tags_of(cell)])
    cells, boxed, plots = [], False, 0
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown" and not boxed and not at_end:
            with_box = under_title(cell.source, box)
            boxed, cell.source = with_box is not None, with_box or cell.source
        if cell.cell_type != "code":
            continue
        twin = next(outputs)
        cell.outputs = copy.deepcopy(twin.outputs)
        cell.execution_count = twin.execution_count
        for output in cell.outputs:
            if PLOTLY in output.get("data", {}):
                plots += 1
                _plotly_to_html(chapter, cell, output, f"{chapter.name}-plot-{plots}")
        if "parameters" in tags_of(cell) and 'profile = "quick"' not in _text(injected):
            cells += copy.deepcopy(injected)
    if at_end:
        cells[-1].source += f"\n{box}"
    elif not boxed:
        raise BuildError(f"{chapter.source.name} must begin with a title line, '# ...'")
    notebook.cells = cells
    return notebook


def check_toc(layout: Layout, chapters: list[Chapter]) -> str:
    """Raise unless `_toc.yml` and `book/*.md` name the same pages; return the home page's name."""
    toc = yaml.safe_load((layout.root / "_toc.yml").read_text(encoding="utf-8"))
    listed, pages = set(_files_of(toc)), {c.name for c in chapters}
    wrong = [f"_toc.yml lists {n}, but book/{n}.md does not exist" for n in sorted(listed - pages)]
    wrong += [f"book/{n}.md is not listed in _toc.yml" for n in sorted(pages - listed)]
    if wrong:
        raise BuildError("\n".join(wrong))
    return toc["root"]


def link(markdown: str, notebooks: list[str]) -> str:
    """Turn links to `X.md` into links to `X.ipynb` where X is a notebook of the book."""
    for name in notebooks:
        markdown = re.sub(rf"\]\({re.escape(name)}\.md(?=[)#])", f"]({name}.ipynb", markdown)
    return markdown


def _files_of(part: object) -> list[str]:
    """All pages named anywhere in a table of contents."""
    if isinstance(part, list):
        return [name for one in part for name in _files_of(one)]
    if not isinstance(part, dict):
        return []
    own = [str(part[key]) for key in ("root", "file") if key in part]
    return own + [name for value in part.values() for name in _files_of(value)]


def _text(cells: list[NotebookNode]) -> str:
    return "\n".join(cell.source for cell in cells)


def _plotly_to_html(
    chapter: Chapter, cell: NotebookNode, output: NotebookNode, plot_id: str
) -> None:
    """Show a plotly figure with the book's own copy of plotly.js, and with a name for it."""
    from plotly.io import to_html

    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    if not alt:
        raise BuildError(
            f"{chapter.source.name}: a plotly figure needs a text for those who cannot see it; "
            f"give its cell the metadata mystnb: {{image: {{alt: ...}}}}"
        )
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    figure = to_html(
        output.data[PLOTLY],
        include_plotlyjs=False,
        full_html=False,
        div_id=plot_id,
        validate=False,
        config={"responsive": True},
    )
    output.data = {
        "text/html": f'<div class="plot" role="group" aria-label="{label}">{figure}</div>'
    }
