"""A stranger's run: an empty folder, a fresh environment, the library from a wheel, one notebook.

As on Colab, the environment has torch and the other libraries but not this one; the notebook's own
install cell must bring it, and must leave everything else alone. The libraries of the running
environment are lent to the fresh one by links, so nothing is downloaded, and this project is not
among them: the notebook can use only what is in the wheel.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("causalprune_lib", "book/causalprune_studies")
NOTEBOOK = "verdicts"  # quick, and reads the rows and the studies of every chapter
PACKED = {".py", ".pyi", ".typed", ".csv", ".gz", ".md"}
INSTALL = re.compile(r"(causalprune-lib\[[a-z,]+\] @ )git\+https://[^\s\"]+")
NOT_LENT = re.compile(r"(?i)causalprune|__editable__|pip($|-)|wheel($|-)|__pycache__|.*\.pth$")
WHERE = """
import json, torch, causalprune_lib, causalprune_studies
told = {"library": causalprune_lib.__file__, "studies": causalprune_studies.__file__}
told |= {"torch": torch.__version__, "rows": len(causalprune_studies.measured("legcnet"))}
told["images"] = len(causalprune_lib.load_dataset("digits").x_train)
print(json.dumps(told))
"""


def run(*command: object, cwd: Path, env: dict[str, str]) -> str:
    """Run a command; a failure shows what it said."""
    ended = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout[-3000:]}\n{ended.stderr[-5000:]}"
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    left_out = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=left_out)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run(*command, cwd=source, env=env)  # `build` is the packager, not book/build.py
    (built,) = (source / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """The Python of a fresh environment that lacks only this library, and its variables."""
    home = tmp_path_factory.mktemp("stranger")
    env = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PIP_NO_INDEX": "1",  # whatever pip needed to download would be an error
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    run(sys.executable, "-m", "venv", home / "venv", cwd=home, env=env)
    python = home / "venv" / "bin" / "python"
    # Python 3.11 brings an old setuptools of its own, which would hide the one that is lent
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools", cwd=home, env=env)
    lent = home / "lent"
    lent.mkdir()
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(folder).iterdir():
            if not NOT_LENT.match(path.name):
                (lent / path.name).symlink_to(path)
    show = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-c", show, cwd=home, env=env).strip())
    (site / "lent.pth").write_text(f"{lent}\n")
    run(python, "-m", "ipykernel", "install", "--sys-prefix", cwd=home, env=env)
    return python, env


def test_the_wheel_holds_the_whole_library_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    source = {
        path.relative_to((ROOT / package).parent).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in PACKED and not path.name.startswith(".")
    }
    assert len([name for name in source if "/rows/measured/" in name]) > 13
    assert packed == source
    assert licences


def test_the_stranger_starts_without_the_library(stranger, tmp_path):
    python, env = stranger
    code = "import importlib.util as u; print(u.find_spec('causalprune_lib'), u.find_spec('torch'))"
    library, torch = run(python, "-c", code, cwd=tmp_path, env=env).split(" ", 1)
    assert library == "None"
    assert "ModuleSpec" in torch


def test_installing_brings_the_library_and_moves_nothing_else(wheel, stranger, tmp_path):
    python, env = stranger
    command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "report.json"]
    run(*command, f"causalprune-lib[data] @ {wheel.as_uri()}", cwd=tmp_path, env=env)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [item["metadata"]["name"] for item in report["install"]] == ["causalprune-lib"]


def test_a_notebook_installs_the_library_and_runs(wheel, stranger, tmp_path):
    python, env = stranger
    notebook = nbformat.read(ROOT / "notebooks" / f"{NOTEBOOK}.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source, changed = INSTALL.subn(rf"\1{wheel.as_uri()}", first.source)
    assert changed == 1
    notebook.cells.append(nbformat.v4.new_code_cell(WHERE))
    nbformat.write(notebook, tmp_path / "in.ipynb")
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [python, "-m", "papermill", tmp_path / "in.ipynb", tmp_path / "out.ipynb"]
    command += ["--kernel", "python3", "--language", "python", "--no-progress-bar"]
    run(*command, "--parameters", "profile", "quick", cwd=empty, env=env)

    last = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1]
    told = json.loads(last.outputs[0].text)
    for package in ("library", "studies"):
        assert Path(told[package]).is_relative_to(python.parents[1])
    assert told["torch"] == metadata.version("torch")
    assert told["rows"] > 10_000
    assert told["images"] > 1000
