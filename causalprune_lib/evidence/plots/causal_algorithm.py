"""Figures of algorithm 1 and of what it keeps in each layer. Finished numbers in, Axes out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from causalprune_lib.evidence.intervals import require_columns
from causalprune_lib.evidence.plots.style import (
    GREY,
    canvas,
    legend_above,
    line_styles,
    log_percent_with_zero,
    percent,
)


def plot_phases(history: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The training loss through the phases of algorithm 1, a line for each phase.

    Parameters
    ----------
    history : DataFrame
        `CausalPruning.history_`: `phase`, `number`, `train_loss`, one row per epoch in order.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("history", history, ["phase", "number", "train_loss"])
    names = {"pretrain": "pretrain", "record": "record", "posttrain": "train on"}
    styles = line_styles(names.values())
    history = history.assign(epoch=np.arange(1, len(history) + 1))
    with canvas(ax) as ax:
        seen = set()
        for (phase, _), rows in history.groupby(["phase", "number"], sort=False):
            name = names[phase]
            label = "_" if name in seen else name
            seen.add(name)
            ax.plot(rows.epoch, rows.train_loss, label=label, **styles[name])
            ax.axvline(rows.epoch.iloc[-1] + 0.5, color=GREY, linewidth=1, linestyle=":")
        ax.set_ylim(0, None)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("Epochs, all phases in a row")
        ax.set_ylabel("Training loss (nats per example)")
        legend_above(ax)
    return ax


def plot_alpha(densities: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What one alpha for all layers keeps of each.

    Parameters
    ----------
    densities : DataFrame
        `alpha`, `layer` and `density`, the fraction of the layer that is kept.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("densities", densities, ["alpha", "layer", "density"])
    styles = line_styles(densities.layer.unique())
    with canvas(ax) as ax:
        for name, rows in densities.groupby("layer", sort=False):
            ax.plot(rows.alpha, rows.density, label=name, markevery=0.12, **styles[name])
        ax.set_xscale("log")
        ax.yaxis.set_major_formatter(percent())
        ax.set_xlabel("Alpha (loss times squared weight, logarithmic)")
        ax.set_ylabel("Weights kept in the layer (%)")
        legend_above(ax)
    return ax


def plot_kept(
    counts: pd.DataFrame, *, layer: str = "layer", hue: str = "method", ax: Axes | None = None
) -> Axes:
    """Fraction of each layer that is kept, on a logarithmic axis, one dot for each `hue`.

    Parameters
    ----------
    counts : DataFrame
        `layer`, `hue` and `density`; a density of 0 is drawn on the left edge.
    layer, hue : str
        Names of the columns.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("counts", counts, [layer, hue, "density"])
    layers, names = list(counts[layer].unique()), list(counts[hue].unique())
    styles = line_styles(names)
    with canvas(ax) as ax:
        for i, name in enumerate(names):
            rows = counts[counts[hue] == name]
            shift = 0.16 * (i - (len(names) - 1) / 2)
            places = [layers.index(entry) + shift for entry in rows[layer]]
            look = {**styles[name], "linestyle": ""}
            ax.plot(places, rows.density, label=str(name), clip_on=False, **look)
        log_percent_with_zero(ax, counts.density.to_numpy())
        ax.set_xticks(range(len(layers)), labels=layers)
        ax.set_xlim(-0.5, len(layers) - 0.5)
        ax.set_ylabel("Weights kept in the layer (%)")
        legend_above(ax)
    return ax
