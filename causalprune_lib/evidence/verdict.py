"""What a claim came to when it was tested: an estimate first, and the word that follows from it.

Nobody chooses the word. It follows from the interval, from what the claim says, from the margin
within which an effect counts as none, from the paper's own effect, from the control and from how
near to the paper's scale the test came. Margin and scale are set before anything is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.statistics import require_columns

WORDS = {  # word -> what it means
    "reproduced": "the interval leaves out “no effect”, holds or exceeds the paper's effect, and "
    "the control does not do it",
    "reproduced, and the control does it too": "the same, but the control shows it as well",
    "partly": "the direction is right, or nothing is lost, and the size is not the paper's",
    "contradicted": "the interval excludes the paper's effect, and lies within the margin or on "
    "the other side",
    "undecided": "the interval holds both what would bear the claim out and what would not",
    "not tested at the paper's scale": "what was run is too far from it for any of the above",
    "not tested": "nothing was measured, or the test fails where the answer is known",
}
SAYS = ("above", "below", "not below", "not above", "within")
NEEDED = ("commit", "dirty", "causalprune_lib", "torch", "numpy", "python", "device", "cpu")
NEEDED += ("seconds", "started", "seed")


@dataclass(frozen=True)
class Verdict:
    """One claim on one data set, what was found, and the control that would have exposed it.

    A claim says that an effect is "above" or "below" `none` (a difference), "not below" or "not
    above" the margin's end (nothing is lost), or "within" the margin (the same). The margin is
    what counts as no effect; its far end is the smallest effect of interest, and stands in for the
    paper's effect where the paper prints none. "Not below" and "within" are decided as by one or
    two one-sided tests at 2.5%.

    Examples
    --------
    >>> verdict = Verdict(
    ...     claim="Causal pruning beats magnitude pruning.",
    ...     dataset="cifar10",
    ...     measure="points of accuracy, causal minus magnitude",
    ...     says="above",
    ...     margin=(-1, 1),
    ...     paper_effect=11.5,
    ...     estimate=Estimate(9.0, 3.1, 14.9, 3, "networks", sd=2.4),
    ...     control="random weights at causal's counts",
    ...     control_estimate=Estimate(9.3, 4.0, 14.6, 3, "networks"),
    ... )
    >>> verdict.word
    'reproduced, and the control does it too'
    """

    claim: str  # in one sentence, with where the paper makes it
    measure: str  # what the effect is, with its unit
    says: str  # one of SAYS
    margin: tuple[float, float]  # between these the effect counts as none
    estimate: Estimate | None  # None: nothing was measured
    control: str  # the comparison that would have exposed the claim if it were false
    control_estimate: Estimate | None = None  # the same effect, shown by the control
    beyond_control: Estimate | None = None  # the effect minus the control's, pair by pair
    control_missing: bool = False  # there is one, and it was not run here
    paper_effect: float | None = None  # where the paper prints one
    none: float = 0.0  # no effect; 1 for a ratio
    dataset: str = "all"
    cell: str = ""  # of the paper's table or figure, where a data set has several
    scale: Mapping[str, float] = field(default_factory=dict)  # quantity -> share of the paper's
    least_scale: Mapping[str, float] = field(default_factory=dict)  # below which nothing is decided
    passes_where_known: bool | None = None  # the test, where the answer is known; None: no test
    asked_by: str = "paper"
    note: str = ""

    def __post_init__(self) -> None:
        check_choice("says", self.says, SAYS)
        for name in ("claim", "measure", "control", "dataset"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(f"{name} must be a sentence; got {getattr(self, name)!r}.")
        least, most = self.margin
        if not least <= self.none <= most or least == most:
            raise ValueError(f"margin must hold {self.none} (none); got {self.margin!r}.")
        if self.estimate and self.estimate.ratio and least <= 0:
            raise ValueError(f"margin of a ratio must be above 0; got {self.margin!r}.")
        numbers = {"paper_effect": self.paper_effect} | {
            f"scale[{k!r}]": v for k, v in self.scale.items()
        }
        for name, number in numbers.items():
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{name} must be a finite number; got {number!r}.")
        for name in self.least_scale:
            check_choice("least_scale: each", name, self.scale)

    @property
    def word(self) -> str:
        """The one of `WORDS` that follows."""
        if self.estimate is None or self.passes_where_known is False:
            return "not tested"
        if any(self.scale[name] < least for name, least in self.least_scale.items()):
            return "not tested at the paper's scale"
        word = self._word(self.estimate)
        if word != "reproduced" or (self.control_estimate is None and not self.control_missing):
            return word
        shown = self.control_does_it
        if shown is None:
            return "undecided"
        return "reproduced, and the control does it too" if shown else word

    @property
    def control_does_it(self) -> bool | None:
        """Whether the control shows the claimed effect too; None where that cannot be told.

        It does not where its own interval refutes the claim. It does where the lead of a method
        that passes lies below the smallest effect of interest; it does not where the method leads
        it otherwise (the whole interval); it does where its own interval bears the claim out.
        """
        if self.estimate is None or self.control_estimate is None:
            return None
        own, method = self._word(self.control_estimate), self._word(self.estimate)
        if own == "contradicted":
            return False
        if self.beyond_control is not None and self.says in ("above", "below"):
            low, high, none, (_, most) = self._upwards(self.beyond_control)
            if method == "reproduced" and high < most:
                return True
            if low > none:
                return False
        return None if own == "undecided" else True

    @property
    def target(self) -> float:
        """The effect that the paper claims; the smallest of interest where it prints none."""
        least, most = self.margin
        upwards = self.says in ("above", "not below", "within")
        printed = self.paper_effect
        if printed is not None and (printed > self.none if upwards else printed < self.none):
            return printed
        return most if upwards else least

    def _word(self, estimate: Estimate) -> str:
        low, high, none, (least, most) = self._upwards(estimate)
        if self.says == "within":
            inside, outside = least < low and high < most, high < least or low > most
            return self._kept(estimate, inside, outside)
        if self.says.startswith("not"):
            return self._kept(estimate, low > least, high < least)
        printed = self.paper_effect
        holds_paper = printed is not None and estimate.low <= printed <= estimate.high
        if holds_paper and low <= none <= high:
            return "undecided"
        target = self.target if self.says == "above" else -self.target
        if low > none and high >= target:
            return "reproduced"
        if high < target and high < most:
            return "contradicted"
        return "partly" if low > none else "undecided"

    def _kept(self, found: Estimate, holds: bool, fails: bool) -> str:
        """The word on a claim that nothing is lost; partly where the paper shows more than that."""
        printed, (least, most) = self.paper_effect, self.margin
        if holds and printed is not None and not found.low <= printed <= found.high:
            gains = self.says != "not above" and printed > most
            if gains or (self.says != "not below" and printed < least):
                return "partly"
        return "reproduced" if holds else "contradicted" if fails else "undecided"

    def _upwards(self, estimate: Estimate) -> tuple[float, float, float, tuple[float, float]]:
        """Interval, none and margin, turned so that the claim says "above"."""
        least, most = self.margin
        if self.says in ("below", "not above"):
            return -estimate.high, -estimate.low, -self.none, (-most, -least)
        return estimate.low, estimate.high, self.none, (least, most)

    @property
    def decides(self) -> str:
        """Of an undecided verdict: the power it had, and how many units would give four in five."""
        if self.estimate is None or self.word != "undecided":
            return ""
        if self._word(self.estimate) == "reproduced":
            return "the effect is there; whether the control shows it too cannot be told"
        found, ratio, (least, most) = self.estimate, self.estimate.ratio, self.margin

        def gap(end: float) -> float:
            """How far what was found lies from a limit; times, of ratios."""
            return max(found.effect / end, end / found.effect) if ratio else abs(found.effect - end)

        if self.says not in ("above", "below"):
            limits = {"not below": (least,), "not above": (most,), "within": self.margin}
            distance, said = min(map(gap, limits[self.says])), "to tell it from the limit: "
        else:
            distance = self.target / self.none if ratio else self.target - self.none
            power, printed = found.power(distance), self.target == self.paper_effect
            what = "the paper's effect" if printed else "an effect that matters"
            said = "" if math.isnan(power) else f"power {power:.0%} for {what}; "
            if (found.units_needed(distance) or found.n + 1) <= found.n:
                end = min(self.target, most) if self.says == "above" else max(self.target, least)
                distance, said = max(gap(self.none), gap(end)), said + "to tell what was found: "
        needed = found.units_needed(distance)
        return "" if needed is None else f"{said}{max(needed, found.n + 1)} {found.units} for 80%"

    def to_row(self) -> dict[str, Any]:
        """The verdict as a row of a table; None where there is nothing to say."""
        found, control = self.estimate, self.control_estimate
        own = ("claim", "asked_by", "dataset", "cell", "word")
        row = {name: getattr(self, name) for name in own}
        row |= {name: getattr(found, name, None) for name in ("effect", "low", "high")}
        row |= {"measure": self.measure, "paper_effect": self.paper_effect, "none": self.none}
        row |= {"says": self.says, "margin_low": self.margin[0], "margin_high": self.margin[1]}
        row |= {"n_units": found.n if found else 0, "unit": found.units if found else ""}
        row |= {
            "scale": {k: float(share) for k, share in self.scale.items()},
            "control": self.control,
        }
        row |= {f"control_{k}": getattr(control, k, None) for k in ("effect", "low", "high")}
        row |= {"control_does_it": self.control_does_it, "decides": self.decides}
        return row | {"passes_where_known": self.passes_where_known, "note": self.note}


def require_full(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` if a verdict may rest on it; raise otherwise.

    Every row must be a result (no recorded error) of profile "full" or "paper", from a commit with
    nothing changed since, with versions, device, seconds, start and seed.

    >>> require_full(pd.DataFrame({"profile": ["quick"], "value": [0.9]}))
    Traceback (most recent call last):
        ...
    ValueError: frame must have profile "full" or "paper" in every row; got 1 of 1 rows otherwise: \
'quick'.
    """
    require_columns("frame", frame, [])
    if frame.empty:
        raise ValueError("frame must hold at least one row; got none.")

    def check(name: str, rule: str, holds: Callable[[pd.Series], pd.Series]) -> None:
        column = frame.get(name, pd.Series(math.nan, index=frame.index, dtype=object))
        broken = ~holds(column).astype(bool)
        if broken.any():
            raise ValueError(
                f"frame must {rule} in every row; got {int(broken.sum())} of {len(frame)} rows "
                f"otherwise: {column[broken].iloc[0]!r}."
            )

    check(
        "profile", 'have profile "full" or "paper"', lambda column: column.isin(["full", "paper"])
    )
    for name in NEEDED:
        check(name, f"say {name}", lambda column: column.notna() & column.ne(""))
    check("dirty", 'have dirty "False"', lambda column: column.astype(str).str.lower().eq("false"))
    check("error", "be without error", lambda column: column.isna() | column.eq(""))
    return frame
