"""What a page needs beside its chapter: code to look at, differences in words, the full rows."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from IPython.display import Markdown

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.statistics import PairedDifference
from causalprune_lib.evidence.verdict import Verdict, require_full
from causalprune_studies.chapters import rows_of_studies
from causalprune_studies.judge import Claim, NotMeasuredError
from causalprune_studies.tables import measured, measured_names


@dataclass(frozen=True)
class show_source:
    """The source of a function, method or class: the last line of a notebook cell shows it.

    >>> print(show_source(show_source.__str__))
    def __str__(self) -> str:
        return textwrap.dedent(inspect.getsource(self.thing)).rstrip()
    """

    thing: Callable | type

    def __str__(self) -> str:
        return textwrap.dedent(inspect.getsource(self.thing)).rstrip()

    def _repr_markdown_(self) -> str:  # what Jupyter shows
        return f"```python\n{self}\n```"


def say(gap: PairedDifference | pd.Series, unit: str = "") -> str:
    """A difference with its interval, rounded to two digits of the interval's half width.

    Parameters
    ----------
    gap : PairedDifference or row of a table
        With `mean`, `low` and `high`.
    unit : str
        Stands behind the difference. A share is said in "points" or "%", 100 times the number.

    Examples
    --------
    >>> say(pd.Series({"mean": 0.0312, "low": -0.0021, "high": 0.0645}), "points")
    '+3.1 points (−0.2 to +6.5)'
    >>> say(pd.Series({"mean": 12.34, "low": math.nan, "high": math.nan}), "epochs")
    '+12.3 epochs (no interval)'
    """
    scale = 100 if unit.startswith(("points", "%")) else 1
    mean = gap["mean"] if isinstance(gap, pd.Series) else gap.mean
    mean, low, high = (scale * number for number in (mean, gap.low, gap.high))
    if math.isnan(mean):
        return "not measurable"
    known = math.isfinite(low) and math.isfinite(high)
    width = (high - low) / 2 if known and high > low else abs(mean) / 10 or 1.0
    digits = 1 - math.floor(math.log10(width))
    form = "+.2e" if digits > 6 else f"+.{max(0, digits)}f"
    middle, low, high = (f"{number:{form}}".replace("-", "−") for number in (mean, low, high))
    interval = f"{low} to {high}" if known else "no interval"
    return " ".join(filter(None, (middle, unit, f"({interval})")))


def criteria(claims: Sequence[Claim]) -> Markdown:
    """The criterion of every claim, as a list."""
    return Markdown("\n".join(f"- *{claim.name}*: {claim.criterion}." for claim in claims))


def verdict_boxes(found: Mapping[str, Verdict]) -> Markdown:
    """A box for every verdict; the cell needs `markdown_format: myst`."""
    return Markdown(
        "\n\n".join(
            f":::{{admonition}} Verdict: {name}\n:class: verdict\n{verdict.to_markdown()}\n:::"
            for name, verdict in found.items()
        )
    )


def chapter_rows(name: str) -> pd.DataFrame:
    """The full rows of a study, which a verdict may rest on.

    Parameters
    ----------
    name : str
        A name that `python -m causalprune_studies run --list` shows.

    Raises
    ------
    NotMeasuredError
        The rows are missing; the command that measures them is named.
    ValueError
        For an unknown name; if a verdict may not rest on these rows, as `require_full` says.

    Examples
    --------
    >>> chapter_rows("what-a-network-can-lose").seed.nunique()
    3
    """
    check_choice("name", name, rows_of_studies())
    if name not in measured_names():
        raise NotMeasuredError(
            f"the rows {name!r} are missing; this measures them: "
            f"python -m causalprune_studies run {name}"
        )
    return require_full(measured(name))
