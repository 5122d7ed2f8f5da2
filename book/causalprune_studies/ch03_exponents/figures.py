"""Figures of chapter 3: portraits, divergence curves, lengths, surrogates. Numbers in, Axes out.

Finished tables have `mean`, `low` and `high`, from `summarise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import BLACK, BLUE, GREY, use_style
from causalprune_studies.ch03_exponents.study import ITSELF
from causalprune_studies.figures import plot_dots, plot_lines
from causalprune_studies.looks import canvas, legend_above, line_styles

SHOWN = 60  # samples of a portrait in time


def plot_portraits(series: Mapping[str, ArrayLike]) -> np.ndarray:
    """Each series in time on the left, and each sample against the one before on the right.

    Parameters
    ----------
    series : mapping from title to array (n,)
        One row of the figure for each. The left side shows the first sixty samples.

    Returns
    -------
    array (rows, 2) of Axes
    """
    with use_style():
        figure = plt.figure(figsize=(6.4, 2.1 * len(series)), layout="constrained")
        grid = figure.subplots(len(series), 2, width_ratios=(1.7, 1), squeeze=False)
        for (title, values), (left, right) in zip(series.items(), grid, strict=True):
            x = np.asarray(values, dtype=float)
            left.plot(x[:SHOWN], color=BLUE, marker="o", markersize=3, linewidth=1)
            left.set_title(title, loc="left")
            right.plot(x[:-1], x[1:], linestyle="", marker=".", color=BLUE, markersize=3)
            right.set_ylabel("$x_t$")
        grid[-1, 0].set_xlabel("Time $t$ (samples)")
        grid[-1, 1].set_xlabel("$x_{t-1}$")
    return grid


def plot_divergence(
    curves: pd.DataFrame,
    *,
    truths: Mapping[str, float] | None = None,
    start: int = 0,
    ylabel: str = "Mean log distance $S(k)$ (nats)",
    ax: Axes | None = None,
) -> Axes:
    """Divergence curves, one line per series, with interval bands.

    Parameters
    ----------
    curves : DataFrame
        `series`, `k` and `mean`, `low`, `high`.
    truths : mapping from series to float, optional
        Known exponents in nats per sample: a dotted line of that slope through the curve at
        `start`, up to the height of the curve.
    start : int
        The k at which these lines touch their curves.
    ylabel : str
        What is drawn against k.
    ax : Axes, optional
        Where to draw.
    """
    dotted = {"color": BLACK, "linestyle": ":", "linewidth": 1.5}
    label = "Steps after the nearest neighbour, $k$ (samples)"
    with canvas(ax) as ax:
        plot_lines(curves, x="k", hue="series", xlabel=label, ylabel=ylabel, ax=ax)
        for name, slope in (truths or {}).items():
            curve = curves[curves.series == name].set_index("k")["mean"].sort_index().loc[start:]
            line = curve[start] + slope * (curve.index - start)
            below = line <= curve.max() + 0.3
            ax.plot(curve.index[below], line[below], **dotted)
        if truths:
            ax.plot([], [], label="known exponent", **dotted)
            legend_above(ax)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def plot_against_length(
    summary: pd.DataFrame,
    *,
    level: float | None = None,
    formula: pd.DataFrame | None = None,
    scale: str = "linear",
    ylabel: str = "First step (nats per sample)",
    ax: Axes | None = None,
) -> Axes:
    """A quantity against the length of the series, on a logarithmic axis, with interval bars.

    Parameters
    ----------
    summary : DataFrame
        `series`, `samples` and `mean`, `low`, `high`.
    level : float, optional
        A dashed line across, such as the truth.
    formula : DataFrame, optional
        `series`, `samples` and `value`: a dotted line, called by its `series`.
    scale : {"linear", "log"}
        Of the quantity; "log" needs values above 0.
    ylabel : str
        What the quantity is.
    ax : Axes, optional
        Where to draw.
    """
    check_choice("scale", scale, ["linear", "log"])
    label = "Length of the series (samples, logarithmic)"
    with canvas(ax) as ax:
        plot_lines(
            summary,
            x="samples",
            hue="series",
            xlabel=label,
            ylabel=ylabel,
            interval="bars",
            ax=ax,
        )
        if formula is not None:
            name = str(formula.series.iloc[0])
            ax.errorbar(
                formula.samples, formula.value, color=BLACK, linestyle=":", label=name, zorder=5
            )
            legend_above(ax)
        if level is not None:
            ax.axhline(level, color=GREY, linestyle="--", zorder=0)
        ax.set_xscale("log")
        ax.set_yscale(scale)
        ax.xaxis.set_major_locator(FixedLocator(sorted(summary.samples.unique())))
        for axis in (ax.xaxis, ax.yaxis) if scale == "log" else (ax.xaxis,):
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return ax


def plot_surrogates(summary: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """One line per series: its statistic as a filled mark, those of its surrogates as hollow ones.

    Parameters
    ----------
    summary : DataFrame
        `series`, `kind` and `mean`, `low`, `high`; the kind of the series themselves is "the series
        itself".
    ax : Axes, optional
        Where to draw. A new figure is as high as it has lines.
    """
    require_columns("summary", summary, ["series", "kind"])
    n, own_figure = summary.series.nunique(), ax is None
    ordered = summary.sort_values("kind", key=lambda kind: kind != ITSELF, kind="stable")
    ax = plot_dots(
        ordered,
        y="series",
        hue="kind",
        hollow=set(summary.kind) - {ITSELF},
        xlabel="First step $S(1) - S(0)$ (nats per sample)",
        ax=ax,
    )
    if own_figure:
        ax.figure.set_figheight(1.6 + 0.65 * n)
    for edge in np.arange(n - 1) + 0.5:
        ax.axhline(edge, color=GREY, linewidth=0.5)
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
    require_columns("summary", summary, ["quantity", "step", "mean", "low", "high"])
    looks = line_styles(quantities)
    with use_style():
        figure = plt.figure(figsize=(6.4, 2.3 * len(quantities)), layout="constrained")
        axes = figure.subplots(len(quantities), 1, sharex=True, squeeze=False)[:, 0]
        for ax, name in zip(axes, quantities, strict=True):
            rows = summary[summary.quantity == name].sort_values("step")
            ax.plot(rows.step, rows["mean"], markevery=0.1, **looks[name])
            ax.fill_between(rows.step, rows.low, rows.high, color=looks[name]["color"], alpha=0.2)
            ax.axhline(0, color=GREY, linewidth=1)
            ax.set_ylabel(name)
        axes[-1].set_xlabel("Training step")
    return axes
