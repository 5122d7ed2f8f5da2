"""Where a number came from: the code, the versions and the machine that produced it.

A figure that nobody can trace is an anecdote. Every row that `run_grid` writes carries the fields
collected here, so that a reader can tell which code gave a number, with what, on what machine.
"""

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


def code_provenance() -> dict[str, str]:
    """Say which code is running: installed version, git commit, and whether it was changed since.

    `commit` is empty outside a git checkout (an installed wheel, say); a machine that runs a copy
    without its history can be told the commit by the variable CAUSALPRUNE_COMMIT. `dirty` is
    "True" if any file but a CSV differs from that commit or is not in it: results are written to
    CSV files inside the checkout, and they must not make their own provenance look unclean.

    Returns
    -------
    dict
        `causalprune_lib` (version), `commit` (40 hexadecimal digits or ""), `dirty` ("True",
        "False", or "" where there is no commit).

    Examples
    --------
    >>> sorted(code_provenance())
    ['causalprune_lib', 'commit', 'dirty']
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
    changes = _git(folder, "status", "--porcelain", "--", ":/", ":(top,exclude)*.csv")
    return commit, str(changes is None or changes != "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def machine_provenance() -> dict[str, str]:
    """Say which machine and versions are at work: processor, operating system, Python, libraries.

    Examples
    --------
    >>> machine_provenance()["torch"] == torch.__version__
    True
    """
    return {
        "cpu": f"{_processor()} ({os.cpu_count()} threads)",
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else (platform.processor() or platform.machine() or "unknown")


@contextmanager
def device_used() -> Iterator[dict[str, str]]:
    """Yield a dictionary that holds, once the block has ended, the `device` the block worked on.

    A CUDA GPU counts as used if the block took memory on it; a machine may have one and not use
    it. Apple's GPUs keep no such record, so a machine with one says "cpu or mps".

    Examples
    --------
    >>> with device_used() as seen:
    ...     _ = torch.ones(3).sum()
    >>> "cpu" in seen["device"]
    True
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
        used = [
            torch.cuda.get_device_name(gpu)
            for gpu, held in before.items()
            if torch.cuda.is_initialized() and torch.cuda.max_memory_allocated(gpu) > held
        ]
        seen["device"] = " + ".join(used) or seen["device"]
