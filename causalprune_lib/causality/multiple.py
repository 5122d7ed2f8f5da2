"""Corrections for asking many times: over lags (Bonferroni), over weights (Benjamini-Hochberg).

The smallest of m p-values is below alpha far more often than alpha: for 14 independent tests with
probability 1 - 0.95^14 = 0.51. Bonferroni bounds the chance of one false alarm among the lags of a
series; Benjamini and Hochberg bound the expected share of false alarms among the series called
causal.

Benjamini and Hochberg, "Controlling the false discovery rate", Journal of the Royal Statistical
Society B 57, 289-300, 1995.
"""

from __future__ import annotations

import math

import torch


def bonferroni(pvalue: torch.Tensor) -> torch.Tensor:
    """One p-value per series for all its lags: m times the smallest of its m numbers, at most 1.

    Parameters
    ----------
    pvalue : tensor (L, S)
        NaN is not counted among the m.

    Returns
    -------
    tensor (S,)
        NaN where a series has no number.

    Examples
    --------
    >>> p = torch.tensor([[0.01, 0.5, math.nan], [0.04, 0.9, math.nan], [0.30, math.nan, math.nan]])
    >>> [round(value, 2) for value in bonferroni(p).tolist()]
    [0.03, 1.0, nan]
    """
    m = (~pvalue.isnan()).sum(0)
    smallest = pvalue.nan_to_num(nan=math.inf).amin(0)
    return torch.where(m > 0, (smallest * m).clamp(max=1.0), math.nan)


def benjamini_hochberg(pvalue: torch.Tensor) -> torch.Tensor:
    """Adjusted p-values: the smallest false discovery rate at which each would be discovered.

    The k-th smallest of m p-values becomes the least of m p_(j) / j over j >= k, at most 1. Equal
    to `multipletests(p, method="fdr_bh")` of statsmodels.

    Parameters
    ----------
    pvalue : tensor (S,)
        NaN stays NaN and is not counted among the m.

    Returns
    -------
    tensor (S,)

    Examples
    --------
    >>> p = torch.tensor([0.01, math.nan, 0.04, 0.03])
    >>> [round(value, 2) for value in benjamini_hochberg(p).tolist()]
    [0.03, nan, 0.04, 0.04]
    """
    adjusted = torch.full_like(pvalue, math.nan)
    known = (~pvalue.isnan()).nonzero()[:, 0]
    p, order = pvalue[known].sort()
    m = len(p)
    share = torch.arange(1, m + 1, dtype=p.dtype, device=p.device) / m
    adjusted[known[order]] = (p / share).flip(0).cummin(0).values.flip(0).clamp(max=1.0)
    return adjusted
