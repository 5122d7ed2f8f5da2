"""Who does the work of a campaign: processes or threads here, a Dask cluster, one GPU for each.

Joblib hands out the cells. A cell's rows come back whole or not at all, and are kept by the process
that asked for them; so a worker that dies costs its cell, and no row.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from joblib import parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import ParallelBackendBase

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.evidence.provenance import code_provenance

BACKENDS = ("loky", "threading", "dask")
PATIENCE = 10  # seconds for a scheduler to answer, and for its first worker
SHARES = 8  # workers that one card serves at most
POWERCAP = Path("/sys/class/powercap")
_claimed: list[FileLock] = []  # held until this process ends


class MissingPackageError(ImportError):
    """The package that a backend needs is not installed."""


class SchedulerUnreachableError(RuntimeError):
    """No Dask scheduler answers at the address, or it has no workers."""


class UnfitWorkersError(RuntimeError):
    """Workers run other code than the process that asks, or several cells in one process."""


class WorkerDiedError(RuntimeError):
    """A worker died, and the cells that it had are not done."""


class NoFreeCardError(RuntimeError):
    """Every card already serves as many workers as it may."""


@contextmanager
def pool(
    backend: str, *, jobs: int | None = None, scheduler: str | None = None, on: str = "cpu"
) -> Iterator[int]:
    """Let joblib use these workers until the block ends; yield how many `run_grid` shall ask for.

    Parameters
    ----------
    backend : {"loky", "threading", "dask"}
        Processes, threads of this one, or the workers of a Dask cluster.
    jobs : int, optional
        Cells at a time. By default one, on several GPUs one for each; a cluster has its own number.
    scheduler : str, optional
        The address of a cluster, "tcp://host:8786"; without it, Dask starts `jobs` workers here.
    on : str
        The device of the specs. Each process that computes on "cuda" gets one card for itself, as
        long as there are cards.
    """
    check_choice("backend", backend, BACKENDS)
    if scheduler is not None and backend != "dask":
        raise ValueError(f"scheduler must be left out unless backend is dask; got {backend!r}.")
    cards = cards_here() if on == "cuda" else ()
    if jobs is None:
        jobs = 1 if backend == "threading" else max(len(cards), 1)
    check_int("jobs", jobs)
    with _named_death():
        if backend == "dask":
            with _cluster(scheduler, jobs, on) as client, parallel_config(DaskWorkers(client)):
                yield -1  # all there are
        elif backend == "loky" and len(cards) > 1:
            with parallel_config("loky", initializer=claim_card, initargs=(cards,)):
                yield max(jobs, 2)  # one would be this process, which holds no card
        else:
            with parallel_config(backend):
                yield jobs


class DaskWorkers(ParallelBackendBase):
    """The workers of a Dask cluster, for joblib.

    Joblib's own backend for Dask waits forever for a cell that the scheduler gave up.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(**options)
        self._client, self._at_work = client, set()

    def configure(self, n_jobs: int = -1, parallel: Any = None, **_: Any) -> int:
        self.parallel = parallel
        return self.effective_n_jobs(n_jobs)

    def effective_n_jobs(self, n_jobs: int) -> int:
        return max(len(self._client.nthreads()), 2)  # for 1, joblib would do the work here

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None]) -> Any:
        future = self._client.submit(func, pure=False)
        self._at_work.add(future)
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        """The result of a future that is done; if it failed, its error is raised."""
        self._at_work.discard(out)
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        self._client.cancel(list(self._at_work))
        self._at_work.clear()


@contextmanager
def _named_death() -> Iterator[None]:
    """Call a worker's death, and a scheduler's, by its name."""
    try:
        yield
    except Exception as error:  # Dask's own classes are only there where Dask is
        kind, message = type(error).__name__, str(error).partition("\n")[0]
        after = "Finished cells are in the file, and the same command does the rest."
        if isinstance(error, TerminatedWorkerError) or kind == "KilledWorker":
            why = f"a worker died, by lack of memory perhaps ({message}). {after}"
            raise WorkerDiedError(why) from error
        if kind in ("CancelledError", "FutureCancelledError"):
            why = f"the scheduler was lost in mid-run. {after}"
            raise SchedulerUnreachableError(why) from error
        raise


