"""The claims of the chapter "The lasso that prunes", and what is found for each of them.

A unit is a network: a seed, on one data set; a network counts by its mean over its layers. The
claim is of the method's text, held against its released code. The theorem that decides it had been
proved, and checked on one network, before these rows were measured.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.judge import Claim, Finding, draw_verdicts

EXAMPLES = {"cifar10": 50_000, "fashion_mnist": 60_000}


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def _reached(rows: pd.DataFrame) -> Iterator[Finding]:
    found = rows[rows.metric == "reached"]
    for (dataset, ratio), part in found.groupby(["dataset", "ratio"]):
        shares = part.groupby("seed").value.mean().clip(0, 1)  # a rounding below 0 is none
        yield Finding(
            str(dataset),
            Estimate.of_mean(shares, units="networks", bounds=(0, 1)).times(100),
            cell=f"alpha {ratio:g} of the smallest that keeps nothing",
            scale={
                "images": float(part.subset.iloc[0]) / EXAMPLES[dataset],
                "recorded steps": float(part.steps.iloc[0]) / 980,
            },
        )


CLAIMS = (
    Claim(
        "the mask is a lasso's",
        "The coefficients gamma are fitted by the lasso (section 3; the released solver).",
        "% of the possible fall of the lasso's objective that the released solver reaches",
        "not below",
        (99.0, 101.0),
        "the exact solver on the same samples, which reaches 100 by definition",
        _reached,
        none=100.0,
    ),
)
