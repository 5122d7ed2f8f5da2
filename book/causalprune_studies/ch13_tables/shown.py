"""The cells of a published table as a reader sees them: a box that scrolls, points to draw."""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
from IPython.display import HTML

from causalprune_studies.ch13_tables.cells import COUNTED, NOT_TESTED, SETTING
from causalprune_studies.ch13_tables.legcnet import network_and_metric

DIGITS = {"fraction": ".3f", "%": ".2f", "epochs": ",.1f", "weights": ",.1f", "times": ".2f"}
DIGITS |= {"exponent": ".2f", "weighted exponent": ".2f", "parameters": ",.0f"}
UNITS = {"%": " %", "times": " times"}
BOX = "max-height: 34rem; overflow: auto"


def shown(table: pd.DataFrame, title: str, *, best: str = "best of five") -> HTML:
    """The cells in a box that scrolls, and below it where each number of ours comes from.

    Letters in the last column stand for the sources: rows, profile, scale and command. `best` says
    what the column of that name holds, where there is one.
    """
    phrases = {"best": best, "same": "printed trial"}
    keys = _keys(table)
    known = [key for key in keys.unique() if any(key)]
    sources = dict(zip(known, string.ascii_lowercase, strict=False))
    texts = {
        "published": [number(c.published, c.unit, printed=True) for c in table.itertuples()],
        "here (95% interval)": [ours(c) for c in table.itertuples()],
        "of": [f"{c.n:.0f} {c.units}" if c.n else "" for c in table.itertuples()],
        "control": [control(c) for c in table.itertuples()],
        **{
            phrase: [number(v, u) for v, u in zip(table[name], table.unit, strict=True)]
            for name, phrase in phrases.items()
            if table[name].notna().any()
        },
        "source": [sources.get(key, "") for key in keys],
    }
    places = [place(c.row, c.label) for c in table.itertuples()]
    view = pd.DataFrame(texts, index=[places, table.column])
    box = f'<div class="paper-table" tabindex="0" role="region" style="{BOX}"'
    box += f' aria-label="{html.escape(title)}">'
    listed = "".join(f"<li>{_source(key, letter)}</li>" for key, letter in sources.items())
    return HTML(f"{box}{_html(view)}</div><ul>{listed}</ul>")


def place(row: str, label: str) -> str:
    """Where a cell stands: the heading of its row, and the figure if it is one's.

    Examples
    --------
    >>> place("figure 2(c)/causal", "LeNet on CIFAR10"), place("cancer", "Cancer(12)")
    ('Figure 2(c): LeNet on CIFAR10', 'Cancer(12)')
    """
    figure = row.partition("/")[0]
    return f"{figure.capitalize()}: {label}" if figure.startswith("figure") else label


def _html(view: pd.DataFrame) -> str:
    """A table in which each first level of the index is a line above its cells, as wide as all."""
    lines, width, left = [], len(view.columns) + 1, 'style="text-align: left"'
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in view)
    head = f'<th scope="col" {left}>cell</th>{head}'
    for label, part in view.groupby(level=0, sort=False):
        lines.append(
            f'<tr class="group"><th colspan="{width}" {left}>{html.escape(label)}</th></tr>'
        )
        for (_, column), *texts in part.itertuples():
            cells = "".join(f"<td>{html.escape(text)}</td>" for text in texts)
            lines.append(f'<tr><th scope="row" {left}>{html.escape(column)}</th>{cells}</tr>')
    body = "".join(lines)
    return f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def number(value: float, unit: str, *, printed: bool = False) -> str:
    """A number with its unit; `printed` keeps the digits of the paper.

    Examples
    --------
    >>> number(0.8686, "fraction", printed=True), number(0.8686, "fraction"), number(6.3333, "%")
    ('0.8686', '0.869', '6.33 %')
    """
    digits = _digits(value, unit, printed=printed)
    return digits + UNITS.get(unit, "") if digits else ""


def _digits(value: float, unit: str, *, printed: bool = False) -> str:
    if value != value:
        return ""
    whole = printed and value == round(value) and 1000 <= abs(value) < 1e9
    form = ",.0f" if whole else "g" if printed or unit not in DIGITS else DIGITS[unit]
    text = f"{value:{form}}"
    return text if "e-" in text else text.replace("-", "\N{MINUS SIGN}")


def ours(cell: pd.Series) -> str:
    """Our number of a cell with its interval, or why there is none."""
    if cell.status == NOT_TESTED:
        return NOT_TESTED
    if cell.status == SETTING:
        return f"set to {number(cell.mean, cell.unit, printed=True)}"
    low, high = (_digits(end, cell.unit) for end in (cell.low, cell.high))
    why = "all equal" if cell.n > 1 else "one alone"
    interval = f"{low} to {high}" if low else why
    return f"{_digits(cell.mean, cell.unit)} ({interval}){UNITS.get(cell.unit, '')}"


def control(cell: pd.Series) -> str:
    """The control of a cell, and what it is."""
    text = number(cell.control_mean, cell.unit)
    return f"{text} ({cell.against})" if text else ""


def _keys(table: pd.DataFrame) -> pd.Series:
    parts = ("rows", "profile", "scale", "command")
    return pd.Series(list(zip(*(table[part] for part in parts), strict=True)))


