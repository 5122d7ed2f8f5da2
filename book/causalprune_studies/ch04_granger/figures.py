"""Figures of chapter 4: series, one test, many p-values, and rates. Finished tables in, Axes out.

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

from causalprune_lib._validation import check_finite, check_shape
from causalprune_lib.evidence.style import BLACK, BLUE, GREY, VERMILLION, use_style
from causalprune_studies.figures import plot_dots, plot_lines
from causalprune_studies.looks import canvas, legend_above, line_styles, percent

LEVEL = 0.05  # what the tests promise: a dashed line


def plot_series(
    frame: pd.DataFrame,
    *,
    xlabel: str,
    ylabels: Collection[str],
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Series of one time axis, one above the other.

    Parameters
    ----------
    frame : DataFrame
        Index: time. One column per series.
    xlabel : str
        What the index is, with its unit.
    ylabels : collection of str
        What each column is, with its unit.
    axes : array of Axes, optional
        One for each column.
    """
    n = frame.shape[1]
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


def plot_sorted_pvalues(pvalue: np.ndarray, *, true: np.ndarray, ax: Axes | None = None) -> Axes:
    """Many p-values in order, with the thresholds of three ways to correct for their number.

    Parameters
    ----------
    pvalue : array (m,)
        In any order.
    true : bool array (m,)
        Which of them belong to a true cause.
    ax : Axes, optional
        Where to draw; logarithmic upwards.
    """
    pvalue, true = np.asarray(pvalue, dtype=float), np.asarray(true, dtype=bool)
    check_shape("true", true, pvalue.shape)
    check_finite("pvalue", pvalue)
    order = np.argsort(pvalue, kind="stable")
    rank = np.arange(1, len(pvalue) + 1)
    floor = LEVEL / len(pvalue) / 30
    with canvas(ax) as ax:
        for name, look in line_styles(["a true cause", "noise"]).items():
            chosen = true[order] == (name == "a true cause")
            look = {**look, "linestyle": "", "label": name}
            ax.plot(rank[chosen], pvalue[order][chosen].clip(floor), **look)
        for height, name, dashes in (
            (np.full(len(rank), LEVEL), "no correction", "--"),
            (LEVEL * rank / len(rank), "Benjamini-Hochberg", "-"),
            (np.full(len(rank), LEVEL / len(rank)), "Bonferroni", ":"),
        ):
            ax.plot(rank, height, color=BLACK, linestyle=dashes, label=name)
        ax.set_yscale("log")
        ax.set_ylim(floor / 1.5, 1.3)
        ax.set_xlabel("Rank among the candidates (number)")
        ax.set_ylabel("p-value (logarithmic)")
        legend_above(ax)
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
    names = list(rates.index)
    if names != list(rates.columns):
        raise ValueError(
            f"rates must have the same names in rows and columns; got {names} and "
            f"{list(rates.columns)}."
        )
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


def plot_rates(
    table: pd.DataFrame,
    *,
    x: str,
    hue: str,
    xlabel: str,
    logarithmic: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Rates against a number such as the length of the series, one line each, with intervals.

    Parameters
    ----------
    table : DataFrame
        Columns `x`, `hue` and `mean`, `low`, `high` (fractions).
    x, hue : str
        The column along the axis, and the one that tells the lines apart.
    xlabel : str
        What the first is, with its unit.
    logarithmic : bool
        The x axis, marked at the values of the table.
    ax : Axes, optional
        Where to draw.
    """
    with canvas(ax) as ax:
        labels = {"xlabel": xlabel, "ylabel": "Called causal (%)"}
        plot_lines(table, x=x, hue=hue, interval="bars", ax=ax, **labels)
        ax.axhline(LEVEL, color=GREY, linestyle="--", zorder=0)
        if logarithmic:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator(sorted(table[x].unique())))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        else:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(percent())
        ax.set_ylim(-0.02, 1.02)
    return ax


def plot_rate_dots(
    table: pd.DataFrame, *, label: str, hue: str, xlabel: str, ax: Axes | None = None
) -> Axes:
    """Rates by name: one line of the figure per `label`, one dot per `hue`, with intervals.

    Parameters
    ----------
    table : DataFrame
        Columns `label`, `hue` and `mean`, `low`, `high` (fractions).
    label, hue : str
        The column whose entries stand at the left, in order of appearance, and the one that tells
        the dots of one line apart.
    xlabel : str
        What the rate is, with its unit.
    ax : Axes, optional
        Where to draw.
    """
    ax = plot_dots(table, y=label, hue=hue, xlabel=xlabel, reference=LEVEL, ax=ax)
    ax.set_xlim(-0.02, 1.02)
    ax.xaxis.set_major_formatter(percent())
    return ax
