"""Difference series until a Dickey-Fuller test no longer finds a unit root."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_fraction, check_int, check_shape
from causalprune_lib.causality.series import as_series
from causalprune_lib.causality.stationarity import adf_test


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
