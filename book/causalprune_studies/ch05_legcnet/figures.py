"""Figures of chapter 5: the method, a network, shares, settings, twins. Numbers in, Axes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import BLUE, GREY, VERMILLION, use_style
from causalprune_studies.figures import plot_dots
from causalprune_studies.looks import canvas, legend_above, line_styles, percent


def plot_method(
    weights: ArrayLike,
    exponents: ArrayLike,
    error: ArrayLike,
    ends: ArrayLike,
    *,
    names: Sequence[str],
    kept: Sequence[bool],
) -> np.ndarray:
    """Figure 1 of the LEGCNet paper, from numbers: paths, windows, exponents, error.

    Parameters
    ----------
    weights : array (T+1, 2)
        The paths of two weights.
    exponents : array (W, 2)
        Theirs, per window.
    error : array (W,)
        Error rate at each window's end.
    ends : array (W,)
        Step of each window's end.
    names : sequence of str
        Of the two weights.
    kept : sequence of bool
        Whether each was called causal.

    Returns
    -------
    array of Axes, (3,)
    """
    weights, exponents, error = map(np.asarray, (weights, exponents, error))
    check_shape("weights", weights, (None, 2))
    check_shape("exponents", exponents, (len(error), 2))
    with use_style():
        _, axes = plt.subplots(3, 1, figsize=(6.4, 6.4), sharex=True, layout="constrained")
        for k, (name, colour) in enumerate(zip(names, (BLUE, VERMILLION), strict=True)):
            label = f"{name}: {'kept' if kept[k] else 'pruned'}"
            line = {"color": colour, "linestyle": "-" if k == 0 else (0, (4, 1.5)), "lw": 1.5}
            axes[0].plot(weights[:, k], label=label, **line)
            axes[1].plot(ends, exponents[:, k], **line)
        for end in np.asarray(ends)[::10]:
            axes[0].axvline(end, color=GREY, lw=0.5, alpha=0.5)
        axes[2].plot(ends, error, color="black", lw=1.5)
        legend_above(axes[0])
        axes[0].set_ylabel("Weight")
        axes[1].set_ylabel("Exponent\n(nats per step)")
        axes[2].set_ylabel("Error (%)")
        axes[2].yaxis.set_major_formatter(percent())
        axes[2].set_xlabel("Training step")
    return axes


def plot_network(
    sizes: Sequence[int], keep: ArrayLike, *, inputs: str = "inputs", ax: Axes | None = None
) -> Axes:
    """A network of one hidden layer: kept connections drawn, pruned ones dashed.

    Parameters
    ----------
    sizes : (int, int, int)
        D, H, K.
    keep : bool array (P,)
        In the order of `SigmoidNetworks`.
    inputs : str
        What the first column is called.
    ax : Axes, optional
        Where to draw.
    """
    d, h, k = sizes
    keep = np.asarray(keep)
    check_shape("keep", keep, (h * (d + k),))
    with canvas(ax) as ax:
        ys = [np.linspace(1, 0, n + 2)[1:-1] for n in sizes]
        layers = [keep[: h * d].reshape(h, d), keep[h * d :].reshape(k, h)]
        for at, layer in enumerate(layers):
            for j, row in enumerate(layer):
                for i, alive in enumerate(row):
                    style = {"color": GREY, "lw": 0.8, "zorder": 1}
                    if not alive:
                        style = {"color": VERMILLION, "lw": 2.2, "ls": (0, (3, 1.5)), "zorder": 2}
                    ax.plot([at, at + 1], [ys[at][i], ys[at + 1][j]], **style)
        for at, y in enumerate(ys):
            ax.scatter([at] * len(y), y, s=130, color=BLUE, zorder=3)
        ax.plot([], [], color=GREY, lw=0.8, label="kept")
        ax.plot([], [], color=VERMILLION, lw=2.2, ls=(0, (3, 1.5)), label="pruned")
        legend_above(ax)
        ax.set_xticks([0, 1, 2], [inputs, "hidden", "output"])
        ax.set_yticks([])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    return ax


def plot_shares(
    summary: pd.DataFrame,
    *,
    y: str,
    hue: str,
    xlabel: str,
    reference: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Shares as dots with intervals, which end at 0 and 1: `plot_dots` in percent."""
    require_columns("summary", summary, ["low", "high"])
    ends = {"low": summary.low.clip(lower=0), "high": summary.high.clip(upper=1)}
    ax = plot_dots(summary.assign(**ends), y=y, hue=hue, xlabel=xlabel, reference=reference, ax=ax)
    ax.xaxis.set_major_formatter(percent())
    return ax


