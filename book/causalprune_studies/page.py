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

READ_AS = {  # data sets, as readers call them
    "cifar10": "CIFAR-10",
    "fashion_mnist": "Fashion-MNIST",
    "imagenet": "ImageNet",
    "iris3f": "iris, three features",
    "iris_csv": "iris",
    "mnist": "MNIST",
    "tiny_imagenet": "Tiny ImageNet",
}


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


def at_most(gap: PairedDifference | pd.Series, unit: str = "") -> str:
    """How large a difference can be, either way: the end of its interval that is further from zero.

    What may be said in place of "no effect". Rounded up, to two digits; options as in `say`.

    Examples
    --------
    >>> at_most(pd.Series({"mean": 0.0312, "low": -0.0021, "high": 0.0645}), "points")
    '6.5 points'
    """
    scale = 100 if unit.startswith(("points", "%")) else 1
    size = scale * max(abs(gap.low), abs(gap.high))
    if not math.isfinite(size):
        return "not known"
    digits = 1 - math.floor(math.log10(size)) if size else 0
    step = 10.0**-digits
    size = step * math.ceil(size / step - 1e-9)
    return f"{size:.{max(0, digits)}f} {unit}".rstrip()


def reading(gap: PairedDifference | pd.Series, margin: float, unit: str = "") -> str:
    """What the interval of a difference allows to say, where less than `margin` does not matter.

    Inside the margin the two sides are "no more than" so much apart, and the side is named if the
    interval leaves out zero. Else it is "above" or "below", or one cannot tell.

    Parameters
    ----------
    gap : PairedDifference or row of a table
        With `low` and `high`.
    margin : float
        Above zero, in the unit of `gap`.
    unit : str
        As in `say`.

    Examples
    --------
    >>> reading(pd.Series({"low": -0.0056, "high": 0.0081}), 0.02, "points")
    'no more than 0.9 points apart'
    >>> reading(pd.Series({"low": -0.42, "high": 0.37}), 0.02, "points")
    'one cannot tell'
    """
    if not margin > 0:
        raise ValueError(f"margin must be above zero; got {margin!r}.")
    side = "above" if gap.low > 0 else "below" if gap.high < 0 else ""
    furthest = max(abs(gap.low), abs(gap.high))
    if not furthest < margin:
        return side or "one cannot tell"
    scale = 100 if unit.startswith(("points", "%")) else 1
    digits = max(0, 1 - math.floor(math.log10(scale * margin)))
    bound = math.ceil(scale * furthest * 10**digits - 1e-9) / 10**digits  # never below the interval
    size = " ".join(filter(None, (f"no more than {bound:.{digits}f}", unit)))
    return f"{side}, by {size}" if side else f"{size} apart"


def criteria(claims: Sequence[Claim]) -> Markdown:
    """What each claim takes, as a list."""
    return Markdown("\n".join(f"- *{claim.name}*: {claim.criterion}." for claim in claims))


def verdict_boxes(found: Mapping[str, Sequence[Verdict]]) -> Markdown:
    """A box for every claim, a line for each verdict; the cell needs `markdown_format: myst`."""
    return Markdown("\n\n".join(_box(name, verdicts) for name, verdicts in found.items()))


def _box(name: str, verdicts: Sequence[Verdict]) -> str:
    first, lines = verdicts[0], [_line(verdict) for verdict in verdicts]
    columns = ["where", "verdict", "effect (95% interval)", "of", "paper", "control"]
    kept = [i for i in range(len(columns)) if any(line[i] for line in lines)]
    rule = ["---"] * len(columns)
    table = [f"| {' | '.join(row[i] for i in kept)} |" for row in (columns, rule, *lines)]
    own = " *This is the book's own question.*" if first.asked_by == "book" else ""
    return (
        f":::{{admonition}} Verdict: {name}\n:class: verdict\n"
        f"**{in_few_words(verdicts)}.** {first.claim}{own}\n\n"
        f"Effect: {first.measure}. From {first.margin[0]:g} to {first.margin[1]:g} it counts as "
        f"none. Control: {first.control}.{_scale(verdicts)}\n\n"
        + "\n".join(table)
        + f"\n{_notes(verdicts)}\n:::"
    )


def _scale(verdicts: Sequence[Verdict]) -> str:
    """The shares of the paper's scale that the measured verdicts have, from least to most."""
    shares: dict[str, list[float]] = {}
    for verdict in verdicts:
        for name, share in verdict.scale.items() if verdict.estimate else ():
            shares.setdefault(name, []).append(share)
    ends = {name: (f"{min(found):.0%}", f"{max(found):.0%}") for name, found in shares.items()}
    said = [f"{name} {' to '.join(dict.fromkeys(both))}" for name, both in ends.items()]
    return f" Of the paper's scale: {', '.join(said)}." if said else ""


def _notes(verdicts: Sequence[Verdict]) -> str:
    """Each note once, with where it holds if that is in few places and it does not say so."""
    found: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.note:
            found.setdefault(verdict.note, []).append(place_of(verdict))
    lines = []
    for note, places in found.items():
        said = ": " in note[:30]  # it begins with its place
        few = len(places) <= 3 and len(places) < len(verdicts) and not said
        lines.append(f"{'; '.join(places)}: {note}" if few else note[0].upper() + note[1:])
    return "".join(f"\n- {line.rstrip('.')}." for line in lines)


def place_of(verdict: Verdict) -> str:
    """Data set and cell of a verdict, as readers call them.

    >>> from types import SimpleNamespace as One
    >>> place_of(One(dataset="fashion_mnist", cell="80% pruned"))
    'Fashion-MNIST, 80% pruned'
    """
    dataset = READ_AS.get(verdict.dataset, verdict.dataset)
    return f"{dataset}, {verdict.cell}" if verdict.cell else dataset


def in_few_words(verdicts: Sequence[Verdict]) -> str:
    """The word, if there is one; else how often each falls.

    >>> from types import SimpleNamespace as One
    >>> in_few_words([One(word="partly"), One(word="undecided"), One(word="undecided")])
    'Undecided (2); partly (1)'
    """
    counts = pd.Series([verdict.word for verdict in verdicts]).value_counts()
    text = "; ".join(f"{word} ({n})" for word, n in counts.items())
    text = counts.index[0] if len(counts) == 1 else text
    return text[0].upper() + text[1:]


def _line(verdict: Verdict) -> list[str]:
    """The cells of a verdict in the table of its box; empty where there is nothing to say."""
    found, control, paper = verdict.estimate, verdict.control_estimate, verdict.paper_effect
    word = f"{verdict.word} ({verdict.decides})" if verdict.decides else verdict.word
    units = f"{found.n} {found.units}" if found else ""
    paper = "" if paper is None else f"{paper:.3g}"
    numbers = [found.interval if found else "", units, paper, control.interval if control else ""]
    return [place_of(verdict), word, *numbers]


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
