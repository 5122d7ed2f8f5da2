"""One cell of a grid: a frozen spec and a seed, its identity, and what running it gives.

A cell is recognised by what it says, not by when it ran: the name of its class, the values of its
fields and its seed, written in one canonical way and hashed. The same cell met again tomorrow has
the same key, so its numbers need not be computed twice.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import numbers
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from causalprune_lib._validation import check_int
from causalprune_lib.evidence.provenance import (
    CODE_COLUMNS,
    MACHINE_COLUMNS,
    device_used,
    machine_provenance,
)

KEY_COLUMNS = ("spec", "seed", "metric", "value", "error")
RUN_COLUMNS = ("seconds", "started", *MACHINE_COLUMNS, *CODE_COLUMNS, "cell")
RESERVED = frozenset(KEY_COLUMNS + RUN_COLUMNS)


class Point:
    """Metrics measured at one place inside a cell, such as one amount of pruning.

    A cell that trains once and evaluates at ten amounts gives ten points. The coordinates become
    columns of the result, beside the fields of the spec.

    Parameters
    ----------
    metrics : Mapping of str to float
        What was measured there. NaN stands for "not estimable".
    **coordinates : str, int, float or bool
        Where: `method="magnitude", amount=0.9`.

    Examples
    --------
    >>> Point({"accuracy": 0.93}, method="magnitude", amount=0.9)
    Point({'accuracy': 0.93}, method='magnitude', amount=0.9)
    """

    def __init__(self, metrics: Mapping[str, float], /, **coordinates: str | float | bool) -> None:
        self.metrics = metrics
        self.coordinates = coordinates

    def __repr__(self) -> str:
        where = "".join(f", {name}={value!r}" for name, value in self.coordinates.items())
        return f"Point({self.metrics!r}{where})"


def canonical(value: Any) -> Any:
    """Rewrite a field's value with JSON's own kinds, so that equal values give equal text.

    Tuples and lists become lists, sets are sorted, nested dataclasses become dictionaries with
    their class name, and a whole number is written alike whether it is an int or a float.

    Raises
    ------
    TypeError
        For anything else (a tensor, a function, an open file): it has no stable text.

    Examples
    --------
    >>> canonical({"amounts": (0.5, 1.0), "method": "random"})
    {'amounts': [0.5, 1], 'method': 'random'}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"__class__": type(value).__name__, **fields_of(value)}
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((canonical(item) for item in value), key=json.dumps)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"must be made of numbers, strings and tuples of them; got {value!r}")


def fields_of(spec: Any) -> dict[str, Any]:
    """Names and canonical values of the fields of a dataclass, in their order."""
    values = {}
    for field in dataclasses.fields(spec):
        try:
            values[field.name] = canonical(getattr(spec, field.name))
        except TypeError as problem:
            raise TypeError(f"field {field.name!r} of {type(spec).__name__} {problem}.") from None
    return values


def check_spec(spec: Any) -> None:
    """Raise unless `spec` is a frozen dataclass with a `run` method and names that are free."""
    kind = type(spec).__name__
    is_instance = dataclasses.is_dataclass(spec) and not isinstance(spec, type)
    if not is_instance or not spec.__dataclass_params__.frozen:
        raise TypeError(
            f"each spec must be an instance of a class under @dataclass(frozen=True); got {spec!r}."
        )
    if not callable(getattr(spec, "run", None)):
        raise TypeError(f"each spec must have a method run(seed); got {kind} without one.")
    taken = sorted(RESERVED & {field.name for field in dataclasses.fields(spec)})
    if taken:
        raise TypeError(f"fields of {kind} must not be named {taken}: result columns use them.")
    fields_of(spec)


@dataclass(frozen=True)
class Cell:
    """A spec and a seed."""

    spec: Any
    seed: int

    def __post_init__(self) -> None:
        check_spec(self.spec)
        object.__setattr__(self, "seed", check_int("seed", self.seed, minimum=0))

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that name this cell in every file and every run."""
        text = json.dumps([type(self.spec).__name__, fields_of(self.spec), self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def run(self, *, threads: int | None = None) -> list[dict[str, str]]:
        """Run the spec and return its rows, every value as text; one row named "error" if it fails.

        Python's, NumPy's and torch's global generators are seeded with the cell's seed and put
        back afterwards, so that dropout, say, gives the same numbers in whatever order cells run.
        """
        started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        begun = time.perf_counter()
        error = ""
        with _threads(threads), _seeded(self.seed), device_used() as seen:
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

    def _rows(self, result: Any) -> Iterator[dict[str, str]]:
        points = [Point(result)] if isinstance(result, Mapping) else result
        if isinstance(points, str) or not hasattr(points, "__iter__"):
            raise TypeError(f"run must return a mapping or an iterable of Point; got {points!r}")
        taken = RESERVED | {field.name for field in dataclasses.fields(self.spec)}
        seen: set[tuple] = set()
        for point in points:
            if not isinstance(point, Point) or not isinstance(point.metrics, Mapping):
                raise TypeError(f"run must give Point({{metric: number}}, ...); got {point!r}")
            clash = sorted(taken & set(point.coordinates))
            if clash:
                raise ValueError(f"coordinates must not be named {clash}: columns use these names")
            where = {name: _text(canonical(at)) for name, at in point.coordinates.items()}
            for metric, value in point.metrics.items():
                row = {**where, "metric": _metric(metric), "value": _number(metric, value)}
                place = (metric, *sorted(where.items()))
                if place in seen:
                    raise ValueError(f"run gave metric {metric!r} twice at {where or 'one cell'}")
                seen.add(place)
                yield row
        if not seen:
            raise ValueError("run must give at least one metric; got none")


def _metric(name: Any) -> str:
    if not isinstance(name, str) or not name or name == "error":
        raise TypeError(f'a metric must be named by a string other than "error"; got {name!r}')
    return name


def _number(metric: str, value: Any) -> str:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, numbers.Real | np.bool_):
        raise TypeError(f"metric {metric!r} must be a number; got {value!r}")
    number = float(value)
    return "" if number != number else repr(number)


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    plain, array = random.getstate(), np.random.get_state()
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=gpus):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(array)
