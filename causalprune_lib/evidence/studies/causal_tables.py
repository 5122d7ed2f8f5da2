"""Tables of the chapter "Causal pruning": the rows of its studies, chosen and named for comparison.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.pairs import PairedDifference, paired_difference

PAIR = ["dataset", "seed"]  # one network


def curve_rows(
    rows: pd.DataFrame, metric: str | list[str] = "accuracy", *, init: str = "fan_out"
) -> pd.DataFrame:
    """Rows of a metric of `CausalCurve`, with `method`: "causal", "random at causal" and so on.

    A ranking at its own allocation and the dense network have one word.
    """
    metrics = [metric] if isinstance(metric, str) else metric
    found = rows[(rows.spec == "CausalCurve") & rows.metric.isin(metrics) & (rows.init == init)]
    found = found[found.ranking.notna()]
    alone = (found.ranking == found.allocation) | (found.ranking == "dense")
    method = found.ranking.where(alone, found.ranking + " at " + found.allocation)
    return found.assign(method=method)


def mean_over(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row per data set, seed and method: the mean over `column`, other columns as they are."""
    place = [*PAIR, "method"]
    how = {name: "first" for name in rows if name not in [*place, column, "value"]}
    return rows.groupby(place, sort=False, as_index=False).agg(how | {"value": "mean"})


def without_empty_layers(rows: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The rows of `found` at amounts at which the released rule leaves no layer empty."""
    emptied = curve_rows(rows, "emptied", init=found.init.iloc[0])
    emptied = emptied[(emptied.method == "causal") & (emptied.value > 0)]
    gone = set(zip(emptied.dataset, emptied.seed, emptied.amount, strict=True))
    places = zip(found.dataset, found.seed, found.amount, strict=True)
    return found[[place not in gone for place in places]]


def difference(rows: pd.DataFrame, a: str, b: str) -> PairedDifference:
    """Method `a` minus method `b`, over networks; one row per data set, seed and method."""
    return paired_difference(rows, between="method", a=a, b=b, pair_on=PAIR)


def overlap_rows(rows: pd.DataFrame, a: str = "causal", b: str = "magnitude") -> pd.DataFrame:
    """Rows on the overlap of the masks of two rankings, of networks with the released start.

    Beside the metrics of the study there is `agreement`, both_pruned corrected for chance: 0 for
    independent masks, 1 for equal ones, (both - expected) / (amount - expected), of equal amounts.
    """
    found = rows[(rows.spec == "CausalCurve") & (rows.init == "fan_out")]
    found = found[(found.a == a) & (found.b == b) & found.amount_a.notna()]
    both, expected = (found[found.metric == m] for m in ("both_pruned", "expected"))
    place = [*PAIR, "amount_a", "amount_b"]
    joined = both.merge(expected[[*place, "value"]], on=place, suffixes=("", "_expected"))
    joined = joined[joined.amount_a == joined.amount_b]
    joined["value"] = (joined.value - joined.value_expected) / (
        joined.amount_a - joined.value_expected
    )
    agreement = joined.drop(columns="value_expected").assign(metric="agreement")
    return pd.concat([found, agreement], ignore_index=True)


def iterated_rows(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Rows of one metric of `IteratedRun`, with `method` as in `curve_rows`."""
    found = rows[(rows.spec == "IteratedRun") & (rows.metric == metric)]
    own = found.ranking.str.removesuffix(", one shot") == found.allocation
    alone = own | (found.ranking == "dense")
    method = found.ranking.where(alone, found.ranking + " at " + found.allocation)
    return found.assign(method=method)


def layer_densities(rows: pd.DataFrame, sizes: dict[str, int], **where: object) -> pd.DataFrame:
    """Mean fraction of each layer that is kept, for `plot_layer_density` and `plot_layer_bars`.

    Parameters
    ----------
    rows : DataFrame
        Of a study of this chapter; one data set.
    sizes : dict of str to int
        Weights of each layer, by name.
    **where
        Values of columns, such as `allocation="causal"`.

    Returns
    -------
    DataFrame
        `layer`, `allocation`, `amount` and `density`.
    """
    kept = curve_rows(rows, [f"kept_{layer}" for layer in sizes])
    kept = kept[kept.ranking == kept.allocation]
    for column, value in where.items():
        kept = kept[kept[column] == value]
    layer = kept.metric.str.removeprefix("kept_")
    kept = kept.assign(layer=layer, density=kept.value / layer.map(sizes))
    place = ["layer", "allocation", "amount"]
    return kept.groupby(place, sort=False, as_index=False).density.mean()
