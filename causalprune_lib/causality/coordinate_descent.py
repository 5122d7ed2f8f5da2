"""The lasso on columns that are held in memory: scikit-learn's coordinate descent, then `finish`.

Coordinate descent finds most of the support and its signs soon, and the last digits late, above
all where columns are alike. So one short run of `sklearn.linear_model.enet_path` on the Gram matrix
(which screens by the duality gap on its own) is followed by an active-set search.
"""

from __future__ import annotations

import warnings

import numpy as np

from causalprune_lib.causality.active_set import finish
from causalprune_lib.causality.duality import duality_gap

EPOCHS = 500  # in one run of coordinate descent
RUNS = 10


def held_lasso(
    z: np.ndarray, y: np.ndarray, lam: float, start: np.ndarray, *, tol: float
) -> np.ndarray:
    """Minimise 1/2 |y - Z w|^2 + lam |w|_1 to a duality gap of `tol`, from `start`; w (n,).

    Parameters
    ----------
    z : array (T, n), Fortran-ordered float64
    y : array (T,)
    lam : float
        Above 0.
    start : array (n,)
    tol : float
        In the units of the objective. Where rounding does not let it be reached, the best point
        found is returned: the caller measures the gap anyway.

    Returns
    -------
    array (n,)
        With at most T non-zeros.

    Examples
    --------
    >>> held_lasso(np.eye(2, order="F"), np.array([3.0, 0.5]), 1.0, np.zeros(2), tol=1e-9)
    array([2., 0.])
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import enet_path

    gram, zy = np.ascontiguousarray(z.T @ z), z.T @ y
    n_rows, square = len(y), float(y @ y)
    w, best, least = start, start, np.inf
    for _ in range(RUNS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            _, found, _ = enet_path(
                z,
                y,
                l1_ratio=1.0,
                alphas=[lam / n_rows],
                precompute=gram,
                Xy=zy,
                coef_init=w.copy(),
                max_iter=EPOCHS,
                tol=0.5 * tol / square,
                check_input=False,
            )
        w = finish(z, y, lam, found[:, 0], steps=2 * n_rows)
        residual = y - z @ w
        gap = duality_gap(y, residual, z.T @ residual, float(np.abs(w).sum()), lam).gap
        if gap < least:
            best, least = w, gap
        if gap <= tol:
            break
    return best
