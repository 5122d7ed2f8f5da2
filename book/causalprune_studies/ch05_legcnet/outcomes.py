"""What became of each network of the paper's tables, from the best rows there are.

For every table the rows of `LEGCNetSplits` are taken where all its splits were run: a unit is then
a split, the mean over its starts, so what test rows say by chance is in an interval. Elsewhere a
unit is a start on the paper's own split. Iris with three features and with four is one table.
"""

from __future__ import annotations

import pandas as pd

from causalprune_studies.ch05_legcnet.changes import study
from causalprune_studies.ch05_legcnet.splits import ANOTHER, SPLITS
from causalprune_studies.ch05_legcnet.tables import as_tested
from causalprune_studies.judge import NotMeasuredError
from causalprune_studies.page import chapter_rows
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS

COLUMNS = ["dataset", "unit", "units", "who", "metric", "value"]


def with_splits(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows`, and those of the splits if they have been measured."""
    try:
        return pd.concat([rows, chapter_rows("legcnet-splits")], ignore_index=True)
    except NotMeasuredError:
        return rows


def outcomes(rows: pd.DataFrame, scaling: str = "as_released") -> pd.DataFrame:
    """One row per table, unit, network and metric.

    Columns: `dataset`, `table` (both irises are "iris"), `unit` (number of a split or a start),
    `units` ("splits" or "starts"), `who` ("dense", "FT legcnet", "PT random", ...), `metric`,
    `value`; "epochs" is the share of the epochs allowed.
    """
    found = _of_splits(rows, scaling)
    complete = found.groupby("dataset").unit.nunique() == SPLITS
    found = found[found.dataset.isin(complete[complete].index)]
    starts = _of_starts(rows) if scaling == "as_released" else _of_scaled(rows)
    found = pd.concat([found, starts[~starts.dataset.isin(found.dataset)]], ignore_index=True)
    if found.empty:
        raise NotMeasuredError(f"scaling {scaling!r}")
    return found.assign(table=found.dataset.replace({"iris_csv": "iris", "iris3f": "iris"}))


def _of_splits(rows: pd.DataFrame, scaling: str) -> pd.DataFrame:
    rows = rows[rows.spec == "LEGCNetSplits"]
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    rows = rows[(rows.scaling == scaling) & rows.cut.isin(["none", "released"])]
    rows = rows.assign(units="splits", metric=rows.metric.replace({"epochs_used": "epochs"}))
    return _tidy(rows)


def _of_starts(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[rows.spec == "LEGCNetTrial"]
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    return _tidy(as_tested(rows).assign(units="starts"))


def _of_scaled(rows: pd.DataFrame) -> pd.DataFrame:
    if not (rows.spec == "LEGCNetScaled").any():
        return pd.DataFrame(columns=COLUMNS)
    rows = study(rows, "LEGCNetScaled")
    return _tidy(rows[rows.scaling == "standard"].assign(units="starts"))


def _tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean over starts, where a unit has several; dense is the same network in FT and PT."""
    mask = rows["mask"].replace({"another trial": ANOTHER})
    who = (rows.variant + " " + mask).where(mask != "dense", "dense")
    rows = rows.assign(who=who, unit=rows.seed)
    by = [name for name in COLUMNS if name != "value"]
    means = rows[rows.value.notna()].groupby(by, sort=False).value.mean()
    return means.round(12).reset_index()[COLUMNS]  # equal means are equal, not 1e-16 apart


def front_table(splits: pd.DataFrame) -> pd.DataFrame:
    """Accuracy against how much is pruned, means over the splits that were run.

    One row per `dataset`, `by` ("threshold" of the p-value or "ranking"), `cut` and `mask`:
    `pruned`, a share of the weights; `lost`, accuracy of the dense network minus that under the
    mask; `emptied`, the share of masks that leave a layer without weights; `splits`, how many.
    """
    rows = splits[splits.scaling == "as_released"]
    dense = rows[(rows["mask"] == "dense") & (rows.metric == "accuracy")]
    dense = dense.groupby(["dataset", "seed"]).value.mean().rename("dense").reset_index()
    rows = rows[rows.cut.str.startswith(("p <", "prune"))]
    by = ["dataset", "cut", "mask", "seed"]
    wide = rows.pivot(index=by, columns="metric", values="value").reset_index()
    wide = wide.merge(dense, on=["dataset", "seed"])
    n_weights = wide.dataset.map({name: s.n_weights for name, s in LEGCNET_SETTINGS.items()})
    wide = wide.assign(
        pruned=wide.n_pruned / n_weights,
        lost=wide.dense - wide.accuracy,
        by=wide.cut.str.startswith("p <").map({True: "threshold", False: "ranking"}),
    )
    means = wide.groupby(["dataset", "by", "cut", "mask"], sort=False)
    found = means[["pruned", "lost", "emptied"]].mean()
    return found.assign(splits=means.seed.nunique()).reset_index()
