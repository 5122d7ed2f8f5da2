"""The claims of the chapter "Measuring chaos", and what is found for each of them.

A unit is a network, one published set of initial weights of one table; of a process that is known,
a draw of twenty windows. Tables and processes are never pooled: each is read by itself, so an
interval over the four tables would answer another question.

The words and margins replace criteria that were written before the rows were measured. The margins
of 95%, 5% and one half are those of the old criteria; the words were set when the rows had been
read. Every share has its Clopper-Pearson end where all units agree.

The claims are those of the LEGCNet paper, arXiv:2308.09955, by section.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch03_exponents.study import CHAOTIC, ITSELF, NOT_CHAOTIC
from causalprune_studies.judge import (
    Claim,
    Finding,
    NotMeasuredError,
    draw_verdicts,
    estimate,
    levels,
    metric_rows,
)
from causalprune_studies.paper_networks.settings import legcnet_settings

WINDOW = 200  # samples, in the paper's text
SHARES = {"bounds": (0, 1), "factor": 100}  # in percent
KNOWN = 0.95  # of the windows of a chaotic map, for a test that may decide


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`; refuses rows that are not full."""
    rows = require_full(rows)
    return draw_verdicts(CLAIMS, rows[rows.samples == WINDOW])


def _weights_are_positive(rows: pd.DataFrame) -> Iterator[Finding]:
    shuffled = _at(rows, "positive", surrogate="shuffled")
    for dataset, own, scale in _tables(rows, _at(rows, "positive")):
        found = levels(own, _of(shuffled, dataset), "networks", **SHARES)
        yield Finding(dataset, **found, scale=scale)


def _positive_marks_chaos(rows: pd.DataFrame) -> Iterator[Finding]:
    positive = _at(rows, "positive")
    passes, maps = _of_maps(positive)
    for process in NOT_CHAOTIC:
        share = estimate(_of(positive, process), "draws", **SHARES)
        note = f"in the worse of the two maps {maps:.0%} of the windows are positive"
        yield Finding(process, share, passes_where_known=passes, note=note)


def _weights_hold_chaos(rows: pd.DataFrame) -> Iterator[Finding]:
    told = _at(rows, "rejected", surrogate="increments shuffled")
    passes, maps = _of_maps(told)
    process = estimate(_of(told, "AR(1)"), "draws", **SHARES)
    for dataset, own, scale in _tables(rows, told):
        yield Finding(
            dataset,
            estimate(own, "networks", **SHARES),
            process,
            scale=scale,
            passes_where_known=passes,
            note=f"in the worse of two chaotic maps {maps:.0%} of the windows are told apart; "
            "whether the test can tell chaos in many dimensions is not known",
        )


def _at(
    rows: pd.DataFrame, metric: str, *, surrogate: str = ITSELF, reading: str = "as released"
) -> pd.Series:
    """One metric, as released, of one kind of series: by source and seed."""
    chosen = metric_rows(rows[(rows.reading == reading) & (rows.surrogate == surrogate)], metric)
    return (
        chosen.assign(source=chosen.series.fillna(chosen.dataset))
        .set_index(["source", "seed"])
        .value
    )


def _of(values: pd.Series, source: str) -> pd.Series:
    if source not in values.index:
        raise NotMeasuredError(source)
    return values.loc[source]


def _of_maps(values: pd.Series) -> tuple[bool, float]:
    """Whether both chaotic maps pass, and the smaller share of their windows."""
    least = min(_of(values, name).mean() for name in CHAOTIC)
    return bool(least >= KNOWN), least


def _tables(
    rows: pd.DataFrame, values: pd.Series
) -> Iterator[tuple[str, pd.Series, dict[str, float]]]:
    """Tables of the paper, their values, and the share of their weights that was read."""
    for dataset, part in rows[rows.dataset.notna()].groupby("dataset", sort=False):
        weights = part.n_weights.iloc[0] / legcnet_settings(dataset).n_weights
        yield dataset, _of(values, dataset), {"weights": float(weights)}


CLAIMS = (
    Claim(
        "weights have positive exponents",
        "The exponents of the weight series are consistently positive (section 3.6).",
        "% of the windows of 200 samples that are positive, as released",
        "above",
        (50.0, 95.0),
        "the same windows, shuffled in time",
        _weights_are_positive,
        none=50.0,
    ),
    Claim(
        "a positive value marks chaos",
        "A value above 0 is a marker of chaos (section 2.2).",
        "% of the windows of a process without chaos that are positive, as released",
        "not above",
        (0.0, 5.0),
        "two chaotic maps, whose windows have to be positive for a verdict",
        _positive_marks_chaos,
    ),
    Claim(
        "weights hold chaos",
        "The exponents indicate chaotic elements in the weight series (section 3.6).",
        "% of the windows of 200 samples told from their own steps in random order; chance is 5",
        "above",
        (5.0, 50.0),
        "AR(1), a process without chaos",
        _weights_hold_chaos,
        none=5.0,
    ),
)
