"""The lasso of causal pruning, as a scikit-learn estimator: exact, or as released.

    minimise over gamma   1/(2T) |y - X gamma|^2 + alpha |gamma|_1

with y_t = dL_t and x_tk = (d theta_tk)^2; weight k is kept if gamma_k != 0. Shah et al., "A
Granger-causal perspective on gradient descent with application to pruning", eq. 7 and 9 (which
prints the model plus the penalty, without the squared error).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from causalprune_lib._validation import check_choice, check_int, check_positive
from causalprune_lib.causality.scores import solver_step_sizes
from causalprune_lib.causality.sgd_lasso import iterate
from causalprune_lib.causality.solver import (
    BLOCK_BYTES,
    Block,
    Columns,
    Design,
    Fit,
    Groups,
    WorkingSet,
    as_columns,
    duality_gap,
    pieces,
)
from causalprune_lib.dynamics.trajectory import Trajectory

# ---- samples: From a recording of training to the regression of causal pruning (eq. 7 of the pap


LOSSES = ("two_batch", "same_batch")


class SquaredIncrements(Columns):
    """The squared increments of a trajectory, (T, P), read from memory or from disk in blocks.

    Parameters
    ----------
    trajectory : Trajectory
        Increment t leads from row t to row t + 1.
    layer : str, optional
        Only the weights of this parameter; default all that were recorded.
    increments : array (T,) of int, optional
        Which increments, increasing; default all.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        *,
        layer: str | None = None,
        increments: np.ndarray | None = None,
    ) -> None:
        span = slice(0, trajectory.layout.size) if layer is None else trajectory.layout.span(layer)
        low, high = np.searchsorted(trajectory.index, [span.start, span.stop])
        if low == high:
            raise ValueError(f"trajectory must hold weights of {layer!r}; none were recorded.")
        every = np.arange(len(trajectory) - 1)
        self.increments = every if increments is None else np.asarray(increments)
        if len(self.increments) == 0:
            raise ValueError("trajectory must hold at least one increment (two rows); got none.")
        if (np.diff(self.increments) <= 0).any() or not np.isin(self.increments, every).all():
            raise ValueError(
                f"increments must be increasing and in 0..{len(every) - 1}; got {increments}."
            )
        self._weights, self._first = trajectory.weights, int(low)
        self.index = trajectory.index[low:high]
        self.shape = len(self.increments), int(high - low)

    def _squares(self, columns: slice | np.ndarray) -> np.ndarray:
        first, last = self.increments[0], self.increments[-1]
        weights = self._weights[first : last + 2, columns].astype(np.float64)
        change = np.diff(weights, axis=0)
        if len(change) > len(self.increments):
            change = change[self.increments - first]
        return np.square(change, out=change)

    def blocks(self) -> Iterator[Block]:
        self.passes += 1
        n_rows, n_columns = self.shape
        for part in pieces(n_columns, BLOCK_BYTES // (8 * n_rows)):
            columns = slice(self._first + part.start, self._first + part.stop)
            yield slice(0, n_rows), part, self._squares(columns)

    def rows(self) -> Iterator[np.ndarray]:
        self.passes += 1
        columns = slice(self._first, self._first + self.shape[1])
        for t in self.increments:
            yield np.diff(self._weights[t : t + 2, columns].astype(np.float64), axis=0)[0] ** 2

    def gather(self, index: np.ndarray) -> np.ndarray:
        self.passes += 1
        return np.asfortranarray(self._squares(self._first + index))


def causal_samples(
    trajectory: Trajectory, *, layer: str | None = None, loss: str = "two_batch", minimum: int = 2
) -> tuple[SquaredIncrements, np.ndarray]:
    """Features and effect of the causal model for the recorded steps.

    Parameters
    ----------
    trajectory : Trajectory
        Every step recorded, with the losses.
    layer : str, optional
        One parameter, as the paper fits them; default all weights in one model.
    loss : {"two_batch", "same_batch"}
        "two_batch": dL_t = L(b_{t+1}, theta^{t+1}) - L(b_t, theta^t), the change of the logged
        training loss from one step to the next, as described in the paper; the last step has none.
        "same_batch": dL_t = L(b_t, theta^{t+1}) - L(b_t, theta^t), which takes a recorder with a
        `probe`.
    minimum : int
        Least number of usable steps.

    Returns
    -------
    features : SquaredIncrements (T, P)
        For `CausalLasso` and `lasso_path`; `features.increments` says which steps they are.
    effect : array (T,)
        dL_t. Steps whose loss is NaN or infinite are left out, on both sides.

    Raises
    ------
    ValueError
        Not every step was recorded, or fewer than `minimum` of them have a loss.

    Examples
    --------
    >>> from torch import nn
    >>> from causalprune_lib.nets.parameters import ParameterLayout
    >>> layout = ParameterLayout.of(nn.Linear(2, 1))
    >>> weights = np.array([[0.0, 1], [0.5, 1], [0.5, 3], [1, 3]])
    >>> walk = Trajectory([0, 1, 2, 3], weights, layout, loss_before=[np.nan, 2, 1.5, 0.5])
    >>> features, effect = causal_samples(walk)
    >>> features.gather(np.array([0, 1])), effect
    (array([[0.25, 0.  ],
           [0.  , 4.  ]]), array([-0.5, -1. ]))
    """
    check_choice("loss", loss, LOSSES)
    if (np.diff(trajectory.steps) != 1).any():
        raise ValueError("trajectory must hold every step (every=1); steps are missing between.")
    before, after = trajectory.loss_before[1:], trajectory.loss_after[1:]
    effect = np.diff(before) if loss == "two_batch" else after - before
    known = np.flatnonzero(np.isfinite(effect))
    if len(known) < check_int("minimum", minimum):
        needed = "log(loss=...)" if loss == "two_batch" else "a recorder with a probe"
        raise ValueError(
            f"trajectory must hold the loss change of at least {minimum} steps; got {len(known)} "
            f"of {len(effect)}. loss={loss!r} takes {needed}."
        )
    return SquaredIncrements(trajectory, layer=layer, increments=known), effect[known]


# ---- lasso_path: The exact lasso of causal pruning at several penalties, each fit warm-started f


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


# ---- lasso: The lasso of causal pruning, as a scikit-learn estimator: exact, or as released.


if TYPE_CHECKING:
    from typing import Self


SOLVERS = ("exact", "sgd")


RATIO = 0.1  # alpha / alpha_max, where neither is given


class CausalLasso(RegressorMixin, BaseEstimator):
    """Which weights explain the change of the loss, by the lasso.

    Parameters
    ----------
    alpha : float, optional
        The penalty, above 0, in the units of y times x (of y, with `standardise`).
    alpha_ratio : float, optional
        The penalty as alpha / alpha_max instead, above 0: the knob that does not depend on units.
        Default: 0.1 where neither is given. From 1 on the solution is zero, with a warning.
    solver : {"exact", "sgd"}
        "exact": the optimum, to a duality gap of `tol`. "sgd": the released solver, which stops
        far from it; see `sgd_lasso`.
    standardise : bool
        Divide each column by its root mean square (by its standard deviation, with an intercept)
        before the penalty sees it, so that weights that move little stand the same chance. It is
        not what the paper does. `coef_` is in the units of the data all the same.
    fit_intercept : bool
        Centre y and the columns. The paper has no intercept.
    groups : array (P,) of int, optional
        Columns with the same number share one coefficient: structured pruning as in section 5.
        The group means, T x G, are held in memory.
    tol : float
        Exact solver: duality gap to reach, in units of |y|^2 / (2T).
    max_iter : int
        Exact solver: largest number of working sets.
    passes, base, power : int, float, float
        SGD: passes over the samples, and the learning rate base / i^power of update i.

    Attributes
    ----------
    coef_ : array (P,)
        gamma. At most T are not zero (exact), or T groups.
    support_ : array (P,) of bool
        coef_ != 0: the weights to keep.
    dual_gap_ : float
        Distance of the objective from its minimum, at most, in units of the objective.
    relative_gap_ : float
        The same in units of |y|^2 / (2T).
    n_iter_ : int
        Working sets solved, or passes.
    alpha_ : float
        The penalty used.
    alpha_max_ : float
        The smallest penalty with an empty support. For "sgd", that of the closed form, where
        predictions are negligible: max_k |sum_t w_t y_t x_tk| / sum_t w_t.
    intercept_ : float
    n_features_in_ : int

    Notes
    -----
    X may be an array, a memory map or a tensor (T, P), or `Columns`: the `SquaredIncrements` of a
    recording on disk, or `RowBlocks` that are replayed. T x P is not held, only the columns of a
    working set, or of those that survive screening where they fit into 256 MiB. A memory map in
    float32 or float64 is not copied; other types are.

    Raises
    ------
    ValueError
        A penalty is not above 0, both are given, or the data are empty or not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 200))
    >>> y = x[:, 3] - 2 * x[:, 7] + 0.01 * rng.normal(size=50)
    >>> model = CausalLasso(alpha_ratio=0.05).fit(x, y)
    >>> np.flatnonzero(model.support_), model.relative_gap_ <= 1e-6
    (array([3, 7]), True)
    """

    def __init__(
        self,
        alpha: float | None = None,
        *,
        alpha_ratio: float | None = None,
        solver: str = "exact",
        standardise: bool = False,
        fit_intercept: bool = False,
        groups: object | None = None,
        tol: float = 1e-6,
        max_iter: int = 100,
        passes: int = 3,
        base: float = 0.01,
        power: float = 0.25,
    ) -> None:
        self.alpha = alpha
        self.alpha_ratio = alpha_ratio
        self.solver = solver
        self.standardise = standardise
        self.fit_intercept = fit_intercept
        self.groups = groups
        self.tol = tol
        self.max_iter = max_iter
        self.passes = passes
        self.base = base
        self.power = power

    def fit(self, X: object, y: object) -> Self:
        """Fit gamma (P,) to X (T, P) and y (T,)."""
        check_choice("solver", self.solver, SOLVERS)
        if self.alpha is not None and self.alpha_ratio is not None:
            raise ValueError("give alpha or alpha_ratio, not both.")
        ratio = RATIO if self.alpha_ratio is None else self.alpha_ratio
        check_positive(*(("alpha_ratio", ratio) if self.alpha is None else ("alpha", self.alpha)))
        problem = self._problem(X, y)
        exact = self.solver == "exact"
        self.alpha_max_ = problem.alpha_max if exact else self._sgd_alpha_max(problem)
        self.alpha_ = float(ratio * self.alpha_max_ if self.alpha is None else self.alpha)
        fit = self._exact(problem) if exact else self._sgd(problem)
        self.coef_ = problem.coef(fit)
        self.support_ = self.coef_ != 0
        self.intercept_ = problem.intercept(fit)
        self.dual_gap_, self.relative_gap_ = problem.gap(fit.gap), fit.relative_gap
        self.n_iter_ = fit.rounds
        if not self.support_.any():
            warnings.warn(
                f"all coefficients are zero at alpha = {self.alpha_:.6g}; from alpha_max = "
                f"{self.alpha_max_:.6g} on they are.",
                UserWarning,
                stacklevel=2,
            )
        return self

    def path(
        self, X: object, y: object, *, alphas: object = None, alpha_ratios: object = None
    ) -> LassoPath:
        """Exact solutions at several penalties with the settings of this estimator.

        See `lasso_path`. The estimator itself is not fitted.
        """
        if self.solver != "exact":
            raise ValueError(f"a path takes solver='exact'; got {self.solver!r}.")
        problem = self._problem(X, y)
        return solve_path(problem, alphas, alpha_ratios, tol=self.tol, max_iter=self.max_iter)

    def predict(self, X: object) -> np.ndarray:
        """X gamma + intercept, (T,): the predicted changes of the loss."""
        check_is_fitted(self)
        if isinstance(X, Columns):
            if X.shape[1] != self.n_features_in_:
                raise ValueError(f"X must have {self.n_features_in_} columns; got {X.shape[1]}.")
            return X.dot(self.coef_) + self.intercept_
        X = validate_data(self, _as_numpy(X), dtype=(np.float64, np.float32), reset=False)
        return X @ self.coef_ + self.intercept_

    def _problem(self, X: object, y: object) -> Problem:
        if isinstance(X, Columns):
            self.n_features_in_ = X.shape[1]
        else:
            X, y = _as_numpy(X), _as_numpy(y)
            X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), y_numeric=True)
        return Problem(
            X,
            y,
            self.groups,
            standardise=self.standardise,
            fit_intercept=self.fit_intercept,
            rescale=self.solver == "exact",
        )

    def _exact(self, problem: Problem) -> Fit:
        solver = WorkingSet(problem.design)
        return solve(solver, problem, self.alpha_, tol=self.tol, max_iter=self.max_iter)

    def _sgd_alpha_max(self, problem: Problem) -> float:
        weights = solver_step_sizes(problem.design.n_rows, **self._schedule()).numpy()
        sums = problem.design.correlate(weights * problem.design.y)
        return float(np.abs(sums).max() / weights.sum()) * problem.design.unit

    def _sgd(self, problem: Problem) -> Fit:
        design = problem.design
        if self.alpha_ == 0:  # nothing to do with y
            w = np.zeros(design.columns.shape[1])
        else:
            alpha = self.alpha_ / design.unit
            w = iterate(design.rows, design.y, len(design.zy), alpha=alpha, **self._schedule()).coef
        support = np.flatnonzero(w)
        residual = design.y - (design.gather(support) @ w[support] if len(support) else 0.0)
        l1 = float(np.abs(w).sum())
        correlation = design.correlate(residual)
        lam = problem.penalty(self.alpha_)
        gap = max(duality_gap(design.y, residual, correlation, l1, lam).gap, 0.0)
        half = 0.5 * float(design.y @ design.y) or 1.0
        return Fit(support, w[support], gap, gap / half, self.passes, True)

    def _schedule(self) -> dict[str, float]:
        return {"passes": self.passes, "base": self.base, "power": self.power}


def _as_numpy(values: object) -> object:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
