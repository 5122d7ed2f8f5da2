"""Verdicts of the chapter "Causal pruning", from the rows of its studies.

The criteria stand here, before the full rows: see `CRITERIA`. When they were written, one network
of Fashion-MNIST had been seen: seed 0, 95% pruned, three epochs of post-training in batches of 512,
where causal came last. Post-training was made longer after that, alike for all: in batches of 64.

A pair is one network: a data set and a seed, so two data sets with three seeds give six. Accuracy
is that of the test set after the last epoch of post-training. "Ranking at allocation" says which
weights stay and whose threshold decided how many of each layer; one word stands for a ranking at
its own allocation. Where a ranking is judged at given counts, amounts at which the released rule
leaves a layer empty are left out: no ranking can do anything there.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from itertools import pairwise

import pandas as pd

from causalprune_lib.evidence.pairs import PairedDifference
from causalprune_lib.evidence.studies.causal_tables import (
    PAIR,
    curve_rows,
    difference,
    iterated_rows,
    mean_over,
    overlap_rows,
    without_empty_layers,
)
from causalprune_lib.evidence.verdicts import Verdict, require_full

AMOUNT = 0.95  # where one amount stands for all
BAND = 0.02  # two points of accuracy: no change that matters
FAIR = 0.2  # a chance-corrected agreement above this is called fair or better
CRITERIA = {
    "beats magnitude": "reproduced if, averaged over the amounts, causal is more accurate than "
    "magnitude, and at causal's counts per layer than magnitude and than random (three intervals "
    "above zero); partly if only than magnitude at its own counts",
    "phase shift": "reproduced if from 95% to 98% pruned causal loses more than magnitude and more "
    "than random at causal's counts (both intervals above zero), and is no less accurate than "
    "magnitude at 95% (mean); partly if it only loses more than magnitude",
    "finds the causes": "reproduced if causal is more accurate than the same ranking with the "
    "changes of the loss in another order, and than random, at causal's counts (both intervals "
    "above zero); partly if only than random",
    "gains by pruning": "reproduced if at 95% causal is more accurate than the dense network "
    "trained as long (interval above zero), partly if the interval holds zero",
    "masks overlap": "reproduced if causal and magnitude masks of equal amounts agree more than "
    "independent masks with their counts per layer (interval above zero) and the chance-corrected "
    "agreement is at least 0.2, partly if only more than independent masks",
    "beats magnitude, iterated": "reproduced if, at 95.99% after ten iterations, causal is more "
    "accurate than magnitude, than random at causal's counts and than the iterated run with the "
    "changes of the loss in another order (three intervals above zero); partly if only than "
    "magnitude",
    "robust to N_iter and N_prune": "reproduced if accuracy after ten iterations differs from that "
    "after one, and that of N_prune 5 from that of 2, by less than two points (both intervals "
    "inside), partly if both means do or one interval does",
    "L1_coeff decides the amount": "reproduced if each larger L1_coeff prunes more (every interval "
    "above zero), partly if every mean does",
}


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each claim, by `CRITERIA`.

    Raises
    ------
    ValueError
        If `rows` does not pass `require_full`, or a comparison is not in them.
    """
    require_full(rows)
    found = {
        "beats magnitude": _beats_magnitude(rows),
        "phase shift": _phase_shift(rows),
        "finds the causes": _finds_causes(rows),
        "gains by pruning": _gains(rows),
        "masks overlap": _overlap(rows),
        "beats magnitude, iterated": _iterated(rows),
        "robust to N_iter and N_prune": _robust(rows),
        "L1_coeff decides the amount": _l1(rows),
    }
    return {name: found[name] for name in CRITERIA}


