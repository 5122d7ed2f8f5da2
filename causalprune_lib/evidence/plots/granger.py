"""The figures of single Granger tests: series, null distribution, sorted p-values.

As in `accuracy.py`, each takes finished data and returns the Axes it drew on. Figures of rates over
many tests are in `rates.py`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from causalprune_lib._validation import check_finite, check_fraction, check_shape
from causalprune_lib.evidence.plots.style import (
    BLACK,
    BLUE,
    VERMILLION,
    canvas,
    legend_above,
    line_styles,
    use_style,
)


def plot_null_statistic(
    values: np.ndarray,
    *,
    curve: tuple[np.ndarray, np.ndarray],
    observed: float,
    xlabel: str,
    ax: Axes | None = None,
) -> Axes:
    """A test statistic where nothing is to be found, its promised law, and the one observed.

    Parameters
    ----------
    values : array (n,)
        The statistic of n cases without an effect.
    curve : (array, array)
        Points and density of the law it should follow.
    observed : float
        The statistic of the case at hand: a dashed line.
    xlabel : str
        What the statistic is, with its unit.
    ax : Axes, optional
        Where to draw.
    """
    check_finite("values", np.asarray(values))
    with canvas(ax) as ax:
        ax.hist(values, bins=60, density=True, color=BLUE, alpha=0.35, label="shuffled causes")
        ax.plot(*curve, color=BLUE, label="the F distribution")
        ax.axvline(observed, color=VERMILLION, linestyle="--", label="the real cause")
        ax.set_ylim(0, None)
        ax.set_xlabel(xlabel)
        ax.set_ylabel("Share of cases (per unit of F)")
        legend_above(ax)
    return ax


def plot_sorted_pvalues(
    pvalue: np.ndarray, *, true: np.ndarray, alpha: float = 0.05, ax: Axes | None = None
) -> Axes:
    """Many p-values in order, with the thresholds of three ways to correct for their number.

    Parameters
    ----------
    pvalue : array (m,)
        In any order.
    true : bool array (m,)
        Which of them belong to a true cause.
    alpha : float
        The level.
    ax : Axes, optional
        Where to draw; logarithmic upwards.
    """
    pvalue, true = np.asarray(pvalue, dtype=float), np.asarray(true, dtype=bool)
    check_shape("pvalue", pvalue, (None,))
    check_shape("true", true, pvalue.shape)
    check_finite("pvalue", pvalue)
    alpha = check_fraction("alpha", alpha)
    order = np.argsort(pvalue, kind="stable")
    rank = np.arange(1, len(pvalue) + 1)
    floor = alpha / len(pvalue) / 30
    with canvas(ax) as ax:
        for mine, name, place in ((True, "a true cause", 0), (False, "noise", 1)):
            chosen = true[order] == mine
            look = {**line_styles(range(2))[place], "linestyle": ""}
            ax.plot(rank[chosen], pvalue[order][chosen].clip(floor), label=name, **look)
        for height, name, dashes in (
            (np.full(len(rank), alpha), "no correction", "--"),
            (alpha * rank / len(rank), "Benjamini-Hochberg", "-"),
            (np.full(len(rank), alpha / len(rank)), "Bonferroni", ":"),
        ):
            ax.plot(rank, height, color=BLACK, linestyle=dashes, label=name)
        ax.set_yscale("log")
        ax.set_ylim(floor / 1.5, 1.3)
        ax.set_xlabel("Rank among the candidates (number)")
        ax.set_ylabel("p-value (logarithmic)")
        legend_above(ax)
    return ax


def plot_series(
    frame: pd.DataFrame,
    *,
    xlabel: str,
    ylabels: list[str] | None = None,
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Series of one time axis, one above the other.

    Parameters
    ----------
    frame : DataFrame
        Index: time. One column per series.
    xlabel : str
        What the index is, with its unit.
    ylabels : list of str, optional
        One for each column; default: the names of the columns.
    axes : array of Axes, optional
        One for each column.

    Returns
    -------
    array of Axes
    """
    n = frame.shape[1]
    ylabels = [str(name) for name in frame] if ylabels is None else ylabels
    if len(ylabels) != n:
        raise ValueError(f"ylabels must have one entry for each of {n} series; got {len(ylabels)}.")
    if axes is None:
        with use_style():
            axes = plt.subplots(
                n, 1, figsize=(6.4, 1.9 * n), sharex=True, squeeze=False, layout="constrained"
            )[1][:, 0]
            return plot_series(frame, xlabel=xlabel, ylabels=ylabels, axes=axes)
    styles = line_styles(frame.columns)
    for ax, name, ylabel in zip(axes, frame, ylabels, strict=True):
        look = {**styles[name], "linestyle": "-", "markersize": 3, "linewidth": 1.4}
        ax.plot(frame.index, frame[name], **look)
        ax.set_ylabel(ylabel)
    axes[-1].set_xlabel(xlabel)
    return axes