def plot_settings(table: pd.DataFrame) -> np.ndarray:
    """What becomes of a mask when one setting is changed: share called causal, overlap, gain.

    Parameters
    ----------
    table : DataFrame
        One row per `rule` and `changed`; columns `causal` (share), `jaccard`, `jaccard_chance`,
        `gain`, `low`, `high` (accuracy above random masks).

    Returns
    -------
    array of Axes, (3,)
    """
    needed = ["rule", "changed", "causal", "jaccard", "jaccard_chance", "gain", "low", "high"]
    require_columns("table", table, needed)
    names = list(dict.fromkeys(table.changed))
    rules = list(dict.fromkeys(table.rule))
    styles = line_styles(rules)
    with use_style():
        size = {"figsize": (6.4, 5.4), "width_ratios": (1, 1, 1.3)}
        figure, axes = plt.subplots(1, 3, sharey=True, layout="constrained", **size)
        for j, rule in enumerate(rules):
            part = table[table.rule == rule]
            at = np.array([names.index(name) for name in part.changed], dtype=float)
            at += 0.24 * (j - (len(rules) - 1) / 2)
            style = {k: v for k, v in styles[rule].items() if k != "linestyle"}
            axes[0].plot(part.causal, at, ls="none", label=rule, **style)
            axes[1].plot(part.jaccard, at, ls="none", **style)
            axes[1].plot(part.jaccard_chance, at, ls="none", mfc="white", **style)
            gaps = np.stack([part.gain - part.low, part.high - part.gain])
            axes[2].errorbar(part.gain, at, xerr=gaps, ls="none", capsize=3, **style)
        axes[2].axvline(0, color=GREY, ls="--", lw=1.5)
        for ax, label in zip(axes, ("Causal\n(%)", "Overlap\n(%)", "Gain\n(points)"), strict=True):
            ax.set_xlabel(label)
            ax.xaxis.set_major_formatter(percent())
            ax.grid(axis="y", visible=False)
        axes[0].set_xlim(-0.05, 1.08)
        axes[1].set_xlim(-0.08, 1.08)
        axes[0].set_yticks(range(len(names)), names)
        axes[0].invert_yaxis()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return axes


def plot_twins(
    distance: ArrayLike, ends: ArrayLike, exponents: Mapping[str, ArrayLike], *, names: str
) -> np.ndarray:
    """How far twins part, above; the exponents of their windows, below.

    Parameters
    ----------
    distance : array (T+1, S)
        Distance of each twin from the unperturbed training.
    ends : array (W,)
        Step of each window's end.
    exponents : mapping of str to array (W,)
        By what they were read off; one line each.
    names : str
        What the thin lines are, for the legend.

    Returns
    -------
    array of Axes, (2,)
    """
    distance = np.asarray(distance)
    check_shape("distance", distance, (None, None))
    every = max(1, len(distance) // 1000)
    steps = np.arange(len(distance))[::every]
    styles = line_styles(list(exponents))
    with use_style():
        _, axes = plt.subplots(2, 1, figsize=(6.4, 5.6), sharex=True, layout="constrained")
        axes[0].plot(steps, distance[::every], color=GREY, lw=0.7, alpha=0.6)
        axes[0].plot([], [], color=GREY, lw=0.7, label=names)
        axes[0].set_yscale("log")
        axes[0].set_ylabel("Distance")
        for name, values in exponents.items():
            style = {k: v for k, v in styles[name].items() if k != "marker"}
            axes[1].plot(ends, values, label=name, **style)
        axes[1].set_ylabel("Exponent\n(nats per step)")
        axes[1].set_xlabel("Training step")
        for ax in axes:
            legend_above(ax)
    return axes


def plot_front(table: pd.DataFrame) -> np.ndarray:
    """Accuracy lost against how much is pruned, a panel for each table of the paper.

    Parameters
    ----------
    table : DataFrame
        Columns `dataset`, `by` ("threshold", "ranking"), `mask`, `pruned` and `lost` (shares). A
        mask's points are joined where they come from a ranking, and hollow where from a threshold.

    Returns
    -------
    array of Axes, (rows, 2)
    """
    require_columns("table", table, ["dataset", "by", "mask", "pruned", "lost"])
    names, masks = list(dict.fromkeys(table.dataset)), list(dict.fromkeys(table["mask"]))
    styles = line_styles(masks)
    n_rows = -(-len(names) // 2)
    with use_style():
        figure, axes = plt.subplots(
            n_rows, 2, figsize=(6.4, 1.2 + 2.2 * n_rows), layout="constrained", squeeze=False
        )
        for ax, name in zip(axes.flat, names, strict=False):
            for mask in masks:
                part = table[(table.dataset == name) & (table["mask"] == mask)]
                ranked = part[part.by == "ranking"].sort_values("pruned")
                ax.plot(ranked.pruned, -ranked.lost, label=mask, **styles[mask])
                cut = part[part.by == "threshold"]
                hollow = {**styles[mask], "linestyle": "none", "mfc": "white"}
                ax.plot(cut.pruned, -cut.lost, **hollow)
            ax.axhline(0, color=GREY, lw=1)
            ax.set_title(name)
            ax.xaxis.set_major_formatter(percent())
            ax.yaxis.set_major_formatter(percent())
        for ax in axes.flat[len(names) :]:
            ax.set_visible(False)
        figure.supxlabel("Weights pruned (%)")
        figure.supylabel("Accuracy minus dense (points)")
        handles = axes.flat[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=len(masks))
    return axes
