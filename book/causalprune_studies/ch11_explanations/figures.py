"""Figures of chapter 11: importances and how far they agree. Finished numbers in, Axes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import BLACK, GREY, PALETTE, use_style
from causalprune_studies.figures import plot_bars, plot_dots, plot_lines
from causalprune_studies.looks import canvas, legend_above, line_styles, percent


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
        _, axes = plt.subplots(
            len(panels),
            1,
            figsize=(6.4, 1.0 + 0.45 * len(panels) + 0.56 * sum(sizes)),
            sharex=True,
            layout="constrained",
            squeeze=False,
            gridspec_kw={"height_ratios": sizes},
        )
        for ax, (title, table) in zip(axes[:, 0], panels.items(), strict=True):
            plot_bars(table, xlabel="", ax=ax)
            ax.set_title(title, loc="left")
        axes[-1, 0].set_xlabel(xlabel)
        _one_legend(axes[:, 0], columns=2)
    return axes[:, 0]


def plot_agreement(
    panels: Mapping[str, pd.DataFrame], *, yardstick: str, xlabel: str
) -> Sequence[Axes]:
    """Agreement of every network, a panel for each table, with the yardstick as a dashed line.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        Title, and columns `network`, `counts` ("none" for networks without a mask), `mean`, `low`,
        `high`: the same networks in each, from top to bottom.
    yardstick : str
        The network whose mean the others are held against.
    xlabel : str
        What is measured.
    """
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    with use_style():
        shown = next(iter(panels.values())).network.nunique()
        figure, axes = plt.subplots(
            lines,
            columns,
            figsize=(6.4, 0.9 + lines * (0.55 + 0.36 * shown)),
            sharex=True,
            sharey=True,
            layout="constrained",
            squeeze=False,
        )
        for ax, (title, table) in zip(axes.flat, panels.items(), strict=False):
            counts = [name for name in table.counts.unique() if name != "none"]
            looks = line_styles(counts) | {"none": {"color": BLACK, "marker": "D"}}
            level = table[table.network == yardstick]["mean"].iloc[0]
            table = table.assign(counts=table.counts.replace("none", "no mask"))
            looks["no mask"] = looks.pop("none")
            plot_dots(
                table, y="network", hue="counts", xlabel="", reference=level, looks=looks, ax=ax
            )
            ax.set_title(title, loc="left")
        for ax in axes.flat[len(panels) :]:
            ax.set_visible(False)
        figure.supxlabel(xlabel, fontsize=13)
        _one_legend(axes.flat[: len(panels)], columns=4)
    return axes.ravel()[: len(panels)]


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
        plot_lines(
            table.assign(method="Kernel SHAP"),
            x="samples",
            hue="method",
            xlabel="Sets asked for each example",
            ylabel="Mean error (% of the exact values)",
            ax=ax,
        )
        ax.axhline(deep, color=PALETTE[1], linestyle="--", label="Deep SHAP")
        ax.axvline(everything, color=GREY, linestyle=":", label="all sets")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.xaxis.set_major_locator(FixedLocator([*table.samples, everything]))
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:g}"))
        ax.yaxis.set_major_formatter(percent())
        legend_above(ax)
    return ax


def _one_legend(axes: Sequence[Axes], *, columns: int) -> None:
    """One legend above all panels, in place of one for each."""
    handles, labels = axes[0].get_legend_handles_labels()
    for ax in axes:
        ax.get_legend().remove()
    axes[0].figure.legend(handles, labels, loc="outside upper center", ncols=columns)
