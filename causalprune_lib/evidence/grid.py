"""Running many specs over many seeds, so that no figure rests on one lucky run.

A spec is a frozen dataclass that says everything a run depends on but the seed. `run_grid` runs
each spec with each seed, a cell, and writes what it measured: one row per (spec, seed, metric),
with the code, versions and machine that gave it. Killed and started again, it does what is missing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import numbers
import random
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from joblib.parallel import BACKENDS, EXTERNAL_BACKENDS
from tqdm import tqdm

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.evidence.ledger import RESERVED, Ledger, Row, to_frame
from causalprune_lib.evidence.provenance import code_provenance, device_used, machine_provenance


def run_grid(
    specs: Iterable[Any],
    seeds: Iterable[int],
    *,
    out: str | Path | None,
    n_jobs: int = 1,
    backend: str | None = "loky",
    threads: int | None = None,
    progress: bool = True,
    retry_errors: bool = False,
) -> pd.DataFrame:
    """Run every spec with every seed and return one row per (spec, seed, metric).

    The file is replaced as a whole when a cell ends: no reader and no `kill -9` meets half of one.
    A cell is known by its class name, fields and seed: if you change what `run` does, change a
    field too (`version: int = 2`). The global generators of Python, NumPy and torch are seeded for
    each cell and put back, so dropout, say, does not depend on the order of cells.

    Parameters
    ----------
    specs : iterable of frozen dataclass instances
        Each has `run(seed)`, which returns a mapping from metric names to numbers, or yields
        `Point({metric: number}, **coordinates)`, one per place where something was measured.
        Fields hold numbers, strings, and tuples, mappings or dataclasses of them.
    out : path or None
        The CSV file to write and to resume from; compressed if its name ends in `.gz`. One that is
        damaged, of something else or held by another process is an error.
    n_jobs : int
        Workers at a time; -1 is one per processor.
    backend : str or None
        The joblib backend: "loky" (processes), "threading", any registered one, or None for that of
        `joblib.parallel_config`. Threads share the global generators: what draws from them differs.
    threads : int, optional
        torch threads in each cell; the last digits depend on them. None: 1 with several workers.
    progress, retry_errors : bool
        Show a bar with the number of failures; run again the cells whose result is an error.

    Returns
    -------
    DataFrame
        Columns: `spec` (class name), the fields, the coordinates, `seed`, `metric`, `value`,
        `error`, `seconds` (of the whole cell), `started` (UTC), machine, versions, `commit`,
        `dirty`, `cell`; in the order of `specs`, then `seeds`. A failed cell is one row with metric
        "error", value NaN, and the exception in `error`; a warning counts them.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class PruneCurve:
    ...     amounts: tuple[float, ...] = (0.5, 0.9)
    ...
    ...     def run(self, seed):
    ...         dense = 0.97 - 0.001 * seed  # here a network would be trained, once
    ...         for amount in self.amounts:
    ...             yield Point({"accuracy": dense - 0.1 * amount}, amount=amount)
    >>> frame = run_grid([PruneCurve()], seeds=range(3), out=None, progress=False)
    >>> frame[["amount", "seed", "metric", "value"]].head(2)
       amount  seed    metric  value
    0     0.5     0  accuracy   0.92
    1     0.9     0  accuracy   0.88
    """
    cells = _cells(specs, seeds)
    n_jobs = -1 if n_jobs == -1 else check_int("n_jobs", n_jobs)
    if backend is not None:
        check_choice("backend", backend, sorted({*BACKENDS, *EXTERNAL_BACKENDS} - {"sequential"}))
    if threads is not None or n_jobs != 1:
        threads = check_int("threads", 1 if threads is None else threads)
    ledger = Ledger(None if out is None else Path(out))

    def missing() -> list[Cell]:
        left = cells.keys() - {k for k in ledger.cells if not (retry_errors and ledger.failed(k))}
        return [cell for key, cell in cells.items() if key in left]

    code, failures = code_provenance(), 0
    with ledger if missing() else nullcontext():  # who only reads needs not be alone
        if todo := missing():
            ledger.save(order=cells)  # a forbidden folder shows itself before the work, not after
        done = len(cells) - len(todo)
        with (
            closing(_run(todo, n_jobs=n_jobs, backend=backend, threads=threads)) as finished,
            tqdm(total=len(cells), initial=done, unit="cell", disable=not progress) as bar,
        ):
            for rows in finished:
                key = rows[0]["cell"]
                ledger.record(key, [row | code for row in rows], order=cells)
                failures += ledger.failed(key)
                bar.set_postfix(failed=failures, refresh=False)
                bar.update()
    errors = [ledger.cells[key][0]["error"] for key in cells if ledger.failed(key)]
    if errors:
        warnings.warn(
            f"{len(errors)} of {len(cells)} cells hold an error instead of a result; the first: "
            f"{errors[0]}. retry_errors=True runs them again.",
            stacklevel=2,
        )
    rows = []
    for key, cell in cells.items():
        fields = dict.fromkeys(fields_of(cell.spec), "")  # and no empty column of other specs
        rows += [
            fields | {name: row[name] for name in row if row[name]} for row in ledger.cells[key]
        ]
    return to_frame(rows)


def _cells(specs: Iterable[Any], seeds: Iterable[int]) -> dict[str, Cell]:
    """All cells by key, in order."""
    for name, values in (("specs", specs), ("seeds", seeds)):
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"{name} must be a list or another iterable; got {values!r}.")
    specs, seeds = list(specs), list(seeds)
    if not specs or not seeds:
        raise ValueError(f"specs and seeds must not be empty; got {specs!r} and {seeds!r}.")
    cells: dict[str, Cell] = {}
    for cell in (Cell(spec, seed) for spec in specs for seed in seeds):
        if cell.key in cells:
            raise ValueError(f"specs times seeds must not repeat a cell; got {cell} twice.")
        cells[cell.key] = cell
    return cells


def _run(
    cells: list[Cell], *, n_jobs: int, backend: str | None, threads: int | None
) -> Iterator[list[Row]]:
    """Run the cells and yield the rows of each as it ends."""
    if not cells:
        return
    before = torch.get_num_threads()
    pool = Parallel(n_jobs=n_jobs, backend=backend, batch_size=1, return_as="generator_unordered")
    try:
        yield from pool(delayed(cell.run)(threads=threads) for cell in cells)
    finally:
        torch.set_num_threads(before)  # workers that are threads of this process share the setting


class Point:
    """Metrics (NaN: not estimable) at one place inside a cell; coordinates become columns."""

    def __init__(self, metrics: Mapping[str, float], /, **coordinates: str | float | bool) -> None:
        self.metrics, self.coordinates = metrics, coordinates

    def __repr__(self) -> str:
        where = "".join(f", {name}={value!r}" for name, value in self.coordinates.items())
        return f"Point({self.metrics!r}{where})"


@dataclass(frozen=True)
class Cell:
    """A spec, which must be frozen, have `run` and leave the names of the columns, and a seed."""

    spec: Any
    seed: int

    def __post_init__(self) -> None:
        spec, kind = self.spec, type(self.spec).__name__
        options = getattr(spec, "__dataclass_params__", None)
        if isinstance(spec, type) or options is None or not options.frozen:
            raise TypeError(
                f"each spec must be an instance under @dataclass(frozen=True); got {spec!r}."
            )
        if not callable(getattr(spec, "run", None)):
            raise TypeError(f"each spec must have a method run(seed); got {kind} without one.")
        taken = sorted(RESERVED & fields_of(spec).keys())
        if taken:
            raise TypeError(f"fields of {kind} must not be named {taken}: result columns use them.")
        object.__setattr__(self, "seed", check_int("seed", self.seed, minimum=0))

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name this cell in every file and every run."""
        text = json.dumps([type(self.spec).__name__, fields_of(self.spec), self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def run(self, *, threads: int | None = None) -> list[Row]:
        """Run the spec and return its rows, or one row named "error" if it fails."""
        started, begun = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), time.perf_counter()
        error = ""
        with _seeded(self.seed, threads), device_used() as seen:
            used = torch.get_num_threads()
            try:
                rows = list(self._rows(self.spec.run(self.seed)))
            except Exception as problem:  # recorded in full view: the grid goes on without it
                error = " ".join(f"{type(problem).__name__}: {problem}".split())[:500]
                rows = [{"metric": "error", "value": ""}]
        common = {
            "spec": type(self.spec).__name__,
            **{name: _text(value) for name, value in fields_of(self.spec).items()},
            "seed": str(self.seed),
            "error": error,
            "seconds": repr(round(time.perf_counter() - begun, 4)),
            "started": started,
            **seen,
            "threads": str(used),
            **machine_provenance(),
            "cell": self.key,
        }
        return [common | row for row in rows]

    def _rows(self, result: Any) -> Iterator[Row]:
        """Where, metric and value, as text, of everything that `run` returned."""
        found = [Point(result)] if isinstance(result, Mapping) else result
        if isinstance(found, str) or not hasattr(found, "__iter__"):
            raise TypeError(f"run must return a mapping or an iterable of Point; got {found!r}")
        taken = RESERVED | fields_of(self.spec).keys()
        seen: set[tuple] = set()
        for point in found:
            if not isinstance(point, Point) or not isinstance(point.metrics, Mapping):
                raise TypeError(f"run must give Point({{metric: number}}, ...); got {point!r}")
            clash = sorted(taken & point.coordinates.keys())
            if clash:
                raise ValueError(f"coordinates must not be named {clash}: columns use these names")
            where = {name: _text(canonical(at)) for name, at in point.coordinates.items()}
            for metric, value in point.metrics.items():
                if not isinstance(metric, str) or metric in ("", "error"):
                    raise TypeError(f'metrics must be named, and not "error"; got {metric!r}')
                if isinstance(value, torch.Tensor) and value.numel() == 1:
                    value = value.item()
                if not isinstance(value, numbers.Real | np.bool_):
                    raise TypeError(f"metric {metric!r} must be a number; got {value!r}")
                place = (metric, *sorted(where.items()))
                if place in seen:
                    raise ValueError(f"run gave metric {metric!r} twice at {where or 'one cell'}")
                seen.add(place)
                text = "" if value != value else repr(float(value))  # reads back to the last bit
                yield {**where, "metric": metric, "value": text}
        if not seen:
            raise ValueError("run must give at least one metric; got none")


@contextmanager
def _seeded(seed: int, threads: int | None) -> Iterator[None]:
    """Seed the global generators and set torch's threads; put both back at the end."""
    plain, array, before = random.getstate(), np.random.get_state(), torch.get_num_threads()
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=gpus):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        torch.set_num_threads(before if threads is None else threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            random.setstate(plain)
            np.random.set_state(array)


def fields_of(spec: Any) -> dict[str, Any]:
    """Names and canonical values of the fields of a dataclass, in their order."""
    values = {}
    for field in dataclasses.fields(spec):
        try:
            values[field.name] = canonical(getattr(spec, field.name))
        except TypeError as problem:
            raise TypeError(f"field {field.name!r} of {type(spec).__name__} {problem}.") from None
    return values


def canonical(value: Any) -> Any:
    """A field's value in JSON's own kinds, so that equal values give equal text: 1 and 1.0, say."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"__class__": type(value).__name__, **fields_of(value)}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"must be made of numbers, strings and tuples of them; got {value!r}")


def _text(value: Any) -> str:
    """A canonical value as text; empty for None and NaN."""
    if value is None or value != value:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
