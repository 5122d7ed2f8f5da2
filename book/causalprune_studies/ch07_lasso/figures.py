"""Figures of chapter 7: the lasso and the released solver. Finished numbers in, Axes out.

One of them is interactive: all of its curves are there from the start, a slider shows and hides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import BLACK, BLUE, GREY, PALETTE, VERMILLION, use_style
from causalprune_studies.figures import plot_lines
from causalprune_studies.looks import canvas, legend_above, line_styles

RATIO = "Penalty: alpha / alpha_max (fraction)"
RATIO_MARKS = (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
COEFFICIENT = "Coefficient (scaled units)"
SHADE = "#E5E5E5"


def plot_soft_threshold(
    w: np.ndarray,
    objectives: Mapping[str, np.ndarray],
    pulls: np.ndarray,
    minimisers: np.ndarray,
    *,
    threshold: float,
) -> np.ndarray:
    """Objectives with a corner at 0, their lowest points, and where those are for every pull.

    Parameters
    ----------
    w : array (n,)
        Values of the coefficient.
    objectives : mapping of str to array (n,)
        The objective over `w`, by the name of its pull.
    pulls, minimisers : array (m,)
        The pull, and the coefficient with the lowest objective.
    threshold : float
        The penalty: marked on the axis of the pulls.

    Returns
    -------
    array of two Axes
    """
    check_shape("minimisers", np.asarray(minimisers), np.shape(pulls))
    with use_style():
        axes = plt.subplots(2, 1, figsize=(6.4, 6.8), layout="constrained")[1]
        top, bottom = axes
        for name, look in line_styles(objectives).items():
            values = np.asarray(objectives[name])
            check_shape(f"objectives[{name!r}]", values, np.shape(w))
            lowest = int(np.argmin(values))
            top.plot(w, values, label=name, markevery=[lowest], **look)
        top.axvline(0, color=GREY, linewidth=1)
        top.set(xlabel="Coefficient", ylabel="Objective")
        bottom.plot(pulls, pulls, color=GREY, linestyle="--", label="no penalty")
        bottom.plot(pulls, minimisers, color=BLUE, label="soft threshold")
        for edge in (-threshold, threshold):
            bottom.axvline(edge, color=VERMILLION, linewidth=1)
        bottom.set(xlabel="Pull of the data", ylabel="Best coefficient")
        for ax in axes:
            legend_above(ax)
    return axes


def plot_gaps(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Duality gap (solid) and true distance from the minimum (dashed) after every sweep.

    Parameters
    ----------
    table : DataFrame
        Columns `penalty`, `sweep` (from 0 on), `gap` and `distance`, in units of the objective at
        zero. What is not above 0 is left out.
    ax : Axes, optional
        Where to draw.
    """
    require_columns("table", table, ["penalty", "sweep", "gap", "distance"])
    lines, looks = [], {}
    for penalty, look in line_styles(table.penalty.unique()).items():
        rows = table[table.penalty == penalty]
        for column, word, style in (("gap", "gap", "-"), ("distance", "true", "--")):
            name = f"{word}, {penalty}"
            above = rows[column].where(rows[column] > 0)
            lines.append(pd.DataFrame({"sweep": rows.sweep, "line": name, "mean": above}))
            looks[name] = {**look, "linestyle": style}
    labels = {"xlabel": "Sweeps over all coefficients", "ylabel": "Above the minimum (fraction)"}
    table = pd.concat(lines)
    ax = plot_lines(table, x="sweep", hue="line", interval="none", looks=looks, **labels, ax=ax)
    ax.set_yscale("log")
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(0, table.sweep.max())
    ticks = [0, 1, 10, 100, 1000]
    ax.set_xticks([tick for tick in ticks if tick <= table.sweep.max()])
    ax.xaxis.set_major_formatter("{x:g}")
    return ax


