"""Figures of rates: how often a test called something causal. Finished tables in, Axes out.

A rate is a row with `mean`, `low` and `high`, all fractions: the share, and its interval.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from causalprune_lib._validation import check_finite, check_fraction, check_shape
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import (
    BLACK,
    BLUE,
    GREY,
    VERMILLION,
    canvas,
    legend_above,
    line_styles,
    percent,
    use_style,
)

# ---- granger: The figures of single Granger tests: series, null distribution, sorted p-values.


def plot_null_statistic(
    values: np.ndarray,
    *,
    curve: tuple[np.ndarray, np.ndarray],
    observed: float,
    xlabel: str,
    ax: Axes | None = None,
) -> Axes:
    """A test statistic where nothing is to be found, its promised law, and the one observed.

    Parameters
    ----------
    values : array (n,)
        The statistic of n cases without an effect.
    curve : (array, array)
        Points and density of the law it should follow.
    observed : float
        The statistic of the case at hand: a dashed line.
    xlabel : str
        What the statistic is, with its unit.
    ax : Axes, optional
        Where to draw.
    """
    check_finite("values", np.asarray(values))
    with canvas(ax) as ax:
        ax.hist(values, bins=60, density=True, color=BLUE, alpha=0.35, label="shuffled causes")
        ax.plot(*curve, color=BLUE, label="the F distribution")
        ax.axvline(observed, color=VERMILLION, linestyle="--", label="the real cause")
        ax.set_ylim(0, None)
        ax.set_xlabel(xlabel)
        ax.set_ylabel("Share of cases (per unit of F)")
        legend_above(ax)
    return ax


def plot_sorted_pvalues(
    pvalue: np.ndarray, *, true: np.ndarray, alpha: float = 0.05, ax: Axes | None = None
) -> Axes:
    """Many p-values in order, with the thresholds of three ways to correct for their number.

    Parameters
    ----------
    pvalue : array (m,)
        In any order.
    true : bool array (m,)
        Which of them belong to a true cause.
    alpha : float
        The level.
    ax : Axes, optional
        Where to draw; logarithmic upwards.
    """
    pvalue, true = np.asarray(pvalue, dtype=float), np.asarray(true, dtype=bool)
    check_shape("pvalue", pvalue, (None,))
    check_shape("true", true, pvalue.shape)
    check_finite("pvalue", pvalue)
    alpha = check_fraction("alpha", alpha)
    order = np.argsort(pvalue, kind="stable")
    rank = np.arange(1, len(pvalue) + 1)
    floor = alpha / len(pvalue) / 30
    with canvas(ax) as ax:
        for mine, name, place in ((True, "a true cause", 0), (False, "noise", 1)):
            chosen = true[order] == mine
            look = {**line_styles(range(2))[place], "linestyle": ""}
            ax.plot(rank[chosen], pvalue[order][chosen].clip(floor), label=name, **look)
        for height, name, dashes in (
            (np.full(len(rank), alpha), "no correction", "--"),
            (alpha * rank / len(rank), "Benjamini-Hochberg", "-"),
            (np.full(len(rank), alpha / len(rank)), "Bonferroni", ":"),
        ):
            ax.plot(rank, height, color=BLACK, linestyle=dashes, label=name)
        ax.set_yscale("log")
        ax.set_ylim(floor / 1.5, 1.3)
        ax.set_xlabel("Rank among the candidates (number)")
        ax.set_ylabel("p-value (logarithmic)")
        legend_above(ax)
    return ax


def plot_series(
    frame: pd.DataFrame,
    *,
    xlabel: str,
    ylabels: list[str] | None = None,
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Series of one time axis, one above the other.

    Parameters
    ----------
    frame : DataFrame
        Index: time. One column per series.
    xlabel : str
        What the index is, with its unit.
    ylabels : list of str, optional
        One for each column; default: the names of the columns.
    axes : array of Axes, optional
        One for each column.

    Returns
    -------
    array of Axes
    """
    n = frame.shape[1]
    ylabels = [str(name) for name in frame] if ylabels is None else ylabels
    if len(ylabels) != n:
        raise ValueError(f"ylabels must have one entry for each of {n} series; got {len(ylabels)}.")
    if axes is None:
        with use_style():
            axes = plt.subplots(
                n, 1, figsize=(6.4, 1.9 * n), sharex=True, squeeze=False, layout="constrained"
            )[1][:, 0]
            return plot_series(frame, xlabel=xlabel, ylabels=ylabels, axes=axes)
    styles = line_styles(frame.columns)
    for ax, name, ylabel in zip(axes, frame, ylabels, strict=True):
        look = {**styles[name], "linestyle": "-", "markersize": 3, "linewidth": 1.4}
        ax.plot(frame.index, frame[name], **look)
        ax.set_ylabel(ylabel)
    axes[-1].set_xlabel(xlabel)
    return axes


# ---- rates: Figures of rates: how often a test called something causal. Finished tables in, Axes


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
