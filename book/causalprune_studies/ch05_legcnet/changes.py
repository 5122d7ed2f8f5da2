"""Tables of what becomes of LEGCNet when one thing is changed: a setting, exponents, data, twins.

Of the rows of `LEGCNetAblation`, `LEGCNetPlacebos`, `LEGCNetScaled` and `LEGCNetTwins`. Numbers,
with intervals; what ends in `_shown` is text for readers. Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_studies.ch05_legcnet.settings import BASES, CHANGES, Setting

PAIR = ["dataset", "seed"]  # one initial network of one table
CELL = ["dataset", "variant", "seed"]  # the same, FT and PT apart
SETTING = list(Setting.__dataclass_fields__)
ORDER = ("nothing", "window", "overlap", "lags: 5", "lags: 10", "lags: all", "lags: one", "error")
UNITS = {"networks": PAIR, "tables": ["dataset"]}  # what counts as drawn independently
SAME_EXAMPLES = {"iris3f": "iris_csv"}  # one table of flowers, with and without a feature
MATTERS = 0.05  # a smaller difference of the shares called causal counts for little
EXPLANATIONS = {  # what is shared -> network judged, exponents that share it, and that do not
    "the network itself": ("released", "own", "other, same order"),
    "the same order": ("released", "other, same order", "other, another order"),
    "an order that repeats": ("released", "other, another order", "other, reshuffled"),
    "the time of training": ("released", "other, same order", "other, half-shifted"),
    "the time alone": ("reshuffled", "other, reshuffled", "noise"),
}
LESS_AND_LESS = (  # that the exponents share with the error
    *("own", "other, same order", "other, another order", "other, reshuffled"),
    *("own, half-shifted", "other, half-shifted", "own, shuffled", "noise"),
)


def gap_between(
    rows: pd.DataFrame,
    metric: str,
    a: str,
    b: str,
    *,
    pair: Sequence[str] = PAIR,
    level: float = 0.95,
) -> PairedDifference:
    """Mask `a` minus mask `b` in one metric, over pairs."""
    chosen = rows[(rows.metric == metric) & rows["mask"].isin([a, b])]
    return paired_difference(chosen, between="mask", a=a, b=b, pair_on=pair, level=level)


def gap_over(
    rows: pd.DataFrame, metric: str, a: str, b: str, *, units: str = "networks"
) -> PairedDifference:
    """Mask `a` minus mask `b` in one metric, over `units` of `UNITS`: averaged in each unit first.

    FT and PT of a network are one network, and both tables of iris flowers one table.
    """
    check_choice("units", units, UNITS)
    chosen = rows[(rows.metric == metric) & rows["mask"].isin([a, b])]
    if units == "tables":
        chosen = chosen.assign(dataset=chosen.dataset.replace(SAME_EXAMPLES))
    means = chosen.groupby([*UNITS[units], "mask"], as_index=False).value.mean()
    return paired_difference(means, between="mask", a=a, b=b, pair_on=UNITS[units])


def over_trials(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """For each trial number the mean over the tables; then `summarise` over trials."""
    means = rows.groupby([*by, "seed"], sort=False, as_index=False).value.mean()
    return summarise(means, list(by))


def study(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of one spec, such as "LEGCNetTwins", without the columns of the others."""
    return rows[rows.spec == name].dropna(axis=1, how="all").reset_index(drop=True)


def setting_names(rows: pd.DataFrame) -> pd.Series:
    """What was changed in each row of `LEGCNetAblation`.

    Examples
    --------
    >>> row = {"window": 2.0, "overlap": 0.1, "lag": "all", "rule": "as released",
    ...        "error_on": "test"}
    >>> setting_names(pd.DataFrame([row, row | {"window": 1.0}])).tolist()
    ['window x 2', 'nothing']
    """
    words = {
        "window": "window x {:g}",
        "overlap": "overlap {:g}",
        "lag": "lags: {}",
        "error_on": "error: {}",
    }
    places, names = rows[SETTING].drop_duplicates(), []
    for _, row in places.iterrows():
        base = BASES[row["rule"]]
        changed = [words[k].format(row[k]) for k in CHANGES if row[k] != getattr(base, k)]
        names.append(", ".join(changed) or "nothing")
    named = rows[SETTING].merge(places.assign(changed=names), on=SETTING, how="left")
    return named.changed.set_axis(rows.index)


