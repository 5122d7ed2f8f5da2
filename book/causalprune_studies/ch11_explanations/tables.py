"""The tables of chapter 11: importances and agreement by name, from rows of its studies.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_studies.ch11_explanations.study import STOPS
from causalprune_studies.paper_networks.masks import published_trial

FEATURES = {  # in the order of the columns; cancer's are those of UCI's "Breast Cancer Wisconsin"
    "cancer": (
        "clump thickness",
        "cell size",
        "cell shape",
        "adhesion",
        "epithelial size",
        "bare nuclei",
        "bland chromatin",
        "normal nucleoli",
        "mitoses",
    ),
    "titanic": ("class", "sex", "siblings", "parents", "fare", "port"),
    "banknote": ("variance", "skewness", "kurtosis", "entropy"),
    "vowel": ("formant 1", "formant 2", "formant 3"),
}
NETWORKS = {  # as rows call them -> as the page does
    "LEGCNet": "LEGCNet",
    "random": "random, same counts",
    "magnitude": "magnitude, same counts",
    "inverse": "inverse, same counts",
    "another trial": "another trial's scores",
    "other order": "dense, other order",
    "other seed": "dense, other seed",
    "untrained": "untrained",
}
VARIANTS = ("FT", "PT")
OTHERS = ("random", "magnitude", "another trial", "inverse", "other seed")


def importance_table(rows: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """Mean normalised importance of each feature of one table, a column for each network.

    `rows` has the columns `network`, `counts`, `feature`, `value`; FT and PT get columns of their
    own.
    """
    check_choice("dataset", dataset, FEATURES)
    found = rows[(rows.metric == "importance") & rows.counts.isin(["none", *VARIANTS])]
    found = found[found.dataset == dataset]
    label = found.network.where(found.counts == "none", found.network + ", " + found.counts)
    table = found.assign(label=label).pivot_table(index="feature", columns="label", values="value")
    table.index = [FEATURES[dataset][int(feature)] for feature in table.index]
    order = ["dense"] + [f"{n}, {c}" for n in NETWORKS for c in VARIANTS]
    return table[[name for name in order if name in table]]


def printed_importances(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`importance_table` of the trial that the paper prints, by table; vowel: the first trial."""
    shown = ["dense", "LEGCNet, FT", "LEGCNet, PT", "magnitude, PT"]
    return {
        name: importance_table(rows[rows.seed == (published_trial(name, column="DN") or 1) - 1],
                               dataset=name)[shown]
        for name in FEATURES
    }  # fmt: skip


def agreement_table(
    rows: pd.DataFrame, *, metric: str = "spearman", stop: str = "benchmark"
) -> pd.DataFrame:
    """Mean agreement with the dense network over trials, and its interval.

    One row for each table, counts and network, in the order of `NETWORKS`: columns `dataset`,
    `counts`, `network` (by its name there), `mean`, `low`, `high`, `n`. An interval ends at 1, for
    nothing agrees better than fully.
    """
    found = rows[(rows.metric == metric) & (rows.stop == stop) & rows.network.isin(NETWORKS)]
    table = summarise(found, ["dataset", "counts", "network"])
    table = table.sort_values("network", key=lambda n: n.map(list(NETWORKS).index), kind="stable")
    return table.assign(network=table.network.map(NETWORKS), high=table.high.clip(upper=1))


def printed_trials(rows: pd.DataFrame) -> pd.DataFrame:
    """LEGCNet's correlation in the trial that the paper prints, and in the nine others."""
    found = rows[(rows.metric == "spearman") & (rows.stop == STOPS[0])]
    found = found[found.network == "LEGCNet"].set_index(["dataset", "counts", "seed"])
    found = found.sort_index().value
    table = []
    for name in ("cancer", "titanic", "banknote"):
        for variant in VARIANTS:
            trial = published_trial(name, column=f"LEGCNet-{variant}")
            rest = found[name, variant].drop(trial - 1)
            told = (name, variant, trial, found[name, variant, trial - 1])
            table.append((*told, rest.mean(), rest.min(), rest.max()))
    columns = ["table", "counts", "printed trial", "its correlation"]
    columns += ["mean of the others", "lowest", "highest"]
    return pd.DataFrame(table, columns=columns).set_index(["table", "counts"])


def averaged(
    rows: pd.DataFrame,
    *,
    metric: str = "spearman",
    stop: str = "benchmark",
    counts: Sequence[str] = VARIANTS,
) -> pd.DataFrame:
    """One value for each trial and network: a mean over the tables, and over `counts`, FT and PT.

    A table counts as much as another. Networks without a mask have one value for each.
    """
    found = rows[(rows.metric == metric) & (rows.stop == stop)]
    found = found[found.counts.isin([*counts, "none"])]
    tables = found.groupby(["dataset", "seed", "network"], as_index=False).value.mean()
    trials = tables.groupby(["seed", "network"], as_index=False).value.mean()
    return trials.assign(metric=metric)


def gap_to(
    rows: pd.DataFrame, other: str, *, network: str = "LEGCNet", **where: str | Sequence[str]
) -> PairedDifference:
    """`network` minus the network `other`, over trials; `where` as for `averaged`."""
    return paired_difference(averaged(rows, **where), between="network", a=network, b=other)


def gap_table(rows: pd.DataFrame, *, stop: str = "benchmark") -> pd.DataFrame:
    """LEGCNet minus each of `OTHERS` by three statistics, FT and PT apart: `PairedDifference`s."""
    return pd.DataFrame(
        {
            metric: {
                (variant, NETWORKS[other]): gap_to(
                    rows, other, metric=metric, stop=stop, counts=[variant]
                )
                for variant in VARIANTS
                for other in OTHERS
            }
            for metric in ("spearman", "shares", "attributions")
        }
    ).rename_axis(["counts", "LEGCNet minus"])


def counts_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean weights pruned and mean correlation of every ranking, a row for FT and for PT."""
    found = rows[(rows.metric == "spearman") & (rows.stop == STOPS[0])]
    table = found[found.counts.isin(VARIANTS)].pivot_table(
        index="counts", columns="network", values="value"
    )
    table["other seed"] = found[found.network == "other seed"].value.mean()
    pruned = rows[(rows.metric == "n_pruned") & (rows.network == "LEGCNet")]
    table.insert(0, "weights pruned", pruned.groupby("counts").value.mean())
    names = ["LEGCNet", *OTHERS]
    return table[["weights pruned", *names]].rename(columns=NETWORKS)


def accuracy_lost(rows: pd.DataFrame) -> pd.Series:
    """Test accuracy that networks lose against the dense one: means over tables, FT and PT."""
    found = averaged(rows, metric="accuracy").groupby("network").value.mean()
    return found["dense"] - found


def pixel_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Agreement of MNIST networks, means over seeds: those without a mask, and retrained ones."""
    rows = rows[(rows.judge == "explanations") & rows.state.isin(["kept", "retrained"])]
    amounts = rows.amount.astype(str).where(rows.state != "kept", "")
    rows = rows.assign(amount=amounts.replace("published", "the paper's number"))
    rows = rows.assign(network=rows.network.replace({"other": "dense, other seed",
                                                     "initial": "untrained"}))  # fmt: skip
    table = rows.pivot_table(index=["amount", "network"], columns="metric", values="value")
    shown = ["spearman", "shares", "attributions", "accuracy"]
    return table[shown].sort_index(key=lambda k: k.map({"": "0", "0.5": "2"}).fillna("1"))
