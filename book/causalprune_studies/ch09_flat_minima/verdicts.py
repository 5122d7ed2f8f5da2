"""The claims of the chapter "Flat minima", and what decides each of them.

The criteria were written before the full rows. What had been seen by then: the quick study, and of
the full size the networks of Fashion-MNIST with seed 100, which is not among the full rows. There
the causal network's top eigenvalue was close to the dense one's, and magnitude's far smaller among
the weights that are left, and larger among all: the paper does not say which it shows, so both
count in "flatter than magnitude".

A pair is one network: a data set and a seed, so two data sets with three seeds give six. Where no
space is named, eigenvalues are those of the weights that are left. A comparison that fewer than two
networks allow counts as not passed.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

import math

import pandas as pd

from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, t_interval
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch09_flat_minima.tables import (
    PAIR,
    at_equal_loss,
    measure,
    measured_by,
    rank_agreement,
    ratios,
    times,
)
from causalprune_studies.judge import Claim, draw_verdicts, grade

OTHERS = ("magnitude", "magnitude at causal", "random at causal")
MARGIN = math.log10(1.5)


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def _as_flat(sentence: str, rows: pd.DataFrame) -> Verdict:
    tops = measure(rows, "top eigenvalue")
    end = ratios(tops, "causal", "dense")
    equal = ratios(at_equal_loss(rows, "causal", "dense"), "causal", "dense")
    random = ratios(tops, "random at causal", "dense")
    passed = [gap.high < MARGIN for gap in (end, equal)]
    return _verdict(
        sentence,
        grade(all(passed), any(passed)),
        end,
        f"the ratio at equal training loss is {_times(equal)}; random weights at causal's counts, "
        f"at the end, {_times(random)}",
        "times the dense network's top eigenvalue, at the end",
    )


def _flatter(sentence: str, rows: pd.DataFrame) -> Verdict:
    tops = measure(rows, "top eigenvalue")
    end = {b: ratios(tops, "causal", b) for b in OTHERS}
    equal = {b: ratios(at_equal_loss(rows, "causal", b), "causal", b) for b in OTHERS}
    everything = ratios(measured_by(rows, "top_1", space="all"), "causal", "magnitude")
    said = "; ".join(
        f"{b}: {_times(end[b])} at the end, {_times(equal[b])} at equal loss" for b in OTHERS
    )
    reproduced = all(gap.high < 0 for gap in (*end.values(), *equal.values()))
    return _verdict(
        sentence,
        grade(reproduced, end["magnitude"].high < 0 or everything.high < 0),
        end["magnitude"],
        f"the top eigenvalue of the causal network in units of that of {said}; with the pruned "
        f"weights among the variables, of magnitude at the end: {_times(everything)}",
        "times magnitude's top eigenvalue, at the end",
    )


def _landscape(sentence: str, rows: pd.DataFrame) -> Verdict:
    plane = {b: ratios(measure(rows, "landscape"), "causal", b) for b in OTHERS}
    shaken = {b: ratios(measure(rows, "shaking"), "causal", b) for b in OTHERS}
    said = "; ".join(f"{b}: {_times(plane[b])} and {_times(shaken[b])}" for b in OTHERS)
    reproduced = all(gap.high < 0 for gap in (*plane.values(), *shaken.values()))
    return _verdict(
        sentence,
        grade(reproduced, plane["magnitude"].high < 0),
        plane["magnitude"],
        f"causal's rise on the plane and under shaking, in units of that of {said}",
        "times magnitude's mean rise of log(1 + loss)",
    )


def _accuracy(sentence: str, rows: pd.DataFrame) -> Verdict:
    ranks = rank_agreement(rows)
    means = {name: part.value.to_numpy() for name, part in ranks.groupby("method", sort=False)}
    means = {name: (values.mean(), *t_interval(values, 0.95)) for name, values in means.items()}
    loss = means.pop("low training loss")
    gaps = [
        paired_difference(ranks, between="method", a=name, b="low training loss", pair_on=PAIR)
        for name in means
    ]
    above = [low > 0 for _, low, _ in means.values()]
    said = ", ".join(f"{name} {mean:+.2f}" for name, (mean, _, _) in means.items())
    mean, low, high = means["top eigenvalue"]
    return Verdict(
        sentence,
        grade(all(above) and any(gap.low > 0 for gap in gaps), any(above)),
        float(mean),
        (low, high),
        len(ranks.drop_duplicates(PAIR)),
        f"rank correlations with accuracy of flatness by each measure: {said}; and of a low "
        f"training loss {loss[0]:+.2f} ({loss[1]:+.2f} to {loss[2]:+.2f}). A seed is the "
        "five networks of one data set and seed",
        "rank correlation of a small top eigenvalue with accuracy",
    )


def _verdict(sentence: str, word: str, gap: PairedDifference, control: str, unit: str) -> Verdict:
    """The effect as a ratio: the geometric mean over networks."""
    interval = (10**gap.low, 10**gap.high)
    control = f"{control}. A seed is one dense network"
    return Verdict(sentence, word, 10**gap.mean, interval, gap.n, control, unit)


def _times(gap: PairedDifference) -> str:
    if gap.n < 2:
        return f"{times(gap)} ({gap.n} networks)"
    return f"{times(gap)[:-1]}, {gap.n} networks)"


CLAIMS = (
    Claim(
        "as flat as the original",
        "Causal pruning improves the top eigenvalues, or leaves them as in the unpruned network "
        "(section 4.2, figure 3).",
        "reproduced if the top eigenvalue of the causal network is less than 1.5 times that of the "
        "dense one, at the end and at equal training loss (upper ends of two intervals of the mean "
        "ratio); partly if in one of the two",
        _as_flat,
    ),
    Claim(
        "flatter than magnitude",
        "Magnitude pruning increases the top eigenvalues by a large margin, causal pruning gives a "
        "flatter minimum (section 4.2, figure 3).",
        "reproduced if the top eigenvalue of the causal network is below that of magnitude, and of "
        "magnitude and random at causal's counts per layer, each of them at the end and at equal "
        "training loss (six intervals of the mean ratio below 1); partly if at the end it is below "
        "that of magnitude at its own counts, with or without the pruned weights among the "
        "variables",
        _flatter,
    ),
    Claim(
        "flatter landscape",
        "The loss landscape of causal pruning is flatter than that of magnitude pruning (figures 4 "
        "and 5).",
        "reproduced if log(1 + loss) rises less over the paper's plane around the causal network "
        "than around magnitude, and around magnitude and random at causal's counts, and so does "
        "the loss when every filter is shaken by a tenth of its size (six intervals of the mean "
        "ratio below 1); partly if less than around magnitude at its own counts, on the plane",
        _landscape,
    ),
    Claim(
        "flatness explains accuracy",
        "Flatter minima generalise better, which explains the accuracy of pruned networks "
        "(sections 1 and 4.2).",
        "reproduced if flatter networks are the more accurate ones by every measure (mean rank "
        "correlation over the networks of a seed, four intervals above zero), and by one of them "
        "more so than networks with a lower training loss (interval of the difference above zero); "
        "partly if by one measure at least (interval above zero)",
        _accuracy,
    ),
)
