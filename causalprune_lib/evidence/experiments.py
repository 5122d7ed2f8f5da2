"""Running many specs over many seeds, so that no figure rests on one lucky run.

A spec is a frozen dataclass that says everything a run depends on but the seed. `run_grid` runs
each spec with each seed and writes what it measured, one row per (spec, seed, metric), with the
code, versions and machine that gave it. Killed and started again, it does only what is missing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed
from joblib.parallel import BACKENDS, EXTERNAL_BACKENDS
from tqdm import tqdm

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.evidence.cells import Cell, Point, fields_of
from causalprune_lib.evidence.ledger import Ledger, Row, to_frame
from causalprune_lib.evidence.provenance import code_provenance

__all__ = ["Point", "run_grid"]


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

    Parameters
    ----------
    specs : iterable of frozen dataclass instances
        Each has `run(seed)`, which returns a mapping from metric names to numbers, or yields
        `Point({metric: number}, **coordinates)`, one per place where something was measured.
        Fields hold numbers, strings, and tuples, mappings or dataclasses of them.
    seeds : iterable of int
        The repetitions. Seeds are the rows that intervals are computed over.
    out : path or None
        The CSV file to write and to resume from. None keeps the rows in memory only.
    n_jobs : int
        Workers at a time; -1 is one per processor.
    backend : str or None
        The joblib backend: "loky" (processes), "threading", or any registered one, such as
        "dask" on a cluster. None takes the one set by `joblib.parallel_config`.
    threads : int, optional
        torch threads inside each cell. None means 1 with several workers, unchanged with one.
        Sums depend on it in the last digits: name it where `n_jobs` must not matter to the bit.
    progress : bool
        Show a bar with the number of failures.
    retry_errors : bool
        Run again the cells whose recorded result is an error.

    Returns
    -------
    DataFrame
        Columns: `spec` (class name), the fields, the coordinates, `seed`, `metric`, `value`,
        `error`, `seconds` (of the whole cell), `started` (UTC), `device`, `threads`, `cpu`,
        `platform`, `python`, `torch`, `numpy`, `causalprune_lib`, `commit`, `dirty`, `cell`. Rows
        stand in the order of `specs`, then `seeds`. A failed cell is one row with metric "error",
        value NaN, and the exception in `error`; a warning counts them.

    Raises
    ------
    TypeError
        If a spec is not a frozen dataclass with `run`, or a field has no stable text.
    ValueError
        If a cell is given twice, or `out` is a file that `run_grid` did not write or that is
        damaged. Such a file is never overwritten.

    Notes
    -----
    The file is replaced as a whole when a cell ends, so a reader or a `kill -9` never meets half
    of one. A cell is known by the name of its class, its fields and its seed: if you change what
    `run` does, change a field too (`version: int = 2`), or choose another file. A new field makes
    new cells, even with a default.

    Examples
    --------
    One cell trains once and is evaluated at many places: yield a `Point` for each.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class PruneCurve:
    ...     dataset: str = "digits"
    ...     amounts: tuple[float, ...] = (0.5, 0.9)
    ...     profile: str = "quick"
    ...
    ...     def run(self, seed):
    ...         dense = 0.97 - 0.001 * seed  # here a network would be trained, once
    ...         for method, harm in {"magnitude": 0.1, "random": 0.5}.items():
    ...             for amount in self.amounts:
    ...                 accuracy = dense - harm * amount
    ...                 yield Point({"accuracy": accuracy}, method=method, amount=amount)
    >>> frame = run_grid([PruneCurve()], seeds=range(3), out=None, progress=False)
    >>> len(frame)  # 3 seeds, 2 methods, 2 amounts
    12
    >>> frame[["method", "amount", "seed", "metric", "value"]].head(2)
          method  amount  seed    metric  value
    0  magnitude     0.5     0  accuracy   0.92
    1  magnitude     0.9     0  accuracy   0.88
    """
    cells = _grid(specs, seeds)
    n_jobs = -1 if n_jobs == -1 else check_int("n_jobs", n_jobs)
    if backend is not None:
        check_choice("backend", backend, sorted({*BACKENDS, *EXTERNAL_BACKENDS} - {"sequential"}))
    if threads is not None or n_jobs != 1:
        threads = check_int("threads", 1 if threads is None else threads)
    ledger = Ledger(None if out is None else Path(out))
    todo = {
        key: cell
        for key, cell in cells.items()
        if key not in ledger.cells or (retry_errors and ledger.failed(key))
    }
    if todo:
        ledger.save(order=cells)  # a forbidden folder shows itself before the work, not after
    code = code_provenance()
    failures = 0
    finished = _results(todo, n_jobs=n_jobs, backend=backend, threads=threads)
    done = len(cells) - len(todo)
    with (
        closing(finished),
        tqdm(total=len(cells), initial=done, unit="cell", disable=not progress) as bar,
    ):
        for key, rows in finished:
            ledger.record(key, [row | code for row in rows], order=cells)
            failures += ledger.failed(key)
            bar.set_postfix(failed=failures, refresh=False)
            bar.update()
    _warn_of_failures(ledger, list(cells))
    return _frame(ledger, cells)


def _grid(specs: Iterable[Any], seeds: Iterable[int]) -> dict[str, Cell]:
    """All cells by key, in order; raises on a spec or seed that is unfit or given twice."""
    for name, values in (("specs", specs), ("seeds", seeds)):
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"{name} must be a list or another iterable; got {values!r}.")
    specs, seeds = list(specs), list(seeds)
    if not specs or not seeds:
        raise ValueError(f"specs and seeds must not be empty; got {specs!r} and {seeds!r}.")
    cells: dict[str, Cell] = {}
    for spec in specs:
        for seed in seeds:
            cell = Cell(spec, seed)
            if cell.key in cells:
                raise ValueError(f"specs times seeds must not repeat a cell; got {cell} twice.")
            cells[cell.key] = cell
    return cells


def _results(
    todo: dict[str, Cell], *, n_jobs: int, backend: str | None, threads: int | None
) -> Iterator[tuple[str, list[Row]]]:
    """Run the cells and yield (key, rows) as each one ends."""
    if not todo:
        return
    before = torch.get_num_threads()
    pool = Parallel(n_jobs=n_jobs, backend=backend, batch_size=1, return_as="generator_unordered")
    try:
        yield from pool(delayed(_run_cell)(key, cell, threads) for key, cell in todo.items())
    finally:
        torch.set_num_threads(before)  # workers that are threads of this process share the setting


def _run_cell(key: str, cell: Cell, threads: int | None) -> tuple[str, list[Row]]:
    return key, cell.run(threads=threads)


def _frame(ledger: Ledger, cells: dict[str, Cell]) -> pd.DataFrame:
    """The rows of the cells in order, without the empty columns of other specs in the file."""
    rows = []
    for key, cell in cells.items():
        fields = dict.fromkeys(fields_of(cell.spec), "")
        for row in ledger.cells[key]:
            filled = {name: text for name, text in row.items() if text}
            rows.append(fields | filled)
    return to_frame(rows)


def _warn_of_failures(ledger: Ledger, cells: list[str]) -> None:
    errors = [ledger.cells[key][0]["error"] for key in cells if ledger.failed(key)]
    if errors:
        warnings.warn(
            f"{len(errors)} of {len(cells)} cells hold an error instead of a result; the first: "
            f"{errors[0]}. retry_errors=True runs them again.",
            stacklevel=3,
        )
