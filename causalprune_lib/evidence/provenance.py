"""Where a number came from: the code, versions and machine, for every row of `run_grid`."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch

from causalprune_lib import __version__

CODE_COLUMNS = ("causalprune_lib", "commit", "dirty")
MACHINE_COLUMNS = ("device", "threads", "cpu", "platform", "python", "torch", "numpy")
PACKAGE = Path(__file__).resolve().parent.parent
RESULTS = (":(top,exclude)*.csv*",)  # runs write them, packed and locked, into the checkout


def code_provenance() -> dict[str, str]:
    """Say which code is running: installed version, git commit, and whether it was changed since.

    `commit` is empty outside a git checkout (an installed wheel, say), unless the variable
    CAUSALPRUNE_COMMIT tells it. `dirty` is "True" if a file differs from that commit or is not in
    it, else "False", and empty where there is no commit. Outside of the library tables (CSV, also
    compressed) do not count: they are results, not what gave them.
    """
    told = os.environ.get("CAUSALPRUNE_COMMIT", "").strip()
    told_state = (told.removesuffix("-dirty"), str(told.endswith("-dirty")) if told else "")
    commit, dirty = _git_state(PACKAGE) or told_state
    return {"causalprune_lib": __version__, "commit": commit, "dirty": dirty}


def _git_state(folder: Path) -> tuple[str, str] | None:
    """Commit and dirty flag of the checkout that tracks `folder`; None where there is none."""
    tracked = _git(folder, "ls-files", "--error-unmatch", "evidence/provenance.py")
    commit = _git(folder, "rev-parse", "HEAD")
    if not tracked or not commit:  # an environment inside somebody else's checkout is untracked
        return None
    changes = [_git(folder, "status", "--porcelain", "--", *at) for at in ((":/", *RESULTS), ".")]
    return commit, str(changes != ["", ""])


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails or there is no git."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def machine_provenance() -> dict[str, str]:
    """Say which processor, operating system, Python and libraries are at work."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine() or "unknown"
    return {
        "cpu": f"{processor} ({os.cpu_count()} threads)",
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


@contextmanager
def device_used() -> Iterator[dict[str, str]]:
    """Yield a dictionary that holds, once the block has ended, the `device` the block worked on.

    A CUDA GPU counts if the block took memory on it. Apple's GPUs keep no such record.
    """
    seen = {"device": "cpu or mps" if torch.backends.mps.is_available() else "cpu"}
    before = dict.fromkeys(range(torch.cuda.device_count()), 0)
    if torch.cuda.is_initialized():
        for gpu in before:
            torch.cuda.reset_peak_memory_stats(gpu)
            before[gpu] = torch.cuda.memory_allocated(gpu)
    try:
        yield seen
    finally:
        if torch.cuda.is_initialized():
            grown = [gpu for gpu in before if torch.cuda.max_memory_allocated(gpu) > before[gpu]]
            seen["device"] = " + ".join(map(torch.cuda.get_device_name, grown)) or seen["device"]
