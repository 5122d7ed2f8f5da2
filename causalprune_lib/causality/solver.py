"""The last digits of a lasso: from nearly the right support to the optimum, in finitely many steps.

With the support S and the signs s fixed, the optimum solves Z_S^T Z_S w_S = Z_S^T y - lam s. Walk
there, dropping a coefficient that reaches zero on the way; then let the column enter that violates
|z_k^T r| <= lam most; repeat until none does. Every step lowers the objective, and there are
finitely many supports with signs. Lee, Battle, Raina and Ng, "Efficient sparse coding algorithms",
NeurIPS 2006 (feature-sign search).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import linalg

from causalprune_lib._validation import check_finite, check_int, check_shape

# ---- columns: Columns of a regression that need not fit in memory: T samples of P features, in b


BLOCK_BYTES = 8 * 2**20  # of float64: stays near the caches


Block = tuple[slice, slice, np.ndarray]  # rows, columns, their values in float64


class Columns(ABC):
    """T samples of P features, read in blocks; the same at every pass.

    Attributes
    ----------
    shape : (int, int)
        (T, P).
    passes : int
        How often the data has been read from beginning to end.
    """

    shape: tuple[int, int]
    passes: int = 0

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Rows, columns and values (t, p) in float64 of blocks that cover T x P once."""

    @abstractmethod
    def rows(self) -> Iterator[np.ndarray]:
        """Each sample (P,) in float64, in order."""

    def gather(self, index: np.ndarray) -> np.ndarray:
        """The columns (T, w) with the increasing numbers `index` (w,), in float64."""
        found = np.empty((self.shape[0], len(index)), order="F")
        for rows, columns, values in self.blocks():
            low, high = np.searchsorted(index, [columns.start, columns.stop])
            found[rows, low:high] = values[:, index[low:high] - columns.start]
        return found

    def dot(self, coef: np.ndarray) -> np.ndarray:
        """X @ coef, (T,), from the columns where `coef` (P,) is not zero."""
        index = np.flatnonzero(coef)
        return self.gather(index) @ coef[index] if len(index) else np.zeros(self.shape[0])


