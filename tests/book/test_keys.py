"""What a notebook's key stands for: all that can change its outputs, and of the studies no more."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from pipeline import keys
from pipeline.chapters import read_chapters
from pipeline.layout import Layout
from tiny_book import REPOSITORY, make_tiny_book

STUDIES = Path("book", "causalprune_studies")
FOLDERS = sorted(path.name for path in (REPOSITORY / STUDIES).glob("ch[0-9][0-9]_*"))
ROWS = sorted(path.name for path in (REPOSITORY / STUDIES / "rows/measured").glob("[!.]*.csv.gz"))


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Layout:
    """A copy of the book's pages and studies, with a library of one line and rows of one byte."""
    root = tmp_path_factory.mktemp("book")
    shutil.copytree(
        REPOSITORY / "book",
        root / "book",
        ignore=lambda folder, names: [
            name
            for name in names
            if not (Path(folder) / name).is_dir() and not re.search(r"\.(md|py|csv|csv\.gz)$", name)
        ],
    )
    for name in ("_config.yml", "_toc.yml", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, root)
    (root / "causalprune_lib").mkdir()
    (root / "causalprune_lib" / "__init__.py").write_text("answer = 42\n")
    for name in ROWS:
        (root / STUDIES / "rows/measured" / name).write_bytes(b"0")
    return Layout.of(root)


@pytest.fixture(scope="module")
def pages(layout):
    return [chapter for chapter in read_chapters(layout) if chapter.is_notebook]


@pytest.fixture(scope="module")
def changed(layout, pages):
    """Which pages' keys a change to a file changes; the file is put back."""

    def all_keys():
        shared = keys.shared_part(layout, "quick")
        return {page.name: keys.key_of(layout, page, {}, shared) for page in pages}

    before = all_keys()

    def touch(path: str | Path) -> set[str]:
        file = layout.root / path
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        try:
            after = all_keys()
        finally:
            file.write_bytes(content)
        return {name for name in after if after[name] != before[name]}

    return touch


def pages_that_import(layout, pages, folder, file):
    """Found by their words: pages whose cells take `file` from the folder of another chapter."""
    words = re.compile(rf"{folder}\.{file}\b|{folder} import [^)]*\b{file}\b")
    return {page.name for page in pages if words.search(page.source.read_text(encoding="utf-8"))}


def page_of(pages, folder):
    return next(page.name for page in pages if page.name.startswith(folder[2:4]))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_figure_changes_the_key_of_its_own_chapter_and_of_pages_that_draw_it(
    folder, layout, pages, changed
):
    own = page_of(pages, folder)
    expected = {own, "verdicts"} | pages_that_import(layout, pages, folder, "figures")
    assert changed(STUDIES / folder / "figures.py") == expected
    assert folder == "ch01_pruning" or expected == {own, "verdicts"}  # its latencies, in chapter 8


def test_a_study_changes_the_keys_of_all_that_import_it_directly_or_not(changed):
    found = changed(STUDIES / "ch06_causal_model" / "study.py")
    assert {name[:2] for name in found} == {"06", "07", "08", "09", "13", "ve"}  # 9 by way of 8
    assert {name[:2] for name in changed(STUDIES / "ch10_spectra" / "networks.py")} == {
        *("10", "11", "12", "13", "ve")
    }


@pytest.mark.parametrize(
    ("rows", "read_by"),
    [
        ("measuring-chaos", {"03"}),
        ("legcnet-ablation", {"05"}),
        ("judged-networks", {"10", "11", "12", "13"}),  # written by 10, judged by 12, shown by all
    ],
)
def test_rows_change_the_keys_of_the_pages_that_read_them(rows, read_by, changed):
    found = changed(STUDIES / "rows/measured" / f"{rows}.csv.gz")
    assert {name[:2] for name in found} == {*read_by, "ve"}


@pytest.mark.parametrize(
    "shared",
    [
        "causalprune_lib/__init__.py",
        STUDIES / "judge.py",
        STUDIES / "paper_networks" / "sigmoid.py",
        STUDIES / "rows/published/causal_table1.csv",
    ],
)
def test_what_all_share_changes_all_keys(shared, pages, changed):
    assert changed(shared) == {page.name for page in pages}


def test_a_draft_of_rows_is_not_read(layout, changed):
    draft = STUDIES / "rows/measured/.legcnet.csv.gz.part.x.csv.gz"
    (layout.root / draft).write_bytes(b"half")
    assert changed(draft) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import causalprune_studies.ch01_pruning.study", {"__init__.py", "study.py"}),
        (
            "from causalprune_studies.ch01_pruning import figures as f",
            {"__init__.py", "figures.py"},
        ),
        ("from causalprune_studies.ch01_pruning.study import Curve", {"__init__.py", "study.py"}),
        ("def f():\n    from causalprune_studies import ch01_pruning", {"__init__.py"}),
        ("from .figures import plot", {"__init__.py", "figures.py"}),
        ("from ..ch01_pruning import study", {"__init__.py", "study.py"}),
        ("from causalprune_studies import chapters, judge", set()),
        ("import causalprune_lib.nets.data, os", set()),
        ("half a (line", set()),
    ],
)
def test_the_reader_of_imports_sees_every_form(source, found, layout):
    studies = layout.root / STUDIES
    files = keys._imported(source, studies / "ch01_pruning", studies)
    assert files == {studies / "ch01_pruning" / name for name in found}


def test_a_page_that_runs_another_chapters_study_answers_for_it(layout):
    text = '```{code-cell} ipython3\nstudies_of("flat-minima", "quick")\n```\n'
    page = layout.book / "13-new.md"
    header = (layout.book / "verdicts.md").read_text(encoding="utf-8").split("---\n")[1]
    page.write_text(f"---\n{header}---\n\n{text}", encoding="utf-8")
    (new,) = (chapter for chapter in read_chapters(layout) if chapter.name == page.stem)
    before = keys.own_part(layout, new)
    study = layout.root / STUDIES / "ch09_flat_minima" / "study.py"
    content = study.read_bytes()
    study.write_bytes(content + b"\n")
    assert keys.own_part(layout, new) != before
    study.write_bytes(content)
    page.unlink()


def test_a_key_knows_whether_there_is_a_mirror_but_not_where(tmp_path, monkeypatch):
    layout = Layout.of(make_tiny_book(tmp_path / "tiny"))
    chapter = next(c for c in read_chapters(layout) if c.is_notebook)
    found = {}
    for place in ("", "one", "two"):
        if place:
            (tmp_path / place / "hub").mkdir(parents=True)
        monkeypatch.setenv("CAUSALPRUNE_DATA", place and str(tmp_path / place))
        shared = keys.shared_part(layout, "full")
        assert str(tmp_path) not in repr(shared)
        found[place] = keys.key_of(layout, chapter, {"profile": "full"}, shared)
        assert keys.shared_part(layout, "quick")["data"] == "bundled"
    assert found["one"] == found["two"] != found[""]


def test_a_key_changes_with_everything_that_changes_outputs(tmp_path):
    layout = Layout.of(make_tiny_book(tmp_path / "tiny"))
    chapter = next(c for c in read_chapters(layout) if c.is_notebook)
    shared = keys.shared_part(layout, "quick")
    before = keys.key_of(layout, chapter, {}, shared)
    for part in shared:
        assert keys.key_of(layout, chapter, {}, shared | {part: "another"}) != before, part
    assert keys.key_of(layout, chapter, {"count": 4}, shared) != before
