"""Figures of sensitivity to the start: twins, exponents, growth.

Finished numbers in, Axes out; nothing is computed here. Curves that belong together (one per seed)
share colour, marker and dashes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.intervals import require_columns
from causalprune_lib.evidence.plots.style import BLACK, GREY, canvas, legend_above, line_styles

STEPS = "Training step"
DISTANCE = "Distance between the twins"
EXPONENT = "Exponent (nats per step)"


def plot_distances(
    curves: Mapping[str, np.ndarray],
    *,
    start: float | None = None,
    every: int = 1,
    ax: Axes | None = None,
) -> Axes:
    """Distance between twins against the step, on a logarithmic axis.

    Parameters
    ----------
    curves : mapping of name to array (R, S)
        R moments, S seeds. Distances of 0 cannot be drawn and are left out.
    start : float, optional
        The perturbation: a line across. Above it twins have parted, below it they have met.
    every : int
        Steps from one moment to the next.
    ax : Axes, optional
        Where to draw.
    """
    styles = line_styles(curves)
    with canvas(ax) as ax:
        if start is not None:
            ax.axhline(start, color=GREY, linewidth=1)
        for name, values in curves.items():
            values = np.asarray(values, dtype=float)
            check_shape(f"curves[{name!r}]", values, (None, None))
            at = every * np.arange(len(values))
            for s, line in enumerate(np.where(values > 0, values, np.nan).T):
                options = {"linewidth": 1.4, "alpha": 0.8, "markersize": 5}
                label = name if s == 0 else "_"
                ax.plot(at, line, label=label, markevery=0.2, **options, **styles[name])
        ax.set_yscale("log")
        ax.set_xlabel(STEPS)
        ax.set_ylabel(DISTANCE)
        legend_above(ax)
    return ax


def plot_exponents(
    summary: pd.DataFrame,
    *,
    hue: str,
    x: str = "lr",
    xlabel: str = r"Learning rate $\eta$ (logarithmic)",
    ylabel: str = EXPONENT,
    edge: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Exponents against the learning rate, one line per `hue`, with interval bands.

    Parameters
    ----------
    summary : DataFrame
        From `summarise`: columns `x`, `hue`, `mean`, `low`, `high`.
    hue, x : str
        What tells lines apart, and what runs along the logarithmic axis.
    xlabel, ylabel : str
        What they are, with their units.
    edge : float, optional
        A value of `x` to mark by a dotted line.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("summary", summary, [x, hue, "mean", "low", "high"])
    styles = line_styles(summary[hue].unique())
    with canvas(ax) as ax:
        ax.axhline(0, color=BLACK, linewidth=1)
        if edge is not None:
            ax.axvline(edge, color=GREY, linestyle=":")
        for name, rows in summary.groupby(hue, sort=False):
            rows = rows.sort_values(x)
            ax.plot(rows[x], rows["mean"], label=str(name), **styles[name])
            colour = styles[name]["color"]
            ax.fill_between(rows[x], rows.low, rows.high, color=colour, alpha=0.16, linewidth=0)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator([0.05, 0.1, 0.2, 0.5, 1, 2, 5]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        legend_above(ax)
    return ax


def plot_running_exponents(curves: Mapping[str, np.ndarray], *, ax: Axes | None = None) -> Axes:
    """The estimate of an exponent after 1, 2, ... steps, both axes logarithmic.

    Parameters
    ----------
    curves : mapping of name to array (T, S)
        S seeds. Estimates of 0 or below cannot be drawn and leave a gap.
    ax : Axes, optional
        Where to draw.
    """
    styles = line_styles(curves)
    with canvas(ax) as ax:
        for name, values in curves.items():
            values = np.asarray(values, dtype=float)
            check_shape(f"curves[{name!r}]", values, (None, None))
            at = 1 + np.arange(len(values))
            for s, line in enumerate(np.where(values > 0, values, np.nan).T):
                options = {"linewidth": 1.3, "alpha": 0.8, "markersize": 5}
                options["markevery"] = np.unique(np.geomspace(1, len(at), 7).astype(int)) - 1
                ax.plot(at, line, label=name if s == 0 else "_", **options, **styles[name])
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel(f"{STEPS} (logarithmic)")
        ax.set_ylabel("Exponent so far (nats per step)")
        legend_above(ax)
    return ax


def plot_growth(
    factors: np.ndarray, *, labels: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """How much each weight's twin had parted at the end, from the least to the most.

    Parameters
    ----------
    factors : array (S, P)
        Last distance over first: S networks, P perturbed weights.
    labels : sequence of str, optional
        Names of the networks.
    ax : Axes, optional
        Where to draw.
    """
    factors = np.asarray(factors)
    check_shape("factors", factors, (None, None))
    names = [f"network {s}" for s in range(len(factors))] if labels is None else list(labels)
    styles = line_styles(names)
    with canvas(ax) as ax:
        ax.axhline(1, color=BLACK, linewidth=1)
        share = np.arange(1, factors.shape[1] + 1) / factors.shape[1]
        for name, values in zip(names, factors, strict=True):
            ax.plot(100 * share, np.sort(values), label=name, markevery=0.1, **styles[name])
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(FixedLocator([0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.set_xlabel("Perturbed weights, from least to most growth (%)")
        ax.set_ylabel("Last distance over first")
        legend_above(ax)
    return ax
