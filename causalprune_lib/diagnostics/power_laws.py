"""Power laws for eigenvalues: the fit behind WeightWatcher's alpha, and how well it is known.

A power law with exponent alpha has the density (alpha - 1) / xmin (x / xmin)^(-alpha) from xmin on.
Both numbers are estimated: alpha by maximum likelihood given xmin, and xmin as the value from which
on the law fits best (Clauset, Shalizi and Newman, "Power-law distributions in empirical data",
2009). WeightWatcher does so with the M eigenvalues of a layer. An exponent always comes out, also
where there is no power law; what to hold against it is in `exponent_checks.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from causalprune_lib._validation import check_choice, check_finite, check_shape

SMALL = 20  # below so many eigenvalues WeightWatcher 0.7.7 has another rule
SMALL_TAIL = 8
RULES = ("weightwatcher", "clauset")


@dataclass(frozen=True)
class PowerLawFit:
    """A power law fitted to the upper tail of some values; NaN where it cannot be.

    Attributes
    ----------
    alpha : float
        The exponent, WeightWatcher's `pl_alpha`.
    sigma : float
        (alpha - 1) / sqrt(in_fit): the standard error of alpha if xmin were known.
    xmin : float
        Where the tail begins.
    D : float
        Kolmogorov-Smirnov distance between the tail and the law, as WeightWatcher takes it: at each
        value, with the share of the tail strictly below it.
    in_fit, n : int
        Values in the tail, and values given.
    """

    alpha: float
    sigma: float
    xmin: float
    D: float
    in_fit: int
    n: int


def power_law_fit(values: np.ndarray, *, rule: str = "weightwatcher") -> PowerLawFit:
    r"""Fit a power law to the upper tail of positive numbers.

    For a tail of k values from xmin on,

    .. math:: \hat\alpha = 1 + \frac{k}{\sum_i \log(x_i / x_{\min})},

    and among all tails the one with the smallest distance D is taken.

    Parameters
    ----------
    values : array (n,)
        Positive; any order.
    rule : {"weightwatcher", "clauset"}
        "clauset": as above, for any n, tails of two values or more. "weightwatcher": what
        WeightWatcher 0.7.7 does. From 20 values on it is the same. Below, k - 1 stands in the
        place of k in the estimate, and a tail has at least 8 values.

    Returns
    -------
    PowerLawFit
        NaN, with `in_fit` 0, where there is no tail to fit: fewer than 2 (8) values, or all equal.

    Raises
    ------
    ValueError
        If a value is not a positive number.

    Examples
    --------
    >>> tail = (1 - np.arange(500) / 500) ** (-1 / 1.5)  # quantiles of a law with exponent 2.5
    >>> fit = power_law_fit(tail)
    >>> round(fit.alpha, 1), fit.n
    (2.5, 500)
    """
    x = positive_values(values)
    return fit_ascending(x, check_choice("rule", rule, RULES))


def positive_values(values: np.ndarray) -> np.ndarray:
    """`values` in ascending order, after a check."""
    x = np.asarray(values, dtype=float)
    check_shape("values", x, (None,))
    check_finite("values", x)
    if len(x) and x.min() <= 0:
        raise ValueError(
            f"values must be positive, since a power law is; got {x.min()}. Eigenvalues of zero "
            "have to be left out first."
        )
    return np.sort(x)


def fit_ascending(x: np.ndarray, rule: str) -> PowerLawFit:
    """The fit for ascending positive values (n,)."""
    n = len(x)
    small = rule == "weightwatcher" and n < SMALL
    tails = n - np.arange(n)  # how many values each tail has
    logs = np.log(x)
    spread = logs[::-1].cumsum()[::-1] - tails * logs  # sum of log(x / xmin) over each tail
    first = np.diff(logs, prepend=-np.inf) > 0  # of equal values, the tail begins at the first
    usable = first & (tails >= (SMALL_TAIL if small else 2)) & (spread > 1e-12)
    starts = np.flatnonzero(usable)
    if not len(starts):
        return PowerLawFit(math.nan, math.nan, math.nan, math.nan, 0, n)
    size = tails[starts]
    alphas = 1 + (size - small) / spread[starts]
    distances = np.concatenate(
        [
            _distances(logs, starts[i : i + 256], alphas[i : i + 256])
            for i in range(0, len(starts), 256)
        ]
    )
    best = int(distances.argmin())
    alpha, k = float(alphas[best]), int(size[best])
    return PowerLawFit(
        alpha, (alpha - 1) / k**0.5, float(x[starts[best]]), float(distances[best]), k, n
    )


def _distances(logs: np.ndarray, starts: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Distance D of the tail from each of `starts` on; `logs` (n,) are the values' logarithms."""
    place = np.arange(len(logs))[None] - starts[:, None]  # (starts, n): place in the tail
    above = np.where(place >= 0, logs[None] - logs[starts, None], 0)  # log(x / xmin)
    law = -np.expm1((1 - alphas[:, None]) * above)
    below = place / (len(logs) - starts)[:, None]  # share of the tail below the value
    return np.where(place >= 0, np.abs(law - below), 0).max(1)
