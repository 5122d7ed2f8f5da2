"""The interactive figure of the chapter "Is SGD chaotic?": twins at every learning rate.

It is a plotly figure whose curves are all there from the start; the slider only shows and hides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import (
    BLACK,
    BLUE,
    GREY,
    PALETTE,
    VERMILLION,
    canvas,
    legend_above,
    line_styles,
    use_style,
)

# ---- maps: Figures of training seen as a map: orbits, where they end up, and the edge of stabili


MAP_STEPS = "Training step"


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
        ax.set_xlabel(MAP_STEPS)
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
        bottom.set_xlabel(MAP_STEPS)
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


# ---- chaos: Figures of sensitivity to the start: twins, exponents, growth.


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


# ---- chaos_slider: The interactive figure of the chapter "Is SGD chaotic?": twins at every learn


def slide_distances(
    distance: np.ndarray,
    tangent: np.ndarray,
    *,
    labels: Sequence[str],
    titles: Sequence[str],
    start: float,
    every: int = 1,
    first: int = 0,
):
    """A plotly figure with a slider: distances of the twins, one position per learning rate.

    Parameters
    ----------
    distance, tangent : array (T+1, S, R)
        Distance of the twins, and what it would be had they stayed infinitely near: T steps, S
        seeds, R positions of the slider.
    labels, titles : sequence of str
        What stands below the slider and above the plot at each position; `<br>` breaks a line.
    start : float
        The perturbation: a line across.
    every : int
        Show every so many steps.
    first : int
        Position that is shown first.
    """
    import plotly.graph_objects as go

    distance, tangent = (np.asarray(a)[::every] for a in (distance, tangent))
    check_shape("tangent", tangent, distance.shape)
    n_seeds, n_places = distance.shape[1:]
    for given, texts in (("labels", labels), ("titles", titles)):
        if len(texts) != n_places:
            raise ValueError(f"{given} must be {n_places}, one per position; got {len(texts)}.")
    at = every * np.arange(len(distance))
    kinds = (("twin", distance, BLUE, "solid"), ("tangent vector", tangent, VERMILLION, "dot"))
    figure = go.Figure()
    for place in range(n_places):
        for name, values, colour, dash in kinds:
            for seed in range(n_seeds):
                line = np.where(values[:, seed, place] > 0, values[:, seed, place], np.nan)
                figure.add_scatter(
                    x=at,
                    y=[float(f"{v:.3g}") for v in line],
                    name=name,
                    legendgroup=name,
                    showlegend=seed == 0,
                    visible=place == first,
                    line={"color": colour, "dash": dash, "width": 1.6},
                    hovertemplate="step %{x}: %{y:.1e}<extra>" + f"{name}, seed {seed}</extra>",
                )
    per_place = len(kinds) * n_seeds
    steps = [
        {
            "method": "update",
            "label": label,
            "args": [
                {"visible": [i // per_place == place for i in range(n_places * per_place)]},
                {"title.text": title},
            ],
        }
        for place, (label, title) in enumerate(zip(labels, titles, strict=True))
    ]
    figure.add_hline(y=start, line={"color": GREY, "width": 1})
    figure.update_layout(
        template="plotly_white",
        title={"text": titles[first], "font": {"size": 15}, "x": 0.02, "y": 0.97, "yanchor": "top"},
        font={"size": 13},
        height=480,
        margin={"l": 10, "r": 15, "t": 85, "b": 10},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        sliders=[
            {"active": first, "steps": steps, "currentvalue": {"visible": False}, "pad": {"t": 50}}
        ],
        xaxis={"title": STEPS},
        yaxis={"title": DISTANCE, "type": "log", "range": [-10.5, 1], "exponentformat": "power"},
    )
    return figure
