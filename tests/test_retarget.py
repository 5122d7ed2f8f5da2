"""`make retarget`: the setting, the launch buttons and the install cells name one repository."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
FORK = "https://github.com/a-teacher/pruning-2027"
PLACEHOLDER = "https://github.com/YOUR-ORGANISATION/causalprune-book"
INSTALLS = re.compile(r"causalprune-lib\[data\] @ git\+(https://[^\s\"\\]+)")

_spec = importlib.util.spec_from_file_location("retarget", ROOT / "book" / "retarget.py")
tool = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tool)


def copy_of_the_book(folder: Path) -> Path:
    """The files that retargeting touches, copied; nothing of the checkout is at risk."""
    for path in tool.files_with_address(ROOT):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    shutil.copy(ROOT / "book" / "retarget.py", folder / "book" / "retarget.py")
    shutil.copy(ROOT / "_toc.yml", folder / "_toc.yml")
    shutil.copy(ROOT / "Makefile", folder / "Makefile")
    return folder


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def install_addresses(root: Path) -> dict[str, list[str]]:
    """Notebook or its text twin -> the addresses in its cells tagged `install`."""
    found = {}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        first = next(c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
        assert {"install", "remove-cell"} <= set(first.metadata.get("tags", [])), path.name
        found[path.name] = INSTALLS.findall(first.source)
        twin = root / "book" / f"{path.stem}.md"
        found[twin.name] = INSTALLS.findall(twin.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def book(tmp_path):
    return copy_of_the_book(tmp_path)


def test_setting_and_install_cells_name_one_repository():
    setting = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"][
        "url"
    ]
    assert tool.current_address() == setting == tool.parse_address(setting)
    addresses = install_addresses(ROOT)
    assert addresses, "no notebooks; run `make pairs`"
    assert {name: found for name, found in addresses.items() if found != [setting]} == {}


def test_retarget_moves_the_setting_the_launch_buttons_and_every_install_cell(book):
    changed = tool.retarget(FORK, book)
    addresses = install_addresses(book)
    assert {name: found for name, found in addresses.items() if found != [FORK]} == {}
    assert {path.name for path in changed} >= {*addresses, "_config.yml"}
    # what Jupyter Book makes the launch buttons from
    command = "from jupyter_book.cli.main import main; main()"
    subprocess.run([sys.executable, "-c", command, "config", "sphinx", str(book)], check=True)
    made: dict = {}
    exec((book / "conf.py").read_text(encoding="utf-8"), made)
    assert made["html_theme_options"]["repository_url"] == FORK


def test_nothing_else_changes_and_the_way_back_is_exact(book):
    before, address = contents(book), tool.current_address(book)
    tool.retarget(FORK, book)
    there = contents(book)
    assert not any(address.encode() in text for text in there.values())
    assert {n: t.replace(FORK.encode(), address.encode()) for n, t in there.items()} == before
    tool.retarget(address, book)
    assert contents(book) == before


def test_a_second_run_has_nothing_to_do(book):
    tool.retarget(FORK, book)
    once = contents(book)
    assert tool.retarget(FORK + ".git/", book) == []
    assert contents(book) == once


@pytest.mark.parametrize("whole", [0, 1, 3])
def test_a_run_cut_short_leaves_whole_files_and_is_finished_by_the_next(book, monkeypatch, whole):
    before = contents(book)
    left, replace = [whole], os.replace

    def full_disk(source, target):
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        replace(source, target)

    monkeypatch.setattr(tool.os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        tool.retarget(FORK, book)
    half = contents(book)
    assert half.keys() == before.keys()  # no draft is left lying about
    assert sum(half[name] != before[name] for name in before) == whole
    monkeypatch.undo()
    tool.retarget("https://github.com/another/fork", book)  # even at another address
    assert {a for found in install_addresses(book).values() for a in found} == {
        "https://github.com/another/fork"
    }


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "my-fork",
        "a-teacher/pruning-2027",
        "http://github.com/a/b",
        "git@github.com:a/b.git",
        "https://gitlab.com/a/b",
        "https://github.com/a",
        "https://github.com/a/b/tree/main",
        "https://github.com/a/b?x=1",
        "https://github.com/a/b c",
        "https://github.com/-a/b",
        "https://github.com/a--b/c",
        "https://github.com/a/..",
        "https://github.com/a/b\nrm",
        "https://user:secret@github.com/a/b",
    ],
)
def test_nonsense_is_refused_before_anything_changes(book, nonsense):
    before = contents(book)
    with pytest.raises(ValueError, match=r"REPO must be .* got "):
        tool.retarget(nonsense, book)
    assert contents(book) == before


owners = st.from_regex(r"[A-Za-z0-9](-?[A-Za-z0-9]){0,12}", fullmatch=True)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,12}(\.[A-Za-z0-9_-]{1,6})?", fullmatch=True)
addresses = st.builds("https://github.com/{}/{}".format, owners, names).filter(
    lambda address: not address.endswith(".git")
)


@given(address=addresses, tail=st.sampled_from(["", "/", ".git", ".git/"]))
def test_every_usual_spelling_of_an_address_is_one_address(address, tail):
    assert tool.parse_address(f" {address}{tail}\n") == address


@given(old=addresses, new=addresses, tail=st.sampled_from(["-2", "_x", "x", ".io"]))
def test_an_address_that_only_begins_alike_is_left_alone(old, new, tail):
    text = f"[other]({old}{tail}) and [ours]({old}/issues), {old}. Also {old}.git"
    expected = f"[other]({old}{tail}) and [ours]({new}/issues), {new}. Also {new}"
    assert tool.rewrite(text, old, new) == expected


def test_links_to_colab_and_a_branch_survive():
    colab = (
        "https://colab.research.google.com/github/YOUR-ORGANISATION/causalprune-book/blob/main/x"
    )
    assert tool.rewrite(colab, PLACEHOLDER, FORK) == colab.replace(
        "YOUR-ORGANISATION/causalprune-book", "a-teacher/pruning-2027"
    )
    cell = json.dumps(f'%pip install -q "causalprune-lib[data] @ git+{PLACEHOLDER}@v1.0"')
    assert tool.rewrite(cell, "https://github.com/x/y", FORK) == cell.replace(PLACEHOLDER, FORK)


def test_make_retarget_does_it_and_says_what(book):
    run = subprocess.run(
        ["make", "retarget", f"REPO={FORK}"], cwd=book, capture_output=True, text=True, check=True
    )
    assert "rewrote _config.yml" in run.stdout
    assert tool.current_address(book) == FORK
    again = subprocess.run(["make", "retarget"], cwd=book, capture_output=True, text=True)
    assert again.returncode != 0
    assert "make retarget REPO=https://github.com/" in again.stderr
