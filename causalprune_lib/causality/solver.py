"""The exact lasso, of features in memory or on disk: working sets, screening, the duality gap.

    minimise over w   P(w) = 1/2 |y - Z w|^2 + lam |w|_1

Each round reads Z^T residual, which gives the gap of the whole problem and tells which features
cannot matter (Ndiaye, Fercoq, Gramfort and Salmon, "Gap safe screening rules for sparsity enforcing
penalties", JMLR 18, 2017). The most promising of the others make up the working set, which is read
and solved for (Massias, Gramfort and Salmon, "Celer: a fast solver for the lasso with dual
extrapolation", ICML 2018). When all that is left fits into `HELD_BYTES`, it is read once and kept.
The last digits come from an active-set search (Lee, Battle, Raina and Ng, NeurIPS 2006).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import linalg, sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import enet_path

from causalprune_lib._validation import check_finite, check_shape

EPS, TINY = np.finfo(np.float64).eps, np.finfo(np.float64).tiny
CHUNK_BYTES = 8 * 2**20  # of float64 features read at once: stays near the caches
HELD_BYTES = 256 * 2**20  # of features that are kept once the others are screened off
LEAST, GROWTH = 200, 4  # features in a working set: at least, and in multiples of the support
EPOCHS, RUNS = 500, 10  # of coordinate descent: in a run, and runs
DEPENDENT = 1e-10  # squared sine of the angle between a feature and the span of others
ENOUGH = 1e-13  # relative violation of |z_k^T r| <= lam that is let be


class Features:
    """T samples of P features: an array or a memory map (T, P), read in pieces and not copied."""

    def __init__(self, x: np.ndarray) -> None:
        check_shape("x", x, (None, None))
        self._x, self.shape, self.at_once = x, x.shape, x.dtype == np.float64

    def read(self, index: slice | np.ndarray) -> np.ndarray:
        """Some features (T, w), in float64."""
        return np.asarray(self._x[:, index], np.float64)

    def samples(self) -> Iterator[np.ndarray]:
        """Each sample (P,) in float64, in order."""
        for row in self._x:
            yield np.asarray(row, np.float64)

    def chunks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All features once: which, and their values (T, w) in float64."""
        n_samples, n_features = self.shape
        width = n_features if self.at_once else max(1, CHUNK_BYTES // (8 * n_samples))
        for start in range(0, n_features, width):
            part = slice(start, min(start + width, n_features))
            yield part, self.read(part)

    def correlate(self, residual: np.ndarray) -> np.ndarray:
        """X^T residual (P,)."""
        found = np.zeros(self.shape[1])
        for part, values in self.chunks():
            found[part] += values.T @ residual
        return found

    def dot(self, coef: np.ndarray) -> np.ndarray:
        """X coef (T,), from the features where `coef` (P,) is not zero."""
        index = np.flatnonzero(coef)
        return self.read(index) @ coef[index]


def as_features(x: object) -> Features:
    """`x` itself if it is `Features`, an array or a tensor as such otherwise."""
    return x if isinstance(x, Features) else Features(real_array("x", x))


def real_array(name: str, values: object) -> np.ndarray:
    """`values` as an array of real numbers, copied only where that cannot be avoided."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.double() if values.dtype == torch.bfloat16 else values).numpy()
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers; got dtype {values.dtype}.")
    return values


@dataclass(frozen=True)
class Gap:
    """A duality gap, and the dual point nu = shrink * residual that shows it."""

    gap: float  # P(w) - D(nu), at least 0 up to rounding
    shrink: float


def duality_gap(
    y: np.ndarray, residual: np.ndarray, correlation: np.ndarray, l1: float, lam: float
) -> Gap:
    """The gap at w, given its residual y - Z w, Z^T residual and |w|_1.

    P(w) >= min P = max D >= D(nu) = 1/2 |y|^2 - 1/2 |y - nu|^2 for every nu with |z_k^T nu| <= lam.
    The one taken is the feasible multiple of the residual with the largest D.

    >>> duality_gap(np.ones(1), np.full(1, 0.75), np.full(1, 0.75), 0.25, 0.75).gap  # the optimum
    0.0
    """
    square = float(residual @ residual)
    limit = lam / max(float(np.abs(correlation).max()), TINY)
    best = float(y @ residual) / square if square > 0 else 0.0
    shrink = min(max(best, -limit), limit)
    missing = y - shrink * residual
    primal = 0.5 * square + lam * l1
    return Gap(primal - 0.5 * float(y @ y) + 0.5 * float(missing @ missing), shrink)


def may_be_active(
    gap: Gap, correlation: np.ndarray, norms: np.ndarray, lam: float, *, slack: float = 0.0
) -> np.ndarray:
    """Which features (P,) may be in a support at the optimum; the others are zero there for sure.

    D is strongly concave, so the dual optimum lies within sqrt(2 gap) of nu, and z_k can only
    matter if |z_k^T nu| + |z_k| sqrt(2 gap) >= lam. `slack` is added to the gap for rounding.
    """
    radius = np.sqrt(2 * (max(gap.gap, 0.0) + slack))
    return np.abs(gap.shrink * correlation) + norms * radius >= lam


@dataclass(frozen=True, eq=False)
class Fit:
    """One solution of 1/(2T) |y - X gamma|^2 + alpha |gamma|_1."""

    coef: np.ndarray  # (P,) gamma
    gap: float  # in units of the objective
    relative_gap: float  # in units of |y|^2 / (2T)
    n_iter: int


class LassoSolver:
    """Solves one lasso at one penalty after another; each starts from the last solution.

    It sees Z = X / `scale` and y / `y_scale`, whose sizes are about 1, without copying X, so that
    gamma = y_scale w / scale and lam = T alpha / (y_scale scale). Groups of n_g features share one
    coefficient, as in section 5 of the paper: each pays alpha n_g |gamma_g| and predicts gamma_g
    sum_{k in g} x_k. In u_g = n_g gamma_g that is a lasso on the means of the groups, which are
    held in memory and take the place of the `features`.
    """

    def __init__(self, x: object, y: object, groups: object | None = None) -> None:
        self.features, self._members = as_features(x), None
        shape, n_samples = self.features.shape, self.features.shape[0]
        if 0 in shape:
            raise ValueError(f"x must have at least one row and one column; got {shape}.")
        self.effect = effect = real_array("y", y).astype(np.float64)
        check_shape("y", effect, (n_samples,))
        check_finite("y", effect)
        if groups is not None:
            self._tie(groups)
        exponent = math.frexp(float(np.abs(effect).max()))[1]  # y**2 may overflow or vanish
        root = np.sqrt(np.mean(np.ldexp(effect, -exponent) ** 2))
        self.y_scale = float(np.ldexp(root, exponent)) or 1.0
        self.y = effect / self.y_scale
        squares, zy = np.zeros((2, self.features.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):
            for part, values in self.features.chunks():
                squares[part] += np.einsum("tp,tp->p", values, values)
                zy[part] += values.T @ self.y
        bad = ~np.isfinite(squares)
        if bad.any():
            raise ValueError(
                f"x must be finite, and small enough to be squared; got {bad.sum()} columns with "
                f"NaN, infinite or too large values, the first is column {bad.argmax()}."
            )
        norms, largest = np.sqrt(squares), squares.max()
        if largest < TINY / EPS and any(values.any() for _, values in self.features.chunks()):
            raise ValueError(f"x must be large enough to be squared; got at most {largest:.1e}.")
        self.scale = float(norms.max() / np.sqrt(n_samples)) or 1.0
        self.norms, self.zy = norms / self.scale, np.where(norms > 0, zy, 0.0) / self.scale
        self._unit = self.y_scale * self.scale
        if not TINY < self._unit < math.inf:
            raise ValueError(f"y times x must be neither 0 nor infinite; got about {self._unit}.")
        self.alpha_max = float(np.abs(self.zy).max()) * self._unit / n_samples
        # The last solution: w (s,) at the increasing support (s,), and Z^T residual where known.
        self.support, self.w = np.empty(0, np.int64), np.empty(0)
        self.residual, self.correlation = self.y, self.zy

    def _tie(self, groups: object) -> None:
        """Put the means of the groups in the place of the features."""
        given, (n_samples, n_features) = real_array("groups", groups), self.features.shape
        check_shape("groups", given, (n_features,))
        if given.dtype.kind not in "iu":
            raise TypeError(f"groups must be whole numbers; got {given.dtype}.")
        _, self._members, self._counts = np.unique(given, return_inverse=True, return_counts=True)
        share = 1.0 / self._counts[self._members]
        places = (np.arange(n_features), self._members)
        average = sparse.csr_array((share, places), shape=(n_features, len(self._counts)))
        means = np.zeros((n_samples, len(self._counts)))
        for part, values in self.features.chunks():
            means += values @ average[part]
        self.features = Features(means)

    def solve(self, alpha: float, *, tol: float, max_iter: int) -> Fit:
        """Minimise to a gap of `tol` |y|^2 / (2T) in at most `max_iter` working sets, or warn."""
        y, lam = self.y, alpha * len(self.y) / self._unit
        half = 0.5 * float(y @ y)
        if lam >= float(np.abs(self.zy).max()) * (1 - 4 * EPS):  # zero is the solution
            self.support, self.w = self.support[:0], self.w[:0]
            self.residual, self.correlation = y, self.zy
            return self._fit(np.zeros(len(self.zy)), 0.0, 0)
        alive = np.flatnonzero(self.norms > 0)  # those that may be in the support
        held = before = None  # the values (T, .) of those alive; the last working set
        inner, rounds = 0.3 * tol * half, 0
        while True:
            if held is None and self.correlation is None:
                self.correlation = self.features.correlate(self.residual) / self.scale
            correlation = self.correlation[alive] if held is None else held.T @ self.residual
            gap = duality_gap(y, self.residual, correlation, float(np.abs(self.w).sum()), lam)
            if rounds > 0 and (gap.gap <= tol * half or rounds == max_iter):
                break
            keep = may_be_active(gap, correlation, self.norms[alive], lam, slack=64 * EPS * half)
            keep |= np.isin(alive, self.support)
            alive, correlation = alive[keep], correlation[keep]
            if held is not None:
                held = held[:, keep]
            elif 8 * len(y) * len(alive) <= HELD_BYTES:
                held = self._read(alive)
            # The support, and the features nearest to the boundary of the dual's feasible set.
            size = min(len(alive), max(LEAST, GROWTH * len(self.support)))
            distance = (lam - np.abs(gap.shrink * correlation)) / self.norms[alive]
            distance[np.searchsorted(alive, self.support)] = -np.inf
            nearest = np.sort(np.argpartition(distance, size - 1)[:size])
            chosen = alive[nearest]
            if before is not None and np.array_equal(chosen, before):  # the same once more
                if inner < 4 * EPS * half:
                    break
                inner *= 0.1
            before = chosen
            z = self._read(chosen) if held is None else np.asfortranarray(held[:, nearest])
            w = np.zeros(size)
            w[np.searchsorted(chosen, self.support)] = self.w
            w = solve_held(z, y, lam, w, tol=inner)
            used = np.flatnonzero(w)
            self.support, self.w = chosen[used], w[used]
            self.residual, self.correlation = y - z[:, used] @ self.w, None
            rounds += 1
        coef = np.zeros(len(self.zy))
        coef[self.support] = self.y_scale * self.w / self.scale
        fit = self._fit(coef, gap.gap, rounds)
        if gap.gap > tol * half:
            warnings.warn(
                f"the duality gap is {fit.relative_gap:.1e} of |y|^2 / 2 after {rounds} working "
                f"sets, above tol = {tol:.1e}; raise max_iter = {max_iter}, tol or alpha.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return fit

    def _read(self, index: np.ndarray) -> np.ndarray:
        """Features of Z (T, w), in Fortran order."""
        z = np.asfortranarray(self.features.read(index))
        z /= self.scale
        return z

    def _fit(self, coef: np.ndarray, gap: float, n_iter: int) -> Fit:
        """A `coef` of `features` as one of all P, and its gap in the units of the data."""
        gap, half = max(gap, 0.0), 0.5 * float(self.y @ self.y) or 1.0
        if self._members is not None:
            coef = (coef / self._counts)[self._members]
        return Fit(coef, gap * self.y_scale * self.y_scale / len(self.y), gap / half, n_iter)

    def measure(self, coef: np.ndarray, alpha: float, *, n_iter: int) -> Fit:
        """The gap at a `coef` of `features` that was found elsewhere."""
        residual = self.y - self.features.dot(coef) / self.y_scale
        correlation = self.features.correlate(residual) / self.scale
        l1 = float(np.abs(coef).sum()) * self.scale / self.y_scale
        lam = alpha * len(self.y) / self._unit
        return self._fit(coef, duality_gap(self.y, residual, correlation, l1, lam).gap, n_iter)


def solve_held(
    z: np.ndarray, y: np.ndarray, lam: float, start: np.ndarray, *, tol: float
) -> np.ndarray:
    """Minimise P to a gap of `tol`, from `start` (n,), for a Fortran-ordered `z` (T, n); w (n,).

    Coordinate descent finds most of the support and its signs soon and the last digits late, so
    `finish` follows a short run of it. If rounding keeps the gap out of reach, the best point.
    """
    gram, zy = np.ascontiguousarray(z.T @ z), z.T @ y
    options = {"precompute": gram, "Xy": zy, "l1_ratio": 1.0, "alphas": [lam / len(y)]}
    options |= {"max_iter": EPOCHS, "tol": 0.5 * tol / float(y @ y), "check_input": False}
    w, best, least = start, start, np.inf
    for _ in range(RUNS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            _, found, _ = enet_path(z, y, coef_init=w.copy(), **options)
        w = finish(z, y, lam, found[:, 0], steps=2 * len(y))
        residual = y - z @ w
        gap = duality_gap(y, residual, z.T @ residual, float(np.abs(w).sum()), lam).gap
        if gap < least:
            best, least = w, gap
        if gap <= tol:
            break
    return best


def finish(z: np.ndarray, y: np.ndarray, lam: float, w: np.ndarray, *, steps: int) -> np.ndarray:
    """From nearly the right support w (n,) to the minimum of P, in finitely many steps.

    With the support S and the signs s fixed, the optimum solves Z_S^T Z_S w_S = Z_S^T y - lam s.
    Walk there, dropping a coefficient that reaches zero on the way; then let the feature enter that
    violates |z_k^T r| <= lam most; repeat until none does, at most `steps` times. Every step lowers
    P, and there are finitely many supports with signs. That of the result is independent.
    """
    w = settle(z, y, lam, independent(z, w))
    for _ in range(steps):
        support = np.flatnonzero(w)
        correlation = z.T @ (y - z[:, support] @ w[support])
        size = np.abs(correlation)
        size[support] = 0.0
        new = int(size.argmax())
        if size[new] <= lam * (1 + ENOUGH):
            break
        sign, column, others = float(np.sign(correlation[new])), z[:, new], z[:, support]
        mix = linalg.lstsq(others, column, check_finite=False)[0] if len(support) else np.empty(0)
        left = column - others @ mix
        w = w.copy()
        if float(left @ left) <= DEPENDENT * float(column @ column):  # it can only replace another
            change = -sign * mix
            shrinking = w[support] * change < 0
            if not shrinking.any():
                break
            w[new] = sign * _to_first_zero(w, support, change, shrinking)
        else:
            both = np.append(support, new)
            target = _optimum(z[:, both], y, lam, np.append(np.sign(w[support]), sign))
            if target is None or target[-1] * sign <= 0:
                break
            w[new] = sign * TINY  # so that its sign is known
            if _walk(w, both, target):
                continue
        w = settle(z, y, lam, w)
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
    """The same Z w from independent features, at most T of them, with no larger |w|_1.

    Of dependent ones some combination v has Z v = 0. Moving along it leaves Z w alone, and one way
    |w|_1 does not grow: stop where a coefficient reaches zero, and repeat.
    """
    w = w.copy()
    while len(support := np.flatnonzero(w)):
        norms = np.linalg.norm(z[:, support], axis=0)
        unit = z[:, support] / norms
        triangle, order = linalg.qr(unit, mode="r", pivoting=True, check_finite=False)
        rank = int((np.diag(triangle) ** 2 > DEPENDENT).sum())
        if rank == len(support):
            break
        mix = linalg.solve_triangular(triangle[:rank, :rank], triangle[:rank, rank])
        free, old = np.zeros(len(support)), w[support]
        free[order[:rank]], free[order[rank]] = -mix, 1.0
        free /= norms
        if float(np.sign(old) @ free) > 0:
            free = -free
        if not (old * free < 0).any():  # only rounding can make this so
            free = -free
        _to_first_zero(w, support, free, old * free < 0)
    return w


def _optimum(z: np.ndarray, y: np.ndarray, lam: float, signs: np.ndarray) -> np.ndarray | None:
    """Z^T (y - Z w) = lam signs, refined once on the residual; None for dependent features."""
    try:
        cholesky = linalg.cho_factor(z.T @ z, check_finite=False)
    except linalg.LinAlgError:
        return None
    w = linalg.cho_solve(cholesky, z.T @ y - lam * signs, check_finite=False)
    w += linalg.cho_solve(cholesky, z.T @ (y - z @ w) - lam * signs, check_finite=False)
    return w if np.isfinite(w).all() else None


def _walk(w: np.ndarray, support: np.ndarray, target: np.ndarray) -> bool:
    """Move w, in place, to the target or to the first zero on the way; True at the target."""
    flips = np.sign(target) != np.sign(w[support])
    if flips.any():
        _to_first_zero(w, support, target - w[support], flips)
    else:
        w[support] = target
    return not flips.any()


def _to_first_zero(
    w: np.ndarray, support: np.ndarray, change: np.ndarray, shrinking: np.ndarray
) -> float:
    """Move w, in place, by a multiple of `change` at which one of those `shrinking` is 0; which."""
    old = w[support]
    steps = np.where(shrinking, -old / np.where(shrinking, change, 1.0), np.inf)
    first = int(steps.argmin())
    w[support] = old + steps[first] * change
    w[support[first]] = 0.0
    return float(steps[first])
