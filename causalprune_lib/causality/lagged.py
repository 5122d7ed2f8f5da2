"""Regressions of one effect on its own past and on the past of many candidate causes, in batch.

For lag L the rows are t = L..W-1, n = W - L of them. The restricted model explains y_t by a
constant and y_{t-1}..y_{t-L}; the unrestricted one adds x_{t-1}..x_{t-L}. The first part is the
same for all causes: its orthonormal basis Q and its residual e are found once per lag (`own_past`).
For each cause the lagged columns X are freed of Q, and what they explain of e is

    gain = |R^-T X^T e|^2,   R^T R = X^T X - (Q^T X)^T (Q^T X),

by Cholesky factors computed for all causes side by side. The entries of X^T X for all lags are sums
of the same products x_s x_{s-d} over windows that share a long middle part, and are built by adding
only. The relative error of `gain` is about 5e-16 / pivot, where the pivot is the share of a lagged
column's variance that the columns before it leave. Where a pivot falls below 1e-3, or little of e
is left, the case is computed again by Householder QR, whose error is about 2e-16 / sqrt(pivot).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib.causality.factor import column_space, native, triangle

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
