"""The claims of the chapter "Is SGD chaotic?", and what decides each of them.

The criteria stand here, before the rows. When they were written the quick figures of chapters 2
to 4 had been seen, and tiny runs of the studies; no full row had.

The claims are those of the LEGCNet paper, arXiv:2308.09955, by section. A network is one published
set of initial weights of one table. An interval is Student's, at 95%, over networks or seeds.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch02_chaos.tables import halves_by_order
from causalprune_studies.judge import (
    Claim,
    draw_verdicts,
    from_gap,
    from_mean,
    gap_of,
    grade,
    mean_of,
    metric_rows,
    said_mean,
)

PAIR = ["dataset", "seed"]
NETWORKS = "Networks of three tables count as seeds"


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `CLAIMS`; refuses rows that are not full."""
    return draw_verdicts(CLAIMS, require_full(rows))


def _positive(sentence: str, rows: pd.DataFrame) -> Verdict:
    released = _of_weights(rows, "released")
    positive = (released.value > 0).mean()
    tangent = mean_of(_of_weights(rows, "exponent"))
    return from_mean(
        sentence,
        grade(positive == 1, positive > 0.5),
        mean_of(released),
        f"the tangent vector of the same trainings ({said_mean(tangent, 5)} nats per step). "
        f"{NETWORKS}",
        "nats per step, as released",
    )


def _tell_how_twins_part(sentence: str, rows: pd.DataFrame) -> Verdict:
    twins, released = (_of_weights(rows, metric) for metric in ("twin_growth", "released"))
    share = twins.set_index(PAIR).value / released.set_index(PAIR).value
    share = mean_of(share.rename("value").reset_index())
    growth = _of_weights(rows, "growth_median").value.median()
    described = mean_of(_of_weights(rows, "described"))
    return from_gap(
        sentence,
        grade(share.low > 0.5 and share.high < 2, share.low > 0.1 and share.high < 10),
        gap_of(pd.concat([released, twins]), "metric", PAIR, a="released", b="twin_growth"),
        f"the twins themselves: their growth over the reading is {said_mean(share, 6)}, and "
        f"their distance grows {growth:.3g}-fold over all recorded steps (median); the same "
        f"reading of the twins' difference (section 3.4) is "
        f"{said_mean(described)}. {NETWORKS}",
        "nats per step, reading minus growth of the twins",
    )


def _chaotic(sentence: str, rows: pd.DataFrame) -> Verdict:
    halves = halves_by_order(rows)
    late = {order: mean_of(part, "late") for order, part in halves.groupby("order")}
    means = halves.groupby("order")[["late", "early"]].mean()
    stays = bool((means.late >= 0.5 * means.early).all())
    faded = halves.melt(["order", "seed"], ["late", "early"], "half")
    fixed = faded[faded.order == "fixed order"]
    return from_gap(
        sentence,
        grade(stays and all(part.low > 0 for part in late.values()), late["fixed order"].low > 0),
        gap_of(fixed, "half", "seed", a="late", b="early"),
        "the first half of the same training: a chaotic map keeps its exponent. Second half, "
        "nats per step: " + "; ".join(f"{o} {said_mean(part, 5)}" for o, part in late.items()),
        "nats per step, second half minus first, fixed order",
    )


def _of_weights(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric of `PerturbedWeights`, one for each network."""
    return metric_rows(rows[rows.spec == "PerturbedWeights"], metric)


CLAIMS = (
    Claim(
        "exponents are positive",
        "Positive Lyapunov exponents of the weight series are observed (section 2.1).",
        "reproduced if the reading as released, mean over the windows "
        "and weights, is above zero in every network, partly if in more than half of them",
        _positive,
    ),
    Claim(
        "exponents tell how twins part",
        "The exponents measure how a perturbed training parts from its twin (section 2.1).",
        "reproduced if the growth of the twins, divided by the "
        "reading, lies between a half and two (whole interval), partly if between a tenth and ten",
        _tell_how_twins_part,
    ),
    Claim(
        "training is chaotic",
        "Weight updates via SGD have some element of chaos (sections 1 and 2.1).",
        "reproduced if in every order of the data the exponent of the "
        "second half of training, mean over the learning rates, is above zero (whole interval) "
        "and at least half of that of the first half; partly if it is above zero in the fixed "
        "order, which is the paper's",
        _chaotic,
    ),
)
