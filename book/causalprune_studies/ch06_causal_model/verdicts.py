"""What becomes of two claims about the causal model of gradient descent, from full rows.

A unit is a network: a seed, on one data set. The limit of 0.9 for the identity was fixed before the
full rows were measured, and so was the penalty at which coefficients are judged. That a test must
pass where the answer is known, and the margin of 0.05, came after they had been read.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.judge import Claim, Finding, draw_verdicts

RATIO = 0.2  # alpha / alpha_max at which the coefficients are judged
MARGIN = 0.05  # of held-out R^2
EXAMPLES = {"cifar10": 50_000, "fashion_mnist": 60_000}
NETWORKS = {"units": "networks", "bounds": (-float("inf"), 1.0)}  # an R^2 is at most 1


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`, from rows of `CausalModelFit`; refuses rows not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def held_out(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the held-out R^2 of whole-network lassos at the criterion's penalty."""
    return rows[(rows.metric == "r2_out") & (rows.layer == "all") & (rows.ratio == RATIO)]


def _identity(rows: pd.DataFrame) -> Iterator[Finding]:
    for dataset, kinds, scale in _by_dataset(rows[rows.metric == "r2_theory"]):
        own, swapped = (Estimate.of_mean(kinds[k], **NETWORKS) for k in ("same_batch", "two_batch"))
        yield Finding(dataset, own, swapped, scale=scale)


def _slope(rows: pd.DataFrame) -> Iterator[Finding]:
    for dataset, kinds, scale in _by_dataset(rows[rows.metric == "slope_lr"]):
        yield Finding(dataset, Estimate.of_mean(-kinds.same_batch, units="networks"), scale=scale)


def _coefficients(rows: pd.DataFrame) -> Iterator[Finding]:
    for dataset, kinds, scale in _by_dataset(held_out(rows)):
        moves, frozen, known = (
            Estimate.of_mean(kinds[kind], **NETWORKS)
            for kind in ("two_batch", "frozen", "same_batch")
        )
        lead = Estimate.of_mean(kinds["two_batch"] - kinds["frozen"], units="networks")
        passes = known.low > 0
        yield Finding(
            dataset,
            moves,
            frozen,
            lead,
            scale=scale,
            passes_where_known=passes,
            note=""
            if passes
            else f"on one batch, where the moves do make the change, the same fit has {known}: "
            "the test cannot tell at this penalty",
        )


def _by_dataset(
    rows: pd.DataFrame,
) -> Iterator[tuple[str, pd.DataFrame, dict[str, float]]]:
    """Data set, its values by seed (rows) and kind (columns), and its scale."""
    for dataset, part in rows.groupby("dataset"):
        row = part.iloc[0]
        scale = {"images": float(row.subset) / EXAMPLES[dataset]}
        scale["recorded steps"] = float(row.steps) / 980
        yield str(dataset), part.pivot(index="seed", columns="kind", values="value"), scale


CLAIMS = (
    Claim(
        "the identity",
        "A step changes the loss by -s/lr, where s is the sum of squared moves (section 2, eq. 5).",
        "of the variance of the loss changes on one batch explained by -s/lr, without a fit (R^2)",
        "not below",
        (0.9, 1.0),
        "the same line where the batch changes too, as the paper records it",
        _identity,
        none=1.0,
    ),
    Claim(
        "the identity, to first order",
        "The slope of the loss change over s is -1/lr (section 2, eq. 5).",
        "times -1/lr, the fitted slope on one batch",
        "within",
        (0.8, 1.2),
        "none: where the batch changes too, no theory says what the slope is",
        _slope,
        none=1.0,
    ),
    Claim(
        "causal coefficients",
        "The coefficients gamma_k say which weights cause the loss to change (sections 2 and 3).",
        "held-out R^2 of the exact lasso on the paper's two-batch loss, alpha/alpha_max = 0.2",
        "above",
        (-MARGIN, MARGIN),
        "the same fit where no weight moves",
        _coefficients,
    ),
)
