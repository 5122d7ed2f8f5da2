"""Granger causality of many candidate causes on one effect, in batch.

x Granger-causes y when the past of x improves a linear prediction of y that already uses y's own
past: predictive, and no more than that. For each lag L the unrestricted regression

    y_t = c + sum_{i=1..L} a_i y_{t-i} + sum_{i=1..L} b_i x_{t-i} + e_t,   t = L..W-1,

is compared with the restricted one, where all b_i = 0. With n = W - L rows and residual sums of
squares SSR_r and SSR_u,

    F = (SSR_r - SSR_u) / SSR_u * (n - 2L - 1) / L   ~ F(L, n - 2L - 1),
    chi2 = (SSR_r - SSR_u) / SSR_u * n               ~ chi-squared(L), for large n only.

Granger, "Investigating causal relations by econometric models and cross-spectral methods",
Econometrica 37, 424-438, 1969. The numbers are those of statsmodels' `grangercausalitytests`
("ssr_ftest", "ssr_chi2test"), whose small-sample behaviour they share: the chi2 p-value is too
small when n is not large.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special

from causalprune_lib._validation import check_choice, check_finite, check_int, check_shape
from causalprune_lib.dynamics.neighbours import CPU_BYTES_PER_THREAD, Spans, in_chunks

# ---- factor: QR and singular value decompositions of many small matrices.


def native(tensor: torch.Tensor) -> torch.Tensor | np.ndarray:
    """On a CPU the memory of `tensor` as an array; elsewhere `tensor`."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def triangle(matrices: torch.Tensor) -> torch.Tensor:
    """R (S, m, m) of the QR decompositions of `matrices` (S, n, m), n >= m.

    Examples
    --------
    >>> r = triangle(torch.tensor([[[3.0, 0.0], [4.0, 2.0]]]))
    >>> [round(value, 1) for value in r.abs().flatten().tolist()]
    [5.0, 1.6, 0.0, 1.2]
    """
    if matrices.device.type == "cpu":
        return torch.from_numpy(np.linalg.qr(native(matrices), mode="r"))
    return torch.linalg.qr(matrices, mode="r").R


