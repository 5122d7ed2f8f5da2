"""The claims about explanations, and what decides each of them, from rows of the study.

The criteria stand here, before the full rows; one trial of every table had been seen while the code
was made.

Paper: arXiv:2308.09955. Its sections differ on magnitude pruning: section 5.1 grants it "feature
consistency" for three tables, section 6 does not.
"""

from __future__ import annotations

from functools import partial

import pandas as pd

from causalprune_lib.evidence.statistics import summarise
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch11_explanations.tables import averaged, gap_to
from causalprune_studies.judge import Claim, draw_verdicts, from_gap, grade

MARGIN, KEPT = 0.05, 0.8  # of Spearman's correlation
FIGURES = ("cancer", "titanic", "banknote")  # figures 3 and 8


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def _is_kept(sentence: str, rows: pd.DataFrame) -> Verdict:
    rows = rows[rows.dataset.isin(FIGURES)]
    mean, gap = _means(rows), gap_to(rows, "other seed")
    return from_gap(
        sentence,
        grade(gap.low > -MARGIN, mean["LEGCNet"] >= KEPT),
        gap,
        f"dense networks of other seeds: {mean['other seed']:.3f}, against {mean['LEGCNet']:.3f} "
        "for LEGCNet",
        "of Spearman's correlation, LEGCNet minus other seed",
    )


def _beats(other: str, sentence: str, rows: pd.DataFrame) -> Verdict:
    mean, gap = _means(rows), gap_to(rows, other)
    return from_gap(
        sentence,
        grade(gap.low > 0, gap.mean >= MARGIN),
        gap,
        f"{other} masks with the same counts in every layer: {mean[other]:.3f}, against "
        f"{mean['LEGCNet']:.3f}; the mask of another trial's network: {mean['another trial']:.3f}",
        f"of Spearman's correlation, LEGCNet minus {other}",
    )


def _means(rows: pd.DataFrame) -> pd.Series:
    return summarise(averaged(rows), ["network"]).set_index("network")["mean"]


CLAIMS = (
    Claim(
        "importance is kept",
        "The feature importance of the dense network is the same after LEGCNet-FT and LEGCNet-PT "
        "(captions of figures 3 and 8).",
        "on the tables of figures 3 and 8, FT and PT averaged, LEGCNet's networks rank the "
        "features as their dense network does, no worse than dense networks of other seeds: the "
        f"interval of the paired difference of Spearman's correlations lies above -{MARGIN}; "
        f"partly if not so, but LEGCNet's mean correlation is at least {KEPT}",
        _is_kept,
    ),
    Claim(
        "random masks do not keep it",
        "LEGCNet maintains the feature importance, random pruning does not (sections 5.1 and 6).",
        "over all four tables LEGCNet's correlation is above that of random masks with the same "
        f"counts: interval above 0; partly if only the mean is, by at least {MARGIN}",
        partial(_beats, "random"),
    ),
    Claim(
        "magnitude does not keep it",
        "LEGCNet maintains the feature importance, magnitude pruning does not (section 6).",
        "the same, with magnitude at the same counts in place of random masks",
        partial(_beats, "magnitude"),
    ),
)
