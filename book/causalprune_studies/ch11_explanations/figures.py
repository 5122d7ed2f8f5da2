"""Figures of chapter 11: attributions and how far they agree. Finished numbers in, Axes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import (
    BLACK,
    GREY,
    MARKERS,
    PALETTE,
    canvas,
    legend_above,
    percent,
    use_style,
)


def plot_bars(
    table: pd.DataFrame, *, xlabel: str, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """Horizontal bars: a group for each feature, a bar in it for each series.

    Parameters
    ----------
    table : DataFrame
        Features (index, first on top) by series (columns, first on top in each group).
    xlabel : str
        What the bars measure, with the unit.
    ax : Axes, optional
        Where to draw. Default: a figure as high as the bars need.
    legend : bool
    """
    n, groups = table.shape[1], len(table)
    if ax is None:
        with use_style():
            height = 1.2 + groups * (0.16 + 0.17 * n)
            _, ax = plt.subplots(figsize=(6.4, height), layout="constrained")
            return plot_bars(table, xlabel=xlabel, ax=ax, legend=legend)
    width, hatches = 0.84 / n, ("", "//", "..", "xx", "\\\\", "++", "--")
    for i, name in enumerate(table):
        at = np.arange(groups) + (i - (n - 1) / 2) * width
        ax.barh(
            at,
            table[name],
            width,
            label=name,
            color=PALETTE[i % len(PALETTE)],
            hatch=hatches[i % len(hatches)],
            edgecolor="white",
            linewidth=0,
        )
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks(range(groups), table.index)
    ax.set_ylim(groups - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(xlabel)
    if legend:
        legend_above(ax)
    return ax


def plot_bar_panels(panels: Mapping[str, pd.DataFrame], *, xlabel: str) -> Sequence[Axes]:
    """`plot_bars` for several tables of the same series, one below the other.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        Title, and features by series.
    xlabel : str
        What the bars measure, with the unit.
    """
    sizes = [len(table) for table in panels.values()]
    with use_style():
        figure, axes = plt.subplots(
            len(panels),
            1,
            figsize=(6.4, 1.0 + 0.45 * len(panels) + 0.56 * sum(sizes)),
            sharex=True,
            layout="constrained",
            squeeze=False,
            gridspec_kw={"height_ratios": sizes},
        )
        for ax, (title, table) in zip(axes[:, 0], panels.items(), strict=True):
            plot_bars(table, xlabel="", ax=ax, legend=False)
            ax.set_title(title, loc="left")
        axes[-1, 0].set_xlabel(xlabel)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return axes[:, 0]


def plot_agreement(
    panels: Mapping[str, pd.DataFrame],
    *,
    order: Sequence[str],
    yardstick: str,
    xlabel: str = "Spearman's correlation with the dense network (1 = same order)",
) -> Sequence[Axes]:
    """Agreement of every network, a panel for each table, with the yardstick as a line.

    Intervals end at 1, for nothing agrees better than fully.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        Title, and columns `network`, `mean`, `low`, `high`; with the column `counts` each of its
        values gets a marker of its own.
    order : sequence of str
        Networks from top to bottom; those without rows are left out.
    yardstick : str
        The network whose mean the others are held against.
    xlabel : str
        What is measured.
    """
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    shown = [n for n in order if any((t.network == n).any() for t in panels.values())]
    with use_style():
        figure, axes = plt.subplots(
            lines,
            columns,
            figsize=(6.4, 0.9 + lines * (0.55 + 0.36 * len(shown))),
            sharex=True,
            sharey=True,
            layout="constrained",
            squeeze=False,
        )
        for ax, (title, table) in zip(axes.flat, panels.items(), strict=False):
            _dots(ax, table, shown)
            level = table.loc[table.network == yardstick, "mean"]
            ax.axvline(level.mean(), color=BLACK, linestyle="--", linewidth=1.2)
            if title:
                ax.set_title(title, loc="left")
        for ax in axes.flat[len(panels) :]:
            ax.set_visible(False)
        figure.supxlabel(xlabel, fontsize=13)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return axes.ravel()[: len(panels)]


def _dots(ax: Axes, table: pd.DataFrame, shown: Sequence[str]) -> None:
    require_columns("table", table, ["network", "mean", "low", "high"])
    kinds = list(dict.fromkeys(table.counts)) if "counts" in table else [""]
    kinds = [kind for kind in ("none", "FT", "PT", "half", "") if kind in kinds]
    masked = [kind for kind in kinds if kind not in ("none", "")]
    for kind in kinds:
        part = table if kind == "" else table[table.counts == kind]
        part = part[part.network.isin(shown)]
        place = masked.index(kind) if kind in masked else 0
        shift = 0.24 * (place - (len(masked) - 1) / 2) if kind in masked else 0.0
        at = np.array([shown.index(n) for n in part.network]) + shift
        ax.errorbar(
            part["mean"],
            at,
            xerr=np.clip([part["mean"] - part.low, part.high.clip(upper=1) - part["mean"]], 0, 2),
            linestyle="none",
            marker=MARKERS[place] if kind in masked else "D",
            color=PALETTE[place] if kind in masked else BLACK,
            capsize=2,
            markersize=6,
            label=kind if kind in masked else "no mask",
        )
    ax.set_yticks(range(len(shown)), shown)
    ax.set_ylim(len(shown) - 0.4, -0.6)


def plot_sampling_error(
    table: pd.DataFrame, *, deep: float, everything: int, ax: Axes | None = None
) -> Axes:
    """Error of sampled attributions against the number of sets asked, on logarithmic axes.

    Parameters
    ----------
    table : DataFrame
        Columns `samples`, `mean`, `low`, `high` (relative errors, as fractions).
    deep : float
        The error of Deep SHAP, a line.
    everything : int
        The number of all sets, a line.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("table", table, ["samples", "mean", "low", "high"])
    with canvas(ax) as ax:
        ax.fill_between(table.samples, table.low, table.high, color=PALETTE[0], alpha=0.2)
        ax.plot(table.samples, table["mean"], color=PALETTE[0], marker="o", label="Kernel SHAP")
        ax.axhline(deep, color=PALETTE[1], linestyle="--", label="Deep SHAP")
        ax.axvline(everything, color=GREY, linestyle=":", label="all sets")
        ax.set_xscale("log")
        ax.set_yscale("log")
        marks = [*table.samples, everything]
        ax.xaxis.set_major_locator(FixedLocator(marks))
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:g}"))
        ax.yaxis.set_major_formatter(percent())
        ax.set_xlabel("Sets asked for each example")
        ax.set_ylabel("Mean error (% of the exact values)")
        legend_above(ax)
    return ax
