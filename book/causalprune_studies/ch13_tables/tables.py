"""Every table and figure of the two papers that holds numbers, beside what we measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd

from causalprune_lib._validation import check_choice
from causalprune_studies.ch13_tables import causal, legcnet
from causalprune_studies.ch13_tables.cells import (
    MEASURED,
    NOT_TESTED,
    SETTING,
    Cell,
    Source,
    as_table,
)
from causalprune_studies.ch13_tables.paper_scale import TABLE2
from causalprune_studies.chapters import rows_of_studies
from causalprune_studies.tables import published

OURS: dict[str, Callable[[], list[Cell]]] = {
    "legcnet_table1": lambda: legcnet.table_cells("legcnet_table1"),
    "legcnet_table2": lambda: legcnet.table_cells("legcnet_table2"),
    "legcnet_table3": lambda: legcnet.table_cells("legcnet_table3"),
    "legcnet_table4": legcnet.exponent_cells,
    "legcnet_figures": legcnet.figure_cells,
    "causal_table1": causal.parameter_cells,
    "causal_table2": causal.comparison_cells,
    "causal_table3": causal.hyperparameter_cells,
    "causal_figures": causal.figure_cells,
    "causal_chita": list,  # nothing of it is measured
}
IN_REACH = "test accuracy at L1_coeff 1e-14"  # beside LeNet's cells, of what the specs measure
BOUND = r"\((?:from|to|at most|above|below)\)$"  # the end of a column that holds a bound
RANGES = {"fraction": 1.0, "%": 100.0}  # what no interval exceeds; nor does one go below 0


def cells(name: str) -> pd.DataFrame:
    """All cells of a published table, in its order, each with what we measured at its place.

    Returns
    -------
    DataFrame
        `row`, `label`, `column`, `unit`, `note` and `published` as in `published`; `status`
        ("measured", "setting": not found but chosen, "not tested"); ours, in the paper's unit:
        `mean`, `low`, `high`, `n` units of the kind `units`, `best` of the paper's five starts,
        `same` (the trial that the paper prints); `control_mean`, `control_low`, `control_high`, of
        what `against` says; `scale`, `rows`, `profile` and `command`. What is not there is NaN.

    Examples
    --------
    >>> cells("causal_chita").status.unique().tolist()
    ['not tested']
    """
    check_choice("name", name, OURS)
    return with_commands(joined(published(name), OURS[name]()))


def joined(paper: pd.DataFrame, ours: Sequence[Cell]) -> pd.DataFrame:
    """The published cells, each once, with ours beside them; an unknown one of ours is an error."""
    found = as_table(ours)
    known = set(zip(paper.row, paper.column, strict=True))
    lost = set(zip(found.row, found.column, strict=True)) - known
    if lost:
        raise ValueError(f"ours must name cells that the paper prints; got {sorted(lost)[0]}.")
    paper = paper[["row", "label", "column", "unit", "note", "value"]]
    table = paper.rename(columns={"value": "published"}).merge(
        found, on=["row", "column"], how="left", validate="one_to_one"
    )
    words = ["units", "against", "scale", "rows", "profile", "command"]
    empty = dict.fromkeys(words, "") | {"status": NOT_TESTED}
    filled = {word: table[word].astype(object).fillna(text) for word, text in empty.items()}
    table = table.assign(**filled, n=table.n.fillna(0))
    most = table.unit.map(RANGES).fillna(math.inf)
    ends = ["low", "high", "control_low", "control_high"]
    return table.assign(**{end: table[end].clip(0, most) for end in ends})


def with_commands(table: pd.DataFrame) -> pd.DataFrame:
    """What is not tested, with the command that would test it, where a study of the book does."""
    if TABLE2 not in rows_of_studies():
        return table
    within = table.row.str.startswith("lenet/") | table.column.eq(IN_REACH)
    would = Source(TABLE2, "paper", 5, "networks").command
    return table.assign(command=table.command.mask(within & table.status.eq(NOT_TESTED), would))


def all_cells() -> pd.DataFrame:
    """The cells of all tables, with `table`, the name of each."""
    return pd.concat([cells(name).assign(table=name) for name in OURS], ignore_index=True)


def coverage(table: pd.DataFrame) -> pd.DataFrame:
    """How many cells of each published table were measured, set, or not tested.

    "could be ours" counts the cells whose published number lies where one more unit of ours would.
    "with a range" counts those that have such a range: two units at least, that differ, and a
    published number that is no bound.
    """
    counts = table.groupby(["table", "status"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=[MEASURED, SETTING, NOT_TESTED], fill_value=0)
    counts.insert(0, "cells", counts.sum(axis=1))
    inside = table.published.between(table.one_low, table.one_high)
    ranged = (
        table[table.one_low.notna() & ~table.column.str.contains(BOUND)]
        .assign(inside=inside)
        .groupby("table")
        .inside
    )
    counts["with a range"], counts["could be ours"] = ranged.size(), ranged.sum()
    return counts.fillna(0).astype(int).rename(index=in_words).rename_axis(None)


def in_words(name: str) -> str:
    """The name of a published table for a reader.

    Examples
    --------
    >>> in_words("legcnet_table1"), in_words("causal_chita")
    ('LEGCNet, table 1', 'Causal pruning, CHITA')
    """
    paper, _, part = name.partition("_")
    part = part.replace("table", "table ").replace("chita", "CHITA")
    return f"{'LEGCNet' if paper == 'legcnet' else 'Causal pruning'}, {part}"
