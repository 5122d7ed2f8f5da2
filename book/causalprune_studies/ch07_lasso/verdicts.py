"""The claims of the chapter "The lasso that prunes", and what is found for each of them.

A unit is a network: a seed, on one data set; a network counts by its mean over its layers. Both
claims are of the method's text against its released code. The theorem that decides them had been
proved, and checked on one network, before these rows were measured.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.judge import BOOK, Claim, Finding, draw_verdicts

EXAMPLES = {"cifar10": 50_000, "fashion_mnist": 60_000}


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def _share(metric: str) -> Callable[[pd.DataFrame], Iterator[Finding]]:
    def find(rows: pd.DataFrame) -> Iterator[Finding]:
        found = rows[rows.metric == metric]
        for (dataset, ratio), part in found.groupby(["dataset", "ratio"]):
            shares = part.groupby("seed").value.mean()
            yield Finding(
                str(dataset),
                Estimate.of_mean(shares, units="networks").times(100),
                cell=f"alpha {ratio:g} of the smallest that keeps nothing",
                scale={
                    "images": float(part.subset.iloc[0]) / EXAMPLES[dataset],
                    "recorded steps": float(part.steps.iloc[0]) / 980,
                },
            )

    return find


CLAIMS = (
    Claim(
        "the mask is a lasso's",
        "The coefficients gamma are fitted by the lasso (section 3; the released solver).",
        "% of the possible fall of the lasso's objective that the released solver reaches",
        "not below",
        (99.0, 101.0),
        "the exact solver on the same samples, which reaches 100 by definition",
        _share("reached"),
        none=100.0,
    ),
    Claim(
        "the mask is one sum's",
        "The released solver keeps the weights that one sum over the steps keeps, without a fit.",
        "% of the weights of which both say the same",
        "not below",
        (99.9, 100.1),
        "none: two ways of computing one mask",
        _share("same"),
        none=100.0,
        asked_by=BOOK,
    ),
)
