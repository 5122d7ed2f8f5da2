"""All notebooks: which are stale, several at a time, a progress bar, and the seconds of each."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from tqdm import tqdm

from .chapters import Chapter
from .execute import LIMITS, RECORD, keep, kept_run, kill_tree, run_notebook
from .keys import device, key_of, shared_part
from .layout import BuildError, Layout

SLOW = 60.0  # seconds: a quick notebook should take less, or nobody would call it quick


@dataclass(frozen=True)
class Plan:
    """How to run: the profile, extra parameters, workers, seconds per notebook."""

    profile: str = "quick"
    parameters: dict = field(default_factory=dict)
    jobs: int | None = None
    limit: float | None = None
    force: bool = False
    keep_going: bool = False

    @property
    def workers(self) -> int:
        """Notebooks at a time: two on the CPU, one on a GPU, unless told otherwise."""
        default = 1 if device(self.profile) != "CPU" else min(2, os.cpu_count() or 1)
        return self.jobs or default

    @property
    def threads(self) -> int:
        """Threads for one notebook: quick takes one, so that its numbers do not depend on cores."""
        return 1 if self.profile == "quick" else max(1, (os.cpu_count() or 1) // self.workers)

    def arguments(self) -> dict:
        """The parameters that papermill passes to every notebook."""
        return {"profile": self.profile, **self.parameters}


def current_keys(layout: Layout, notebooks: list[Chapter], plan: Plan) -> dict[str, str]:
    """Notebook -> the key that its outputs must have; checks the parameters on the way."""
    shared = shared_part(layout, plan.profile)
    for chapter in notebooks:
        chapter.check_parameters(plan.arguments())
    return {c.name: key_of(layout, c, plan.arguments(), shared) for c in notebooks}


def stale(layout: Layout, notebooks: list[Chapter], plan: Plan) -> list[Chapter]:
    """The notebooks whose kept outputs are missing or of another key."""
    keys = current_keys(layout, notebooks, plan)
    found = {c.name: kept_run(layout, c.name, plan.profile) for c in notebooks}
    return [c for c in notebooks if not found[c.name] or found[c.name][0].key != keys[c.name]]


def run_all(layout: Layout, notebooks: list[Chapter], plan: Plan) -> None:
    """Run what is stale (all of it with `force`); raise `BuildError` at the first failure.

    With `keep_going` the other notebooks run to their end before the error is raised.
    """
    todo = notebooks if plan.force else stale(layout, notebooks, plan)
    fresh = len(notebooks) - len(todo)
    if fresh:
        print(f"{fresh} of {len(notebooks)} notebooks unchanged, not run again")
    if todo:
        _Crew(layout, todo, plan).run()


class _Crew:
    """The workers of one build."""

    def __init__(self, layout: Layout, todo: list[Chapter], plan: Plan) -> None:
        self.layout, self.todo, self.plan = layout, todo, plan
        self.shared = shared_part(layout, plan.profile)
        self.keys = current_keys(layout, todo, plan)
        self.limit = plan.limit or LIMITS[plan.profile]
        self.alive: set[subprocess.Popen] = set()
        self.stopped, self.lock = False, threading.Lock()

    def run(self) -> None:
        """Run all of them, or stop at the first that fails."""
        total, workers = sum(len(c.code_cells) for c in self.todo), self.plan.workers
        some = f"{len(self.todo)} notebook{'s' if len(self.todo) > 1 else ''}"
        print(f"running {some}, {workers} at a time, {self.shared['device']}", flush=True)
        failures: list[BuildError] = []
        with (
            tqdm(total=total, unit="cell", disable=None, leave=False) as self.bar,
            ThreadPoolExecutor(workers) as pool,
        ):
            waiting = {pool.submit(self._one, chapter) for chapter in self.todo}
            try:
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    failures += [e for e in map(_error_of, done) if e]
                    if failures and not self.plan.keep_going:
                        break
            finally:
                self._stop(waiting)
        if failures:
            raise BuildError("\n\n".join(map(str, failures)))

    def _one(self, chapter: Chapter) -> None:
        """Run one notebook and keep its outputs."""
        self._say(f"  {chapter.name} ...")
        seen = 0

        def tick(cell: int) -> None:
            nonlocal seen
            self.bar.set_postfix_str(f"{chapter.name} {cell}/{len(chapter.code_cells)}")
            self.bar.update(cell - 1 - seen)
            seen = cell - 1

        notebook = run_notebook(
            self.layout,
            chapter,
            parameters=self.plan.arguments(),
            shared=self.shared,
            key=self.keys[chapter.name],
            threads=self.plan.threads,
            limit=self.limit,
            on_cell=tick,
            on_start=self._started,
        )
        keep(self.layout, chapter.name, notebook)
        tick(len(chapter.code_cells) + 1)
        run = notebook.metadata[RECORD]
        self._say(f"  {chapter.name}: {run['seconds']} s, {run['peak'] / 2**20:.0f} MB at its peak")
        if self.plan.profile == "quick" and run["seconds"] > SLOW:
            self._say(f"  note: {chapter.name} should take less than {SLOW:g} s in profile 'quick'")

    def _started(self, process: subprocess.Popen) -> None:
        with self.lock:
            self.alive.add(process)
            late = self.stopped
        if late:
            kill_tree(process)

    def _stop(self, waiting: set[Future]) -> None:
        """Start nothing more and end what still runs; nothing to do after a whole run."""
        for future in waiting:
            future.cancel()
        with self.lock:
            self.stopped, alive = bool(waiting), list(self.alive)
        for process in alive if waiting else []:
            kill_tree(process)

    def _say(self, line: str) -> None:
        with self.lock:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()


def _error_of(future: Future) -> BuildError | None:
    """What stopped a notebook; errors of the machinery itself are raised as they are."""
    error = future.exception()
    if error is not None and not isinstance(error, BuildError):
        raise error
    return error
