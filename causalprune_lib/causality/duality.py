"""How far from the lasso's optimum: soft thresholding, the duality gap, gap-safe screening.

For P(w) = 1/2 |y - Z w|^2 + lam |w|_1 the dual is

    D(nu) = 1/2 |y|^2 - 1/2 |y - nu|^2   subject to   |z_k^T nu| <= lam for all k,

and P(w) >= P* = D* >= D(nu). So P(w) - D(nu) bounds the suboptimality of w, whatever found it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def soft_threshold(x: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """sign(x) max(|x| - threshold, 0), the minimiser of 1/2 (w - x)^2 + threshold |w|.

    Examples
    --------
    >>> soft_threshold(np.array([-3.0, 0.5, 2.0]), 1.0)
    array([-2.,  0.,  1.])
    """
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0.0)


@dataclass(frozen=True)
class Gap:
    """A duality gap, and the dual point that shows it.

    Attributes
    ----------
    gap : float
        P(w) - D(nu), at least 0 up to rounding.
    shrink : float
        nu = shrink * residual.
    """

    gap: float
    shrink: float


def duality_gap(
    y: np.ndarray, residual: np.ndarray, correlation: np.ndarray, l1: float, lam: float
) -> Gap:
    """The gap at w, given its residual y - Z w, Z^T residual and |w|_1.

    The dual point is the multiple of the residual that is feasible and has the largest D.

    Examples
    --------
    >>> duality_gap(np.ones(1), np.full(1, 0.75), np.full(1, 0.75), 0.25, 0.75).gap  # the optimum
    0.0
    """
    square = float(residual @ residual)
    limit = lam / max(float(np.abs(correlation).max()), np.finfo(float).tiny)
    best = float(y @ residual) / square if square > 0 else 0.0
    shrink = min(max(best, -limit), limit)
    missing = y - shrink * residual
    primal = 0.5 * square + lam * l1
    return Gap(primal - 0.5 * float(y @ y) + 0.5 * float(missing @ missing), shrink)


def may_be_active(
    gap: Gap, correlation: np.ndarray, norms: np.ndarray, lam: float, *, slack: float = 0.0
) -> np.ndarray:
    """Which columns (P,) may be in a support at the optimum; the others are zero there for sure.

    D is strongly concave, so the dual optimum lies within sqrt(2 gap) of nu, and z_k can only
    matter if |z_k^T nu| + |z_k| sqrt(2 gap) >= lam. Ndiaye, Fercoq, Gramfort and Salmon, "Gap safe
    screening rules for sparsity enforcing penalties", JMLR 18, 2017. `slack` is added to the gap
    for rounding.
    """
    radius = np.sqrt(2 * (max(gap.gap, 0.0) + slack))
    return np.abs(gap.shrink * correlation) + norms * radius >= lam
