"""How a verdict is drawn from rows: means and gaps with their intervals, words, and phrases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_lib.evidence.verdict import Verdict


class NotMeasuredError(ValueError):
    """A comparison is not in the rows, or in too few of them."""


@dataclass(frozen=True)
class Claim:
    """What a paper says, what counts as reproduced, and what decides it.

    The criterion is written before the rows are measured.

    Attributes
    ----------
    name : str
        What the book calls it.
    sentence : str
        The claim, with where the paper makes it.
    criterion : str
        What it takes, in words; `judge` does as it says.
    judge : callable
        `judge(sentence, rows)` -> Verdict, from the full rows; a `NotMeasuredError` where what it
        needs is not there.
    """

    name: str
    sentence: str
    criterion: str
    judge: Callable[[str, pd.DataFrame], Verdict]


def draw_verdicts(claims: Sequence[Claim], rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each claim, by name; "not tested here" where its rows are not there."""
    found = {}
    for claim in claims:
        try:
            found[claim.name] = claim.judge(claim.sentence, rows)
        except NotMeasuredError as missing:
            control = f"its rows are not measured yet: {missing}"
            found[claim.name] = Verdict(claim.sentence, "not tested here", None, None, 0, control)
    return found


def metric_rows(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric."""
    return rows[rows.metric == metric]


def mean_of(frame: pd.DataFrame, value: str = "value") -> pd.Series:
    """Mean, interval and n over the rows of `frame`, each of which counts as a seed."""
    one = pd.DataFrame({"all": "", "seed": range(len(frame)), "value": frame[value].to_numpy()})
    return summarise(one, "all").iloc[0]


def gap_of(
    frame: pd.DataFrame, between: str, pair_on: str | Sequence[str], *, a: str, b: str
) -> PairedDifference:
    """`a` minus `b` over pairs; of the other columns only seed, dataset and value are kept."""
    kept = [c for c in (between, "seed", "dataset", "value") if c in frame]
    return paired_difference(frame[kept], between=between, a=a, b=b, pair_on=pair_on)


def from_gap(claim: str, word: str, gap: PairedDifference, control: str, unit: str) -> Verdict:
    """A verdict on a difference of shares (said in points) or of anything else."""
    scale = 100 if unit.startswith("points") else 1
    effect, low, high = (scale * x for x in (gap.mean, gap.low, gap.high))
    return Verdict(claim, word, effect, (low, high), gap.n, control, unit)


def from_mean(claim: str, word: str, mean: pd.Series, control: str, unit: str) -> Verdict:
    """A verdict on the mean of shares (said in percent) or of anything else."""
    scale = 100 if unit.startswith("%") else 1
    effect, low, high = (scale * x for x in (mean["mean"], mean.low, mean.high))
    return Verdict(claim, word, effect, (low, high), int(mean.n), control, unit)


def grade(full: bool, half: bool) -> str:
    """The verdict if `full` holds, or only `half` does, or neither."""
    return "reproduced" if full else "partly" if half else "not reproduced"


def said(gap: PairedDifference) -> str:
    """A difference and its interval, for a sentence about a control."""
    return f"{gap.mean:+.3f}, {gap.low:+.3f} to {gap.high:+.3f}"


def said_mean(mean: pd.Series, digits: int = 3) -> str:
    """A mean and its interval, for a sentence about a control."""
    return f"{mean['mean']:.{digits}f}, {mean.low:.{digits}f} to {mean.high:.{digits}f}"


def listed(rates: Mapping[str, float] | pd.Series) -> str:
    """Rates by name, in percent."""
    return ", ".join(f"{name} {rate:.0%}" for name, rate in rates.items())


def named(criteria: Mapping[str, str], *found: Verdict) -> dict[str, Verdict]:
    """Verdicts under the names of their criteria, in the same order."""
    return dict(zip(criteria, found, strict=True))
