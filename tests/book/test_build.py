"""What a build does with a tiny book: caching, failing, being killed. Each test works on a copy."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_book import REPOSITORY, make_tiny_book

COMMAND = [sys.executable, "-B", str(REPOSITORY / "book" / "build.py")]
ENV = {k: v for k, v in os.environ.items() if k != "CAUSALPRUNE_DATA"}


def build(root: Path, *options: str) -> subprocess.CompletedProcess:
    """Build the book at `root` to the end."""
    command = [*COMMAND, "--root", str(root), *options]
    return subprocess.run(command, capture_output=True, text=True, env=ENV, check=False)


def edit(root: Path, page: str, old: str, new: str) -> None:
    """Replace `old`, which must be there, in a page."""
    path = root / "book" / page
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def prints(root: Path, folder: str = "_build/html") -> dict[str, str]:
    """The digest of every file below a folder."""
    top = (root / folder).resolve()
    return {
        str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def kill_when(root: Path, sign, *options: str) -> None:
    """Start a build and `kill -9` it as soon as `sign()` is true."""
    process = subprocess.Popen(
        [*COMMAND, "--root", str(root), *options], stdout=subprocess.DEVNULL, env=ENV
    )
    deadline = time.monotonic() + 30
    while not sign():
        assert process.poll() is None, "the build ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A tiny book, built once."""
    root = make_tiny_book(tmp_path_factory.mktemp("book") / "tiny")
    answer = build(root)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert re.search(r"01-first: [\d.]+ s, \d+ MB", answer.stdout)
    return root


@pytest.fixture
def book(original, tmp_path):
    """A copy of the built tiny book, to be changed."""
    return shutil.copytree(original, tmp_path / "tiny", symlinks=True)


def test_pages_say_what_they_need_and_the_status_page_lists_every_run(original):
    page = (original / "_build/html/01-first.html").read_text()
    glance = page[page.index("At a glance") : page.index("Prose of the")]
    for words in ("quick", "ten numbers", "measured", "full", "more numbers", "20", "6 GB"):
        assert words in glance
    status = (original / "_build/html/status.html").read_text()
    for words in ("The first chapter", "The second chapter", "MB", "not run here", "python 3"):
        assert words in status


def test_scripts_are_local_and_plotly_only_where_a_plot_is(original):
    html = original / "_build/html"
    assert "plotly.min.js" in (html / "02-second.html").read_text()
    assert "plotly.min.js" not in (html / "01-first.html").read_text()
    assert (html / "_static/plotly.min.js").stat().st_size > 1e6
    assert "mathjax/tex-svg.js" in (html / "01-first.html").read_text()
    assert (html / "_static/mathjax/LICENSE").exists()


def test_a_second_build_does_nothing_and_is_quick(book):
    before, started = prints(book, "_build/exec"), time.monotonic()
    link = os.readlink(book / "_build/html")
    answer = build(book)
    assert answer.returncode == 0
    assert "up to date" in answer.stdout
    assert time.monotonic() - started < 20
    assert prints(book, "_build/exec") == before
    assert os.readlink(book / "_build/html") == link


def test_prose_edits_reuse_the_outputs(book):
    before = prints(book, "_build/exec")
    edit(book, "01-first.md", "Prose of the *first* chapter", "Other words")
    edit(book, "01-first.md", "A line that *rises*", "A line going up")
    answer = build(book)
    assert answer.returncode == 0
    assert prints(book, "_build/exec") == before
    page = (book / "_build/html/01-first.html").read_text()
    assert "Other words" in page
    assert "A line going up" in page
    assert "ran the first with quick" in page


def test_code_edits_run_that_notebook_alone_and_library_edits_run_all(book):
    before = prints(book, "_build/exec")
    edit(book, "02-second.md", "range(8)", "range(7)")
    assert build(book, "--notebooks-only").returncode == 0
    after = prints(book, "_build/exec")
    assert after["quick/01-first.ipynb"] == before["quick/01-first.ipynb"]
    assert after["quick/02-second.ipynb"] != before["quick/02-second.ipynb"]
    (book / "causalprune_lib/__init__.py").write_text("answer = 43\n")
    assert "running 2 notebooks" in build(book, "--notebooks-only").stdout


def test_a_failing_cell_is_told_and_the_old_site_stays(book):
    before = prints(book)
    kept = prints(book, "_build/exec")
    edit(book, "02-second.md", "print(time.perf_counter())", "part = 1\nwhole = part / 0")
    answer = build(book)
    assert answer.returncode == 1
    assert "book/02-second.md failed" in answer.stderr
    assert "code cell 3 of 4" in answer.stderr
    assert "    whole = part / 0" in answer.stderr
    assert "ZeroDivisionError: division by zero" in answer.stderr
    assert prints(book) == before
    assert prints(book, "_build/exec") == kept


