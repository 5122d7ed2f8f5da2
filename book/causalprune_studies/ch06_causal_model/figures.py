"""Figures of chapter 6: how well squared moves explain the loss. Finished numbers in, Axes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import (
    BLACK,
    BLUE,
    GREY,
    VERMILLION,
    canvas,
    legend_above,
    line_styles,
    use_style,
)


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
    with canvas(ax) as ax:
        ax.plot(table.lr, table.curvature, color=GREY, linestyle="--", label="half lr × curvature")
        ax.plot(table.lr, table.error, color=BLUE, marker="o", linestyle="none", label="measured")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("Learning rate")
        ax.set_ylabel("Relative error (fraction)")
        legend_above(ax)
    return ax


def plot_changes(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]], *, ylabel: str = "Loss change (nats)"
) -> Sequence[Axes]:
    """Loss changes against the predicted ones, a panel for each definition, with the line y = x.

    Parameters
    ----------
    panels : mapping of str to (predicted (T,), measured (T,))
        Title of each panel and its points.
    ylabel : str
        What the measured changes are, with the unit.
    """
    with use_style():
        figure, axes = plt.subplots(len(panels), 1, figsize=(6.4, 3.0 * len(panels)), sharex=True)
        for ax, (title, (predicted, measured)) in zip(
            np.atleast_1d(axes), panels.items(), strict=True
        ):
            predicted, measured = np.asarray(predicted), np.asarray(measured)
            check_shape("measured", measured, predicted.shape)
            ends = [predicted.min(), 0.0]
            ax.plot(predicted, measured, "o", color=BLUE, markersize=4, alpha=0.5)
            ax.plot(ends, ends, color=VERMILLION, linestyle="--", label="as predicted")
            ax.set_title(title, loc="left")
            ax.set_ylabel(ylabel)
        np.atleast_1d(axes)[0].legend(loc="lower right")
        np.atleast_1d(axes)[-1].set_xlabel("Predicted change: −(sum of squared moves) / lr (nats)")
        figure.set_layout_engine("constrained")
    return np.atleast_1d(axes)


def plot_explained(
    table: pd.DataFrame, *, names: Mapping[str, str], parts: Mapping[str, str], floor: float = -0.6
) -> Sequence[Axes]:
    """R^2 of a lasso against the strength of its penalty, a panel for each part of the data.

    Parameters
    ----------
    table : DataFrame
        Columns `kind`, `ratio`, `metric`, `mean`, `low`, `high`.
    names : mapping
        Kinds to draw, and how the legend calls them.
    parts : mapping
        Metrics, one a panel, and the panel's title.
    floor : float
        Values below are cut off; the axis ends there.
    """
    require_columns("table", table, ["kind", "ratio", "metric", "mean", "low", "high"])
    styles = line_styles(names.values())
    with use_style():
        figure, axes = plt.subplots(
            len(parts), 1, figsize=(6.4, 3.2 * len(parts)), sharex=True, layout="constrained"
        )
        for ax, (metric, title) in zip(np.atleast_1d(axes), parts.items(), strict=True):
            for kind, name in names.items():
                rows = table[(table.kind == kind) & (table.metric == metric)].sort_values("ratio")
                spread = [rows["mean"] - rows.low, rows.high - rows["mean"]]
                ax.errorbar(
                    rows.ratio, rows["mean"], yerr=spread, capsize=3, label=name, **styles[name]
                )
            ax.axhline(0, color=BLACK, linewidth=1)
            ax.set_ylim(floor, 1.05)
            ax.set_title(title, loc="left")
            ax.set_ylabel("R² (fraction)")
        last = np.atleast_1d(axes)[-1]
        last.set_xscale("log")
        last.invert_xaxis()
        ratios = sorted(table.ratio.dropna().unique())
        last.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
        last.minorticks_off()
        last.set_xlabel("Penalty: alpha / alpha_max (fraction)")
        handles, labels = last.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return np.atleast_1d(axes)
