"""What becomes of two claims about the causal model of gradient descent, from full rows.

The criteria were fixed before the full rows were measured.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.statistics import paired_difference, summarise
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.judge import Claim, draw_verdicts, grade

RATIO = 0.2  # alpha / alpha_max at which the coefficients are judged


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `CLAIMS`, from rows of `CausalModelFit`; refuses rows not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def held_out(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the held-out R^2 of whole-network lassos at the criterion's penalty."""
    return rows[(rows.metric == "r2_out") & (rows.layer == "all") & (rows.ratio == RATIO)]


def _identity(sentence: str, rows: pd.DataFrame) -> Verdict:
    r2 = rows[rows.metric == "r2_theory"]
    found = _by_network(r2[r2.kind == "same_batch"])
    lowest, mean = found.value.min(), summarise(found, ["metric"]).iloc[0]
    swapped = r2[r2.kind == "two_batch"].value.mean()
    return Verdict(
        sentence,
        grade(lowest >= 0.9, lowest >= 0.5),
        float(mean["mean"]),
        (float(mean.low), float(mean.high)),
        int(rows.seed.nunique()),
        f"the same line where the batch changes too, as the paper records it: R^2 {swapped:.3f}",
        f"of the variance explained without a fit, lowest {lowest:.3f}",
    )


def _coefficients(sentence: str, rows: pd.DataFrame) -> Verdict:
    found = _by_network(held_out(rows))
    mean = summarise(found, ["kind"]).set_index("kind")
    gap = paired_difference(found, between="kind", a="two_batch", b="frozen")
    explains = mean.low["two_batch"] > 0
    return Verdict(
        sentence,
        grade(explains and gap.low > 0, explains),
        gap.mean,
        (gap.low, gap.high),
        int(rows.seed.nunique()),
        "the same fit where no weight moves: held-out R^2 "
        f"{mean['mean']['frozen']:+.3f}, against {mean['mean']['two_batch']:+.3f} with moves",
        "of held-out R^2, moves minus no moves",
    )


def _by_network(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a network, which is a data set and a seed, in place of the seed."""
    return rows.assign(seed=rows.dataset + ", seed " + rows.seed.astype(str))


CLAIMS = (
    Claim(
        "the identity",
        "A step changes the loss by -s/lr, where s is the sum of squared moves (section 2, eq. 5).",
        "On one batch, the unfitted line dL = -s/lr explains at least 90% of the variance of dL "
        "(lowest value of any seed and data set). Partly: at least 50%",
        _identity,
    ),
    Claim(
        "causal coefficients",
        "The coefficients gamma_k say which weights cause the loss to change (sections 2 and 3).",
        "With the paper's two-batch loss, the exact lasso's R^2 on held-out steps is above 0 and "
        "above that of the frozen control, where no weight moves: both intervals of the mean over "
        "seeds and data sets above 0, at the penalty alpha/alpha_max = 0.2. Partly: only the first",
        _coefficients,
    ),
)
