"""The claims of the chapter "Granger causality", and what decides each of them.

The criteria stand here, before the rows. When they were written the quick figures of chapters 2
to 4 had been seen, and tiny runs of the studies; no full row had.

The claims are those of the LEGCNet paper, arXiv:2308.09955, by section. An interval is Student's,
at 95%, over seeds.
"""

from __future__ import annotations

import pandas as pd

from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch04_granger.study import ALPHA, AS_THEY_ARE
from causalprune_studies.judge import Claim, draw_verdicts, from_gap, gap_of, grade, listed, mean_of

WIDTHS = (151, 487)  # windows of the paper's cancer and banknote tables
FOOLED = ("hidden driver", "falling curves")  # worlds without an arrow to the effect


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict on each of `CLAIMS`; refuses rows that are not full."""
    rows = require_full(rows)
    return draw_verdicts(CLAIMS, rows[rows.series == AS_THEY_ARE])


def _keeps_its_level(sentence: str, rows: pd.DataFrame) -> Verdict:
    noise = [mean_of(_at(rows, "independent noise", "false", width=w)) for w in WIDTHS]
    one_lag = _at(rows, "independent noise", "false", rule="one lag, F")
    level = pd.concat([_at(rows, "independent noise", "false"), one_lag])
    return from_gap(
        sentence,
        grade(all(n.low <= ALPHA for n in noise), all(n.low <= 2 * ALPHA for n in noise)),
        gap_of(level, "rule", "seed", a="as released", b="one lag, F"),
        "independent noise: called causal in "
        + " and ".join(f"{n['mean']:.1%} at {w}" for n, w in zip(noise, WIDTHS, strict=True))
        + f" samples; one F test at one lag in {one_lag.value.mean():.1%}",
        "points of pure noise called causal, released rule minus one F test",
    )


def _tells_causes(sentence: str, rows: pd.DataFrame) -> Verdict:
    told = pd.concat([_at(rows, "true arrows", metric) for metric in ("found", "false")])
    told = gap_of(told, "metric", "seed", a="found", b="false")
    wrong, found = (
        {
            rule: _at(rows, "true arrows", metric, rule=rule).value.mean()
            for rule in ("as released", "corrected")
        }
        for metric in ("share_false", "found")
    )
    return from_gap(
        sentence,
        grade(wrong["as released"] <= ALPHA and found["as released"] >= 0.5, told.low > 0),
        told,
        f"series without an arrow: they are {wrong['as released']:.0%} of those called causal, "
        f"while {found['as released']:.0%} of the true arrows are found. Corrected rule: "
        f"{wrong['corrected']:.0%} and {found['corrected']:.0%}",
        "points of series called causal, true arrows minus absent ones",
    )


def _acts(sentence: str, rows: pd.DataFrame) -> Verdict:
    released = {w: _at(rows, w, "false").value.mean() for w in FOOLED}
    corrected = {w: _at(rows, w, "false", rule="corrected").value.mean() for w in FOOLED}
    alarms = pd.concat([_at(rows, w, "false") for w in (*FOOLED, "independent noise")])
    alarms = alarms.assign(kind=alarms.world.map(lambda w: "fooled" if w in FOOLED else "noise"))
    alarms = alarms.groupby(["kind", "seed"], as_index=False).value.mean()
    return from_gap(
        sentence,
        grade(max(released.values()) <= ALPHA, max(released.values()) <= 0.25),
        gap_of(alarms, "kind", "seed", a="fooled", b="noise"),
        "series without an arrow, as released: "
        f"{listed(released)}. Corrected rule: {listed(corrected)}",
        "points of series called causal, hidden driver and falling curves minus noise",
    )


def _at(
    rows: pd.DataFrame,
    world: str,
    metric: str,
    *,
    rule: str = "as released",
    width: int = WIDTHS[0],
) -> pd.DataFrame:
    """The rows of one place, a row for each seed."""
    here = (rows.world == world) & (rows.samples == width) & (rows.rule == rule)
    return rows[here & (rows.metric == metric)][["seed", "value", "metric", "rule", "world"]]


CLAIMS = (
    Claim(
        "false alarms stay at 5%",
        "Weights with p < 0.05 in the released test demonstrate a causal relationship "
        "(section 3.6, and the code).",
        "reproduced if at 151 and at 487 samples no more than 5% of pure noise is called causal "
        "(an interval reaches down to 5%), partly if no more than 10%",
        _keeps_its_level,
    ),
    Claim(
        "causes are told from others",
        "The test determines the causal impact of a connection (section 2.2).",
        "reproduced if of the series called causal at most one in twenty has no arrow, and half "
        "of the true arrows or more are found; partly if true arrows are called more often than "
        "absent ones (whole interval above zero)",
        _tells_causes,
    ),
    Claim(
        "causal means that it acts",
        "What the test does not call causal has no impact and can be pruned; what it calls "
        "causal has (section 2.2).",
        "reproduced if no more than 5% of the series without an arrow are called causal under a "
        "hidden driver and among falling curves, partly if no more than a quarter",
        _acts,
    ),
)
