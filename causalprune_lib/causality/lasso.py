"""The lasso of causal pruning: from recorded steps to the weights that explain the loss.

    minimise over gamma   1/(2T) |y - X gamma|^2 + alpha |gamma|_1

with y_t = dL_t and x_tk = (d theta_tk)^2 of step t; weight k is kept if gamma_k != 0: eq. 7 and 9
of arXiv:2412.03035. (Eq. 9 as printed lacks the squared error. Here it is halved and a mean over
the steps, so that alpha does not grow with T.)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from causalprune_lib._validation import check_choice, check_int, check_positive
from causalprune_lib.causality.scores import LOSSES, solver_step_sizes
from causalprune_lib.causality.sgd_lasso import sgd_lasso
from causalprune_lib.causality.solver import Features, LassoSolver, real_array
from causalprune_lib.dynamics.trajectory import Trajectory

RATIOS = tuple(np.geomspace(0.5, 0.02, 10))  # alpha / alpha_max of a path
RATIO = 0.1  # alpha / alpha_max of a fit, where neither is given


class CausalLasso(RegressorMixin, BaseEstimator):
    """Which weights explain the change of the loss, by the lasso. A scikit-learn estimator.

    X may be an array, a memory map or a tensor (T, P), or `Features` such as those of a recording
    on disk (`causal_samples`). Only the columns of a working set are held, or those that survive
    screening where they fit into 256 MiB. A memory map of float32 or float64 is not copied.

    Parameters
    ----------
    alpha : float, optional
        The penalty, above 0, in the units of y times x.
    alpha_ratio : float, optional
        alpha / alpha_max instead, above 0, which does not depend on units. Default: 0.1 where
        neither is given. From 1 on the solution is zero, with a warning.
    solver : {"exact", "sgd"}
        "exact": the optimum. "sgd": the released solver, which stops far from it; see `sgd_lasso`.
    groups : array (P,) of int, optional
        Columns with the same number share one coefficient: structured pruning as in section 5.
    tol, max_iter : float, int
        Exact solver: duality gap to reach, in units of |y|^2 / (2T), and most working sets.

    Attributes
    ----------
    coef_, support_ : array (P,)
        gamma, of which at most T (or T groups) are not zero; and coef_ != 0: the weights to keep.
    dual_gap_, relative_gap_ : float
        Distance of the objective from its minimum, at most: as such, and in units of |y|^2 / (2T).
    n_iter_ : int
        Working sets solved, or passes.
    alpha_, alpha_max_ : float
        The penalty used, and the smallest one with an empty support. For "sgd", that of the closed
        form, where predictions are negligible: max_k |sum_t w_t y_t x_tk| / sum_t w_t.

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
        groups: object | None = None,
        tol: float = 1e-6,
        max_iter: int = 100,
    ) -> None:
        self.alpha, self.alpha_ratio = alpha, alpha_ratio
        self.solver, self.groups = solver, groups
        self.tol, self.max_iter = tol, max_iter

    def fit(self, X: object, y: object) -> Self:
        """Fit gamma (P,) to X (T, P) and y (T,)."""
        check_choice("solver", self.solver, ("exact", "sgd"))
        if self.alpha is not None and self.alpha_ratio is not None:
            raise ValueError("give alpha or alpha_ratio, not both.")
        ratio = RATIO if self.alpha_ratio is None else self.alpha_ratio
        check_positive(*(("alpha_ratio", ratio) if self.alpha is None else ("alpha", self.alpha)))
        tol, max_iter = check_positive("tol", self.tol), check_int("max_iter", self.max_iter)
        if isinstance(X, Features):
            self.n_features_in_ = X.shape[1]
        else:
            X, y = _without_torch(X), _without_torch(y)
            X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), y_numeric=True)
        problem = LassoSolver(X, y, self.groups)
        self.alpha_max_ = problem.alpha_max
        if self.solver == "sgd":
            weights = solver_step_sizes(len(problem.effect)).numpy()
            sums = problem.features.correlate(weights * problem.effect)
            self.alpha_max_ = float(np.abs(sums).max() / weights.sum())
        self.alpha_ = float(ratio * self.alpha_max_ if self.alpha is None else self.alpha)
        if self.solver == "exact":
            fit = problem.solve(self.alpha_, tol=tol, max_iter=max_iter)
        else:
            coef = np.zeros(problem.features.shape[1])
            if self.alpha_ > 0:  # else X has nothing to do with y
                coef = sgd_lasso(problem.features, problem.effect, alpha=self.alpha_).coef
            fit = problem.measure(coef, self.alpha_, n_iter=3)
        self.coef_, self.support_ = fit.coef, fit.coef != 0
        self.dual_gap_, self.relative_gap_, self.n_iter_ = fit.gap, fit.relative_gap, fit.n_iter
        if not self.support_.any():
            found = f"all coefficients are zero at alpha = {self.alpha_:.6g}"
            warnings.warn(f"{found}; so from alpha_max = {self.alpha_max_:.6g} on.", stacklevel=2)
        return self

    def predict(self, X: object) -> np.ndarray:
        """X gamma, (T,): the predicted changes of the loss."""
        check_is_fitted(self)
        if isinstance(X, Features):
            if X.shape[1] != self.n_features_in_:
                raise ValueError(f"X must have {self.n_features_in_} columns; got {X.shape[1]}.")
            return X.dot(self.coef_)
        X = validate_data(self, _without_torch(X), dtype=(np.float64, np.float32), reset=False)
        return X @ self.coef_


