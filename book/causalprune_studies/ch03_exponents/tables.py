"""Tables of the chapter: readings as rows, means with their intervals, and what the full rows hold.

`per_seed`, `curve_rows`, `tested` and `agreement` make rows for `summarise`; `plus_minus` shows
what it gives back. The last four read the rows of `EXPONENT_STUDIES`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from causalprune_lib.dynamics.systems import System
from causalprune_lib.evidence.statistics import summarise
from causalprune_studies.ch03_exponents.study import ITSELF, SYSTEMS
from causalprune_studies.paper_networks.settings import legcnet_settings

STEPS_SHUFFLED = "increments shuffled"  # the surrogate that keeps the steps and both ends
TABLES = ("cancer", "titanic", "iris_csv", "banknote")  # of the paper
ORDER = [*SYSTEMS, *TABLES]
DRAWN = {  # of `by_length`
    "logistic map": "logistic map",
    "white noise": "white noise",
    "random walk": "random walk",
    "cancer": "cancer weights",
    "iris_csv": "iris weights",
    "banknote": "banknote weights",
}
LENGTHS = (50, 100, 200, 400)
CELL = ["series", "column"]

Tests = Mapping[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""Surrogate -> readings (units, ...), those of the surrogates (39, units, ...), and p."""


def per_seed(values: ArrayLike, **where: object) -> pd.DataFrame:
    """One row for each of `values` (n,), with n seeds.

    >>> per_seed([0.5, 0.7], series="noise").value.tolist()
    [0.5, 0.7]
    """
    values = np.asarray(values, dtype=float)
    return pd.DataFrame({**where, "seed": np.arange(len(values)), "value": values})


def per_unit(values: torch.Tensor) -> torch.Tensor:
    """Mean (units,) over all windows of a unit, which is a window or a network."""
    return values.double().reshape(len(values), -1).nanmean(1)


def curve_rows(divergence: torch.Tensor, **where: object) -> pd.DataFrame:
    """Rows of curves S(k) (seeds, horizon+1), `k` for `k`."""
    return pd.concat([per_seed(s, k=k, **where) for k, s in enumerate(divergence.T)])


def tested(found: Tests, series: str) -> pd.DataFrame:
    """Tests beside surrogates as rows, one per unit, surrogate and metric.

    `reading`; `rejected` at the 5% level, in percent; `effect`: reading minus the surrogates' mean,
    in their standard deviations; `gap`: the same in nats.
    """
    own = next(iter(found.values()))[0]
    rows = [per_seed(per_unit(own), series=series, kind=ITSELF, metric="reading")]
    for kind, (own, copies, p) in found.items():
        gap = own - copies.mean(0)
        metrics = {
            "reading": copies.mean(0),
            "rejected": 100.0 * (p <= 0.05),
            "effect": gap / copies.std(0),
            "gap": gap,
        }
        rows += [
            per_seed(per_unit(values), series=series, kind=kind, metric=metric)
            for metric, values in metrics.items()
        ]
    return pd.concat(rows)


def agreement(found: Tests, series: str) -> pd.DataFrame:
    """Correlation, over all windows of a unit, with the mean of the steps in random order.

    Of the weight's own reading, and of one more surrogate, which is left out of that mean.
    """
    own, copies, _ = found[STEPS_SHUFFLED]
    others = copies[1:].mean(0)
    rows = [
        per_seed([_correlation(a, b) for a, b in zip(x, others, strict=True)], series=series, who=k)
        for k, x in (("the weight's own reading", own), ("one more surrogate", copies[0]))
    ]
    return pd.concat(rows)


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()


def pm(row: pd.Series, digits: int = 2, scale: float = 1.0) -> str:
    """A mean and half the width of its interval, times `scale`.

    >>> print(pm(pd.Series({"mean": -0.5, "low": -0.6, "high": -0.4}), 1).replace(chr(160), " "))
    −0.5 ± 0.1
    """
    mean, half = scale * row["mean"], scale * (row.high - row.low) / 2
    return f"{mean:.{digits}f}\xa0±\xa0{half:.{digits}f}".replace("-", "−")


def plus_minus(summary: pd.DataFrame, index: str, columns: str, digits: int = 2) -> pd.DataFrame:
    """A summary as a table of `pm`, in the order of its rows."""
    cells = [pm(row, digits) for _, row in summary.iterrows()]
    table = summary.assign(cell=cells).pivot(index=index, columns=columns, values="cell")
    table = table.loc[summary[index].unique(), summary[columns].unique()].fillna("")
    return table.rename_axis(index=None, columns=None)


def beside_the_truth(
    estimates: pd.DataFrame, systems: Mapping[str, System], digits: int
) -> pd.DataFrame:
    """Estimators (rows) on systems (columns), below the exponents that are known."""
    chosen = estimates[estimates.series.isin(systems.keys())]
    known = {name: f"{system.exponent:.{digits}f}" for name, system in systems.items()}
    first = pd.DataFrame(known, index=["known"]).replace({"-": "−", "inf": "∞"}, regex=True)
    return pd.concat([first, plus_minus(chosen, "estimator", "series", digits)])


def from_full(
    full: pd.DataFrame,
    reading: str,
    metric: str,
    *,
    surrogate: str = ITSELF,
    samples: Collection[int] = (200,),
) -> pd.DataFrame:
    """One metric of the full rows; `series` is the system, or the table of the weights."""
    chosen = full[
        (full.reading == reading)
        & (full.metric == metric)
        & (full.surrogate == surrogate)
        & full.samples.isin(samples)
    ]
    source = chosen.series.fillna(chosen.dataset)
    return chosen[["seed", "samples", "value"]].assign(series=source)


def by_length(full: pd.DataFrame) -> pd.DataFrame:
    """The reading as released against the length of the window: `series` and `samples`."""
    chosen = from_full(full, "as released", "exponent", samples=LENGTHS)
    chosen = chosen[chosen.series.isin(DRAWN.keys())]
    return summarise(chosen, ["series", "samples"]).replace({"series": DRAWN})


def at_200(full: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What windows of 200 samples say, by series and `column`: in nats, and in percent."""
    nats, shares = [], []
    for name, reading in (("first step", "as released"), ("slope", "fitted slope")):
        shuffled = {"surrogate": STEPS_SHUFFLED}
        nats += [
            from_full(full, reading, "exponent").assign(column=name),
            from_full(full, reading, "exponent", **shuffled).assign(
                column=f"{name}, steps shuffled"
            ),
        ]
        shares += [
            from_full(full, reading, "positive").assign(column=f"{name} > 0"),
            from_full(full, reading, "rejected", **shuffled).assign(column=f"{name} told apart"),
        ]
    return tuple(
        summarise(pd.concat(parts).assign(value=lambda f, c=scale: c * f.value), CELL)
        for parts, scale in ((nats, 1), (shares, 100))
    )


def printed(full: pd.DataFrame) -> pd.DataFrame:
    """The first step at each table's own window, by its digits and the order of the steps."""
    parts = []
    for name in TABLES:
        window = legcnet_settings(name).window
        for reading, digits in (("unrounded", "all digits"), ("as released", "six decimals")):
            for kind, order in ((ITSELF, ""), (STEPS_SHUFFLED, ", steps shuffled")):
                part = from_full(full, reading, "exponent", surrogate=kind, samples=[window])
                parts.append(part[part.series == name].assign(column=digits + order))
    return summarise(pd.concat(parts), CELL)
