"""The shapes that the chapters' figures are drawn with.

Each function takes a finished table and returns the Axes it drew on; none computes a result.
Without `ax` a new figure in the book's style is made; a given `ax` keeps the style it has. Scales,
limits and formats of the axes are the caller's, who has the Axes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import GREY, PALETTE
from causalprune_studies.looks import canvas, legend_above, line_styles

INTERVALS = ("band", "bars", "none")
CROWDED = 15  # with more points than that on a line, ten of them are marked
HATCHES = ("", "//", "..", "xx", "--", "++", "\\\\")
Looks = Mapping[Any, Mapping[str, Any]]  # as `line_styles` gives them


def plot_lines(
    table: pd.DataFrame,
    *,
    x: str,
    hue: str,
    xlabel: str,
    ylabel: str,
    interval: str = "band",
    each: str | None = None,
    looks: Looks | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A line for each `hue`, with its interval as a band or as bars.

    Parameters
    ----------
    table : DataFrame
        Columns `x`, `hue`, `mean`, and `low`, `high` if there is an interval; rows in any order.
    x, hue : str
        What runs along the axis, and what tells the lines apart.
    xlabel, ylabel : str
        What they are, with their units.
    interval : {"band", "bars", "none"}
        A NaN in `low` or `high` is no interval.
    each : str, optional
        A column, such as "seed", each of whose values is a line of its own, in its `hue`'s look.
    looks : mapping, optional
        The look of each `hue`, where several figures share them. Default: `line_styles`.
    ax : Axes, optional
        Where to draw.

    Examples
    --------
    >>> table = pd.DataFrame({"epoch": [2, 1], "method": "random", "mean": [0.9, 0.8]})
    >>> labels = {"xlabel": "Epoch", "ylabel": "Accuracy (fraction)"}
    >>> ax = plot_lines(table, x="epoch", hue="method", interval="none", **labels)
    >>> ax.lines[0].get_ydata().tolist()
    [0.8, 0.9]
    """
    check_choice("interval", interval, INTERVALS)
    ends = [] if interval == "none" else ["low", "high"]
    require_columns("table", table, [x, hue, "mean", *ends, *([each] if each else [])])
    looks = line_styles(table[hue].unique()) if looks is None else looks
    with canvas(ax) as ax:
        for name, rows in table.groupby(hue, sort=False):
            parts = rows.groupby(each, sort=False) if each else [(None, rows)]
            for place, (_, part) in enumerate(parts):
                part = part.sort_values(x)
                look = {"label": str(name) if place == 0 else "_", **looks[name]}
                if len(part) > CROWDED:
                    look["markevery"] = 0.1
                if interval == "bars":
                    ax.errorbar(part[x], part["mean"], yerr=_spread(part), capsize=3, **look)
                    continue
                ax.plot(part[x], part["mean"], **look)
                if interval == "band":
                    shade = {"color": look["color"], "alpha": 0.18, "linewidth": 0}
                    ax.fill_between(part[x], part.low, part.high, **shade)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        legend_above(ax)
    return ax


def plot_dots(
    table: pd.DataFrame,
    *,
    y: str,
    xlabel: str,
    hue: str | None = None,
    reference: float | None = None,
    hollow: Collection[Any] = (),
    looks: Looks | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A line of the figure for each `y`, the first on top, and on it a dot for each `hue`.

    Parameters
    ----------
    table : DataFrame
        Columns `y`, `mean`, `low`, `high`, and `hue` if given. A NaN in `low` or `high` is no
        interval.
    y : str
        The column whose entries stand at the left, in order of appearance.
    xlabel : str
        What the dots are, with its unit.
    hue : str, optional
        What tells the dots of one line apart.
    reference : float, optional
        A dashed line, such as chance or no difference.
    hollow : collection
        Entries of `hue`, or of `y` without one, whose dots are hollow.
    looks, ax
        As in `plot_lines`. A new figure is as high as it has lines.

    Examples
    --------
    >>> gaps = pd.DataFrame({"control": ["random", "frozen"], "mean": [3.1, 0.2],
    ...                      "low": [2.0, -0.5], "high": [4.2, 0.9]})
    >>> ax = plot_dots(gaps, y="control", xlabel="Causal minus control (points)", reference=0)
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['random', 'frozen']
    """
    require_columns("table", table, [y, "mean", "low", "high", *([hue] if hue else [])])
    names = list(table[y].unique())
    groups = list(table.groupby(hue, sort=False)) if hue else [("_", table)]
    looks = line_styles(name for name, _ in groups) if looks is None else looks
    own_figure = ax is None
    with canvas(ax) as ax:
        if own_figure:
            ax.figure.set_figheight(1.6 + len(names) * max(0.45, 0.22 * len(groups)))
        for place, (group, rows) in enumerate(groups):
            shift = (place - (len(groups) - 1) / 2) * min(0.22, 0.7 / len(groups))
            at = np.array([names.index(name) for name in rows[y]]) + shift  # (rows,)
            look = {**looks[group], "linestyle": "", "capsize": 4, "label": str(group)}
            empty = rows[hue or y].isin(list(hollow)).to_numpy()
            for chosen, face in ((~empty, look["color"]), (empty, "white")):
                if chosen.any():
                    spread = _spread(rows[chosen])
                    ax.errorbar(
                        rows["mean"][chosen], at[chosen], xerr=spread, markerfacecolor=face, **look
                    )
                    look["label"] = "_"
        if reference is not None:
            ax.axvline(reference, color=GREY, linestyle="--", linewidth=1.5, zorder=0)
        ax.set_yticks(range(len(names)), labels=[str(name) for name in names])
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(xlabel)
        legend_above(ax, right=True)
    return ax


def plot_bars(table: pd.DataFrame, *, xlabel: str, ax: Axes | None = None) -> Axes:
    """Horizontal bars: a group for each row of the table, a bar in it for each column.

    Parameters
    ----------
    table : DataFrame
        Groups (index, first on top) by series (columns, first on top in each group); NaN is no bar.
    xlabel : str
        What the bars measure, with the unit.
    ax : Axes, optional
        Where to draw. A new figure is as high as the bars need.

    Examples
    --------
    >>> shares = pd.DataFrame({"dense": [0.7, 0.3], "pruned": [0.6, 0.4]}, index=["age", "fare"])
    >>> [float(bar.get_width()) for bar in plot_bars(shares, xlabel="Share (fraction)").patches]
    [0.7, 0.3, 0.6, 0.4]
    """
    n_groups, n = table.shape
    own_figure, height = ax is None, 0.84 / n
    with canvas(ax) as ax:
        if own_figure:
            ax.figure.set_figheight(1.2 + n_groups * (0.16 + 0.17 * n))
        for place, name in enumerate(table):
            ax.barh(
                np.arange(n_groups) + (place - (n - 1) / 2) * height,
                table[name],
                height,
                label=str(name),
                color=PALETTE[place % len(PALETTE)],
                hatch=HATCHES[place % len(HATCHES)],
                edgecolor="white",
                linewidth=0,
            )
        ax.axvline(0, color=GREY, linewidth=1)
        ax.set_yticks(range(n_groups), labels=[str(name) for name in table.index])
        ax.set_ylim(n_groups - 0.4, -0.6)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(xlabel)
        legend_above(ax, right=True)
    return ax


def _spread(rows: pd.DataFrame) -> np.ndarray:
    """Distances (2, rows) from the mean to both ends of the interval; 0 where there is none."""
    return np.nan_to_num([rows["mean"] - rows.low, rows.high - rows["mean"]]).clip(min=0)
