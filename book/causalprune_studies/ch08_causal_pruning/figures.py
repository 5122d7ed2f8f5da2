"""Figures of the chapter "Causal pruning". Finished tables in, Axes out."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import GREY, use_style
from causalprune_studies.figures import plot_dots, plot_lines
from causalprune_studies.looks import (
    canvas,
    legend_above,
    line_styles,
    log_percent_with_zero,
    percent,
)

INTERVAL = ["low", "high"]


def plot_phases(history: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The training loss through the phases of algorithm 1, a line for each phase.

    Parameters
    ----------
    history : DataFrame
        `CausalPruning.history_`: `phase`, `number`, `train_loss`, one row per epoch in order.
    ax : Axes, optional
        Where to draw.
    """
    names = {"pretrain": "pretrain", "record": "record", "posttrain": "train on"}
    table = history.assign(
        epoch=np.arange(1, len(history) + 1),
        phase=history.phase.map(names),
        mean=history.train_loss,
    )
    with canvas(ax) as ax:
        labels = {
            "xlabel": "Epochs, all phases in a row",
            "ylabel": "Training loss (nats per example)",
        }
        plot_lines(table, x="epoch", hue="phase", each="number", interval="none", ax=ax, **labels)
        for end in table.groupby("number").epoch.max():
            ax.axvline(end + 0.5, color=GREY, linewidth=1, linestyle=":")
        ax.set_ylim(0, None)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def plot_alpha(densities: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What one alpha for all layers keeps of each, from `amounts_of_alpha`."""
    labels = {
        "xlabel": "Alpha (loss times squared weight, logarithmic)",
        "ylabel": "Weights kept in the layer (%)",
    }
    table = densities.rename(columns={"density": "mean"})
    ax = plot_lines(table, x="alpha", hue="layer", interval="none", ax=ax, **labels)
    ax.set_xscale("log")
    ax.yaxis.set_major_formatter(percent())
    return ax


def plot_curves(summary: pd.DataFrame, *, published: pd.DataFrame | None = None) -> np.ndarray:
    """Accuracy against the amount pruned, one panel per data set, with one legend for all.

    Parameters
    ----------
    summary : DataFrame
        From `tables.curves`: `dataset`, `method`, `amount`, `mean`, `low`, `high`. The method
        "dense" is a dashed line across; only "causal" has a band, for of many none could be read.
    published : DataFrame, optional
        `dataset`, `method`, `amount` and `mean` of single numbers to mark, as open diamonds in the
        colour of their line.

    Returns
    -------
    array of Axes, one per panel
    """
    require_columns("summary", summary, ["dataset", "method", "amount", "mean", *INTERVAL])
    panels = list(summary.dataset.unique())
    with use_style():
        size = {"figsize": (6.4, 0.9 + 3.3 * len(panels)), "layout": "constrained"}
        axes = plt.subplots(len(panels), 1, sharex=True, squeeze=False, **size)[1][:, 0]
        for ax, dataset in zip(axes, panels, strict=True):
            rows = summary[summary.dataset == dataset]
            lines = rows[rows.method != "dense"]
            looks = line_styles(["dense", *lines.method.unique()])
            for level in rows[rows.method == "dense"]["mean"]:
                ax.axhline(level, color=GREY, linestyle="--", linewidth=1.5, label="dense")
            labels = {"xlabel": "Weights pruned (%)", "ylabel": "Test accuracy (%)"}
            plot_lines(
                lines, x="amount", hue="method", interval="none", looks=looks, ax=ax, **labels
            )
            band = lines[lines.method == "causal"].sort_values("amount")
            shade = {"color": looks["causal"]["color"], "alpha": 0.18, "linewidth": 0}
            low, high = band.low.clip(lower=0), band.high.clip(upper=1)  # as accuracy is
            ax.fill_between(band.amount, low, high, **shade)
            if published is not None:
                marked = published.method.isin(lines.method) & (published.dataset == dataset)
                for mark in published[marked].itertuples():
                    shape = {"marker": "D", "markersize": 11, "markeredgewidth": 2.5, "mfc": "none"}
                    ax.plot(mark.amount, mark.mean, mec=looks[mark.method]["color"], **shape)
            words = {"fontweight": "bold", "fontsize": 12, "va": "bottom"}
            ax.text(0.01, 0.02, dataset, transform=ax.transAxes, **words)
            ax.xaxis.set_major_formatter(percent())
            ax.yaxis.set_major_formatter(percent())
            if ax is not axes[0]:
                ax.get_legend().remove()
            if ax is not axes[-1]:
                ax.set_xlabel("")
    return axes


def plot_gaps(gaps: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Causal pruning minus each control, a dot for each data set, from `tables.gaps`."""
    scaled = gaps.assign(**{name: 100 * gaps[name] for name in ("mean", *INTERVAL)})
    hue = "dataset" if gaps.dataset.nunique() > 1 else None
    label = "Causal minus control (points of accuracy)"
    return plot_dots(scaled, y="control", hue=hue, reference=0, xlabel=label, ax=ax)


def plot_kept(densities: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Fraction of each layer that each method keeps, on a logarithmic axis.

    Parameters
    ----------
    densities : DataFrame
        From `layer_densities`: `layer`, `method` and `density`; 0 is drawn on the lower edge.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("densities", densities, ["layer", "method", "density"])
    layers, methods = list(densities.layer.unique()), list(densities.method.unique())
    looks = line_styles(methods)
    with canvas(ax) as ax:
        for i, name in enumerate(methods):
            rows = densities[densities.method == name]
            shift = 0.16 * (i - (len(methods) - 1) / 2)
            places = [layers.index(layer) + shift for layer in rows.layer]
            look = {**looks[name], "linestyle": "", "clip_on": False}
            ax.plot(places, rows.density, label=str(name), **look)
        log_percent_with_zero(ax, densities.density.to_numpy())
        ax.set_xticks(range(len(layers)), labels=layers)
        ax.set_xlim(-0.5, len(layers) - 0.5)
        ax.set_ylabel("Weights kept in the layer (%)")
        legend_above(ax)
    return ax


def plot_overlap_grid(overlaps: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Share of the weights that causal and magnitude masks both prune, beside chance.

    Parameters
    ----------
    overlaps : DataFrame
        One row per pair of amounts: `amount_a` (causal), `amount_b` (magnitude), and as fractions
        `both_pruned` and `expected`, the share for independent masks. The colour is the difference.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("overlaps", overlaps, ["amount_a", "amount_b", "both_pruned", "expected"])
    found, chance = (
        100 * overlaps.pivot(index="amount_a", columns="amount_b", values=name)
        for name in ("both_pruned", "expected")
    )
    excess = (found - chance).to_numpy()  # (causal amounts, magnitude amounts)
    reach = max(10.0, 2 * float(np.abs(excess).max()))  # small differences stay pale
    with canvas(ax) as ax:
        ax.imshow(excess, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
        for (row, column), value in np.ndenumerate(found):
            text = f"{value:.1f}\n({chance.iloc[row, column]:.1f})"
            ax.text(column, row, text, ha="center", va="center", fontsize=12)
        ax.set_xticks(range(found.shape[1]), [f"{100 * amount:g}" for amount in found.columns])
        ax.set_yticks(range(found.shape[0]), [f"{100 * amount:g}" for amount in found.index])
        ax.set_xlabel("Pruned by magnitude (%)")
        ax.set_ylabel("Pruned by causal (%)")
        ax.grid(visible=False)
    return ax


def plot_iterations(amounts: pd.DataFrame, accuracies: pd.DataFrame) -> np.ndarray:
    """Percent pruned and accuracy after each reported iteration, as in figure 2 of the paper.

    Parameters
    ----------
    amounts, accuracies : DataFrame
        From `by_setting`: `iteration`, `setting`, `mean`, `low`, `high`, as fractions.

    Returns
    -------
    array of Axes, (2,)
    """
    with use_style():
        axes = plt.subplots(2, 1, figsize=(6.4, 6.4), sharex=True, layout="constrained")[1]
        tables = {"Weights pruned (%)": amounts, "Test accuracy (%)": accuracies}
        for ax, (label, table) in zip(axes, tables.items(), strict=True):
            labels = {"xlabel": "Iterations (N_iter)", "ylabel": label}
            plot_lines(table, x="iteration", hue="setting", interval="bars", ax=ax, **labels)
            low, high = ax.get_ylim()
            ax.set_ylim(max(low, -0.02), min(high, 1.02))  # an interval may pass what a share can
            ax.yaxis.set_major_formatter(percent())
        axes[0].set_xlabel("")
        axes[1].get_legend().remove()
        axes[1].set_xticks(sorted(amounts.iteration.unique()))
    return axes


def plot_latency(timed: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Time of one forward pass over that of the first model, from `compare_latency`: quartiles."""
    table = timed.rename(columns={"ratio": "mean", "ratio_q25": "low", "ratio_q75": "high"})
    label = f"Time per pass (times that of {timed.model[0]})"
    ax = plot_dots(table, y="model", xlabel=label, reference=1, ax=ax)
    ax.set_xlim(0, None)
    return ax
