"""How a verdict is drawn from rows: what a claim says beforehand, and what is found for it.

A claim states what would bear it out before any row is measured; a function finds the estimates,
one for each data set or printed cell. The word follows from both, in `Verdict`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.verdict import Verdict

PAPER, BOOK = "paper", "book"


class NotMeasuredError(ValueError):
    """A comparison is not in the rows, or in too few of them."""


@dataclass(frozen=True)
class Finding:
    """What the rows say about a claim on one data set, or in one printed cell."""

    dataset: str
    estimate: Estimate | None  # None: not measured
    control_estimate: Estimate | None = None  # the same effect, shown by the control
    beyond_control: Estimate | None = None  # the effect minus the control's, pair by pair
    control_missing: bool = False  # there is one, and it was not run here
    paper_effect: float | None = None  # in this cell, in the claim's unit
    scale: Mapping[str, float] = field(default_factory=dict)  # quantity -> share of the paper's
    cell: str = ""  # of the paper's table or figure, where a data set has several
    passes_where_known: bool | None = None  # the test, where the answer is known
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """What a paper says, and what would bear it out; written before the rows are measured.

    Attributes
    ----------
    name : str
        What the book calls it.
    sentence : str
        The claim, with where the paper makes it.
    measure : str
        The effect that decides, with its unit: "points of accuracy, causal minus magnitude".
    says, margin, none, least_scale
        As in `Verdict`. The end of the margin is the smallest effect of interest.
    control : str
        What could show the same effect for another reason.
    find : callable
        `find(rows)` gives a `Finding` for each data set; a `NotMeasuredError` where what it needs
        is not there.
    asked_by : {"paper", "book"}
        Who makes the claim.
    """

    name: str
    sentence: str
    measure: str
    says: str
    margin: tuple[float, float]
    control: str
    find: Callable[[pd.DataFrame], Iterable[Finding]]
    none: float = 0.0
    least_scale: Mapping[str, float] = field(default_factory=dict)
    asked_by: str = PAPER

    @property
    def criterion(self) -> str:
        """What it takes, in words."""
        least, most = (f"{end:g}" for end in self.margin)
        rule = {
            "above": f"above {self.none:g}, and as large as the paper's or {most}",
            "below": f"below {self.none:g}, and as far as the paper's or {least}",
            "not below": f"not below {least}",
            "not above": f"not above {most}",
            "within": f"between {least} and {most}",
        }[self.says]
        near = ", ".join(f"{least:.0%} of its {name}" for name, least in self.least_scale.items())
        return f"{self.measure}: {rule}; between {least} and {most} it counts as none" + (
            f". Decided only at {near} or more" if near else ""
        )


def draw_verdicts(claims: Sequence[Claim], rows: pd.DataFrame) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each claim, by its name; "not tested" where its rows are not there."""
    found = {}
    for claim in claims:
        try:
            findings = tuple(claim.find(rows))
        except NotMeasuredError as missing:
            findings = (Finding("all", None, note=f"not measured: {missing}"),)
        found[claim.name] = tuple(_verdict(claim, finding) for finding in findings)
    return found


def _verdict(claim: Claim, finding: Finding) -> Verdict:
    known = {name: finding.scale.get(name, 0.0) for name in claim.least_scale}
    return Verdict(
        claim=claim.sentence,
        dataset=finding.dataset,
        cell=finding.cell,
        measure=claim.measure,
        says=claim.says,
        margin=claim.margin,
        none=claim.none,
        estimate=finding.estimate,
        paper_effect=finding.paper_effect,
        control=claim.control,
        control_estimate=finding.control_estimate,
        beyond_control=finding.beyond_control,
        control_missing=finding.control_missing,
        scale=known | dict(finding.scale),
        least_scale=claim.least_scale,
        passes_where_known=finding.passes_where_known,
        asked_by=claim.asked_by,
        note=finding.note,
    )


def gaps(
    frame: pd.DataFrame, between: str, a: object, b: object, *, pair_on: Sequence[str]
) -> pd.Series:
    """`a` minus `b` of column `between`, for every pair that has both, by the columns `pair_on`."""
    sides = _sides(frame, between, (a, b), pair_on)
    missing = [side for side in (a, b) if side not in sides]
    if missing:
        raise NotMeasuredError(f"{between} {', '.join(map(repr, missing))}")
    return (sides[a] - sides[b]).dropna()


def _sides(
    frame: pd.DataFrame, between: str, sides: Sequence[object], pair_on: Sequence[str]
) -> pd.DataFrame:
    """The values of those `sides` that are there (columns), for every pair (rows)."""
    require_columns("frame", frame, [between, *pair_on, "value"])
    found = frame[frame[between].isin(sides)]
    return found.pivot(index=list(pair_on), columns=between, values="value")


def estimate(values: pd.Series, units: str, *, factor: float = 1.0, **options) -> Estimate:
    """`Estimate.of_mean` times `factor`; a `NotMeasuredError` below two units."""
    clusters = options.get("clusters")
    n = len(values) if clusters is None else pd.Series(clusters).nunique()
    if n < 2:
        raise NotMeasuredError(f"{n} {units}, where an interval needs two")
    return Estimate.of_mean(values, units=units, **options).times(factor)


def compared(
    frame: pd.DataFrame,
    between: str,
    method: object,
    base: object,
    control: object,
    *,
    pair_on: Sequence[str],
    units: str,
    factor: float = 1.0,
    cluster: str | None = None,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> dict[str, Estimate]:
    """A method against what it is said to beat, and against its control: fields of a `Finding`.

    Over the pairs that have all three; without estimates where these are too few. `cluster` is one
    of the columns `pair_on`: its values are then the units. `bounds` are those of a difference.
    """
    three = [method, base, control]
    sides = _sides(frame, between, three, pair_on).reindex(columns=three).dropna()
    clusters = None if cluster is None else sides.index.get_level_values(cluster)
    if len(sides if cluster is None else set(clusters)) < 2:
        return {"estimate": None}
    return {
        name: estimate(sides[a] - sides[b], units, factor=factor, clusters=clusters, bounds=bounds)
        for name, a, b in (
            ("estimate", method, base),
            ("control_estimate", control, base),
            ("beyond_control", method, control),
        )
    }


def levels(
    own: pd.Series, control: pd.Series, units: str, *, cluster: str | None = None, **options
) -> dict[str, Estimate]:
    """What a method and its control show, each by itself: fields of a `Finding`.

    Both are indexed by unit. Where they differ by the same everywhere there is no lead to estimate.
    """

    def over(values: pd.Series, **kept) -> Estimate:
        clusters = None if cluster is None else values.index.get_level_values(cluster)
        return estimate(values, units, clusters=clusters, **kept)

    found = {"estimate": over(own, **options), "control_estimate": over(control, **options)}
    lead = (own - control).dropna()
    if lead.nunique() > 1:
        found["beyond_control"] = over(lead, factor=options.get("factor", 1.0))
    return found


def metric_rows(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric."""
    return rows[rows.metric == metric]
