"""Tables of the chapter "LEGCNet", from its rows and from the paper's own tables.

Of the rows of `LEGCNetTrial` and of `MNISTTrial`; those of the specs that change something are in
`changes`. Numbers, with intervals; what ends in `_shown` is text for readers.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache

import pandas as pd

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.statistics import PairedDifference, summarise
from causalprune_studies.ch05_legcnet.changes import CELL, gap_over, over_trials
from causalprune_studies.page import say
from causalprune_studies.paper_networks.masks import published_trial
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS
from causalprune_studies.tables import published

METRICS = ("n_kept", "epochs", "accuracy", "f1")
PRINTED = {  # network -> table of the paper, and its columns for METRICS
    "dense": ("legcnet_table1", "Flops - DN", "Epochs DN", "Accuracy DN", "F1-score DN"),
    "FT": (
        "legcnet_table1",
        *(f"{what} LEGCNet-FT" for what in ("Flops -", "Epochs", "Accuracy", "F1-score")),
    ),
    "PT": (
        "legcnet_table2",
        *(f"{what} (SN){dash} LEGCNet-PT" for what, dash in (("Flops", " -"), ("Epochs", ""))),
        *(f"{what} (SN) LEGCNet-PT" for what in ("Accuracy", "F1-score")),
    ),
    "random": (
        "legcnet_table3",
        None,
        *(f"{m} (SN) Random" for m in ("Epochs", "Accuracy", "F1-score")),
    ),
    "magnitude": (
        "legcnet_table3",
        None,
        None,
        "Accuracy (SN) Magnitude",
        "F1-score (SN) Magnitude",
    ),
}
MNIST = {  # how the page calls a network -> where its rows are, and what the paper prints of it
    "dense": ("none", "none", "dense", "dense"),
    "FT": ("FT", "as released", "legcnet", None),
    "FT, upper layers": ("FT", "upper layers", "legcnet", None),
    "FT, published number": ("FT", "ranked", "legcnet", "FT"),
    "PT, short windows": ("PT, short windows", "as released", "legcnet", None),
    "PT, published number": ("PT", "ranked", "legcnet", "PT"),
    "random, FT's counts": ("FT", "as released", "random", "random"),
    "magnitude, FT's counts": ("FT", "as released", "magnitude", "magnitude"),
    "inverse, FT's counts": ("FT", "as released", "inverse", None),
    "another seed, FT's counts": ("FT", "as released", "another seed", None),
    "half-shifted, FT's counts": ("FT", "as released", "half-shifted", None),
}


@cache
def printed(network: str, dataset: str) -> dict[str, float]:
    """What the paper prints of a network of `PRINTED`, for each of `METRICS`; NaN for nothing.

    Examples
    --------
    >>> printed("FT", "cancer")
    {'n_kept': 54.0, 'epochs': 38.0, 'accuracy': 0.8686, 'f1': 0.857}
    """
    name, *columns = PRINTED[network]
    cells = published(name).query("row == @dataset").set_index("column").value
    return {m: float(cells.get(c, math.nan)) for m, c in zip(METRICS, columns, strict=True)}


# The main study: rows of `LEGCNetTrial`.


def released_or_ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of reading "as released", or of "ranked" where the released mask is empty.

    They get the reading "as tested". Shares called causal are those of the released mask always.
    """
    empty = rows[(rows.reading == "ranked") & (rows["mask"] == "legcnet")][CELL].drop_duplicates()
    ranked = rows.merge(empty.assign(ranked=True), on=CELL, how="left").ranked.eq(True).to_numpy()
    shares = (rows["mask"] == "legcnet") & rows.metric.isin(["causal", "untestable"])
    base = (rows.reading == "ranked") | ((rows.reading == "as released") & (~ranked | shares))
    return rows[base].assign(reading="as tested")


def as_tested(rows: pd.DataFrame) -> pd.DataFrame:
    """`released_or_ranked`, the dense networks, and the corrected ranking as a mask of its own.

    Epochs become a share of the epochs allowed: a network that never reaches the benchmark, whose
    epochs are NaN, took all of them.
    """
    dense = rows[(rows.reading == "none") & (rows.scaling == "as released")]
    corrected = rows[rows.reading == "corrected ranking"].assign(mask="corrected ranking")
    parts = [released_or_ranked(rows), dense, corrected]
    found = pd.concat(parts, ignore_index=True).assign(reading="as tested")
    most = found.dataset.map({name: s.max_epochs for name, s in LEGCNET_SETTINGS.items()})
    place = [*CELL, "reading", "mask", "scaling"]
    reached = found[found.metric == "reached"].set_index(place).value.rename("share")
    reached = found[place].merge(reached, on=place, how="left").share.to_numpy()
    share = reached * ((found.value + 1) / most).fillna(1.0) + 1 - reached  # counted from 0
    return found.assign(value=found.value.where(found.metric != "epochs", share))


