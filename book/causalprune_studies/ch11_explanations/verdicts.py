"""The claims about explanations, and what is found for each of them, from rows of the study.

A unit is a trial: one initial network of one table, FT and PT apart; over all tables a unit is a
table. The first criteria stood here before the full rows; one trial of every table had been seen
while the code was made. The margin is from then; that tables, FT and PT are judged apart came after
the rows had been read.

Paper: arXiv:2308.09955. Its sections differ on magnitude pruning: section 5.1 grants it "feature
consistency" for three tables, section 6 does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch11_explanations.study import STOPS
from causalprune_studies.ch11_explanations.tables import VARIANTS
from causalprune_studies.judge import Claim, Finding, compared, draw_verdicts

MARGIN = (-0.05, 0.05)  # of Spearman's correlation
FIGURES = ("cancer", "titanic", "banknote")  # figures 3 and 8


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def _against(
    base: str, control: str, tables: tuple[str, ...] | None = None
) -> Callable[[pd.DataFrame], Iterator[Finding]]:
    """LEGCNet's agreement with its dense network minus that of `base`, beside the control's."""

    def find(rows: pd.DataFrame) -> Iterator[Finding]:
        found = rows[(rows.metric == "spearman") & (rows.stop == STOPS[0])]
        found = found[found.dataset.isin(tables)] if tables else found
        sides, pair = ("network", "LEGCNet", base, control), ["dataset", "seed"]
        for variant in VARIANTS:
            here = found[found.counts.isin([variant, "none"])]  # "none" has no mask to be counted
            for dataset, part in here.groupby("dataset"):
                gaps = compared(part, *sides, pair_on=pair, units="networks")
                yield Finding(str(dataset), **gaps, cell=variant)
            gaps = compared(here, *sides, pair_on=pair, units="tables", cluster="dataset")
            yield Finding("all tables", **gaps, cell=variant)

    return find


def _measure(other: str) -> str:
    return f"of Spearman's correlation with the dense network's importances, LEGCNet minus {other}"


CLAIMS = (
    Claim(
        "importance is kept",
        "The feature importance of the dense network is the same after LEGCNet-FT and LEGCNet-PT "
        "(captions of figures 3 and 8).",
        _measure("a dense network of another seed"),
        "not below",
        MARGIN,
        "random masks with the same counts in every layer, minus another seed",
        _against("other seed", "random", FIGURES),
    ),
    Claim(
        "random masks do not keep it",
        "LEGCNet maintains the feature importance, random pruning does not (sections 5.1 and 6).",
        _measure("random masks with the same counts"),
        "above",
        MARGIN,
        "the mask of another trial's network, minus random",
        _against("random", "another trial"),
    ),
    Claim(
        "magnitude does not keep it",
        "LEGCNet maintains the feature importance, magnitude pruning does not (section 6; section "
        '5.1 grants it "feature consistency" for cancer, banknote and titanic).',
        _measure("magnitude with the same counts"),
        "above",
        MARGIN,
        "the mask of another trial's network, minus magnitude",
        _against("magnitude", "another trial"),
    ),
)
