"""The figures of the book: each takes a finished table and returns the Axes it drew on.

No function here computes a result. What a figure shows can therefore be printed as a table too.
Without `ax` a new figure in the book's style is made; a given `ax` keeps the style it has. The
figures of single layers and masks are in `layers.py` and can be imported from here too.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import (
    BLACK,
    BLUE,
    GREY,
    VERMILLION,
    canvas,
    legend_above,
    line_styles,
    log_percent_with_zero,
    percent,
    reverse_log_percent,
    use_style,
)

# ---- layers: Figures of what single layers keep and of how two masks overlap.


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


# ---- accuracy: The figures of the book: each takes a finished table and returns the Axes it drew


def plot_accuracy_vs_sparsity(
    summary: pd.DataFrame,
    *,
    ax: Axes | None = None,
    x: str = "amount",
    hue: str = "method",
    scale: str = "pruned",
    reference: pd.DataFrame | None = None,
    ylabel: str = "Test accuracy (%)",
) -> Axes:
    """Accuracy against the fraction pruned, one line per method, with interval bands.

    Parameters
    ----------
    summary : DataFrame
        From `summarise`: the columns `x` and `hue`, and `mean`, `low`, `high` as fractions.
    ax : Axes, optional
        Where to draw.
    x : str
        The column with the fraction pruned, in [0, 1].
    hue : str
        The column that tells the lines apart.
    scale : {"pruned", "kept"}
        "pruned": linear. "kept": the fraction kept, on a logarithmic axis that runs from all to
        few, where 10%, 1% and 0.1% lie equally far apart.
    reference : DataFrame, optional
        One row with `mean`, `low`, `high`: a dashed line across, such as the dense network. It is
        called by its entry in column `hue`, or "reference".
    ylabel : str
        What the accuracy is.
    """
    require_columns("summary", summary, [x, hue, "mean", "low", "high"])
    check_choice("scale", scale, ["pruned", "kept"])
    if not summary[x].between(0, 1, inclusive="both" if scale == "pruned" else "left").all():
        upper = "1]" if scale == "pruned" else "1), for a logarithmic axis"
        raise ValueError(f"summary[{x!r}] must be in [0, {upper}; got {summary[x].tolist()}.")
    with canvas(ax) as ax:
        styles = line_styles(summary[hue].unique())
        for name, rows in summary.groupby(hue, sort=False):
            rows = rows.sort_values(x)
            at = rows[x] if scale == "pruned" else 1 - rows[x]
            ax.plot(at, rows["mean"], label=str(name), **styles[name])
            ax.fill_between(
                at, rows.low, rows.high, color=styles[name]["color"], alpha=0.18, linewidth=0
            )
        if reference is not None:
            _draw_reference(ax, reference, hue)
        if scale == "kept":
            reverse_log_percent(ax)
        else:
            ax.xaxis.set_major_formatter(percent())
        ax.yaxis.set_major_formatter(percent())
        ax.set_xlabel("Weights kept (%, logarithmic)" if scale == "kept" else "Weights pruned (%)")
        ax.set_ylabel(ylabel)
        legend_above(ax)
    return ax


def plot_history(
    frame: pd.DataFrame,
    *,
    ax: Axes | None = None,
    show: str = "loss",
    best_epoch: int | None = None,
    unit: str = "nats per example",
) -> Axes:
    """Loss or accuracy against the epoch.

    Parameters
    ----------
    frame : DataFrame
        `History.frame`: `epoch`, `train_loss`, `val_loss`, `val_accuracy`. A column of NaN alone
        is left out.
    ax : Axes, optional
        Where to draw.
    show : {"loss", "accuracy"}
        Which columns to draw.
    best_epoch : int, optional
        Marked by a dotted line.
    unit : str
        Of the loss.
    """
    check_choice("show", show, ["loss", "accuracy"])
    columns = {"train_loss": "training", "val_loss": "validation"}
    columns = columns if show == "loss" else {"val_accuracy": "validation"}
    require_columns("frame", frame, ["epoch", *columns])
    styles = line_styles(columns.values())
    with canvas(ax) as ax:
        for column, label in columns.items():
            if frame[column].notna().any():
                ax.plot(frame.epoch, frame[column], label=label, markevery=0.1, **styles[label])
        if best_epoch is not None:
            ax.axvline(best_epoch, color=GREY, linestyle=":", label=f"best epoch: {best_epoch}")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("Epoch (passes over the training set)")
        ax.set_ylabel(f"Loss ({unit})" if show == "loss" else "Accuracy (%)")
        if show == "accuracy":
            ax.yaxis.set_major_formatter(percent())
        legend_above(ax)
    return ax


def plot_latency(frame: pd.DataFrame, *, ax: Axes | None = None, show: str = "ratio") -> Axes:
    """Time of one forward pass, with quartiles.

    Parameters
    ----------
    frame : DataFrame
        From `compare_latency`, one row per model. Where every model but the first is named by a
        number, that is the fraction pruned and the figure is a line; else one dot per name.
    ax : Axes, optional
        Where to draw.
    show : {"ratio", "seconds"}
        Time relative to the first model, or the time itself, in milliseconds.
    """
    check_choice("show", show, ["ratio", "seconds"])
    names = ("ratio", "ratio_q25", "ratio_q75") if show == "ratio" else ("median", "q25", "q75")
    require_columns("frame", frame, ["model", *names])
    middle, low, high = (frame[name].to_numpy(dtype=float) for name in names)
    spread = np.stack([middle - low, high - middle])  # (2, models)
    label = "Milliseconds per pass"
    if show == "ratio":
        label = f"Time per pass (times that of {frame.model.iloc[0]!s})"
    by_amount = len(frame) > 1 and all(isinstance(m, numbers.Real) for m in frame.model[1:])
    mark = {"color": BLUE, "marker": "o", "capsize": 4}
    with canvas(ax) as ax:
        value_axis = ax.yaxis if by_amount else ax.xaxis
        if by_amount:
            amounts = frame.model[1:].to_numpy(dtype=float)
            ax.errorbar(amounts, middle[1:], yerr=spread[:, 1:], label="pruned", **mark)
            ax.axhline(middle[0], color=GREY, linestyle="--", label=str(frame.model.iloc[0]))
            ax.xaxis.set_major_formatter(percent())
            ax.set_xlabel("Weights pruned (%)")
            legend_above(ax)
        else:
            places = np.arange(len(frame))
            ax.errorbar(middle, places, xerr=spread, linestyle="", **mark)
            ax.axvline(middle[0], color=GREY, linestyle="--")
            ax.set_yticks(places, labels=frame.model.astype(str))
            ax.invert_yaxis()
        value_axis.set_label_text(label)
        if show == "seconds":
            value_axis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{1e3 * seconds:g}"))
        (ax.set_ylim if by_amount else ax.set_xlim)(0, None)
    return ax


def plot_published_vs_measured(
    joined: pd.DataFrame, *, ax: Axes | None = None, label: str = "row", quantity: str
) -> Axes:
    """A paper's numbers beside ours, one line each, ours with the interval over seeds.

    Parameters
    ----------
    joined : DataFrame
        From `compare`: `published`, `measured`, `low`, `high` and the column `label`. Cells that
        were not measured show the paper's mark alone.
    ax : Axes, optional
        Where to draw.
    label : str
        The column that names the lines.
    quantity : str
        What is compared, with its unit, such as "Test accuracy (%)".
    """
    require_columns("joined", joined, [label, "published", "measured", "low", "high"])
    places = np.arange(len(joined))
    spread = np.stack([joined.measured - joined.low, joined.high - joined.measured])  # (2, rows)
    with canvas(ax) as ax:
        ax.errorbar(
            joined.measured,
            places,
            xerr=np.nan_to_num(spread),
            linestyle="",
            marker="o",
            color=BLUE,
            capsize=4,
            label="measured here",
        )
        ax.plot(
            joined.published,
            places,
            linestyle="",
            marker="D",
            markerfacecolor="none",
            markeredgecolor=VERMILLION,
            markeredgewidth=2,
            label="published",
        )
        ax.set_yticks(places, labels=joined[label].astype(str))
        ax.invert_yaxis()
        ax.set_xlabel(quantity)
        legend_above(ax)
    return ax


def _draw_reference(ax: Axes, reference: pd.DataFrame, hue: str) -> None:
    require_columns("reference", reference, ["mean", "low", "high"])
    if len(reference) != 1:
        raise ValueError(f"reference must be one row; got {len(reference)}.")
    [row] = reference.to_dict("records")
    ax.axhline(row["mean"], color=BLACK, linestyle="--", label=str(row.get(hue, "reference")))
    if np.isfinite([row["low"], row["high"]]).all():
        ax.axhspan(row["low"], row["high"], color=BLACK, alpha=0.08, linewidth=0)