@contextmanager
def _cluster(scheduler: str | None, jobs: int, on: str) -> Iterator[Any]:
    """A client of the cluster, whose workers are fit for measurements."""
    try:
        from distributed import Client, LocalCluster
        from distributed.diagnostics.plugin import WorkerPlugin
    except ImportError as error:
        raise MissingPackageError(
            "backend 'dask' needs the package distributed: pip install 'causalprune-lib[cluster]'"
        ) from error

    class OneCard(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            claim_card(cards_here())

    options = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": ":0"}
    try:
        client = Client(
            LocalCluster(**options) if scheduler is None else scheduler, timeout=PATIENCE
        )
        client.wait_for_workers(1, timeout=PATIENCE)
    except (OSError, ValueError, TimeoutError) as error:
        raise SchedulerUnreachableError(
            f"scheduler {scheduler!r} must be the address of a running scheduler with a worker; "
            f"after {PATIENCE} seconds: {error}"
        ) from error
    with client:
        try:
            check_fit(client.nthreads(), client.run(code_provenance))
            if on == "cuda":
                client.register_plugin(OneCard())
            yield client
        finally:
            if scheduler is None:
                client.cluster.close()


def check_fit(threads: dict[str, int], code: dict[str, dict[str, str]]) -> None:
    """Raise `UnfitWorkersError` unless every worker does one cell at a time, with our code."""
    ours = code_provenance()
    for address, n in threads.items():
        if n != 1:
            raise UnfitWorkersError(
                f"worker {address} must have one thread, as the generators of random numbers belong"
                f" to a process; got {n}. Start it with --nthreads 1, and several with --nworkers."
            )
        if code[address] != ours:
            raise UnfitWorkersError(f"worker {address} must run {ours}; it runs {code[address]}.")


def cards_here() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(told.split(",")) if told else tuple(map(str, range(torch.cuda.device_count())))


def claim_card(cards: Sequence[str]) -> None:
    """Make one of the cards the only one that this process sees, until it ends.

    A free card if there is one, else the one with the fewest workers. The claims of all processes
    of this machine are locks in its folder for temporary files; a killed process holds none.
    """
    folder = Path(tempfile.gettempdir()) / "causalprune-cards"
    folder.mkdir(exist_ok=True)
    for share in range(SHARES):
        for card in cards:
            lock = FileLock(folder / f"{card.replace('/', '-')}.{share}.lock", thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            _claimed.append(lock)
            os.environ["CUDA_VISIBLE_DEVICES"] = card
            return
    raise NoFreeCardError(f"cards {tuple(cards)} serve {SHARES} workers each; start fewer.")


class EnergyMeter:
    """Joules that the processors of this machine use while the block runs, by all its programs.

    Linux counts them (RAPL) where the processor tells and the reader may. Elsewhere `joules` is
    None. The counters run over after some minutes under load, so they are read every few seconds.

    Examples
    --------
    >>> with EnergyMeter() as meter:
    ...     work = sum(range(1000))
    >>> meter.joules is None or meter.joules >= 0
    True
    """

    def __init__(self, folder: Path = POWERCAP, *, every: float = 5.0) -> None:
        self.joules: float | None = None
        self._every, self._end = every, threading.Event()
        self._packages = sorted(folder.glob("intel-rapl:[0-9]"))  # what AMD processors have, too

    def __enter__(self) -> EnergyMeter:
        try:
            self._last = self._counts()
        except OSError:
            self._packages = []
        if self._packages:
            self.joules = 0.0
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._packages:
            self._end.set()
            self._reader.join()

    def _read(self) -> None:
        done = False
        while not done:
            done = self._end.wait(self._every)
            now = self._counts()
            for package, before, after in zip(self._packages, self._last, now, strict=True):
                if after < before:  # it ran over
                    after += int((package / "max_energy_range_uj").read_text())
                self.joules += (after - before) / 1e6
            self._last = now

    def _counts(self) -> list[int]:
        return [int((package / "energy_uj").read_text()) for package in self._packages]

    def __str__(self) -> str:
        if self.joules is None:
            return "energy: not readable on this machine"
        return f"energy: {self.joules / 3.6e6:.3g} kWh of this machine's processors"
