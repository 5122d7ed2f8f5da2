"""Tables and verdicts of the chapter "LEGCNet", from the rows of `LEGCNetTrial`.

The criteria stand here, before the rows: see `CRITERIA`. A pair is one initial network of one
dataset, so six datasets with ten trials give sixty. A network that never reaches the paper's
benchmark counts as having taken all the epochs it may take.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch05_legcnet.tables import (
    PAIR,
    ablation_table,
    gap_between,
    network_labels,
    setting_names,
    study,
)
from causalprune_studies.judge import grade, said
from causalprune_studies.paper_networks.masks import published_trial
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS
from causalprune_studies.tables import published

# ---- verdicts: Tables and verdicts of the chapter "LEGCNet", from the rows of `LEGCNetTrial`.


MARGIN = 0.01  # one point of accuracy


CELL = ["dataset", "variant", "seed"]


TRIAL_PAIR = ["dataset", "seed"]


CRITERIA = {
    "keeps accuracy": "reproduced if the interval of masked minus dense accuracy lies above minus "
    "one point, partly if only the mean does",
    "converges faster": "reproduced if the masked network needs fewer epochs than the dense one "
    "and than random masks with the same counts (both intervals below zero), partly if only than "
    "the dense one",
    "beats the baselines": "reproduced if its accuracy is above that of random and of magnitude "
    "masks with the same counts (both intervals above zero), partly if above one of them",
    "partial training suffices": "reproduced if the interval of PT minus FT accuracy lies above "
    "minus one point and PT reaches the benchmark as often, up to one case in twenty; partly if "
    "only one holds",
    "causes are the network's own": "reproduced if more weights are called causal by the network's "
    "own exponents than by another trial's and than by noise, partly if only than by noise",
}


_PT_EPOCHS, _PT_F1 = "Epochs (SN) LEGCNet-PT", "F1-score (SN) LEGCNet-PT"


COLUMNS = {  # variant -> metric -> (table, column)
    "DN": {
        "n_kept": ("legcnet_table1", "Flops - DN"),
        "epochs": ("legcnet_table1", "Epochs DN"),
        "accuracy": ("legcnet_table1", "Accuracy DN"),
        "f1": ("legcnet_table1", "F1-score DN"),
    },
    "FT": {
        "n_kept": ("legcnet_table1", "Flops - LEGCNet-FT"),
        "epochs": ("legcnet_table1", "Epochs LEGCNet-FT"),
        "accuracy": ("legcnet_table1", "Accuracy LEGCNet-FT"),
        "f1": ("legcnet_table1", "F1-score LEGCNet-FT"),
    },
    "PT": {
        "n_kept": ("legcnet_table2", "Flops (SN) - LEGCNet-PT"),
        "epochs": ("legcnet_table2", _PT_EPOCHS),
        "accuracy": ("legcnet_table2", "Accuracy (SN) LEGCNet-PT"),
        "f1": ("legcnet_table2", _PT_F1),
    },
}


def as_tested(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `reading` "as tested": the released mask, or the ranking where it is empty.

    Cells whose released mask prunes nothing have a reading "ranked"; there it takes the place of
    "as released". Epochs become a share of the epochs allowed, and never is 1.
    """
    found = _tested(rows)
    dense = rows[(rows.reading == "none") & (rows.scaling == "as released")]
    corrected = rows[rows.reading == "corrected ranking"].assign(reading="as tested")
    corrected = corrected.assign(mask="corrected ranking")
    found = pd.concat([found, dense.assign(reading="as tested"), corrected], ignore_index=True)
    most = found.dataset.map({name: s.max_epochs for name, s in LEGCNET_SETTINGS.items()})
    place = [*CELL, "reading", "mask", "scaling"]
    reached = found[found.metric == "reached"].set_index(place).value
    reached = found[place].merge(reached.rename("share"), on=place, how="left").share.to_numpy()
    share = reached * ((found.value + 1) / most).fillna(1.0) + 1 - reached  # counted from 0
    return found.assign(value=found.value.where(found.metric != "epochs", share))