def win_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of random masks at the same counts that each reading's mask beats; 0.5 is chance.

    By `reading`, `variant` and `metric`, as `over_trials`; `masks` counts the cells.
    """
    chosen = rows[(rows["mask"] == "legcnet") & rows.metric.str.startswith("beats_")]
    chosen = chosen[chosen.value.notna()].assign(metric=chosen.metric.str.removeprefix("beats_"))
    by = ["reading", "variant", "metric"]
    counts = chosen.groupby(by, sort=False).size().rename("masks").reset_index()
    return over_trials(chosen, by).merge(counts, on=by)


def rates_by_mask(rows: pd.DataFrame) -> pd.DataFrame:
    """`win_rates` on accuracy and epochs, of the masks that prune about as much as the released."""
    rates = win_rates(rows)
    rates = rates[rates.metric.isin(["accuracy", "epochs"])]
    rates = rates[~rates.reading.isin(["corrected", "corrected, validation"])]
    rates = rates[rates.n > 2]  # two trials give no interval worth drawing
    return rates.assign(masks=rates.reading + ", " + rates.variant)


def paper_table(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """One row per table and metric of `METRICS`: as published, the same trial again, all trials.

    `same` is the trial that the paper prints, NaN where none gives its row; the others are means
    over all trials, of the epochs over those that reached the benchmark. Controls have the counts
    of `released`; `corrected` is the ranking.
    """
    check_choice("variant", variant, ("FT", "PT"))
    rows = pd.concat([rows, released_or_ranked(rows)], ignore_index=True)
    rows = rows[(rows.variant == variant) & (rows.scaling == "as released")]
    columns = {
        "released": ("as tested", "legcnet"),
        "corrected": ("corrected ranking", "legcnet"),
        "random": ("as tested", "random"),
        "magnitude": ("as tested", "magnitude"),
    }
    found = {}
    for dataset, some in rows.groupby("dataset", sort=False):
        cells = some.groupby(["reading", "mask", "metric"]).value.mean()
        trial = published_trial(dataset, column=f"LEGCNet-{variant}") or 0
        own = some[(some.reading == "as tested") & (some["mask"] == "legcnet")]
        same = own[own.seed == trial - 1].groupby("metric").value.mean()
        n, paper = LEGCNET_SETTINGS[dataset].n_weights, printed(variant, dataset)
        for metric in METRICS:
            kept = metric == "n_kept"
            row = {"published": paper[metric]}
            row["same"] = n - same.get("n_pruned", math.nan) if kept else same.get(metric)
            row["dense"] = n if kept else cells["none", "dense"].get(metric)
            for name, (reading, mask) in columns.items():
                at = (reading, "legcnet", "n_pruned") if kept else (reading, mask, metric)
                value = cells.get(at, math.nan)
                row[name] = n - value if kept else value
            found[dataset, metric] = row
    table = pd.DataFrame.from_dict(found, orient="index").astype(float)
    return table.rename_axis(["dataset", "metric"])


def paper_shown(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """`paper_table` for readers."""
    table = paper_table(rows, variant).rename(columns={"magnitude": "magn."})
    form = {"n_kept": "{:.0f}", "epochs": "{:.0f}"}
    cells = {
        at: [form.get(at[1], "{:.3f}").format(v) if v == v else "" for v in row]
        for at, row in zip(table.index, table.to_numpy(), strict=True)
    }
    shown = pd.DataFrame(cells, index=table.columns).T
    return shown.rename_axis(["table", "metric"])


def third_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Random and magnitude pruning as table 3 prints them, beside our means at FT's counts.

    Before them FT's accuracy, from table 1.
    """
    ours = paper_table(rows, "FT").unstack()
    paper = {
        name: pd.DataFrame({d: printed(name, d) for d in ours.index}).T
        for name in ("FT", "random", "magnitude")
    }
    return pd.DataFrame(
        {
            "FT, published": paper["FT"].accuracy,
            "random, published": paper["random"].accuracy,
            "random": ours["random", "accuracy"],
            "magnitude, published": paper["magnitude"].accuracy,
            "magnitude": ours["magnitude", "accuracy"],
            "epochs random, published": paper["random"].epochs,
            "epochs random": ours["random", "epochs"],
        }
    ).loc[list(rows.dataset.unique())]


