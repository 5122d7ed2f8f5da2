"""Verdicts of the further LEGCNet studies: settings, placebos, scaling, twins.

The criteria stand here, before the rows: see `CRITERIA`, and `MATTERS` in the tables. When they
were written one trial of each table had been looked at, while the code was made; no full row had.
A network is one published set of initial weights of one table: six tables with five trials are
thirty.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.intervals import summarise
from causalprune_lib.evidence.pairs import paired_difference
from causalprune_lib.evidence.studies.legcnet.further_tables import (
    PAIR,
    ablation_table,
    gap_between,
    network_labels,
    setting_names,
    study,
)
from causalprune_lib.evidence.studies.legcnet.verdicts import MARGIN, grade, said
from causalprune_lib.evidence.verdicts import Verdict, require_full

N_SETTINGS = 36  # two rules, two orientations, the base and eight changes
CRITERIA = {
    "the mask is the network's": "reproduced if, with other windows or another overlap, the "
    "overlap (Jaccard) of the pruned weights with those of the table's own setting is above one "
    "half (whole interval), partly if it is above that of random masks with the same counts",
    "some setting beats random masks": "reproduced if, pruning what is not causal, at least one of "
    f"the settings has an accuracy above that of its random masks (interval corrected for "
    f"{N_SETTINGS} settings above zero), partly if only pruning what is causal does",
    "keeps accuracy, scaled": "reproduced if the interval of masked minus dense accuracy lies "
    "above minus one point, partly if only the mean does",
    "beats the baselines, scaled": "reproduced if its accuracy is above that of random and of "
    "magnitude masks with the same counts (both intervals above zero), partly if above one of them",
    "twins beat random masks": "reproduced if, with one twin for each weight and the released "
    "rule, the accuracy is above that of random masks with the same counts (interval above zero), "
    "partly if only by another of the twin routes",
    "twins find the network's own causes": "reproduced if, with one twin for each weight, more "
    "weights are called causal by the network's own twins than by another trial's under both "
    "rules (intervals above zero), partly if under one of them",
}


def further_verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each claim, by `CRITERIA`.

    Raises
    ------
    ValueError
        If `rows` does not pass `require_full`.
    """
    rows = require_full(rows)
    return {
        **_setting_verdicts(rows),
        **_scaled_verdicts(rows),
        **_twin_verdicts(rows),
    }


def _setting_verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    tested = study(rows, "LEGCNetAblation")
    tested = tested.assign(changed=setting_names(tested))
    overlap = tested[
        (tested.rule == "as released")
        & tested.metric.isin(["jaccard", "jaccard_chance"])
        & tested.changed.str.contains("window|overlap")
    ]
    kept = overlap[~overlap.value.isna()]
    both = kept.groupby([*PAIR, "metric"]).value.mean().rename("mean").reset_index()
    one_each = kept.drop_duplicates([*PAIR, "metric"]).merge(both, on=[*PAIR, "metric"])
    frame = one_each.assign(value=one_each["mean"], of=one_each.metric, metric="overlap")
    with_base = summarise(frame[frame.of == "jaccard"].assign(seed=network_labels), "of").iloc[0]
    gap = paired_difference(frame, between="of", a="jaccard", b="jaccard_chance", pair_on=PAIR)
    table = ablation_table(rows, level=1 - 0.05 / N_SETTINGS)
    better = table[table.low > 0]
    non_causal = table[table.orientation == "prune non-causal"]
    best = non_causal.loc[(non_causal.low).idxmax()]
    chosen = tested[
        (tested.rule == best.rule)
        & (tested.orientation == best.orientation)
        & (tested.changed == best.changed)
        & (tested.metric == "accuracy")
    ]
    return {
        "the mask is the network's": Verdict.from_pairs(
            "The pruned weights are those of the network that do not cause its error (section "
            "3.6), whatever the window.",
            grade(with_base.low > 0.5, gap.low > 0),
            frame,
            between="of",
            a="jaccard",
            b="jaccard_chance",
            pair_on=PAIR,
            control="random masks with the same counts, whose overlap is subtracted; the overlap "
            f"itself is {with_base['mean']:.2f} ({with_base.low:.2f} to {with_base.high:.2f}). "
            "A seed is one network",
            unit="of overlap above chance",
        ),
        "some setting beats random masks": Verdict.from_pairs(
            "LEGCNet is superior to random pruning (section 6), at least with other settings.",
            grade(
                "prune non-causal" in set(better.orientation),
                "prune causal" in set(better.orientation),
            ),
            chosen,
            between="mask",
            a="legcnet",
            b="random",
            pair_on=PAIR,
            control="random masks with the same counts. Shown is the setting whose corrected "
            f"interval lies highest ({best.rule}, changed: {best.changed}; {best.low:+.3f} to "
            f"{best.high:+.3f}); {len(better)} of {len(table)} corrected intervals lie above "
            "zero. A seed is one network",
            unit="of accuracy, LEGCNet minus random",
        ),
    }


