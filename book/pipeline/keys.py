"""The key of a notebook's outputs: equal keys, equal outputs; so only stale notebooks run again.

A key covers the code cells with their tags, the parameters, the library's source, the evidence
tables, the versions of the packages that compute, the profile, the device, and where the data come
from. Prose, captions and alternative texts are not part of it: editing them runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from .chapters import Chapter, tags_of
from .layout import Layout

SCHEME = 1  # raise it when the way notebooks are run changes what they would print

# What computes but is not named by pyproject.toml, which gives the rest.
ALWAYS = ("scipy", "plotly", "ipykernel", "ipython", "papermill", "nbclient")
GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
EXTRAS = ("data", "diagnostics")


def digest_of_files(paths: list[Path], base: Path) -> str:
    """One digest of the names and contents of `paths`."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.relative_to(base)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def versions(layout: Layout) -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    names = set(ALWAYS)
    project = layout.root / "pyproject.toml"
    if project.exists():
        table = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {})
        needs = list(table.get("dependencies", []))
        for extra in EXTRAS:
            needs += table.get("optional-dependencies", {}).get(extra, [])
        names |= {re.match(r"[\w.-]+", need).group() for need in needs}
    found = {"python": platform.python_version()}
    for name in sorted(names, key=str.lower):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def data_source() -> str:
    """Where the data come from, without the path: the mirror and its top folders, or the network.

    The contents are pinned by their hashes, so it matters only whether the data can be had.
    """
    mirror = os.environ.get("CAUSALPRUNE_DATA", "")
    if mirror and Path(mirror).is_dir():
        return "mirror: " + ", ".join(sorted(p.name for p in Path(mirror).iterdir() if p.is_dir()))
    return "network or cache"


@lru_cache(maxsize=1)
def gpu() -> str | None:
    """The name of the first CUDA device that torch can use, or None."""
    if sys.platform == "linux" and not any(map(os.path.exists, GPU_FILES)):
        return None  # no driver: spare the seconds that importing torch takes
    question = (
        "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    )
    answer = subprocess.run(
        [sys.executable, "-c", question], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def device(profile: str) -> str:
    """The device of a profile: `quick` is always the CPU; `full` takes a GPU if there is one."""
    return (gpu() or "CPU") if profile == "full" else "CPU"


def shared_part(layout: Layout, profile: str) -> dict:
    """What the keys of all notebooks have in common."""
    library = layout.root / "causalprune_lib"
    studies = layout.root / "book" / "causalprune_studies"
    return {
        "scheme": SCHEME,
        "profile": profile,
        "library": digest_of_files(list(library.rglob("*.py")), library),
        "studies": digest_of_files(
            [p for kind in ("*.py", "*.csv") for p in studies.rglob(kind)], studies
        ),
        "versions": versions(layout),
        "data": data_source(),
        "device": device(profile),
    }


def key_of(chapter: Chapter, parameters: dict, shared: dict) -> str:
    """The key of one notebook's outputs, as 64 hexadecimal digits."""
    cells = [[cell.source, sorted(tags_of(cell))] for cell in chapter.code_cells]
    parts = {"cells": cells, "parameters": parameters, **shared}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
