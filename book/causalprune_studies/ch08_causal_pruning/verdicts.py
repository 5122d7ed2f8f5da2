"""The claims of the chapter "Causal pruning", and what decides each of them.

The criteria stand here, before the full rows. When they were written, one network of Fashion-MNIST
had been seen: seed 0, 95% pruned, three epochs of post-training in batches of 512, where causal
came last. Post-training was made longer after that, alike for all: in batches of 64.

A pair is one network: a data set and a seed, so two data sets with three seeds give six. Accuracy
is that of the test set after the last epoch of post-training. "Ranking at allocation" says which
weights stay and whose threshold decided how many of each layer; one word stands for a ranking at
its own allocation. Where a ranking is judged at given counts, amounts at which the released rule
leaves a layer empty are left out: no ranking can do anything there. A claim is judged over the
networks that have every row it needs; where fewer than two have, it is "not tested here".

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from itertools import pairwise

import pandas as pd

from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch08_causal_pruning.tables import (
    PAIR,
    complete,
    curve_rows,
    difference,
    iterated_rows,
    mean_over,
    overlap_rows,
    with_columns,
    without_empty_layers,
)
from causalprune_studies.judge import Claim, draw_verdicts, grade, said

ALPHAS = (1e-15, 1e-14, 1e-13)  # of the runs that vary L1_coeff
AMOUNT = 0.95  # where one amount stands for all
BAND = 0.02  # two points of accuracy: no change that matters
FAIR = 0.2  # a chance-corrected agreement above this is called fair or better


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, with_columns(require_full(rows)))


def _beats_magnitude(sentence: str, rows: pd.DataFrame) -> Verdict:
    accuracy, same = curve_rows(rows), ("magnitude at causal", "random at causal")
    pruned = accuracy[accuracy.amount > 0]
    overall = complete(mean_over(pruned, "amount"), "causal", "magnitude", *same)
    fair = mean_over(without_empty_layers(rows, pruned), "amount")
    fair = complete(fair, "causal", *same)
    own = difference(overall, "causal", "magnitude")
    gaps = [difference(fair, "causal", b) for b in same]
    return _verdict(
        sentence,
        grade(own.low > 0 and all(gap.low > 0 for gap in gaps), own.low > 0),
        overall,
        ("causal", "magnitude"),
        f"at causal's counts per layer, magnitude ({said(gaps[0])}) and random weights "
        f"({said(gaps[1])}), causal minus control",
        "of accuracy, mean of 80, 90, 95 and 98% pruned",
    )


def _phase_shift(sentence: str, rows: pd.DataFrame) -> Verdict:
    accuracy, needed = curve_rows(rows), ("causal", "magnitude", "random at causal")
    at = accuracy[accuracy.amount.isin([AMOUNT, 0.98])]
    drop = mean_over(at.assign(value=at.value * at.amount.map({AMOUNT: 2, 0.98: -2})), "amount")
    drop = complete(drop, *needed)
    more = difference(drop, "causal", "magnitude")
    control = difference(drop, "causal", "random at causal")
    there = complete(accuracy[accuracy.amount == AMOUNT], *needed)
    there = difference(there, "causal", "magnitude")
    return _verdict(
        sentence,
        grade(more.low > 0 and control.low > 0 and there.mean >= 0, more.low > 0),
        drop,
        ("causal", "magnitude"),
        f"random weights at causal's counts fall too (causal minus random {said(control)}); at "
        f"95% causal minus magnitude is {said(there)}",
        "of accuracy, loss from 95% to 98% pruned, causal minus magnitude",
    )


def _finds_causes(sentence: str, rows: pd.DataFrame) -> Verdict:
    accuracy, others = curve_rows(rows), ("shuffled loss at causal", "random at causal")
    fair = mean_over(without_empty_layers(rows, accuracy[accuracy.amount > 0]), "amount")
    fair = complete(fair, "causal", *others)
    gaps = [difference(fair, "causal", b) for b in others]
    at = complete(accuracy[accuracy.amount == AMOUNT], "causal", "movement at causal")
    moved = difference(at, "causal", "movement at causal")
    return _verdict(
        sentence,
        grade(all(gap.low > 0 for gap in gaps), gaps[1].low > 0),
        fair,
        ("causal", "shuffled loss at causal"),
        f"the same steps with the changes of the loss in another order (above), random weights "
        f"({said(gaps[1])}) and, at 95%, movement alone ({said(moved)}), at the same counts",
        "of accuracy, causal minus shuffled",
    )


def _gains(sentence: str, rows: pd.DataFrame) -> Verdict:
    accuracy = curve_rows(rows)
    at = accuracy[accuracy.amount.isin([0, AMOUNT])]
    at = complete(at, "causal", "dense", "random at causal")
    gap = difference(at, "causal", "dense")
    random = difference(at, "random at causal", "dense")
    return _verdict(
        sentence,
        grade(gap.low > 0, gap.low <= 0 <= gap.high),
        at,
        ("causal", "dense"),
        f"random weights at the same counts minus dense: {said(random)}",
        "of accuracy at 95% pruned, causal minus dense",
    )


def _overlap(sentence: str, rows: pd.DataFrame) -> Verdict:
    found = overlap_rows(rows)
    found = found[found.amount_a == found.amount_b].assign(amount=lambda f: f.amount_a)
    found = mean_over(found.assign(method=found.metric).drop(columns="metric"), "amount")
    found = complete(found, "both_pruned", "expected_by_layer", "expected", "agreement")
    found = found.assign(metric="share of the weights")
    gap = difference(found, "both_pruned", "expected_by_layer")
    plain = difference(found, "both_pruned", "expected")
    agreement = found[found.method == "agreement"].value.mean()
    return _verdict(
        sentence,
        grade(gap.low > 0 and agreement >= FAIR, gap.low > 0),
        found,
        ("both_pruned", "expected_by_layer"),
        f"independent masks with the same counts per layer (above), and with the same amounts "
        f"({said(plain)}); chance-corrected agreement {agreement:.2f}",
        "of the weights are pruned by both beyond chance, mean of four equal amounts",
    )


def _iterated(sentence: str, rows: pd.DataFrame) -> Verdict:
    accuracy = iterated_rows(rows)
    last = accuracy[(accuracy.iteration == accuracy.n_iter) & accuracy.l1_coeff.isna()]
    others = ("magnitude", "random at causal", "shuffled loss")
    last = complete(last, "causal", *others)
    gaps = {b: difference(last, "causal", b) for b in others}
    controls = ", ".join(f"{b} ({said(gaps[b])})" for b in others[1:])
    return _verdict(
        sentence,
        grade(all(gap.low > 0 for gap in gaps.values()), gaps["magnitude"].low > 0),
        last,
        ("causal", "magnitude"),
        f"causal minus {controls}, at the same amount",
        "of accuracy at 95.99% pruned",
    )


def _robust(sentence: str, rows: pd.DataFrame) -> Verdict:
    accuracy = iterated_rows(rows)
    fixed = accuracy[(accuracy.method == "causal") & accuracy.l1_coeff.eq(1e-14)]
    short = fixed[fixed.prune_epochs == 2].assign(method=lambda f: f.iteration.astype(int))
    last = fixed[fixed.iteration == 10].assign(method=lambda f: f.prune_epochs.astype(int))
    short, last = complete(short, 10, 1), complete(last, 5, 2)
    by_iter, by_prune = difference(short, 10, 1), difference(last, 5, 2)
    gaps = (by_iter, by_prune)
    inside = [gap.low > -BAND and gap.high < BAND for gap in gaps]
    close = [abs(gap.mean) < BAND for gap in gaps]
    return _verdict(
        sentence,
        grade(all(inside), any(inside) or all(close)),
        short,
        (10, 1),
        f"N_prune 5 minus 2, after ten iterations: {said(by_prune)}",
        "of accuracy, ten iterations minus one",
    )


def _l1(sentence: str, rows: pd.DataFrame) -> Verdict:
    amounts = iterated_rows(rows, "amount_pruned")
    last = amounts[(amounts.iteration == amounts.n_iter) & (amounts.method == "causal")]
    last = last[(last.prune_epochs == 2) & last.l1_coeff.notna()]
    last = complete(last.assign(method=last.l1_coeff), *ALPHAS)
    gaps = [difference(last, b, a) for a, b in pairwise(ALPHAS)]
    means = last.groupby("l1_coeff").value.mean()
    said = ", ".join(f"{alpha:g}: {means[alpha]:.1%}" for alpha in ALPHAS)
    return _verdict(
        sentence,
        grade(all(gap.low > 0 for gap in gaps), all(gap.mean > 0 for gap in gaps)),
        last,
        (ALPHAS[-1], ALPHAS[0]),
        f"each step of L1_coeff by itself; pruned after ten iterations at {said}",
        "of the weights, largest minus smallest L1_coeff",
    )


def _verdict(
    sentence: str, word: str, rows: pd.DataFrame, sides: tuple, control: str, unit: str
) -> Verdict:
    a, b = sides
    networks = rows.groupby("dataset").seed.nunique()
    where = " and ".join(f"{n} of {dataset}" for dataset, n in networks.items())
    return Verdict.from_pairs(
        sentence,
        word,
        rows[rows.method.isin(sides)],
        between="method",
        a=a,
        b=b,
        pair_on=PAIR,
        control=f"{control}. A seed is one network: {where}",
        unit=unit,
    )


CLAIMS = (
    Claim(
        "beats magnitude",
        "Causal pruning is more accurate than magnitude pruning at the same amount (figure 1a).",
        "reproduced if, averaged over the amounts, causal is more accurate than magnitude, and at"
        " causal's counts per layer than magnitude and than random (three intervals above zero); "
        "partly if only than magnitude at its own counts",
        _beats_magnitude,
    ),
    Claim(
        "phase shift",
        "Accuracy falls more sharply with the amount than under magnitude pruning (figure 1a).",
        "reproduced if from 95% to 98% pruned causal loses more than magnitude and more than "
        "random at causal's counts (both intervals above zero), and is no less accurate than "
        "magnitude at 95% (mean); partly if it only loses more than magnitude",
        _phase_shift,
    ),
    Claim(
        "finds the causes",
        "The weights that are kept are those that cause the loss to change (sections 2 and 3).",
        "reproduced if causal is more accurate than the same ranking with the changes of the loss"
        " in another order, and than random, at causal's counts (both intervals above zero); "
        "partly if only than random",
        _finds_causes,
    ),
    Claim(
        "gains by pruning",
        "Removing the non-causal weights almost always improves the accuracy (section 1).",
        "reproduced if at 95% causal is more accurate than the dense network trained as long "
        "(interval above zero), partly if the interval holds zero",
        _gains,
    ),
    Claim(
        "masks overlap",
        "The masks of causal and magnitude pruning overlap decently (figure 1b).",
        "reproduced if causal and magnitude masks of equal amounts agree more than independent "
        "masks with their counts per layer (interval above zero) and the chance-corrected "
        "agreement is at least 0.2, partly if only more than independent masks",
        _overlap,
    ),
    Claim(
        "beats magnitude, iterated",
        "Iterated causal pruning is more accurate than iterated magnitude pruning (table 2).",
        "reproduced if, at 95.99% after ten iterations, causal is more accurate than magnitude, "
        "than random at causal's counts and than the iterated run with the changes of the loss in"
        " another order (three intervals above zero); partly if only than magnitude",
        _iterated,
    ),
    Claim(
        "robust to N_iter and N_prune",
        "Accuracy is robust to N_iter and N_prune (section 4.1, figure 2).",
        "reproduced if accuracy after ten iterations differs from that after one, and that of "
        "N_prune 5 from that of 2, by less than two points (both intervals inside), partly if "
        "both means do or one interval does",
        _robust,
    ),
    Claim(
        "L1_coeff decides the amount",
        "As L1_coeff increases, the percentage pruned increases (section 4.1, figure 2).",
        "reproduced if each larger L1_coeff prunes more (every interval above zero), partly if "
        "every mean does",
        _l1,
    ),
)
