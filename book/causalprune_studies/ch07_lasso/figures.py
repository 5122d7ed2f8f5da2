"""The interactive figure of the chapter "The lasso that prunes": a path, and the fit at a penalty.

It is a plotly figure whose curves are all there from the start; the slider only shows and hides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from causalprune_lib._validation import check_shape
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

# ---- lasso: Figures of the chapter "The lasso that prunes". Finished numbers in, Axes out.


RATIO = "Penalty: alpha / alpha_max (fraction)"


COEFFICIENT = "Coefficient (scaled units)"


def plot_soft_threshold(
    w: np.ndarray,
    objectives: Mapping[str, np.ndarray],
    pulls: np.ndarray,
    minimisers: np.ndarray,
    *,
    threshold: float,
) -> Sequence[Axes]:
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
    """
    w, pulls = np.asarray(w), np.asarray(pulls)
    check_shape("minimisers", np.asarray(minimisers), pulls.shape)
    with use_style():
        _, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6.8), layout="constrained")
        for (name, values), look in zip(
            objectives.items(), line_styles(objectives).values(), strict=True
        ):
            check_shape(f"objectives[{name!r}]", np.asarray(values), w.shape)
            lowest = int(np.argmin(values))
            top.plot(w, values, color=look["color"], linestyle=look["linestyle"])
            top.plot(w[lowest], values[lowest], color=look["color"], marker=look["marker"])
            top.plot([], [], label=name, **look)
        top.axvline(0, color=GREY, linewidth=1)
        top.set_xlabel("Coefficient")
        top.set_ylabel("Objective")
        legend_above(top)
        bottom.plot(pulls, pulls, color=GREY, linestyle="--", label="no penalty")
        bottom.plot(pulls, minimisers, color=BLUE, label="soft threshold")
        for edge in (-threshold, threshold):
            bottom.axvline(edge, color=VERMILLION, linewidth=1)
        bottom.set_xlabel("Pull of the data")
        bottom.set_ylabel("Best coefficient")
        legend_above(bottom)
    return top, bottom


