"""A quiet `run_grid` and a spec that squares its seed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from causalprune_lib.evidence.grid import run_grid


@dataclass(frozen=True)
class Square:
    """Notes each of its runs in the file `log` and fails at the seed `fail_on`."""

    log: str = ""
    scale: float = 2.0
    amounts: tuple[float, ...] = ()
    fail_on: int = -1

    def run(self, seed):
        if self.log:
            with open(self.log, "a") as stream:
                stream.write(f"{seed}\n")
        if seed == self.fail_on:
            raise ZeroDivisionError("no square\n  today")
        return {"square": self.scale * seed**2, "seed_again": seed}


@pytest.fixture(scope="session")
def square() -> type[Square]:
    return Square


@pytest.fixture(scope="session")
def grid() -> Callable:
    return functools.partial(run_grid, progress=False)
