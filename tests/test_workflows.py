"""The workflows on GitHub, the script of continuous integration, and the targets they call."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = {path.name: path for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
FLOWS = {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
TARGETS = [
    "help",
    "setup",
    "book",
    "notebooks",
    "pairs",
    "test",
    "portable",
    "lint",
    "bench",
    "serve",
    "clean",
    "distclean",
    "retarget",
]


def triggers(name: str) -> dict:
    """The `on:` of a workflow; YAML 1.1 reads that word as true."""
    return FLOWS[name][True]


def steps(name: str) -> list[dict]:
    return [step for job in FLOWS[name]["jobs"].values() for step in job["steps"]]


def test_the_three_workflows_are_there():
    assert set(FLOWS) == {"ci.yml", "gpu.yml", "publish.yml"}


@pytest.mark.parametrize("name", FLOWS)
def test_workflows_are_bounded_and_may_only_read(name):
    flow = FLOWS[name]
    assert flow["permissions"] == {"contents": "read"}
    assert flow["concurrency"]["group"]
    for job_name, job in flow["jobs"].items():
        assert job["timeout-minutes"] > 0, job_name
        more = {"pages": "write", "id-token": "write"} if job_name == "deploy" else None
        assert job.get("permissions") == more, job_name


@pytest.mark.parametrize("name", FLOWS)
def test_actions_are_pinned_by_major_version(name):
    for step in steps(name):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]), step["uses"]


@pytest.mark.parametrize("name", FLOWS)
def test_workflows_call_targets_that_exist(name):
    called = re.findall(r"\bmake ([a-z]+)", "\n".join(step.get("run", "") for step in steps(name)))
    assert called
    assert set(called) <= set(TARGETS)


def test_ci_lints_tests_on_three_pythons_and_builds_the_quick_book():
    assert set(triggers("ci.yml")) >= {"push", "pull_request"}
    jobs = FLOWS["ci.yml"]["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    runs = {name: "\n".join(s.get("run", "") for s in job["steps"]) for name, job in jobs.items()}
    assert "ruff check" in runs["lint"]
    assert "ruff format --check" in runs["lint"]
    assert "make test" in runs["tests"]
    assert re.search(r"^PYTHONPATH=tests/offline make book$", runs["book"], re.MULTILINE)
    assert jobs["book"]["env"]["CAUSALPRUNE_REQUIRE_BROWSER"] == "1"


def test_publish_deploys_the_website_that_was_built():
    jobs = FLOWS["publish.yml"]["jobs"]
    assert jobs["deploy"]["needs"] == "build"
    upload = next(s for s in jobs["build"]["steps"] if "upload-pages-artifact" in s.get("uses", ""))
    assert upload["with"]["path"] == "_build/html/"


def test_the_gpu_run_is_nightly_by_hand_and_keeps_what_it_made():
    assert {"schedule", "workflow_dispatch"} <= set(triggers("gpu.yml"))
    (job,) = FLOWS["gpu.yml"]["jobs"].values()
    assert "vars.GPU_RUNNER" in job["runs-on"]
    keep = next(s for s in job["steps"] if "upload-artifact" in s.get("uses", ""))
    assert "always()" in keep["if"]
    assert keep["with"]["path"] == "_build/gpu/*.ipynb"


STAND_IN = """#!/bin/bash
echo "$@" >> ../calls
[ ! -e ../busy ] || { echo "two at a time" >> ../calls; exit 9; }
touch ../busy; sleep 0.05; echo "{}" > "$2"; rm ../busy
case "$1" in *02*) exit 1;; esac
"""


def run_all_notebooks(folder: Path, names: list[str]) -> subprocess.CompletedProcess:
    """Run the workflow's own script, as GitHub would, with a stand-in for papermill."""
    work = folder / "work"
    (work / "notebooks").mkdir(parents=True)
    (work / ".venv" / "bin").mkdir(parents=True)
    for name in names:
        (work / "notebooks" / f"{name}.ipynb").write_text("{}")
    papermill = work / ".venv" / "bin" / "papermill"
    papermill.write_text(STAND_IN)
    papermill.chmod(papermill.stat().st_mode | stat.S_IXUSR)
    script = next(s["run"] for s in steps("gpu.yml") if "papermill" in s.get("run", ""))
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=work,
        env={**os.environ, "GITHUB_STEP_SUMMARY": str(folder / "summary")},
        capture_output=True,
        text=True,
    )


def test_the_gpu_run_runs_every_notebook_though_one_fails(tmp_path):
    names = ["01-first", "02-second", "03 third", "index"]
    run = run_all_notebooks(tmp_path, names)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [re.search(r"notebooks/(.*?)\.ipynb", call)[1] for call in calls] == names
    assert all("--parameters profile paper" in call for call in calls)
    assert sorted(p.stem for p in (tmp_path / "work/_build/gpu").iterdir()) == names
    assert run.returncode == 1
    assert "::error::failed: 02-second" in run.stdout
    assert (tmp_path / "summary").read_text().count("passed") == 3


def test_the_gpu_run_passes_when_all_notebooks_pass(tmp_path):
    assert run_all_notebooks(tmp_path, ["01-first", "index"]).returncode == 0


def test_make_alone_lists_every_target():
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make ([a-z]+) +\S", shown, re.MULTILINE) == TARGETS


def test_an_old_python_is_told_what_is_needed(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")  # what asking a Python 3.9 for its version gives
    old.chmod(0o755)
    command = ["make", "setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0
    assert f"Python 3.11 or newer is needed; tried: {old}." in run.stderr
    assert not (tmp_path / "venv").exists()


def test_a_missing_venv_module_is_told_how_to_get_it(tmp_path):
    bare = tmp_path / "python3"
    bare.write_text(
        '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; *print*) echo 3.12;; esac\nexit 0\n'
    )
    bare.chmod(0o755)
    command = ["make", "setup", f"PYTHON={bare}", f"VENV={tmp_path / 'venv'}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0
    assert "sudo apt install python3-venv    (or python3.12-venv)" in run.stderr


def test_the_script_of_continuous_integration_builds_before_it_tests():
    path = ROOT / ".ci" / "run"
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text(encoding="utf-8")
    made = re.findall(r"^timed .* make ([a-z]+)", text, re.MULTILINE)
    assert made == ["setup", "lint", "book", "test", "portable"]
    assert "PYTHONPATH=tests/offline make book" in text
    for variable in ("DATA", "REQUIRE_DATA", "REQUIRE_BROWSER"):
        assert f"CAUSALPRUNE_{variable}=" in text
