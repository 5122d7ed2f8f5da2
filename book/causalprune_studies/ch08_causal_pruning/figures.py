"""Figures of algorithm 1 and of what it keeps in each layer. Finished numbers in, Axes out."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import (
    BLACK,
    GREY,
    canvas,
    legend_above,
    line_styles,
    log_percent_with_zero,
    percent,
    use_style,
)
from causalprune_studies.figures import plot_dots

# ---- causal: Figures of the chapter "Causal pruning". Finished numbers in, Axes out.


def plot_curves(
    summary: pd.DataFrame,
    *,
    panel: str = "dataset",
    titles: Mapping[str, str] | None = None,
    dense: str = "dense",
    hue: str = "method",
    banded: Collection[str] = ("causal",),
    points: pd.DataFrame | None = None,
) -> np.ndarray:
    """Accuracy against the amount pruned, one panel below the other, with one legend for all.

    Parameters
    ----------
    summary : DataFrame
        From `summarise`: `panel`, `hue`, `amount`, `mean`, `low`, `high`. Rows of the method
        `dense` are drawn as a dashed line across.
    panel, hue : str
        Columns that name the panels and the lines.
    titles : mapping, optional
        What the panels are called.
    dense : str
        See `summary`.
    banded : collection of str
        Lines that are drawn with their interval. Of many bands none could be read.
    points : DataFrame, optional
        `panel`, `hue`, `amount` and `mean` of single numbers to mark, such as published ones: large
        open diamonds in the colour of their line.

    Returns
    -------
    array of Axes, one per panel
    """
    require_columns("summary", summary, [panel, hue, "amount", "mean", "low", "high"])
    names = list(summary[panel].unique())
    with use_style():
        _, axes = plt.subplots(
            len(names),
            1,
            figsize=(6.4, 0.9 + 3.3 * len(names)),
            sharex=True,
            squeeze=False,
            layout="constrained",
        )
    for ax, name in zip(axes[:, 0], names, strict=True):
        rows = summary[summary[panel] == name]
        _draw_lines(ax, rows, hue, dense, banded)
        if points is not None:
            styles = line_styles([dense, *(m for m in rows[hue].unique() if m != dense)])
            for point in points[points[panel] == name].to_dict("records"):
                if point[hue] in styles and point[hue] != dense:
                    colour = styles[point[hue]]["color"]
                    mark = {"marker": "D", "markersize": 11, "markeredgewidth": 2.5}
                    ax.plot(point["amount"], point["mean"], mfc="none", mec=colour, **mark)
        if ax is axes[0, 0]:
            with use_style():
                legend_above(ax)
        if ax is not axes[-1, 0]:
            ax.set_xlabel("")
        title = (titles or {}).get(name, str(name))
        words = {"fontweight": "bold", "fontsize": 12, "va": "bottom"}
        ax.text(0.01, 0.02, title, transform=ax.transAxes, **words)
    return axes[:, 0]


def _draw_lines(
    ax: Axes, rows: pd.DataFrame, hue: str, dense: str, banded: Collection[str]
) -> None:
    styles = line_styles([dense, *(name for name in rows[hue].unique() if name != dense)])
    for name, line in rows.groupby(hue, sort=False):
        line = line.sort_values("amount")
        if name == dense:
            level = line["mean"].iloc[0]
            ax.axhline(level, color=GREY, linestyle="--", linewidth=1.5, label=str(name))
            continue
        ax.plot(line.amount, line["mean"], label=str(name), **styles[name])
        if name in banded:
            colour = styles[name]["color"]
            ax.fill_between(line.amount, line.low, line.high, color=colour, alpha=0.18, lw=0)
    ax.xaxis.set_major_formatter(percent())
    ax.yaxis.set_major_formatter(percent())
    ax.set_xlabel("Weights pruned (%)")
    ax.set_ylabel("Test accuracy (%)")


def plot_overlap_grid(
    overlaps: pd.DataFrame,
    *,
    names: tuple[str, str] = ("the first ranking", "the second ranking"),
    ax: Axes | None = None,
) -> Axes:
    """Share of the weights that two masks both prune, at every pair of amounts, beside chance.

    Parameters
    ----------
    overlaps : DataFrame
        One row per pair of amounts: `amount_a`, `amount_b`, and as fractions `both_pruned` and
        `expected`, the share for independent masks. The colour is their difference.
    names : (str, str)
        What the two rankings are called.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("overlaps", overlaps, ["amount_a", "amount_b", "both_pruned", "expected"])
    tables = {
        name: overlaps.pivot(index="amount_a", columns="amount_b", values=name)
        for name in ("both_pruned", "expected")
    }
    found, chance = (100 * table.to_numpy() for table in tables.values())  # (A, B)
    excess = found - chance
    reach = max(10.0, 2 * float(np.abs(excess).max()))  # small differences stay pale
    with canvas(ax) as ax:
        ax.imshow(excess, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
        for (row, column), value in np.ndenumerate(found):
            text = f"{value:.1f}\n({chance[row, column]:.1f})"
            ax.text(column, row, text, ha="center", va="center", fontsize=12)
        table = tables["both_pruned"]
        ax.set_xticks(range(table.shape[1]), [f"{100 * amount:g}" for amount in table.columns])
        ax.set_yticks(range(table.shape[0]), [f"{100 * amount:g}" for amount in table.index])
        ax.set_xlabel(f"Pruned by {names[1]} (%)")
        ax.set_ylabel(f"Pruned by {names[0]} (%)")
        ax.grid(visible=False)
    return ax


def plot_iterations(
    amounts: pd.DataFrame, accuracies: pd.DataFrame, *, hue: str, label: str = "{}"
) -> np.ndarray:
    """Percent pruned and accuracy after each reported iteration, as in figure 2 of the paper.

    Parameters
    ----------
    amounts, accuracies : DataFrame
        From `summarise`: `iteration`, `hue`, `mean`, `low`, `high`, as fractions.
    hue : str
        The column that tells the lines apart, such as "l1_coeff".
    label : str
        A format for its values, such as "{:g}".

    Returns
    -------
    array of Axes, (2,)
    """
    with use_style():
        _, axes = plt.subplots(2, 1, figsize=(6.4, 6.4), sharex=True, layout="constrained")
    shown = {"Weights pruned (%)": amounts, "Test accuracy (%)": accuracies}
    for ax, (title, summary) in zip(axes, shown.items(), strict=True):
        require_columns("summary", summary, ["iteration", hue, "mean", "low", "high"])
        styles = line_styles(label.format(name) for name in amounts[hue].unique())
        for name, rows in summary.groupby(hue, sort=False):
            rows, text = rows.sort_values("iteration"), label.format(name)
            spread = np.stack([rows["mean"] - rows.low, rows.high - rows["mean"]])
            spread = np.nan_to_num(spread).clip(min=0)
            ax.errorbar(
                rows.iteration, rows["mean"], yerr=spread, capsize=3, label=text, **styles[text]
            )
        low, high = ax.get_ylim()
        ax.set_ylim(max(low, -0.02), min(high, 1.02))  # an interval may pass what a share can be
        ax.yaxis.set_major_formatter(percent())
        ax.set_ylabel(title)
    axes[1].set_xlabel("Iterations (N_iter)")
    axes[1].set_xticks(sorted(amounts.iteration.unique()))
    with use_style():
        legend_above(axes[0])
    return axes


def plot_gaps(
    gaps: pd.DataFrame,
    *,
    label: str = "control",
    hue: str = "dataset",
    xlabel: str = "Causal minus control (points of accuracy)",
    ax: Axes | None = None,
) -> Axes:
    """Differences with their intervals, one line per control and one dot per `hue`.

    Parameters
    ----------
    gaps : DataFrame
        `label`, `hue`, `mean`, `low`, `high`, as fractions; drawn in points, 100 times that.
    label, hue : str
        Columns that name the lines, and the dots on a line.
    xlabel : str
        What is shown.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("gaps", gaps, [label, hue, "mean", "low", "high"])
    names, groups = list(gaps[label].unique()), list(gaps.groupby(hue, sort=False))
    styles = line_styles(name for name, _ in groups)
    with canvas(ax) as ax:
        for i, (name, rows) in enumerate(groups):
            shift = 0.24 * (i - (len(groups) - 1) / 2)
            places = np.array([names.index(entry) for entry in rows[label]]) + shift
            spread = 100 * np.stack([rows["mean"] - rows.low, rows.high - rows["mean"]])
            look = {**styles[name], "linestyle": "", "capsize": 4}
            text = str(name) if len(groups) > 1 else "_"
            ax.errorbar(100 * rows["mean"], places, xerr=np.nan_to_num(spread), label=text, **look)
        ax.axvline(0, color=BLACK, linewidth=1.2, zorder=0)
        ax.set_yticks(range(len(names)), labels=names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_xlabel(xlabel)
        legend_above(ax)
    return ax


# ---- causal_algorithm: Figures of algorithm 1 and of what it keeps in each layer. Finished numbe


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


def plot_latency(timed: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Time of one forward pass over that of the first model, from `compare_latency`: quartiles."""
    named = timed.rename(columns={"ratio": "mean", "ratio_q25": "low", "ratio_q75": "high"})
    label = f"Time per pass (times that of {timed.model[0]})"
    ax = plot_dots(named, y="model", xlabel=label, reference=1, ax=ax)
    ax.set_xlim(0, None)
    return ax
