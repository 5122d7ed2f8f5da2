"""Means over seeds and differences between methods, with the intervals that say how sure they are.

Two methods that were run from the same seeds are compared pair by pair, because what both runs of a
pair share, such as an easy network, cancels in their difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from causalprune_lib._validation import check_choice

# Sums of some thousand terms may differ by this share on another processor, and be equal.
ROUNDING = 4096 * np.finfo(float).eps


def summarise(
    frame: pd.DataFrame, by: str | Sequence[str], *, value: str = "value", level: float = 0.95
) -> pd.DataFrame:
    """Mean, median and Student's interval of the mean over seeds, for each group.

    For n values with mean m and standard deviation s (divisor n - 1) the interval is
    m +- t s / sqrt(n), with t the quantile (1 + level) / 2 of Student's law at n - 1 degrees.

    `frame` has one row per seed in every group, as from `run_grid`, and `by` names the columns that
    make a group: if one mixes metrics or holds a seed twice, a column is missing, and a ValueError
    says which. `level`, between 0 and 1, is how often such an interval holds the true mean of
    normal values of the column `value`.

    The table has the columns of `by`, then `n` (values used), `missing` (NaN values, left out),
    `mean`, `median`, `low`, `high`. With n = 1 there is no interval: `low` and `high` are NaN.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"method": ["a"] * 3, "seed": [0, 1, 2], "value": [1.0, 2.0, 3.0]})
    >>> summarise(frame, "method").round(3)
      method  n  missing  mean  median    low   high
    0      a  3        0   2.0     2.0 -0.484  4.484
    """
    by = [by] if isinstance(by, str) else list(by)
    if not by:
        raise ValueError("by must name at least one column; got none.")
    require_columns("frame", frame, [*by, value])
    _check_groups(frame, by, once=[*by, "seed"])
    rows = []
    for key, group in frame.groupby(by, sort=False, dropna=False):
        present = group[value].dropna().to_numpy(dtype=float)  # (n,)
        n, mean, median = len(present), math.nan, math.nan
        if n:
            mean, median = present.mean(), np.median(present)
        rows.append((*key, n, len(group) - n, mean, median, *t_interval(present, level)))
    return pd.DataFrame(rows, columns=[*by, "n", "missing", "mean", "median", "low", "high"])


def t_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Student's interval of the mean of `values` (n,); NaN below two values."""
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1); got {level!r}.")
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    half = stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / n**0.5
    return float(values.mean() - half), float(values.mean() + half)


@dataclass(frozen=True)
class PairedDifference:
    """How much `a` exceeds `b`, over pairs that share a seed."""

    a: object
    b: object
    n: int  # pairs
    mean: float  # of a - b
    low: float  # of its t interval; NaN for a single pair
    high: float
    p: float  # of the paired t-test of no difference; NaN for a single pair or equal differences
    wins: int  # pairs in which a is above b
    ties: int
    losses: int
    unpaired: int  # rows left out: without a partner, or with NaN on either side
    level: float  # of the interval

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

    Parameters
    ----------
    frame : DataFrame
        Rows as from `run_grid`, of one metric.
    between, a, b : str, object, object
        The column that tells the two sides apart, such as "method", and two values of it.
    pair_on : str or sequence of str
        Columns that make a pair. `value` and `level` are as in `summarise`.

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
    for name, side in (("a", a), ("b", b)):
        if not frame[between].eq(side).any():
            known = sorted(frame[between].dropna().unique().tolist(), key=str)
            raise ValueError(
                f"{name} must be a value of column {between!r}, {known}; got {side!r}."
            )
    frame = frame[frame[between].isin([a, b])]
    _check_groups(frame, [between, *pair_on], once=[between, *pair_on])
    sides = frame.pivot(index=pair_on, columns=between, values=value)
    sides = sides[[a, b]].to_numpy(dtype=float)  # (pairs, 2)
    sides = sides[~np.isnan(sides[:, 0] - sides[:, 1])]  # (n, 2)
    gaps, n = sides[:, 0] - sides[:, 1], len(sides)  # (n,)
    wins, losses = int((gaps > 0).sum()), int((gaps < 0).sum())
    spread = gaps.std(ddof=1) if n > 1 else 0.0
    p = math.nan
    if n > 1 and spread > ROUNDING * np.abs(sides).max():  # else all differences are the same
        p = float(2 * stats.t.sf(abs(gaps.mean()) / spread * n**0.5, n - 1))
    mean = float(gaps.mean()) if n else math.nan
    counts = {"wins": wins, "ties": n - wins - losses, "losses": losses}
    unpaired = len(frame) - 2 * n
    return PairedDifference(
        a, b, n, mean, *t_interval(gaps, level), p, **counts, unpaired=unpaired, level=level
    )


def require_columns(name: str, frame: pd.DataFrame, needed: Sequence[str]) -> None:
    """Raise unless `frame` is one and has the columns `needed`."""
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{name} must be a DataFrame; got {type(frame).__name__}.")
    for column in needed:
        check_choice(f"the columns of {name}: each", column, list(frame.columns))


def _check_groups(frame: pd.DataFrame, by: list[str], *, once: list[str]) -> None:
    """Raise if rows of one group differ in metric, or if two rows agree in the columns `once`."""
    if "metric" in frame and "metric" not in by and frame.metric.nunique(dropna=False) > 1:
        found = frame.metric.unique().tolist()
        raise ValueError(f"frame must hold one metric, or `by` the column metric; got {found}.")
    if not set(once) <= set(frame.columns) or not frame.duplicated(once).any():
        return
    _, same = max(frame.groupby(once, sort=False, dropna=False), key=lambda item: len(item[1]))
    differing = [column for column in same if same[column].nunique(dropna=False) > 1]
    raise ValueError(
        f"frame must hold one row for each {once}; got {len(same)} rows for "
        f"{same.iloc[0][once].to_dict()}, which differ in {differing}. Group by the column "
        "that tells them apart, choose one of its values, or average them first."
    )
