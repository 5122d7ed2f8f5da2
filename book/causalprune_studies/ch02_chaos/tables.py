"""Tables of chapter 2: what the rows of both studies say, averaged and put into words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from causalprune_lib.evidence.statistics import summarise
from causalprune_studies.ch02_chaos.study import PerturbedWeights, WeightRecord
from causalprune_studies.judge import metric_rows

HALVES = {"early": "first half", "late": "second half"}
READINGS = {
    "twin_growth": "twins, median over weights",
    "exponent": "tangent vector",
    "released": "raw series, released reading",
    "described": "difference of twins, same reading",
}  # of one training, all in nats per step


def halves_by_rate(rows: pd.DataFrame) -> pd.DataFrame:
    """Exponents of the first and second half of training, by `order`, `seed` and `lr`.

    `rows` are those of `LearningRateSweep` by `run_grid`, perhaps among others. Columns `early` and
    `late`, nats per step, for the learning rates at which the exponent of every seed and order is
    finite.
    """
    sweep = rows[rows.spec == "LearningRateSweep"]
    wide = sweep.pivot(index=["order", "seed", "lr"], columns="metric", values="value")
    wide = wide[["exponent", "late_exponent"]].reset_index()
    finite = wide.exponent.abs().lt(float("inf")) & wide.late_exponent.abs().lt(float("inf"))
    wide = wide[finite.groupby(wide.lr).transform("all")]
    halves = wide.assign(late=wide.late_exponent, early=2 * wide.exponent - wide.late_exponent)
    return halves[["order", "seed", "lr", "early", "late"]].rename_axis(columns=None)


def halves_by_order(rows: pd.DataFrame) -> pd.DataFrame:
    """`halves_by_rate` averaged over the learning rates; `n_lrs` says how many these are."""
    groups = halves_by_rate(rows).groupby(["order", "seed"], sort=False, as_index=False)
    return groups.agg(early=("early", "mean"), late=("late", "mean"), n_lrs=("lr", "nunique"))


def late_exponents(rows: pd.DataFrame) -> pd.DataFrame:
    """The exponent over the second half of training, summarised by `order` and `lr`."""
    return summarise(metric_rows(rows, "late_exponent").drop(columns="metric"), ["order", "lr"])


def late_factors(rows: pd.DataFrame, lr: float) -> pd.Series:
    """By how much the second half of training multiplies a perturbation, by `order`."""
    late = late_exponents(rows)
    at = late[late.lr == lr].set_index("order")["mean"]
    return np.exp(int(rows.steps.max()) // 2 * at)


def halves_for_reading(halves: pd.DataFrame) -> pd.DataFrame:
    """`halves_by_order` averaged over the seeds: an order a row, with half the 95% interval."""
    table = summarise(halves.melt(["order", "seed"], list(HALVES), "half"), ["order", "half"])
    table["text"] = [_plus_minus(row, 4) for _, row in table.iterrows()]
    return table.pivot(index="order", columns="half", values="text")[list(HALVES)].rename(
        columns=HALVES
    )


def readings_by_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Growth and readings of `PerturbedWeights`: means by `dataset` with half the 95% interval."""
    weights = rows[rows.spec == "PerturbedWeights"]
    table = summarise(weights[weights.metric.isin(READINGS)], ["dataset", "metric"])
    digits = table.metric.map({"twin_growth": 5, "exponent": 5}).fillna(2).astype(int)
    table["text"] = [
        _plus_minus(row, n) for (_, row), n in zip(table.iterrows(), digits, strict=True)
    ]
    table = table.pivot(index="dataset", columns="metric", values="text")
    return table[list(READINGS)].rename(columns=READINGS).loc[weights.dataset.unique()]


def growth_by_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Over the whole training, medians over the networks: growth of the twins by `dataset`."""
    weights = rows[rows.spec == "PerturbedWeights"]
    growth = weights[weights.metric.isin(["growth_median", "growth_max"])]
    growth = growth.groupby(["dataset", "metric"]).value.median().unstack()
    names = {"growth_median": "median weight", "growth_max": "largest"}
    growth = growth[list(names)].rename(columns=names).map("{:.3g}".format)
    growth["epochs"] = weights.groupby("dataset").epochs.first().astype(int)
    return growth.loc[weights.dataset.unique()]


def reading_over_growth(rows: pd.DataFrame) -> pd.Series:
    """How often the released reading holds the growth of the twins, ratio of means by `dataset`."""
    weights = rows[rows.spec == "PerturbedWeights"]
    means = weights.groupby(["dataset", "metric"], sort=False).value.mean().unstack()
    return (means.released / means.twin_growth).loc[weights.dataset.unique()]


def titles(exponent: pd.Series, edge: pd.Series) -> list[str]:
    """What the slider says at each learning rate, from the means by rate."""
    return [
        f"Learning rate η = {lr:g}: exponent {exponent[lr]:.4f},<br>"
        f"η × sharpness {edge[lr]:.1f} at the end"
        for lr in exponent.index
    ]


def readings(study: PerturbedWeights, records: list[WeightRecord]) -> pd.DataFrame:
    """The four numbers of `READINGS` for each recorded network, a row each."""
    return pd.DataFrame([study.measure(record) for record in records])[list(READINGS)].rename(
        columns=READINGS
    )


def readings_for_reading(table: pd.DataFrame, steps: int) -> pd.DataFrame:
    """`readings` as a reader sees them: mean, range, and what the mean comes to over `steps`."""
    shown = table.agg(["mean", "min", "max"]).map("{:.4f}".format).T
    shown.columns = ["nats per step, mean", "lowest network", "highest network"]
    shown[f"growth over {steps:,} steps"] = [in_words(steps * nats) for nats in table.mean()]
    return shown


def in_words(nats: float) -> str:
    """A factor of e to the `nats`, so that it can be read also where it exceeds all floats.

    >>> in_words(1.0), in_words(1000.0)
    ('2.7', '1 and 434 zeros')
    """
    return f"{math.exp(nats):.1f}" if nats < 20 else f"1 and {nats / math.log(10):.0f} zeros"


def about(factor: float) -> str:
    """A factor to one digit.

    >>> about(41_234.5)
    '40,000'
    """
    return f"{float(f'{factor:.1g}'):,.0f}"


def _plus_minus(row: pd.Series, digits: int) -> str:
    return f"{row['mean']:.{digits}f}\xa0±\xa0{(row.high - row.low) / 2:.{digits}f}"