def plot_path(ratios: np.ndarray, coefs: np.ndarray, *, ax: Axes | None = None) -> Axes:
    """Coefficients against the penalty, from alpha_max at the left to little at the right.

    Parameters
    ----------
    ratios : array (A,)
        alpha / alpha_max.
    coefs : array (A, C)
        The coefficients to draw.
    ax : Axes, optional
        Where to draw.
    """
    ratios, coefs = np.asarray(ratios), np.asarray(coefs)
    check_shape("coefs", coefs, (len(ratios), None))
    with canvas(ax) as ax:
        for i, values in enumerate(coefs.T):
            ax.plot(ratios, values, color=PALETTE[i % len(PALETTE)], linewidth=1.4)
        ax.axhline(0, color=BLACK, linewidth=1)
        ax.set(xlabel=RATIO, ylabel=COEFFICIENT, xscale="log")
        ax.set_xlim(ratios.max(), ratios.min())
        marks = [mark for mark in RATIO_MARKS if ratios.min() <= mark <= ratios.max()]
        ax.set_xticks(marks, [f"{mark:g}" for mark in marks])
        ax.minorticks_off()
    return ax


def plot_cumulative(
    totals: np.ndarray,
    thresholds: np.ndarray,
    lines: Mapping[str, np.ndarray],
    *,
    ax: Axes | None = None,
) -> Axes:
    """One weight in the released solver: its total, the penalty owed as a band, its value.

    Parameters
    ----------
    totals, thresholds : array (n,)
        A and U after each update.
    lines : mapping of str to array (n,)
        One or two coefficients by name.
    ax : Axes, optional
        Where to draw.
    """
    totals, thresholds = np.asarray(totals), np.asarray(thresholds)
    check_shape("thresholds", thresholds, totals.shape)
    at = np.arange(1, len(totals) + 1)
    with canvas(ax) as ax:
        ax.fill_between(at, -thresholds, thresholds, color=SHADE, label="penalty owed: −U to U")
        ax.plot(at, totals, color=BLACK, linestyle="--", label="total of the pulls: A")
        looks = ((VERMILLION, "-"), (BLUE, ":"))
        for (name, values), (colour, style) in zip(lines.items(), looks, strict=False):
            check_shape(f"lines[{name!r}]", np.asarray(values), totals.shape)
            ax.plot(at, values, color=colour, linestyle=style, label=name)
        ax.set(xlabel="Update", ylabel="Coefficient, or sum")
        legend_above(ax)
    return ax


def plot_departure(table: pd.DataFrame, *, lr: float) -> np.ndarray:
    """The released solver beyond the condition of its closed form, as squared moves get larger.

    Parameters
    ----------
    table : DataFrame
        Columns `layer`, `factor` (what the recorded squared moves are multiplied by),
        `largest_prediction` (over the largest |y|) and `different` (the share of weights on which
        the iterated solver and the closed form decide differently).
    lr : float
        The learning rate at factor 1; lr sqrt(factor) would make such moves (second axis).

    Returns
    -------
    array of two Axes
    """
    panels = {"largest_prediction": "Largest prediction / max |y|"}
    panels["different"] = "Decided differently (fraction)"
    require_columns("table", table, ["layer", "factor", *panels])
    shape = {"x": "factor", "hue": "layer", "interval": "none"}
    with use_style():
        axes = plt.subplots(2, 1, figsize=(6.4, 6.4), sharex=True, layout="constrained")[1]
        for ax, (column, ylabel) in zip(axes, panels.items(), strict=True):
            lines = table.assign(mean=table[column])
            plot_lines(lines, xlabel="", ylabel=ylabel, ax=ax, **shape)
            ax.get_legend().remove()
        top, bottom = axes
        top.set(xscale="log", yscale="log")
        top.axhline(1, color=GREY, linewidth=1)
        rate = top.secondary_xaxis(
            "top", functions=(lambda f: lr * np.sqrt(np.abs(f)), lambda r: (r / lr) ** 2)
        )
        rate.set_xlabel("Learning rate that would make such moves")
        bottom.set_xlabel("Squared moves multiplied by")
        bottom.legend(loc="upper left")
    return axes


