"""The claims of the chapter "Is SGD chaotic?", and what is found for each of them.

A unit is a network: one published set of initial weights of one table, or one seed on the digits.
Tables are never pooled; "all tables" has a table as its unit.

The words and margins replace criteria that were written before the rows were measured. They were
set when the rows had been read. The margin of a half to two is that of the old criteria; that a
growth by e over half a training counts as none, and that learning rates are told apart, is new.

The claims are those of the LEGCNet paper, arXiv:2308.09955, by section.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch02_chaos.tables import halves_by_rate
from causalprune_studies.judge import (
    BOOK,
    Claim,
    Finding,
    NotMeasuredError,
    draw_verdicts,
    levels,
    metric_rows,
)
from causalprune_studies.paper_networks.settings import legcnet_settings
from causalprune_studies.tables import measured

PAIR = ["dataset", "seed"]
ALL = "all tables"
RATES = (0.1, 0.5, 1.0)  # two of the paper's, and one beyond them
SMALLEST = 0.05  # far below the edge of stability: training follows the gradient flow
HALF_TO_TWO = (0.5, 2.0)


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def shuffled_readings() -> pd.Series:
    """The reading as released of the paper's windows, shuffled in time; by data set and seed."""
    rows = measured("measuring-chaos")
    rows = rows[(rows.reading == "as released") & (rows.surrogate == "shuffled")]
    rows = metric_rows(rows[rows.dataset.notna()], "exponent")
    own = rows.dataset.map(lambda name: legcnet_settings(name).window)
    return rows[rows.samples == own].set_index(PAIR).value


def _positive(rows: pd.DataFrame) -> Iterator[Finding]:
    released, noise = _of_weights(rows, "released"), shuffled_readings()
    noise = noise.reindex(released.index)
    for dataset, scale in _tables(rows):
        here = [dataset]
        found = levels(released.loc[here], noise.loc[here], "networks")
        yield Finding(dataset, **found, scale=scale)
    yield Finding(ALL, **levels(released, noise, "tables", cluster="dataset"))


def _tell_how_twins_part(rows: pd.DataFrame) -> Iterator[Finding]:
    names = ("released", "twin_growth", "exponent")
    read = pd.DataFrame({name: _of_weights(rows, name) for name in names})
    closer = int((read <= 0).any(axis=1).sum())
    if closer:
        raise NotMeasuredError(f"a ratio of growths, which {closer} networks do not have")
    ratios = read.div(read.twin_growth, axis=0)
    for dataset, scale in _tables(rows):
        yield _ratio_to_twins(dataset, ratios.loc[[dataset]], {"units": "networks"}, scale)
    by_table = {"units": "tables", "clusters": ratios.index.get_level_values("dataset")}
    yield _ratio_to_twins(ALL, ratios, by_table, {})


def _ratio_to_twins(
    dataset: str, ratios: pd.DataFrame, how: dict[str, object], scale: dict[str, float]
) -> Finding:
    reading, tangent = (Estimate.of_ratio(ratios[name], **how) for name in ("released", "exponent"))
    least, most = HALF_TO_TWO
    return Finding(
        dataset,
        reading,
        scale=scale,
        passes_where_known=least < tangent.low and tangent.high < most,
        note=f"{dataset}: the tangent vector, divided by the twins' growth, gives {tangent}",
    )


def _chaotic(rows: pd.DataFrame) -> Iterator[Finding]:
    steps = int(rows.steps.max())
    for order, halves in halves_by_rate(rows).groupby("order"):
        smallest = _at(halves, SMALLEST).late
        for lr in RATES:
            found = levels(_at(halves, lr).late, smallest, "networks", factor=steps // 2)
            yield Finding("digits", **found, cell=_cell(order, lr), note=_finite(steps))
    for dataset, _ in _tables(rows):
        yield Finding(dataset, None, note="the halves of the paper's trainings were not measured")


def _lasts(rows: pd.DataFrame) -> Iterator[Finding]:
    note = _finite(int(rows.steps.max()))
    for order, halves in halves_by_rate(rows).groupby("order"):
        for lr in RATES[1:]:
            half, cell = _at(halves, lr), _cell(order, lr)
            if half.min(axis=None) <= 0:
                yield Finding("digits", None, cell=cell, note=f"{cell}: a half without growth")
                continue
            share = Estimate.of_ratio(half.late / half.early, units="networks")
            yield Finding("digits", share, cell=cell, note=note)


def _at(halves: pd.DataFrame, lr: float) -> pd.DataFrame:
    """Columns `early` and `late` at one learning rate, by seed."""
    found = halves[halves.lr == lr].set_index("seed")[["early", "late"]]
    if found.empty:
        raise NotMeasuredError(f"η = {lr:g}, at which a seed diverged")
    return found


def _finite(steps: int) -> str:
    return f"an exponent is a limit, and these trainings took {steps:,} steps"


def _cell(order: str, lr: float) -> str:
    return f"{order}, η = {lr:g}"


def _of_weights(rows: pd.DataFrame, metric: str) -> pd.Series:
    """One metric of `PerturbedWeights`, by data set and seed."""
    return metric_rows(rows[rows.spec == "PerturbedWeights"], metric).set_index(PAIR).value


def _tables(rows: pd.DataFrame) -> Iterator[tuple[str, dict[str, float]]]:
    """Tables of the paper, and the share of its epochs that was trained."""
    for dataset, part in rows[rows.spec == "PerturbedWeights"].groupby("dataset", sort=False):
        yield dataset, {"epochs": part.epochs.iloc[0] / legcnet_settings(dataset).epochs}


CLAIMS = (
    Claim(
        "exponents are positive",
        "Positive Lyapunov exponents of the weight series are observed (section 2.1).",
        "nats per step, as released, mean over windows and weights",
        "above",
        (-0.005, 0.005),  # e-fold over a window of 200 steps
        "windows of the same tables, shuffled in time and read in the same way",
        _positive,
    ),
    Claim(
        "exponents tell how twins part",
        "The exponents measure how a perturbed training parts from its twin (section 2.1).",
        "the reading as released, divided by the growth of the twins per step",
        "within",
        HALF_TO_TWO,
        "the tangent vector of the same trainings, which has to agree with the twins for a verdict",
        _tell_how_twins_part,
        none=1.0,
    ),
    Claim(
        "training is chaotic",
        "Weight updates via SGD have some element of chaos (sections 1 and 2.1).",
        "nats by which a tangent vector grows over the second half of training",
        "above",
        (-1.0, 1.0),  # by e
        f"the same at the smallest step, η = {SMALLEST:g}, which follows the gradient flow",
        _chaotic,
    ),
    Claim(
        "sensitivity lasts",
        "The growth of a perturbation is that of an exponent, and does not pass.",
        "growth over the second half of training, divided by that over the first",
        "not below",
        HALF_TO_TWO,
        "none: the first half is the comparison",
        _lasts,
        none=1.0,
        asked_by=BOOK,
    ),
)
