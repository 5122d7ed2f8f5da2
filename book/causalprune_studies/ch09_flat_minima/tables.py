"""Tables of the chapter "Flat minima": rows of `FlatMinima` chosen, and networks at equal loss.

In all of them `method` is the network, and one row is one network of one data set and seed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.statistics import PairedDifference, paired_difference

PAIR = ["dataset", "seed"]


COORDINATES = ("space", "step", "radius", "alpha")


# What is measured, with the coordinates that it is measured at. All of them grow with sharpness.
MEASURES = {
    "top eigenvalue": ("top_1", {"space": "kept"}),
    "trace": ("trace", {"space": "kept"}),
    "shaking": ("increase", {"radius": 0.1}),
    "landscape": ("rise", {}),
}


def measured_by(rows: pd.DataFrame, metric: str, **where: str | float) -> pd.DataFrame:
    """Rows of one metric at one place, with `method`; what is not named in `where` is empty there.

    Examples
    --------
    >>> rows = pd.DataFrame({"network": ["dense"] * 2, "metric": "top_1", "space": ["kept", None]})
    >>> len(measured_by(rows, "top_1", space="kept"))
    1
    """
    found = rows[rows.metric == metric]
    for name in COORDINATES:
        if name in found:
            found = found[found[name] == where[name] if name in where else found[name].isna()]
    return found.assign(method=found.network)


def measure(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of one of `MEASURES`, for every network."""
    check_choice("name", name, MEASURES)
    metric, where = MEASURES[name]
    return measured_by(rows, metric, **where)


def ratios(rows: pd.DataFrame, a: str, b: str) -> PairedDifference:
    """log10 of `a` over `b`, over networks of the same data set and seed; `rows` of one metric."""
    logs = rows[rows.method.isin([a, b])]
    logs = logs.assign(value=np.log10(logs.value.where(logs.value > 0)))
    return paired_difference(logs, between="method", a=a, b=b, pair_on=PAIR)


def at_equal_loss(rows: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """Top eigenvalues of two networks where their training losses are equal.

    The loss is the final one of the network that ends higher. The other's eigenvalue there is read
    between two of its checkpoints, on a straight line in the logarithms of both; NaN where it never
    had so high a loss.

    Returns
    -------
    DataFrame
        For each data set and seed a row for each of the two, with `method`, `value` and `at_loss`.
    """
    found = []
    for _, part in rows[rows.step.notna()].groupby(PAIR, sort=False):
        curves = {name: _curve(part[part.network == name]) for name in (a, b)}
        target = max(curve.loss.iloc[-1] for curve in curves.values())
        for name, curve in curves.items():
            ordered = curve.sort_values("loss")
            top = np.interp(
                np.log(target), np.log(ordered.loss), np.log(ordered.top_1), right=np.nan
            )
            last = part[(part.network == name) & (part.metric == "top_1")].iloc[[-1]]
            found.append(last.assign(method=name, value=np.exp(top), at_loss=target))
    return pd.concat(found, ignore_index=True)


def _curve(rows: pd.DataFrame) -> pd.DataFrame:
    """`loss` and `top_1` of one network, step by step."""
    return rows.pivot(index="step", columns="metric", values="value").sort_index()


def rank_agreement(rows: pd.DataFrame, *, without: tuple[str, ...] = ()) -> pd.DataFrame:
    """Spearman's correlation of flatness with accuracy over the networks of one data set and seed.

    For each of `MEASURES` with its sign turned round, and for "low training loss", the mean loss of
    the last epoch turned round. `method` is the measure; networks in `without` are left out.
    """
    accuracy = measured_by(rows, "accuracy")
    accuracy = accuracy[~accuracy.method.isin(without)]
    accuracy = accuracy.set_index([*PAIR, "method"]).value.sort_index()
    sharp = {name: measure(rows, name) for name in MEASURES}
    sharp["low training loss"] = measured_by(rows, "train_loss")
    found = []
    for name, part in sharp.items():
        for place, group in part.groupby(PAIR, sort=False):
            good = accuracy.loc[place]
            values = group.set_index("method").value.loc[good.index]
            rank = spearmanr(-values, good).statistic
            facts = group.iloc[[0]].drop(columns=["metric", "method", "value"])
            found.append(facts.assign(metric="spearman", method=name, value=float(rank)))
    return pd.concat(found, ignore_index=True)