def plot_gaps(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], *, ax: Axes | None = None):
    """Duality gap (solid) and true distance from the minimum (dashed) after every sweep.

    Parameters
    ----------
    curves : mapping of str to (gap (n,), distance (n,))
        Both from sweep 0 on, in units of the objective at zero. What is not above 0 is left out.
    ax : Axes, optional
        Where to draw.
    """
    with canvas(ax) as ax:
        for (name, (gap, distance)), look in zip(
            curves.items(), line_styles(curves).values(), strict=True
        ):
            gap, distance = np.asarray(gap, float), np.asarray(distance, float)
            check_shape("distance", distance, gap.shape)
            shown = {"marker": look["marker"], "markevery": max(1, len(gap) // 8)}
            shown["color"] = look["color"]
            gap, distance = (np.where(v > 0, v, np.nan) for v in (gap, distance))
            ax.plot(gap, linestyle="-", label=f"gap, {name}", **shown)
            ax.plot(distance, linestyle="--", label=f"true, {name}", **shown)
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(0, None)
        ax.set_yscale("log")
        ticks = [0, 1, 10, 100, 1000]
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.set_xlim(0, max(len(gap) for gap, _ in curves.values()))
        ax.set_xlabel("Sweeps over all coefficients")
        ax.set_ylabel("Above the minimum (fraction)")
        legend_above(ax)
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
        _penalty_axis(ax, ratios)
        ax.set_ylabel(COEFFICIENT)
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
        Coefficients by name.
    ax : Axes, optional
        Where to draw.
    """
    totals, thresholds = np.asarray(totals), np.asarray(thresholds)
    check_shape("thresholds", thresholds, totals.shape)
    at = np.arange(1, len(totals) + 1)
    with canvas(ax) as ax:
        ax.fill_between(at, -thresholds, thresholds, color="#E5E5E5", label="penalty owed: −U to U")
        ax.plot(at, totals, color=BLACK, linestyle="--", label="total of the pulls: A")
        colours = (VERMILLION, BLUE)
        for (name, values), colour, style in zip(lines.items(), colours, ("-", ":"), strict=False):
            check_shape(f"lines[{name!r}]", np.asarray(values), totals.shape)
            ax.plot(at, values, color=colour, linestyle=style, label=name)
        ax.set_xlabel("Update")
        ax.set_ylabel("Coefficient, or sum")
        legend_above(ax)
    return ax


def plot_departure(
    factors: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    different: Mapping[str, np.ndarray],
    *,
    lr: float,
) -> Sequence[Axes]:
    """The released solver beyond the condition of its closed form, as squared moves get larger.

    Parameters
    ----------
    factors : array (n,)
        What the recorded squared moves are multiplied by.
    predictions, different : mapping of str to array (n,)
        By layer: the largest prediction over the largest |y|, and the share of weights that the
        iterated solver and the closed form judge differently.
    lr : float
        The learning rate at factor 1; lr sqrt(factor) would make such moves (second axis).
    """
    factors = np.asarray(factors)
    styles = line_styles(predictions)
    with use_style():
        _, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6.4), sharex=True, layout="constrained")
        for ax, curves in ((top, predictions), (bottom, different)):
            for name, values in curves.items():
                check_shape(f"values of {name!r}", np.asarray(values), factors.shape)
                ax.plot(factors, values, label=name, **styles[name])
        top.set_xscale("log")
        top.set_yscale("log")
        top.axhline(1, color=GREY, linewidth=1)
        top.set_ylabel("Largest prediction / max |y|")
        rate = top.secondary_xaxis(
            "top", functions=(lambda f: lr * np.sqrt(np.abs(f)), lambda r: (r / lr) ** 2)
        )
        rate.set_xlabel("Learning rate that would make such moves")
        bottom.set_ylabel("Judged differently (fraction)")
        bottom.set_xlabel("Squared moves multiplied by")
        bottom.legend(loc="upper left")
    return top, bottom


def _penalty_axis(ax: Axes, ratios: np.ndarray) -> None:
    ax.set_xscale("log")
    ax.set_xlim(ratios.max(), ratios.min())
    marks = [m for m in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01) if ratios.min() <= m <= ratios.max()]
    ax.set_xticks(marks, [f"{mark:g}" for mark in marks])
    ax.minorticks_off()
    ax.set_xlabel(RATIO)


# ---- lasso_slider: The interactive figure of the chapter "The lasso that prunes": a path, and th


def slide_path(
    ratios: np.ndarray,
    coefs: np.ndarray,
    y: np.ndarray,
    fitted: np.ndarray,
    *,
    names: Sequence[str],
    titles: Sequence[str],
    first: int = 0,
):
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
    for i, (name, values) in enumerate(zip(names, coefs.T, strict=True)):
        figure.add_scatter(
            x=_short(ratios),
            y=_short(values),
            mode="lines",
            line={"color": PALETTE[i % len(PALETTE)], "width": 1.4},
            hovertemplate="penalty %{x}: %{y}<extra>" + name + "</extra>",
            row=1,
            col=1,
        )
    steps_axis = list(range(1, len(y) + 1))
    figure.add_scatter(
        x=steps_axis,
        y=_short(y),
        mode="markers",
        marker={"color": GREY, "size": 4},
        hovertemplate="step %{x}: %{y}<extra>measured</extra>",
        row=2,
        col=1,
    )
    fixed = len(names) + 1
    low, high = coefs.min(), coefs.max()
    for place in range(n):
        figure.add_scatter(
            x=[float(ratios[place])] * 2,
            y=_short([low, high]),
            mode="lines",
            visible=place == first,
            line={"color": VERMILLION, "width": 2, "dash": "dash"},
            hoverinfo="skip",
            row=1,
            col=1,
        )
        figure.add_scatter(
            x=steps_axis,
            y=_short(fitted[place]),
            mode="lines",
            visible=place == first,
            line={"color": BLUE, "width": 1.4},
            hovertemplate="step %{x}: %{y}<extra>fitted</extra>",
            row=2,
            col=1,
        )
    steps = [
        {
            "method": "update",
            "label": f"{ratio:.2g}",
            "args": [
                {"visible": [True] * fixed + [i // 2 == place for i in range(2 * n)]},
                {"title.text": title},
            ],
        }
        for place, (ratio, title) in enumerate(zip(ratios, titles, strict=True))
    ]
    figure.update_layout(
        template="plotly_white",
        title={"text": titles[first], "font": {"size": 15}, "x": 0.02, "y": 0.98, "yanchor": "top"},
        font={"size": 13},
        height=620,
        margin={"l": 10, "r": 15, "t": 75, "b": 10},
        showlegend=False,
        sliders=[
            {"active": first, "steps": steps, "currentvalue": {"visible": False}, "pad": {"t": 50}}
        ],
    )
    marks = [mark for mark in (1, 0.5, 0.2, 0.1, 0.05, 0.02) if ratios.min() <= mark <= 1]
    figure.update_xaxes(title=RATIO, type="log", autorange="reversed", tickvals=marks, row=1, col=1)
    figure.update_yaxes(title=COEFFICIENT, row=1, col=1)
    figure.update_xaxes(title="Recorded step", row=2, col=1)
    figure.update_yaxes(title="Loss change", row=2, col=1)
    return figure


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.3g}") for value in values]
