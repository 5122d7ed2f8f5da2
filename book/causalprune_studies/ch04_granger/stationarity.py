"""Is a series stationary, and how often must it be differenced until it is?

Two independent random walks look related (Granger and Newbold, "Spurious regressions in
econometrics", 1974): F tests assume stationary series. The augmented Dickey-Fuller test fits

    dx_t = c + r x_{t-1} + sum_{i=1..p} g_i dx_{t-i} + e_t

and asks whether r = 0 (a unit root) by the t statistic of r, whose null distribution is not
Student's. p is chosen by AIC or BIC among 0..p_max on common rows; the p-value is MacKinnon's
approximation. The numbers are those of statsmodels' `adfuller`, for many series at once.

Dickey and Fuller, JASA 74, 427-431, 1979; MacKinnon, "Approximate asymptotic distribution functions
for unit-root and cointegration tests", Journal of Business and Economic Statistics 12, 167-176,
1994.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special

from causalprune_lib._validation import check_choice, check_fraction, check_int, check_shape
from causalprune_lib.causality.granger import (
    COLLINEAR_BELOW,
    CRITERIA,
    EPS,
    as_series,
    best_lag,
    in_shares,
    triangle,
    unit,
)
from causalprune_lib.dynamics.neighbours import Spans

# ---- stationarity: Is a series stationary, and how often must it be differenced until it is?


# MacKinnon (1994) for one series: Phi(polynomial of the statistic) below and above `turn`.
_MACKINNON = {  # trend: (p = 0 below, turn, p = 1 above, coefficients below, coefficients above)
    "c": (-18.83, -1.61, 2.74, (2.1659, 1.4412, 0.038269), (1.7339, 0.93202, -0.12745, -0.010368)),
    "ct": (-16.18, -2.89, 0.7, (3.2512, 1.6047, 0.049588), (2.5261, 0.61654, -0.37956, -0.060285)),
}


@dataclass(frozen=True, eq=False)
class AdfResult:
    """Dickey-Fuller tests of S series.

    Attributes
    ----------
    statistic, pvalue : tensors (S,) of float64
        t statistic and p-value of "has a unit root"; NaN for constant, too short, collinear or not
        finite series.
    lag : tensor (S,) of int64
        p, the lagged differences used; -1 where there is no test.
    """

    statistic: torch.Tensor
    pvalue: torch.Tensor
    lag: torch.Tensor


@torch.no_grad()
def adf_test(
    x: torch.Tensor | np.ndarray,
    *,
    trend: str = "c",
    max_lag: int | None = None,
    criterion: str = "aic",
) -> AdfResult:
    """Test each column of `x` for a unit root.

    Parameters
    ----------
    x : tensor or array (W, S)
        One series per column.
    trend : {"c", "ct"}
        Constant, or constant and linear trend.
    max_lag : int, optional
        p_max. Default: ceil(12 (W / 100)^(1/4)), at most W // 2 - 2 ("c") or W // 2 - 3 ("ct").
    criterion : {"aic", "bic"}
        Chooses p.

    Returns
    -------
    AdfResult

    Examples
    --------
    >>> noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> noise[:, 1] = noise[:, 1].cumsum(0)  # white noise, random walk
    >>> (adf_test(noise).pvalue < 0.05).tolist()
    [True, False]
    """
    x = as_series("x", x)
    check_shape("x", x, (None, None))
    check_choice("trend", trend, _MACKINNON)
    check_choice("criterion", criterion, CRITERIA)
    width, n_series = x.shape
    longest = width // 2 - len(trend) - 1
    if max_lag is None:
        max_lag = min(longest, math.ceil(12 * (width / 100) ** 0.25))
    elif check_int("max_lag", max_lag, minimum=0) > longest:
        raise ValueError(f"max_lag must be <= {longest} for {width} samples; got {max_lag}.")
    statistic = torch.full((n_series,), math.nan, dtype=torch.float64, device=x.device)
    lag = torch.full((n_series,), -1, device=x.device)

    def work(spans: Spans) -> None:
        for start, stop in spans:
            part = x[:, start:stop].to(torch.float64).contiguous()
            sound = torch.isfinite(part).all(0) & (part != part[:1]).any(0)
            part = unit(torch.where(sound, part, 0.0))
            chosen = best_lag(_criterion(part, trend, max_lag, criterion)) - 1
            chosen = torch.where(sound, chosen, -1)
            value = statistic[start:stop]
            for p in chosen.unique().tolist():
                if p >= 0:
                    value[chosen == p] = _t_statistic(part[:, chosen == p], trend, p)
            lag[start:stop] = torch.where(value.isnan(), -1, chosen)

    if max_lag >= 0:
        each = 8 * 4 * width * (max_lag + 4)
        in_shares(work, n_series, bytes_each=each, device=x.device)
    return AdfResult(statistic, _mackinnon(statistic, trend), lag)


def _triangle(x: torch.Tensor, trend: str, p: int, *, level_last: bool) -> torch.Tensor:
    """R (S, k+1, k+1) of the columns trend, x_{t-1}, dx_{t-1}..dx_{t-p} and the target dx_t."""
    step = x.diff(dim=0)
    n = len(step) - p
    level = x[p:-1].T[..., None]  # (S, n, 1)
    past = step[:-1].unfold(0, p, 1).permute(1, 0, 2).flip(2) if p else level[..., :0]
    time = torch.linspace(-1.0, 1.0, n, dtype=x.dtype, device=x.device)
    known = torch.stack([torch.ones_like(time), time], 1)[:, : len(trend)]
    known = known.expand(len(level), -1, -1)
    columns = [known, past, level] if level_last else [known, level, past]
    columns = torch.cat(columns, 2)
    columns = columns / columns.norm(dim=1, keepdim=True).clamp(min=1e-300)
    return triangle(torch.cat([columns, step[p:].T[..., None]], 2))


def _criterion(x: torch.Tensor, trend: str, max_lag: int, kind: str) -> torch.Tensor:
    """AIC or BIC (p_max+1, S), all on the rows that p_max leaves."""
    r = _triangle(x, trend, max_lag, level_last=False)
    n, first = len(x) - 1 - max_lag, len(trend) + 1
    ssr = r[:, :, -1].square().flip(1).cumsum(1).flip(1)[:, first:].T
    thin = r.diagonal(dim1=1, dim2=2)[:, :-1].abs() < COLLINEAR_BELOW
    bad = (thin.cumsum(1) > 0)[:, first - 1 :].T | (ssr <= EPS * r[:, :, -1].square().sum(1))
    k = torch.arange(first, first + max_lag + 1, dtype=x.dtype, device=x.device)[:, None]
    value = n * (ssr / n).log() + (2.0 if kind == "aic" else math.log(n)) * k
    return value.masked_fill(bad, math.nan)


def _t_statistic(x: torch.Tensor, trend: str, p: int) -> torch.Tensor:
    """t of x_{t-1}, (S,), on all rows that p leaves; NaN where not estimable."""
    r = _triangle(x, trend, p, level_last=True)
    k = r.shape[1] - 1
    ssr, tss = r[:, k, k].square(), r[:, :, k].square().sum(1)
    t = r[:, k - 1, k] * r[:, k - 1, k - 1].sign() / (ssr / (len(x) - 1 - p - k)).sqrt()
    thin = (r.diagonal(dim1=1, dim2=2)[:, :-1].abs() < COLLINEAR_BELOW).any(1)
    return t.masked_fill(thin | (ssr <= EPS * tss), math.nan)


def _mackinnon(statistic: torch.Tensor, trend: str) -> torch.Tensor:
    zero_below, turn, one_above, below, above = _MACKINNON[trend]
    t = statistic.cpu().numpy()
    low, high = (np.polynomial.polynomial.polyval(t, c) for c in (below, above))
    p = special.ndtr(np.where(t <= turn, low, high))
    p = np.where(t > one_above, 1.0, np.where(t < zero_below, 0.0, p))
    return torch.from_numpy(p).to(statistic.device)


# ---- differencing: Difference series until a Dickey-Fuller test no longer finds a unit root.


@dataclass(frozen=True, eq=False)
class Stationary:
    """An effect and its candidate causes, each differenced as often as it needs.

    Attributes
    ----------
    effect : tensor (W - D,) of float64
        D is the largest order used. Row t of all series belongs to the same time, t + D.
    causes : tensor (W - D, S) of float64
        Ready for `granger_test`.
    effect_order : int
        How often the effect was differenced.
    cause_order : tensor (S,) of int64
        How often each cause was.
    effect_pvalue, cause_pvalue : float, tensor (S,) of float64
        Of the Dickey-Fuller test after differencing; above alpha where `max_order` was not enough,
        NaN where there is no test (a constant series, say).
    """

    effect: torch.Tensor
    causes: torch.Tensor
    effect_order: int
    cause_order: torch.Tensor
    effect_pvalue: float
    cause_pvalue: torch.Tensor


def difference_until_stationary(
    effect: torch.Tensor | np.ndarray,
    causes: torch.Tensor | np.ndarray,
    *,
    alpha: float = 0.05,
    max_order: int = 2,
    trend: str = "c",
) -> Stationary:
    """Difference each series until `adf_test` rejects a unit root at `alpha`.

    A change of x then stands where x stood: the Granger test afterwards asks whether changes of the
    cause predict changes of the effect.

    Parameters
    ----------
    effect, causes : tensors or arrays (W,) and (W, S)
        As for `granger_test`. Series that cannot be tested are left as they are.
    alpha : float
        Level of each Dickey-Fuller test.
    max_order : int
        At most so many differences.
    trend : {"c", "ct"}
        See `adf_test`.

    Returns
    -------
    Stationary

    Examples
    --------
    >>> noise = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    >>> walk = noise[:, 1].cumsum(0)
    >>> ready = difference_until_stationary(noise[:, 0], torch.stack([walk, noise[:, 2]], 1))
    >>> ready.effect_order, ready.cause_order.tolist(), ready.causes.shape
    (0, [1, 0], torch.Size([99, 2]))
    """
    effect, causes = as_series("effect", effect), as_series("causes", causes)
    check_shape("effect", effect, (None,))
    check_shape("causes", causes, (len(effect), None))
    check_fraction("alpha", alpha)
    check_int("max_order", max_order, minimum=0)
    now = torch.cat([effect.to(causes.device)[:, None], causes], 1).to(torch.float64)
    order = torch.zeros(now.shape[1], dtype=torch.int64, device=now.device)
    pvalue = adf_test(now, trend=trend).pvalue
    for _ in range(max_order):
        again = pvalue > alpha  # false for NaN
        if not again.any():
            break
        order += again
        # Everyone loses a row, so that rows still belong to the same time.
        now = torch.where(again, now.diff(dim=0), now[1:])
        pvalue[again] = adf_test(now[:, again], trend=trend).pvalue
    return Stationary(now[:, 0], now[:, 1:], int(order[0]), order[1:], float(pvalue[0]), pvalue[1:])
