"""The claims of the chapter "LEGCNet", and what decides each of them.

The criteria stand here, before the rows: `CLAIMS` for the main study, `CHANGES_CLAIMS` for the
specs that change something, `MNIST_CLAIMS` for the images. A pair is one initial network of one
table, so six tables with ten trials give sixty. A network that never reaches the paper's benchmark
counts as having taken all the epochs it may take.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch05_legcnet.changes import (
    CELL,
    PAIR,
    ablation_table,
    gap_between,
    network_labels,
    setting_names,
    study,
)
from causalprune_studies.ch05_legcnet.tables import as_tested, mnist_network
from causalprune_studies.judge import Claim, draw_verdicts, from_gap, grade, said

MARGIN = 0.01  # one point of accuracy
N_SETTINGS = 36  # two rules, two orientations, the base and eight changes
SEEDS = "A seed is one initial network of one dataset"


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, as_tested(require_full(rows)))


def changes_verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `CHANGES_CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CHANGES_CLAIMS, require_full(rows))


def mnist_verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `MNIST_CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(MNIST_CLAIMS, require_full(rows))


# The main study; rows as from `as_tested`.


def _keeps_accuracy(sentence: str, rows: pd.DataFrame) -> Verdict:
    full, masks = _variant(rows, "FT"), ("legcnet", "dense")
    gap = gap_between(full, "accuracy", *masks)
    word = grade(gap.low > -MARGIN, gap.mean > -MARGIN)
    control = f"the dense network from the same initial weights. {SEEDS}"
    unit = "of accuracy, masked minus dense"
    return _from_masks(sentence, word, full, "accuracy", masks, control, unit)


def _converges_faster(sentence: str, rows: pd.DataFrame) -> Verdict:
    full = _variant(rows, "FT")
    dense, random = (gap_between(full, "epochs", "legcnet", b) for b in ("dense", "random"))
    fewer = dense.high < 0
    control = (
        f"the dense network ({said(dense)}) and random masks with the same counts ({said(random)})"
        f". {SEEDS}"
    )
    return _from_masks(
        sentence,
        grade(fewer and random.high < 0, fewer),
        full,
        "epochs",
        ("legcnet", "random" if fewer else "dense"),
        control,
        "of the epochs allowed",
    )


def _beats_the_baselines(sentence: str, rows: pd.DataFrame) -> Verdict:
    random, size = (
        gap_between(rows, "accuracy", "legcnet", b, pair=CELL) for b in ("random", "magnitude")
    )
    above = [gap.low > 0 for gap in (random, size)]
    control = (
        f"random masks with the same counts (above): {random.improvement:.0%} of the pairs are "
        f"won, ties counted half; magnitude at the same counts ({said(size)}). {SEEDS}, FT and PT "
        "apart"
    )
    unit, masks = "of accuracy, LEGCNet minus random", ("legcnet", "random")
    word = grade(all(above), any(above))
    return _from_masks(sentence, word, rows, "accuracy", masks, control, unit, pair=CELL)


def _partial_training_suffices(sentence: str, rows: pd.DataFrame) -> Verdict:
    own = rows[rows["mask"] == "legcnet"]
    accuracy = own[own.metric == "accuracy"]
    part = paired_difference(accuracy, between="variant", a="PT", b="FT", pair_on=PAIR)
    reached = own[own.metric == "reached"].groupby("variant").value.mean()
    as_often, not_lower = bool(reached["PT"] >= reached["FT"] - 0.05), part.low > -MARGIN
    return Verdict.from_pairs(
        sentence,
        grade(not_lower and as_often, not_lower or as_often),
        accuracy,
        between="variant",
        a="PT",
        b="FT",
        pair_on=PAIR,
        control=f"the same networks under their FT masks; the benchmark is reached by "
        f"{reached['PT']:.0%} (PT) and {reached['FT']:.0%} (FT) of them. {SEEDS}",
        unit="of accuracy, PT minus FT",
    )


def _own_causes(sentence: str, rows: pd.DataFrame) -> Verdict:
    full, masks = _variant(rows, "FT"), ("legcnet", "another trial")
    other, noise = (gap_between(full, "causal", "legcnet", b) for b in (masks[1], "noise"))
    word = grade(other.low > 0 and noise.low > 0, noise.low > 0)
    control = f"the exponents of another trial (above), and noise ({said(noise)}). {SEEDS}"
    unit = "of the weights, own minus another trial's"
    return _from_masks(sentence, word, full, "causal", masks, control, unit)


def _variant(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    return rows[rows.variant == variant]


def _from_masks(
    sentence: str,
    word: str,
    rows: pd.DataFrame,
    metric: str,
    masks: tuple[str, str],
    control: str,
    unit: str,
    *,
    pair: Sequence[str] = PAIR,
) -> Verdict:
    """A verdict on the first mask minus the second, in one metric."""
    rows, (a, b) = rows[(rows.metric == metric) & rows["mask"].isin(masks)], masks
    how = {"between": "mask", "a": a, "b": b, "pair_on": pair}
    return Verdict.from_pairs(sentence, word, rows, control=control, unit=unit, **how)


CLAIMS = (
    Claim(
        "keeps accuracy",
        "Pruning by LEGCNet-FT keeps the accuracy of the dense network (section 5).",
        "reproduced if the interval of masked minus dense accuracy lies above minus one point, "
        "partly if only the mean does",
        _keeps_accuracy,
    ),
    Claim(
        "converges faster",
        "LEGCNet-FT converges in significantly fewer epochs (section 5).",
        "reproduced if the masked network needs fewer epochs than the dense one and than random "
        "masks with the same counts (both intervals below zero), partly if only than the dense one",
        _converges_faster,
    ),
    Claim(
        "beats the baselines",
        "LEGCNet is superior to random and magnitude pruning (section 6).",
        "reproduced if its accuracy is above that of random and of magnitude masks with the same "
        "counts (both intervals above zero), partly if above one of them",
        _beats_the_baselines,
    ),
    Claim(
        "partial training suffices",
        "LEGCNet-PT performs at par with LEGCNet-FT (table 2).",
        "reproduced if the interval of PT minus FT accuracy lies above minus one point and PT "
        "reaches the benchmark as often, up to one case in twenty; partly if only one holds",
        _partial_training_suffices,
    ),
    Claim(
        "causes are the network's own",
        "The weights that are kept are those that cause the error (sections 2.2, 3.6).",
        "reproduced if more weights are called causal by the network's own exponents than by "
        "another trial's and than by noise, partly if only than by noise",
        _own_causes,
    ),
)


# What was changed.


def _mask_of_the_network(sentence: str, rows: pd.DataFrame) -> Verdict:
    tested = study(rows, "LEGCNetAblation")
    tested = tested.assign(changed=setting_names(tested))
    overlap = tested[
        (tested.rule == "as released")
        & tested.metric.isin(["jaccard", "jaccard_chance"])
        & tested.changed.str.contains("window|overlap")
        & tested.value.notna()
    ]
    means = overlap.groupby([*PAIR, "metric"]).value.mean().rename("mean").reset_index()
    one_each = overlap.drop_duplicates([*PAIR, "metric"]).merge(means, on=[*PAIR, "metric"])
    frame = one_each.assign(value=one_each["mean"], of=one_each.metric, metric="overlap")
    with_base = summarise(frame[frame.of == "jaccard"].assign(seed=network_labels), "of").iloc[0]
    how = {"between": "of", "a": "jaccard", "b": "jaccard_chance", "pair_on": PAIR}
    return Verdict.from_pairs(
        sentence,
        grade(with_base.low > 0.5, paired_difference(frame, **how).low > 0),
        frame,
        control="random masks with the same counts, whose overlap is subtracted; the overlap "
        f"itself is {with_base['mean']:.2f} ({with_base.low:.2f} to {with_base.high:.2f}). "
        "A seed is one network",
        unit="of overlap above chance",
        **how,
    )


def _some_setting(sentence: str, rows: pd.DataFrame) -> Verdict:
    table = ablation_table(rows, level=1 - 0.05 / N_SETTINGS)
    better = table[table.low > 0]
    non_causal = table[table.orientation == "prune non-causal"]
    best = non_causal.loc[non_causal.low.idxmax()]
    tested = study(rows, "LEGCNetAblation")
    tested = tested.assign(changed=setting_names(tested))
    for name in ("rule", "orientation", "changed"):
        tested = tested[tested[name] == best[name]]
    return _from_masks(
        sentence,
        grade(*(name in set(better.orientation) for name in ("prune non-causal", "prune causal"))),
        tested,
        "accuracy",
        ("legcnet", "random"),
        "random masks with the same counts. Shown is the setting whose corrected interval lies "
        f"highest ({best.rule}, changed: {best.changed}; {best.low:+.3f} to {best.high:+.3f}); "
        f"{len(better)} of {len(table)} corrected intervals lie above zero. A seed is one network",
        "of accuracy, LEGCNet minus random",
    )


def _keeps_accuracy_scaled(sentence: str, rows: pd.DataFrame) -> Verdict:
    rows, masks = _scaled(rows), ("legcnet", "dense")
    dense = gap_between(rows, "accuracy", *masks, pair=CELL)
    word = grade(dense.low > -MARGIN, dense.mean > -MARGIN)
    control = (
        "the dense network from the same initial weights. A seed is one network, FT and PT apart"
    )
    unit = "of accuracy, LEGCNet minus dense"
    return _from_masks(sentence, word, rows, "accuracy", masks, control, unit, pair=CELL)


def _beats_the_baselines_scaled(sentence: str, rows: pd.DataFrame) -> Verdict:
    rows, masks = _scaled(rows), ("legcnet", "random")
    random, size = (
        gap_between(rows, "accuracy", "legcnet", b, pair=CELL) for b in ("random", "magnitude")
    )
    word = grade(random.low > 0 and size.low > 0, random.low > 0 or size.low > 0)
    control = (
        "random masks with the same counts (above), and magnitude at the same counts "
        f"({said(size)}). A seed is one network, FT and PT apart"
    )
    unit = "of accuracy, LEGCNet minus random"
    return _from_masks(sentence, word, rows, "accuracy", masks, control, unit, pair=CELL)


def _scaled(rows: pd.DataFrame) -> pd.DataFrame:
    rows = study(rows, "LEGCNetScaled")
    return rows[rows.scaling == "standard"]


def _twins_beat_random(sentence: str, rows: pd.DataFrame) -> Verdict:
    rows, masks = study(rows, "LEGCNetTwins"), ("legcnet", "random")
    rows = rows[rows.rule == "as released"]
    routes = {name: rows[rows.route == name] for name in ("own twin", "first twin", "growth")}
    gains = {name: gap_between(some, "accuracy", *masks) for name, some in routes.items()}
    others = "; ".join(f"{r}: {said(g)}" for r, g in gains.items() if r != "own twin")
    word = grade(gains["own twin"].low > 0, any(g.low > 0 for g in gains.values()))
    control = f"random masks with the same counts (above; {others}). A seed is one network"
    unit = "of accuracy, LEGCNet minus random"
    return _from_masks(sentence, word, routes["own twin"], "accuracy", masks, control, unit)


def _twins_find_causes(sentence: str, rows: pd.DataFrame) -> Verdict:
    rows, masks = study(rows, "LEGCNetTwins"), ("legcnet", "another trial")
    rows = rows[rows.route == "own twin"]
    parts = [rows[rows.rule == rule] for rule in ("as released", "corrected")]
    released, corrected = (gap_between(part, "causal", *masks) for part in parts)
    above = [gap.low > 0 for gap in (released, corrected)]
    control = (
        "the twins of another trial, under the released rule (above) and the corrected one "
        f"({said(corrected)}). A seed is one network"
    )
    unit, word = "of the weights, own minus another trial's", grade(all(above), any(above))
    return _from_masks(sentence, word, parts[0], "causal", masks, control, unit)


CHANGES_CLAIMS = (
    Claim(
        "the mask is the network's",
        "The pruned weights are those of the network that do not cause its error (section 3.6), "
        "whatever the window.",
        "reproduced if, with other windows or another overlap, the overlap (Jaccard) of the pruned "
        "weights with those of the table's own setting is above one half (whole interval), partly "
        "if it is above that of random masks with the same counts",
        _mask_of_the_network,
    ),
    Claim(
        "some setting beats random masks",
        "LEGCNet is superior to random pruning (section 6), at least with other settings.",
        "reproduced if, pruning what is not causal, at least one of the settings has an accuracy "
        f"above that of its random masks (interval corrected for {N_SETTINGS} settings above "
        "zero), partly if only pruning what is causal does",
        _some_setting,
    ),
    Claim(
        "keeps accuracy, scaled",
        "Pruning by LEGCNet keeps the accuracy of the dense network (section 5), on standardised "
        "features.",
        "reproduced if the interval of masked minus dense accuracy lies above minus one point, "
        "partly if only the mean does",
        _keeps_accuracy_scaled,
    ),
    Claim(
        "beats the baselines, scaled",
        "LEGCNet is superior to random and magnitude pruning (section 6), on standardised "
        "features.",
        "reproduced if its accuracy is above that of random and of magnitude masks with the same "
        "counts (both intervals above zero), partly if above one of them",
        _beats_the_baselines_scaled,
    ),
    Claim(
        "twins beat random masks",
        "LEGCNet is superior to random pruning (section 6), with the exponents of twins that "
        "section 3.4 describes.",
        "reproduced if, with one twin for each weight and the released rule, the accuracy is above "
        "that of random masks with the same counts (interval above zero), partly if only by "
        "another of the twin routes",
        _twins_beat_random,
    ),
    Claim(
        "twins find the network's own causes",
        "The weights that are kept are those that cause the error (sections 2.2, 3.6), with the "
        "exponents of twins.",
        "reproduced if, with one twin for each weight, more weights are called causal by the "
        "network's own twins than by another trial's under both rules (intervals above zero), "
        "partly if under one of them",
        _twins_find_causes,
    ),
)


# Images.


def _mnist_keeps_accuracy(sentence: str, rows: pd.DataFrame) -> Verdict:
    dense, random = (_mnist_gap(rows, b) for b in ("dense", "random, FT's counts"))
    word = grade(dense.low > -MARGIN, dense.mean > -MARGIN)
    control = (
        "random masks with the same counts in every layer; FT minus those: "
        f"{random.mean:+.4f} ({random.low:+.4f} to {random.high:+.4f})"
    )
    return from_gap(sentence, word, dense, control, "of accuracy, FT minus dense")


def _mnist_beats_random(sentence: str, rows: pd.DataFrame) -> Verdict:
    random = _mnist_gap(rows, "random, FT's counts")
    control = "the random masks themselves, five for each seed"
    word = grade(random.low > 0, random.mean > 0)
    return from_gap(sentence, word, random, control, "of accuracy, FT minus random")


def _mnist_own_causes(sentence: str, rows: pd.DataFrame) -> Verdict:
    rows = rows[(rows.variant == "FT") & (rows.reading == "as released")]
    other, shuffled = (
        gap_between(rows, "causal", "legcnet", b, pair=["seed"])
        for b in ("another seed", "shuffled")
    )
    control = (
        "exponents of another network; against the network's own, shuffled in time: "
        f"{shuffled.mean:+.4f} ({shuffled.low:+.4f} to {shuffled.high:+.4f})"
    )
    word = grade(other.low > 0 and shuffled.low > 0, shuffled.low > 0)
    return from_gap(sentence, word, other, control, "of the weights, own minus another seed's")


def _mnist_gap(rows: pd.DataFrame, b: str) -> PairedDifference:
    """Accuracy of FT minus that of another network of `MNIST`, over seeds."""
    accuracy = rows[rows.metric == "accuracy"]
    parts = [mnist_network(accuracy, name).assign(network=name) for name in ("FT", b)]
    return paired_difference(pd.concat(parts), between="network", a="FT", b=b)


MNIST_CLAIMS = (
    Claim(
        "MNIST: keeps accuracy",
        "LEGCNet-FT keeps the dense network's accuracy on MNIST (table 1).",
        "reproduced if the interval of FT minus dense accuracy lies above minus one point, partly "
        "if only the mean does",
        _mnist_keeps_accuracy,
    ),
    Claim(
        "MNIST: beats random masks",
        "LEGCNet-FT is better than random pruning on MNIST (table 3).",
        "reproduced if FT is more accurate than random masks with the same counts in every layer "
        "(interval above zero), partly if the mean is",
        _mnist_beats_random,
    ),
    Claim(
        "MNIST: causes are the network's own",
        "The Granger test tells the weights that cause this network's error (section 3).",
        "reproduced if more weights are called causal by the network's own exponents than by those "
        "of another seed and than by its own shuffled in time (both intervals above zero), partly "
        "if only than by the shuffled ones",
        _mnist_own_causes,
    ),
)
