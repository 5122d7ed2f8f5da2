"""How far rows are from the causal pruning paper's size, and the rows that are of that size.

They may be there in part or not at all: every function here gives what there is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from causalprune_studies.ch08_causal_pruning.tables import with_columns
from causalprune_studies.ch13_tables.cells import Cell, Source, by_seed, cell, setting, shares
from causalprune_studies.tables import measured, measured_names

IMAGES = {"fashion_mnist": 60_000, "cifar10": 50_000, "tiny_imagenet": 100_000}  # for training
N_PRUNE, N_ITER, N_POST, BATCH = 10, 10, 200, 512  # appendix C
NEAR = 1.5  # points between an amount of the paper and ours that may stand for it
METHODS = {"No-Pruning": "dense", "Magnitude Pruning": "magnitude", "Causal Pruning": "causal"}
RANDOM = "random, same counts"

TABLE2 = "causal-pruning-table2"  # name of the rows
PROFILES = ["paper", "full"]  # the larger first
REPORTED, RELEASED = "accuracy_validation_epoch", "accuracy_best_on_test"
COLUMNS = ["model", "epochs", "post_epochs"]
RUN = ["profile", "precision", "amount", "fraction"]  # tell runs of one ranking apart


def scale_of(rows: pd.DataFrame) -> str:
    """How far rows of one spec are from the paper's size."""
    one, whole = rows.iloc[0], IMAGES[rows.dataset.iloc[0]]
    images = json.loads(one.subset)[0] if isinstance(one.subset, str) else whole
    if (rows.metric == "images").any():  # those that were trained on
        images = int(rows.value[rows.metric == "images"].iloc[0])
    steps = math.ceil(images / one.batch_size) * one.prune_epochs
    rounds = 1 if pd.isna(one.n_iter) else one.n_iter
    size = shares(
        images=(images, whole),
        steps_a_round=(int(steps), math.ceil(whole / BATCH) * N_PRUNE),
        rounds=(int(rounds), N_ITER),
        epochs_after=(int(one.post_epochs), N_POST),
    )
    return f"{size}, {rows.seed.nunique()} networks"  # the paper does not say how many it has


def source_of(rows: pd.DataFrame, name: str = "causal-pruning") -> Source:
    """The source that rows of one spec are."""
    return Source.of(name, rows, units="networks").at(scale_of(rows))


def paper_rows() -> pd.DataFrame:
    """The rows of `PaperTable2`, the larger profile first; none if they are not measured yet."""
    if TABLE2 not in measured_names():
        return with_columns(pd.DataFrame(columns=[*COLUMNS, *RUN, "seed", "value"]))
    rows = with_columns(measured(TABLE2))
    rows = rows[rows.profile.isin(PROFILES) & rows.value.notna()]
    return rows.sort_values("profile", key=lambda p: p.map(PROFILES.index), kind="stable")


def runs(rows: pd.DataFrame, ranking: str, allocation: str) -> list[pd.DataFrame]:
    """The rows of one method, run by run; runs differ in size and in how much they prune."""
    own = rows[(rows.ranking == ranking) & (rows.allocation == allocation)]
    return [run for _, run in own.groupby(RUN, sort=False, dropna=False)]


def percent_pruned(run: pd.DataFrame) -> float:
    """How much a run pruned, on average over its networks; the dense one nothing."""
    pruned = run.value[run.metric == "amount_pruned"]
    return 100 * float(pruned.mean()) if len(pruned) else 0.0


def control_of(run: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Random weights at the counts of the masks of a run, if that was run."""
    same = rows[(rows.ranking == "random") & (rows.allocation == run.ranking.iloc[0])]
    for name in (*RUN, "l1_coeff"):
        value = run[name].iloc[0]
        same = same[same[name].isna() if pd.isna(value) else same[name] == value]
    return same


def accuracy_cell(row: str, column: str, run: pd.DataFrame, rows: pd.DataFrame) -> Cell:
    """Accuracy at the epoch that validation images choose; `best` is the best epoch on the test.

    The paper says the former, the released code does the latter.
    """
    control = control_of(run, rows)
    found = cell(
        row,
        column,
        100 * by_seed(run[run.metric == REPORTED]),
        source_of(run, TABLE2),
        control=100 * by_seed(control[control.metric == REPORTED]),
        against=RANDOM if len(control) else "",
    )
    return found | {"best": 100 * run.value[run.metric == RELEASED].mean()}


def at_paper_scale(row: str, printed: pd.Series) -> Iterator[Cell]:
    """The cells of a row of table 2, from runs that prune about as much as the paper prints."""
    rows = paper_rows()
    rows = rows[(rows.dataset == row.removeprefix("lenet/")) & rows.l1_coeff.isna()]
    for title, method in METHODS.items():
        amount = printed[f"{title}: percent pruned"]
        found = runs(rows, method, "none" if method == "dense" else method)
        found = [run for run in found if abs(percent_pruned(run) - amount) <= NEAR]
        for profile in PROFILES:
            same = [run for run in found if run.profile.iloc[0] == profile]
            for run in sorted(same, key=lambda run: abs(percent_pruned(run) - amount)):
                place, source = f"{title}: percent pruned", source_of(run, TABLE2)
                yield setting(row, place, percent_pruned(run), source)
                yield accuracy_cell(row, f"{title}: test accuracy", run, rows)


def at_the_penalty(dataset: str, penalty: float) -> list[pd.DataFrame]:
    """Runs of causal pruning at one L1_coeff, the larger profile first."""
    rows = paper_rows()
    near = np.isclose(rows.l1_coeff.astype(float), penalty, rtol=1e-6, atol=0)
    return runs(rows[(rows.dataset == dataset) & near], "causal", "causal")
