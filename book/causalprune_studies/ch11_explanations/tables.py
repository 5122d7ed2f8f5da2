"""The tables of chapter 11: names of features, importances and agreement, from rows of its studies.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.statistics import summarise

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
    "iris_csv": ("sepal length", "sepal width", "petal length", "petal width"),
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


def importance_table(rows: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """Mean normalised importance of each feature of one table, a column for each network.

    `rows` has the columns `network`, `counts`, `feature`, `value`; FT and PT get columns of their
    own.
    """
    check_choice("dataset", dataset, FEATURES)
    found = rows[(rows.metric == "importance") & rows.counts.isin(["none", "FT", "PT"])]
    if "dataset" in found:
        found = found[found.dataset == dataset]
    label = found.network.where(found.counts == "none", found.network + ", " + found.counts)
    table = found.assign(label=label).pivot_table(index="feature", columns="label", values="value")
    table.index = [FEATURES[dataset][int(feature)] for feature in table.index]
    order = ["dense"] + [f"{n}, {c}" for n in NETWORKS for c in ("FT", "PT")]
    return table[[name for name in order if name in table]]


def agreement_table(
    rows: pd.DataFrame, *, metric: str = "spearman", stop: str = "benchmark"
) -> pd.DataFrame:
    """Mean agreement with the dense network over trials, and its interval.

    One row for each table, counts and network: columns `dataset`, `counts`, `network` (by the names
    of `NETWORKS`), `mean`, `low`, `high`, `n`.
    """
    found = rows[(rows.metric == metric) & (rows.stop == stop) & rows.network.isin(NETWORKS)]
    table = summarise(found, ["dataset", "counts", "network"])
    return table.assign(network=table.network.map(NETWORKS))