def _tested(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the released reading, or of "ranked" where it prunes nothing, "as tested"."""
    empty = rows[(rows.reading == "ranked") & (rows["mask"] == "legcnet")][CELL].drop_duplicates()
    ranked = rows.merge(empty.assign(ranked=True), on=CELL, how="left").ranked.eq(True).to_numpy()
    said = (rows["mask"] == "legcnet") & rows.metric.isin(["causal", "untestable"])
    base = (rows.reading == "ranked") | ((rows.reading == "as released") & (~ranked | said))
    return rows[base].assign(reading="as tested")


def difference(
    rows: pd.DataFrame, metric: str, a: str, b: str, *, variant: str | None = None
) -> PairedDifference:
    """Mask `a` minus mask `b`, over initial networks; `rows` as from `as_tested`."""
    chosen = _of(rows, metric, [a, b], variant)
    pair = TRIAL_PAIR if variant else CELL
    return paired_difference(chosen, between="mask", a=a, b=b, pair_on=pair)


def win_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of random masks at the same counts that each reading's mask beats; 0.5 is chance.

    Columns `reading`, `variant`, `metric`, and those of `summarise`: for each trial number the
    mean over the datasets, then mean and t interval over trials. `masks` counts the cells.
    """
    chosen = rows[(rows["mask"] == "legcnet") & rows.metric.str.startswith("beats_")]
    chosen = chosen[chosen.value.notna()].assign(metric=chosen.metric.str.removeprefix("beats_"))
    by = ["reading", "variant", "metric"]
    trials = chosen.groupby([*by, "seed"], sort=False, as_index=False).value.mean()
    counts = chosen.groupby(by, sort=False).size().rename("masks").reset_index()
    return summarise(trials, by).merge(counts, on=by)


def causal_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of the weights called causal, by exponents, for both rules; as from `summarise`."""
    wanted = ["legcnet", "another trial", "shuffled", "noise"]
    chosen = rows[rows["mask"].isin(wanted) & (rows.metric == "causal")]
    chosen = chosen[chosen.reading.isin(["as released", "ranked", "corrected"])]
    chosen = chosen.assign(reading=chosen.reading.replace("ranked", "as released"))
    chosen = chosen.assign(exponents=chosen["mask"].replace("legcnet", "its own"))
    by = ["reading", "variant", "exponents"]
    trials = chosen.groupby([*by, "seed"], sort=False, as_index=False).value.mean()
    return summarise(trials, by)


def paper_table(
    rows: pd.DataFrame, variant: str, *, metrics=("n_kept", "epochs", "accuracy", "f1")
):
    """One row per dataset and metric: published, the same trial re-run, and all trials.

    Columns: `published`; `same trial` (the trial that the table prints, NaN where none gives its
    row); `dense`, `as released`, `corrected ranking`, `random`, `magnitude` (means over all trials;
    epochs over those that reached the benchmark); `reached` (share of the trials whose released
    mask reached the benchmark).
    """
    check_choice("variant", variant, ("FT", "PT"))
    rows = pd.concat([rows, _tested(rows)], ignore_index=True)
    rows = rows[rows.variant == variant]
    base, table = "as tested", []
    for dataset in rows.dataset.unique():
        some = rows[(rows.dataset == dataset) & (rows.scaling == "as released")]
        trial = published_trial(dataset, column=f"LEGCNet-{variant}")
        for metric in metrics:
            name, column = COLUMNS[variant][metric]
            paper = published(name)
            cell = paper[(paper.row == dataset) & (paper.column == column)].value

            def mean(reading, mask, metric=metric, some=some, trial=None):
                kind, n = metric, LEGCNET_SETTINGS[some.dataset.iloc[0]].n_weights
                if metric == "n_kept":
                    kind = "n_pruned"
                    if mask == "dense":
                        return n
                    if mask != "legcnet":  # the same counts
                        mask = "legcnet"
                rows = some[(some.reading == reading) & (some["mask"] == mask)]
                rows = rows[rows.metric == kind]
                if trial is not None:
                    rows = rows[rows.seed == trial - 1]
                value = rows.value.mean()
                return n - value if metric == "n_kept" else value

            table.append(
                {
                    "dataset": dataset,
                    "metric": metric,
                    "published": cell.iloc[0] if len(cell) else float("nan"),
                    "same trial": mean(base, "legcnet", trial=trial) if trial else float("nan"),
                    "dense": mean("none", "dense"),
                    "as released": mean(base, "legcnet"),
                    "corrected ranking": mean("corrected ranking", "legcnet"),
                    "random": mean(base, "random"),
                    "magnitude": mean(base, "magnitude"),
                }
            )
    return pd.DataFrame(table).set_index(["dataset", "metric"])


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each claim, by `CRITERIA`.

    Raises
    ------
    ValueError
        If `rows` does not pass `require_full`.
    """
    rows = as_tested(require_full(rows))
    gap = difference(rows, "accuracy", "legcnet", "dense", variant="FT")
    fewer = difference(rows, "epochs", "legcnet", "dense", variant="FT")
    than_random = difference(rows, "epochs", "legcnet", "random", variant="FT")
    better = [difference(rows, "accuracy", "legcnet", b) for b in ("random", "magnitude")]
    partial = rows[(rows["mask"] == "legcnet") & (rows.metric == "accuracy")]
    part = paired_difference(partial, between="variant", a="PT", b="FT", pair_on=TRIAL_PAIR)
    reached = rows[(rows["mask"] == "legcnet") & (rows.metric == "reached")]
    reached = reached.groupby("variant").value.mean()
    own = [
        difference(rows, "causal", "legcnet", b, variant="FT") for b in ("another trial", "noise")
    ]
    as_often = bool(reached["PT"] >= reached["FT"] - 0.05)
    not_lower = part.low > -MARGIN
    words = {
        "keeps accuracy": grade(gap.low > -MARGIN, gap.mean > -MARGIN),
        "converges faster": grade(fewer.high < 0 and than_random.high < 0, fewer.high < 0),
        "beats the baselines": grade(
            all(d.low > 0 for d in better), any(d.low > 0 for d in better)
        ),
        "partial training suffices": grade(not_lower and as_often, not_lower or as_often),
        "causes are the network's own": grade(all(d.low > 0 for d in own), own[1].low > 0),
    }
    seeds = "A seed is one initial network of one dataset"
    claims = {  # what -> claim, metric, masks, variant, control, unit
        "keeps accuracy": (
            "Pruning by LEGCNet-FT keeps the accuracy of the dense network (section 5).",
            ("accuracy", ["legcnet", "dense"], "FT"),
            f"the dense network from the same initial weights. {seeds}",
            "of accuracy, masked minus dense",
        ),
        "converges faster": (
            "LEGCNet-FT converges in significantly fewer epochs (section 5).",
            ("epochs", ["legcnet", "random" if fewer.high < 0 else "dense"], "FT"),
            f"the dense network ({said(fewer)}) and random masks with the same counts "
            f"({said(than_random)}). {seeds}",
            "of the epochs allowed",
        ),
        "beats the baselines": (
            "LEGCNet is superior to random and magnitude pruning (section 6).",
            ("accuracy", ["legcnet", "random"], None),
            f"random masks with the same counts (above): {better[0].improvement:.0%} of the pairs "
            f"are won, ties counted half; magnitude at the same counts ({said(better[1])}). "
            f"{seeds}, FT and PT apart",
            "of accuracy, LEGCNet minus random",
        ),
        "causes are the network's own": (
            "The weights that are kept are those that cause the error (sections 2.2, 3.6).",
            ("causal", ["legcnet", "another trial"], "FT"),
            f"the exponents of another trial (above), and noise ({said(own[1])}). {seeds}",
            "of the weights, own minus another trial's",
        ),
    }
    found = {}
    for name, (claim, (metric, masks, variant), control, unit) in claims.items():
        found[name] = Verdict.from_pairs(
            claim,
            words[name],
            _of(rows, metric, masks, variant),
            between="mask",
            a=masks[0],
            b=masks[1],
            pair_on=TRIAL_PAIR if variant else CELL,
            control=control,
            unit=unit,
        )
    found["partial training suffices"] = Verdict.from_pairs(
        "LEGCNet-PT performs at par with LEGCNet-FT (table 2).",
        words["partial training suffices"],
        partial,
        between="variant",
        a="PT",
        b="FT",
        pair_on=TRIAL_PAIR,
        control=f"the same networks under their FT masks; the benchmark is reached by "
        f"{reached['PT']:.0%} (PT) and {reached['FT']:.0%} (FT) of them. {seeds}",
        unit="of accuracy, PT minus FT",
    )
    return {name: found[name] for name in CRITERIA}


def _of(rows: pd.DataFrame, metric: str, masks: list[str], variant: str | None) -> pd.DataFrame:
    chosen = rows[(rows.metric == metric) & rows["mask"].isin(masks)]
    return chosen if variant is None else chosen[chosen.variant == variant]


# ---- further_verdicts: Verdicts of the further LEGCNet studies: settings, placebos, scaling, twi


N_SETTINGS = 36  # two rules, two orientations, the base and eight changes


FURTHER_CRITERIA = {
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
