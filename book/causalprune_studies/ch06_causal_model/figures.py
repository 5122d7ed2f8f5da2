"""Figures of chapter 6: how well squared moves explain the loss. Finished numbers in, Axes out."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import BLACK, BLUE, GREY, VERMILLION, use_style
from causalprune_studies.figures import plot_lines
from causalprune_studies.looks import line_styles

FLOOR = -0.6  # of R^2: what is worse is cut off


def plot_first_order(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Relative error of a first-order prediction against the learning rate, both logarithmic.

    Parameters
    ----------
    table : DataFrame
        Columns `lr`, `error` (measured) and `curvature` (what the second-order term predicts).
    ax : Axes, optional
        Where to draw.
    """
    require_columns("table", table, ["lr", "error", "curvature"])
    looks = {
        "half lr × curvature": {"color": GREY, "linestyle": "--"},
        "measured": {"color": BLUE, "linestyle": "none", "marker": "o"},
    }
    lines = table.rename(columns={"curvature": "half lr × curvature", "error": "measured"})
    ax = plot_lines(
        lines.melt("lr", list(looks), var_name="line", value_name="mean"),
        x="lr",
        hue="line",
        xlabel="Learning rate",
        ylabel="Relative error (fraction)",
        interval="none",
        looks=looks,
        ax=ax,
    )
    ax.set(xscale="log", yscale="log")
    return ax


def plot_changes(panels: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Loss changes against the predicted ones, a panel for each definition, with the line y = x.

    Parameters
    ----------
    panels : mapping of str to (predicted (T,), measured (T,))
        Title of each panel and its points.

    Returns
    -------
    array of Axes, one per panel
    """
    with use_style():
        size = {"figsize": (6.4, 3.0 * len(panels)), "layout": "constrained"}
        axes = plt.subplots(len(panels), 1, sharex=True, squeeze=False, **size)[1][:, 0]
        for ax, (title, (predicted, measured)) in zip(axes, panels.items(), strict=True):
            check_shape("measured", measured, predicted.shape)
            ends = [predicted.min(), 0.0]
            ax.plot(predicted, measured, "o", color=BLUE, markersize=4, alpha=0.5)
            ax.plot(ends, ends, color=VERMILLION, linestyle="--", label="as predicted")
            ax.set_title(title, loc="left")
            ax.set_ylabel("Loss change (nats)")
        axes[0].legend(loc="lower right")
        axes[-1].set_xlabel("Predicted change: −(sum of squared moves) / lr (nats)")
    return axes


def plot_explained(
    table: pd.DataFrame, *, names: Mapping[str, str], parts: Mapping[str, str]
) -> np.ndarray:
    """R^2 of a lasso against the strength of its penalty, a panel for each part of the data.

    Parameters
    ----------
    table : DataFrame
        Columns `kind`, `ratio`, `metric`, `mean`, `low`, `high`.
    names : mapping
        Kinds to draw, and how the legend calls them.
    parts : mapping
        Metrics, one a panel, and the panel's title.

    Returns
    -------
    array of Axes, one per panel
    """
    require_columns("table", table, ["kind", "ratio", "metric", "mean", "low", "high"])
    table = table[table.kind.isin(names)].assign(name=table.kind.map(names))
    ratios = sorted(table.ratio.unique())
    with use_style():
        size = {"figsize": (6.4, 3.2 * len(parts)), "layout": "constrained"}
        figure, axes = plt.subplots(len(parts), 1, sharex=True, squeeze=False, **size)
        axes = axes[:, 0]
        for ax, (metric, title) in zip(axes, parts.items(), strict=True):
            plot_lines(
                table[table.metric == metric],
                x="ratio",
                hue="name",
                xlabel="Penalty: alpha / alpha_max (fraction)" if ax is axes[-1] else "",
                ylabel="R² (fraction)",
                interval="bars",
                looks=line_styles(names.values()),
                ax=ax,
            )
            ax.get_legend().remove()
            ax.axhline(0, color=BLACK, linewidth=1)
            ax.set_ylim(FLOOR, 1.05)
            ax.set_title(title, loc="left")
        axes[-1].set_xscale("log")
        axes[-1].invert_xaxis()
        axes[-1].set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
        axes[-1].minorticks_off()
        figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return axes
