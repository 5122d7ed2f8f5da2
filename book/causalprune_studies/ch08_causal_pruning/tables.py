"""Tables of the chapter "Causal pruning": the rows of its studies, chosen and named for comparison.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_studies.judge import NotMeasuredError
from causalprune_studies.tables import published

PAIR = ["dataset", "seed"]  # one network


CURVES = ("CausalCurve", "CausalSketch")


TEXTS = ("ranking", "allocation", "a", "b", "init", "spec", "dataset", "metric")


COORDINATES = ("ranking", "allocation", "amount", "a", "b", "amount_a", "amount_b")


COORDINATES += ("iteration", "n_iter", "l1_coeff", "prune_epochs", "init")


def with_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with every column of the studies: one that only a missing study has is empty."""
    rows = rows.reindex(columns=[*rows, *(name for name in COORDINATES if name not in rows)])
    return rows.astype(dict.fromkeys(TEXTS, object))


def complete(rows: pd.DataFrame, *methods: object) -> pd.DataFrame:
    """The rows of `methods`, of the networks that have them all.

    Raises
    ------
    NotMeasuredError
        If there are fewer than two such networks.
    """
    found = rows[rows.method.isin(methods)]
    there = found.groupby(PAIR).method.transform("nunique") == len(set(methods))
    networks = found[there].drop_duplicates(PAIR)
    if len(networks) < 2:
        needed = ", ".join(f"{method:g}" if _number(method) else str(method) for method in methods)
        raise NotMeasuredError(
            f"two networks at least need rows of {needed}; got {len(networks)} with all of them."
        )
    return found[there]


def _number(method: object) -> bool:
    return isinstance(method, (int, float))


def curve_rows(
    rows: pd.DataFrame, metric: str | list[str] = "accuracy", *, init: str = "fan_out"
) -> pd.DataFrame:
    """Rows of a metric of `CausalCurve`, with `method`: "causal", "random at causal" and so on.

    A ranking at its own allocation and the dense network have one word.
    """
    metrics = [metric] if isinstance(metric, str) else metric
    found = rows[rows.spec.isin(CURVES) & rows.metric.isin(metrics) & (rows.init == init)]
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
    if found.empty:
        return found
    emptied = curve_rows(rows, "emptied", init=found.init.iloc[0])
    emptied = emptied[(emptied.method == "causal") & (emptied.value > 0)]
    gone = set(zip(emptied.dataset, emptied.seed, emptied.amount, strict=True))
    places = zip(found.dataset, found.seed, found.amount, strict=True)
    return found[[place not in gone for place in places]]


def difference(rows: pd.DataFrame, a: str, b: str) -> PairedDifference:
    """Method `a` minus method `b`, over networks; one row per data set, seed and method."""
    return paired_difference(rows, between="method", a=a, b=b, pair_on=PAIR)


def gaps(rows: pd.DataFrame, others: Sequence[str], *, a: str = "causal") -> pd.DataFrame:
    """Method `a` minus each of `others`, data set by data set: `control`, `dataset`, the interval.

    Others that are not in the rows are left out.
    """
    found = []
    for dataset, part in rows.groupby("dataset", sort=False):
        for other in others:
            if {a, other} <= set(part.method):
                gap = difference(part, a, other)
                found.append((other, dataset, gap.mean, gap.low, gap.high, gap.n))
    return pd.DataFrame(found, columns=["control", "dataset", "mean", "low", "high", "n"])


def ranking_by_allocation(rows: pd.DataFrame, amount: float, **where: object) -> pd.DataFrame:
    """Mean accuracy of every ranking (row) at every allocation (column), at one amount."""
    found = curve_rows(rows, **where)
    found = found[found.amount == amount]
    return found.pivot_table(index="ranking", columns="allocation", values="value", sort=False)


def coverage(rows: pd.DataFrame) -> pd.DataFrame:
    """Which studies the rows hold, and the seeds of each."""
    place = ["spec", "dataset", "init", "l1_coeff", "prune_epochs"]
    found = rows.groupby(place, sort=False, dropna=False).seed.nunique()
    return found.rename("networks").reset_index()


def published_points() -> pd.DataFrame:
    """The LeNets of the paper's table 2: `dataset`, `method`, `amount` and `mean`, as fractions.

    Ten iterations on all training images, 200 epochs after them, one run each.
    """
    table = published("causal_table2")
    table = table[table.row.str.startswith("lenet/") & table.column.str.contains(": ")]
    method, what = table.column.str.split(": ", expand=True).to_numpy().T
    named = {"No-Pruning": "dense", "Magnitude Pruning": "magnitude", "Causal Pruning": "causal"}
    cells = pd.DataFrame(
        {
            "dataset": table.row.str.removeprefix("lenet/").to_numpy(),
            "method": [named[name] for name in method],
            "what": ["amount" if name == "percent pruned" else "mean" for name in what],
            "value": table.value.to_numpy() / 100,
        }
    )
    cells = cells.pivot(index=["dataset", "method"], columns="what", values="value")
    return cells.rename_axis(columns=None).reset_index()


def final_iterations(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and amount after the last iteration, without L1_coeff: means with intervals."""
    found = []
    for metric in ("accuracy", "amount_pruned"):
        part = iterated_rows(rows, metric)
        part = part[part.l1_coeff.isna()]
        last = part[(part.iteration == part.n_iter) | (part.method == "dense")]
        found.append(summarise(last, ["dataset", "method"]).assign(metric=metric))
    return pd.concat(found, ignore_index=True)


def overlap_rows(rows: pd.DataFrame, a: str = "causal", b: str = "magnitude") -> pd.DataFrame:
    """Rows on the overlap of the masks of two rankings, of networks with the released start.

    Beside the metrics of the study there is `agreement`, both_pruned corrected for chance: 0 for
    independent masks, 1 for equal ones, (both - expected) / (amount - expected), of equal amounts.
    """
    found = rows[rows.spec.isin(CURVES) & (rows.init == "fan_out")]
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
