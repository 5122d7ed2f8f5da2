"""Verdicts of chapter 3: do exponents show chaos?

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
    from_gap,
    from_mean,
    gap_of,
    grade,
    listed,
    mean_of,
    metric_rows,
    named,
)

WINDOW = 200  # samples, in the paper's text
LEVEL = 0.05  # what the tests promise
CRITERIA = {
    "weights have positive exponents": "reproduced if at least 95% of the windows of every "
    "table are positive, as released at 200 samples, partly if at least half of them",
    "a positive value marks chaos": "reproduced if each of the four processes that are not "
    "chaotic is positive in at most 5% of the windows, partly if in at most half of them",
    "weights hold chaos": "reproduced if in every table more than half of the windows (whole "
    "interval) are told from their own steps in random order, partly if more windows of "
    "weights are than of AR(1), which is not chaotic (whole interval above zero)",
}


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdicts of chapter 3, from the full rows of `EXPONENT_STUDIES`."""
    require_full(rows)
    rows = rows[rows.samples == WINDOW]
    released = rows[rows.reading == "as released"]
    own = metric_rows(released[released.surrogate == ITSELF], "positive")
    mine, known = own[own.dataset.notna()], own[own.series.notna()]
    least = mine.groupby("dataset").value.mean().min()
    shuffled = released[(released.surrogate == "shuffled") & released.dataset.notna()]
    nulls = known[known.series.isin(NOT_CHAOTIC)].groupby("series").value.mean()
    sides = pd.concat(
        known[known.series.isin(names)].groupby("seed", as_index=False).value.mean().assign(kind=k)
        for k, names in (("chaotic", CHAOTIC), ("not chaotic", NOT_CHAOTIC))
    )
    fitted = rows[(rows.reading == "fitted slope") & (rows.surrogate == ITSELF)]
    fitted = metric_rows(fitted, "positive").groupby("series").value.mean()
    kept = metric_rows(released[released.surrogate == "increments shuffled"], "rejected")
    tables = summarise(kept[kept.dataset.notna()], "dataset")
    both = pd.concat(
        [
            kept[kept.dataset.notna()].groupby("seed", as_index=False).value.mean(),
            kept[kept.series == "AR(1)"][["seed", "value"]],
        ],
        keys=["weights", "AR(1)"],
        names=["kind", None],
    ).reset_index("kind")
    told = gap_of(both, "kind", "seed", a="weights", b="AR(1)")
    return named(
        CRITERIA,
        from_mean(
            "The exponents of the weight series are consistently positive (section 3.6).",
            grade(least >= 0.95, least >= 0.5),
            mean_of(mine),
            "the same windows, shuffled in time, of which "
            f"{metric_rows(shuffled, 'positive').value.mean():.1%} are positive. Networks of four "
            "tables count as seeds",
            "% of the windows positive",
        ),
        from_gap(
            "A value above 0 is a marker of chaos (section 2.2).",
            grade(nulls.max() <= LEVEL, nulls.max() <= 0.5),
            gap_of(sides, "kind", "seed", a="chaotic", b="not chaotic"),
            "processes that are not chaotic, positive windows as released: "
            f"{listed(nulls)}. With a fitted slope: {listed(fitted[list(NOT_CHAOTIC)])}",
            "points of positive windows, chaotic minus not chaotic",
        ),
        from_gap(
            "The exponents indicate chaotic elements in the weight series (section 3.6).",
            grade(bool((tables.low > 0.5).all()), told.low > 0),
            told,
            "the steps of the same windows in random order, told apart in "
            + ", ".join(f"{r.mean:.0%} ({r.dataset})" for r in tables.itertuples())
            + "; chance is 5%. To be told apart is no proof of chaos: AR(1), which is not chaotic, "
            f"is told apart in {kept[kept.series == 'AR(1)'].value.mean():.0%}",
            "points of windows told apart, weights minus AR(1)",
        ),
    )
