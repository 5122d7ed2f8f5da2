"""Difference series until a Dickey-Fuller test no longer finds a unit root in them.

Two independent random walks look related (Granger and Newbold, "Spurious regressions in
econometrics", 1974): F tests assume stationary series. The augmented Dickey-Fuller test fits

    dx_t = c + r x_{t-1} + sum_{i=1..p} g_i dx_{t-i} + e_t

and asks whether r = 0 (a unit root) by the t statistic of r, whose null distribution is not
Student's. p is chosen by AIC among 0..p_max on common rows; the p-value is MacKinnon's
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

from causalprune_lib._validation import check_shape
from causalprune_lib.causality.granger import (
    COLLINEAR_BELOW,
    EPS,
    as_series,
    best_lag,
    in_shares,
    triangle,
    unit,
)
from causalprune_lib.dynamics.neighbours import Spans

ALPHA = 0.05  # level of each Dickey-Fuller test
MAX_ORDER = 2  # at most so many differences

# MacKinnon (1994), one series and a constant: Phi(polynomial of t) below and above the turn
ZERO_BELOW, TURN, ONE_ABOVE = -18.83, -1.61, 2.74
BELOW = (2.1659, 1.4412, 0.038269)
ABOVE = (1.7339, 0.93202, -0.12745, -0.010368)


@dataclass(frozen=True, eq=False)
class Stationary:
    """An effect and its candidate causes, each differenced as often as it needs.

    D is the largest order used; sample t of all series belongs to the same time, t + D.
    """

    effect: torch.Tensor  # (W - D,) of float64
    causes: torch.Tensor  # (W - D, S) of float64, ready for `granger_test`
    effect_order: int  # how often the effect was differenced
    cause_order: torch.Tensor  # (S,) of int64: how often each cause was


def difference_until_stationary(
    effect: torch.Tensor | np.ndarray, causes: torch.Tensor | np.ndarray
) -> Stationary:
    """Difference each series until `adf_test` rejects a unit root, or `MAX_ORDER` times.

    A change of x then stands where x stood: the Granger test afterwards asks whether changes of the
    cause predict changes of the effect. What cannot be tested (a constant series) stays as it is.

    Parameters
    ----------
    effect, causes : tensors or arrays (W,) and (W, S)
        As for `granger_test`.

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
    now = torch.cat([effect.to(causes.device)[:, None], causes], 1).to(torch.float64)
    order = torch.zeros(now.shape[1], dtype=torch.int64, device=now.device)
    pvalue = adf_test(now).pvalue
    for _ in range(MAX_ORDER):
        again = pvalue > ALPHA  # false for NaN
        if not again.any():
            break
        order += again
        # Everyone loses a sample, so that samples still belong to the same time.
        now = torch.where(again, now.diff(dim=0), now[1:])
        pvalue[again] = adf_test(now[:, again]).pvalue
    return Stationary(now[:, 0], now[:, 1:], int(order[0]), order[1:])


@dataclass(frozen=True, eq=False)
class AdfResult:
    """Dickey-Fuller tests of S series."""

    statistic: torch.Tensor  # (S,) of float64: t of "has a unit root"; NaN where there is no test
    pvalue: torch.Tensor  # (S,) of float64
    lag: torch.Tensor  # (S,) of int64: p, the lagged differences used; -1 where there is no test


