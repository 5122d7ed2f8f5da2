"""Runs one notebook with papermill, in a process of its own, and reports on its standard output.

Called by `execute` as `python -m pipeline.worker JOB.json`. Each report is one line of JSON:
`cell` (a code cell begins), `done` (with seconds and peak memory) or `failed` (with the cell and
its last lines). A second thread samples the memory of the kernel's processes, keeps the time limit,
and ends everything if the build that started this process is gone.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import papermill
import psutil
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import strip_color
from traitlets.config import Config

SAMPLE = 0.1  # seconds between two looks at the memory
LAST_LINES = 15


class Reporter:
    """Sends the reports, and remembers which code cell runs."""

    def __init__(self) -> None:
        # Keep standard output for the reports: what a kernel prints by itself goes elsewhere.
        self._stream = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self._ended = False
        self.cell = 0

    def __call__(self, event: str, **details: object) -> None:
        with self._lock:
            if not self._ended:
                self._stream.write(json.dumps({"event": event, **details}) + "\n")
            self._ended = self._ended or event in ("done", "failed")


class Watch(threading.Thread):
    """Samples memory, keeps the limit, and does not outlive the build."""

    def __init__(self, report: Reporter, limit: float) -> None:
        super().__init__(daemon=True)
        self.report, self.limit, self.peak = report, limit, 0
        self.started, self.parent = time.monotonic(), os.getppid()

    def run(self) -> None:
        me = psutil.Process()
        while True:
            self.peak = max(self.peak, sum(map(_resident, me.children(recursive=True))))
            if os.getppid() != self.parent:
                self._end(me)
            if time.monotonic() - self.started > self.limit:
                self.report("failed", kind="limit", cell=self.report.cell, peak=self.peak)
                self._end(me)
            time.sleep(SAMPLE)

    @staticmethod
    def _end(me: psutil.Process) -> None:
        for child in me.children(recursive=True):
            child.kill()
        os._exit(1)


def _resident(process: psutil.Process) -> int:
    """Resident memory in bytes; 0 for a process that has just ended."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _reporting_engine(report: Reporter) -> type[NBClientEngine]:
    """Papermill's own engine, with a report as each code cell begins."""

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **options):
            numbers, begin = code_numbers(nb_man.nb), nb_man.cell_start

            def begin_and_report(cell, cell_index=None, **more):
                if cell_index in numbers:
                    report.cell = numbers[cell_index]
                    report("cell", cell=report.cell)
                begin(cell, cell_index=cell_index, **more)

            nb_man.cell_start = begin_and_report
            with tempfile.TemporaryDirectory() as folder:
                config = kernel_sockets(folder)
                return super().execute_managed_notebook(
                    nb_man, kernel_name, config=config, **options
                )

    return Engine


def kernel_sockets(folder: str) -> Config:
    """Talk to the kernel by files of `folder`: two kernels that start at once may take one port.

    The address of a socket has at most about 100 characters, so that `folder` must be a short path.
    """
    here = {} if os.name == "nt" else {"transport": "ipc", "ip": f"{folder}/kernel"}
    return Config(KernelManager=here)


def code_numbers(notebook) -> dict[int, int]:
    """Index of a cell in the executed notebook -> its number among the page's code cells."""
    ours = [
        index
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    return {index: number for number, index in enumerate(ours, start=1)}


def main(job_file: str) -> int:
    """Run the job; return the exit status."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    report = Reporter()
    watch = Watch(report, job["limit"])
    watch.start()
    papermill_engines.register("reporting", _reporting_engine(report))
    try:
        papermill.execute_notebook(
            job["input"],
            job["output"],
            parameters=job["parameters"],
            engine_name="reporting",
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=job["cwd"],
            request_save_on_cell_execute=False,
        )
    except papermill.PapermillExecutionError as error:
        lines = strip_color("\n".join(error.traceback)).splitlines()[-LAST_LINES:]
        lines = lines or [f"{error.ename}: {error.evalue}"]
        report("failed", kind="error", cell=report.cell, lines=lines, peak=watch.peak)
        return 1
    except DeadKernelError:
        report("failed", kind="died", cell=report.cell, peak=watch.peak)
        return 1
    report("done", seconds=time.monotonic() - watch.started, peak=watch.peak)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
