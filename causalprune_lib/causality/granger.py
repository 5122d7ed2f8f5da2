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

import numpy as np
import torch
from scipy import special

from causalprune_lib._validation import check_choice, check_finite, check_int, check_shape
from causalprune_lib.causality import lagged
from causalprune_lib.causality.lag_choice import (
    CRITERIA,
    best_lag,
    criterion_bytes,
    information_criterion,
)
from causalprune_lib.causality.results import GrangerResult
from causalprune_lib.causality.series import as_series, in_shares, unit
from causalprune_lib.dynamics.chunks import Spans

TESTS = ("f", "chi2")
# Where statsmodels raises; for collinear series it goes on.
RAISES = (
    lagged.TOO_SHORT,
    lagged.NOT_FINITE,
    lagged.CONSTANT,
    lagged.PERFECT_FIT,
    lagged.EFFECT_CONSTANT,
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
    code = torch.full((max_lag, n_series), lagged.TOO_SHORT, dtype=torch.int8, device=device)
    released = torch.zeros(n_series, dtype=torch.float64, device=device)
    criterion = stats[0].clone() if isinstance(lag, str) else None
    if n_lags > 0:
        y, y_scale = unit(effect.to(device, torch.float64)[:, None])
        y, log_scale = y[:, 0], float(y_scale.log())
        pasts = [lagged.own_past(y, i) for i in range(1, n_lags + 1)]

    def work(spans: Spans) -> None:
        for start, stop in spans:
            part = slice(start, stop)
            x = causes[:, part].to(torch.float64).contiguous()
            found, code[:n_lags, part], x = _tests(pasts, x)
            released[part] = torch.from_numpy(np.round(found[3], 4).min(0)).to(device)
            missing = code[:n_lags, part] != lagged.ESTIMATED
            found = torch.from_numpy(found).to(device)
            stats[:, :n_lags, part] = found.masked_fill(missing, math.nan)
            if criterion is not None:
                pieces = x.split(max(1, (stop - start) * size // criterion_bytes(width, n_lags)), 1)
                value = [information_criterion(y, z, max_lag=n_lags, kind=lag) for z in pieces]
                value = torch.cat(value, 1) + 2 * (width - n_lags) * log_scale  # y in its own unit
                criterion[:n_lags, part] = value.masked_fill(missing, math.nan)

    if n_lags > 0:
        size = lagged.bytes_per_cause(width, n_lags)
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


def _tests(
    pasts: list[lagged.OwnPast], x: torch.Tensor
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """F, its p, chi2, its p (4, L, S) at all lags of `pasts`, codes (L, S), and x in unit scale."""
    finite = torch.isfinite(x).all(0)
    x = torch.where(finite, x, 0.0)
    problem = _constant_columns(x, len(pasts)).to(torch.int8) * lagged.CONSTANT
    problem[:, ~finite] = lagged.NOT_FINITE
    x, _ = unit(x)
    sound = (problem == 0).any(0)
    gain, left = x.new_full((2, *problem.shape), math.nan)
    collinear = torch.zeros_like(problem, dtype=torch.bool)
    gain[:, sound], left[:, sound], collinear[:, sound] = lagged.explained(pasts, x[:, sound])
    per_lag = [(past.lag, past.residual.numel(), past.tss, past.code) for past in pasts]
    lag, n, tss, past_code = (
        x.new_tensor(values)[:, None] for values in zip(*per_lag, strict=True)
    )
    code = torch.where(collinear, lagged.COLLINEAR, lagged.ESTIMATED)
    code = torch.where(past_code > 0, past_code.long(), code)
    perfect = ((left < lagged.EPS * tss) | (left == 0)) & (code != lagged.EFFECT_CONSTANT)
    code = torch.where(perfect, lagged.PERFECT_FIT, code)
    code = torch.where(problem > 0, problem, code).to(torch.int8)
    chi2 = gain / left * n
    free = n - 2 * lag - 1
    fstat = chi2 / n * free / lag
    chi2, fstat, lag, free = (values.cpu().numpy() for values in (chi2, fstat, lag, free))
    f_pvalue, chi2_pvalue = special.fdtrc(lag, free, fstat), special.chdtrc(lag, chi2)
    return np.stack([fstat, f_pvalue, chi2, chi2_pvalue]), code, x
