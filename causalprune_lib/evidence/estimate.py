"""An effect with its interval, over the units that were drawn independently.

Starts of one network on one table are no sixty networks: where units share a cluster, the clusters
are averaged first and the interval is over clusters. A bounded quantity gets an interval that stays
within its bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from causalprune_lib._validation import check_int
from causalprune_lib.evidence.statistics import t_interval

POWER = 0.8  # of a study that decides
MOST = 100_000  # units that anybody would measure


@dataclass(frozen=True)
class Estimate:
    """An effect and the interval that holds it, from `n` independent `units`.

    Examples
    --------
    >>> gain = Estimate.of_mean([2.1, 3.4, 2.6], units="networks")
    >>> print(gain)
    2.7 (1.1 to 4.3; 3 networks)
    >>> gain.units_needed(0.5)
    16
    """

    effect: float
    low: float
    high: float
    n: int  # that the interval is over
    units: str  # what they are, in the plural: "networks", "tables", "splits"
    sd: float = math.nan  # between units; of logarithms where `ratio`
    ratio: bool = False  # a geometric mean, with 1 for no effect

    def __post_init__(self) -> None:
        check_int("n", self.n, minimum=2)
        ends = (self.low, self.effect, self.high)
        if not all(map(math.isfinite, ends)) or not self.low <= self.effect <= self.high:
            raise ValueError(
                f"effect must be a number inside a finite interval; got {self.effect!r} and "
                f"({self.low!r}, {self.high!r})."
            )

    @classmethod
    def of_mean(
        cls,
        values: Sequence[float] | pd.Series,
        *,
        units: str,
        clusters: Sequence[object] | pd.Series | None = None,
        bounds: tuple[float, float] = (-math.inf, math.inf),
        level: float = 0.95,
    ) -> Estimate:
        """Mean and Student's interval, over clusters where there are any.

        Parameters
        ----------
        values : sequence of float (n,)
            One for each unit, all finite; of pairs, their differences.
        units : str
            What the interval is over: the clusters, where `clusters` are given.
        clusters : sequence (n,), optional
            What units belong to. Each cluster counts once, by its mean.
        bounds : (float, float)
            What no value can leave. The interval is cut there. Where all values are equal
            Student's interval would be a point; with bounds it is what Clopper and Pearson's
            leaves: so much of the law may still lie elsewhere.
        """
        values, (least, most) = np.asarray(values, dtype=float), bounds
        if values.ndim != 1:
            raise ValueError(f"values must have one axis (n,); got shape {values.shape}.")
        if not (np.isfinite(values) & (values >= least) & (values <= most)).all():
            raise ValueError(f"values must be finite and in {bounds}; got {values.tolist()}.")
        if clusters is not None:
            clusters = np.asarray(clusters, dtype=object)
            if clusters.shape != values.shape or pd.isna(clusters).any():
                raise ValueError(
                    f"clusters must name one for each of {len(values)} values; got "
                    f"{clusters.tolist()}."
                )
            found = pd.Series(values).groupby(clusters, sort=False)
            values = found.mean().to_numpy()
        n = len(values)
        low, high = t_interval(values, level)
        if n and math.isfinite(most - least) and (values == values[0]).all():
            share = ((1 - level) / 2) ** (1 / n)  # of the law, at least, lies at this value
            low, high = (share * values[0] + (1 - share) * end for end in bounds)
        sd = float(values.std(ddof=1)) if n > 1 else math.nan
        mean = float(values.mean()) if n else math.nan
        return cls(mean, max(low, least), min(high, most), n, units, sd)

    @classmethod
    def of_ratio(cls, values: Sequence[float] | pd.Series, **options) -> Estimate:
        """Geometric mean of positive values; options as in `of_mean`.

        >>> print(Estimate.of_ratio([0.5, 1.0, 2.0], units="networks"))
        1.0 (0.2 to 5.6; 3 networks)
        """
        values = np.asarray(values, dtype=float)
        if not (values > 0).all():
            raise ValueError(f"values must be positive; got {values.tolist()}.")
        logs = cls.of_mean(np.log(values), **options)
        ends = map(math.exp, (logs.effect, logs.low, logs.high))
        return cls(*ends, logs.n, logs.units, logs.sd, ratio=True)

    @classmethod
    def of_share(cls, k: int, n: int, *, units: str, level: float = 0.95) -> Estimate:
        """Share k / n of the units in which something holds, with Clopper and Pearson's interval.

        >>> print(Estimate.of_share(10, 10, units="networks"))
        1.00 (0.69 to 1.00; 10 networks)
        """
        from statsmodels.stats.proportion import proportion_confint

        check_int("n", n, minimum=2)
        if check_int("k", k, minimum=0) > n:
            raise ValueError(f"k must be at most n = {n}; got {k}.")
        low, high = proportion_confint(k, n, alpha=1 - level, method="beta")
        return cls(k / n, float(low), float(high), n, units, math.sqrt(k / n * (1 - k / n)))

    def times(self, factor: float) -> Estimate:
        """The same in another unit: 100 times for points, -1 times for the other direction."""
        low, high = sorted((factor * self.low, factor * self.high))
        scaled = {"effect": factor * self.effect, "low": low, "high": high}
        return replace(self, **scaled, sd=abs(factor) * self.sd)

    def power(self, distance: float) -> float:
        """How often so many units tell an effect at this distance from none; NaN without spread."""
        from statsmodels.stats.power import TTestPower

        size = self._size(distance)
        return float(TTestPower().power(size, self.n, 0.05)) if math.isfinite(size) else math.nan

    def units_needed(self, distance: float) -> int | None:
        """How many units tell it four times in five; None where no number can be given.

        At this spread, by the noncentral t distribution, two-sided at 5%.
        """
        from statsmodels.stats.power import TTestPower

        size = self._size(distance)
        if not math.isfinite(size):
            return None
        for n in np.unique(np.geomspace(2, MOST, 400).round().astype(int)):
            if TTestPower().power(size, n, 0.05) >= POWER:
                return int(n)
        return None

    def _size(self, distance: float) -> float:
        """`distance` in standard deviations."""
        if self.ratio:
            distance = math.log(distance)
        known = self.sd > 0 and distance != 0
        return abs(distance) / self.sd if known else math.nan

    def __str__(self) -> str:
        return f"{self.interval[:-1]}; {self.n} {self.units})"

    @property
    def interval(self) -> str:
        """The effect and its interval, rounded to two digits of half the interval."""
        half = (self.high - self.low) / 2 or abs(self.effect) / 10 or 1.0
        digits = 1 - math.floor(math.log10(half))
        form = ".1e" if digits > 6 else f",.{max(0, digits)}f"
        rounded = (round(end, digits) + 0.0 for end in (self.effect, self.low, self.high))  # no -0
        effect, low, high = (f"{end:{form}}" for end in rounded)
        return f"{effect} ({low} to {high})"
