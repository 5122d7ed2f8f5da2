"""Figures of training seen as a map: orbits, where they end up, and the edge of stability.

Finished numbers in, Axes out; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.intervals import require_columns
from causalprune_lib.evidence.plots.style import (
    BLACK,
    GREY,
    PALETTE,
    VERMILLION,
    canvas,
    legend_above,
    line_styles,
    use_style,
)

STEPS = "Training step"


def plot_orbits(
    orbits: Mapping[str, Sequence[float]],
    *,
    ylabel: str = r"Weight $\theta$",
    target: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A single weight against the step, one line per orbit.

    Parameters
    ----------
    orbits : mapping of name to sequence (T+1,)
        Row 0 is the start.
    ylabel : str
        What the weight is.
    target : float, optional
        Where the minimum lies: a line across.
    ax : Axes, optional
        Where to draw.
    """
    styles = line_styles(orbits)
    with canvas(ax) as ax:
        if target is not None:
            ax.axhline(target, color=GREY, linewidth=1)
        for name, values in orbits.items():
            ax.plot(values, label=name, markersize=5, **styles[name])
        ax.set_xlabel(STEPS)
        ax.set_ylabel(ylabel)
        legend_above(ax)
    return ax


def plot_bifurcation(
    rates: np.ndarray,
    states: Mapping[str, np.ndarray],
    exponent: np.ndarray,
    *,
    marks: Mapping[str, float] | None = None,
    ylabel: str = r"Weight $\theta$",
    axes: Sequence[Axes] | None = None,
) -> np.ndarray:
    """Where an orbit goes in the long run, and its exponent below, against the learning rate.

    Parameters
    ----------
    rates : array (E,)
        Learning rates.
    states : mapping of name to array (E, n)
        The last n states for each learning rate, one entry per start.
    exponent : array (E,)
        Nats per step.
    marks : mapping of name to float, optional
        Learning rates to mark by a vertical line with a name.
    ylabel : str
        What the state is.
    axes : two Axes, optional
        Where to draw.
    """
    rates, exponent = np.asarray(rates), np.asarray(exponent)
    check_shape("exponent", exponent, (len(rates),))
    with _two_panels(axes, height=5.6, ratios=(3, 2)) as (top, bottom):
        for colour, (name, values) in zip(PALETTE, states.items(), strict=False):
            values = np.asarray(values)
            check_shape(f"states[{name!r}]", values, (len(rates), None))
            at = np.repeat(rates, values.shape[1])
            options = {"markersize": 1, "alpha": 0.25, "rasterized": True}
            top.plot(at, values.ravel(), linestyle="", marker=",", color=colour, **options)
            top.plot([], [], linestyle="", marker="o", color=colour, label=name)
        bottom.axhline(0, color=BLACK, linewidth=1)
        bottom.plot(rates, exponent, color=GREY, linewidth=0.8)
        above = np.where(exponent > 0, exponent, np.nan)
        bottom.plot(rates, above, color=VERMILLION, linewidth=1.2)
        for name, rate in (marks or {}).items():
            for ax in (top, bottom):
                ax.axvline(rate, color=BLACK, linestyle=":", linewidth=1)
            top.text(rate, 0.02, f" {name}", transform=top.get_xaxis_transform())
        bottom.set_ylim(max(-2.5, np.nanmin(exponent[np.isfinite(exponent)])), None)
        top.set_ylabel(ylabel)
        bottom.set_ylabel("Exponent\n(nats per step)")
        bottom.set_xlabel(r"Learning rate $\eta$")
        legend_above(top)
    return np.array([top, bottom])


def plot_edge_of_stability(
    table: pd.DataFrame, *, edge: float = 2.0, axes: Sequence[Axes] | None = None
) -> np.ndarray:
    """Loss, and learning rate times sharpness below, against the step, one line per learning rate.

    Parameters
    ----------
    table : DataFrame
        Columns `step`, `lr`, `loss` and `edge` (learning rate times sharpness).
    edge : float
        Where a quadratic loss would become unstable: a dashed line.
    axes : two Axes, optional
        Where to draw.
    """
    require_columns("table", table, ["step", "lr", "loss", "edge"])
    styles = line_styles(table.lr.unique())
    with _two_panels(axes, height=5.4, ratios=(1, 1)) as (top, bottom):
        for lr, rows in table.groupby("lr", sort=False):
            options = {
                "label": rf"$\eta$ = {lr:g}",
                "markevery": 0.1,
                "markersize": 5,
                **styles[lr],
            }
            top.plot(rows.step, rows.loss, **options)
            bottom.plot(rows.step, rows.edge, **options)
        bottom.axhline(edge, color=BLACK, linestyle="--", linewidth=1.2)
        top.set_yscale("log")
        top.set_ylabel("Training loss")
        bottom.set_ylabel(r"$\eta$ times sharpness")
        bottom.set_ylim(0, None)
        bottom.set_xlabel(STEPS)
        legend_above(top)
    return np.array([top, bottom])


@contextmanager
def _two_panels(
    axes: Sequence[Axes] | None, *, height: float, ratios: tuple[int, int]
) -> Iterator[Sequence[Axes]]:
    """The given two Axes in the style they have, or two new ones in the book's style."""
    if axes is not None:
        yield axes
        return
    with use_style():
        options = {"sharex": True, "layout": "constrained", "height_ratios": ratios}
        yield plt.subplots(2, 1, figsize=(6.4, height), **options)[1]