def printed_against_magnitude() -> pd.Series:
    """On how many of the paper's tables FT's printed accuracy is above or below magnitude's.

    Examples
    --------
    >>> printed_against_magnitude().to_dict()
    {'above': 2, 'equal': 1, 'below': 4}
    """
    names = published("legcnet_table3").row.unique()
    ahead = pd.Series(
        {n: printed("FT", n)["accuracy"] - printed("magnitude", n)["accuracy"] for n in names}
    )
    return pd.Series(
        {"above": (ahead > 0).sum(), "equal": (ahead == 0).sum(), "below": (ahead < 0).sum()}
    )


def empty_masks(rows: pd.DataFrame) -> pd.DataFrame:
    """How many networks were read, and how many of the released masks were empty."""
    pruned = rows[(rows["mask"] == "legcnet") & (rows.metric == "n_pruned")]
    counts = {
        name: pruned[pruned.reading == reading].groupby(["dataset", "variant"], sort=False).size()
        for name, reading in (("networks", "as released"), ("empty masks", "ranked"))
    }
    return pd.DataFrame(counts).fillna(0).astype(int).unstack()


def whose_gain(
    rows: pd.DataFrame, *, units: str = "networks"
) -> dict[tuple[str, str], PairedDifference]:
    """Accuracy of LEGCNet, of another network's exponents and of magnitude above other masks.

    Over `units` of `changes.UNITS`.
    """
    tested, pairs = (
        as_tested(rows),
        [(a, "random") for a in ("legcnet", "another trial", "magnitude")],
    )
    pairs.append(("legcnet", "another trial"))
    return {(a, b): gap_over(tested, "accuracy", a, b, units=units) for a, b in pairs}


def gains_shown(
    found: Mapping[str, Mapping[tuple[str, str], PairedDifference]], *, names: Sequence[str]
) -> pd.DataFrame:
    """Gaps for readers, by the units that they are taken over; `names` are those of their keys."""
    first = next(iter(found.values()))
    cells = {
        f"over {min(gap.n for gap in gaps.values())} {units}": [
            say(gaps[at], "points") for at in first
        ]
        for units, gaps in found.items()
    }
    words = {
        "legcnet": "LEGCNet",
        "accuracy": "at the benchmark",
        "final_accuracy": "after all epochs",
    }
    index = pd.MultiIndex.from_tuples([[words.get(w, w) for w in at] for at in first], names=names)
    return pd.DataFrame(cells, index=index)


# Images: rows of `MNISTTrial`.


def mnist_network(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of one network of `MNIST`."""
    variant, reading, mask, _ = MNIST[name]
    return rows[(rows.variant == variant) & (rows.reading == reading) & (rows["mask"] == mask)]


def mnist_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of every network of `MNIST`, each metric beside the published number.

    Columns are pairs of a metric and "published" or "here"; what is not printed is NaN.
    """
    table = {}
    for name, (*_, network) in MNIST.items():
        means = mnist_network(rows, name).groupby("metric").value.mean()
        paper = printed(network, "mnist") if network else {}
        table[name] = {
            (metric, side): values.get(metric, math.nan)
            for metric in METRICS
            for side, values in (("published", paper), ("here", means))
        }
    return pd.DataFrame(table).T


def mnist_shown(rows: pd.DataFrame) -> pd.DataFrame:
    """`mnist_table` for readers."""
    table, form = mnist_table(rows), {"n_kept": "{:.0f}", "epochs": "{:.0f}"}
    cells = {
        at: [form.get(at[0], "{:.4f}").format(v) if v == v else "" for v in table[at]]
        for at in table
    }
    return pd.DataFrame(cells, index=table.index).rename(columns={"n_kept": "weights kept"})


def mnist_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of the weights called causal in FT, by rule and by whose exponents."""
    found = rows[(rows.metric == "causal") & (rows.variant == "FT")]
    found = found[found.reading.isin(["as released", "corrected"])]
    found = found.assign(exponents=found["mask"].replace("legcnet", "its own"))
    return summarise(found, ["reading", "exponents"])


def mnist_facts(rows: pd.DataFrame) -> pd.Series:
    """Seconds of the fastest seed, by `seconds_...`, and `untestable`, the share without a test."""
    seconds = rows[rows.metric.str.startswith("seconds_")].groupby("metric").value.min()
    own = mnist_network(rows, "FT")
    seconds["untestable"] = own[own.metric == "untestable"].value.mean()
    return seconds
