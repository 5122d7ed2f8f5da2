"""The tables and figures of LEGCNet (arXiv:2308.09955), cell by cell, from our rows.

Accuracy, F1 and epochs are those of the mask that the released rule decides; where it prunes
nothing, of its ranking cut at the published number. On MNIST they are of the ranking always. What
is pruned is what the rule decides, nothing or not.
"""

from __future__ import annotations

import itertools
import re

import pandas as pd

from causalprune_studies.ch05_legcnet.tables import released_or_ranked
from causalprune_studies.ch10_spectra.tables import LAYERS, chosen
from causalprune_studies.ch13_tables.cells import Cell, Series, Source, cell, setting, shares
from causalprune_studies.page import chapter_rows
from causalprune_studies.paper_networks.masks import published_trial
from causalprune_studies.paper_networks.mnist import SHORT, mnist_settings
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS, published_reading
from causalprune_studies.tables import published

NETWORKS = {"DN": "dense", "FT": "FT", "PT": "PT", "Random": "random", "Magnitude": "magnitude"}
METRICS = {"Flops": "kept", "Non": "pruned", "%Pruned": "percent", "Epochs": "epochs"}
METRICS |= {"Accuracy": "accuracy", "F1-score": "f1"}
STARTS = 5  # of the paper
OUTCOMES = ("accuracy", "f1", "epochs")
BEST = {"accuracy": max, "f1": max, "epochs": min}
TRIALS = {"dense": "DN", "FT": "LEGCNet-FT", "PT": "LEGCNet-PT"}  # as the list of trials has them
STRANGER = "another network's exponents"
RANDOM = "random, same counts"

Found = dict[tuple[str, str, str], Series]  # data set, network and metric -> values by seed


def tabular_values(rows: pd.DataFrame) -> Found:
    """What the six small tables gave; a stranger's pruning is the metric "pruned, stranger"."""
    rows = rows[rows.scaling == "as released"]
    found, tested = {}, released_or_ranked(rows)
    parts = {
        "dense": rows[(rows.reading == "none") & (rows.variant == "FT")],
        **{v: tested[(tested["mask"] == "legcnet") & (tested.variant == v)] for v in ("FT", "PT")},
        **{
            name if variant == "FT" else f"{name}, PT": tested[
                (tested["mask"] == name) & (tested.variant == variant)
            ]
            for name in ("random", "magnitude")
            for variant in ("FT", "PT")
        },
    }
    for network, part in parts.items():
        for (dataset, metric), some in part.groupby(["dataset", "metric"]):
            if metric in OUTCOMES:
                found[dataset, network, metric] = some.set_index("seed").value
    decided = rows[rows.reading == "as released"]
    stranger = tested[(tested["mask"] == "another trial") & (tested.metric == "causal")]
    for (dataset, variant), some in decided[decided.metric == "n_pruned"].groupby(
        ["dataset", "variant"]
    ):
        found[dataset, variant, "pruned"] = some.set_index("seed").value
    for (dataset, variant), some in stranger.groupby(["dataset", "variant"]):
        n = LEGCNET_SETTINGS[dataset].n_weights
        found[dataset, variant, "pruned, stranger"] = n * (1 - some.set_index("seed").value)
    return found


def mnist_values(rows: pd.DataFrame) -> Found:
    """The same of the MNIST network; PT has its own, shorter windows."""
    found, n = {}, n_weights("mnist")
    networks = {"dense": ("none", "none", "dense"), "FT": ("FT", "ranked", "legcnet")}
    networks |= {"PT": (SHORT, "ranked", "legcnet"), "random, PT": (SHORT, "ranked", "random")}
    networks |= {name: ("FT", "ranked", name) for name in ("random", "magnitude")}
    for network, (variant, reading, mask) in networks.items():
        part = rows[(rows.variant == variant) & (rows.reading == reading) & (rows["mask"] == mask)]
        for metric, some in part.groupby("metric"):
            if metric in OUTCOMES:
                found["mnist", network, metric] = some.set_index("seed").value
    for network, variant in {"FT": "FT", "PT": SHORT}.items():
        part = rows[(rows.variant == variant) & (rows.reading == "as released")]
        own = part[(part["mask"] == "legcnet") & (part.metric == "n_pruned")]
        other = part[(part["mask"] == "another seed") & (part.metric == "causal")]
        found["mnist", network, "pruned"] = own.set_index("seed").value
        found["mnist", network, "pruned, stranger"] = n * (1 - other.set_index("seed").value)
    return found


def n_weights(dataset: str) -> int:
    """How many weights the dense network of a table has, biases aside.

    Examples
    --------
    >>> n_weights("cancer"), n_weights("mnist")
    (60, 41000)
    """
    if dataset != "mnist":
        return LEGCNET_SETTINGS[dataset].n_weights
    sizes = mnist_settings().sizes
    return sum(a * b for a, b in itertools.pairwise(sizes))


def network_and_metric(column: str) -> tuple[str, str]:
    """Which network a column of tables 1 to 3 is about, and what it says of it.

    Examples
    --------
    >>> network_and_metric("Accuracy (SN) LEGCNet-PT"), network_and_metric("Non causal Weights")
    (('PT', 'accuracy'), ('FT', 'pruned'))
    """
    found = re.search(r"(DN|FT|PT|Random|Magnitude)$", column)
    return NETWORKS[found.group() if found else "FT"], METRICS[re.split(r"[ *]", column)[0]]


