"""Verdicts of chapter 2: is training chaotic?

The criteria stand here, before the rows. When they were written the quick figures of chapters 2
to 4 had been seen, and tiny runs of the studies; no full row had.

The claims are those of the LEGCNet paper, arXiv:2308.09955, by section. A network is one published
set of initial weights of one table. An interval is Student's, at 95%, over networks or seeds.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch02_chaos.study import halves_by_order
from causalprune_studies.judge import (
    from_gap,
    from_mean,
    gap_of,
    grade,
    mean_of,
    metric_rows,
    named,
    said_mean,
)

PAIR = ["dataset", "seed"]
CRITERIA = {
    "exponents are positive": "reproduced if the reading as released, mean over the windows "
    "and weights, is above zero in every network, partly if in more than half of them",
    "exponents tell how twins part": "reproduced if the growth of the twins, divided by the "
    "reading, lies between a half and two (whole interval), partly if between a tenth and ten",
    "training is chaotic": "reproduced if in every order of the data the exponent of the "
    "second half of training, mean over the learning rates, is above zero (whole interval) "
    "and at least half of that of the first half; partly if it is above zero in the fixed "
    "order, which is the paper's",
}


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdicts of chapter 2, from the full rows of `CHAOS_STUDIES`."""
    require_full(rows)
    weights = rows[rows.spec == "PerturbedWeights"]
    released = metric_rows(weights, "released").set_index(PAIR).value
    twins = metric_rows(weights, "twin_growth").set_index(PAIR).value
    share = mean_of((twins / released).rename("value").reset_index())
    positive = (released > 0).mean()
    reading = mean_of(released.reset_index())
    tangent, described = (mean_of(metric_rows(weights, m)) for m in ("exponent", "described"))
    growth = metric_rows(weights, "growth_median").value.median()
    sides = ("released", "twin_growth")
    both = weights[weights.metric.isin(sides)]
    gap = gap_of(both, "metric", PAIR, a=sides[0], b=sides[1])
    halves = halves_by_order(rows)
    late = {order: mean_of(part, "late") for order, part in halves.groupby("order")}
    means = halves.groupby("order")[["late", "early"]].mean()
    stays = bool((means.late >= 0.5 * means.early).all())
    faded = halves.melt(["order", "seed"], ["late", "early"], "half")
    fixed = faded[faded.order == "fixed order"]
    networks = "Networks of three tables count as seeds"
    return named(
        CRITERIA,
        from_mean(
            "Positive Lyapunov exponents of the weight series are observed (section 2.1).",
            grade(positive == 1, positive > 0.5),
            reading,
            f"the tangent vector of the same trainings ({said_mean(tangent, 5)} nats per step). "
            f"{networks}",
            "nats per step, as released",
        ),
        from_gap(
            "The exponents measure how a perturbed training parts from its twin (section 2.1).",
            grade(share.low > 0.5 and share.high < 2, share.low > 0.1 and share.high < 10),
            gap,
            f"the twins themselves: their growth over the reading is {said_mean(share, 6)}, and "
            f"their distance grows {growth:.3g}-fold over all recorded steps (median); the same "
            f"reading of the twins' difference (section 3.4) is "
            f"{said_mean(described)}. {networks}",
            "nats per step, reading minus growth of the twins",
        ),
        from_gap(
            "Weight updates via SGD have some element of chaos (sections 1 and 2.1).",
            grade(
                stays and all(part.low > 0 for part in late.values()),
                late["fixed order"].low > 0,
            ),
            gap_of(fixed, "half", "seed", a="late", b="early"),
            "the first half of the same training: a chaotic map keeps its exponent. Second half, "
            "nats per step: " + "; ".join(f"{o} {said_mean(part, 5)}" for o, part in late.items()),
            "nats per step, second half minus first, fixed order",
        ),
    )
