"""All verdicts of the book in one table, with their effects drawn beside them as a forest plot.

Effects have many units, so the plot has one scale of its own: 0 is no effect, 1 is what the claim
says (the paper's effect, or the smallest of interest where the paper prints none).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
from IPython.display import Markdown

from causalprune_lib.evidence.estimate import Estimate
from causalprune_lib.evidence.verdict import WORDS, Verdict
from causalprune_studies.chapters import all_verdicts
from causalprune_studies.page import place_of

LEAST, MOST = -2.0, 3.0  # of the plot; what lies beyond ends in an arrow
HEAD = ("chapter", "claim", "where", "verdict", "effect (95% interval)", "paper")
HEAD += ("from none to the claim", "scale")
WIDTH, HEIGHT = 180, 26  # of a line of the plot, in CSS pixels


def verdict_rows() -> list[dict]:
    """Every verdict as a row: `chapter` (its page), `claim` (its name), and `Verdict.to_row`."""
    rows = []
    for chapter, name, verdict in all_verdicts():
        row = verdict.to_row()
        rows.append({"claim": name, "chapter": chapter.PAGE, "sentence": row.pop("claim"), **row})
    return rows


def verdicts_as_json() -> str:
    """All verdicts as a JSON list, one object for each; what is not known is null."""
    return json.dumps(verdict_rows(), indent=1, allow_nan=False)


def verdicts_as_text() -> str:
    """A line for each verdict: chapter, claim, where, the word, the effect and its measure."""
    lines = []
    for chapter, name, verdict in all_verdicts():
        found = f"{verdict.estimate} {verdict.measure}" if verdict.estimate else "not measured"
        lines.append(f"{chapter.PAGE[:2]}  {name} ({place_of(verdict)}): {verdict.word}; {found}")
    return "\n".join(lines)


def words_by_chapter(verdicts: Iterable[tuple[Any, str, Verdict]]) -> pd.DataFrame:
    """How many verdicts have each of `WORDS` (rows), in each chapter (columns) and in all."""
    found = [(str(int(c.PAGE[:2])), verdict.word) for c, _, verdict in verdicts]
    table = pd.DataFrame(found, columns=["chapter", "word"])
    table = pd.crosstab(table.word, table.chapter).reindex(list(WORDS), fill_value=0)
    table = table[list(dict.fromkeys(chapter for chapter, _ in found))]
    return table.assign(all=table.sum(axis=1)).rename_axis(index="word", columns="chapter")


def meanings() -> Markdown:
    """When a verdict has which word, as a list."""
    return Markdown("\n".join(f"- **{word}**: {meaning}." for word, meaning in WORDS.items()))


def positions(verdict: Verdict, found: Estimate) -> tuple[float, float, float]:
    """Low end, effect and high end on the scale of the plot.

    Of a claim that nothing is lost, 0 is the margin's end and 1 is no loss; of a claim that two
    things are the same, 0 is the margin's end and 1 no difference.
    """
    least, most = verdict.margin
    ends = [found.low, found.effect, found.high]
    values = [math.log(x) if found.ratio else x for x in (*ends, verdict.none, least, most)]
    *ends, none, least, most = values
    if verdict.says == "within":
        away = [abs(x - none) / (most - none if x > none else none - least) for x in ends]
        crosses = ends[0] < none < ends[2]
        nearest = 0.0 if crosses else min(away[0], away[2])
        return 1 - max(away[0], away[2]), 1 - away[1], 1 - nearest
    if verdict.says.startswith("not"):
        zero, one = (least if verdict.says == "not below" else most), none
    else:
        zero, one = none, math.log(verdict.target) if found.ratio else verdict.target
    low, effect, high = sorted((x - zero) / (one - zero) for x in ends)
    return low, effect, high


@dataclass(frozen=True)
class forest_table:
    """The verdicts as a table that a page shows; sorted and filtered where the page has scripts."""

    verdicts: tuple[tuple[Any, str, Verdict], ...]

    def _repr_html_(self) -> str:
        cells = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in HEAD)
        body = "".join(map(self._line, self.verdicts))
        return (
            '<table class="verdicts sortable" role="table"><caption>Every verdict. The dot is the '
            "effect, the line its interval; the left rule is no effect, the right one what the "
            "claim says."
            f'</caption><thead><tr role="row">{cells}</tr></thead><tbody>{body}</tbody></table>'
        )

    @staticmethod
    def _line(item: tuple[Any, str, Verdict]) -> str:
        chapter, name, verdict = item
        found, number = verdict.estimate, int(chapter.PAGE[:2])
        where = place_of(verdict)
        own = " (the book’s own question)" if verdict.asked_by == "book" else ""
        scale = ", ".join(f"{name} {share:.0%}" for name, share in verdict.scale.items())
        paper = "" if verdict.paper_effect is None else f"{verdict.paper_effect:.3g}"
        place = "" if found is None else positions(verdict, found)[1]
        effect = f"{found}<br><small>{escape(verdict.measure)}</small>" if found else ""
        cells = (
            (number, f'<a href="{chapter.PAGE}.html">{number}</a>'),
            (name, f"{escape(name)}{own}"),
            (where, escape(where)),
            (list(WORDS).index(verdict.word), verdict.word),
            ("" if found is None else found.effect, effect),
            ("" if verdict.paper_effect is None else verdict.paper_effect, paper),
            (place, "" if found is None else _drawn(verdict)),
            (scale, scale),
        )
        cells = "".join(
            f'<td role="cell" data-name="{name}" data-order="{escape(str(key))}">{text}</td>'
            for name, (key, text) in zip(HEAD, cells, strict=True)
        )
        return f'<tr role="row">{cells}</tr>'


def _drawn(verdict: Verdict) -> str:
    """One line of the forest plot, as SVG in the colour of the text."""
    low, effect, high = positions(verdict, verdict.estimate)
    middle = HEIGHT / 2

    def x(value: float) -> float:
        clipped = min(max(value, LEAST), MOST)
        return round(6 + (WIDTH - 12) * (clipped - LEAST) / (MOST - LEAST), 1)

    marks = [
        f'<line x1="{x(at)}" x2="{x(at)}" y1="0" y2="{HEIGHT}" stroke="currentColor" '
        f'stroke-opacity="0.45"{dash}/>'
        for at, dash in ((0, ""), (1, ' stroke-dasharray="3 3"'))
    ]
    marks.append(
        f'<line x1="{x(low)}" x2="{x(high)}" y1="{middle}" y2="{middle}" stroke="currentColor" '
        'stroke-width="2"/>'
    )
    for end, edge, turn in ((low, LEAST, 5), (high, MOST, -5)):
        if (end < LEAST) if edge == LEAST else (end > MOST):
            marks.append(
                f'<path d="M{x(edge) + turn} {middle - 4}L{x(edge)} {middle}L{x(edge) + turn} '
                f'{middle + 4}" fill="none" stroke="currentColor" stroke-width="2"/>'
            )
    if LEAST <= effect <= MOST:
        marks.append(f'<circle cx="{x(effect)}" cy="{middle}" r="4" fill="currentColor"/>')
    text = f"{low:.2g} to {high:.2g} of what the claim says, {effect:.2g} in the middle"
    return (
        f'<span class="plot"><svg role="img" aria-label="{text}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(marks)}</svg></span>'
    )
