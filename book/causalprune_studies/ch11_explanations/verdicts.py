"""What becomes of three claims about explanations, from full rows of `ExplanationAgreement`.

The criteria were fixed before the full rows were measured; one trial of every table had been seen
while the code was made. They are in `CRITERIA`, and the page prints them beside the verdicts.

Paper: arXiv:2308.09955. Its sections differ on magnitude pruning: section 5.1 grants it "feature
consistency" for three tables, section 6 does not.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch11_explanations.study import DENSE

MARGIN, KEPT = 0.05, 0.8  # of Spearman's correlation


FIGURES = ("cancer", "titanic", "banknote")  # figures 3 and 8


COUNTS = ("FT", "PT")


CRITERIA = {
    "importance is kept": (
        "On the tables of figures 3 and 8, FT and PT averaged, LEGCNet's networks rank the "
        "features as their dense network does, no worse than dense networks of other seeds: the "
        f"interval of the paired difference of Spearman's correlations lies above -{MARGIN}. "
        f"Partly: not so, but LEGCNet's mean correlation is at least {KEPT}."
    ),
    "random masks do not keep it": (
        "Over all four tables LEGCNet's correlation is above that of random masks with the same "
        f"counts: interval above 0. Partly: only the mean, by at least {MARGIN}."
    ),
    "magnitude does not keep it": (
        "The same, with magnitude at the same counts in place of random masks."
    ),
}


CLAIMS = {
    "importance is kept": (
        "The feature importance of the dense network is the same after LEGCNet-FT and LEGCNet-PT "
        "(captions of figures 3 and 8)."
    ),
    "random masks do not keep it": (
        "LEGCNet maintains the feature importance, random pruning does not (sections 5.1 and 6)."
    ),
    "magnitude does not keep it": (
        "LEGCNet maintains the feature importance, magnitude pruning does not (section 6)."
    ),
}


def averaged(
    rows: pd.DataFrame, *, metric: str = "spearman", stop: str = "benchmark"
) -> pd.DataFrame:
    """One value for each trial and network: a mean over the tables, and over FT and PT.

    A table counts as much as another. Networks without a mask have one value for each.
    """
    found = rows[(rows.metric == metric) & (rows.stop == stop)]
    found = found[found.counts.isin([*COUNTS, DENSE[1]])]
    tables = found.groupby(["dataset", "seed", "network"], as_index=False).value.mean()
    trials = tables.groupby(["seed", "network"], as_index=False).value.mean()
    return trials.assign(metric=metric)


def gap_to(rows: pd.DataFrame, other: str, **where: str) -> PairedDifference:
    """LEGCNet minus the network `other`, over trials; `where` as for `averaged`."""
    return paired_difference(averaged(rows, **where), between="network", a="LEGCNet", b=other)


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """Verdicts on the rows of the study; refuses any that are not full."""
    require_full(rows)
    shown = rows[rows.dataset.isin(FIGURES)]
    means = summarise(averaged(shown), ["network"]).set_index("network")["mean"]
    own, yardstick = means["LEGCNet"], means["other seed"]
    gap = gap_to(shown, "other seed")
    partly = "partly" if own >= KEPT else "not reproduced"
    found = "reproduced" if gap.low > -MARGIN else partly
    control = f"dense networks of other seeds: {yardstick:.3f}, against {own:.3f} for LEGCNet"
    kept = _verdict("importance is kept", found, gap, control)
    return {
        "importance is kept": kept,
        "random masks do not keep it": _beaten("random masks do not keep it", "random", rows),
        "magnitude does not keep it": _beaten("magnitude does not keep it", "magnitude", rows),
    }


def _beaten(name: str, other: str, rows: pd.DataFrame) -> Verdict:
    gap = gap_to(rows, other)
    partly = "partly" if gap.mean >= MARGIN else "not reproduced"
    found = "reproduced" if gap.low > 0 else partly
    means = summarise(averaged(rows), ["network"]).set_index("network")["mean"]
    control = (
        f"{other} masks with the same counts in every layer: {means[other]:.3f}, against "
        f"{means['LEGCNet']:.3f}; the mask of another trial's network: "
        f"{means['another trial']:.3f}"
    )
    return _verdict(name, found, gap, control)


def _verdict(name: str, found: str, gap: PairedDifference, control: str) -> Verdict:
    unit = f"of Spearman's correlation, LEGCNet minus {gap.b}"
    return Verdict(CLAIMS[name], found, gap.mean, (gap.low, gap.high), gap.n, control, unit)
