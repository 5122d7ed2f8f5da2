"""How far the released solver is from its closed form, soft(sum eta y x, alpha sum eta).

By the theorem in `sgd_lasso` the two differ only through the predictions p_i:

    A - S = -sum_i eta_i p_i x_i,   so that   |A_k - S_k| <= reach_k = sum_i eta_i |p_i| |x_ik|.

A weight's verdict can only differ where | |S_k| - U | <= reach_k. And since |w_k| <= |A_k|,

    |p_i| <= sum_k |x_ik| |A_{i-1,k}| <= R^2 sum_{j<i} eta_j (max|y| + |p_j|),   R = max_t |x_t|,

which by induction gives |p_i| <= max|y| (prod_{j<i} (1 + R^2 eta_j) - 1), at most max|y|
(exp(R^2 sum eta) - 1): nothing, where R^2 sum eta is 1e-15, as for squared changes of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalprune_lib._validation import check_finite, check_shape
from causalprune_lib.causality.sgd_lasso import sgd_lasso
from causalprune_lib.causality.solver import EPS, as_features


@dataclass(frozen=True)
class Departure:
    """The iterated solver against its closed form, over P weights.

    Attributes
    ----------
    n, n_kept, n_different : int
        Weights, those that the iterated solver keeps, and those on which the two disagree.
    n_at_risk : int
        Weights within `reach` (and rounding) of the threshold: at least `n_different`.
    prediction : float
        max_k |A_k - S_k| / max_k |S_k|: what neglecting the predictions costs.
    clipping : float
        max_k |w_k - soft(A_k, U)| / max_k |A_k|: what the path of the clipping costs; 0 by the
        theorem, so this is rounding.
    largest_prediction : float
        max_i |p_i| / max_t |y_t|, as it was.
    bound : float
        What `largest_prediction` cannot exceed, from |x_t| and the learning rates alone.
    """

    n: int
    n_kept: int
    n_different: int
    n_at_risk: int
    prediction: float
    clipping: float
    largest_prediction: float
    bound: float


def soft_threshold(x: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """sign(x) max(|x| - threshold, 0), the minimiser of 1/2 (w - x)^2 + threshold |w|."""
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0.0)


def sgd_departure(
    x: object,
    y: object,
    *,
    alpha: float,
    passes: int = 3,
    base: float = 0.01,
    power: float = 0.25,
) -> Departure:
    """Run both, and measure where they differ. The parameters are those of `sgd_lasso`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.random((50, 100)), rng.normal(size=50)
    >>> small = sgd_departure(1e-9 * x, y, alpha=1e-10)
    >>> small.n_different, small.bound < 1e-14
    (0, True)
    >>> large = sgd_departure(x, y, alpha=0.1)
    >>> large.n_different > 0, large.clipping < 1e-13
    (True, True)
    """
    features = as_features(x)
    n_rows, n_columns = features.shape
    y = np.asarray(y, np.float64)
    check_shape("y", y, (n_rows,))
    check_finite("y", y)
    options = {"passes": passes, "base": base, "power": power}
    found = sgd_lasso(features, y, alpha=alpha, **options)
    rates = found.rates.reshape(passes, n_rows)
    pull = (found.rates * np.abs(found.predictions)).reshape(passes, n_rows).sum(0)
    closed, reach, size, radius = np.zeros(n_columns), np.zeros(n_columns), np.zeros(n_columns), 0.0
    for x_t, y_t, weight, missed in zip(features.samples(), y, rates.sum(0), pull, strict=True):
        closed += weight * y_t * x_t
        reach += missed * np.abs(x_t)
        size += weight * abs(y_t) * np.abs(x_t)
        radius = max(radius, float(x_t @ x_t))
    total = found.coef - found.penalty
    rounding = 4 * len(found.rates) * EPS * (size + reach + found.threshold)
    margin = np.abs(np.abs(closed) - found.threshold)
    largest = float(np.abs(y).max()) or 1.0
    with np.errstate(over="ignore"):
        bound = float(np.expm1(np.log1p(radius * found.rates[:-1]).sum()))
    return Departure(
        n=n_columns,
        n_kept=int(np.count_nonzero(found.coef)),
        n_different=int(((found.coef != 0) != (np.abs(closed) > found.threshold)).sum()),
        n_at_risk=int((margin <= reach + rounding).sum()),
        prediction=_ratio(total - closed, closed),
        clipping=_ratio(found.coef - soft_threshold(total, found.threshold), total),
        largest_prediction=float(np.abs(found.predictions).max()) / largest,
        bound=bound,
    )


def _ratio(error: np.ndarray, of: np.ndarray) -> float:
    return float(np.abs(error).max()) / (float(np.abs(of).max()) or 1.0)
