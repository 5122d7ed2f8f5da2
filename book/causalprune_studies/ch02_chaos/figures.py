"""Figures of chapter 2: orbits of a map, twins, exponents, growth. Finished numbers in, Axes out.

The one with a slider is a plotly figure whose curves are all there from the start; the slider only
shows and hides.
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
from causalprune_lib.evidence.style import BLACK, BLUE, GREY, PALETTE, VERMILLION, use_style
from causalprune_studies.figures import plot_lines
from causalprune_studies.looks import legend_above, line_styles

STEPS = "Training step"
DISTANCE = "Distance between the twins"
WEIGHT = r"Weight $\theta$"


def plot_orbits(
    orbits: Mapping[str, Sequence[float]], *, target: float, ax: Axes | None = None
) -> Axes:
    """A single weight against the step, one line per orbit.

    Parameters
    ----------
    orbits : mapping of name to sequence (T+1,)
        The start, and where the weight is after every step.
    target : float
        Where the minimum lies: a line across.
    ax : Axes, optional
        Where to draw.
    """
    table = _lines_of({name: np.reshape(values, (-1, 1)) for name, values in orbits.items()})
    ax = plot_lines(table, x="at", hue="name", xlabel=STEPS, ylabel=WEIGHT, interval="none", ax=ax)
    ax.axhline(target, color=GREY, linewidth=1)
    return ax


def plot_bifurcation(
    rates: np.ndarray,
    states: Mapping[str, np.ndarray],
    exponent: np.ndarray,
    *,
    marks: Mapping[str, float],
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
    marks : mapping of name to float
        Learning rates to mark by a vertical line with a name.
    axes : two Axes, optional
        Where to draw.
    """
    check_shape("exponent", exponent, (len(rates),))
    with _two_panels(axes, height=5.6, ratios=(3, 2)) as (top, bottom):
        for colour, (name, values) in zip(PALETTE, states.items(), strict=False):
            check_shape(f"states[{name!r}]", values, (len(rates), None))
            at = np.repeat(rates, values.shape[1])
            look = {"markersize": 1, "alpha": 0.25, "rasterized": True}
            top.plot(at, values.ravel(), linestyle="", marker=",", color=colour, **look)
            top.plot([], [], linestyle="", marker="o", color=colour, label=name)
        bottom.axhline(0, color=BLACK, linewidth=1)
        bottom.plot(rates, exponent, color=GREY, linewidth=0.8)
        above = np.where(exponent > 0, exponent, np.nan)
        bottom.plot(rates, above, color=VERMILLION, linewidth=1.2)
        for name, rate in marks.items():
            for ax in (top, bottom):
                ax.axvline(rate, color=BLACK, linestyle=":", linewidth=1)
            top.text(rate, 0.02, f" {name}", transform=top.get_xaxis_transform())
        bottom.set_ylim(max(-2.5, np.nanmin(exponent[np.isfinite(exponent)])), None)
        top.set_ylabel(WEIGHT)
        bottom.set_ylabel("Exponent\n(nats per step)")
        bottom.set_xlabel(r"Learning rate $\eta$")
        legend_above(top)
    return np.array([top, bottom])


def plot_edge_of_stability(
    table: pd.DataFrame, *, axes: Sequence[Axes] | None = None
) -> np.ndarray:
    """Loss, and learning rate times sharpness below, against the step, one line per learning rate.

    Parameters
    ----------
    table : DataFrame
        Columns `step`, `lr`, `loss` and `edge` (learning rate times sharpness). At 2, where a
        quadratic loss becomes unstable, is a dashed line.
    axes : two Axes, optional
        Where to draw.
    """
    require_columns("table", table, ["step", "lr", "loss", "edge"])
    table = table.assign(name=[rf"$\eta$ = {lr:g}" for lr in table.lr])
    with _two_panels(axes, height=5.4, ratios=(1, 1)) as (top, bottom):
        labels = {"loss": "Training loss", "edge": r"$\eta$ times sharpness"}
        for ax, (column, label) in zip((top, bottom), labels.items(), strict=True):
            plot_lines(
                table.assign(mean=table[column]),
                x="step",
                hue="name",
                xlabel="" if ax is top else STEPS,
                ylabel=label,
                interval="none",
                ax=ax,
            )
        bottom.axhline(2, color=BLACK, linestyle="--", linewidth=1.2)
        bottom.get_legend().remove()
        bottom.set_ylim(0, None)
        top.set_yscale("log")
    return np.array([top, bottom])


def plot_distances(
    curves: Mapping[str, np.ndarray], *, start: float, ax: Axes | None = None
) -> Axes:
    """Distance between twins against the step, on a logarithmic axis, one line per seed.

    Parameters
    ----------
    curves : mapping of name to array (T+1, S)
        Distances of S seeds. Those of 0 cannot be drawn and are left out.
    start : float
        The perturbation: a line across. Above it twins have parted, below it they have met.
    ax : Axes, optional
        Where to draw.
    """
    ax = _plot_seeds(_lines_of(curves), xlabel=STEPS, ylabel=DISTANCE, ax=ax)
    ax.axhline(start, color=GREY, linewidth=1)
    return ax