def column_space(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Left singular vectors (S, n, m) and singular values (S, m) of `matrices` (S, n, m), n >= m.

    Examples
    --------
    >>> _, singular = column_space(torch.tensor([[[3.0, 3.0], [4.0, 4.0]]]))
    >>> [round(value, 3) for value in singular.flatten().tolist()]
    [7.071, 0.0]
    """
    if matrices.device.type == "cpu":
        u, singular, _ = np.linalg.svd(native(matrices), full_matrices=False)
        return torch.from_numpy(u), torch.from_numpy(singular)
    u, singular, _ = torch.linalg.svd(matrices, full_matrices=False)
    return u, singular


# ---- series: How series come in: as tensors of real numbers, in a unit of their own, shared by t


WORTH_A_THREAD = 256  # series


def as_series(name: str, values: object) -> torch.Tensor:
    """`values` as a tensor of real numbers, copied only where that cannot be avoided.

    Examples
    --------
    >>> as_series("x", [1, 2]).dtype
    torch.float64
    """
    if not isinstance(values, torch.Tensor):
        values = np.asarray(values)
        if values.dtype.kind not in "fiu":
            raise TypeError(f"{name} must hold real numbers; got dtype {values.dtype}.")
        if values.dtype not in (np.float32, np.float64) or min(values.strides, default=0) < 0:
            values = values.astype(np.float64)
        return torch.from_numpy(values)
    if values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"{name} must hold real numbers; got dtype {values.dtype}.")
    return values.detach()


def unit(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns of `x` (W, S) centred, with largest magnitude 1, and their units (S,).

    Examples
    --------
    >>> [part.tolist() for part in unit(torch.tensor([[0.0], [1.0], [2.0]]))]
    [[[-1.0], [0.0], [1.0]], [1.0]]
    """
    scale = x.new_ones(x.shape[1])
    for centre in (False, True):  # scaled first: the mean of huge numbers would overflow
        x = x - x.mean(0) if centre else x
        size = x.abs().amax(0)
        size = torch.where(size > 0, size, 1.0)
        x, scale = x / size, scale * size
    return x, scale


def in_shares(
    work: Callable[[Spans], None],
    n: int,
    *,
    bytes_each: int,
    chunk_bytes: int | None,
    device: torch.device,
) -> None:
    """`in_chunks` with a share for every thread where there is work for it, else in one thread.

    One thread, because splitting each of many small operations between the cores can take ten times
    as long as not doing so, where other programs use the cores.

    Examples
    --------
    >>> in_shares(print, 5, bytes_each=8, chunk_bytes=None, device=torch.device("cpu"))
    [(0, 5)]
    """
    if chunk_bytes is not None:
        check_int("chunk_bytes", chunk_bytes)
    if n == 0:
        return
    threads = torch.get_num_threads()
    if device.type == "cpu" and chunk_bytes is None:
        share = max(WORTH_A_THREAD, math.ceil(n / threads))
        chunk_bytes = threads * min(CPU_BYTES_PER_THREAD, share * bytes_each)
    if device.type == "cpu" and n <= WORTH_A_THREAD:
        torch.set_num_threads(1)
        chunk_bytes = max(1, chunk_bytes // threads)
    try:
        in_chunks(work, n, bytes_each=bytes_each, chunk_bytes=chunk_bytes, device=device)
    finally:
        torch.set_num_threads(threads)


# ---- results: What a batch of Granger tests returns: statistics, p-values, and why a number is m


def min_length(max_lag: int) -> int:
    """Fewest samples for which the lag `max_lag` can be tested: 3 max_lag + 2.

    Then n - 2 max_lag - 1 = 1 degree of freedom is left to the residuals.

    Examples
    --------
    >>> min_length(1), min_length(14)
    (5, 44)
    """
    return 3 * check_int("max_lag", max_lag) + 2


@dataclass(frozen=True, eq=False)
class GrangerResult:
    """Tests of S candidate causes at the lags 1..L. Row l - 1 belongs to lag l.

    Attributes
    ----------
    fstat, f_pvalue : tensors (L, S) of float64
        F statistic and its p-value; NaN where not estimable.
    chi2, chi2_pvalue : tensors (L, S) of float64
        Chi-squared statistic and its p-value.
    code : tensor (L, S) of int8
        0 where there are numbers; otherwise what `reason` spells out.
    released : tensor (S,) of float64
        The reading in LEGCNet's released code: the smallest chi2 p-value over all lags, each
        rounded to four digits; 0 where statsmodels raises an exception at any lag.
    raised : tensor (S,) of bool
        Where statsmodels raises: too few samples for `max_lag`, NaN or infinity, a lagged column
        that is constant, a perfect fit.
    lag : tensor (S,) of int64, or None
        The chosen lag of each series, 0 where none could be chosen; None if none was asked for.
    criterion : tensor (L, S) of float64, or None
        AIC or BIC where that chose the lag.
    test : str
        "f" or "chi2": which of the two `pvalue` returns.
    n_samples : int
        W.
    """

    fstat: torch.Tensor
    f_pvalue: torch.Tensor
    chi2: torch.Tensor
    chi2_pvalue: torch.Tensor
    code: torch.Tensor
    released: torch.Tensor
    raised: torch.Tensor
    lag: torch.Tensor | None
    criterion: torch.Tensor | None
    test: str
    n_samples: int

    @property
    def pvalue(self) -> torch.Tensor:
        """(L, S): `f_pvalue` or `chi2_pvalue`, as `test` says."""
        return self.f_pvalue if self.test == "f" else self.chi2_pvalue

    @property
    def chosen_pvalue(self) -> torch.Tensor:
        """(S,): `pvalue` at the chosen lag; NaN where no lag could be chosen."""
        if self.lag is None:
            raise ValueError("no lag was chosen: call granger_test with lag='bic', 'aic' or a lag.")
        row = (self.lag - 1).clamp(min=0)[None]
        return self.pvalue.gather(0, row)[0].masked_fill(self.lag == 0, math.nan)

    @property
    def n_missing(self) -> int:
        """How many series have no number at any lag."""
        return int((self.code != ESTIMATED).all(0).sum())

    @property
    def reason(self) -> np.ndarray:
        """(S,) of str: why numbers are missing, at the first lag without one; "" if none is.

        "too short: lag l needs 3 l + 2 samples" (smaller lags are still tested), "not finite" (NaN
        or infinity inside), "constant" (some lagged column is), "collinear" (the lagged columns
        depend on each other or on the effect's past), "perfect fit" (nothing is left to explain),
        "constant effect", "collinear effect".
        """
        code = self.code.cpu().numpy()
        first = (code != ESTIMATED).argmax(0)
        text = np.array([[reason] * len(code) for reason in REASONS], dtype=object)
        text[TOO_SHORT] = [
            f"too short: lag {lag} needs {min_length(lag)} samples"
            for lag in range(1, len(code) + 1)
        ]
        return text[code[first, np.arange(code.shape[1])], first].astype(str)


# ---- lagged: Regressions of one effect on its own past and on the past of many candidate causes,


# Why there is no number, by code.
ESTIMATED, TOO_SHORT, NOT_FINITE, CONSTANT, COLLINEAR, PERFECT_FIT = range(6)


EFFECT_CONSTANT, EFFECT_COLLINEAR = 6, 7


REASONS = (
    "",
    "too short",
    "not finite",
    "constant",
    "collinear",
    "perfect fit",
    "constant effect",
    "collinear effect",
)


EPS = torch.finfo(torch.float64).eps  # a smaller share left unexplained is a perfect fit


COLLINEAR_BELOW = 1e-10  # length of a unit column outside the span of those before it


PIVOT_GATE = 1e-3


LEFT_GATE = 1e-3


@dataclass(frozen=True, eq=False)
class OwnPast:
    """What the effect's own past explains at one lag, the same for every candidate cause.

    Attributes
    ----------
    lag : int
        L.
    basis : tensor (K, n)
        Orthonormal rows that span the constant and the L lags of the effect; K = L + 1 unless
        those are collinear.
    residual : tensor (n,)
        The effect freed of the basis.
    ssr, tss : float
        Sum of squares of the residual, and of the effect about its mean.
    code : int
        0, or what is wrong with the effect at this lag.
    """

    lag: int
    basis: torch.Tensor
    residual: torch.Tensor
    ssr: float
    tss: float
    code: int


def own_past(effect: torch.Tensor, lag: int) -> OwnPast:
    """Regress the effect (W,) on a constant and its own lags 1..`lag`.

    Small and done once, it is computed by NumPy on the CPU, wherever the effect lives.

    Examples
    --------
    >>> doubling = 2.0 ** torch.arange(12, dtype=torch.float64)
    >>> past = own_past(doubling, 1)
    >>> past.ssr / past.tss < 1e-15
    True
    """
    y = effect.cpu().numpy()
    columns = np.lib.stride_tricks.sliding_window_view(y[:-1], lag)[:, ::-1]  # (n, L): lag 1 first
    target = y[lag:] - y[lag:].mean()
    flat = bool((np.ptp(columns, axis=0) == 0).any() or np.ptp(y[lag:]) == 0)
    columns = columns - columns.mean(0)
    norm = np.linalg.norm(columns, axis=0)
    columns = columns / np.where(norm > 0, norm, 1.0)
    columns = np.column_stack([np.full(len(target), len(target) ** -0.5), columns])
    basis, r = np.linalg.qr(columns)
    full_rank = bool((np.abs(np.diagonal(r)) > COLLINEAR_BELOW).all())
    if not full_rank:
        u, singular, _ = np.linalg.svd(columns, full_matrices=False)
        basis = u[:, singular > COLLINEAR_BELOW]
    residual = target
    for _ in range(2):
        residual = residual - basis @ (basis.T @ residual)
    ssr, tss = float(residual @ residual), float(target @ target)
    code = EFFECT_CONSTANT if flat else ESTIMATED if full_rank else EFFECT_COLLINEAR
    if ssr <= EPS * tss and not flat:
        code = PERFECT_FIT
    rows = torch.from_numpy(np.ascontiguousarray(basis.T)).to(effect.device)
    return OwnPast(lag, rows, torch.from_numpy(residual).to(effect.device), ssr, tss, code)


def explained(
    pasts: list[OwnPast], x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How much of the effect's residual the past of each cause explains.

    Parameters
    ----------
    pasts : list of OwnPast
        For the lags 1..L, with 3 L + 2 <= W.
    x : tensor (W, S) of float64
        Causes, finite, about centred and of about unit size.

    Returns
    -------
    gain, left : tensors (L, S)
        Sum of squares explained and left, in the effect's squared unit.
    collinear : tensor (L, S) of bool
        The lagged columns depend on each other or on the effect's past. `gain` and `left` then
        belong to the projection onto their span.

    Examples
    --------
    >>> x = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> y = torch.cat([torch.zeros(1), 2 * x[:-1, 0]])  # driven by the first
    >>> gain, left, _ = explained([own_past(y, 1)], x)
    >>> (gain / (gain + left))[0].gt(0.99).tolist()
    [True, False, False]
    """
    n_lags, (width, n_series) = len(pasts), x.shape
    gain, pivot = x.new_empty(2, n_lags, n_series)
    by_cholesky = _Cholesky(x, n_lags)
    for i, past in enumerate(pasts):
        gain[i], pivot[i] = by_cholesky(past)
    ssr = x.new_tensor([past.ssr for past in pasts])[:, None]
    left = ssr - gain
    unsure = ~((pivot >= PIVOT_GATE) & (left >= LEFT_GATE * ssr))  # true for NaN
    collinear = torch.zeros_like(unsure)
    at_once = max(1, n_series * bytes_per_cause(width, n_lags) // (40 * (n_lags + 1) * width))
    for i in unsure.any(1).nonzero()[:, 0].tolist():
        for again in unsure[i].nonzero()[:, 0].split(at_once):
            gain[i, again], left[i, again], collinear[i, again] = _by_qr(pasts[i], x[:, again])
    return gain, left, collinear


def bytes_per_cause(width: int, max_lag: int) -> int:
    """Working memory of `explained` for one of many causes."""
    return 8 * (4 * max_lag * (max_lag + 2) + 10 * max_lag + 4 * width)


class _Cholesky:
    """What the causes `x` (W, S) explain at any lag up to `max_lag`, by normal equations.

    Products x_s x_{s-d} are summed over s = L-i..W-1-i with no subtraction: each of these windows
    begins at or before `middle`, and ends at W-1-max_lag or after.
    """

    def __init__(self, x: torch.Tensor, max_lag: int) -> None:
        width, n_series = x.shape
        middle, end = max_lag - 1, width - max_lag
        head = x.new_empty(max_lag, max_lag, n_series)  # [d, a]: s = a..middle-1, for a >= d
        tail = x.new_empty(max_lag, max_lag + 1, n_series)  # [d, i]: s = middle..W-1-i, for i > 0
        head[:, middle] = 0
        for d in range(max_lag):
            products = x[d:] * x[: width - d]  # s = d..W-1
            head[d, d:middle] = products[: middle - d].flip(0).cumsum(0).flip(0)
            tail[d, 1:] = products[middle - d : end - d].sum(0)
            tail[d, 1:max_lag] += products[end - d : -1].cumsum(0).flip(0)
        self.x, self.head, self.tail = x, head, tail
        self.memory = x.new_empty((2 * max_lag + 2) * max_lag * n_series)

    def __call__(self, past: OwnPast) -> tuple[torch.Tensor, torch.Tensor]:
        """Gain (S,) and smallest pivot (S,) at one lag."""
        x, lag, (width, n_series) = self.x, past.lag, self.x.shape
        known = len(past.basis) + 1
        padded = x.new_zeros(known, width + lag - 1)
        padded[:, lag - 1 : width - 1] = torch.cat([past.residual[None], past.basis])
        shifted = padded.unfold(1, width, 1).reshape(-1, width)  # (K+1, L, W): lag 1 first
        rows = self.memory[: (known + lag) * lag * n_series].view(known + lag, lag, n_series)
        torch.mm(shifted, x, out=rows[:known].flatten(0, 1))  # e^T X, then Q^T X
        pivot = x.new_empty(lag, n_series)
        with np.errstate(all="ignore"):  # what comes of a pivot <= 0 is computed again
            _eliminate(*map(native, (self.head, self.tail, rows, pivot)))
        pivot /= self.head[0, :lag].flip(0) + self.tail[0, 1 : lag + 1]
        return rows[0].square().sum(0), pivot.amin(0)


def _eliminate(head, tail, rows, pivot) -> None:
    """Turn row 0 of `rows` into R^-T X^T e and its last L rows into R; `pivot` is diag(R)^2."""
    xp = np if isinstance(rows, np.ndarray) else torch
    z, lag = rows[0], len(pivot)
    for j in range(lag):
        row = head[: lag - j, lag - j - 1] + tail[: lag - j, j + 1]  # of X^T X
        above = rows[1 : len(rows) - lag + j, j:]
        row -= xp.einsum("ks,kls->ls", above[:, 0], above)
        pivot[j] = row[0]
        scale = 1 / xp.sqrt(row[0])
        row = xp.multiply(row, scale, out=rows[len(rows) - lag + j, j:])
        z[j] *= scale
        z[j + 1 :] -= row[1:] * z[j]


def _by_qr(past: OwnPast, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gain, rest and collinearity (S,) at one lag, to the accuracy that the data allow."""
    panel = x[:-1].unfold(0, past.lag, 1).permute(1, 0, 2).flip(2)  # (S, n, L)
    panel = panel - panel.mean(1, keepdim=True)
    norm = panel.norm(dim=1, keepdim=True)
    panel /= torch.where(norm > 0, norm, 1.0)
    for _ in range(2):
        panel -= past.basis.T @ (past.basis @ panel)
    residual = past.residual.expand(len(panel), -1)[..., None]
    r = triangle(torch.cat([panel, residual], 2))  # (S, L+1, L+1)
    gain, left = r[:, :-1, -1].square().sum(1), r[:, -1, -1].square()
    collinear = (r.diagonal(dim1=1, dim2=2)[:, :-1].abs() < COLLINEAR_BELOW).any(1)
    bad = collinear.nonzero()[:, 0]
    if len(bad):
        u, singular = column_space(panel[bad])
        along = (u.mT @ residual[bad]) * (singular > COLLINEAR_BELOW)[..., None]
        gain[bad] = along.square().sum((1, 2))
        left[bad] = (residual[bad] - u @ along).square().sum((1, 2))
    return gain, left, collinear


# ---- lag_choice: How many lags: Akaike's and Schwarz's criteria of the unrestricted model.


CRITERIA = ("aic", "bic")


def information_criterion(
    effect: torch.Tensor, causes: torch.Tensor, *, max_lag: int, kind: str
) -> torch.Tensor:
    """AIC or BIC of the unrestricted regression at the lags 1..`max_lag`.

    Parameters
    ----------
    effect, causes : tensors (W,) and (W, S) of float64
        Finite; W >= 3 max_lag + 2.
    max_lag : int
        L.
    kind : {"aic", "bic"}
        The smaller, the better.

    Returns
    -------
    tensor (L, S)
        NaN from the first lag on whose columns are collinear or whose fit is perfect.

    Examples
    --------
    >>> noise = torch.Generator().manual_seed(0)
    >>> x = torch.randn(80, 1, dtype=torch.float64, generator=noise)
    >>> y = 0.3 * torch.randn(80, dtype=torch.float64, generator=noise)
    >>> y[3:] += x[:-3, 0]
    >>> int(information_criterion(y, x, max_lag=5, kind="bic").argmin()) + 1
    3
    """
    n, n_series = len(effect) - max_lag, causes.shape[1]
    both = torch.stack([effect[:, None].expand_as(causes), causes])  # (2, W, S)
    lags = both[:, :-1].unfold(1, max_lag, 1).flip(3)  # (2, n, S, L): lag 1 first
    lags = lags.permute(2, 1, 3, 0).reshape(n_series, n, 2 * max_lag)  # y1 x1 y2 x2 ...
    lags = lags - lags.mean(1, keepdim=True)
    norm = lags.norm(dim=1, keepdim=True)
    lags /= torch.where(norm > 0, norm, 1.0)
    target = effect[max_lag:] - effect[max_lag:].mean()  # centring takes the constant's part
    target = target[:, None].expand(n_series, -1, -1)
    r = triangle(torch.cat([lags, target], 2))  # (S, 2L+1, 2L+1)
    ssr = r[:, :, -1].square().flip(1).cumsum(1).flip(1)[:, 2::2].T  # (L, S)
    pivot = r.diagonal(dim1=1, dim2=2)[:, :-1].abs()
    bad = (pivot < COLLINEAR_BELOW).view(n_series, max_lag, 2).any(2).T
    bad = bad | (ssr <= EPS * target[0].square().sum())
    penalty = 2.0 if kind == "aic" else math.log(n)
    k = torch.arange(3, 2 * max_lag + 2, 2, dtype=ssr.dtype, device=ssr.device)[:, None]
    value = n * (math.log(2 * math.pi) + (ssr / n).log() + 1) + penalty * k
    return value.masked_fill(bad.cumsum(0) > 0, math.nan)


def best_lag(criterion: torch.Tensor) -> torch.Tensor:
    """Lag of the smallest value in each column of `criterion` (L, S); 0 where all are NaN.

    Examples
    --------
    >>> best_lag(torch.tensor([[3.0, math.nan], [1.0, math.nan], [2.0, math.nan]])).tolist()
    [2, 0]
    """
    lowest, row = criterion.nan_to_num(nan=math.inf).min(0)
    return torch.where(lowest < math.inf, row + 1, 0)


def criterion_bytes(width: int, max_lag: int) -> int:
    """Working memory of `information_criterion` for one cause."""
    return 8 * 2 * max_lag * (5 * width + 4 * max_lag)


# ---- granger: Granger causality of many candidate causes on one effect, in batch.


TESTS = ("f", "chi2")


# Where statsmodels raises; for collinear series it goes on.
RAISES = (
    TOO_SHORT,
    NOT_FINITE,
    CONSTANT,
    PERFECT_FIT,
    EFFECT_CONSTANT,
)


@torch.no_grad()
def granger_test(
    effect: torch.Tensor | np.ndarray,
    causes: torch.Tensor | np.ndarray,
    *,
    max_lag: int,
    lag: int | str | None = None,
    test: str = "f",
    chunk_bytes: int | None = None,
) -> GrangerResult:
    """Test whether each series in `causes` Granger-causes `effect`, at all lags 1..`max_lag`.

    Each cause is tested alone. Both series should be stationary; see `stationarity`. Runs in
    float64 on the device of `causes`; the p-values come from SciPy on the CPU.

    Parameters
    ----------
    effect : tensor or array (W,)
        The series to predict, finite.
    causes : tensor or array (W, S)
        Candidate causes, one per column.
    max_lag : int
        L. Lags with W < 3 lag + 2 hold NaN.
    lag : {"aic", "bic"} or int, optional
        How to choose one lag per series, for `chosen_pvalue`. The criteria are those of the
        unrestricted model, fitted for all lags to the same rows, t = max_lag..W-1 (with the
        largest lag that can be tested in place of `max_lag`).
    test : {"f", "chi2"}
        What `pvalue` returns. The F test keeps its level in short series.
    chunk_bytes : int, optional
        Working memory, all threads together. Default: 24 MiB for each CPU thread, 1 GiB on a GPU.

    Returns
    -------
    GrangerResult
        Cases without an estimate hold NaN, with the `reason`.

    Raises
    ------
    TypeError, ValueError
        `effect` holds NaN or infinity, the lengths differ, or an option is out of range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 3))
    >>> y = 0.3 * rng.normal(size=60)
    >>> y[2:] += x[:-2, 1]  # the second drives the effect, two samples later
    >>> result = granger_test(y, x, max_lag=4, lag="bic")
    >>> (result.chosen_pvalue < 0.001).tolist(), int(result.lag[1])
    ([False, True, False], 2)
    """
    effect, causes = as_series("effect", effect), as_series("causes", causes)
    _check(effect, causes, max_lag, lag, test)
    width, n_series = causes.shape
    device = causes.device
    n_lags = max(0, min(max_lag, (width - 2) // 3))  # the lags that W is long enough for
    stats = torch.empty(4, max_lag, n_series, dtype=torch.float64, device=device)
    stats[:, n_lags:] = math.nan
    code = torch.full((max_lag, n_series), TOO_SHORT, dtype=torch.int8, device=device)
    released = torch.zeros(n_series, dtype=torch.float64, device=device)
    criterion = stats[0].clone() if isinstance(lag, str) else None
    if n_lags > 0:
        y, y_scale = unit(effect.to(device, torch.float64)[:, None])
        y, log_scale = y[:, 0], float(y_scale.log())
        pasts = [own_past(y, i) for i in range(1, n_lags + 1)]

    def work(spans: Spans) -> None:
        for start, stop in spans:
            part = slice(start, stop)
            x = causes[:, part].to(torch.float64).contiguous()
            found, code[:n_lags, part], x = _tests(pasts, x)
            released[part] = torch.from_numpy(np.round(found[3], 4).min(0)).to(device)
            missing = code[:n_lags, part] != ESTIMATED
            found = torch.from_numpy(found).to(device)
            stats[:, :n_lags, part] = found.masked_fill(missing, math.nan)
            if criterion is not None:
                pieces = x.split(max(1, (stop - start) * size // criterion_bytes(width, n_lags)), 1)
                value = [information_criterion(y, z, max_lag=n_lags, kind=lag) for z in pieces]
                value = torch.cat(value, 1) + 2 * (width - n_lags) * log_scale  # y in its own unit
                criterion[:n_lags, part] = value.masked_fill(missing, math.nan)

    if n_lags > 0:
        size = bytes_per_cause(width, n_lags)
        in_shares(work, n_series, bytes_each=size, chunk_bytes=chunk_bytes, device=device)
    if criterion is not None:
        lag = best_lag(criterion)
    elif lag is not None:
        lag = torch.full((n_series,), lag, device=device)
    raised = torch.isin(code, code.new_tensor(RAISES)).any(0)
    return GrangerResult(
        *stats,
        code=code,
        released=released.masked_fill(raised, 0.0),
        raised=raised,
        lag=lag,
        criterion=criterion,
        test=test,
        n_samples=width,
    )


def _check(
    effect: torch.Tensor, causes: torch.Tensor, max_lag: int, lag: object, test: str
) -> None:
    check_shape("effect", effect, (None,))
    check_shape("causes", causes, (len(effect), None))
    check_finite("effect", effect)
    check_int("max_lag", max_lag)
    check_choice("test", test, TESTS)
    if isinstance(lag, int | np.integer):
        if check_int("lag", lag) > max_lag:
            raise ValueError(f"lag must be <= max_lag = {max_lag}; got {lag}.")
    elif lag is not None:
        check_choice("lag", lag, CRITERIA)


def _constant_columns(x: torch.Tensor, n_lags: int) -> torch.Tensor:
    """(L, S) of bool: is x[l - i : W - i] constant for some i = 1..l?"""
    flat = torch.zeros(n_lags, x.shape[1], dtype=torch.bool, device=x.device)
    changes = torch.zeros(x.shape, dtype=torch.int32, device=x.device)
    changes[1:] = (x[1:] != x[:-1]).cumsum(0)
    for lag in range(n_lags, 0, -1):
        flat[lag - 1] = (changes[-lag - 1 : -1] == changes[:lag]).any(0)
        if not flat[lag - 1].any():  # the windows of smaller lags contain these
            break
    return flat


def _tests(pasts: list[OwnPast], x: torch.Tensor) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """F, its p, chi2, its p (4, L, S) at all lags of `pasts`, codes (L, S), and x in unit scale."""
    finite = torch.isfinite(x).all(0)
    x = torch.where(finite, x, 0.0)
    problem = _constant_columns(x, len(pasts)).to(torch.int8) * CONSTANT
    problem[:, ~finite] = NOT_FINITE
    x, _ = unit(x)
    sound = (problem == 0).any(0)
    gain, left = x.new_full((2, *problem.shape), math.nan)
    collinear = torch.zeros_like(problem, dtype=torch.bool)
    gain[:, sound], left[:, sound], collinear[:, sound] = explained(pasts, x[:, sound])
    per_lag = [(past.lag, past.residual.numel(), past.tss, past.code) for past in pasts]
    lag, n, tss, past_code = (
        x.new_tensor(values)[:, None] for values in zip(*per_lag, strict=True)
    )
    code = torch.where(collinear, COLLINEAR, ESTIMATED)
    code = torch.where(past_code > 0, past_code.long(), code)
    perfect = ((left < EPS * tss) | (left == 0)) & (code != EFFECT_CONSTANT)
    code = torch.where(perfect, PERFECT_FIT, code)
    code = torch.where(problem > 0, problem, code).to(torch.int8)
    chi2 = gain / left * n
    free = n - 2 * lag - 1
    fstat = chi2 / n * free / lag
    chi2, fstat, lag, free = (values.cpu().numpy() for values in (chi2, fstat, lag, free))
    f_pvalue, chi2_pvalue = special.fdtrc(lag, free, fstat), special.chdtrc(lag, chi2)
    return np.stack([fstat, f_pvalue, chi2, chi2_pvalue]), code, x
