"""The exact lasso of causal pruning at several penalties, each fit warm-started from the last.

    minimise over gamma   1/(2T) |y - X gamma|^2 + alpha |gamma|_1

Eq. 9 of Shah et al., "A Granger-causal perspective on gradient descent with application to
pruning", prints the model plus the penalty; its squared error, which makes it a lasso, is missing
there. It is taken as the mean over the T steps, halved, so that alpha does not grow with T.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from causalprune_lib._validation import check_int, check_positive
from causalprune_lib.causality.columns import as_columns
from causalprune_lib.causality.design import Design
from causalprune_lib.causality.groups import Groups
from causalprune_lib.causality.working_set import Fit, WorkingSet

if TYPE_CHECKING:
    from scipy import sparse

RATIOS = tuple(np.geomspace(0.5, 0.02, 10))  # alpha / alpha_max


class Problem:
    """A design with the way back to the P columns that the caller gave."""

    def __init__(self, x: object, y: object, groups: object | None, **options: bool) -> None:
        columns = as_columns(x)
        self.n_columns = columns.shape[1]
        self.groups = None if groups is None else Groups.of(groups, self.n_columns)
        if self.groups is not None:
            columns = self.groups.means(columns)
        y = y.detach().cpu().numpy() if hasattr(y, "detach") else y
        self.design = Design.of(columns, y, **options)

    @cached_property
    def alpha_max(self) -> float:
        """The smallest alpha whose solution is all zero: max_k |z_k^T y| / T."""
        return float(np.abs(self.design.zy).max()) * self.design.unit / self.design.n_rows

    def penalty(self, alpha: float) -> float:
        """lam in the units of the design."""
        return alpha * self.design.n_rows / self.design.unit

    def gap(self, gap: float) -> float:
        """A gap of the design in the units of the caller's objective."""
        return gap * self.design.y_scale**2 / self.design.n_rows

    def coef(self, fit: Fit) -> np.ndarray:
        """gamma (P,)."""
        own = np.zeros(self.design.columns.shape[1])
        own[fit.support] = self.design.coef(fit.w, fit.support)
        return own if self.groups is None else self.groups.coef(own)

    def intercept(self, fit: Fit) -> float:
        """What a prediction adds to X gamma; 0 unless an intercept was fitted."""
        of_columns = self.design.coef(fit.w, fit.support) @ self.design.mean[fit.support]
        return self.design.y_mean - float(of_columns)


@dataclass(frozen=True, eq=False)
class LassoPath:
    """Solutions at A penalties, the largest first.

    Attributes
    ----------
    alphas : array (A,)
    alpha_max : float
        All coefficients are zero from here on.
    coefs : scipy.sparse.csc_array (P, A)
        Column i is gamma at `alphas[i]`.
    intercepts : array (A,)
    dual_gaps : array (A,)
        In units of the objective.
    relative_gaps : array (A,)
        In units of the objective at gamma = 0, |y|^2 / (2T).
    n_iters : array (A,) of int
        Working sets solved.
    """

    alphas: np.ndarray
    alpha_max: float
    coefs: sparse.csc_array
    intercepts: np.ndarray
    dual_gaps: np.ndarray
    relative_gaps: np.ndarray
    n_iters: np.ndarray

    @property
    def alpha_ratios(self) -> np.ndarray:
        """alpha / alpha_max (A,); NaN where alpha_max is 0."""
        return self.alphas / self.alpha_max if self.alpha_max else np.full_like(self.alphas, np.nan)

    @property
    def n_kept(self) -> np.ndarray:
        """Non-zero coefficients at each penalty, (A,)."""
        return np.diff(self.coefs.indptr)

    def coef(self, i: int) -> np.ndarray:
        """gamma (P,) at `alphas[i]`."""
        return self.coefs[:, [i]].toarray()[:, 0]

    def support(self, i: int) -> np.ndarray:
        """Which weights the model keeps at `alphas[i]`, (P,) of bool."""
        return self.coef(i) != 0


def lasso_path(
    x: object,
    y: object,
    *,
    alphas: object | None = None,
    alpha_ratios: object | None = None,
    standardise: bool = False,
    fit_intercept: bool = False,
    groups: object | None = None,
    tol: float = 1e-6,
    max_iter: int = 100,
) -> LassoPath:
    """Exact solutions for a descending list of penalties.

    Parameters
    ----------
    x : array, memory map, tensor (T, P) or Columns
        For instance the features of `causal_samples`, which stay on disk, or `RowBlocks`.
    y : array (T,)
        The changes of the loss.
    alphas, alpha_ratios : sequence of float, optional
        Penalties as such, or in units of alpha_max. Default: ten ratios from 0.5 to 0.02.
    standardise, fit_intercept, groups, tol, max_iter
        As in `CausalLasso`.

    Raises
    ------
    ValueError
        An alpha is not above 0, or the data are empty or not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 200))
    >>> path = lasso_path(x, x[:, 7] - 2 * x[:, 3], alpha_ratios=[0.9, 0.1])
    >>> path.n_kept, np.flatnonzero(path.support(1))
    (array([1, 2], dtype=int32), array([3, 7]))
    """
    problem = Problem(x, y, groups, standardise=standardise, fit_intercept=fit_intercept)
    return solve_path(problem, alphas, alpha_ratios, tol=tol, max_iter=max_iter)


def solve_path(
    problem: Problem,
    alphas: object | None,
    alpha_ratios: object | None,
    *,
    tol: float,
    max_iter: int,
) -> LassoPath:
    """The path of a prepared problem."""
    from scipy import sparse

    if alphas is not None and alpha_ratios is not None:
        raise ValueError("give alphas or alpha_ratios, not both.")
    if alphas is not None:
        chosen = _descending("alphas", alphas)
    else:
        ratios = _descending("alpha_ratios", RATIOS if alpha_ratios is None else alpha_ratios)
        chosen = ratios * problem.alpha_max
    solver = WorkingSet(problem.design)
    fits = [solve(solver, problem, alpha, tol=tol, max_iter=max_iter) for alpha in chosen]
    coefs = sparse.hstack([sparse.csc_array(problem.coef(fit)[:, None]) for fit in fits], "csc")
    return LassoPath(
        alphas=chosen,
        alpha_max=problem.alpha_max,
        coefs=coefs,
        intercepts=np.array([problem.intercept(fit) for fit in fits]),
        dual_gaps=np.array([problem.gap(fit.gap) for fit in fits]),
        relative_gaps=np.array([fit.relative_gap for fit in fits]),
        n_iters=np.array([fit.rounds for fit in fits]),
    )


def solve(solver: WorkingSet, problem: Problem, alpha: float, *, tol: float, max_iter: int) -> Fit:
    """One penalty; warns where the gap asked for was not reached."""
    tol, max_iter = check_positive("tol", tol), check_int("max_iter", max_iter)
    fit = solver.solve(problem.penalty(alpha), tol=tol, max_iter=max_iter)
    if not fit.converged:
        from sklearn.exceptions import ConvergenceWarning

        warnings.warn(
            f"the duality gap is {fit.relative_gap:.1e} of |y|^2 / 2 after {fit.rounds} working "
            f"sets, above tol = {tol:.1e}; raise max_iter = {max_iter}, tol or alpha.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return fit


def _descending(name: str, values: object) -> np.ndarray:
    values = np.sort(np.asarray(values, np.float64).ravel())[::-1]
    if len(values) == 0:
        raise ValueError(f"{name} must hold at least one number; got none.")
    for value in values:
        check_positive(name, float(value))
    return values
