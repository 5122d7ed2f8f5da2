"""Tables of the further LEGCNet studies: settings, placebos, scaling, twins.

A network is one published set of initial weights of one table.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.intervals import summarise
from causalprune_lib.evidence.pairs import PairedDifference, paired_difference
from causalprune_lib.evidence.studies.legcnet_ablation import BASES, CHANGES, Setting

PAIR = ["dataset", "seed"]
SETTING = list(Setting.__dataclass_fields__)
MATTERS = 0.05  # a drop of the share called causal by less than this counts for nothing
EXPLANATIONS = {  # what -> judged network, exponents with it, exponents without it
    "own, at another time": ("released", "own", "own, half-shifted"),
    "other, at another time": ("released", "other, same order", "other, half-shifted"),
    "other, in another order": ("released", "other, same order", "other, another order"),
    "other, reshuffled": ("released", "other, same order", "other, reshuffled"),
    "both reshuffled, apart": ("reshuffled", "other, same order", "other, reshuffled"),
    "both reshuffled, other at another time": (
        "reshuffled",
        "other, same order",
        "other, half-shifted",
    ),
}


def study(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of one study, such as "LEGCNetTwins", without the columns of the others."""
    return rows[rows.spec == name].dropna(axis=1, how="all").reset_index(drop=True)


def setting_names(rows: pd.DataFrame) -> pd.Series:
    """What was changed in each row of `LEGCNetAblation`, in words.

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
    return pd.DataFrame(found)


def placebo_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of the weights called causal; columns `judged`, `rule`, `exponents`, and `summarise`'s.

    For each trial number the mean over the tables, then mean and t interval over trials.
    """
    rows = study(rows, "LEGCNetPlacebos")
    rows = rows[rows.metric == "causal"]
    by = ["judged", "rule", "exponents"]
    return summarise(rows.groupby([*by, "seed"], sort=False, as_index=False).value.mean(), by)


def explanations(rows: pd.DataFrame) -> pd.DataFrame:
    """What the share called causal loses when order or time are no longer shared.

    One row for each of `EXPLANATIONS` and rule: `drop` over networks with `low`, `high`, `n`, and
    `matters`: whether the interval lies above zero and the mean is at least `MATTERS`.
    """
    rows = study(rows, "LEGCNetPlacebos")
    rows = rows[rows.metric == "causal"]
    found = []
    for rule in ("as released", "corrected"):
        for what, (judged, a, b) in EXPLANATIONS.items():
            some = rows[(rows.rule == rule) & (rows.judged == judged)]
            gap = paired_difference(some, between="exponents", a=a, b=b, pair_on=PAIR)
            found.append(
                {
                    "rule": rule,
                    "taken away": what,
                    "drop": gap.mean,
                    "low": gap.low,
                    "high": gap.high,
                    "n": gap.n,
                    "matters": bool(gap.low > 0 and gap.mean >= MATTERS),
                }
            )
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


def gap_between(
    rows: pd.DataFrame, metric: str, a: str, b: str, *, pair=PAIR, level: float = 0.95
) -> PairedDifference:
    """Mask `a` minus mask `b` in one metric, over networks."""
    chosen = rows[(rows.metric == metric) & rows["mask"].isin([a, b])]
    return paired_difference(chosen, between="mask", a=a, b=b, pair_on=pair, level=level)


def network_labels(rows: pd.DataFrame) -> pd.Series:
    """One label per network, for `summarise`."""
    return rows.dataset.astype(str) + rows.seed.astype(str)
