"""The claims of the chapter "Measuring chaos", and what decides each of them.

The criteria stand here, before the rows. When they were written the quick figures of chapters 2
to 4 had been seen, and tiny runs of the studies; no full row had.

The claims are those of the LEGCNet paper, arXiv:2308.09955, by section. A network is one published
set of initial weights of one table. An interval is Student's, at 95%, over networks or seeds.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.statistics import summarise
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch03_exponents.study import CHAOTIC, ITSELF, NOT_CHAOTIC
from causalprune_studies.judge import (
    Claim,
    draw_verdicts,
    from_gap,
    from_mean,
    gap_of,
    grade,
    listed,
    mean_of,
    metric_rows,
)

WINDOW = 200  # samples, in the paper's text
LEVEL = 0.05  # what the tests promise


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `CLAIMS`; refuses rows that are not full."""
    rows = require_full(rows)
    return draw_verdicts(CLAIMS, rows[rows.samples == WINDOW])


def _weights_are_positive(sentence: str, rows: pd.DataFrame) -> Verdict:
    weights = rows[rows.dataset.notna()]
    own = _at(weights, "positive")
    least = own.groupby("dataset").value.mean().min()
    shuffled = _at(weights, "positive", surrogate="shuffled").value.mean()
    return from_mean(
        sentence,
        grade(least >= 0.95, least >= 0.5),
        mean_of(own),
        f"the same windows, shuffled in time, of which {shuffled:.1%} are positive. Networks of "
        "four tables count as seeds",
        "% of the windows positive",
    )


def _positive_marks_chaos(sentence: str, rows: pd.DataFrame) -> Verdict:
    known = _at(rows, "positive")
    nulls = known[known.series.isin(NOT_CHAOTIC)].groupby("series").value.mean()
    sides = pd.concat(
        known[known.series.isin(names)].groupby("seed", as_index=False).value.mean().assign(kind=k)
        for k, names in (("chaotic", CHAOTIC), ("not chaotic", NOT_CHAOTIC))
    )
    fitted = _at(rows, "positive", reading="fitted slope").groupby("series").value.mean()
    return from_gap(
        sentence,
        grade(nulls.max() <= LEVEL, nulls.max() <= 0.5),
        gap_of(sides, "kind", "seed", a="chaotic", b="not chaotic"),
        f"processes that are not chaotic, positive windows as released: {listed(nulls)}. With a "
        f"fitted slope: {listed(fitted[list(NOT_CHAOTIC)])}",
        "points of positive windows, chaotic minus not chaotic",
    )


def _weights_hold_chaos(sentence: str, rows: pd.DataFrame) -> Verdict:
    told = _at(rows, "rejected", surrogate="increments shuffled")
    weights, ar1 = told[told.dataset.notna()], told[told.series == "AR(1)"]
    tables = summarise(weights, "dataset")
    by_seed = weights.groupby("seed", as_index=False).value.mean()
    sides = pd.concat([by_seed.assign(kind="weights"), ar1.assign(kind="AR(1)")])
    gap = gap_of(sides[["kind", "seed", "value"]], "kind", "seed", a="weights", b="AR(1)")
    return from_gap(
        sentence,
        grade(bool((tables.low > 0.5).all()), gap.low > 0),
        gap,
        "the steps of the same windows in random order, told apart in "
        + ", ".join(f"{r.mean:.0%} ({r.dataset})" for r in tables.itertuples())
        + "; chance is 5%. To be told apart is no proof of chaos: AR(1), which is not chaotic, "
        f"is told apart in {ar1.value.mean():.0%}",
        "points of windows told apart, weights minus AR(1)",
    )


def _at(
    rows: pd.DataFrame, metric: str, *, surrogate: str = ITSELF, reading: str = "as released"
) -> pd.DataFrame:
    """The rows of one metric, of one reading of one kind of series."""
    return metric_rows(rows[(rows.reading == reading) & (rows.surrogate == surrogate)], metric)


CLAIMS = (
    Claim(
        "weights have positive exponents",
        "The exponents of the weight series are consistently positive (section 3.6).",
        "reproduced if at least 95% of the windows of every table are positive, as released at "
        "200 samples, partly if at least half of them",
        _weights_are_positive,
    ),
    Claim(
        "a positive value marks chaos",
        "A value above 0 is a marker of chaos (section 2.2).",
        "reproduced if each of the four processes that are not chaotic is positive in at most 5% "
        "of the windows, partly if in at most half of them",
        _positive_marks_chaos,
    ),
    Claim(
        "weights hold chaos",
        "The exponents indicate chaotic elements in the weight series (section 3.6).",
        "reproduced if in every table more than half of the windows (whole interval) are told "
        "from their own steps in random order, partly if more windows of weights are than of "
        "AR(1), which is not chaotic (whole interval above zero)",
        _weights_hold_chaos,
    ),
)
