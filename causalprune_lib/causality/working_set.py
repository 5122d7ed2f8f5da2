"""The exact lasso on columns that are not held: a working set, checked by the duality gap.

Each round reads Z^T residual (one pass), which gives the gap of the whole problem; columns that
cannot matter are screened off; the most promising others are read (one pass) and solved for. When
what is left fits into `HELD_BYTES`, it is read once and no more passes are needed at this penalty.
Massias, Gramfort and Salmon, "Celer: a fast solver for the lasso with dual extrapolation", ICML
2018, for the choice of the working set; Ndiaye et al. 2017 for the screening.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalprune_lib.causality.coordinate_descent import held_lasso
from causalprune_lib.causality.design import EPS, Design
from causalprune_lib.causality.duality import Gap, duality_gap, may_be_active

HELD_BYTES = 256 * 2**20
LEAST = 200  # columns in a working set
GROWTH = 4  # columns in a working set, in multiples of the support


@dataclass(frozen=True, eq=False)
class Fit:
    """One solution: `w` (s,) at the columns `support` (s,), increasing; zero elsewhere.

    `gap` is absolute, `relative_gap` in units of |y|^2 / 2; `rounds` counts the working sets.
    """

    support: np.ndarray
    w: np.ndarray
    gap: float
    relative_gap: float
    rounds: int
    converged: bool


class WorkingSet:
    """Solves one `Design` at one penalty after another; each starts from the last solution."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.support = np.empty(0, np.int64)
        self.w = np.empty(0)
        self.residual = design.y
        self.index = np.empty(0, np.int64)  # numbers of the columns of z
        self.z = np.empty((design.n_rows, 0), order="F")
        self.correlation: np.ndarray | None = design.zy  # of the residual, where it is known

    def solve(self, lam: float, *, tol: float, max_iter: int) -> Fit:
        """Minimise to a gap of `tol` |y|^2 / 2, in 1..`max_iter` working sets (0 where w = 0)."""
        design, y = self.design, self.design.y
        half = 0.5 * float(y @ y)
        highest = float(np.abs(design.zy).max())
        if lam >= highest * (1 - 4 * EPS):  # zero is the solution
            self.support, self.w = self.support[:0], self.w[:0]
            self.residual, self.correlation = y, design.zy
            return Fit(self.support, self.w, 0.0, 0.0, 0, True)
        alive = np.flatnonzero(design.norms > 0)  # those that may be in the support
        held: np.ndarray | None = None
        inner, rounds = 0.3 * tol * half, 0
        while True:
            gap, correlation = self._check(alive, held, lam)
            if rounds > 0 and (gap.gap <= tol * half or rounds == max_iter):
                break
            keep = may_be_active(gap, correlation, design.norms[alive], lam, slack=64 * EPS * half)
            keep |= np.isin(alive, self.support)
            alive, correlation = alive[keep], correlation[keep]
            held = held[:, keep] if held is not None else self._hold(alive)
            chosen = self._choose(alive, correlation, gap, lam)
            if np.array_equal(chosen, self.index) and rounds > 0:  # the same once more
                if inner < 4 * EPS * half:
                    break
                inner *= 0.1
            self._read(chosen, alive, held)
            start = np.zeros(len(chosen))
            start[np.searchsorted(chosen, self.support)] = self.w
            w = held_lasso(self.z, y, lam, start, tol=inner)
            used = np.flatnonzero(w)
            self.support, self.w = chosen[used], w[used]
            self.residual, self.correlation = y - self.z[:, used] @ self.w, None
            rounds += 1
        value = max(gap.gap, 0.0)
        done = gap.gap <= tol * half
        return Fit(self.support, self.w, value, value / half, rounds, done)

    def _check(
        self, alive: np.ndarray, held: np.ndarray | None, lam: float
    ) -> tuple[Gap, np.ndarray]:
        if held is not None:
            correlation = held.T @ self.residual
        else:
            if self.correlation is None:
                self.correlation = self.design.correlate(self.residual)
            correlation = self.correlation[alive]
        l1 = float(np.abs(self.w).sum())
        return duality_gap(self.design.y, self.residual, correlation, l1, lam), correlation

    def _hold(self, alive: np.ndarray) -> np.ndarray | None:
        fits = self.design.n_rows * len(alive) * 8 <= HELD_BYTES
        return self.design.gather(alive) if fits else None

    def _choose(
        self, alive: np.ndarray, correlation: np.ndarray, gap: Gap, lam: float
    ) -> np.ndarray:
        """The support, and the columns nearest to the boundary of the dual's feasible set."""
        size = min(len(alive), max(LEAST, GROWTH * len(self.support)))
        distance = (lam - np.abs(gap.shrink * correlation)) / self.design.norms[alive]
        distance[np.searchsorted(alive, self.support)] = -np.inf
        nearest = np.argpartition(distance, size - 1)[:size]
        return np.sort(alive[nearest])

    def _read(self, chosen: np.ndarray, alive: np.ndarray, held: np.ndarray | None) -> None:
        known = np.isin(chosen, self.index)
        z = np.empty((self.design.n_rows, len(chosen)), order="F")
        z[:, known] = self.z[:, np.searchsorted(self.index, chosen[known])]
        new = chosen[~known]
        if held is not None:
            z[:, ~known] = held[:, np.searchsorted(alive, new)]
        elif len(new):
            z[:, ~known] = self.design.gather(new)
        self.index, self.z = chosen, z