def _beats_magnitude(rows: pd.DataFrame) -> Verdict:
    accuracy = curve_rows(rows)
    overall = mean_over(accuracy[accuracy.amount > 0], "amount")
    fair = mean_over(without_empty_layers(rows, accuracy[accuracy.amount > 0]), "amount")
    own = difference(overall, "causal", "magnitude")
    same = [difference(fair, "causal", b) for b in ("magnitude at causal", "random at causal")]
    return _verdict(
        "Causal pruning is more accurate than magnitude pruning at the same amount (figure 1a).",
        _grade(own.low > 0 and all(gap.low > 0 for gap in same), own.low > 0),
        overall,
        ("causal", "magnitude"),
        f"at causal's counts per layer, magnitude ({_said(same[0])}) and random weights "
        f"({_said(same[1])}), causal minus control",
        "of accuracy, mean of 80, 90, 95 and 98% pruned",
    )


def _phase_shift(rows: pd.DataFrame) -> Verdict:
    accuracy = curve_rows(rows)
    at = accuracy[accuracy.amount.isin([AMOUNT, 0.98])]
    drop = mean_over(at.assign(value=at.value * at.amount.map({AMOUNT: 2, 0.98: -2})), "amount")
    more = difference(drop, "causal", "magnitude")
    control = difference(drop, "causal", "random at causal")
    there = difference(accuracy[accuracy.amount == AMOUNT], "causal", "magnitude")
    return _verdict(
        "Accuracy falls more sharply with the amount than under magnitude pruning (figure 1a).",
        _grade(more.low > 0 and control.low > 0 and there.mean >= 0, more.low > 0),
        drop,
        ("causal", "magnitude"),
        f"random weights at causal's counts fall too (causal minus random {_said(control)}); at "
        f"95% causal minus magnitude is {_said(there)}",
        "of accuracy, loss from 95% to 98% pruned, causal minus magnitude",
    )


def _finds_causes(rows: pd.DataFrame) -> Verdict:
    accuracy = curve_rows(rows)
    fair = mean_over(without_empty_layers(rows, accuracy[accuracy.amount > 0]), "amount")
    gaps = [difference(fair, "causal", f"{b} at causal") for b in ("shuffled loss", "random")]
    moved = difference(accuracy[accuracy.amount == AMOUNT], "causal", "movement at causal")
    return _verdict(
        "The weights that are kept are those that cause the loss to change (sections 2 and 3).",
        _grade(all(gap.low > 0 for gap in gaps), gaps[1].low > 0),
        fair,
        ("causal", "shuffled loss at causal"),
        f"the same steps with the changes of the loss in another order (above), random weights "
        f"({_said(gaps[1])}) and, at 95%, movement alone ({_said(moved)}), at the same counts",
        "of accuracy, causal minus shuffled",
    )


def _gains(rows: pd.DataFrame) -> Verdict:
    accuracy = curve_rows(rows)
    at = accuracy[accuracy.amount.isin([0, AMOUNT])]
    gap = difference(at, "causal", "dense")
    random = difference(at, "random at causal", "dense")
    return _verdict(
        "Removing the non-causal weights almost always improves the accuracy (section 1).",
        _grade(gap.low > 0, gap.low <= 0 <= gap.high),
        at,
        ("causal", "dense"),
        f"random weights at the same counts minus dense: {_said(random)}",
        "of accuracy at 95% pruned, causal minus dense",
    )


def _overlap(rows: pd.DataFrame) -> Verdict:
    found = overlap_rows(rows)
    found = found[found.amount_a == found.amount_b].assign(amount=lambda f: f.amount_a)
    found = mean_over(found.assign(method=found.metric).drop(columns="metric"), "amount")
    found = found.assign(metric="share of the weights")
    gap = difference(found, "both_pruned", "expected_by_layer")
    plain = difference(found, "both_pruned", "expected")
    agreement = found[found.method == "agreement"].value.mean()
    return _verdict(
        "The masks of causal and magnitude pruning overlap decently (figure 1b).",
        _grade(gap.low > 0 and agreement >= FAIR, gap.low > 0),
        found,
        ("both_pruned", "expected_by_layer"),
        f"independent masks with the same counts per layer (above), and with the same amounts "
        f"({_said(plain)}); chance-corrected agreement {agreement:.2f}",
        "of the weights are pruned by both beyond chance, mean of four equal amounts",
    )


