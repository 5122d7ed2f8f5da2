"""The tables of chapter 12: distances by network, amount and width, from rows of its studies."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalprune_lib.evidence.statistics import (
    PairedDifference,
    paired_difference,
    require_columns,
    summarise,
)
from causalprune_studies.ch12_closeness.distances import NONE
from causalprune_studies.ch12_closeness.study import RANKINGS, RULE, SHRINKING

INPUTS = 64  # of the digits
REGIONS = {  # metrics of `distances` -> as the page calls them
    "mean": "mean, test images",
    "images": "largest, test images",
    "box": "largest found, all images",
    "ball": "largest found, unit ball",
    "outputs": "mean, outputs",
    "disagree": "other class",
}
FRACTIONS = {"0.1": "0.1", "0.5": "0.5", "1": "all", SHRINKING: "1/√width"}
MNIST_COLUMNS = {
    "ball": REGIONS["ball"],
    "bound": "bound, unit ball",
    "outputs": REGIONS["outputs"],
    "disagree": REGIONS["disagree"],
    "accuracy": "accuracy",
}


def rows_at(
    rows: pd.DataFrame,
    metric: str,
    *,
    state: str | None = None,
    amount: str | None = None,
    network: str | None = None,
    hidden_layers: int | None = None,
) -> pd.DataFrame:
    """The rows of one metric at one place, or at all where a part of the place is not given."""
    rows = rows.assign(amount=rows.amount.astype(str))
    place = {"state": state, "amount": amount, "network": network, "hidden_layers": hidden_layers}
    for name, value in place.items():
        if value is not None:
            rows = rows[rows[name] == value]
    return rows[rows.metric == metric]


def by_fraction(rows: pd.DataFrame) -> pd.DataFrame:
    """Distances over the unit ball of random networks cut at random, by `fraction` and `width`."""
    rows = rows_at(rows, "ball", state="untrained", network="random")
    fraction = rows.amount.str.removesuffix(".0").map(FRACTIONS)
    rows = rows.assign(fraction=fraction).dropna(subset="fraction")
    return summarise(rows, ["fraction", "width"])


def cut_by_width(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean distance of the outputs right after the cut by LEGCNet's rule, one hidden layer."""
    rows = rows_at(rows, "outputs", state="cut", amount=RULE, hidden_layers=1)
    table = rows.pivot_table(index="network", columns="width", values="value")
    return table.loc[list(RANKINGS)]


def cut_against(rows: pd.DataFrame, other: str) -> PairedDifference:
    """LEGCNet minus another ranking, over seeds: `cut_by_width`, means over the widths."""
    rows = rows_at(rows, "outputs", state="cut", amount=RULE, hidden_layers=1)
    means = rows.groupby(["network", "seed"], as_index=False).value.mean()
    return paired_difference(means, between="network", a="LEGCNet", b=other)


