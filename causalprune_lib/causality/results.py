"""What a batch of Granger tests returns: statistics, p-values, and why a number is missing.

Not estimable is NaN with a reason and never a score; what to make of it is the caller's decision
(see `decisions`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_int
from causalprune_lib.causality import lagged


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
        return int((self.code != lagged.ESTIMATED).all(0).sum())

    @property
    def reason(self) -> np.ndarray:
        """(S,) of str: why numbers are missing, at the first lag without one; "" if none is.

        "too short: lag l needs 3 l + 2 samples" (smaller lags are still tested), "not finite" (NaN
        or infinity inside), "constant" (some lagged column is), "collinear" (the lagged columns
        depend on each other or on the effect's past), "perfect fit" (nothing is left to explain),
        "constant effect", "collinear effect".
        """
        code = self.code.cpu().numpy()
        first = (code != lagged.ESTIMATED).argmax(0)
        text = np.array([[reason] * len(code) for reason in lagged.REASONS], dtype=object)
        text[lagged.TOO_SHORT] = [
            f"too short: lag {lag} needs {min_length(lag)} samples"
            for lag in range(1, len(code) + 1)
        ]
        return text[code[first, np.arange(code.shape[1])], first].astype(str)
