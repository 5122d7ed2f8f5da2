"""Figures of chapter 12: distances of networks. Finished numbers in, Axes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike

from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import BLACK, BLUE, GREY, VERMILLION, use_style
from causalprune_studies.figures import plot_dots, plot_lines
from causalprune_studies.looks import canvas, legend_above, line_styles

ORDER = ("LEGCNet", "shuffled", "random", "magnitude", "causal", "stranger", "order")


def plot_farthest(
    images: Mapping[str, ArrayLike], outputs: Mapping[str, Mapping[str, ArrayLike]], *, top: float
) -> np.ndarray:
    """Images at which two networks differ, and what both say there.

    Parameters
    ----------
    images : mapping of str to array (side, side)
        Title, and pixels.
    outputs : mapping of str to mapping of str to array (K,)
        By the same titles: each network's probabilities, by its name.
    top : float
        Value of the brightest pixel, which is drawn black.

    Returns
    -------
    array of Axes, (titles, 2)
    """
    with use_style():
        _, axes = plt.subplots(
            len(images),
            2,
            figsize=(6.4, 2.3 * len(images)),
            width_ratios=[1, 2.4],
            layout="constrained",
            squeeze=False,
        )
        for (picture, bars), (title, image) in zip(axes, images.items(), strict=True):
            picture.imshow(image, cmap="gray_r", vmin=0, vmax=top)
            picture.axis("off")
            picture.set_title(title, loc="left")
            looks = zip((-0.2, 0.2), outputs[title].items(), (BLUE, VERMILLION), strict=True)
            for shift, (name, heights), color in looks:
                at = np.arange(len(heights)) + shift
                bars.bar(at, heights, 0.4, label=name, color=color)
            bars.set_xticks(range(len(heights)))
            bars.set_ylim(0, 1.05)
            bars.set_ylabel("Probability\n(fraction)")
        axes[-1, 1].set_xlabel("Class (digit)")
        legend_above(axes[0, 1])
    return axes


def plot_steepness(
    x: np.ndarray, slope: np.ndarray, chords: pd.DataFrame, *, ax: Axes | None = None
) -> Axes:
    """The slope of a function, and the slopes of its chords, which never exceed the largest one.

    Parameters
    ----------
    x, slope : array (n,)
        Where, and the derivative there.
    chords : DataFrame
        Columns `middle` and `slope`, a row for each pair of points.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("chords", chords, ["middle", "slope"])
    dots = {"color": GREY, "markersize": 3, "alpha": 0.5, "label": "two points, measured"}
    with canvas(ax) as ax:
        ax.plot(chords.middle, chords.slope, "o", **dots)
        ax.plot(x, slope, color=BLUE, label="derivative")
        ax.axhline(0.25, color=VERMILLION, linestyle="--", label="1/4")
        ax.set_xlabel("Input, or the middle of two inputs")
        ax.set_ylabel("Change of the output per\nchange of the input")
        ax.set_ylim(bottom=0)
        legend_above(ax)
    return ax


def plot_by_width(
    summaries: Mapping[str, pd.DataFrame],
    *,
    hue: str,
    ylabel: str,
    guide: tuple[float, float, float] | None = None,
    inputs: int | None = None,
) -> Sequence[Axes]:
    """A quantity against the width of the network, a panel for each title, both axes logarithmic.

    Parameters
    ----------
    summaries : mapping of str to DataFrame
        Title, and `summarise`'s table with columns `width`, `hue`, `mean`, `low`, `high`.
    hue : str
        Column that tells the lines apart.
    ylabel : str
        What is drawn, with its unit.
    guide : (width, value, slope), optional
        A thin line through a point with a slope, in every panel.
    inputs : int, optional
        Number of inputs: a vertical line there.
    """
    names = list(dict.fromkeys(n for table in summaries.values() for n in table[hue]))
    looks = line_styles(ORDER if set(names) <= set(ORDER) else names)  # alike in every figure
    widths = sorted({int(w) for table in summaries.values() for w in table.width})
    with use_style():
        figure, axes = plt.subplots(
            len(summaries),
            1,
            figsize=(6.4, 3.4 * len(summaries) + 0.5),
            sharex=True,
            layout="constrained",
        )
        axes = np.atleast_1d(axes)
        for ax, (title, table) in zip(axes, summaries.items(), strict=True):
            # an interval that reaches below zero has no place on the axis: it ends far below
            table = table.astype({"width": float})
            table = table.assign(low=table.low.clip(lower=table["mean"] / 20))
            plot_lines(table, x="width", hue=hue, xlabel="", ylabel=ylabel, looks=looks, ax=ax)
            if guide is not None:
                at, value, slope = guide
                ends = np.array(widths, float)
                ax.plot(ends, value * (ends / at) ** slope, color=GREY, linewidth=1)
            if inputs is not None:
                ax.axvline(inputs, color=BLACK, linewidth=1, linestyle=":")
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
            ax.yaxis.set_minor_locator(NullLocator())
            ax.get_legend().remove()
            ax.set_title(title, loc="left")
        axes[-1].set_xticks(widths, [str(w) for w in widths])
        axes[-1].xaxis.set_minor_locator(NullLocator())
        axes[-1].set_xlabel("Width: hidden neurons per layer")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3)
    return axes


def plot_yardsticks(
    table: pd.DataFrame, *, yardsticks: Sequence[str], xlabel: str, ax: Axes | None = None
) -> Axes:
    """Distances as points on a line each, with intervals; those of the yardsticks are hollow.

    Parameters
    ----------
    table : DataFrame
        Columns `network`, `mean`, `low`, `high`, in the order to draw, top first.
    yardsticks : sequence of str
        Which networks are yardsticks.
    xlabel : str
        What is drawn, with its unit.
    ax : Axes, optional
        Where to draw.
    """
    ax = plot_dots(table, y="network", xlabel=xlabel, hollow=yardsticks, ax=ax)
    ax.set_xlim(left=-0.02 * table.high.max())
    return ax


def plot_bound(
    table: pd.DataFrame, *, hue: str, xlabel: str, ylabel: str, ax: Axes | None = None
) -> Axes:
    """Upper bounds (lines) and the largest values found (hollow points) against an amount.

    Parameters
    ----------
    table : DataFrame
        Columns `amount`, `hue`, `bound` and `found`.
    hue : str
        Column that tells the rankings apart.
    xlabel, ylabel : str
        What is drawn.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("table", table, ["amount", hue, "bound", "found"])
    looks = line_styles(table[hue].unique())
    with canvas(ax) as ax:
        for name, rows in table.groupby(hue, sort=False):
            rows, look = rows.sort_values("amount"), looks[name]
            hollow = look | {"linestyle": "none", "markerfacecolor": "white"}
            ax.plot(rows.amount, rows.bound, label=f"{name}: bound", **look)
            ax.plot(rows.amount, rows.found, label=f"{name}: found", **hollow)
        ax.set_yscale("log")
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        legend_above(ax)
    return ax