def ruled_by_width(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Distances over the unit ball after the cut by LEGCNet's rule, for each number of layers."""
    rows = rows_at(rows, "ball", state="cut", amount=RULE)
    titles = {1: "One hidden layer", 2: "Two hidden layers"}
    return {
        title: summarise(rows[rows.hidden_layers == n], ["network", "width"])
        for n, title in titles.items()
    }


def rule_prunes(rows: pd.DataFrame) -> pd.Series:
    """The fraction that LEGCNet's rule prunes, by width, one hidden layer."""
    rows = rows_at(rows, "pruned", state="cut", amount=RULE, network="LEGCNet", hidden_layers=1)
    return rows.groupby("width").value.mean()


def slopes(rows: pd.DataFrame, *, least_width: int = INPUTS + 1) -> pd.DataFrame:
    """Slope `value` of log distance over log width, by seed, depth, network, state and amount.

    `rows` are of one metric; networks narrower than `least_width` are left out.
    """
    by = ["spec", "hidden_layers", "network", "state", "amount", "seed"]
    require_columns("rows", rows, [*by, "width", "value"])
    rows = rows[rows.width.astype(float) >= least_width]
    found = []
    for place, group in rows.groupby(by):
        x = np.log(group.width.to_numpy(float))
        slope = np.polyfit(x, np.log(group.value.to_numpy(float)), 1)[0]
        found.append(dict(zip(by, place, strict=True)) | {"value": slope})
    return pd.DataFrame(found)


def mean_slopes(rows: pd.DataFrame, *, hidden_layers: int) -> pd.DataFrame:
    """Mean slopes of the distance over the unit ball before any retraining, with intervals."""
    found = slopes(rows_at(rows, "ball", hidden_layers=hidden_layers))
    found = found[(found.state != "retrained") & found.amount.isin(["0.1", "0.5", RULE, SHRINKING])]
    return summarise(found, ["state", "network", "amount"])


def in_words(slopes: pd.DataFrame) -> pd.DataFrame:
    """`mean_slopes` for reading, amounts across: the slope and half a 95% interval."""
    half = slopes.high - slopes["mean"]
    pairs = zip(slopes["mean"], half, strict=True)
    slope = [f"{mean:+.2f}\xa0±\xa0{width:.2f}" for mean, width in pairs]
    table = slopes.assign(slope=slope, stage=slopes.state)
    table = table.pivot(index=["stage", "network"], columns="amount", values="slope")
    return table.astype(object).fillna("")


def yardsticks(rows: pd.DataFrame, *, width: int = 100) -> pd.DataFrame:
    """Distances of the outputs from the dense network, one hidden layer, retrained or dense.

    The yardsticks twin, order and stranger come first; `network` says what was pruned.
    """
    rows = rows_at(rows, "outputs", hidden_layers=1)
    found = summarise(rows[rows.width == width], ["network", "amount", "state"])
    found = found.set_index(["network", "amount", "state"])
    shown = [(name, NONE, "dense") for name in ("twin", "order", "stranger")]
    shown += [(name, a, "retrained") for a in ("0.1", "0.5") for name in RANKINGS]
    found = found.loc[shown].reset_index()
    names = found.network + ", " + found.amount + " pruned"
    return found.assign(network=found.network.where(found.amount == NONE, names))


def retrained_against_order(rows: pd.DataFrame, *, width: int = 100) -> PairedDifference:
    """LEGCNet without a tenth, retrained, minus the same network in another order, over seeds."""
    rows = rows_at(rows, "outputs", hidden_layers=1)
    rows = rows[rows.width == width]
    tenth = (rows.network == "LEGCNet") & (rows.amount == "0.1") & (rows.state == "retrained")
    both = rows[tenth | (rows.network == "order")]
    return paired_difference(both, between="network", a="LEGCNet", b="order")


def retrained_by_width(rows: pd.DataFrame) -> pd.DataFrame:
    """Distances of the outputs after retraining without half, beside dense yardsticks."""
    return summarise(_retrained(rows), ["network", "width"])


def retrained_slopes(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean slope of each line of `retrained_by_width` for widths above the inputs, by network."""
    return summarise(slopes(_retrained(rows)), "network").set_index("network")


def _retrained(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows_at(rows, "outputs", hidden_layers=1)
    half = (rows.amount == "0.5") & (rows.state == "retrained")
    half &= rows.network.isin(["LEGCNet", "random", "magnitude"])
    return pd.concat([rows[half], rows[rows.network.isin(["stranger", "order"])]])


def mnist_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The MNIST networks of chapter 10: means over seeds, by state, amount and network."""
    rows = rows[rows.judge == "closeness"]
    rows = rows.assign(amount=rows.amount.astype(str))
    table = rows.pivot_table(index=["state", "amount", "network"], columns="metric", values="value")
    return table[list(MNIST_COLUMNS)].rename(columns=MNIST_COLUMNS)


def mnist_yardsticks(rows: pd.DataFrame) -> pd.DataFrame:
    """Distances of the outputs of the MNIST networks at the published number of weights."""
    rows = rows_at(rows[rows.judge == "closeness"], "outputs")
    found = summarise(rows, ["network", "amount", "state"]).set_index(
        ["network", "amount", "state"]
    )
    shown = [("twin", NONE, "dense"), ("other", NONE, "dense")]
    shown += [
        (name, "published", "retrained")
        for name in ("LEGCNet-FT", "LEGCNet-PT", "random", "magnitude")
    ]
    found = found.loc[shown].reset_index()
    return found.assign(network=found.network.replace({"other": "stranger"}))