def _iterated(rows: pd.DataFrame) -> Verdict:
    accuracy = iterated_rows(rows)
    last = accuracy[(accuracy.iteration == accuracy.n_iter) & accuracy.l1_coeff.isna()]
    others = ("magnitude", "random at causal", "shuffled loss")
    gaps = {b: difference(last, "causal", b) for b in others}
    said = ", ".join(f"{b} ({_said(gaps[b])})" for b in others[1:])
    return _verdict(
        "Iterated causal pruning is more accurate than iterated magnitude pruning (table 2).",
        _grade(all(gap.low > 0 for gap in gaps.values()), gaps["magnitude"].low > 0),
        last,
        ("causal", "magnitude"),
        f"causal minus {said}, at the same amount",
        "of accuracy at 95.99% pruned",
    )


def _robust(rows: pd.DataFrame) -> Verdict:
    accuracy = iterated_rows(rows)
    fixed = accuracy[(accuracy.method == "causal") & accuracy.l1_coeff.eq(1e-14)]
    short = fixed[fixed.prune_epochs == 2].assign(method=lambda f: f.iteration.astype(int))
    last = fixed[fixed.iteration == 10].assign(method=lambda f: f.prune_epochs.astype(int))
    by_iter, by_prune = difference(short, 10, 1), difference(last, 5, 2)
    gaps = (by_iter, by_prune)
    inside = [gap.low > -BAND and gap.high < BAND for gap in gaps]
    close = [abs(gap.mean) < BAND for gap in gaps]
    return _verdict(
        "Accuracy is robust to N_iter and N_prune (section 4.1, figure 2).",
        _grade(all(inside), any(inside) or all(close)),
        short,
        (10, 1),
        f"N_prune 5 minus 2, after ten iterations: {_said(by_prune)}",
        "of accuracy, ten iterations minus one",
    )


def _l1(rows: pd.DataFrame) -> Verdict:
    amounts = iterated_rows(rows, "amount_pruned")
    last = amounts[(amounts.iteration == amounts.n_iter) & (amounts.method == "causal")]
    last = last[(last.prune_epochs == 2) & last.l1_coeff.notna()]
    last = last.assign(method=last.l1_coeff)
    alphas = sorted(last.l1_coeff.unique())
    gaps = [difference(last, b, a) for a, b in pairwise(alphas)]
    means = last.groupby("l1_coeff").value.mean()
    said = ", ".join(f"{alpha:g}: {means[alpha]:.1%}" for alpha in alphas)
    return _verdict(
        "As L1_coeff increases, the percentage pruned increases (section 4.1, figure 2).",
        _grade(all(gap.low > 0 for gap in gaps), all(gap.mean > 0 for gap in gaps)),
        last,
        (alphas[-1], alphas[0]),
        f"each step of L1_coeff by itself; pruned after ten iterations at {said}",
        "of the weights, largest minus smallest L1_coeff",
    )


def _verdict(
    claim: str, word: str, rows: pd.DataFrame, sides: tuple, control: str, unit: str
) -> Verdict:
    a, b = sides
    return Verdict.from_pairs(
        claim,
        word,
        rows[rows.method.isin(sides)],
        between="method",
        a=a,
        b=b,
        pair_on=PAIR,
        control=f"{control}. A seed is one network of one data set",
        unit=unit,
    )


def _grade(full: bool, half: bool) -> str:
    return "reproduced" if full else "partly" if half else "not reproduced"


def _said(gap: PairedDifference) -> str:
    return f"{gap.mean:+.3f}, {gap.low:+.3f} to {gap.high:+.3f}"
