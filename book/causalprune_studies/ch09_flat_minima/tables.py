"""Tables of the chapter "Flat minima": rows of `FlatMinima` chosen, and networks at equal loss.

In all of them `method` is the network, and one row is one network of one data set and seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_studies.ch09_flat_minima.study import NETWORKS

PAIR = ["dataset", "seed"]
COORDINATES = ("space", "step", "radius", "alpha")

# What is measured, with the coordinates that it is measured at. All of them grow with sharpness.
MEASURES = {
    "top eigenvalue": ("top_1", {"space": "kept"}),
    "trace": ("trace", {"space": "kept"}),
    "shaking": ("increase", {"radius": 0.1}),
    "landscape": ("rise", {}),
}
FACTS = {
    "test accuracy": ("accuracy", {}),
    "training loss": ("train_loss", {}),
    **MEASURES,
    "top eigenvalue, all weights": ("top_1", {"space": "all"}),
    "negative": ("negative", {}),
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


def facts(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of each of `FACTS` (columns), for each network; of one data set."""
    found = {name: measured_by(rows, metric, **where) for name, (metric, where) in FACTS.items()}
    means = {name: part.groupby("method").value.mean() for name, part in found.items()}
    return pd.DataFrame(means).loc[list(NETWORKS)]


def eigenvalues(rows: pd.DataFrame, panel: str) -> pd.DataFrame:
    """The top eigenvalues by `panel`, `method` and `rank`: geometric means and their intervals."""
    found = rows[rows.metric.str.fullmatch(r"top_\d") & rows.space.notna()]
    found = found.assign(
        rank=found.metric.str[4:].astype(int), value=np.log10(found.value), method=found.network
    )
    table = summarise(found.assign(metric="log10 of top"), [panel, "method", "rank"])
    ends = ["mean", "low", "high"]
    return table.assign(**{name: 10 ** table[name] for name in ends})


def on_the_way(rows: pd.DataFrame) -> pd.DataFrame:
    """`loss` and `top_1` of every network, step by step."""
    found = rows[rows.step.notna()].rename(columns={"network": "method"})
    place = ["dataset", "method", "seed", "step"]
    table = found.pivot(index=place, columns="metric", values="value").reset_index()
    return pd.concat([table[table.method == name] for name in NETWORKS])


def ratios(rows: pd.DataFrame, a: str, b: str) -> PairedDifference:
    """log10 of `a` over `b`, over networks of the same data set and seed; `rows` of one metric."""
    logs = rows[rows.method.isin([a, b])]
    logs = logs.assign(value=np.log10(logs.value.where(logs.value > 0)))
    return paired_difference(logs, between="method", a=a, b=b, pair_on=PAIR)


def times(gap: PairedDifference) -> str:
    """A mean ratio and its interval, from a difference of log10.

    Examples
    --------
    >>> rows = pd.DataFrame({"dataset": "a", "seed": [0, 0, 1, 1], "method": ["a", "b"] * 2})
    >>> times(ratios(rows.assign(value=[20.0, 10.0, 2.0, 1.0]), "a", "b"))
    '2.00 (2.00 to 2.00)'
    """
    if gap.n < 2:
        return "not measurable"
    return f"{10**gap.mean:.2f} ({10**gap.low:.2f} to {10**gap.high:.2f})"


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


def causal_against(rows: pd.DataFrame) -> dict[str, dict[str, PairedDifference]]:
    """log10 of causal's top eigenvalue over that of the other networks, at the end and before."""
    tops, others = measure(rows, "top eigenvalue"), [n for n in NETWORKS if n != "causal"]
    equal = {b: at_equal_loss(rows, "causal", b) for b in others}
    return {
        "at the end": {b: ratios(tops, "causal", b) for b in others},
        "at equal training loss": {b: ratios(equal[b], "causal", b) for b in others},
    }


def rank_agreement(rows: pd.DataFrame, *, without: Sequence[str] = ()) -> pd.DataFrame:
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
            one = group.iloc[[0]].drop(columns=["metric", "method", "value"])
            found.append(one.assign(metric="spearman", method=name, value=float(rank)))
    return pd.concat(found, ignore_index=True)


def mean_agreement(rows: pd.DataFrame, *, without: Sequence[str] = ()) -> pd.DataFrame:
    """`rank_agreement` of each measure, mean and interval over seeds; `rows` of one data set.

    An interval ends where a correlation does, at -1 and 1.
    """
    found = summarise(rank_agreement(rows, without=without), "method").set_index("method")
    return found.assign(low=found.low.clip(lower=-1), high=found.high.clip(upper=1))


def each_agreement(rows: pd.DataFrame) -> pd.DataFrame:
    """`rank_agreement` of each measure (index), one number for each seed of a data set (columns).

    As text: of three networks there is nothing to gain from a mean.
    """
    found = rank_agreement(rows).sort_values("seed", kind="stable")
    listed = found.groupby(["method", "dataset"], sort=False).value.agg(
        lambda ranks: ", ".join(f"{rank:+.1f}".replace("-", "−") for rank in ranks)
    )
    return listed.unstack("dataset").loc[[*MEASURES, "low training loss"]]


def accuracy_gaps(rows: pd.DataFrame) -> dict[str, PairedDifference]:
    """Test accuracy of the causal network minus that of each other; `rows` of one data set."""
    accuracy = measured_by(rows, "accuracy")
    others = [name for name in NETWORKS if name != "causal"]
    return {
        b: paired_difference(accuracy, between="method", a="causal", b=b, pair_on=PAIR)
        for b in others
    }


def side_by_side(rows: pd.DataFrame, *names: str) -> pd.DataFrame:
    """`accuracy` and some of `MEASURES` (columns) of every network, one row for each."""
    found = {name: measure(rows, name) for name in names}
    found["accuracy"] = measured_by(rows, "accuracy")
    place = [*PAIR, "method"]
    table = pd.DataFrame({name: part.set_index(place).value for name, part in found.items()})
    return table.dropna().reset_index()


def mean_ranks(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean rank of each network among those of its data set and seed; the flattest has rank 1."""
    flatness = side_by_side(rows, *MEASURES).set_index([*PAIR, "method"])[list(MEASURES)]
    return flatness.groupby(PAIR).rank().groupby("method").mean().loc[list(NETWORKS)]


def surfaces(rows: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The landscape of each network, (alphas (A,), betas (B,), log(1 + loss) (A, B)).

    `rows` of one data set and seed.
    """
    found = rows[rows.alpha.notna()]
    grids = {
        name: found[found.network == name].pivot(index="alpha", columns="beta", values="value")
        for name in NETWORKS
    }
    return {
        name: (grid.index.to_numpy(), grid.columns.to_numpy(), np.log1p(grid.to_numpy()))
        for name, grid in grids.items()
    }


def widened(
    at: np.ndarray, eigenvalues: ArrayLike, weights: ArrayLike, *, width: float
) -> np.ndarray:
    """A density (G,) at the places `at`: a bell of this width for each eigenvalue."""
    bells = np.exp(-(((at - np.asarray(eigenvalues)[:, None]) / width) ** 2) / 2)
    return np.asarray(weights) @ np.asarray(bells) / (width * np.sqrt(2 * np.pi))
