"""Tables of chapter 6: means over networks, from rows of `CausalModelFit`."""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.statistics import summarise

NAMES = {
    "cifar10": "CIFAR-10",
    "fashion_mnist": "Fashion-MNIST",
    "same_batch": "same batch",
    "two_batch": "two batches",
    "frozen": "frozen: no move",
}
ONE_SLOPE = {
    "correlation": "correlation",
    "r2": "R², one slope",
    "r2_theory": "R², no fit",
    "slope_lr": "slope × lr",
    "swap": "share of the exchange",
}


def one_slope(rows: pd.DataFrame) -> pd.DataFrame:
    """One coefficient for all weights: what it is and explains, by data set and kind of change."""
    table = summarise(rows[rows.layer.isna()], ["dataset", "kind", "metric"])
    table = table.pivot(index=["dataset", "kind"], columns="metric", values="mean")
    table = table[list(ONE_SLOPE)].rename(index=NAMES, columns=ONE_SLOPE)
    return table.round(3).astype(object).fillna("")


def lasso(rows: pd.DataFrame) -> pd.DataFrame:
    """R^2 of the lasso on all weights, on the fitted and on the held-out steps, by penalty."""
    found = rows[(rows.layer == "all") & rows.metric.isin(["r2_in", "r2_out"])]
    place = ["dataset", "kind", "ratio"]
    table = summarise(found, [*place, "metric"])
    table = table.pivot(index=place, columns="metric", values="mean")
    cells = [f"{row.r2_in:.2f}, {row.r2_out:+.2f}" for row in table.itertuples()]
    return table.assign(cell=cells).cell.unstack().iloc[:, ::-1].rename(index=NAMES)


def agreement_with_movement(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of the ranking by loss changes with movement, by layer and kind."""
    table = summarise(rows[rows.metric == "spearman"], ["kind", "layer"])
    table = table.pivot(index="layer", columns="kind", values="mean")
    return table[["same_batch", "two_batch", "shuffled", "frozen"]]
