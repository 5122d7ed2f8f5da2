"""The lasso of causal pruning, as a scikit-learn estimator: exact, or as released.

    minimise over gamma   1/(2T) |y - X gamma|^2 + alpha |gamma|_1

with y_t = dL_t and x_tk = (d theta_tk)^2; weight k is kept if gamma_k != 0. Shah et al., "A
Granger-causal perspective on gradient descent with application to pruning", eq. 7 and 9 (which
prints the model plus the penalty, without the squared error).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from causalprune_lib._validation import check_choice, check_positive
from causalprune_lib.causality.columns import Columns
from causalprune_lib.causality.duality import duality_gap
from causalprune_lib.causality.lasso_path import LassoPath, Problem, solve, solve_path
from causalprune_lib.causality.sgd_lasso import iterate
from causalprune_lib.causality.step_sizes import solver_step_sizes
from causalprune_lib.causality.working_set import Fit, WorkingSet

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