@pytest.mark.parametrize(
    ("code", "options", "said"),
    [
        ("import os; os._exit(3)", (), "the kernel died"),
        ("time.sleep(60)", ("--limit", "3"), "ran past its limit of 3 s"),
    ],
)
def test_dead_kernels_and_endless_cells_are_told(book, code, options, said):
    before, started = prints(book), time.monotonic()
    edit(book, "02-second.md", "print(time.perf_counter())", code)
    answer = build(book, "--only", "02", *options)
    assert answer.returncode == 1
    assert said in answer.stderr
    assert "code cell 3 of 4" in answer.stderr
    assert prints(book) == before
    assert time.monotonic() - started < 30


def test_unknown_parameters_are_errors_and_known_ones_are_set(book):
    answer = build(book, "-p", "cuont=4")
    assert answer.returncode == 1
    assert "unknown parameter 'cuont'" in answer.stderr
    assert "Did you mean 'count'?" in answer.stderr
    assert build(book, "-p", "count=4", "--only", "01", "--notebooks-only").returncode == 0
    assert "[3, 9, 8]" not in (book / "_build/exec/quick/01-first.ipynb").read_text()


def test_the_full_profile_reaches_the_notebook_and_shows_on_the_page(book):
    answer = build(book, "--profile", "full")
    assert answer.returncode == 0, answer.stderr
    page = (book / "_build/html/01-first.html").read_text()
    assert "ran the first with full" in page
    assert "This page shows <em>full</em>." in page
    text = re.sub(r"<[^>]+>", "", page)
    assert 'profile = "full"' in text.replace("&quot;", '"')


def test_the_papers_profile_is_shown_where_it_is_run_or_needs_more(book):
    page = (book / "_build/html/01-first.html").read_text()
    assert "<p>paper</p>" not in page
    edit(book, "01-first.md", "memory: 6 GB}", "memory: 6 GB}\n    paper: {data: a million, "
         "device: one GPU, minutes: 99, memory: 7 GB}")  # fmt: skip
    answer = build(book, "--profile", "paper")
    assert answer.returncode == 0, answer.stderr
    for name, needed in (("01-first", "a million"), ("02-second", "more numbers")):
        page = (book / f"_build/html/{name}.html").read_text()
        assert "This page shows <em>paper</em>." in page
        assert needed in page
    assert "ran the first with paper" in (book / "_build/html/01-first.html").read_text()


def test_killed_in_a_notebook_then_built_again(book):
    before = prints(book)
    edit(book, "01-first.md", "import random\n", "import random, time\ntime.sleep(2)\n")
    scratch = book / "_build/scratch"
    kill_when(book, lambda: list(scratch.glob("01-first-*/ipython")))
    assert prints(book) == before
    answer = build(book)
    assert answer.returncode == 0, answer.stderr
    assert prints(book).keys() == before.keys()
    assert "time.sleep" in re.sub(r"<[^>]+>", "", (book / "_build/html/01-first.html").read_text())
    assert not scratch.exists() or not list(scratch.iterdir())


def test_killed_in_sphinx_then_built_again_gives_the_same_site(book):
    before = prints(book)
    edit(book, "index.md", "Some words", "Other words")
    kill_when(book, lambda: (book / "_build/stage/_build/.doctrees").exists())
    assert prints(book) == before
    assert build(book).returncode == 0
    after = prints(book)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"index.html", "_sources/index.md", "searchindex.js"}


def test_faulty_pages_are_not_published(book):
    before = prints(book)
    edit(
        book,
        "01-first.md",
        "  image:\n    alt: A line from the lower left to the upper right.\n",
        "",
    )
    answer = build(book)
    assert answer.returncode == 1
    assert "01-first.html: image without alternative text: _images/" in answer.stderr
    edit(book, "index.md", "(01-first.md)", "(03-third.md)")
    answer = build(book)
    assert answer.returncode == 1
    assert "index.md:3: WARNING" in answer.stderr
    assert "03-third.md" in answer.stderr
    assert prints(book) == before


@pytest.mark.parametrize(
    ("page", "old", "new", "said"),
    [
        ("01-first.md", ", memory: 1 GB", "", "profiles: quick: .* missing: memory"),
        ("01-first.md", "[parameters]", "[parametres]", "one code cell tagged 'parameters'; got 0"),
        ("../_toc.yml", "  - file: 02-second\n", "", r"book/02-second\.md is not listed in _toc"),
        ("../_toc.yml", "02-second", "03-third", r"book/03-third\.md does not exist"),
    ],
)
def test_mistakes_in_the_sources_are_told_before_anything_runs(book, page, old, new, said):
    edit(book, page, old, new)
    answer = build(book, "--force")
    assert answer.returncode == 1
    assert re.search(said, answer.stderr)
    assert "running" not in answer.stdout


def test_two_builds_at_once_are_refused(book):
    with (book / "_build/.lock").open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        answer = build(book)
    assert answer.returncode == 1
    assert "another build" in answer.stderr


def test_only_must_name_one_notebook(book):
    answer = build(book, "--only", "01-frist")
    assert answer.returncode == 1
    assert "Did you mean '01-first'?" in answer.stderr
