"""Figures of the chapter "Flat minima", but for its landscapes. Finished numbers in, Axes out."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from causalprune_lib.evidence.intervals import require_columns
from causalprune_lib.evidence.plots.style import GREY, line_styles, percent, use_style

TOP = "Top eigenvalue"


def plot_top_eigenvalues(
    summary: pd.DataFrame,
    *,
    panel: str = "space",
    titles: Mapping[str, str] | None = None,
) -> np.ndarray:
    """The largest eigenvalues of every network, one panel below the other.

    Parameters
    ----------
    summary : DataFrame
        `panel`, `method`, `rank` (1 is the largest), and `mean`, `low`, `high` as eigenvalues.
    panel : str
        The column that names the panels.
    titles : mapping, optional
        What the panels are called.

    Returns
    -------
    array of Axes, one per panel
    """
    require_columns("summary", summary, [panel, "method", "rank", "mean", "low", "high"])
    methods = list(summary.method.unique())
    shift = dict(zip(methods, np.linspace(-0.2, 0.2, len(methods)), strict=True))

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        for name, line in rows.groupby("method", sort=False):
            line = line.sort_values("rank")
            spread = [line["mean"] - line.low, line.high - line["mean"]]
            style = styles[name] | {"linewidth": 1.2}
            at = line["rank"] + shift[name]
            ax.errorbar(at, line["mean"], yerr=spread, capsize=2, label=str(name), **style)
        _logarithmic(ax, "y")
        ax.set_ylabel("Eigenvalue")
        ax.set_xticks(sorted(summary["rank"].unique()))

    styles = line_styles(methods)
    axes = _panels(summary, panel, titles, draw)
    axes[-1].set_xlabel("Rank of the eigenvalue")
    return axes


def plot_sharpness_on_the_way(
    curves: pd.DataFrame,
    *,
    panel: str = "dataset",
    titles: Mapping[str, str] | None = None,
) -> np.ndarray:
    """Top eigenvalue against training loss, while networks are trained: time goes to the right.

    Parameters
    ----------
    curves : DataFrame
        `panel`, `method`, `seed`, `step`, `loss` and `top_1`. One line for each method and seed; a
        marker stands where it ends.

    Returns
    -------
    array of Axes, one per panel
    """
    require_columns("curves", curves, [panel, "method", "seed", "step", "loss", "top_1"])
    styles = line_styles(curves.method.unique())

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        seen = set()
        for (name, _), line in rows.groupby(["method", "seed"], sort=False):
            line = line.sort_values("step")
            style = styles[name] | {"linewidth": 1.2, "alpha": 0.75, "markevery": [len(line) - 1]}
            label = None if name in seen else str(name)
            ax.plot(line.loss, line.top_1, label=label, **style)
            seen.add(name)
        _logarithmic(ax, "x")
        _logarithmic(ax, "y")
        ax.set_ylabel(TOP)

    axes = _panels(curves, panel, titles, draw)
    axes[0].invert_xaxis()
    axes[-1].set_xlabel("Training loss (nats), falling to the right")
    return axes


def plot_flat_against_accurate(
    rows: pd.DataFrame, *, measures: Mapping[str, str], panel: str = "dataset"
) -> np.ndarray:
    """Test accuracy against sharpness, a point for every network, a row for each measure.

    Parameters
    ----------
    rows : DataFrame
        `panel`, `method`, `accuracy` and a column for each of `measures`.
    measures : mapping
        Columns to draw, and what their axes are called.

    Returns
    -------
    array of Axes (measures, panels)
    """
    require_columns("rows", rows, [panel, "method", "accuracy", *measures])
    styles, places = line_styles(rows.method.unique()), list(rows[panel].unique())
    with use_style():
        figure, axes = plt.subplots(
            len(measures),
            len(places),
            figsize=(6.4, 0.8 + 2.7 * len(measures)),
            squeeze=False,
            sharey="col",
            layout="constrained",
        )
        for row, (column, label) in zip(axes, measures.items(), strict=True):
            for ax, place in zip(row, places, strict=True):
                for name, points in rows[rows[panel] == place].groupby("method", sort=False):
                    style = styles[name] | {"linestyle": "none"}
                    ax.plot(points[column], points.accuracy, label=str(name), **style)
                if rows[column].min() > 0 and rows[column].max() > 10 * rows[column].min():
                    _logarithmic(ax, "x")
                ax.set_xlabel(label)
                ax.yaxis.set_major_formatter(percent())
            row[0].set_ylabel("Test accuracy (%)")
        if len(places) > 1:
            for ax, place in zip(axes[0], places, strict=True):
                ax.set_title(str(place))
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return axes


def _logarithmic(ax: Axes, which: str) -> None:
    """A logarithmic axis with plain numbers, at 1, 2 and 5 where it is short."""
    ax.set(**{f"{which}scale": "log"})
    axis = {"x": ax.xaxis, "y": ax.yaxis}[which]
    low, high = ax.dataLim.get_points()[:, "xy".index(which)]
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _panels(rows: pd.DataFrame, panel: str, titles: Mapping[str, str] | None, draw) -> np.ndarray:
    """One panel below the other, with one legend above them all."""
    names = list(rows[panel].unique())
    with use_style():
        figure, axes = plt.subplots(
            len(names),
            1,
            figsize=(6.4, 1.0 + 3.0 * len(names)),
            sharex=True,
            squeeze=False,
            layout="constrained",
        )
        for ax, name in zip(axes[:, 0], names, strict=True):
            draw(ax, rows[rows[panel] == name])
            if len(names) > 1:
                ax.set_title((titles or {}).get(name, str(name)), loc="left", color=GREY)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return axes[:, 0]
