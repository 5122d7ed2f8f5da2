"""The last digits of a lasso: from nearly the right support to the optimum, in finitely many steps.

With the support S and the signs s fixed, the optimum solves Z_S^T Z_S w_S = Z_S^T y - lam s. Walk
there, dropping a coefficient that reaches zero on the way; then let the column enter that violates
|z_k^T r| <= lam most; repeat until none does. Every step lowers the objective, and there are
finitely many supports with signs. Lee, Battle, Raina and Ng, "Efficient sparse coding algorithms",
NeurIPS 2006 (feature-sign search).
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

DEPENDENT = 1e-10  # squared sine of the angle between a column and the span of others
ENOUGH = 1e-13  # relative violation of |z_k^T r| <= lam that is let be


def finish(z: np.ndarray, y: np.ndarray, lam: float, w: np.ndarray, *, steps: int) -> np.ndarray:
    """Go on from w (n,) towards the minimum of 1/2 |y - Z w|^2 + lam |w|_1.

    At most `steps` columns enter; the columns of the result's support are independent.

    Examples
    --------
    >>> finish(np.eye(3), np.array([3.0, -2.0, 0.5]), 1.0, np.zeros(3), steps=5)
    array([ 2., -1.,  0.])
    """
    w = settle(z, y, lam, independent(z, w))
    for _ in range(steps):
        support = np.flatnonzero(w)
        correlation = z.T @ (y - z[:, support] @ w[support])
        size = np.abs(correlation)
        size[support] = 0.0
        entering = int(size.argmax())
        if size[entering] <= lam * (1 + ENOUGH):
            break
        moved = _enter(z, y, lam, w, support, entering, float(np.sign(correlation[entering])))
        if moved is None:
            break
        w = moved
    return w


def settle(z: np.ndarray, y: np.ndarray, lam: float, w: np.ndarray) -> np.ndarray:
    """The optimum on the support and the signs of w, less what changes its sign on the way."""
    w = w.copy()
    while len(support := np.flatnonzero(w)):
        target = _optimum(z[:, support], y, lam, np.sign(w[support]))
        if target is None or _walk(w, support, target):
            break
    return w


def independent(z: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The same Z w from independent columns, at most T of them, with no larger |w|_1.

    Among dependent columns some combination v with Z v = 0 exists; moving along it leaves Z w
    alone, and in one of its two directions |w|_1 does not grow. Stop where a coefficient reaches
    zero, and repeat. So the lasso always has a solution with at most T non-zeros.

    Examples
    --------
    >>> independent(np.ones((1, 3)), np.array([1.0, 1.0, 2.0]))
    array([0., 0., 4.])
    """
    w = w.copy()
    while len(support := np.flatnonzero(w)):
        columns = z[:, support] / np.linalg.norm(z[:, support], axis=0)
        triangle, order = linalg.qr(columns, mode="r", pivoting=True, check_finite=False)
        size = np.zeros(len(support))
        diagonal = np.abs(np.diag(triangle))
        size[: len(diagonal)] = diagonal
        rank = int((size**2 > DEPENDENT).sum())
        if rank == len(support):
            break
        mix = linalg.solve_triangular(triangle[:rank, :rank], triangle[:rank, rank])
        free = np.zeros(len(support))
        free[order[:rank]], free[order[rank]] = -mix, 1.0
        _slide(w, support, free / np.linalg.norm(z[:, support], axis=0))
    return w


def _optimum(z: np.ndarray, y: np.ndarray, lam: float, signs: np.ndarray) -> np.ndarray | None:
    """Z^T (y - Z w) = lam signs, refined once on the residual; None for dependent columns."""
    try:
        factor = linalg.cho_factor(z.T @ z, check_finite=False)
    except linalg.LinAlgError:
        return None
    w = linalg.cho_solve(factor, z.T @ y - lam * signs, check_finite=False)
    w += linalg.cho_solve(factor, z.T @ (y - z @ w) - lam * signs, check_finite=False)
    return w if np.isfinite(w).all() else None


def _walk(w: np.ndarray, support: np.ndarray, target: np.ndarray) -> bool:
    """Move w, in place, to the target or to the first zero on the way; True at the target."""
    old = w[support]
    flips = np.sign(target) != np.sign(old)
    if not flips.any():
        w[support] = target
        return True
    share = np.where(flips, old / np.where(flips, old - target, 1.0), np.inf)
    first = int(share.argmin())
    w[support] = old + share[first] * (target - old)
    w[support[first]] = 0.0
    return False


def _slide(w: np.ndarray, support: np.ndarray, free: np.ndarray) -> None:
    """Move w, in place, along a direction that leaves Z w alone, to the first zero."""
    old = w[support]
    if float(np.sign(old) @ free) > 0:
        free = -free
    if not (shrinking := old * free < 0).any():  # only rounding can make this so
        free, shrinking = -free, old * free > 0
    steps = np.where(shrinking, -old / np.where(shrinking, free, 1.0), np.inf)
    first = int(steps.argmin())
    w[support] = old + steps[first] * free
    w[support[first]] = 0.0


def _enter(
    z: np.ndarray,
    y: np.ndarray,
    lam: float,
    w: np.ndarray,
    support: np.ndarray,
    entering: int,
    sign: float,
) -> np.ndarray | None:
    """w after the column `entering` has joined; None where rounding lets it get nowhere."""
    columns, new = z[:, support], z[:, entering]
    mix = linalg.lstsq(columns, new, check_finite=False)[0] if len(support) else np.empty(0)
    left = new - columns @ mix
    w = w.copy()
    if float(left @ left) <= DEPENDENT * float(new @ new):  # it can only replace another column
        old, change = w[support], -sign * mix
        shrinking = old * change < 0
        if not shrinking.any():
            return None
        steps = np.where(shrinking, -old / np.where(shrinking, change, 1.0), np.inf)
        first = int(steps.argmin())
        w[support] = old + steps[first] * change
        w[entering] = sign * steps[first]
        w[support[first]] = 0.0
        return settle(z, y, lam, w)
    both = np.append(support, entering)
    target = _optimum(z[:, both], y, lam, np.append(np.sign(w[support]), sign))
    if target is None or target[-1] * sign <= 0:
        return None
    w[entering] = sign * np.finfo(float).tiny  # so that its sign is known
    return w if _walk(w, both, target) else settle(z, y, lam, w)
