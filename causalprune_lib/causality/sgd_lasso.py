"""The lasso as causal pruning solves it: truncated gradient with cumulative penalty.

Tsuruoka, Tsujii and Ananiadou, "Stochastic gradient descent training for L1-regularized log-linear
models with cumulative penalty", ACL-IJCNLP 2009, for the squared error, with the settings of the
released causal pruning: gamma starts at 0, one sample per update in the order of recording, the
learning rate is 0.01 / i^0.25 at update i, no intercept, 3 passes over the T samples.

Theorem. With a_i = eta_i (y_i - p_i) x_i, where p_i = x_i . w_{i-1} is the prediction at update i
(and y_i - p_i is cut at 1e12), let A_i = a_1 + ... + a_i and U_i = alpha (eta_1 + ... + eta_i).
Then, weight by weight and at EVERY update,

    w_i = soft(A_i, U_i),

whatever the data: the clipping at zero leaves no trace. By induction: the penalty received before
update i is q = w_{i-1} - A_{i-1}, so |q| <= U_{i-1}, and the gradient step reaches z = A_i + q. For
z > 0 the rule gives max(0, z - U_i - q) = max(0, A_i - U_i), for z < 0 min(0, A_i + U_i); and
A_i > U_i implies z > 0, A_i < -U_i implies z < 0. Where the predictions are zero, A = S =
sum_i eta_i y_i x_i: the result is soft(S, U), and needs no solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalprune_lib._validation import check_finite, check_int, check_positive, check_shape
from causalprune_lib.causality.solver import as_features, real_array

CLIP = 1e12


@dataclass(frozen=True, eq=False)
class SGDLasso:
    """What the solver ended with, after N = passes * T updates."""

    coef: np.ndarray  # (P,) gamma; exact zeros are what causal pruning removes
    penalty: np.ndarray  # (P,) q, the penalty each coefficient has received; coef - penalty is A
    threshold: float  # U = alpha sum_i eta_i
    rates: np.ndarray  # (N,) eta_i
    predictions: np.ndarray  # (N,) p_i


def sgd_lasso(
    x: object, y: object, *, alpha: float, passes: int = 3, base: float = 0.01, power: float = 0.25
) -> SGDLasso:
    """Run the solver on x (T, P) and y (T,), update by update, in float64.

    `alpha` is the released L1_coeff. The samples are gone through `passes` times, and the learning
    rate of update i is base / i^power.

    >>> x, y = np.array([[1e-9, 0.0], [0.0, 1e-9]]), np.array([-2.0, 1.0])
    >>> sgd_lasso(x, y, alpha=0.7e-9).coef != 0
    array([ True, False])
    """
    features, y = as_features(x), real_array("y", y).astype(np.float64)
    check_shape("y", y, (features.shape[0],))
    check_finite("y", y)
    alpha, passes = check_positive("alpha", alpha), check_int("passes", passes)
    check_positive("base", base)
    check_positive("power", power, allow_zero=True)
    rates = base / np.arange(1, passes * len(y) + 1) ** power
    predictions = np.zeros(len(rates))
    w, q = np.zeros((2, features.shape[1]))
    threshold, i = 0.0, 0
    for _ in range(passes):
        for x_t, y_t in zip(features.samples(), y, strict=True):
            predictions[i] = p = x_t @ w
            if not np.isfinite(p):
                raise ValueError(
                    f"x must be finite, and so small that predictions are; at update {i + 1} of "
                    f"{len(rates)} the prediction is {p}."
                )
            threshold += alpha * rates[i]
            z = w + rates[i] * min(max(y_t - p, -CLIP), CLIP) * x_t
            above = np.maximum(0.0, z - (threshold + q))
            below = np.minimum(0.0, z + (threshold - q))
            w = np.where(z > 0, above, np.where(z < 0, below, 0.0))
            q += w - z
            i += 1
    return SGDLasso(w, q, threshold, rates, predictions)
