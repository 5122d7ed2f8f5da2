"""Rates of the chapter: shares that were called causal, with their 95% intervals.

A rate is a row with `mean`, `low` and `high`, all fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy import stats

from causalprune_lib.causality.granger import GrangerResult
from causalprune_lib.evidence.statistics import summarise
from causalprune_studies.ch04_granger.study import AS_THEY_ARE

HEADINGS = {
    "found": "true arrows found",
    "share_false": "false ones among the called",
    "false": "noise called causal",
}  # of `by_length`


def rate(hits: ArrayLike, **names: object) -> dict[str, object]:
    """The share of independent `hits` with Wilson's interval, under `names`.

    Examples
    --------
    >>> rate([True, False, True, True], test="F")["mean"]
    0.75
    """
    hits = np.asarray(hits, dtype=bool)
    found = stats.binomtest(int(hits.sum()), hits.size).proportion_ci(method="wilson")
    mean = float(hits.mean())
    return {**names, "n": hits.size, "mean": mean, "low": found.low, "high": found.high}


def rates_of(
    results: Sequence[GrangerResult],
    rules: Mapping[str, Callable[[GrangerResult], torch.Tensor]],
    **names: object,
) -> pd.DataFrame:
    """What each rule calls causal of all candidates: means over the effects, a row for each rule.

    The candidates of one effect are no independent draws, so a unit is an effect.
    """
    rows = [
        {"rule": name, "seed": effect, "value": rule(result).double().mean().item()}
        for name, rule in rules.items()
        for effect, result in enumerate(results)
    ]
    return summarise(pd.DataFrame(rows), "rule").assign(**names)


def lag_correlation(results: Sequence[GrangerResult]) -> torch.Tensor:
    """Correlation (L, L), over all candidates, of the F tests at two lags as normal scores."""
    pvalue = torch.cat([result.f_pvalue for result in results], 1)  # (L, S of all effects)
    return torch.corrcoef(torch.special.ndtri(pvalue.clamp(1e-12, 1 - 1e-12)))


def in_percent(table: pd.DataFrame) -> pd.DataFrame:
    """Rates for reading: in percent, the interval in words."""
    low, high = 100 * table.low.clip(lower=0), 100 * table.high.clip(upper=1)
    shown = table.drop(columns=["mean", "low", "high", "median", "missing"], errors="ignore")
    shown["rate (%)"] = (100 * table["mean"]).map("{:.0f}".format)
    shown["95% interval"] = [f"{a:.0f} to {b:.0f}" for a, b in zip(low, high, strict=True)]
    return shown


def plus_minus(
    table: pd.DataFrame,
    *,
    index: str | list[str],
    columns: str | list[str],
    scale: float = 1.0,
    digits: int = 0,
) -> pd.DataFrame:
    """Means for reading, times `scale`, with half the width of their intervals, as a pivot."""
    half = scale * (table.high - table.low) / 2
    cells = zip(scale * table["mean"], half, strict=True)
    text = [f"{mean:.{digits}f}\xa0±\xa0{width:.{digits}f}" for mean, width in cells]
    return table.assign(text=text).pivot(index=index, columns=columns, values="text")


def wrongly_called(rows: pd.DataFrame, samples: int) -> pd.DataFrame:
    """Of series without an arrow, what both rules call causal, by `candidates` and `rule`."""
    rows = rows[(rows.samples == samples) & (rows.metric == "false") & _both_rules(rows)]
    found = summarise(rows, ["world", "series", "rule"])
    world = found.world.replace({"true arrows": "idle, beside true arrows"})
    how = (", " + found.series).where(found.series != AS_THEY_ARE, "")
    return found.assign(candidates=world + how)


def by_length(rows: pd.DataFrame) -> pd.DataFrame:
    """What both rules find, call wrongly, and call of noise: `metric`, `rule` and `samples`."""
    arrows = (rows.world == "true arrows") & rows.metric.isin(["found", "share_false"])
    noise = (rows.world == "independent noise") & (rows.metric == "false")
    rows = rows[(arrows | noise) & _both_rules(rows)]
    rows = rows.assign(metric=rows.metric.map(HEADINGS))
    return summarise(rows, ["metric", "rule", "samples"])


def _both_rules(rows: pd.DataFrame) -> pd.Series:
    return rows.rule.isin(["as released", "corrected"])
