"""A marked test is skipped without its need, and fails there where the need is required."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MARKED = """
import pytest

@pytest.mark.{marker}
def test_marked():
    pass
"""


def outcome(folder: Path, marker: str, **environment: str) -> str:
    """The last line of a pytest run over one marked test, with this project's conftest."""
    shutil.copy(Path(__file__).with_name("conftest.py"), folder / "conftest.py")
    (folder / "test_marked.py").write_text(MARKED.format(marker=marker))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    data: x\n    browser: x\n")
    clean = {name: text for name, text in os.environ.items() if "CAUSALPRUNE" not in name}
    clean["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    run = subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, cwd=folder, check=False
    )
    return run.stdout.strip().splitlines()[-1]


def test_data_tests_skip_without_a_mirror(tmp_path):
    assert outcome(tmp_path, "data").startswith("1 skipped")


def test_required_data_tests_fail_without_a_mirror(tmp_path):
    assert "1 error" in outcome(tmp_path, "data", CAUSALPRUNE_REQUIRE_DATA="1")


def test_data_tests_run_with_a_mirror(tmp_path):
    mirror = tmp_path / "mirror"
    for part in ("hub", "tabular", "legcnet"):
        (mirror / part).mkdir(parents=True)
    required = {"CAUSALPRUNE_DATA": str(mirror), "CAUSALPRUNE_REQUIRE_DATA": "1"}
    assert outcome(tmp_path, "data", **required).startswith("1 passed")


@pytest.mark.parametrize(("required", "expected"), [("0", "1 skipped"), ("1", "1 error")])
def test_browser_tests_need_the_built_book(tmp_path, required, expected):
    # The copied conftest looks for _build/html beside its own folder, where there is none.
    folder = tmp_path / "tests"
    folder.mkdir()
    assert expected in outcome(folder, "browser", CAUSALPRUNE_REQUIRE_BROWSER=required)
