"""From Granger tests to a decision for each series: causal or not.

Two rules. "as_released" is the reading in LEGCNet's public code: the smallest chi2 p-value over all
lags, each rounded to four digits and none corrected, against alpha; a series for which statsmodels
raises an exception counts as causal. "corrected" takes one p-value per series, from the F test at
the lag chosen beforehand by BIC (or Bonferroni's over all lags), and corrects over the series after
Benjamini and Hochberg; a series that cannot be tested is not causal, and is counted.

A lag chosen on the data that are then tested makes the p-value a little too small: of pure noise,
60 samples long, 6% instead of 5% fall below 0.05 where BIC chose among 14 lags. A fixed lag and
Bonferroni keep the level. The released rule calls about 85% of such noise causal.

Benjamini and Hochberg, "Controlling the false discovery rate", J. R. Stat. Soc. B 57, 1995.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from causalprune_lib._validation import check_choice, check_fraction
from causalprune_lib.causality.granger import GrangerResult

RULES = ("corrected", "as_released")


@dataclass(frozen=True, eq=False)
class CausalDecision:
    """Which of S series were called causal."""

    causal: torch.Tensor  # (S,) of bool
    pvalue: torch.Tensor  # (S,) that alpha is compared with: adjusted, or the smallest rounded one
    missing: torch.Tensor  # (S,) of bool: not testable. As released these are causal, else not
    rule: str
    alpha: float

    @property
    def n_causal(self) -> int:
        """How many series were called causal."""
        return int(self.causal.sum())

    @property
    def n_missing(self) -> int:
        """How many series could not be tested."""
        return int(self.missing.sum())


def causal_decision(
    result: GrangerResult,
    *,
    rule: str = "corrected",
    alpha: float = 0.05,
    over_lags: str = "chosen",
) -> CausalDecision:
    """Decide which of the tested series are causal, by one of the two rules above.

    "as_released" uses chi2 and p < alpha. "corrected" uses what the `test` of the result says, and
    `alpha` is the false discovery rate, p <= alpha. `over_lags` says how it gets one p-value per
    series: at the lag that `granger_test` was told to choose ("chosen"; a ValueError where it was
    not), or Bonferroni's over all lags ("bonferroni").

    >>> from causalprune_lib.causality.granger import granger_test
    >>> noise = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(60, 50, generator=noise), torch.randn(60, generator=noise)
    >>> result = granger_test(y, x, max_lag=14, lag="bic")  # nothing causes anything
    >>> [causal_decision(result, rule=rule).n_causal for rule in RULES]
    [1, 42]
    """
    check_choice("rule", rule, RULES)
    check_choice("over_lags", over_lags, ("chosen", "bonferroni"))
    alpha = check_fraction("alpha", alpha)
    if rule == "as_released":
        p = result.released
        return CausalDecision(p < alpha, p, result.raised, rule, alpha)
    p = bonferroni(result.pvalue) if over_lags == "bonferroni" else result.chosen_pvalue
    p = benjamini_hochberg(p)
    return CausalDecision(p <= alpha, p, p.isnan(), rule, alpha)


def bonferroni(pvalue: torch.Tensor) -> torch.Tensor:
    """One p-value (S,) per series for all its lags (L, S): m times the smallest of m, at most 1.

    NaN is not counted among the m; NaN where a series has no number.
    """
    m = (~pvalue.isnan()).sum(0)
    smallest = pvalue.nan_to_num(nan=math.inf).amin(0)
    return torch.where(m > 0, (smallest * m).clamp(max=1.0), math.nan)


def benjamini_hochberg(pvalue: torch.Tensor) -> torch.Tensor:
    """Adjusted p-values (S,): the smallest false discovery rate at which each is discovered.

    The k-th smallest of m p-values becomes the least of m p_(j) / j over j >= k, at most 1. NaN
    stays NaN and is not counted among the m.
    """
    adjusted = torch.full_like(pvalue, math.nan)
    known = (~pvalue.isnan()).nonzero()[:, 0]
    p, order = pvalue[known].sort()
    m = len(p)
    share = torch.arange(1, m + 1, dtype=p.dtype, device=p.device) / m
    adjusted[known[order]] = (p / share).flip(0).cummin(0).values.flip(0).clamp(max=1.0)
    return adjusted
