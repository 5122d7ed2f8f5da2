"""Figures of Lyapunov exponents: portraits, divergence curves, series lengths, surrogates.

As in `accuracy.py`, each function takes finished numbers and returns the Axes it drew on; none
computes a result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import (
    BLACK,
    BLUE,
    GREY,
    canvas,
    legend_above,
    line_styles,
    use_style,
)

INTERVAL = ("mean", "low", "high")


def plot_portraits(series: Mapping[str, ArrayLike], *, lag: int = 1, shown: int = 60) -> np.ndarray:
    """Each series in time on the left, and each sample against the one `lag` before on the right.

    Parameters
    ----------
    series : mapping from title to array (n,)
        One row of the figure for each; n > `lag`.
    lag, shown : int
        The delay, and how many samples the left side shows. The right side shows all.

    Returns
    -------
    array (rows, 2) of Axes
    """
    if not series:
        raise ValueError("series must hold at least one series; got none.")
    check_int("lag", lag)
    check_int("shown", shown)
    with use_style():
        height, widths = 2.1 * len(series), (1.7, 1)
        figure = plt.figure(figsize=(6.4, height), layout="constrained")
        grid = figure.subplots(len(series), 2, width_ratios=widths, squeeze=False)
        for (title, values), (left, right) in zip(series.items(), grid, strict=True):
            x = np.asarray(values, dtype=float)
            left.plot(x[:shown], color=BLUE, marker="o", markersize=3, linewidth=1)
            left.set_title(title, loc="left")
            right.plot(x[:-lag], x[lag:], linestyle="", marker=".", color=BLUE, markersize=3)
            right.set_ylabel("$x_t$")
        grid[-1, 0].set_xlabel("Time $t$ (samples)")
        grid[-1, 1].set_xlabel(f"$x_{{t-{lag}}}$")
    return grid


def plot_divergence(
    curves: pd.DataFrame,
    *,
    ax: Axes | None = None,
    truths: Mapping[str, float] | None = None,
    start: int = 0,
    ylabel: str = "Mean log distance $S(k)$ (nats)",
) -> Axes:
    """Divergence curves, one line per series, with interval bands.

    Parameters
    ----------
    curves : DataFrame
        `series`, `k` and `mean`, `low`, `high`.
    ax : Axes, optional
        Where to draw.
    truths : mapping from series to float, optional
        Known exponents in nats per sample: a dotted line of that slope through the curve at
        `start`, up to the height of the curve.
    start : int
        The k at which these lines touch their curves.
    ylabel : str
        What is drawn against k.
    """
    require_columns("curves", curves, ["series", "k", *INTERVAL])
    truths = {} if truths is None else truths
    styles = line_styles(curves.series.unique())
    with canvas(ax) as ax:
        for name, rows in curves.groupby("series", sort=False):
            rows = rows.sort_values("k")
            color, every = styles[name]["color"], max(1, len(rows) // 10)
            ax.plot(rows.k, rows["mean"], label=str(name), markevery=every, **styles[name])
            ax.fill_between(rows.k, rows.low, rows.high, color=color, alpha=0.18, linewidth=0)
            if name in truths:
                at = float(rows.loc[rows.k == start, "mean"].iloc[0])
                line = at + truths[name] * (rows.k - start)
                below = (rows.k >= start) & (line <= rows["mean"].max() + 0.3)
                ax.plot(rows.k[below], line[below], color=BLACK, linestyle=":", linewidth=1.5)
        if truths:
            ax.plot([], [], color=BLACK, linestyle=":", linewidth=1.5, label="known exponent")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("Steps after the nearest neighbour, $k$ (samples)")
        ax.set_ylabel(ylabel)
        legend_above(ax)
    return ax


def plot_against_length(
    summary: pd.DataFrame,
    *,
    ax: Axes | None = None,
    level: float | None = None,
    formula: pd.DataFrame | None = None,
    scale: str = "linear",
    ylabel: str = "Estimate (nats per sample)",
) -> Axes:
    """A quantity against the length of the series, on a logarithmic axis, with interval bars.

    Parameters
    ----------
    summary : DataFrame
        `series`, `samples` and `mean`, `low`, `high`.
    ax : Axes, optional
        Where to draw.
    level : float, optional
        A dashed line across, such as the truth.
    formula : DataFrame, optional
        `series`, `samples` and `value`: a dotted line, called by its `series`.
    scale : {"linear", "log"}
        Of the quantity; "log" needs values above 0.
    ylabel : str
        What the quantity is.
    """
    require_columns("summary", summary, ["series", "samples", *INTERVAL])
    check_choice("scale", scale, ["linear", "log"])
    styles = line_styles(summary.series.unique())
    with canvas(ax) as ax:
        for name, rows in summary.groupby("series", sort=False):
            rows = rows.sort_values("samples")
            spread = np.stack([rows["mean"] - rows.low, rows.high - rows["mean"]])  # (2, rows)
            bars = {"yerr": np.nan_to_num(spread), "capsize": 3, "label": str(name)}
            ax.errorbar(rows.samples, rows["mean"], **bars, **styles[name])
        if formula is not None:
            require_columns("formula", formula, ["series", "samples", "value"])
            dotted = {"color": BLACK, "linestyle": ":", "label": str(formula.series.iloc[0])}
            ax.errorbar(formula.samples, formula.value, zorder=5, **dotted)
        if level is not None:
            ax.axhline(level, color=GREY, linestyle="--", zorder=0)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(sorted(summary.samples.unique())))
        ax.set_yscale(scale)
        for axis in (ax.xaxis, ax.yaxis) if scale == "log" else (ax.xaxis,):
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.set_xlabel("Length of the series (samples, logarithmic)")
        ax.set_ylabel(ylabel)
        legend_above(ax)
    return ax


def plot_surrogates(
    summary: pd.DataFrame,
    *,
    ax: Axes | None = None,
    original: str = "the series itself",
    xlabel: str = "First step $S(1) - S(0)$ (nats per sample)",
) -> Axes:
    """One line per series: its statistic as a filled mark, those of its surrogates as hollow ones.

    Parameters
    ----------
    summary : DataFrame
        `series`, `kind` and `mean`, `low`, `high`.
    ax : Axes, optional
        Where to draw. A new figure is as high as it has lines.
    original : str
        The `kind` of the series themselves.
    xlabel : str
        What the statistic is.
    """
    require_columns("summary", summary, ["series", "kind", *INTERVAL])
    check_choice("original", original, list(summary.kind.unique()))
    series = list(summary.series.unique())
    kinds = sorted(summary.kind.unique(), key=lambda kind: kind != original)
    styles, own_figure = line_styles(kinds), ax is None
    with canvas(ax) as ax:
        if own_figure:
            ax.figure.set_figheight(1.6 + 0.65 * len(series))
        for place, kind in enumerate(kinds):
            rows, color = summary[summary.kind == kind], styles[kind]["color"]
            shift = (place - (len(kinds) - 1) / 2) * 0.7 / len(kinds)
            ax.errorbar(
                rows["mean"],
                np.array([series.index(name) for name in rows.series]) + shift,
                xerr=np.nan_to_num(np.stack([rows["mean"] - rows.low, rows.high - rows["mean"]])),
                label=str(kind),
                linestyle="",
                marker=styles[kind]["marker"],
                color=color,
                markerfacecolor=color if kind == original else "white",
                capsize=3,
                elinewidth=1.5,
            )
        for edge in np.arange(len(series) - 1) + 0.5:
            ax.axhline(edge, color=GREY, linewidth=0.5)
        ax.set_yticks(range(len(series)), labels=series)
        ax.set_ylim(len(series) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(xlabel)
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1.01), ncols=2, borderaxespad=0)
    return ax


def plot_through_training(summary: pd.DataFrame, *, quantities: Sequence[str]) -> np.ndarray:
    """Several quantities through training, one below the other, each on its own axis.

    Parameters
    ----------
    summary : DataFrame
        `quantity`, `step` and `mean`, `low`, `high`.
    quantities : sequence of str
        Values of `quantity`, from top to bottom; they name the axes, so each says its unit.

    Returns
    -------
    array (len(quantities),) of Axes
    """
    require_columns("summary", summary, ["quantity", "step", *INTERVAL])
    for name in quantities:
        check_choice("quantities: each", name, list(summary.quantity.unique()))
    styles = line_styles(quantities)
    with use_style():
        figure = plt.figure(figsize=(6.4, 2.3 * len(quantities)), layout="constrained")
        axes = figure.subplots(len(quantities), 1, sharex=True, squeeze=False)[:, 0]
        for ax, name in zip(axes, quantities, strict=True):
            rows, color = summary[summary.quantity == name].sort_values("step"), styles[name]
            ax.plot(rows.step, rows["mean"], markevery=0.1, **color)
            ax.fill_between(rows.step, rows.low, rows.high, color=color["color"], alpha=0.2)
            ax.axhline(0, color=GREY, linewidth=1)
            ax.set_ylabel(name)
        axes[-1].set_xlabel("Training step")
    return axes