def _without_torch(values: object) -> object:
    return real_array("X and y", values) if isinstance(values, torch.Tensor) else values


@dataclass(frozen=True, eq=False)
class LassoPath:
    """Solutions at A penalties, the largest first."""

    alphas: np.ndarray  # (A,)
    alpha_max: float  # all coefficients are zero from here on
    coefs: sparse.csc_array  # (P, A): column i is gamma at alphas[i]
    relative_gaps: np.ndarray  # (A,) duality gaps in units of |y|^2 / (2T)

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
    groups: object | None = None,
    tol: float = 1e-6,
    max_iter: int = 100,
) -> LassoPath:
    """Exact solutions for a descending list of penalties, each warm-started from the last.

    `alphas` are penalties as such, `alpha_ratios` in units of alpha_max: by default ten from 0.5 to
    0.02. All else is as in `CausalLasso`.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 200))
    >>> path = lasso_path(x, x[:, 7] - 2 * x[:, 3], alpha_ratios=[0.9, 0.1])
    >>> path.n_kept, np.flatnonzero(path.support(1))
    (array([1, 2], dtype=int32), array([3, 7]))
    """
    tol, max_iter = check_positive("tol", tol), check_int("max_iter", max_iter)
    if alphas is not None and alpha_ratios is not None:
        raise ValueError("give alphas or alpha_ratios, not both.")
    name, given = ("alpha_ratios", alpha_ratios) if alphas is None else ("alphas", alphas)
    given = np.sort(np.ravel(RATIOS if given is None else given).astype(np.float64))[::-1]
    if len(given) == 0:
        raise ValueError(f"{name} must hold at least one number; got none.")
    for value in given:
        check_positive(name, float(value))
    problem = LassoSolver(x, y, groups)
    alphas = given * problem.alpha_max if name == "alpha_ratios" else given
    fits = [problem.solve(alpha, tol=tol, max_iter=max_iter) for alpha in alphas]
    coefs = sparse.hstack([sparse.csc_array(fit.coef[:, None]) for fit in fits], "csc")
    gaps = np.array([fit.relative_gap for fit in fits])
    return LassoPath(alphas, problem.alpha_max, coefs, gaps)


class SquaredIncrements(Features):
    """The squared increments (T, P) of a trajectory, read from memory or from disk in pieces."""

    at_once = False

    def __init__(self, trajectory: Trajectory, increments: np.ndarray, layer: str | None) -> None:
        span = slice(0, trajectory.layout.size) if layer is None else trajectory.layout.span(layer)
        low, high = np.searchsorted(trajectory.index, [span.start, span.stop])
        if low == high:
            raise ValueError(f"trajectory must hold weights of {layer!r}; none were recorded.")
        self.increments = increments  # (T,): number t leads from step t to step t + 1
        self.shape = len(increments), int(high - low)
        self._weights = trajectory.weights[:, low:high]  # a view

    def read(self, index: slice | np.ndarray) -> np.ndarray:
        """Some of the features (T, w), in float64."""
        first, last = self.increments[0], self.increments[-1]
        change = np.diff(self._weights[first : last + 2, index].astype(np.float64), axis=0)
        if len(change) > len(self.increments):
            change = change[self.increments - first]
        return np.square(change, out=change)

    def samples(self) -> Iterator[np.ndarray]:
        """Each sample (P,) in float64, in order."""
        for t in self.increments:
            yield np.diff(self._weights[t : t + 2].astype(np.float64), axis=0)[0] ** 2


def causal_samples(
    trajectory: Trajectory, *, layer: str | None = None, loss: str = "two_batch"
) -> tuple[SquaredIncrements, np.ndarray]:
    """Features (T, P) and effect dL_t (T,) of the causal model (eq. 7) for the recorded steps.

    Every step must be recorded, with the losses; where one is NaN or infinite, the step is left
    out. `layer` chooses one parameter, as the paper fits them; by default all weights go together.
    With `loss="two_batch"` dL_t = L(b_{t+1}, theta^{t+1}) - L(b_t, theta^t), as in the paper; the
    last step has none. With "same_batch" dL_t = L(b_t, theta^{t+1}) - L(b_t, theta^t), which takes
    a recorder with a `probe`.
    """
    check_choice("loss", loss, LOSSES)
    if (np.diff(trajectory.steps) != 1).any():
        raise ValueError("trajectory must hold every step (every=1); steps are missing between.")
    before, after = trajectory.loss_before[1:], trajectory.loss_after[1:]
    effect = np.diff(before) if loss == "two_batch" else after - before
    known = np.flatnonzero(np.isfinite(effect))
    if len(known) < 2:
        needed = "log(loss=...)" if loss == "two_batch" else "a recorder with a probe"
        raise ValueError(
            f"trajectory must hold the loss change of at least 2 steps; got {len(known)} "
            f"of {len(effect)}. loss={loss!r} takes {needed}."
        )
    return SquaredIncrements(trajectory, known, layer), effect[known]
