"""Runs one notebook in a worker process, keeps what it made, and explains what went wrong."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import psutil
from nbformat import NotebookNode

from .chapters import Chapter
from .layout import BuildError, Layout, write_whole
from .pairs import pair_text

HOUR = 3600.0
LIMITS = {"quick": 300.0, "full": 6 * HOUR, "paper": 24 * HOUR}  # for one whole notebook
RECORD = "causalprune_run"  # the metadata key under which an executed notebook keeps its Run


@dataclass(frozen=True)
class Run:
    """The record of one execution: times in seconds, memory in bytes, `finished` in UTC."""

    key: str
    profile: str
    parameters: dict
    seconds: float
    peak: int
    device: str
    data: str
    versions: dict
    finished: str


def kept_run(layout: Layout, name: str, profile: str) -> tuple[Run, NotebookNode] | None:
    """The last good run of a notebook and its outputs, or None."""
    path = layout.executed(name, profile)
    try:
        notebook = nbformat.read(path, as_version=4)
        return Run(**notebook.metadata[RECORD]), notebook
    except (OSError, ValueError, KeyError, TypeError, nbformat.ValidationError):
        return None


def environment(layout: Layout, profile: str, threads: int, scratch: str) -> dict[str, str]:
    """The environment of a worker: our library first, few threads, nothing personal."""
    env = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    paths = [str(layout.root), str(Path(__file__).parents[1]), env.get("PYTHONPATH", "")]
    env |= {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "IPYTHONDIR": f"{scratch}/ipython",
        "JUPYTER_RUNTIME_DIR": f"{scratch}/runtime",
        "PLOTLY_RENDERER": "plotly_mimetype",
        "PYTHONHASHSEED": "0",
        "TQDM_DISABLE": "1",
    }
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        env[f"{name}_NUM_THREADS"] = str(threads)
    if profile == "quick":
        env["CUDA_VISIBLE_DEVICES"] = ""  # the same device, hence the same numbers, for everybody
    return env


def run_notebook(
    layout: Layout,
    chapter: Chapter,
    *,
    parameters: dict,
    shared: dict,
    key: str,
    threads: int,
    limit: float,
    on_cell: Callable[[int], None] = lambda cell: None,
    on_start: Callable[[subprocess.Popen], None] = lambda process: None,
) -> NotebookNode:
    """Execute `chapter` in an empty folder and return the executed notebook with its `Run`.

    Raises
    ------
    BuildError
        If a cell fails, the kernel dies, or the notebook passes `limit` seconds.
    """
    profile = shared["profile"]
    layout.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layout.scratch, prefix=f"{chapter.name}-") as scratch:
        base = Path(scratch)
        (base / "cwd").mkdir()
        (base / "in.ipynb").write_text(pair_text(chapter), encoding="utf-8")
        job = {
            "input": str(base / "in.ipynb"),
            "output": str(base / "out.ipynb"),
            "cwd": str(base / "cwd"),
            "parameters": parameters,
            "limit": limit,
        }
        (base / "job.json").write_text(json.dumps(job), encoding="utf-8")
        started = time.monotonic()
        with (base / "log").open("w+") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.worker", str(base / "job.json")],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(layout, profile, threads, scratch),
                start_new_session=True,
            )
            try:
                on_start(process)
                last = _follow(process, on_cell)
            finally:
                kill_tree(process)
                process.wait()
                process.stdout.close()
            if last.get("event") != "done":
                log.seek(0)
                after = time.monotonic() - started
                raise BuildError(_explain(layout, chapter, profile, last, after, limit, log.read()))
        notebook = nbformat.read(base / "out.ipynb", as_version=4)
    run = Run(
        key=key,
        profile=profile,
        parameters=parameters,
        seconds=round(last["seconds"], 1),
        peak=last["peak"],
        device=shared["device"],
        data=shared["data"],
        versions=shared["versions"],
        finished=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    )
    notebook.metadata[RECORD] = asdict(run)
    return notebook


def keep(layout: Layout, name: str, notebook: NotebookNode) -> None:
    """Keep an executed notebook as the last good run of its profile, in one atomic step."""
    path = layout.executed(name, notebook.metadata[RECORD]["profile"])
    write_whole(path, nbformat.writes(notebook, indent=1) + "\n")


def kill_tree(process: subprocess.Popen) -> None:
    """End a worker and its kernel, if they still live."""
    if process.poll() is not None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        tree = psutil.Process(process.pid)
        for one in [*tree.children(recursive=True), tree]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def _follow(process: subprocess.Popen, on_cell: Callable[[int], None]) -> dict:
    """Read the worker's reports until it ends; return the last one."""
    last: dict = {}
    for line in process.stdout:
        with contextlib.suppress(ValueError):  # half a line: the worker was killed
            last = json.loads(line)
        if last.get("event") == "cell":
            on_cell(last["cell"])
    process.wait()
    return last


def _explain(
    layout: Layout,
    chapter: Chapter,
    profile: str,
    last: dict,
    after: float,
    limit: float,
    log: str,
) -> str:
    """The message for a notebook that did not finish: the notebook, the cell, its last lines."""
    number, memory = last.get("cell", 0), f"{last.get('peak', 0) / 2**30:.1f} GB"
    what = {
        "error": "a cell raised an error",
        "limit": f"the notebook ran past its limit of {limit:g} s (--limit changes it)",
        "died": f"the kernel died (out of memory? the last look saw {memory})",
    }.get(last.get("kind"), "the process that ran it ended unexpectedly")
    lines = last.get("lines") or ([] if last.get("kind") else log.splitlines()[-15:])
    message = [
        f"{layout.shown(chapter.source)} failed: {what}, in code cell {number} of "
        f"{len(chapter.code_cells)}, profile {profile!r}, after {after:.1f} s."
    ]
    if 1 <= number <= len(chapter.code_cells):
        source = chapter.code_cells[number - 1].source
        where = _line_of(chapter, source)
        message += ["", f"  The cell (from line {where} of {chapter.source.name}):"]
        message += [f"    {line}" for line in source.splitlines()]
    if lines:
        message += ["", "  Its last lines:", *(f"    {line}" for line in lines)]
    return "\n".join(message)


def _line_of(chapter: Chapter, source: str) -> int:
    """The line of the page on which a cell's code begins."""
    before = chapter.source.read_text(encoding="utf-8").partition(source)[0]
    return before.count("\n") + 1
