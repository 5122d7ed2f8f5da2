"""Tables of the further LEGCNet studies (arXiv:2308.09955): settings, placebos, scaling, twins.

A network is one published set of initial weights of one table.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.statistics import PairedDifference, paired_difference, summarise
from causalprune_studies.ch05_legcnet.settings import BASES, CHANGES, RULES, Setting

PAIR = ["dataset", "seed"]


SETTING = list(Setting.__dataclass_fields__)


MATTERS = 0.05  # a smaller difference of the shares called causal counts for nothing


EXPLANATIONS = {  # what is shared -> judged network, exponents that share it, and that do not
    "the network itself": ("released", "own", "other, same order"),
    "the same order": ("released", "other, same order", "other, another order"),
    "an order that repeats": ("released", "other, another order", "other, reshuffled"),
    "the time of training": ("released", "other, same order", "other, half-shifted"),
    "the time alone": ("reshuffled", "other, reshuffled", "noise"),
}


LESS_AND_LESS = [  # placebos in the order of the figure
    "own",
    "other, same order",
    "other, another order",
    "other, reshuffled",
    "own, half-shifted",
    "other, half-shifted",
    "own, shuffled",
    "noise",
]


def study(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of one study, such as "LEGCNetTwins", without the columns of the others."""
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

    def name(row: pd.Series) -> str:
        base = BASES[row["rule"]]
        changed = [words[k].format(row[k]) for k in CHANGES if row[k] != getattr(base, k)]
        return ", ".join(changed) or "nothing"

    places = rows[SETTING].drop_duplicates()
    names = places.assign(changed=[name(row) for _, row in places.iterrows()])
    return rows[SETTING].merge(names, on=SETTING, how="left").changed.set_axis(rows.index)