def ablation_table(rows: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """One row per rule, orientation and change, over pairs: means, and intervals of the gains.

    Columns: `causal`, `n_pruned`, `jaccard` and `jaccard_chance` (means; not for pruning causal
    weights); `reached`, the share that reached the benchmark; `gain`, accuracy minus that of the
    random masks, with `low`, `high` at `level`; `beats`, the share of the random masks beaten on
    accuracy, and `beats_low`, `beats_high` (95%).
    """
    rows = study(rows, "LEGCNetAblation")
    rows, by = rows.assign(changed=setting_names(rows)), ["rule", "orientation", "changed"]
    found = []
    for place, some in rows.groupby(by, sort=False):
        own = some[some["mask"] == "legcnet"]
        means = own.groupby("metric").value.mean()
        gain = gap_between(some, "accuracy", "legcnet", "random", level=level)
        beats = own[own.metric == "beats_accuracy"].assign(seed=network_labels)
        beats = summarise(beats, "metric").iloc[0]
        row = dict(zip(by, place, strict=True))
        row |= {m: means.get(m) for m in ("causal", "n_pruned", "jaccard", "jaccard_chance")}
        row |= {"reached": means["reached"], "gain": gain.mean, "low": gain.low, "high": gain.high}
        row |= {"beats": beats["mean"], "beats_low": beats.low, "beats_high": beats.high}
        found.append(row)
    table = pd.DataFrame(found)
    places = [next(i for i, name in enumerate(ORDER) if c.startswith(name)) for c in table.changed]
    table = table.assign(place=places).sort_values("place", kind="stable")
    return table.drop(columns="place")


def settings_shown(table: pd.DataFrame) -> pd.DataFrame:
    """`ablation_table` for readers: pruned, reached the benchmark, random masks beaten."""
    beaten = [
        f"{100 * r.beats:.0f} ({100 * r.beats_low:.0f} to {100 * r.beats_high:.0f})"
        if r.beats == r.beats
        else "no choice"
        for r in table.itertuples()
    ]
    shown = table[["rule", "changed", "orientation"]].assign(
        pruned=table.n_pruned.map("{:.0f}".format), reached=table.reached.map("{:.0%}".format)
    )
    shown["beaten, %"] = beaten
    columns = ["pruned", "reached", "beaten, %"]
    wide = shown.pivot(index=["rule", "changed"], columns="orientation", values=columns)
    wide = wide.swaplevel(axis=1)[[(o, c) for o in table.orientation.unique() for c in columns]]
    places = table[["rule", "changed"]].drop_duplicates().sort_values("rule", kind="stable")
    return wide.loc[[tuple(place) for place in places.to_numpy()]].rename_axis(columns=[None, None])


def called_causal(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of the weights called causal, by `judged`, `rule` and `exponents`, as `over_trials`."""
    rows = study(rows, "LEGCNetPlacebos")
    return over_trials(rows[rows.metric == "causal"], ["judged", "rule", "exponents"])


def by_what_is_shared(rows: pd.DataFrame) -> pd.DataFrame:
    """`called_causal` against the error of the released order, from what shares most to noise."""
    found = called_causal(rows).query("judged == 'released'").set_index("exponents")
    return found.loc[list(LESS_AND_LESS)].reset_index()


def explanations(rows: pd.DataFrame) -> pd.DataFrame:
    """How much more is called causal by exponents that share something with the error.

    One row for each of `EXPLANATIONS` and rule: `shared`, the difference's `mean` over pairs,
    `low`, `high`, and `matters`: whether the interval lies above zero and the mean is at least
    `MATTERS`; and `small`: whether the interval lies below `MATTERS`.
    """
    rows = study(rows, "LEGCNetPlacebos")
    rows, found = rows[rows.metric == "causal"], []
    for rule in BASES:
        for shared, (judged, a, b) in EXPLANATIONS.items():
            some = rows[(rows.rule == rule) & (rows.judged == judged)]
            gap = paired_difference(some, between="exponents", a=a, b=b, pair_on=PAIR)
            matters = bool(gap.low > 0 and gap.mean >= MATTERS)
            row = {"rule": rule, "shared": shared, "mean": gap.mean, "low": gap.low}
            small = bool(gap.high < MATTERS)
            found.append(row | {"high": gap.high, "matters": matters, "small": small})
    return pd.DataFrame(found)


def explanations_shown(table: pd.DataFrame) -> pd.DataFrame:
    """`explanations` for readers, in percentage points."""
    cells = [
        f"{100 * r.mean:+.0f} ({100 * r.low:+.0f} to {100 * r.high:+.0f}), "
        + ("matters" if r.matters else "small" if r.small else "open")
        for r in table.itertuples()
    ]
    shown = table.assign(more=cells).pivot(index="shared", columns="rule", values="more")
    return shown.loc[list(EXPLANATIONS)]


def scaled_table(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Accuracy on standardised data by table and mask, means over trials, and dense as released."""
    rows = study(rows, "LEGCNetScaled")
    rows = rows[(rows.variant == variant) & (rows.metric == "accuracy")]
    mask = rows["mask"].where(rows.scaling == "standard", "dense, as released")
    rows = rows.assign(mask=mask.replace({"legcnet": "LEGCNet", "corrected ranking": "corrected"}))
    table = rows.pivot_table(index="dataset", columns="mask", values="value", sort=False)
    return table[["dense, as released", "dense", "LEGCNet", "corrected", "random", "magnitude"]]


def scaled_gains(
    rows: pd.DataFrame, *, units: str = "networks"
) -> dict[tuple[str, str], PairedDifference]:
    """LEGCNet minus random and magnitude on standardised data, over `units` of `UNITS`.

    Keys: `accuracy` in the epoch of the benchmark or `final_accuracy`, and the other mask.
    """
    rows = study(rows, "LEGCNetScaled")
    rows = rows[rows.scaling == "standard"]
    return {
        (metric, b): gap_over(rows, metric, "legcnet", b, units=units)
        for metric in ("accuracy", "final_accuracy")
        for b in ("random", "magnitude")
    }


def twin_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per route and rule: shares called causal by own and other twins, and the gain.

    Columns `exponent` (mean of the route's windows), `own`, `another trial` (shares called
    causal), `jaccard_raw`, and `gain` over random masks with `low` and `high`.
    """
    rows, found = study(rows, "LEGCNetTwins"), []
    for (route, rule), some in rows[rows.rule != "none"].groupby(["route", "rule"], sort=False):
        means = some.groupby(["mask", "metric"]).value.mean()
        read = rows[(rows.route == route) & (rows.metric == "exponent")].value.mean()
        gain = gap_between(some, "accuracy", "legcnet", "random")
        row = {"route": route, "rule": rule, "exponent": read, "own": means["legcnet", "causal"]}
        row |= {"another trial": means["another trial", "causal"]}
        row |= {"jaccard_raw": means["legcnet", "jaccard_raw"], "gain": gain.mean}
        found.append(row | {"low": gain.low, "high": gain.high})
    return pd.DataFrame(found)


def twins_shown(rows: pd.DataFrame) -> pd.DataFrame:
    """`twin_table` for readers; with the gain stands half of its 95% interval."""
    table = twin_table(rows).sort_values("rule", kind="stable").set_index(["rule", "route"])
    gains = zip(table.gain, table.high - table.low, strict=True)
    return pd.DataFrame(
        {
            "exponent": table.exponent.map("{:.2g}".format),
            "own causal": table.own.map("{:.0%}".format),
            "another's causal": table["another trial"].map("{:.0%}".format),
            "overlap with raw": table.jaccard_raw.map("{:.2f}".format),
            "gain, points": [f"{100 * g:+.1f}\xa0±\xa0{50 * width:.1f}" for g, width in gains],
        }
    )


def network_labels(rows: pd.DataFrame) -> pd.Series:
    """One label per pair, for `summarise`."""
    return rows.dataset.astype(str) + rows.seed.astype(str)
