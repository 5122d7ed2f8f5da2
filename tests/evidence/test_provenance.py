"""Provenance: which commit, whether the checkout was clean, on which machine."""

from __future__ import annotations

import subprocess

import pytest

from causalprune_lib.evidence import provenance


@pytest.fixture
def checkout(tmp_path):
    """A small git checkout laid out like the package."""
    package = tmp_path / "causalprune_lib"
    for folder in ("evidence", "nets", "../rows"):
        (package / folder).mkdir(parents=True)
    (package / "evidence" / "provenance.py").write_text("")

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    return package, git


def test_a_clean_checkout_gives_its_commit(checkout):
    package, git = checkout
    assert provenance._git_state(package) == (git("rev-parse", "HEAD"), "False")


@pytest.mark.parametrize(
    "name", ["../rows/a.csv", "../rows/a.csv.gz", "../rows/.a.csv.gz.part.x.csv.gz", "../a.csv.gz"]
)
def test_results_written_inside_the_checkout_do_not_make_it_dirty(name, checkout):
    package, _ = checkout
    (package / name).write_text("a\n1\n")
    assert provenance._git_state(package)[1] == "False"


@pytest.mark.parametrize(
    "name", ["evidence/provenance.py", "evidence/new.py", "nets/data.csv.gz", "../a.gz"]
)
def test_a_changed_or_new_file_makes_it_dirty(checkout, name):
    package, _ = checkout
    (package / name).write_text("changed")
    assert provenance._git_state(package)[1] == "True"


def test_an_installation_inside_somebody_elses_checkout_has_no_commit(checkout):
    package, _ = checkout
    inside = package / "site-packages" / "causalprune_lib"
    (inside / "evidence").mkdir(parents=True)
    (inside / "evidence" / "provenance.py").write_text("")
    assert provenance._git_state(inside) is None


@pytest.mark.parametrize(
    ("told", "commit", "dirty"),
    [("", "", ""), ("c0ffee", "c0ffee", "False"), ("c0ffee-dirty", "c0ffee", "True")],
)
def test_without_git_the_commit_is_what_the_variable_says(
    told, commit, dirty, monkeypatch, tmp_path
):
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    monkeypatch.setenv("CAUSALPRUNE_COMMIT", told)
    found = provenance.code_provenance()
    assert (found["commit"], found["dirty"]) == (commit, dirty)


def test_git_itself_missing_is_no_error(monkeypatch, checkout):
    monkeypatch.setenv("PATH", "")
    assert provenance._git_state(checkout[0]) is None