@torch.no_grad()
def adf_test(x: torch.Tensor | np.ndarray) -> AdfResult:
    """Test each column of `x` (W, S) for a unit root.

    p_max is ceil(12 (W / 100)^(1/4)), at most W // 2 - 2. Series that are constant, too short,
    collinear or not finite have no test.

    Examples
    --------
    >>> noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> noise[:, 1] = noise[:, 1].cumsum(0)  # white noise, random walk
    >>> (adf_test(noise).pvalue < 0.05).tolist()
    [True, False]
    """
    x = as_series("x", x)
    check_shape("x", x, (None, None))
    width, n_series = x.shape
    max_lag = min(width // 2 - 2, math.ceil(12 * (width / 100) ** 0.25))
    statistic = torch.full((n_series,), math.nan, dtype=torch.float64, device=x.device)
    lag = torch.full((n_series,), -1, device=x.device)

    def work(spans: Spans) -> None:
        for start, stop in spans:
            part = x[:, start:stop].to(torch.float64).contiguous()
            sound = torch.isfinite(part).all(0) & (part != part[:1]).any(0)
            part = unit(torch.where(sound, part, 0.0))
            chosen = best_lag(_aic(part, max_lag)) - 1
            chosen = torch.where(sound, chosen, -1)
            value = statistic[start:stop]
            for p in chosen.unique().tolist():
                if p >= 0:
                    value[chosen == p] = _t_statistic(part[:, chosen == p], p)
            lag[start:stop] = torch.where(value.isnan(), -1, chosen)

    if max_lag >= 0:
        in_shares(work, n_series, bytes_each=8 * 4 * width * (max_lag + 4), device=x.device)
    return AdfResult(statistic, _mackinnon(statistic), lag)


def _triangle(x: torch.Tensor, p: int, *, level_last: bool) -> torch.Tensor:
    """R (S, p+3, p+3) of the columns 1, x_{t-1}, dx_{t-1}..dx_{t-p} and the target dx_t."""
    step = x.diff(dim=0)
    level = x[p:-1].T[..., None]  # (S, n, 1)
    past = step[:-1].unfold(0, p, 1).permute(1, 0, 2).flip(2) if p else level[..., :0]
    constant = torch.ones_like(level)
    columns = [constant, past, level] if level_last else [constant, level, past]
    columns = torch.cat(columns, 2)
    columns = columns / columns.norm(dim=1, keepdim=True).clamp(min=1e-300)
    return triangle(torch.cat([columns, step[p:].T[..., None]], 2))


def _aic(x: torch.Tensor, max_lag: int) -> torch.Tensor:
    """AIC (p_max+1, S), all on the rows that p_max leaves; NaN from the first collinear lag on."""
    r = _triangle(x, max_lag, level_last=False)
    n = len(x) - 1 - max_lag
    ssr = r[:, :, -1].square().flip(1).cumsum(1).flip(1)[:, 2:].T
    thin = r.diagonal(dim1=1, dim2=2)[:, :-1].abs() < COLLINEAR_BELOW
    bad = (thin.cumsum(1) > 0)[:, 1:].T | (ssr <= EPS * r[:, :, -1].square().sum(1))
    k = torch.arange(2, max_lag + 3, dtype=x.dtype, device=x.device)[:, None]  # coefficients
    return (n * (ssr / n).log() + 2.0 * k).masked_fill(bad, math.nan)


def _t_statistic(x: torch.Tensor, p: int) -> torch.Tensor:
    """t of x_{t-1}, (S,), on all rows that p leaves; NaN where not estimable."""
    r = _triangle(x, p, level_last=True)
    k = r.shape[1] - 1
    ssr, tss = r[:, k, k].square(), r[:, :, k].square().sum(1)
    t = r[:, k - 1, k] * r[:, k - 1, k - 1].sign() / (ssr / (len(x) - 1 - p - k)).sqrt()
    thin = (r.diagonal(dim1=1, dim2=2)[:, :-1].abs() < COLLINEAR_BELOW).any(1)
    return t.masked_fill(thin | (ssr <= EPS * tss), math.nan)


def _mackinnon(statistic: torch.Tensor) -> torch.Tensor:
    """p-values of t statistics, NaN where they are."""
    t = statistic.cpu().numpy()
    low, high = (np.polynomial.polynomial.polyval(t, c) for c in (BELOW, ABOVE))
    p = special.ndtr(np.where(t <= TURN, low, high))
    p = np.where(t > ONE_ABOVE, 1.0, np.where(t < ZERO_BELOW, 0.0, p))
    return torch.from_numpy(p).to(statistic.device)
