"""Granger causality of many candidate causes on one effect, in batch.

x Granger-causes y when the past of x improves a linear prediction of y that already uses y's own
past: predictive, and no more than that. For each lag L the unrestricted regression

    y_t = c + sum_{i=1..L} a_i y_{t-i} + sum_{i=1..L} b_i x_{t-i} + e_t,   t = L..W-1,

is compared with the restricted one, where all b_i = 0. With n = W - L rows and residual sums of
squares SSR_r and SSR_u,

    F = (SSR_r - SSR_u) / SSR_u * (n - 2L - 1) / L   ~ F(L, n - 2L - 1),
    chi2 = (SSR_r - SSR_u) / SSR_u * n               ~ chi-squared(L), for large n only.

Granger, "Investigating causal relations by econometric models and cross-spectral methods",
Econometrica 37, 424-438, 1969. The numbers are those of statsmodels' `grangercausalitytests`.

By Frisch and Waugh, SSR_r - SSR_u is what the cause's lags X explain of the restricted model's
residual e, once they are freed of its columns, whose basis Q and e are the same for all causes:
|R^-T X^T e|^2 with R^T R = X^T X - (Q^T X)^T (Q^T X), by Cholesky for all causes side by side. Its
error is 5e-16 / pivot, the pivot being the share of a column's variance that those before it leave.
Where that is below 1e-3, or little of e is left, QR does it again, with error 2e-16 / sqrt(pivot).
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

# Why there is no number. Collinear are lags that depend on each other or on the effect's past.
REASONS = ("", "too short", "not finite", "constant", "collinear", "perfect fit")
REASONS += ("constant effect", "collinear effect")
ESTIMATED, TOO_SHORT, NOT_FINITE, CONSTANT, COLLINEAR, PERFECT_FIT = range(6)
EFFECT_CONSTANT, EFFECT_COLLINEAR = 6, 7
RAISES = (TOO_SHORT, NOT_FINITE, CONSTANT, PERFECT_FIT, EFFECT_CONSTANT)  # statsmodels does

EPS = torch.finfo(torch.float64).eps  # a smaller share left unexplained is a perfect fit
COLLINEAR_BELOW = 1e-10  # length of a unit column outside the span of those before it
PIVOT_GATE = LEFT_GATE = 1e-3  # below, QR in place of Cholesky
CRITERIA = ("aic", "bic")
WORTH_A_THREAD = 256  # series


@dataclass(frozen=True, eq=False)
class GrangerResult:
    """Tests of S candidate causes at the lags 1..L; row l - 1 belongs to lag l."""

    fstat: torch.Tensor  # (L, S) of float64; NaN where not estimable, here and below
    f_pvalue: torch.Tensor  # (L, S)
    chi2: torch.Tensor  # (L, S)
    chi2_pvalue: torch.Tensor  # (L, S)
    code: torch.Tensor  # (L, S) of int8: 0 where there are numbers, else what `reason` spells out
    # As LEGCNet's released code reads them: the smallest chi2 p-value over all lags, each rounded
    # to four digits, 0 where statsmodels raises an exception at any lag; and whether it does.
    released: torch.Tensor  # (S,)
    raised: torch.Tensor  # (S,) of bool
    lag: torch.Tensor | None  # (S,) of int64: the chosen lag, 0 where none could be chosen
    test: str  # "f" or "chi2": which of the two `pvalue` returns

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
    def reason(self) -> np.ndarray:
        """(S,) of str: why numbers are missing, one of `REASONS`, at the first lag without one."""
        code = self.code.cpu().numpy()
        first = (code != ESTIMATED).argmax(0)  # (S,)
        code = code[first, np.arange(code.shape[1])]
        text = np.array(REASONS, dtype=object)[code]
        for lag in np.unique(first[code == TOO_SHORT]) + 1:
            short = (code == TOO_SHORT) & (first == lag - 1)
            text[short] = f"too short: lag {lag} needs {min_length(lag)} samples"
        return text.astype(str)


def min_length(max_lag: int) -> int:
    """Fewest samples for which a lag can be tested: one degree of freedom is left then."""
    return 3 * check_int("max_lag", max_lag) + 2


@torch.no_grad()
def granger_test(
    effect: torch.Tensor | np.ndarray,
    causes: torch.Tensor | np.ndarray,
    *,
    max_lag: int,
    lag: int | str | None = None,
    test: str = "f",
) -> GrangerResult:
    """Test whether each series in `causes` Granger-causes `effect`, at all lags 1..`max_lag`.

    Each cause is tested alone; both series should be stationary. Runs in float64 on the device of
    `causes`, but for the p-values. What cannot be tested is NaN, with a `reason`.

    Parameters
    ----------
    effect, causes : tensors or arrays (W,) and (W, S)
        The series to predict, finite, and the candidate causes, one per column.
    max_lag : int
        L. Lags with W < 3 lag + 2 hold NaN.
    lag : {"aic", "bic"} or int, optional
        How to choose one lag per series, for `chosen_pvalue`; see `information_criterion`. The
        largest lag that can be tested takes the place of `max_lag` there.
    test : {"f", "chi2"}
        What `pvalue` returns. The F test keeps its level in short series.

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
    check_shape("effect", effect, (None,))
    check_shape("causes", causes, (len(effect), None))
    check_finite("effect", effect)
    check_int("max_lag", max_lag)
    check_choice("test", test, ("f", "chi2"))
    by_criterion = lag is not None and not isinstance(lag, int | np.integer)
    if by_criterion:
        check_choice("lag", lag, CRITERIA)
    elif lag is not None and check_int("lag", lag) > max_lag:
        raise ValueError(f"lag must be <= max_lag = {max_lag}; got {lag}.")
    (width, n_series), device = causes.shape, causes.device
    n_lags = max(0, min(max_lag, (width - 2) // 3))  # the lags that W is long enough for
    stats = torch.full((4, max_lag, n_series), math.nan, dtype=torch.float64, device=device)
    code = torch.full((max_lag, n_series), TOO_SHORT, dtype=torch.int8, device=device)
    released = torch.zeros(n_series, dtype=torch.float64, device=device)
    known = 0 if by_criterion else lag
    chosen = None if lag is None else torch.full((n_series,), known, device=device)
    bytes_each = _bytes_per_cause(width, n_lags)

    def work(spans: Spans) -> None:
        for start, stop in spans:
            part = slice(start, stop)
            x = causes[:, part].to(torch.float64).contiguous()
            found, code[:n_lags, part], x = _test_all(pasts, x)
            released[part] = torch.from_numpy(np.round(found[3], 4).min(0)).to(device)
            missing = code[:n_lags, part] != ESTIMATED
            found = torch.from_numpy(found).to(device)
            stats[:, :n_lags, part] = found.masked_fill(missing, math.nan)
            if by_criterion:
                each = 16 * n_lags * (5 * width + 4 * n_lags)  # bytes
                pieces = x.split(max(1, (stop - start) * bytes_each // each), 1)
                values = [information_criterion(y, z, max_lag=n_lags, kind=lag) for z in pieces]
                chosen[part] = best_lag(torch.cat(values, 1).masked_fill(missing, math.nan))

    if n_lags > 0:
        y = unit(effect.to(device, torch.float64)[:, None])[:, 0]
        pasts = [own_past(y, i) for i in range(1, n_lags + 1)]
        in_shares(work, n_series, bytes_each=bytes_each, device=device)
    raised = torch.isin(code, code.new_tensor(RAISES)).any(0)
    return GrangerResult(*stats, code, released.masked_fill(raised, 0.0), raised, chosen, test)


def _test_all(pasts: list[OwnPast], x: torch.Tensor) -> tuple[np.ndarray, torch.Tensor, ...]:
    """F, its p, chi2, its p (4, L, S) at all lags of `pasts`, codes (L, S), and x in unit scale."""
    finite = torch.isfinite(x).all(0)
    x = torch.where(finite, x, 0.0)
    problem = _constant_columns(x, len(pasts)).to(torch.int8) * CONSTANT
    problem[:, ~finite] = NOT_FINITE
    x = unit(x)
    sound = (problem == 0).any(0)
    gain, left = x.new_full((2, *problem.shape), math.nan)
    collinear = torch.zeros_like(problem, dtype=torch.bool)
    gain[:, sound], left[:, sound], collinear[:, sound] = explained(pasts, x[:, sound])
    lag, tss, past_code = (
        x.new_tensor([getattr(past, name) for past in pasts])[:, None]
        for name in ("lag", "tss", "code")
    )
    code = torch.where(collinear, COLLINEAR, ESTIMATED)
    code = torch.where(past_code > 0, past_code.long(), code)
    perfect = ((left < EPS * tss) | (left == 0)) & (code != EFFECT_CONSTANT)
    code = torch.where(perfect, PERFECT_FIT, code)
    code = torch.where(problem > 0, problem, code).to(torch.int8)
    n = len(x) - lag
    chi2, free = gain / left * n, n - 2 * lag - 1
    fstat = chi2 / n * free / lag
    chi2, fstat, lag, free = (values.cpu().numpy() for values in (chi2, fstat, lag, free))
    f_pvalue, chi2_pvalue = special.fdtrc(lag, free, fstat), special.chdtrc(lag, chi2)
    return np.stack([fstat, f_pvalue, chi2, chi2_pvalue]), code, x


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


@dataclass(frozen=True, eq=False)
class OwnPast:
    """What the effect's own past explains at one lag, the same for every candidate cause."""

    lag: int
    basis: torch.Tensor  # (K, n), orthonormal: the span of the constant and the effect's L lags
    residual: torch.Tensor  # (n,), the effect freed of the basis
    ssr: float  # of the residual
    tss: float  # sum of squares of the effect about its mean
    code: int  # 0, or what is wrong with the effect at this lag


def own_past(effect: torch.Tensor, lag: int) -> OwnPast:
    """Regress the effect (W,) on a constant and its own lags 1..`lag`, by NumPy on the CPU."""
    y = effect.cpu().numpy()
    lags = np.lib.stride_tricks.sliding_window_view(y[:-1], lag)[:, ::-1]  # (n, L): lag 1 first
    target = y[lag:] - y[lag:].mean()
    flat = bool((np.ptp(lags, axis=0) == 0).any() or np.ptp(y[lag:]) == 0)
    lags = lags - lags.mean(0)
    norm = np.linalg.norm(lags, axis=0)
    lags = lags / np.where(norm > 0, norm, 1.0)
    known = np.column_stack([np.full(len(target), len(target) ** -0.5), lags])  # (n, L+1)
    basis, r = np.linalg.qr(known)
    full_rank = bool((np.abs(np.diagonal(r)) > COLLINEAR_BELOW).all())
    if not full_rank:
        u, singular, _ = np.linalg.svd(known, full_matrices=False)
        basis = u[:, singular > COLLINEAR_BELOW]
    residual = target
    for _ in range(2):
        residual = residual - basis @ (basis.T @ residual)
    ssr, tss = float(residual @ residual), float(target @ target)
    code = EFFECT_CONSTANT if flat else ESTIMATED if full_rank else EFFECT_COLLINEAR
    if ssr <= EPS * tss and not flat:
        code = PERFECT_FIT
    basis, residual = (torch.from_numpy(a).to(effect.device) for a in (basis.T.copy(), residual))
    return OwnPast(lag, basis, residual, ssr, tss, code)


def explained(pasts: list[OwnPast], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Sums of squares (L, S) of the effect's residual that each cause explains, and leaves.

    `x` (W, S) is finite, about centred and of about unit size. Third, (L, S) of bool: the lagged
    columns depend on each other or on the effect's past, and the numbers are those of their span.
    """
    (width, n_series), n_lags = x.shape, len(pasts)
    middle, end = n_lags - 1, width - n_lags
    # Sums of x_s x_{s-d} over s = l-i..W-1-i, which all contain middle..W-1-L, by adding only.
    head = x.new_empty(n_lags, n_lags, n_series)  # [d, a]: s = a..middle-1, for a >= d
    tail = x.new_empty(n_lags, n_lags + 1, n_series)  # [d, i]: s = middle..W-1-i, for i > 0
    head[:, middle] = 0
    for d in range(n_lags):
        products = x[d:] * x[: width - d]  # s = d..W-1
        head[d, d:middle] = products[: middle - d].flip(0).cumsum(0).flip(0)
        tail[d, 1:] = products[middle - d : end - d].sum(0)
        tail[d, 1:n_lags] += products[end - d : -1].cumsum(0).flip(0)
    memory = x.new_empty((2 * n_lags + 2) * n_lags * n_series)
    gain, smallest = x.new_empty(2, n_lags, n_series)
    for past in pasts:
        lag, known = past.lag, len(past.basis) + 1
        padded = x.new_zeros(known, width + lag - 1)
        padded[:, lag - 1 : width - 1] = torch.cat([past.residual[None], past.basis])
        shifted = padded.unfold(1, width, 1).reshape(-1, width)  # (known L, W): lag 1 first
        system = memory[: (known + lag) * lag * n_series].view(known + lag, lag, n_series)
        torch.mm(shifted, x, out=system[:known].flatten(0, 1))  # e^T X, then Q^T X
        pivot = x.new_empty(lag, n_series)
        with np.errstate(all="ignore"):  # what comes of a pivot <= 0 is computed again
            _eliminate(*map(native, (head, tail, system, pivot)))
        pivot /= head[0, :lag].flip(0) + tail[0, 1 : lag + 1]
        gain[lag - 1], smallest[lag - 1] = system[0].square().sum(0), pivot.amin(0)
    ssr = x.new_tensor([past.ssr for past in pasts])[:, None]
    left = ssr - gain
    unsure = ~((smallest >= PIVOT_GATE) & (left >= LEFT_GATE * ssr))  # true for NaN
    collinear = torch.zeros_like(unsure)
    at_once = max(1, n_series * _bytes_per_cause(width, n_lags) // (40 * (n_lags + 1) * width))
    for i in unsure.any(1).nonzero()[:, 0].tolist():
        for again in unsure[i].nonzero()[:, 0].split(at_once):
            gain[i, again], left[i, again], collinear[i, again] = _by_qr(pasts[i], x[:, again])
    return gain, left, collinear


def _bytes_per_cause(width: int, max_lag: int) -> int:
    """Working memory of `explained` for one of many causes."""
    return 8 * (4 * max_lag * (max_lag + 2) + 10 * max_lag + 4 * width)


def _eliminate(head, tail, system, pivot) -> None:
    """Turn system[0] into R^-T X^T e and its last L entries into R; `pivot` is diag(R)^2."""
    xp = np if isinstance(system, np.ndarray) else torch
    z, lag = system[0], len(pivot)
    for j in range(lag):
        row = head[: lag - j, lag - j - 1] + tail[: lag - j, j + 1]  # of X^T X
        above = system[1 : len(system) - lag + j, j:]
        row -= xp.einsum("ks,kls->ls", above[:, 0], above)
        pivot[j] = row[0]
        scale = 1 / xp.sqrt(row[0])
        row = xp.multiply(row, scale, out=system[len(system) - lag + j, j:])
        z[j] *= scale
        z[j + 1 :] -= row[1:] * z[j]


def _by_qr(past: OwnPast, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
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
        svd = np.linalg.svd if panel.device.type == "cpu" else torch.linalg.svd
        u, singular, _ = map(torch.as_tensor, svd(native(panel[bad]), full_matrices=False))
        along = (u.mT @ residual[bad]) * (singular > COLLINEAR_BELOW)[..., None]
        gain[bad] = along.square().sum((1, 2))
        left[bad] = (residual[bad] - u @ along).square().sum((1, 2))
    return gain, left, collinear


def information_criterion(
    effect: torch.Tensor, causes: torch.Tensor, *, max_lag: int, kind: str
) -> torch.Tensor:
    """AIC or BIC (L, S) of the unrestricted regression at the lags 1..`max_lag`.

    With k = 2l + 1 coefficients, AIC = n (log 2 pi + log(SSR / n) + 1) + 2 k; BIC has k log n
    instead of 2 k. All lags are fitted to the same rows t = L..W-1. Their columns are then nested,
    and one QR decomposition gives the SSR of each lag. NaN from a collinear or perfect one on.
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
    """Lag (S,) of the smallest value in each column of `criterion` (L, S); 0 where all are NaN."""
    lowest, row = criterion.nan_to_num(nan=math.inf).min(0)
    return torch.where(lowest < math.inf, row + 1, 0)


def as_series(name: str, values: object) -> torch.Tensor:
    """`values` as a tensor of real numbers, copied only where that cannot be avoided."""
    if isinstance(values, torch.Tensor):
        real = not values.is_complex() and values.dtype != torch.bool
    else:
        values = np.asarray(values)
        real = values.dtype.kind in "fiu"
    if not real:
        raise TypeError(f"{name} must hold real numbers; got dtype {values.dtype}.")
    if isinstance(values, torch.Tensor):
        return values.detach()
    as_is = values.dtype in (np.float32, np.float64) and values.flags.writeable
    as_is = as_is and min(values.strides, default=0) >= 0
    return torch.from_numpy(values if as_is else values.astype(np.float64))


def unit(x: torch.Tensor) -> torch.Tensor:
    """The columns of `x` (W, S) centred, with largest magnitude 1."""
    for centre in (False, True):  # scaled first: the mean of huge numbers would overflow
        x = x - x.mean(0) if centre else x
        size = x.abs().amax(0)
        x = x / torch.where(size > 0, size, 1.0)
    return x


def native(tensor: torch.Tensor) -> torch.Tensor | np.ndarray:
    """On a CPU the memory of `tensor` as an array: PyTorch splits even tiny work between cores."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def triangle(matrices: torch.Tensor) -> torch.Tensor:
    """R (S, m, m) of the QR decompositions of `matrices` (S, n, m), n >= m."""
    if matrices.device.type == "cpu":
        return torch.from_numpy(np.linalg.qr(native(matrices), mode="r"))
    return torch.linalg.qr(matrices, mode="r").R


def in_shares(
    work: Callable[[Spans], None], n: int, *, bytes_each: int, device: torch.device
) -> None:
    """`in_chunks` with a share for every thread where there is work for it, else in one thread."""
    threads, chunk_bytes = torch.get_num_threads(), None
    if device.type == "cpu":
        share = max(WORTH_A_THREAD, math.ceil(n / threads))
        used = 1 if n <= WORTH_A_THREAD else threads
        chunk_bytes = used * min(CPU_BYTES_PER_THREAD, share * bytes_each)
        torch.set_num_threads(used)
    try:
        in_chunks(work, n, bytes_each=bytes_each, chunk_bytes=chunk_bytes, device=device)
    finally:
        torch.set_num_threads(threads)
