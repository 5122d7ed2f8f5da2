"""The tables and figures of the causal pruning paper (arXiv:2412.03035), cell by cell, from rows.

For one cell there may be several files of rows; the one nearest to the paper's scale gives it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from causalprune_lib.nets.models import build_model
from causalprune_studies.ch08_causal_pruning.tables import (
    curve_rows,
    iterated_rows,
    overlap_rows,
    with_columns,
)
from causalprune_studies.ch09_flat_minima.tables import measure
from causalprune_studies.ch13_tables.cells import (
    COUNTED,
    Cell,
    Series,
    Source,
    by_seed,
    cell,
    setting,
)
from causalprune_studies.ch13_tables.paper_scale import (
    METHODS,
    NEAR,
    RANDOM,
    TABLE2,
    accuracy_cell,
    at_paper_scale,
    at_the_penalty,
    paper_rows,
    source_of,
)
from causalprune_studies.page import chapter_rows
from causalprune_studies.tables import published

SETTINGS = {"N_pre": "epochs", "N_iter": "n_iter", "N_prune": "prune_epochs"}
SETTINGS |= {"N_post": "post_epochs", "L1_coeff": "l1_coeff"}


def full_rows() -> pd.DataFrame:
    """The full rows of chapter 8."""
    return with_columns(chapter_rows("causal-pruning"))


def rows_in_rounds() -> list[tuple[str, pd.DataFrame]]:
    """The rows of algorithm 1, by name: at the paper's scale, where there are any, then in full."""
    paper = paper_rows()
    found = [(TABLE2, paper)] if len(paper) else []
    return [*found, ("causal-pruning", iterated_rows(full_rows()))]


def parameter_cells() -> list[Cell]:
    """The cells of table 1: the smallest and largest value that our runs were set to."""
    name, rows = rows_in_rounds()[0]
    source, cells = Source.of(name, rows, units="networks"), []
    for row, column in published("causal_table1")[["row", "column"]].itertuples(index=False):
        values = rows[SETTINGS[row]].dropna()
        value = values.min() if "from" in column else values.max()
        cells.append(setting(row, column, value, source))
    return cells


def hyperparameter_cells() -> list[Cell]:
    """The cells of table 3: of what our LeNets of that data set were set to, what is nearest."""
    table, cells = published("causal_table3"), []
    for name, rows in rows_in_rounds():
        source = Source.of(name, rows, units="networks")
        for cell_of in table.itertuples():
            model, dataset = cell_of.row.split("/")
            own = rows[(rows.model == model) & (rows.dataset == dataset)]
            penalty = cell_of.column == "L1_coeff"
            used = own.l1_coeff if penalty else own.fraction[own.l1_coeff.isna()]
            used = used.dropna().unique()
            gaps = np.abs(np.log(used / cell_of.value))
            value = used[gaps.argmin()] if len(used) else math.nan
            cells.append(setting(cell_of.row, cell_of.column, value, source))
    return cells


def comparison_cells() -> list[Cell]:
    """The cells of table 2."""
    table, rows = published("causal_table2"), full_rows()
    cells = [counted(row) for row in table.row.unique()]
    for row in [row for row in table.row.unique() if row.startswith("lenet/")]:
        printed = table[table.row == row].set_index("column").value
        cells += [
            *at_paper_scale(row, printed),
            *in_rounds(rows, row),
            *in_one_cut(rows, row, printed),
        ]
    return cells


def counted(row: str) -> Cell:
    """The parameters of the network, counted: those of the released code."""
    model, dataset = row.split("/")
    options = {"alexnet": {"variant": "imagenet"}, "resnet18": {"batch_norm": False}}
    with torch.device("meta"):
        network = build_model(model, dataset=dataset, **options.get(model, {}))
    n = sum(weights.numel() for weights in network.parameters())
    return setting(row, "# Params", n, Source(COUNTED, "", 0, "networks"))


def in_rounds(rows: pd.DataFrame, row: str) -> Iterator[Cell]:
    """Causal pruning in rounds, with the L1_coeff of table 3; of our runs the longest rounds."""
    dataset = row.removeprefix("lenet/")
    penalty = published("causal_table3").set_index(["row", "column"]).value[row, "L1_coeff"]
    for column, metric in (("percent pruned", "amount_pruned"), ("test accuracy", "accuracy")):
        found = iterated_rows(rows, metric)
        found = found[(found.dataset == dataset) & (found.method == "causal")]
        found = found[np.isclose(found.l1_coeff, penalty, rtol=1e-6, atol=0)]
        found = found[(found.iteration == found.n_iter)]
        found = found[found.prune_epochs == found.prune_epochs.max()]
        if len(found):
            own = 100 * by_seed(found)
            yield cell(row, f"Causal Pruning: {column}", own, source_of(found))


def in_one_cut(rows: pd.DataFrame, row: str, printed: pd.Series) -> Iterator[Cell]:
    """Each method in one cut, at the amount of ours that is near the paper's, if one is."""
    dataset = row.removeprefix("lenet/")
    rows = curve_rows(rows)
    rows = rows[rows.dataset == dataset]
    for title, method in METHODS.items():
        amount = printed[f"{title}: percent pruned"]
        own = rows[(rows.method == method) & ((100 * rows.amount - amount).abs() <= NEAR)]
        if own.empty:
            continue
        source, at = source_of(own), own.amount.iloc[0]
        control = rows[(rows.method == f"random at {method}") & (rows.amount == at)]
        yield setting(row, f"{title}: percent pruned", 100 * at, source)
        yield cell(
            row,
            f"{title}: test accuracy",
            100 * by_seed(own),
            source,
            control=100 * by_seed(control),
            against=RANDOM if len(control) else "",
        )