def _source(key: tuple[str, ...], letter: str) -> str:
    rows, profile, scale, command = map(html.escape, key)
    if rows == COUNTED:
        return f"{letter}: counted in the network that the library builds"
    if not rows:
        return f"{letter}: not measured yet; this would: <code>{command}</code>"
    scale = f", {scale}" if scale else ""
    return f"{letter}: rows <em>{rows}</em>, profile {profile}{scale}: <code>{command}</code>"


# What of a published table is drawn.


@dataclass(frozen=True)
class Drawing:
    """Panels, each of the cells whose "row: column" has a pattern, and what a line is called."""

    table: str
    panels: Mapping[str, str]  # label of the axis -> pattern
    line: Callable[[pd.Series], str]
    log: tuple[str, ...] = ()


ROWS = {"iris_csv": "iris", "iris3f": "iris 3f", "mnist": "MNIST", "legcnet_ft": "FT"}
ROWS |= {"legcnet_pt": "PT", "lenet": "LeNet", "alexnet": "AlexNet", "resnet18": "ResNet18"}
ROWS |= {"fashion_mnist": "Fashion", "cifar10": "CIFAR10", "tiny_imagenet": "Tiny"}
METHODS = {"No-Pruning": "dense", "Magnitude Pruning": "magnitude", "Causal Pruning": "causal"}


def in_short(row: str) -> str:
    """The name of a row, short enough for a figure.

    Examples
    --------
    >>> in_short("lenet/cifar10"), in_short("cancer")
    ('LeNet CIFAR10', 'cancer')
    """
    return " ".join(ROWS.get(part, part) for part in row.split("/"))


def _small(cell: pd.Series) -> str:
    return f"{in_short(cell.row)}, {network_and_metric(cell.column)[0]}"


def _method(cell: pd.Series) -> str:
    return f"{in_short(cell.row)}, {METHODS[cell.column.partition(':')[0]]}"


FIGURE_1 = {  # words of a column -> a shorter name
    "before the drop": "drop begins",
    "after the drop": "drop ends",
    "width of the drop": "width of drop",
    "overlap": "pruned by both",
    "difference of the masks": "by one alone",
    "test accuracy": "accuracy",
}
_SCORES = {"Accuracy (fraction)": ": Accuracy", "F1 (fraction)": ": F1"}
_COSTS = {"Epochs": r": Epochs (?!\*)", "Pruned (%)": ": %Pruned"}
EPOCHS, PENALTY = "Epochs or rounds (number)", "L1_coeff (number)"
DRAWINGS = {
    "legcnet_table1": Drawing("legcnet_table1", _SCORES | _COSTS, _small),
    "legcnet_table2": Drawing("legcnet_table2", _SCORES | _COSTS, _small),
    "legcnet_table3": Drawing(
        "legcnet_table3", {k: v for k, v in (_SCORES | _COSTS).items() if "%" not in k}, _small
    ),
    "legcnet_table4": Drawing(
        "legcnet_table4",
        {"Exponent": "alpha$", "Weighted exponent": "alpha_w$"},
        lambda cell: f"{in_short(cell.row)}, layer {cell.column[5]}",
    ),
    "causal_table1": Drawing(
        "causal_table1",
        {EPOCHS: "^N_"},
        lambda cell: f"{cell.row} {cell.column.split()[-1]}",
        log=(EPOCHS,),
    ),
    "causal_table2": Drawing(
        "causal_table2",
        {"Test accuracy (%)": "test accuracy$", "Pruned (%)": "Pruning: percent pruned$"},
        _method,
    ),
    "causal_table3": Drawing(
        "causal_table3",
        {PENALTY: "L1_coeff$", "Pruned a round (fraction)": "mag_prune_frac$"},
        lambda cell: in_short(cell.row),
        log=(PENALTY,),
    ),
    "causal_figure1": Drawing(
        "causal_figures",
        {"Percent of weights, or of images (%)": f"^figure 1.*({'|'.join(FIGURE_1)})"},
        lambda cell: f"{cell.row[7:11]} {next(FIGURE_1[k] for k in FIGURE_1 if k in cell.column)}"
        + (f", {cell.row.partition('/')[2]}" if "accuracy" in cell.column[:13] else ""),
    ),
    "causal_figure3": Drawing(
        "causal_figures",
        {"Top eigenvalue over that of no pruning (times)": "^figure 3"},
        lambda cell: in_short(cell.row.removeprefix("figure 3/")),
        log=("Top eigenvalue over that of no pruning (times)",),
    ),
}  # fmt: skip


def points(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """What a drawing shows of the cells: `panel`, `line`, `who`, `mean`, `low`, `high`."""
    drawing, parts = DRAWINGS[name], []
    for panel, pattern in drawing.panels.items():
        chosen = [bool(re.search(pattern, f"{c.row}: {c.column}")) for c in table.itertuples()]
        for cell in table[chosen].itertuples():
            line = drawing.line(cell)
            ends = {"published": (cell.published, None, None)}
            ends["here"] = (cell.mean, cell.low, cell.high)
            ends["control"] = (cell.control_mean, cell.control_low, cell.control_high)
            parts += [(panel, line, who, *values) for who, values in ends.items()]
    found = pd.DataFrame(parts, columns=["panel", "line", "who", "mean", "low", "high"])
    return found.astype({"mean": float, "low": float, "high": float})
