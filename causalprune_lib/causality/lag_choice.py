"""How many lags: Akaike's and Schwarz's criteria of the unrestricted model.

With k = 2L + 1 coefficients, n rows and residual sum of squares SSR,

    AIC = n (log 2 pi + log(SSR / n) + 1) + 2 k,    BIC = the same with k log n instead of 2 k.

Criteria can be compared only between models of the same rows, so all lags 1..L are fitted to
t = L..W-1. Their columns are then nested (constant, y_{t-1}, x_{t-1}, y_{t-2}, x_{t-2}, ...), and
one QR decomposition gives the SSR of every lag.

Schwarz, "Estimating the dimension of a model", Annals of Statistics 6, 461-464, 1978. BIC finds the
true lag of an autoregression as W grows; AIC keeps a constant chance of taking too many.
"""

from __future__ import annotations

import math

import torch

from causalprune_lib.causality.factor import triangle
from causalprune_lib.causality.lagged import COLLINEAR_BELOW, EPS

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
