"""Figures of rates: how often a test called something causal. Finished tables in, Axes out.

A rate is a row with `mean`, `low` and `high`, all fractions: the share, and its interval.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from causalprune_lib._validation import check_fraction
from causalprune_lib.evidence.intervals import require_columns
from causalprune_lib.evidence.plots.style import (
    BLACK,
    GREY,
    VERMILLION,
    canvas,
    legend_above,
    line_styles,
    percent,
)

RATE = ["mean", "low", "high"]


def plot_rates(
    table: pd.DataFrame,
    *,
    x: str,
    hue: str,
    xlabel: str,
    ylabel: str = "Called causal (%)",
    nominal: float | None = 0.05,
    logarithmic: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Rates against a number such as the length of the series, one line each, with intervals.

    Parameters
    ----------
    table : DataFrame
        Columns `x`, `hue` and `mean`, `low`, `high` (fractions; NaN is left out).
    x, hue : str
        The column along the axis, and the one that tells the lines apart.
    xlabel, ylabel : str
        What they are, with their units.
    nominal : float, optional
        The level the test promises: a dashed line.
    logarithmic : bool
        The x axis, marked at the values of the table.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("table", table, [x, hue, *RATE])
    styles = line_styles(table[hue].unique())
    with canvas(ax) as ax:
        for name, rows in table.dropna(subset=RATE).groupby(hue, sort=False):
            rows = rows.sort_values(x)
            ax.errorbar(
                rows[x],
                rows["mean"],
                yerr=_spread(rows),
                label=str(name),
                capsize=3,
                **styles[name],
            )
        if nominal is not None:
            ax.axhline(check_fraction("nominal", nominal), color=GREY, linestyle="--", zorder=0)
        if logarithmic:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator(sorted(table[x].unique())))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        else:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(percent())
        ax.set_ylim(-0.02, 1.02)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        legend_above(ax)
    return ax


def plot_rate_dots(
    table: pd.DataFrame,
    *,
    label: str,
    hue: str | None = None,
    xlabel: str = "Called causal (%)",
    nominal: float | None = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Rates by name: one line of the figure per name, one dot per `hue`, with intervals.

    Parameters
    ----------
    table : DataFrame
        Columns `label`, `hue` if given, and `mean`, `low`, `high` (fractions).
    label : str
        The column whose entries stand at the left, in order of appearance.
    hue : str, optional
        The column that tells the dots of one line apart.
    xlabel : str
        What the rate is.
    nominal : float, optional
        The level the test promises: a dashed line.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("table", table, [label, *([hue] if hue else []), *RATE])
    names = list(table[label].unique())
    groups = list(table.groupby(hue, sort=False)) if hue else [(None, table)]
    styles = line_styles(name for name, _ in groups)
    with canvas(ax) as ax:
        for i, (name, rows) in enumerate(groups):
            places = [names.index(entry) for entry in rows[label]]
            shift = 0.22 * (i - (len(groups) - 1) / 2)
            look = {**styles[name], "linestyle": ""}
            ax.errorbar(
                rows["mean"],
                np.array(places) + shift,
                xerr=_spread(rows),
                label="_" if name is None else str(name),
                capsize=4,
                **look,
            )
        if nominal is not None:
            ax.axvline(check_fraction("nominal", nominal), color=GREY, linestyle="--", zorder=0)
        ax.set_yticks(range(len(names)), labels=[str(name) for name in names])
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_xlim(-0.02, 1.02)
        ax.xaxis.set_major_formatter(percent())
        ax.set_xlabel(xlabel)
        if hue:  # ends at the right: it may reach over the names at the left
            place = {"loc": "lower right", "bbox_to_anchor": (1, 1.02), "borderaxespad": 0}
            ax.legend(ncols=len(groups), columnspacing=1.2, handletextpad=0.3, **place)
    return ax


def plot_arrow_rates(
    rates: pd.DataFrame, *, true: Collection[tuple[str, str]], ax: Axes | None = None
) -> Axes:
    """How often each ordered pair was called causal, the true arrows framed.

    Parameters
    ----------
    rates : DataFrame (d, d)
        Row: cause. Column: effect. Fractions; the diagonal is not shown.
    true : collection of (cause, effect)
        The arrows that exist.
    ax : Axes, optional
        Where to draw.
    """
    if list(rates.index) != list(rates.columns):
        raise ValueError(
            f"rates must have the same names in rows and columns; got {list(rates.index)} and "
            f"{list(rates.columns)}."
        )
    names = list(rates.index)
    values = rates.to_numpy(dtype=float, copy=True)
    np.fill_diagonal(values, np.nan)
    with canvas(ax) as ax:
        ax.imshow(np.ma.masked_invalid(values), cmap="Blues", vmin=0, vmax=1)
        ax.grid(visible=False)
        for i, j in np.argwhere(np.isfinite(values)):
            colour = "white" if values[i, j] > 0.55 else BLACK
            text = f"{100 * values[i, j]:.0f}%"
            ax.text(j, i, text, ha="center", va="center", color=colour, fontsize=13)
        for cause, effect in true:
            corner = names.index(effect) - 0.46, names.index(cause) - 0.46
            ax.add_patch(
                Rectangle(corner, 0.92, 0.92, fill=False, edgecolor=VERMILLION, linewidth=3)
            )
        ax.set_xticks(range(len(names)), labels=[str(name) for name in names])
        ax.set_yticks(range(len(names)), labels=[str(name) for name in names])
        ax.set_xlabel("Effect (called causal, % of the runs)")
        ax.set_ylabel("Cause")
    return ax


def _spread(rows: pd.DataFrame) -> np.ndarray:
    """Distances (2, rows) from the mean to both ends of the interval."""
    ends = np.stack([rows["mean"] - rows.low, rows.high - rows["mean"]])
    return np.nan_to_num(ends).clip(0)
