"""Figures of chapter 1: accuracy, layers and time of pruned networks. Numbers in, Axes out."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import ArrayLike

from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import BLACK, GREY, use_style
from causalprune_studies.figures import plot_dots, plot_lines
from causalprune_studies.looks import (
    canvas,
    legend_above,
    line_styles,
    log_percent_with_zero,
    percent,
)

KEPT = [step * 10.0**power for power in range(-6, 0) for step in (1, 2, 5)] + [1.0]


def plot_images(
    images: Mapping[str, np.ndarray], *, axes: Sequence[Axes] | None = None
) -> Sequence[Axes]:
    """Small grey images (H, W) in a row, dark where they are large, each under its name."""
    if axes is None:
        with use_style():
            axes = plt.subplots(1, len(images), figsize=(6.4, 1.1), layout="constrained")[1]
            return plot_images(images, axes=axes)
    for (name, image), ax in zip(images.items(), axes, strict=True):
        ax.imshow(image, cmap="gray_r")
        ax.set_title(name)
        ax.axis("off")
    return axes


def plot_accuracy_vs_sparsity(
    summary: pd.DataFrame,
    *,
    hue: str,
    reference: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Accuracy against the fraction kept, from all weights to few, on a logarithmic axis.

    Parameters
    ----------
    summary : DataFrame
        From `summarise`: `amount`, the fraction pruned, in [0, 1); `hue`, which tells the lines
        apart; `mean`, `low`, `high` as fractions.
    hue : str
        The name of that column.
    reference : DataFrame, optional
        One row with `mean`, `low`, `high`: a dashed line across, such as the dense network. It is
        called by its entry in column `hue`, or "reference".
    ax : Axes, optional
        Where to draw.
    """
    require_columns("summary", summary, ["amount", hue, "mean", "low", "high"])
    if not summary.amount.between(0, 1, inclusive="left").all():
        raise ValueError(f"summary.amount must be in [0, 1); got {summary.amount.tolist()}.")
    with canvas(ax) as ax:
        plot_lines(
            summary.assign(kept=1 - summary.amount),
            x="kept",
            hue=hue,
            xlabel="Weights kept (%, logarithmic)",
            ylabel="Test accuracy (%)",
            ax=ax,
        )
        if reference is not None:
            require_columns("reference", reference, ["mean", "low", "high"])
            if len(reference) != 1:
                raise ValueError(f"reference must be one row; got {len(reference)}.")
            row = reference.iloc[0]
            name = str(row.get(hue, "reference"))
            ax.axhline(row["mean"], color=BLACK, linestyle="--", label=name)
            if np.isfinite(row.low) and np.isfinite(row.high):
                ax.axhspan(row.low, row.high, color=BLACK, alpha=0.08, linewidth=0)
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.xaxis.set_major_locator(FixedLocator(KEPT))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(percent())
        ax.yaxis.set_major_formatter(percent())
        legend_above(ax)
    return ax


def plot_layer_density(counts: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Fraction of each layer that is kept, against the fraction of the whole that is pruned.

    Parameters
    ----------
    counts : DataFrame
        `Masks.counts()` of several amounts, one below the other: `layer`, `density` and `amount`. A
        density of 0, an empty layer, is drawn on the lower edge.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("counts", counts, ["amount", "layer", "density"])
    with canvas(ax) as ax:
        before = len(ax.lines)
        plot_lines(
            counts.rename(columns={"density": "mean"}),
            x="amount",
            hue="layer",
            xlabel="Weights pruned in the whole network (%)",
            ylabel="Weights kept in the layer (%)",
            interval="none",
            ax=ax,
        )
        for line in ax.lines[before:]:
            line.set_clip_on(False)
        amounts = np.sort(counts.amount.unique())
        equal = amounts[amounts < 1]
        ax.plot(equal, 1 - equal, color=GREY, linestyle=":", label="equal fractions")
        log_percent_with_zero(ax, np.concatenate([counts.density, 1 - equal]))
        ax.xaxis.set_major_formatter(percent())
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
        for layer, look in line_styles(present).items():
            share = np.histogram(present[layer], bins)[0] / len(present[layer])
            style = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 2}
            ax.stairs(share, bins, label=str(layer), **style)
        if threshold is not None:
            ax.axvline(threshold, color=BLACK, linestyle="--", label="threshold")
        ax.set_xscale("log")
        ax.yaxis.set_major_formatter(percent())
        ax.set_xlabel("Size of the weight (absolute value, logarithmic)")
        ax.set_ylabel("Share of the layer (% per bin)")
        legend_above(ax)
    return ax


def plot_latency(frame: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Time of one forward pass over that of the first model, with quartiles.

    Parameters
    ----------
    frame : DataFrame
        From `compare_latency`, one row per model: `model`, `ratio`, `ratio_q25`, `ratio_q75`. Where
        every model but the first is named by a number, that is the fraction pruned and the figure
        is a line; else one dot per name.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("frame", frame, ["model", "ratio", "ratio_q25", "ratio_q75"])
    named = {"ratio": "mean", "ratio_q25": "low", "ratio_q75": "high"}
    table, first = frame.rename(columns=named), frame.iloc[0]
    label = f"Time per pass (times that of {first.model!s})"
    if len(frame) < 2 or not all(isinstance(name, numbers.Real) for name in frame.model[1:]):
        ax = plot_dots(table, y="model", xlabel=label, reference=first.ratio, ax=ax)
        ax.set_xlim(0, None)
        return ax
    with canvas(ax) as ax:
        thin = table.iloc[1:].astype({"model": float}).assign(network="pruned")
        plot_lines(
            thin,
            x="model",
            hue="network",
            xlabel="Weights pruned (%)",
            ylabel=label,
            interval="bars",
            ax=ax,
        )
        ax.axhline(first.ratio, color=GREY, linestyle="--", label=str(first.model))
        ax.xaxis.set_major_formatter(percent())
        ax.set_ylim(0, None)
        legend_above(ax)
    return ax
