"""The key of a notebook's outputs: equal keys, equal outputs; so only stale notebooks run again.

A key covers the code cells with their tags, the parameters, the library, what all studies share
(their top-level files, `paper_networks` and the published tables), the versions of the packages
that compute, the profile, the device, and where the data come from. Of the chapters' studies it
covers the page's own folder, the files of others that this folder or the page imports, and the rows
that it reads: a figure of chapter 12 is no business of chapter 3. Prose, captions and alternative
texts are not part of it either: editing them runs nothing.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from .chapters import Chapter, tags_of
from .layout import Layout

SCHEME = 1  # raise it when the way notebooks are run changes what they would print
STUDIES = "causalprune_studies"
CHAPTERS = "ch[0-9][0-9]_*"  # a chapter's folder of studies
EVERY_CHAPTER = "all_verdicts"  # a page that calls this reads them all
MAGIC = re.compile(r"^(\s*)[%!].*", re.MULTILINE)  # lines of a cell that are not Python

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


def data_source(profile: str) -> str:
    """Where the data come from, without a path: the library, the mirror's folders, or the network.

    The contents are pinned by their hashes, so it matters only whether the data can be had; and
    `quick` needs none but those that come with the library.
    """
    if profile == "quick":
        return "bundled"
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
    """The device of a profile: `quick` is always the CPU; the others take a GPU if there is one."""
    return "CPU" if profile == "quick" else gpu() or "CPU"


def shared_part(layout: Layout, profile: str) -> dict:
    """What the keys of all notebooks have in common."""
    library, studies = layout.root / "causalprune_lib", layout.book / STUDIES
    tables = [*library.rglob("*.csv.gz"), *library.rglob("*.csv")]
    shared = [*studies.glob("*.py"), *studies.glob("paper_networks/**/*.py")]
    return {
        "scheme": SCHEME,
        "profile": profile,
        "library": digest_of_files([*library.rglob("*.py"), *tables], library),
        "studies": digest_of_files([*shared, *studies.glob("rows/published/*.csv")], studies),
        "versions": versions(layout),
        "data": data_source(profile),
        "device": device(profile),
    }


def own_part(layout: Layout, chapter: Chapter) -> str:
    """A digest of the chapters' files and the measured rows that one page's outputs rest on."""
    studies = layout.book / STUDIES
    rows = {
        path.name.partition(".")[0]: path for path in studies.glob("rows/measured/[!.]*.csv.gz")
    }
    says = {path.parent: _constants(path) for path in studies.glob(f"{CHAPTERS}/__init__.py")}
    cells = [MAGIC.sub(r"\1pass", cell.source) for cell in chapter.code_cells]
    text = "\n".join(cells)
    if EVERY_CHAPTER in text:
        files = {path for folder in says for path in folder.rglob("*.py")}
        return digest_of_files([*files, *rows.values()], studies)
    files, read = set(), {name for name in rows if f'"{name}"' in text}
    for folder, constants in says.items():
        if constants.get("PAGE") == chapter.name:
            files |= set(folder.rglob("*.py"))
            read |= {*constants.get("STUDIES", ()), *constants.get("VERDICTS", ())}
        for name, address in constants.get("STUDIES", {}).items():
            if f'studies_of("{name}"' in text:
                files.add(folder / f"{address.partition(':')[0]}.py")
    new = files.union(*(_imported(cell, studies, studies) for cell in cells))
    while new:
        files |= new
        sources = [(path.read_text(encoding="utf-8"), path.parent) for path in new]
        new = set().union(*(_imported(text, folder, studies) for text, folder in sources)) - files
    return digest_of_files([*files, *(rows[name] for name in read & rows.keys())], studies)


def _constants(path: Path) -> dict:
    """What a chapter's `__init__.py` says of it: PAGE, STUDIES, VERDICTS."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
    }


def _imported(source: str, folder: Path, studies: Path) -> set[Path]:
    """The files of chapters that code in `folder` imports; the shared ones are in all keys."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # of a cell that cannot run either
        return set()
    package, names = ".".join((STUDIES, *folder.relative_to(studies).parts)), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names |= {f"{module}.{alias.name}" for alias in node.names}
    found = set()
    for top, *parts in (name.split(".") for name in names):
        for n in range(1, len(parts) + 1):  # the packages on the way run too
            place = studies.joinpath(*parts[:n])
            if top == STUDIES and fnmatch(parts[0], CHAPTERS):
                found |= {place.with_suffix(".py"), place / "__init__.py"}
    return {path for path in found if path.exists()}


def key_of(layout: Layout, chapter: Chapter, parameters: dict, shared: dict) -> str:
    """The key of one notebook's outputs, as 64 hexadecimal digits."""
    cells = [[cell.source, sorted(tags_of(cell))] for cell in chapter.code_cells]
    own = own_part(layout, chapter)
    parts = {"cells": cells, "parameters": parameters, "own": own, **shared}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