def plot_rounding(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    *,
    start: float,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """The distances of twins and of their controls, in a panel for each of two learning rates.

    Parameters
    ----------
    panels : mapping of name to what `plot_distances` takes
        Two learning rates.
    start, axes
        As there, of both panels.
    """
    if axes is None:
        with use_style():
            figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.9), sharey=True, layout="constrained")
            plot_rounding(panels, start=start, axes=axes)
            handles, names = axes[0].get_legend_handles_labels()
            for ax in axes:
                ax.get_legend().remove()
            figure.legend(handles, names, loc="outside upper left", ncols=3)
            return axes
    for ax, (name, curves) in zip(axes, panels.items(), strict=True):
        plot_distances(curves, start=start, ax=ax)
        ax.text(0.03, 0.97, name, transform=ax.transAxes, va="top", fontsize=13)
    axes[1].set_ylabel("")
    return axes


def plot_exponents(summary: pd.DataFrame, *, hue: str, ax: Axes | None = None) -> Axes:
    """Exponents against the learning rate, one line per `hue`, with interval bands.

    Parameters
    ----------
    summary : DataFrame
        From `summarise`: columns `lr`, `hue`, `mean`, `low`, `high`, in nats per step.
    hue : str
        What tells lines apart.
    ax : Axes, optional
        Where to draw.
    """
    rate, exponent = r"Learning rate $\eta$ (logarithmic)", "Exponent (nats per step)"
    ax = plot_lines(summary, x="lr", hue=hue, xlabel=rate, ylabel=exponent, ax=ax)
    ax.axhline(0, color=BLACK, linewidth=1)
    ax.set_xscale("log")
    _plain_ticks(ax.xaxis, [0.05, 0.1, 0.2, 0.5, 1, 2, 5])
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
    labels = {"xlabel": f"{STEPS} (logarithmic)", "ylabel": "Exponent so far (nats per step)"}
    ax = _plot_seeds(_lines_of(curves, first=1), **labels, ax=ax)
    ax.set_xscale("log")
    return ax


def plot_growth(factors: np.ndarray, *, ax: Axes | None = None) -> Axes:
    """How much each weight's twin had parted at the end, from the least to the most.

    Parameters
    ----------
    factors : array (S, P)
        Last distance over first: S networks, P perturbed weights.
    ax : Axes, optional
        Where to draw.
    """
    factors = np.sort(factors, axis=1)
    check_shape("factors", factors, (None, None))
    share = 100 * np.arange(1, factors.shape[1] + 1) / factors.shape[1]
    networks = [
        pd.DataFrame({"share": share, "name": f"network {s}", "mean": values})
        for s, values in enumerate(factors)
    ]
    ax = plot_lines(
        pd.concat(networks),
        x="share",
        hue="name",
        xlabel="Perturbed weights, from least to most growth (%)",
        ylabel="Last distance over first",
        interval="none",
        ax=ax,
    )
    ax.axhline(1, color=BLACK, linewidth=1)
    ax.set_yscale("log")
    _plain_ticks(ax.yaxis, [0.2, 0.5, 1, 2, 5, 10, 20, 50, 100])
    return ax


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


def _lines_of(curves: Mapping[str, np.ndarray], *, first: int = 0) -> pd.DataFrame:
    """Arrays (steps, S) by name as a table of lines: `at` (from `first` on), `name`, `seed`."""
    parts = []
    for name, values in curves.items():
        values = np.asarray(values, dtype=float)
        check_shape(f"curves[{name!r}]", values, (None, None))
        at = first + np.arange(len(values))
        for seed, line in enumerate(values.T):
            parts.append(pd.DataFrame({"at": at, "name": name, "seed": seed, "mean": line}))
    return pd.concat(parts)


def _plot_seeds(table: pd.DataFrame, *, xlabel: str, ylabel: str, ax: Axes | None) -> Axes:
    """A thin line for every name and seed, against the logarithm of what is above 0."""
    thin = {"linewidth": 1.4, "alpha": 0.8, "markersize": 5}
    looks = {name: {**look, **thin} for name, look in line_styles(table.name.unique()).items()}
    table = table.assign(mean=table["mean"].where(table["mean"] > 0))
    options = {"x": "at", "hue": "name", "each": "seed", "interval": "none", "looks": looks}
    ax = plot_lines(table, **options, xlabel=xlabel, ylabel=ylabel, ax=ax)
    ax.set_yscale("log")
    return ax


def _plain_ticks(axis, places: Sequence[float]) -> None:
    """Ticks of a logarithmic axis at `places` only, written as plain numbers."""
    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


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
