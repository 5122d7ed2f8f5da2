"""Verdicts of chapter 4: what does a Granger test find?

The criteria stand here, before the rows. When they were written the quick figures of chapters 2
to 4 had been seen, and tiny runs of the studies; no full row had.

The claims are those of the LEGCNet paper, arXiv:2308.09955, by section. A network is one published
set of initial weights of one table. An interval is Student's, at 95%, over networks or seeds.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch04_granger.study import AS_THEY_ARE
from causalprune_studies.judge import (
    from_gap,
    gap_of,
    grade,
    listed,
    mean_of,
    named,
)

WIDTHS = (151, 487)  # windows of the paper's cancer and banknote tables
LEVEL = 0.05  # what the tests promise
CRITERIA = {
    "false alarms stay at 5%": "reproduced if at 151 and at 487 samples no more than 5% of "
    "pure noise is called causal (an interval reaches down to 5%), partly if no more than 10%",
    "causes are told from others": "reproduced if of the series called causal at most one in "
    "twenty has no arrow, and half of the true arrows or more are found; partly if true "
    "arrows are called more often than absent ones (whole interval above zero)",
    "causal means that it acts": "reproduced if no more than 5% of the series without an "
    "arrow are called causal under a hidden driver and among falling curves, partly if no "
    "more than a quarter",
}


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdicts of chapter 4, from the full rows of `GRANGER_STUDIES`."""
    require_full(rows)
    rows = rows[rows.series == AS_THEY_ARE]

    def at(world: str, metric: str, *, rule: str = "as released", width: int = WIDTHS[0]):
        here = (rows.world == world) & (rows.samples == width) & (rows.rule == rule)
        return rows[here & (rows.metric == metric)][["seed", "value", "metric", "rule", "world"]]

    def rate(*args, **options):
        return at(*args, **options).value.mean()

    noise = [mean_of(at("independent noise", "false", width=w)) for w in WIDTHS]
    one_lag = at("independent noise", "false", rule="one lag, F")
    level = pd.concat([at("independent noise", "false"), one_lag])
    arrows = pd.concat([at("true arrows", m) for m in ("found", "false")])
    told = gap_of(arrows, "metric", "seed", a="found", b="false")
    wrong, found = rate("true arrows", "share_false"), rate("true arrows", "found")
    fooled = {w: rate(w, "false") for w in ("hidden driver", "falling curves")}
    better = {w: rate(w, "false", rule="corrected") for w in fooled}
    alarms = pd.concat([at(w, "false") for w in (*fooled, "independent noise")])
    alarms = alarms.assign(kind=alarms.world.map(lambda w: "fooled" if w in fooled else "noise"))
    alarms = alarms.groupby(["kind", "seed"], as_index=False).value.mean()
    return named(
        CRITERIA,
        from_gap(
            "Weights with p < 0.05 in the released test demonstrate a causal relationship "
            "(section 3.6, and the code).",
            grade(all(n.low <= LEVEL for n in noise), all(n.low <= 2 * LEVEL for n in noise)),
            gap_of(level, "rule", "seed", a="as released", b="one lag, F"),
            "independent noise: called causal in "
            + " and ".join(f"{n['mean']:.1%} at {w}" for n, w in zip(noise, WIDTHS, strict=True))
            + f" samples; one F test at one lag in {one_lag.value.mean():.1%}",
            "points of pure noise called causal, released rule minus one F test",
        ),
        from_gap(
            "The test determines the causal impact of a connection (section 2.2).",
            grade(wrong <= LEVEL and found >= 0.5, told.low > 0),
            told,
            f"series without an arrow: they are {wrong:.0%} of those called causal, while "
            f"{found:.0%} of the true arrows are found. Corrected rule: "
            f"{rate('true arrows', 'share_false', rule='corrected'):.0%} and "
            f"{rate('true arrows', 'found', rule='corrected'):.0%}",
            "points of series called causal, true arrows minus absent ones",
        ),
        from_gap(
            "What the test does not call causal has no impact and can be pruned; what it calls "
            "causal has (section 2.2).",
            grade(max(fooled.values()) <= LEVEL, max(fooled.values()) <= 0.25),
            gap_of(alarms, "kind", "seed", a="fooled", b="noise"),
            "series without an arrow, as released: "
            f"{listed(fooled)}. Corrected rule: {listed(better)}",
            "points of series called causal, hidden driver and falling curves minus noise",
        ),
    )
