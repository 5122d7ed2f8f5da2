"""Figures of what single layers keep and of how two masks overlap."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from causalprune_lib.evidence.intervals import require_columns
from causalprune_lib.evidence.plots.style import (
    GREY,
    canvas,
    legend_above,
    line_styles,
    log_percent_with_zero,
    percent,
    use_style,
)

HATCHES = ("", "//", "..", "xx", "--")


def plot_layer_density(
    counts: pd.DataFrame, *, ax: Axes | None = None, x: str = "amount", layer: str = "layer"
) -> Axes:
    """Fraction of each layer that is kept, against the fraction of the whole that is pruned.

    Parameters
    ----------
    counts : DataFrame
        `Masks.counts()` of several amounts, one below the other: `layer`, `density` and `x`. A
        density of 0, an empty layer, is drawn on the lower edge.
    ax, x, layer
        Where to draw, and the names of the columns.
    """
    require_columns("counts", counts, [x, layer, "density"])
    with canvas(ax) as ax:
        styles = line_styles(counts[layer].unique())
        for name, rows in counts.groupby(layer, sort=False):
            rows = rows.sort_values(x)
            ax.plot(rows[x], rows.density, label=str(name), clip_on=False, **styles[name])
        amounts = np.sort(counts[x].unique())
        equal = amounts[amounts < 1]
        ax.plot(equal, 1 - equal, color=GREY, linestyle=":", label="equal fractions")
        log_percent_with_zero(ax, np.concatenate([counts.density, 1 - equal]))
        ax.xaxis.set_major_formatter(percent())
        ax.set_xlabel("Weights pruned in the whole network (%)")
        ax.set_ylabel("Weights kept in the layer (%)")
        legend_above(ax)
    return ax


def plot_layer_bars(
    counts: pd.DataFrame, *, ax: Axes | None = None, layer: str = "layer", hue: str = "method"
) -> Axes:
    """Fraction of each layer that is kept, as bars grouped by method or scope.

    Parameters
    ----------
    counts : DataFrame
        `Masks.counts()` of several masks: `layer`, `density` and `hue`, one row for each pair.
    ax, layer, hue
        Where to draw, and the names of the columns.
    """
    require_columns("counts", counts, [layer, hue, "density"])
    layers, names = counts[layer].unique(), counts[hue].unique()
    styles = line_styles(names)
    height = 0.8 / len(names)
    with canvas(ax) as ax:
        for k, name in enumerate(names):
            rows = counts[counts[hue] == name].set_index(layer).density.reindex(layers)
            ax.barh(
                np.arange(len(layers)) + (k - (len(names) - 1) / 2) * height,
                rows,
                height=0.9 * height,
                color=styles[name]["color"],
                hatch=HATCHES[k % len(HATCHES)],
                edgecolor="white",
                label=str(name),
            )
        ax.set_yticks(np.arange(len(layers)), labels=[str(name) for name in layers])
        ax.invert_yaxis()
        ax.set_xlim(0, 1)
        ax.xaxis.set_major_formatter(percent())
        ax.set_xlabel("Weights kept in the layer (%)")
        ax.grid(axis="y", visible=False)
        legend_above(ax)
    return ax


def plot_size_distribution(
    sizes: Mapping[str, ArrayLike], *, threshold: float | None = None, ax: Axes | None = None
) -> Axes:
    """Histograms of the sizes of each layer's weights, all of the same area, on a logarithmic axis.

    Parameters
    ----------
    sizes : mapping from layer to array
        Absolute weights; zeros have no place on the axis and are left out.
    threshold : float, optional
        A size to mark: what is smaller is pruned.
    ax : Axes, optional
        Where to draw.
    """
    present = {layer: np.asarray(size)[np.asarray(size) > 0] for layer, size in sizes.items()}
    low = min(np.quantile(size, 0.01) for size in present.values())
    high = max(size.max() for size in present.values())
    bins = np.geomspace(low, high, 41)
    with canvas(ax) as ax:
        for layer, style in line_styles(present).items():
            share = np.histogram(present[layer], bins)[0] / len(present[layer])
            ax.stairs(
                share,
                bins,
                label=str(layer),
                color=style["color"],
                linestyle=style["linestyle"],
                linewidth=2,
            )
        if threshold is not None:
            ax.axvline(threshold, color="black", linestyle="--", label="threshold")
        ax.set_xscale("log")
        ax.yaxis.set_major_formatter(percent())
        ax.set_xlabel("Size of the weight (absolute value, logarithmic)")
        ax.set_ylabel("Share of the layer (% per bin)")
        legend_above(ax)
    return ax


def plot_mask_overlap(
    tables: pd.DataFrame | Mapping[str, pd.DataFrame], *, ax: Axes | None = None
) -> Axes | np.ndarray:
    """Overlap of two masks as a 2x2 matrix, as in figure 1(b) of the causal pruning paper.

    Parameters
    ----------
    tables : DataFrame or mapping from title to DataFrame
        From `overlap_table`: percentages that sum to 100, rows and columns named after the masks.
    ax : Axes, optional
        Where to draw a single table.

    Returns
    -------
    Axes, or array of Axes for a mapping, two in a row.
    """
    if isinstance(tables, pd.DataFrame):
        if tables.shape != (2, 2):
            raise ValueError(f"tables must be 2 by 2; got {tables.shape}.")
        with canvas(ax) as ax:
            _draw_overlap(ax, tables)
        return ax
    if not tables:
        raise ValueError("tables must hold at least one table; got none.")
    with use_style():
        rows = -(-len(tables) // 2)
        _, grid = plt.subplots(rows, 2, figsize=(6.4, 3.4 * rows), layout="constrained")
        for place, (title, table) in zip(grid.flat, tables.items(), strict=False):
            plot_mask_overlap(table, ax=place)
            place.set_title(title)
        for spare in grid.flat[len(tables) :]:
            spare.set_axis_off()
    return grid.ravel()[: len(tables)]


def _draw_overlap(ax: Axes, table: pd.DataFrame) -> None:
    values = table.to_numpy(dtype=float)  # (2, 2)
    ax.imshow(values, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if value > 55 else "black"
        ax.text(column, row, f"{value:.1f}%", ha="center", va="center", color=ink, fontsize=13)
    ax.set_xticks([0, 1], labels=table.columns.astype(str))
    ax.set_yticks([0, 1], labels=table.index.astype(str))
    ax.set_xlabel(str(table.columns.name or "second mask"))
    ax.set_ylabel(str(table.index.name or "first mask"))
    ax.grid(visible=False)
