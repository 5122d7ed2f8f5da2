"""Tables of chapter 1: the two decisions of a pruning method, each changed with the other fixed."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_studies.judge import metric_rows

SIDES = {"allocation": ("global", "layer"), "ranking": ("magnitude", "random")}
CHANGES = {  # what changes, what is fixed, and where
    "allocation, ranking at random": ("allocation", "ranking", "random"),
    "allocation, ranking by magnitude": ("allocation", "ranking", "magnitude"),
    "ranking, global counts": ("ranking", "allocation", "global"),
    "ranking, equal fractions": ("ranking", "allocation", "layer"),
}


def by_ranking(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rankings cut at the counts of the global threshold: a metric by `ranking` and `amount`."""
    rows = rows[rows.allocation == "global"]
    return summarise(metric_rows(rows, metric), ["ranking", "amount"])


def dense_network(rows: pd.DataFrame) -> pd.DataFrame:
    """The accuracy of the dense network after its fine-tuning, one row."""
    rows = metric_rows(rows[rows.ranking == "dense"], "accuracy_finetuned")
    return summarise(rows, ["ranking"])


def four_networks(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracies after fine-tuning for two rankings by two allocations, with a name as `method`."""
    rows = rows[rows.ranking.isin(SIDES["ranking"])]
    counts = rows.allocation.map({"global": "global counts", "layer": "equal fractions"})
    return metric_rows(rows.assign(method=rows.ranking + ", " + counts), "accuracy_finetuned")


def two_by_two(four: pd.DataFrame, *, amount: float) -> dict[str, PairedDifference]:
    """Each of the two decisions changed alone, from `four_networks` at one amount."""
    four = four[four.amount == amount]
    return {
        name: paired_difference(
            four[four[fixed] == at],
            between=changed,
            a=SIDES[changed][0],
            b=SIDES[changed][1],
            pair_on="seed",
        )
        for name, (changed, fixed, at) in CHANGES.items()
    }


def ticket_gains(rows: pd.DataFrame, *, amount: float) -> dict[str, PairedDifference]:
    """The ticket against each of its two controls, at one amount."""
    rows = rows[rows.amount == amount]
    return {
        f"ticket against {other}": paired_difference(
            rows, between="network", a="ticket", b=other, pair_on="seed"
        )
        for other in ("new values", "random mask")
    }


def in_points(effects: Mapping[str, PairedDifference], title: str) -> pd.DataFrame:
    """Differences of accuracies for reading, a row each."""
    columns = [title, "points of accuracy", "95% interval", "seeds"]
    return pd.DataFrame(
        [
            (name, f"{100 * e.mean:+.1f}", f"{100 * e.low:+.1f} to {100 * e.high:+.1f}", e.n)
            for name, e in effects.items()
        ],
        columns=columns,
    )
