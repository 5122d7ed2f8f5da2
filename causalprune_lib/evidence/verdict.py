"""What a claim of a paper came to when it was tested, and on which rows that rests.

A verdict is drawn from full-size runs of known code only: `require_full` holds that line.
Quick runs illustrate; they decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.evidence.statistics import paired_difference, require_columns

VERDICTS = ("reproduced", "partly", "not reproduced", "not tested here")
NEEDED = ("commit", "dirty", "causalprune_lib", "torch", "numpy", "python", "device", "cpu")
NEEDED += ("seconds", "started", "seed")


def require_full(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` if a verdict may rest on it; raise otherwise.

    Every row must be a result (no recorded error) of profile "full", from a commit with nothing
    changed since, with versions, device, seconds, start and seed.

    >>> require_full(pd.DataFrame({"profile": ["quick"], "value": [0.9]}))
    Traceback (most recent call last):
        ...
    ValueError: frame must have profile "full" in every row; got 1 of 1 rows otherwise: 'quick'.
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

    check("profile", 'have profile "full"', lambda column: column.eq("full"))
    for name in NEEDED:
        check(name, f"say {name}", lambda column: column.notna() & column.ne(""))
    check("dirty", 'have dirty "False"', lambda column: column.astype(str).str.lower().eq("false"))
    check("error", "be without error", lambda column: column.isna() | column.eq(""))
    return frame


@dataclass(frozen=True)
class Verdict:
    """One claim, what was found, and the control that would have exposed it.

    Examples
    --------
    >>> verdict = Verdict(
    ...     claim="Magnitude pruning beats random pruning.",
    ...     verdict="reproduced",
    ...     effect=0.083,
    ...     interval=(0.032, 0.135),
    ...     n_seeds=3,
    ...     control="random masks with the same count in every layer",
    ... )
    >>> print(verdict.to_markdown())
    **Reproduced.** Magnitude pruning beats random pruning.
    <BLANKLINE>
    - Effect: 0.083 (95% interval 0.032 to 0.135), 3 seeds.
    - Control: random masks with the same count in every layer.
    """

    claim: str  # in one sentence, with where the paper makes it
    verdict: str  # one of VERDICTS
    effect: float | None  # in `unit`; None only for "not tested here"
    interval: tuple[float, float] | None
    n_seeds: int  # how many seeds the interval is over
    control: str  # the comparison that would have exposed the claim if it were false
    unit: str = ""
    level: float = 0.95  # of the interval

    def __post_init__(self) -> None:
        check_choice("verdict", self.verdict, VERDICTS)
        for name in ("claim", "control"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(f"{name} must be a sentence; got {getattr(self, name)!r}.")
        if self.verdict == "not tested here":
            if (self.effect, self.interval, self.n_seeds) != (None, None, 0):
                raise ValueError(
                    "effect, interval and n_seeds must be None, None and 0 where nothing was "
                    f"tested; got {self.effect!r}, {self.interval!r}, {self.n_seeds!r}."
                )
            return
        check_int("n_seeds", self.n_seeds, minimum=2)
        low, high = (*(self.interval or ()), math.nan, math.nan)[:2]
        effect = math.nan if self.effect is None else self.effect
        if not (math.isfinite(low) and math.isfinite(high) and low <= effect <= high):
            raise ValueError(
                "effect must be a number inside a finite interval; got "
                f"{self.effect!r} and {self.interval!r}."
            )

    @classmethod
    def from_pairs(
        cls,
        claim: str,
        verdict: str,
        frame: pd.DataFrame,
        *,
        between: str,
        a: object,
        b: object,
        control: str,
        pair_on: str | Sequence[str] = "seed",
        unit: str = "",
        level: float = 0.95,
    ) -> Verdict:
        """Draw the effect `a` minus `b`, its interval and the seeds from full rows of one metric.

        The rows must pass `require_full`, and each have a partner.
        """
        found = paired_difference(
            require_full(frame), between=between, a=a, b=b, pair_on=pair_on, level=level
        )
        if found.unpaired:
            raise ValueError(
                f"frame must hold a partner for every row; got {found.unpaired} without one."
            )
        interval = (found.low, found.high)
        return cls(claim, verdict, found.mean, interval, found.n, control, unit, level)

    def to_markdown(self) -> str:
        """Write the verdict as plain Markdown, which every notebook viewer can show."""
        lines = [f"**{self.verdict.capitalize()}.** {self.claim}", ""]
        if self.effect is not None and self.interval is not None:
            low, high = self.interval
            unit = f" {self.unit}" if self.unit else ""
            lines.append(
                f"- Effect: {self.effect:.3g}{unit} ({self.level:.0%} interval {low:.3g} to "
                f"{high:.3g}), {self.n_seeds} seeds."
            )
        lines.append(f"- Control: {self.control.rstrip('.')}.")
        return "\n".join(lines)

    _repr_markdown_ = to_markdown