class ArrayColumns(Columns):
    """Columns of an array, a memory map or a tensor (T, P). Nothing is copied but blocks.

    Examples
    --------
    >>> columns = ArrayColumns(np.arange(6.0).reshape(2, 3))
    >>> columns.gather(np.array([0, 2]))
    array([[0., 2.],
           [3., 5.]])
    """

    def __init__(self, x: np.ndarray | torch.Tensor) -> None:
        if isinstance(x, torch.Tensor):
            x = x.detach().cpu()
            x = (x if x.dtype in (torch.float32, torch.float64) else x.double()).numpy()
        check_shape("x", x, (None, None))
        self._x, self.shape = x, tuple(x.shape)

    def blocks(self) -> Iterator[Block]:
        self.passes += 1
        n_rows, n_columns = self.shape
        whole = self._x.dtype == np.float64  # needs no copy
        for columns in pieces(n_columns, n_columns if whole else BLOCK_BYTES // (8 * n_rows)):
            yield slice(0, n_rows), columns, np.asarray(self._x[:, columns], np.float64)

    def rows(self) -> Iterator[np.ndarray]:
        self.passes += 1
        for row in self._x:
            yield np.asarray(row, np.float64)

    def gather(self, index: np.ndarray) -> np.ndarray:
        self.passes += 1
        return np.asfortranarray(self._x[:, index], dtype=np.float64)


class RowBlocks(Columns):
    """Columns that are replayed: `replay` yields the samples in blocks of rows, each time anew.

    Parameters
    ----------
    replay : callable or iterable
        `replay()`, or going through `replay` once more, yields arrays or tensors (t, P) that make
        up the T samples in order. A generator is spent after one pass: pass the function that
        makes it.
    shape : (int, int)
        (T, P). A pass that yields something else raises a RuntimeError.

    Examples
    --------
    >>> def replay():
    ...     for t in range(4):
    ...         yield np.full((1, 3), float(t))
    >>> RowBlocks(replay, shape=(4, 3)).gather(np.array([1])).ravel()
    array([0., 1., 2., 3.])
    """

    def __init__(
        self, replay: Callable[[], Iterable] | Iterable, *, shape: tuple[int, int]
    ) -> None:
        if not callable(replay) and (not isinstance(replay, Iterable) or iter(replay) is replay):
            raise TypeError(
                "replay must be a callable that returns an iterable of blocks (t, P), or an "
                f"iterable that can be gone through again; got {type(replay).__name__}."
            )
        self._replay = replay
        self.shape = check_int("shape[0]", shape[0]), check_int("shape[1]", shape[1])

    def blocks(self) -> Iterator[Block]:
        self.passes += 1
        n_rows, n_columns = self.shape
        start = 0
        for block in self._replay() if callable(self._replay) else self._replay:
            if isinstance(block, torch.Tensor):
                block = block.detach().cpu().double()
            values = np.asarray(block, np.float64)
            if values.ndim != 2 or values.shape[1] != n_columns:
                raise RuntimeError(
                    f"replay must yield blocks of shape (any, {n_columns}); got {values.shape}."
                )
            stop = start + len(values)
            if stop > n_rows:
                break
            yield slice(start, stop), slice(0, n_columns), values
            start = stop
        else:
            stop = start
        if stop != n_rows:
            more = "more" if stop > n_rows else f"only {stop}"
            raise RuntimeError(f"replay must yield {n_rows} rows at every pass; got {more}.")

    def rows(self) -> Iterator[np.ndarray]:
        for _, _, values in self.blocks():
            yield from values


def as_columns(x: object) -> Columns:
    """`x` itself if it is a `Columns`, an array or a tensor as one otherwise."""
    if isinstance(x, Columns):
        return x
    return ArrayColumns(x if isinstance(x, np.ndarray | torch.Tensor) else np.asarray(x, float))


def pieces(n: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` (and at least 1) that cover 0..n-1."""
    size = max(1, size)
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


# ---- duality: How far from the lasso's optimum: soft thresholding, the duality gap, gap-safe scr


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


# ---- active_set: The last digits of a lasso: from nearly the right support to the optimum, in fi


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


# ---- groups: Tied coefficients: one gamma for all weights of a filter or a neuron.


@dataclass(frozen=True, eq=False)
class Groups:
    """Which of G groups each of P columns belongs to.

    Attributes
    ----------
    labels : array (G,) of int
        The numbers used, increasing.
    member : array (P,) of int
        Position in `labels`.
    counts : array (G,) of int
        n_g.
    """

    labels: np.ndarray
    member: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, groups: object, n_columns: int) -> Groups:
        """From one whole number per column, equal for columns that share a coefficient.

        Examples
        --------
        >>> Groups.of([7, 7, 3], 3).counts
        array([1, 2])
        """
        given = groups.cpu().numpy() if isinstance(groups, torch.Tensor) else np.asarray(groups)
        check_shape("groups", given, (n_columns,))
        if given.dtype.kind not in "iu":
            raise TypeError(f"groups must be whole numbers; got {given.dtype}.")
        return cls(*np.unique(given, return_inverse=True, return_counts=True))

    def means(self, columns: Columns) -> ArrayColumns:
        """Xbar (T, G): one pass, and held in memory.

        Examples
        --------
        >>> x = ArrayColumns(np.array([[1.0, 3.0, 10.0]]))
        >>> Groups.of([0, 0, 1], 3).means(x).gather(np.arange(2))
        array([[ 2., 10.]])
        """
        from scipy import sparse

        n_columns, n_groups = len(self.member), len(self.labels)
        share = 1.0 / self.counts[self.member]
        places = (np.arange(n_columns), self.member)
        average = sparse.csr_array((share, places), shape=(n_columns, n_groups))
        found = np.zeros((columns.shape[0], n_groups))
        for rows, part, values in columns.blocks():
            found[rows] += values @ average[part]
        return ArrayColumns(found)

    def coef(self, u: np.ndarray) -> np.ndarray:
        """gamma (P,) of all columns from u (G,)."""
        return (u / self.counts)[self.member]


# ---- design: A lasso problem in its own units: centred where asked, scaled, its column norms kno


EPS = np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class Design:
    """The problem 1/2 |y - Z w|^2 + lam |w|_1 that the solvers see.

    Z = (X - mean) / scale and y = (effect - y_mean) / y_scale, both without copying X. So
    coef = y_scale w / scale in the units of the data.

    Attributes
    ----------
    columns : Columns (T, P)
    y : array (T,)
    scale, mean : array (P,)
        `scale` is one number for all columns, or the root mean square of each.
    norms : array (P,)
        |z_k|; 0 for a column that never varies.
    zy : array (P,)
        Z^T y.
    y_scale, y_mean : float
    unit : float
        alpha in units of the data is `unit` times lam / T.
    """

    columns: Columns
    y: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    norms: np.ndarray
    zy: np.ndarray
    y_scale: float
    y_mean: float
    unit: float

    @classmethod
    def of(
        cls,
        columns: Columns,
        effect: np.ndarray,
        *,
        standardise: bool = False,
        fit_intercept: bool = False,
        rescale: bool = True,
    ) -> Design:
        """Read the columns once. `rescale=False` leaves the units alone unless standardised.

        Raises
        ------
        ValueError
            There are no rows, the lengths differ, or a value is NaN or infinite.
        """
        n_rows, n_columns = columns.shape
        if n_rows == 0 or n_columns == 0:
            raise ValueError(f"x must have at least one row and one column; got {columns.shape}.")
        effect = np.asarray(effect, np.float64)
        check_shape("y", effect, (n_rows,))
        check_finite("y", effect)
        y_mean = float(effect.mean()) if fit_intercept else 0.0
        y = effect - y_mean
        y_scale = float(np.sqrt(np.mean(y**2))) if rescale else 1.0
        y = y / (y_scale := y_scale or 1.0)
        total, squares, zy = np.zeros((3, n_columns))
        with np.errstate(over="ignore", invalid="ignore"):
            for rows, part, values in columns.blocks():
                total[part] += values.sum(0) if fit_intercept else 0.0
                squares[part] += np.einsum("tp,tp->p", values, values)
                zy[part] += values.T @ y[rows]
        _check_columns(squares)
        mean = total / n_rows
        centred = squares - n_rows * mean**2
        centred[centred <= 4 * n_rows * EPS * squares] = 0.0  # constant, up to rounding
        norms = np.sqrt(centred)
        common = float(norms.max() / np.sqrt(n_rows)) or 1.0
        if standardise:
            scale = np.where(norms > 0, norms / np.sqrt(n_rows), 1.0)
        else:
            scale = np.full(n_columns, common if rescale else 1.0)
        unit = y_scale * (1.0 if standardise else float(scale[0]))
        zy = np.where(norms > 0, zy - mean * y.sum(), 0.0) / scale
        return cls(columns, y, scale, mean, norms / scale, zy, y_scale, y_mean, unit)

    @property
    def n_rows(self) -> int:
        """T."""
        return self.columns.shape[0]

    def correlate(self, residual: np.ndarray) -> np.ndarray:
        """Z^T residual (P,): one pass."""
        found = np.zeros(self.columns.shape[1])
        for rows, part, values in self.columns.blocks():
            found[part] += values.T @ residual[rows]
        return np.where(self.norms > 0, found - self.mean * residual.sum(), 0.0) / self.scale

    def gather(self, index: np.ndarray) -> np.ndarray:
        """Z's columns (T, w): one pass. They must be those whose norms were read before."""
        z = self.columns.gather(index)
        z -= self.mean[index]
        z /= self.scale[index]
        squares, before = np.einsum("tw,tw->w", z, z), self.norms[index] ** 2
        rounding = EPS * self.n_rows**2 * (self.mean[index] / self.scale[index]) ** 2
        moved = ~(np.abs(squares - before) <= 1e-6 * before + 8 * rounding)
        if moved.any():
            k = int(np.argmax(moved))
            raise RuntimeError(
                "x must be the same at every pass (was the recording written to, or the replay "
                f"not repeated exactly?); {int(moved.sum())} of {len(index)} columns changed, "
                f"column {index[k]} from a sum of squares of {before[k]:.6g} to {squares[k]:.6g}."
            )
        return z

    def rows(self) -> Iterator[np.ndarray]:
        """Each row of Z, (P,)."""
        for row in self.columns.rows():
            yield np.where(self.norms > 0, row - self.mean, 0.0) / self.scale

    def coef(self, w: np.ndarray, index: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Coefficients in units of the data, of all columns or those numbered `index`."""
        return self.y_scale * w / self.scale[index]


def _check_columns(squares: np.ndarray) -> None:
    finite = np.isfinite(squares)
    if not finite.all():
        raise ValueError(
            f"x must be finite, and small enough to be squared; got {int((~finite).sum())} columns "
            f"with NaN, infinite or too large values, the first is column {int(finite.argmin())}."
        )


# ---- coordinate_descent: The lasso on columns that are held in memory: scikit-learn's coordinate


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


# ---- working_set: The exact lasso on columns that are not held: a working set, checked by the du


HELD_BYTES = 256 * 2**20


LEAST = 200  # columns in a working set


GROWTH = 4  # columns in a working set, in multiples of the support


@dataclass(frozen=True, eq=False)
class Fit:
    """One solution: `w` (s,) at the columns `support` (s,), increasing; zero elsewhere.

    `gap` is absolute, `relative_gap` in units of |y|^2 / 2; `rounds` counts the working sets.
    """

    support: np.ndarray
    w: np.ndarray
    gap: float
    relative_gap: float
    rounds: int
    converged: bool


class WorkingSet:
    """Solves one `Design` at one penalty after another; each starts from the last solution."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.support = np.empty(0, np.int64)
        self.w = np.empty(0)
        self.residual = design.y
        self.index = np.empty(0, np.int64)  # numbers of the columns of z
        self.z = np.empty((design.n_rows, 0), order="F")
        self.correlation: np.ndarray | None = design.zy  # of the residual, where it is known

    def solve(self, lam: float, *, tol: float, max_iter: int) -> Fit:
        """Minimise to a gap of `tol` |y|^2 / 2, in 1..`max_iter` working sets (0 where w = 0)."""
        design, y = self.design, self.design.y
        half = 0.5 * float(y @ y)
        highest = float(np.abs(design.zy).max())
        if lam >= highest * (1 - 4 * EPS):  # zero is the solution
            self.support, self.w = self.support[:0], self.w[:0]
            self.residual, self.correlation = y, design.zy
            return Fit(self.support, self.w, 0.0, 0.0, 0, True)
        alive = np.flatnonzero(design.norms > 0)  # those that may be in the support
        held: np.ndarray | None = None
        inner, rounds = 0.3 * tol * half, 0
        while True:
            gap, correlation = self._check(alive, held, lam)
            if rounds > 0 and (gap.gap <= tol * half or rounds == max_iter):
                break
            keep = may_be_active(gap, correlation, design.norms[alive], lam, slack=64 * EPS * half)
            keep |= np.isin(alive, self.support)
            alive, correlation = alive[keep], correlation[keep]
            held = held[:, keep] if held is not None else self._hold(alive)
            chosen = self._choose(alive, correlation, gap, lam)
            if np.array_equal(chosen, self.index) and rounds > 0:  # the same once more
                if inner < 4 * EPS * half:
                    break
                inner *= 0.1
            self._read(chosen, alive, held)
            start = np.zeros(len(chosen))
            start[np.searchsorted(chosen, self.support)] = self.w
            w = held_lasso(self.z, y, lam, start, tol=inner)
            used = np.flatnonzero(w)
            self.support, self.w = chosen[used], w[used]
            self.residual, self.correlation = y - self.z[:, used] @ self.w, None
            rounds += 1
        value = max(gap.gap, 0.0)
        done = gap.gap <= tol * half
        return Fit(self.support, self.w, value, value / half, rounds, done)

    def _check(
        self, alive: np.ndarray, held: np.ndarray | None, lam: float
    ) -> tuple[Gap, np.ndarray]:
        if held is not None:
            correlation = held.T @ self.residual
        else:
            if self.correlation is None:
                self.correlation = self.design.correlate(self.residual)
            correlation = self.correlation[alive]
        l1 = float(np.abs(self.w).sum())
        return duality_gap(self.design.y, self.residual, correlation, l1, lam), correlation

    def _hold(self, alive: np.ndarray) -> np.ndarray | None:
        fits = self.design.n_rows * len(alive) * 8 <= HELD_BYTES
        return self.design.gather(alive) if fits else None

    def _choose(
        self, alive: np.ndarray, correlation: np.ndarray, gap: Gap, lam: float
    ) -> np.ndarray:
        """The support, and the columns nearest to the boundary of the dual's feasible set."""
        size = min(len(alive), max(LEAST, GROWTH * len(self.support)))
        distance = (lam - np.abs(gap.shrink * correlation)) / self.design.norms[alive]
        distance[np.searchsorted(alive, self.support)] = -np.inf
        nearest = np.argpartition(distance, size - 1)[:size]
        return np.sort(alive[nearest])

    def _read(self, chosen: np.ndarray, alive: np.ndarray, held: np.ndarray | None) -> None:
        known = np.isin(chosen, self.index)
        z = np.empty((self.design.n_rows, len(chosen)), order="F")
        z[:, known] = self.z[:, np.searchsorted(self.index, chosen[known])]
        new = chosen[~known]
        if held is not None:
            z[:, ~known] = held[:, np.searchsorted(alive, new)]
        elif len(new):
            z[:, ~known] = self.design.gather(new)
        self.index, self.z = chosen, z
