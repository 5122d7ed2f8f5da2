"""Comparing two methods seed by seed, because what two runs share cancels in their difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from causalprune_lib.evidence.intervals import (
    check_groups,
    check_level,
    require_columns,
    t_interval,
)


@dataclass(frozen=True)
class PairedDifference:
    """How much `a` exceeds `b`, over pairs that share a seed.

    Attributes
    ----------
    a, b : object
        The two sides.
    n : int
        Pairs.
    mean : float
        Mean of a - b.
    low, high : float
        t interval of the mean; NaN for a single pair.
    p : float
        Of the paired t-test of no difference; NaN for a single pair or for equal differences.
    wins, ties, losses : int
        Pairs in which `a` is above, at, below `b`.
    unpaired : int
        Rows left out: without a partner, or with NaN on either side.
    level : float
        Of the interval.
    """

    a: object
    b: object
    n: int
    mean: float
    low: float
    high: float
    p: float
    wins: int
    ties: int
    losses: int
    unpaired: int
    level: float

    @property
    def improvement(self) -> float:
        """Share of pairs that `a` wins, ties counted half: 0.5 is chance."""
        return (self.wins + self.ties / 2) / self.n if self.n else math.nan


def paired_difference(
    frame: pd.DataFrame,
    *,
    between: str,
    a: object,
    b: object,
    pair_on: str | Sequence[str] = "seed",
    value: str = "value",
    level: float = 0.95,
) -> PairedDifference:
    """Difference `a` minus `b` over pairs that share a seed, with its interval.

    Two methods run from the same seed share their network and data, so much of the spread between
    seeds cancels in the difference: pairs see smaller effects than two separate intervals do.

    Parameters
    ----------
    frame : DataFrame
        Rows as from `run_grid`, of one metric.
    between : str
        The column that tells the two sides apart, such as "method".
    a, b : object
        Two values of that column.
    pair_on : str or sequence of str
        Columns that make a pair.
    value, level
        As in `summarise`.

    Raises
    ------
    ValueError
        If `a` or `b` does not occur, if a pair is not unique, or if metrics are mixed.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({
    ...     "method": ["magnitude"] * 3 + ["random"] * 3,
    ...     "seed": [0, 1, 2, 0, 1, 2],
    ...     "value": [0.90, 0.92, 0.91, 0.80, 0.83, 0.85],
    ... })
    >>> gap = paired_difference(frame, between="method", a="magnitude", b="random")
    >>> f"{gap.mean:.3f} ({gap.low:.3f} to {gap.high:.3f}), {gap.wins} of {gap.n} pairs"
    '0.083 (0.032 to 0.135), 3 of 3 pairs'
    """
    pair_on = [pair_on] if isinstance(pair_on, str) else list(pair_on)
    require_columns("frame", frame, [between, *pair_on, value])
    check_level(level)
    for name, side in (("a", a), ("b", b)):
        if not frame[between].eq(side).any():
            known = sorted(frame[between].dropna().unique().tolist(), key=str)
            raise ValueError(
                f"{name} must be a value of column {between!r}, {known}; got {side!r}."
            )
    frame = frame[frame[between].isin([a, b])]
    check_groups(frame, [between, *pair_on], once=[between, *pair_on])
    sides = frame.pivot(index=pair_on, columns=between, values=value).reindex(columns=[a, b])
    gaps = (sides[a] - sides[b]).dropna().to_numpy(dtype=float)  # (pairs,)
    n, wins, losses = len(gaps), int((gaps > 0).sum()), int((gaps < 0).sum())
    low, high = t_interval(gaps, level)
    return PairedDifference(
        a=a,
        b=b,
        n=n,
        mean=float(gaps.mean()) if n else math.nan,
        low=low,
        high=high,
        p=_paired_p(gaps),
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
        unpaired=len(frame) - 2 * n,
        level=level,
    )


def _paired_p(gaps: np.ndarray) -> float:
    """Two-sided p-value of Student's test that the mean of `gaps` (n,) is zero."""
    n = len(gaps)
    spread = gaps.std(ddof=1) if n > 1 else 0.0
    if n < 2 or spread <= 1e-12 * abs(gaps).max():  # equal up to rounding
        return math.nan
    return float(2 * stats.t.sf(abs(gaps.mean()) / spread * n**0.5, n - 1))
