"""The figure of the chapter "The papers' tables": published numbers, ours and the control's."""

from __future__ import annotations

from collections.abc import Collection

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import BLACK, BLUE, GREY, use_style
from causalprune_studies.ch13_tables.shown import DRAWINGS, points
from causalprune_studies.figures import plot_dots

LOOKS = {
    "published": {"color": BLACK, "marker": "D"},  # hollow
    "here": {"color": BLUE, "marker": "o"},
    "control": {"color": GREY, "marker": "X"},
}
LINE = 0.29  # inches
COLUMNS = 2


def plot_beside(table: pd.DataFrame, *, log: Collection[str] = ()) -> np.ndarray:
    """A panel for each kind of number: what the paper prints, what we measured, and the control.

    Parameters
    ----------
    table : DataFrame
        Columns `panel` (its name is the label of its axis, with the unit), `line`, `who`
        ("published", "here", "control"), `mean`, `low`, `high`. NaN is no mark, or no interval.
    log : collection of str
        Panels with a logarithmic axis.

    Returns
    -------
    array of Axes
        In the order of the panels; panels side by side have the same lines.

    Examples
    --------
    >>> table = pd.DataFrame({"panel": "Accuracy (%)", "line": "cancer", "who": list(LOOKS),
    ...                       "mean": [88, 87, 86], "low": [None, 86, 85], "high": [None, 88, 87]})
    >>> [ax.get_xlabel() for ax in plot_beside(table)]
    ['Accuracy (%)']
    """
    require_columns("table", table, ["panel", "line", "who", "mean", "low", "high"])
    panels, lines = list(table.panel.unique()), list(table.line.unique())
    n_columns = min(COLUMNS, len(panels))
    n_rows = -(-len(panels) // n_columns)
    with use_style():
        height = n_rows * (0.75 + LINE * len(lines)) + 0.5
        figure, grid = plt.subplots(
            n_rows,
            n_columns,
            figsize=(6.4, height),
            layout="constrained",
            sharey=True,
            squeeze=False,
        )
        for ax in grid.flat[len(panels) :]:
            ax.remove()
        axes = grid.flat[: len(panels)]
        for panel, ax in zip(panels, axes, strict=True):
            _panel(ax, table[table.panel == panel], lines, panel)
            if panel in log:
                ax.set_xscale("log")
                _few_ticks(ax)
        handles = _handles(set(table.who[table["mean"].notna()]))
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
    return np.array(list(axes))


def _panel(ax: Axes, part: pd.DataFrame, lines: list[str], xlabel: str) -> None:
    """Draw one panel with all lines, also those of which it has nothing."""
    who = [name for name in LOOKS if name in set(part.who)]
    every = pd.MultiIndex.from_product([lines, who], names=["line", "who"])
    part = part.set_index(["line", "who"])[["mean", "low", "high"]].reindex(every).reset_index()
    part = part.astype({"mean": float, "low": float, "high": float})
    plot_dots(part, y="line", hue="who", xlabel=xlabel, hollow=["published"], looks=LOOKS, ax=ax)
    if ax.get_legend():
        ax.get_legend().remove()


def _few_ticks(ax: Axes) -> None:
    """On a logarithmic axis shorter than a decade: 1, 2 and 5 in place of powers of ten."""
    low, high = ax.get_xlim()
    if high > 20 * low:
        return
    ticks = [step * 10.0**power for power in range(-3, 4) for step in (1, 2, 5)]
    ax.set_xticks([tick for tick in ticks if low <= tick <= high])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())


def _handles(who: set[str]) -> list[Line2D]:
    faces = {"published": "white"}
    return [
        Line2D(
            [], [], linestyle="", markerfacecolor=faces.get(name, look["color"]), label=name, **look
        )
        for name, look in LOOKS.items()
        if name in who
    ]


def draw(cells: pd.DataFrame, name: str) -> np.ndarray:
    """What `DRAWINGS` says of a published table, from its cells."""
    return plot_beside(points(cells, name), log=DRAWINGS[name].log)