def slide_path(
    ratios: np.ndarray,
    coefs: np.ndarray,
    y: np.ndarray,
    fitted: np.ndarray,
    *,
    names: Sequence[str],
    titles: Sequence[str],
    first: int = 0,
) -> Any:
    """A plotly figure with a slider over penalties: the path above, measured and fitted below.

    Parameters
    ----------
    ratios : array (A,)
        alpha / alpha_max, the positions of the slider.
    coefs : array (A, C)
        The coefficients to draw.
    y : array (T,)
        Measured.
    fitted : array (A, T)
        Fitted, at each penalty.
    names : sequence of C str
        What the pointer shows at a line.
    titles : sequence of A str
        What stands above the plot; `<br>` breaks a line.
    first : int
        Position that is shown first.
    """
    from plotly.subplots import make_subplots

    ratios, coefs, y, fitted = (np.asarray(v, float) for v in (ratios, coefs, y, fitted))
    n = len(ratios)
    check_shape("coefs", coefs, (n, len(names)))
    check_shape("fitted", fitted, (n, len(y)))
    if len(titles) != n:
        raise ValueError(f"titles must be {n}, one per position; got {len(titles)}.")
    figure = make_subplots(rows=2, cols=1, row_heights=[0.6, 0.4], vertical_spacing=0.17)
    above, below = {"row": 1, "col": 1}, {"row": 2, "col": 1}
    steps = list(range(1, len(y) + 1))

    def line(x, values, pointer, *, where, **look):
        figure.add_scatter(
            x=x, y=_short(values), mode="lines", line=look, hovertemplate=pointer, **where
        )

    for i, (name, values) in enumerate(zip(names, coefs.T, strict=True)):
        pointer, colour = f"penalty %{{x}}: %{{y}}<extra>{name}</extra>", PALETTE[i % len(PALETTE)]
        line(_short(ratios), values, pointer, where=above, color=colour, width=1.4)
    figure.add_scatter(
        x=steps,
        y=_short(y),
        mode="markers",
        marker={"color": GREY, "size": 4},
        hovertemplate="step %{x}: %{y}<extra>measured</extra>",
        **below,
    )
    ends = [coefs.min(), coefs.max()]
    for place in range(n):  # two curves of each position: the mark above, the fit below
        mark, shown = [float(ratios[place])] * 2, {"visible": place == first}
        silent = above | shown | {"hoverinfo": "skip"}
        line(mark, ends, None, where=silent, color=VERMILLION, width=2, dash="dash")
        pointer = "step %{x}: %{y}<extra>fitted</extra>"
        line(steps, fitted[place], pointer, where=below | shown, color=BLUE, width=1.4)
    always = [True] * (len(names) + 1)
    positions = [
        {
            "method": "update",
            "label": f"{ratio:.2g}",
            "args": [
                {"visible": always + [i // 2 == place for i in range(2 * n)]},
                {"title.text": title},
            ],
        }
        for place, (ratio, title) in enumerate(zip(ratios, titles, strict=True))
    ]
    slider = {"active": first, "steps": positions, "currentvalue": {"visible": False}}
    figure.update_layout(
        template="plotly_white",
        title={"text": titles[first], "font": {"size": 15}, "x": 0.02, "y": 0.98, "yanchor": "top"},
        font={"size": 13},
        height=620,
        margin={"l": 10, "r": 15, "t": 75, "b": 10},
        showlegend=False,
        sliders=[slider | {"pad": {"t": 50}}],
    )
    marks = [mark for mark in RATIO_MARKS if ratios.min() <= mark <= 1]
    figure.update_xaxes(title=RATIO, type="log", autorange="reversed", tickvals=marks, **above)
    figure.update_yaxes(title=COEFFICIENT, **above)
    figure.update_xaxes(title="Recorded step", **below)
    figure.update_yaxes(title="Loss change", **below)
    return figure


def _short(values: Sequence[float]) -> list[float]:
    """Three digits are enough on a screen, and make the page smaller."""
    return [float(f"{value:.3g}") for value in values]