def figure_cells() -> list[Cell]:
    """What the captions and the text say in numbers of figures 1 to 5."""
    rows = full_rows()
    cells = [counted("lenet/cifar10") | {"row": "figure 1(a)/lenet/cifar10"}]
    cells += [*steepest_fall(rows), *overlapping(rows), *suggested(rows), *penalties()]
    return [*cells, *top_eigenvalues(), *landscape_axes()]


def steepest_fall(rows: pd.DataFrame, dataset: str = "cifar10") -> Iterator[Cell]:
    """Figure 1(a): between which of our amounts the accuracy falls most for each point pruned."""
    rows = curve_rows(rows)
    rows = rows[rows.dataset == dataset]
    ends = {}
    for method in ("causal", "random at causal"):
        curves = rows[rows.method == method].pivot(index="seed", columns="amount", values="value")
        amounts = 100 * curves.columns.to_numpy()
        steep = (curves.diff(axis=1).iloc[:, 1:].to_numpy() / np.diff(amounts)).argmin(axis=1)
        before, after = (Series(amounts[steep + k], index=curves.index) for k in (0, 1))
        ends[method] = (before, after, after - before)
    names = (
        "percent pruned before the drop in accuracy",
        "percent pruned after the drop in accuracy",
    )
    source = source_of(rows)
    for place, column in enumerate((*names, "width of the drop in accuracy")):
        own, control = (values[place] for values in ends.values())
        yield cell("figure 1(a)/causal", column, own, source, control=control, against=RANDOM)


def overlapping(rows: pd.DataFrame, dataset: str = "cifar10") -> Iterator[Cell]:
    """Figure 1(b): the shares that both masks prune, read on a line between two of our amounts."""
    found = overlap_rows(rows)
    found = found[(found.dataset == dataset) & (found.amount_a == found.amount_b)]
    source, masks = source_of(found), found.amount_a.nunique()
    for method in ("causal", "magnitude"):
        yield setting(f"figure 1(b)/{method}", "masks shown", masks, source)
    printed = published("causal_figures").set_index(["row", "column"]).value
    at = printed["figure 1(b)/causal", "percent pruned"] / 100

    def read(metric: str) -> Series:
        curves = found[found.metric == metric].pivot(
            index="seed", columns="amount_a", values="value"
        )
        values = [np.interp(at, curves.columns, curve) for curve in curves.to_numpy()]
        return 100 * Series(values, index=curves.index)

    both, chance = "figure 1(b)/causal and magnitude", read("expected")
    against = "masks drawn apart"
    yield cell(
        both, "overlap: percent pruned by both", read("both_pruned"), source, control=chance,
        against=against,
    )  # fmt: skip
    yield cell(
        both, "difference of the masks", read("only_a"), source, control=100 * at - chance,
        against=against,
    )  # fmt: skip


def suggested(rows: pd.DataFrame) -> Iterator[Cell]:
    """Figure 2: the numbers of rounds and epochs that the paper suggests, and we took."""
    source = Source.of("causal-pruning", iterated_rows(rows), units="networks")
    yield setting("figure 2(a)/causal", "suggested N_iter", rows.n_iter.max(), source)
    yield setting("figure 2(b)/causal", "suggested N_prune", rows.prune_epochs.max(), source)


def penalties() -> Iterator[Cell]:
    """Figure 2(c): accuracy of causal pruning in rounds, at two values of L1_coeff."""
    rows = paper_rows()
    for penalty in ("1e-14", "1e-18"):
        for run in at_the_penalty("cifar10", float(penalty)):
            column = f"test accuracy at L1_coeff {penalty}"
            yield accuracy_cell("figure 2(c)/causal", column, run, rows)


def top_eigenvalues(dataset: str = "cifar10") -> Iterator[Cell]:
    """Figure 3: the largest eigenvalue of the weights that are left, over that of no pruning.

    Geometric means: means and intervals of the logarithm, turned back.
    """
    rows = chapter_rows("flat-minima")
    tops = measure(rows[rows.dataset == dataset], "top eigenvalue")
    logs = np.log10(tops.pivot(index="seed", columns="method", values="value"))
    source = source_of(with_columns(rows[rows.dataset == dataset]), "flat-minima")
    for method, control in {
        "causal": "random at causal",
        "magnitude": "magnitude at causal",
    }.items():
        own, other = (logs[name] - logs["dense"] for name in (method, control))
        bound = {"causal": "at most", "magnitude": "above"}[method]
        column = f"top eigenvalue over that of no pruning ({bound})"
        found = cell(
            f"figure 3/lenet/{method}", column, own, source, control=other, against=control
        )
        ends = ["mean", "low", "high", "one_low", "one_high"]
        ends += ["control_mean", "control_low", "control_high"]
        yield found | {end: 10 ** found[end] for end in ends}


def landscape_axes() -> Iterator[Cell]:
    """Figure 5: how far the axes of the landscape go."""
    rows = chapter_rows("flat-minima")
    own = rows[(rows.dataset == "cifar10") & rows.alpha.notna()]
    source = source_of(with_columns(own), "flat-minima")
    yield setting("figure 5/axes", "alpha and beta (from)", own.alpha.min(), source)
    yield setting("figure 5/axes", "alpha and beta (to)", own.alpha.max(), source)