def ablation_table(rows: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """One row per rule, orientation and change, over networks: means, and intervals of the gains.

    Columns: `causal`, `n_pruned`, `jaccard` and `jaccard_chance` (means; not for pruning causal
    weights); `reached`, the share that reached the benchmark; `gain`, accuracy minus that of the
    random masks, with `low`, `high` at `level`; `beats`, the share of the random masks beaten on
    accuracy, and `beats_low`, `beats_high` (95%).
    """
    rows = study(rows, "LEGCNetAblation")
    rows = rows.assign(changed=setting_names(rows))
    found = []
    for (rule, orientation, changed), some in rows.groupby(
        ["rule", "orientation", "changed"], sort=False
    ):
        own = some[some["mask"] == "legcnet"]
        means = own.groupby("metric").value.mean()
        gain = gap_between(some, "accuracy", "legcnet", "random", level=level)
        beats = own[(own.metric == "beats_accuracy")].assign(seed=lambda f: network_labels(f))
        beats = summarise(beats, "metric").iloc[0]
        found.append(
            {
                "rule": rule,
                "orientation": orientation,
                "changed": changed,
                **{m: means.get(m) for m in ("causal", "n_pruned", "jaccard", "jaccard_chance")},
                "reached": means["reached"],
                "gain": gain.mean,
                "low": gain.low,
                "high": gain.high,
                "n": gain.n,
                "beats": beats["mean"],
                "beats_low": beats.low,
                "beats_high": beats.high,
            }
        )
    order = [
        "nothing",
        "window",
        "overlap",
        "lags: 5",
        "lags: 10",
        "lags: all",
        "lags: one",
        "error",
    ]
    table = pd.DataFrame(found)
    place = [next(i for i, name in enumerate(order) if c.startswith(name)) for c in table.changed]
    return table.assign(place=place).sort_values("place", kind="stable").drop(columns="place")


def settings_shown(table: pd.DataFrame) -> pd.DataFrame:
    """`ablation_table` for readers: pruned, reached the benchmark, random masks beaten."""
    shown = pd.DataFrame(
        {
            "rule": table.rule,
            "changed": table.changed,
            "orientation": table.orientation,
            "pruned": table.n_pruned.map("{:.0f}".format),
            "reached": table.reached.map("{:.0%}".format),
            "beaten, %": [
                f"{100 * r.beats:.0f} ({100 * r.beats_low:.0f} to {100 * r.beats_high:.0f})"
                if r.beats == r.beats
                else "no choice"
                for r in table.itertuples()
            ],
        }
    )
    columns = ["pruned", "reached", "beaten, %"]
    wide = shown.pivot(index=["rule", "changed"], columns="orientation", values=columns)
    wide = wide.swaplevel(axis=1)[[(o, c) for o in table.orientation.unique() for c in columns]]
    places = table[["rule", "changed"]].drop_duplicates().sort_values("rule", kind="stable")
    return wide.loc[[tuple(place) for place in places.to_numpy()]].rename_axis(columns=[None, None])


def called_causal(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of the weights called causal; columns `judged`, `rule`, `exponents`, and `summarise`'s.

    For each trial number the mean over the tables, then mean and t interval over trials.
    """
    rows = study(rows, "LEGCNetPlacebos")
    rows = rows[rows.metric == "causal"]
    by = ["judged", "rule", "exponents"]
    return summarise(rows.groupby([*by, "seed"], sort=False, as_index=False).value.mean(), by)


def explanations(rows: pd.DataFrame) -> pd.DataFrame:
    """How much more is called causal by exponents that share something with the error.

    One row for each of `EXPLANATIONS` and rule: `shared`, the difference `more` over networks with
    `low`, `high`, `n`, and `matters`: whether the interval lies above zero and the mean is at least
    `MATTERS`.
    """
    rows = study(rows, "LEGCNetPlacebos")
    rows = rows[rows.metric == "causal"]
    found = []
    for rule in RULES:
        for shared, (judged, a, b) in EXPLANATIONS.items():
            some = rows[(rows.rule == rule) & (rows.judged == judged)]
            gap = paired_difference(some, between="exponents", a=a, b=b, pair_on=PAIR)
            matters = bool(gap.low > 0 and gap.mean >= MATTERS)
            row = {"rule": rule, "shared": shared, "more": gap.mean}
            found.append(row | {"low": gap.low, "high": gap.high, "n": gap.n, "matters": matters})
    return pd.DataFrame(found)


def scaled_table(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Accuracy on standardised data by table and mask, means over trials, and dense as released."""
    rows = study(rows, "LEGCNetScaled")
    rows = rows[(rows.variant == variant) & (rows.metric == "accuracy")]
    mask = rows["mask"].where(rows.scaling == "standard", "dense, as released")
    order = ["dense, as released", "dense", "legcnet", "corrected ranking", "random", "magnitude"]
    table = rows.assign(mask=mask).pivot_table(
        index="dataset", columns="mask", values="value", sort=False
    )
    return table[order]


def scaled_gains(rows: pd.DataFrame) -> dict[tuple[str, str], PairedDifference]:
    """LEGCNet minus random and magnitude on standardised data, over networks, FT and PT apart.

    Keys: `accuracy` in the epoch of the benchmark or `final_accuracy`, and the other mask.
    """
    rows, pair = study(rows, "LEGCNetScaled"), ["dataset", "variant", "seed"]
    rows = rows[rows.scaling == "standard"]
    return {
        (metric, b): gap_between(rows, metric, "legcnet", b, pair=pair)
        for metric in ("accuracy", "final_accuracy")
        for b in ("random", "magnitude")
    }


def twin_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per route and rule: shares called causal by own and other twins, and the gain.

    Columns `exponent` and `positive` (of the route's windows), `own`, `another trial` (shares
    called causal), `n_pruned`, `jaccard_raw`, `reached`, `gain` over random masks, `low`, `high`.
    """
    rows = study(rows, "LEGCNetTwins")
    found = []
    for (route, rule), some in rows[rows.rule != "none"].groupby(["route", "rule"], sort=False):
        means = some.groupby(["mask", "metric"]).value.mean()
        said = rows[(rows.route == route) & (rows.rule == "none")].groupby("metric").value.mean()
        gain = gap_between(some, "accuracy", "legcnet", "random")
        found.append(
            {
                "route": route,
                "rule": rule,
                "exponent": said["exponent"],
                "positive": said["positive"],
                "own": means["legcnet", "causal"],
                "another trial": means["another trial", "causal"],
                **{m: means["legcnet", m] for m in ("n_pruned", "jaccard_raw", "reached")},
                "gain": gain.mean,
                "low": gain.low,
                "high": gain.high,
            }
        )
    return pd.DataFrame(found)


def twins_shown(rows: pd.DataFrame, rule: str) -> pd.DataFrame:
    """`twin_table` of one rule for readers; with the gain stands half of its 95% interval."""
    table = twin_table(rows)
    table = table[table.rule == rule].set_index("route")
    return pd.DataFrame(
        {
            "exponent": table.exponent.map("{:.2g}".format),
            "own causal": table.own.map("{:.0%}".format),
            "another's causal": table["another trial"].map("{:.0%}".format),
            "overlap with raw": table.jaccard_raw.map("{:.2f}".format),
            "gain, points": [
                f"{100 * r.gain:+.1f}\xa0±\xa0{50 * (r.high - r.low):.1f}"
                for r in table.itertuples()
            ],
        }
    )


def gap_between(
    rows: pd.DataFrame, metric: str, a: str, b: str, *, pair=PAIR, level: float = 0.95
) -> PairedDifference:
    """Mask `a` minus mask `b` in one metric, over networks."""
    chosen = rows[(rows.metric == metric) & rows["mask"].isin([a, b])]
    return paired_difference(chosen, between="mask", a=a, b=b, pair_on=pair, level=level)


def network_labels(rows: pd.DataFrame) -> pd.Series:
    """One label per network, for `summarise`."""
    return rows.dataset.astype(str) + rows.seed.astype(str)