def as_printed(pruned: Series, metric: str, dataset: str) -> Series:
    """Weights pruned as the column says it: pruned, kept, or percent."""
    n = n_weights(dataset)
    return {"pruned": pruned, "kept": n - pruned, "percent": 100 * pruned / n}[metric]


def table_cells(name: str) -> list[Cell]:
    """The cells of table 1, 2 or 3."""
    rows, mnist = chapter_rows("legcnet"), chapter_rows("legcnet-mnist")
    found = tabular_values(rows) | mnist_values(mnist)
    small = Source.of("legcnet", rows, units="starts")
    large = Source.of("legcnet-mnist", mnist, units="networks")
    everything = "all examples, all epochs, "
    sources = {
        False: small.at(everything + shares(starts=(small.seeds, STARTS))),
        True: large.at(everything + shares(networks=(large.seeds, STARTS))),
    }
    cells = []
    for row, column in published(name)[["row", "column"]].itertuples(index=False):
        source = sources[row == "mnist"]
        value = chosen_value(row, column)
        if value is not None:
            cells.append(setting(row, column, value, source))
            continue
        network, metric = network_and_metric(column)
        if metric in OUTCOMES:
            control = found.get((row, "random, PT" if network == "PT" else "random", metric))
            control = None if network in ("dense", "random") else control
            trial = None
            if row != "mnist" and network in TRIALS:
                trial = published_trial(row, column=TRIALS[network])
            cells.append(
                cell(
                    row,
                    column,
                    found.get((row, network, metric), Series(dtype=float)),
                    source,
                    control=control,
                    against="" if control is None else RANDOM,
                    best=None if network == "random" or row == "mnist" else BEST[metric],
                    printed=None if trial is None else trial - 1,
                )
            )
            continue
        own, other = (
            as_printed(found[row, network, what], metric, row)
            for what in ("pruned", "pruned, stranger")
        )
        cells.append(cell(row, column, own, source, control=other, against=STRANGER))
    return cells


def chosen_value(row: str, column: str) -> float | None:
    """What a column that holds no result was set to here; None for a result.

    Examples
    --------
    >>> chosen_value("titanic", "Epochs*"), chosen_value("cancer", "Accuracy DN")
    (7, None)
    """
    sizes = mnist_settings().sizes if row == "mnist" else LEGCNET_SETTINGS[row].sizes
    if column.startswith("Hidden neurons"):
        return sizes[2 if "second" in column else 1]
    if column == "Flops - DN":
        return n_weights(row)
    if column == "Epochs*":
        reading = mnist_settings().readings[SHORT] if row == "mnist" else None
        return (reading or published_reading(row, variant="PT")).epochs
    return None


def spectra_source(rows: pd.DataFrame) -> Source:
    """Of the rows that table 4 and figures 2 to 6 are set beside."""
    source = Source.of("judged-networks", rows, units="networks")
    return source.at("all images, all epochs, " + shares(networks=(source.seeds, 1)))


def exponent_cells() -> list[Cell]:
    """The cells of table 4; the control is another dense network, from another start."""
    rows = chapter_rows("judged-networks")
    source, cells = spectra_source(rows), []
    metrics = {"alpha": chosen(rows, "pl_alpha"), "alpha_w": chosen(rows, "alpha_weighted")}
    for row, label, column in published("legcnet_table4")[["row", "label", "column"]].itertuples(
        index=False
    ):
        layer, metric = column[:6].lower().replace("layer", "layer "), column.split()[-1]
        part = metrics[metric][metrics[metric].layer == layer]
        network = label if label.startswith("LEGCNet") else label.lower()
        own, other = (part[part.network == name] for name in (network, "other"))
        own, other = own.set_index("seed").value, other.set_index("seed").value
        cells.append(cell(row, column, own, source, control=other, against="another dense network"))
    return cells


def figure_cells() -> list[Cell]:
    """What the captions and the text say in numbers of figures 1 to 8."""
    rows, explained = chapter_rows("judged-networks"), chapter_rows("do-the-explanations-survive")
    source = spectra_source(rows)
    alphas = chosen(rows, "pl_alpha")
    trained = alphas[alphas.network.isin(["dense", "LEGCNet-FT", "LEGCNet-PT"])]
    stranger = alphas[alphas.network == "other"]
    shap = Source.of("do-the-explanations-survive", explained, units="starts")
    cells = []
    for row, column in published("legcnet_figures")[["row", "column"]].itertuples(index=False):
        if column == "networks shown":
            cells.append(setting(row, column, networks_explained(explained, row), shap))
            continue
        if column.startswith("alpha on every layer"):
            end = "min" if "(from)" in column else "max"
            own, other = (part.groupby("seed").value.agg(end) for part in (trained, stranger))
        else:
            part = alphas[alphas.layer == LAYERS["fc3"]]
            own, other = (
                part[part.network == name].set_index("seed").value
                for name in (row.split("/")[1], "other")
            )
        cells.append(cell(row, column, own, source, control=other, against="another dense network"))
    return cells


def networks_explained(rows: pd.DataFrame, row: str) -> int:
    """Of the networks that a SHAP figure shows, how many we explain on all of its tables."""
    figure, _, names = row.partition("/")
    wanted = {("dense", "none"), ("LEGCNet", "FT"), ("LEGCNet", "PT")}
    if figure == "figure 7":
        wanted = {("random", "FT"), ("magnitude", "FT")}
    there = [
        set(rows[rows.dataset == name][["network", "counts"]].itertuples(index=False, name=None))
        for name in names.split(", ")
    ]
    return len(wanted.intersection(*there))