def _scaled_verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    rows = study(rows, "LEGCNetScaled")
    rows = rows[rows.scaling == "standard"]
    cell = ["dataset", "variant", "seed"]
    dense, like, size = (
        gap_between(rows, "accuracy", "legcnet", b, pair=cell)
        for b in ("dense", "random", "magnitude")
    )
    unit = "of accuracy, LEGCNet minus {}"
    seeds = "A seed is one network, FT and PT apart"
    accuracy = rows[rows.metric == "accuracy"]
    options = {"between": "mask", "a": "legcnet", "pair_on": cell}
    return {
        "keeps accuracy, scaled": Verdict.from_pairs(
            "Pruning by LEGCNet keeps the accuracy of the dense network (section 5), on "
            "standardised features.",
            grade(dense.low > -MARGIN, dense.mean > -MARGIN),
            accuracy[accuracy["mask"].isin(["legcnet", "dense"])],
            b="dense",
            control=f"the dense network from the same initial weights. {seeds}",
            unit=unit.format("dense"),
            **options,
        ),
        "beats the baselines, scaled": Verdict.from_pairs(
            "LEGCNet is superior to random and magnitude pruning (section 6), on standardised "
            "features.",
            grade(like.low > 0 and size.low > 0, like.low > 0 or size.low > 0),
            accuracy[accuracy["mask"].isin(["legcnet", "random"])],
            b="random",
            control="random masks with the same counts (above), and magnitude at the same counts "
            f"({said(size)}). {seeds}",
            unit=unit.format("random"),
            **options,
        ),
    }


def _twin_verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    rows = study(rows, "LEGCNetTwins")
    released = rows[rows.rule == "as released"]
    gains = {
        route: gap_between(released[released.route == route], "accuracy", "legcnet", "random")
        for route in ("own twin", "first twin", "growth")
    }
    twin = rows[rows.route == "own twin"]
    own = {
        rule: gap_between(twin[twin.rule == rule], "causal", "legcnet", "another trial")
        for rule in ("as released", "corrected")
    }
    above = [gap.low > 0 for gap in own.values()]
    others = "; ".join(f"{r}: {said(g)}" for r, g in gains.items() if r != "own twin")

    def rows_of(metric: str, masks: list[str]) -> pd.DataFrame:
        some = twin[(twin.rule == "as released") & (twin.metric == metric)]
        return some[some["mask"].isin(masks)]

    return {
        "twins beat random masks": Verdict.from_pairs(
            "LEGCNet is superior to random pruning (section 6), with the exponents of twins that "
            "section 3.4 describes.",
            grade(gains["own twin"].low > 0, any(g.low > 0 for g in gains.values())),
            rows_of("accuracy", ["legcnet", "random"]),
            between="mask",
            a="legcnet",
            b="random",
            pair_on=PAIR,
            control=f"random masks with the same counts (above; {others}). A seed is one network",
            unit="of accuracy, LEGCNet minus random",
        ),
        "twins find the network's own causes": Verdict.from_pairs(
            "The weights that are kept are those that cause the error (sections 2.2, 3.6), with "
            "the exponents of twins.",
            grade(all(above), any(above)),
            rows_of("causal", ["legcnet", "another trial"]),
            between="mask",
            a="legcnet",
            b="another trial",
            pair_on=PAIR,
            control="the twins of another trial, under the released rule (above) and the corrected "
            f"one ({said(own['corrected'])}). A seed is one network",
            unit="of the weights, own minus another trial's",
        ),
    }
