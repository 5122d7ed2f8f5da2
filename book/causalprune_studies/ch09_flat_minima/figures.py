"""Figures of chapter 9: eigenvalues, landscapes, and both against accuracy. Numbers in, Axes out.

Where a figure has panels, one legend stands above them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import BLUE, GREY, use_style
from causalprune_studies.figures import plot_lines
from causalprune_studies.looks import line_styles, percent

HEIGHT = "log(1 + loss)"

# title -> alphas (A,), betas (B,), heights (A, B); alpha goes up, beta to the right
Surfaces = Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]]


def plot_two_minima(
    a: np.ndarray,
    b: np.ndarray,
    loss: np.ndarray,
    minima: Mapping[str, tuple[float, float]],
    walked: np.ndarray,
    walks: Mapping[str, ArrayLike],
) -> np.ndarray:
    """The loss of two weights from above, and along a walk out of each of its minima.

    Parameters
    ----------
    a, b, loss : array (A,), (B,), (B, A)
    minima : mapping of str to (a, b)
        All lie on the valley a b = 1.
    walked : array (R,)
        Distances, negative ones in the opposite direction.
    walks : mapping of str to array (R,)
        The loss there.
    """
    looks = line_styles(minima)
    with use_style():
        figure, axes = plt.subplots(1, 2, figsize=(6.4, 4.0), layout="constrained")
        height, across = axes
        height.contour(a, b, np.log10(loss + 1e-3), levels=12, linewidths=0.8, cmap="viridis")
        valley = a[(1 / a >= b.min()) & (1 / a <= b.max())]
        height.plot(valley, 1 / valley, color=GREY, linestyle="--", linewidth=1.5)
        for name, place in minima.items():
            height.plot(*place, **{**looks[name], "linestyle": "", "markersize": 9})
            line = {**looks[name], "marker": ""}
            across.plot(walked, walks[name], label=f"out of the minimum at {name}", **line)
        height.set(xlabel="First weight, a", ylabel="Second weight, b")
        across.set(xlabel="Distance walked, r", ylabel="Loss (squared error)", ylim=(-0.05, 2))
        figure.legend(loc="outside upper right", ncols=1)
    return axes


def plot_estimates(errors: Mapping[str, ArrayLike], *, ax: Axes | None = None) -> Axes:
    """How far an estimate is from the truth after each step, on a logarithmic axis.

    Parameters
    ----------
    errors : mapping of str to array
        Method -> relative errors; what is below 1e-16 is drawn there.
    ax : Axes, optional
        Where to draw.
    """
    table = pd.concat(
        pd.DataFrame({"method": name, "mean": np.maximum(off, 1e-16)})
        for name, off in errors.items()
    )
    ax = plot_lines(
        table.assign(products=table.index + 1),
        x="products",
        hue="method",
        xlabel="Products with the Hessian (number)",
        ylabel="Relative error (fraction)",
        interval="none",
        ax=ax,
    )
    ax.set_yscale("log")
    return ax


def plot_densities(
    eigenvalues: np.ndarray, densities: Mapping[str, ArrayLike], *, ax: Axes | None = None
) -> Axes:
    """Densities of eigenvalues; the first is drawn broad, so that others can lie on it.

    Parameters
    ----------
    eigenvalues : array (G,)
        Where.
    densities : mapping of str to array (G,)
    ax : Axes, optional
        Where to draw.
    """
    table = pd.concat(
        pd.DataFrame({"which": name, "eigenvalue": eigenvalues, "mean": density})
        for name, density in densities.items()
    )
    first, *others = densities
    looks = {first: {"color": GREY, "linewidth": 4, "alpha": 0.6}}
    looks |= {name: {"color": BLUE, "linewidth": 1.5} for name in others}
    labels = {"xlabel": "Eigenvalue", "ylabel": "Density (per unit)"}
    ax = plot_lines(
        table, x="eigenvalue", hue="which", interval="none", looks=looks, ax=ax, **labels
    )
    ax.set_yscale("log")
    ax.set_ylim(1e-5, None)
    return ax


def plot_top_eigenvalues(
    summary: pd.DataFrame, *, panel: str = "space", titles: Mapping[str, str] | None = None
) -> np.ndarray:
    """The largest eigenvalues of every network, one panel below the other.

    Parameters
    ----------
    summary : DataFrame
        `panel`, `method`, `rank` (1 is the largest), and `mean`, `low`, `high` as eigenvalues.
    panel : str
        The column that names the panels.
    titles : mapping, optional
        What the panels are called.

    Returns
    -------
    array of Axes, one per panel
    """
    require_columns("summary", summary, [panel, "method", "rank", "mean", "low", "high"])
    methods = list(summary.method.unique())
    shift = dict(zip(methods, np.linspace(-0.2, 0.2, len(methods)), strict=True))
    looks = {name: look | {"linewidth": 1.2} for name, look in line_styles(methods).items()}
    labels = {"xlabel": "Rank of the eigenvalue", "ylabel": "Eigenvalue"}

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        beside = rows.assign(rank=rows["rank"] + rows.method.map(shift))
        plot_lines(beside, x="rank", hue="method", interval="bars", looks=looks, ax=ax, **labels)
        _logarithmic(ax, "y")
        ax.set_xticks(sorted(rows["rank"].unique()))

    return _panels(summary, panel, titles, draw)


def plot_sharpness_on_the_way(
    curves: pd.DataFrame, *, panel: str = "dataset", titles: Mapping[str, str] | None = None
) -> np.ndarray:
    """Top eigenvalue against training loss, while networks are trained: time goes to the right.

    Parameters
    ----------
    curves : DataFrame
        `panel`, `method`, `seed`, `step`, `loss` and `top_1`. One line for each method and seed; a
        marker stands where it ends.

    Returns
    -------
    array of Axes, one per panel
    """
    require_columns("curves", curves, [panel, "method", "seed", "step", "loss", "top_1"])
    looks = line_styles(curves.method.unique())

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        seen = set()
        for (name, _), line in rows.groupby(["method", "seed"], sort=False):
            line = line.sort_values("step")  # not by loss, which need not fall at every step
            look = looks[name] | {"linewidth": 1.2, "alpha": 0.75, "markevery": [len(line) - 1]}
            label = "_" if name in seen else str(name)
            ax.plot(line.loss, line.top_1, label=label, **look)
            seen.add(name)
        _logarithmic(ax, "x")
        _logarithmic(ax, "y")
        ax.set_xlabel("Training loss (nats), falling to the right")
        ax.set_ylabel("Top eigenvalue")

    axes = _panels(curves, panel, titles, draw)
    axes[0].invert_xaxis()
    return axes


def plot_flat_against_accurate(
    rows: pd.DataFrame, *, measures: Mapping[str, str], panel: str = "dataset"
) -> np.ndarray:
    """Test accuracy against sharpness, a point for every network, a line of panels per measure.

    Parameters
    ----------
    rows : DataFrame
        `panel`, `method`, `accuracy` and a column for each of `measures`.
    measures : mapping
        Columns to draw, and what their axes are called.

    Returns
    -------
    array of Axes (measures, panels)
    """
    require_columns("rows", rows, [panel, "method", "accuracy", *measures])
    looks, places = line_styles(rows.method.unique()), list(rows[panel].unique())
    with use_style():
        _, axes = plt.subplots(
            len(measures),
            len(places),
            figsize=(6.4, 0.8 + 2.7 * len(measures)),
            squeeze=False,
            sharey="col",
            layout="constrained",
        )
        for line, (column, label) in zip(axes, measures.items(), strict=True):
            for ax, place in zip(line, places, strict=True):
                for name, networks in rows[rows[panel] == place].groupby("method", sort=False):
                    look = looks[name] | {"linestyle": "none"}
                    ax.plot(networks[column], networks.accuracy, label=str(name), **look)
                if rows[column].min() > 0 and rows[column].max() > 10 * rows[column].min():
                    _logarithmic(ax, "x")
                ax.set_xlabel(label)
                ax.yaxis.set_major_formatter(percent())
            line[0].set_ylabel("Test accuracy (%)")
        if len(places) > 1:
            for ax, place in zip(axes[0], places, strict=True):
                ax.set_title(str(place))
        _legend_of(axes[0, 0])
    return axes


def plot_landscapes(surfaces: Surfaces, *, columns: int = 2, label: str = HEIGHT) -> np.ndarray:
    """Contours of the loss around each network, all with the same levels.

    Returns
    -------
    array of Axes, one for each surface
    """
    levels = MaxNLocator(12).tick_values(*_span(surfaces))
    lines = -(-len(surfaces) // columns)
    with use_style():
        figure, axes = plt.subplots(
            lines,
            columns,
            figsize=(6.4, 1.6 + 2.75 * lines),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for ax in axes.flat[len(surfaces) :]:
            ax.remove()
        axes = axes.flat[: len(surfaces)]
        for ax, (title, (alphas, betas, height)) in zip(axes, surfaces.items(), strict=True):
            check_shape("height", height, (len(alphas), len(betas)))
            drawn = ax.contourf(betas, alphas, height, levels=levels, cmap="viridis")
            ax.contour(betas, alphas, height, levels=levels, colors="white", linewidths=0.4)
            ax.plot(0, 0, marker="+", color="white", markersize=10, markeredgewidth=2)
            ax.set_title(str(title))
            ax.set_aspect("equal")
            ax.locator_params(nbins=5)
            ax.grid(visible=False)
        figure.colorbar(
            drawn, ax=list(axes), label=label, location="bottom", shrink=0.8, aspect=30, pad=0.03
        )
        figure.supxlabel("Along the second direction", fontsize=13)
        figure.supylabel("Along the first direction", fontsize=13)
    return axes


def turn_landscape(surfaces: Surfaces, *, label: str = HEIGHT):
    """A plotly figure to be turned with the mouse: one surface at a time, all on the same scale."""
    import plotly.graph_objects as go

    low, high = (float(f"{end:.3g}") for end in _span(surfaces))
    figure = go.Figure()
    for place, (title, (alphas, betas, height)) in enumerate(surfaces.items()):
        figure.add_surface(
            x=np.round(np.asarray(betas, dtype=float), 4),
            y=np.round(np.asarray(alphas, dtype=float), 4),
            z=[[float(f"{value:.3g}") for value in row] for row in np.asarray(height)],
            name=str(title),
            visible=place == 0,
            cmin=low,
            cmax=high,
            colorscale="Viridis",
            colorbar={"title": {"text": label, "side": "right"}, "thickness": 14, "len": 0.7},
            contours={"z": {"show": True, "usecolormap": True, "width": 1}},
            hovertemplate="%{z:.2f}<extra>" + str(title) + "</extra>",
        )
    buttons = [
        {
            "method": "update",
            "label": str(title),
            "args": [{"visible": [i == place for i in range(len(surfaces))]}],
        }
        for place, title in enumerate(surfaces)
    ]
    figure.update_layout(
        template="plotly_white",
        font={"size": 13},
        height=520,
        margin={"l": 0, "r": 0, "t": 50, "b": 0},
        updatemenus=[{"buttons": buttons, "x": 0, "y": 1.08, "xanchor": "left", "yanchor": "top"}],
        scene={
            "xaxis": {"title": {"text": "second direction"}},
            "yaxis": {"title": {"text": "first direction"}},
            "zaxis": {"title": {"text": label}, "range": [low, high]},
            "camera": {"eye": {"x": 1.5, "y": -1.5, "z": 0.8}},
        },
    )
    return figure


def _span(surfaces: Surfaces) -> tuple[float, float]:
    """The lowest and the highest finite height of all surfaces."""
    heights = np.concatenate([np.asarray(height).ravel() for _, _, height in surfaces.values()])
    heights = heights[np.isfinite(heights)]
    return float(heights.min()), float(heights.max())


def _panels(
    rows: pd.DataFrame,
    panel: str,
    titles: Mapping[str, str] | None,
    draw: Callable[[Axes, pd.DataFrame], None],
) -> np.ndarray:
    """One panel below the other, for each value of the column `panel`."""
    names = list(rows[panel].unique())
    with use_style():
        _, axes = plt.subplots(
            len(names),
            1,
            figsize=(6.4, 1.0 + 3.0 * len(names)),
            sharex=True,
            squeeze=False,
            layout="constrained",
        )
        for ax, name in zip(axes[:, 0], names, strict=True):
            draw(ax, rows[rows[panel] == name])
            if len(names) > 1:
                ax.set_title((titles or {}).get(name, str(name)), loc="left", color=GREY)
            if ax is not axes[-1, 0]:
                ax.set_xlabel("")
            if ax.get_legend():
                ax.get_legend().remove()
        _legend_of(axes[0, 0])
    return axes[:, 0]


def _legend_of(ax: Axes) -> None:
    """The legend of one panel, above all panels."""
    handles, labels = ax.get_legend_handles_labels()
    ax.figure.legend(handles, labels, loc="outside upper left", ncols=2)


def _logarithmic(ax: Axes, which: str) -> None:
    """A logarithmic axis with plain numbers, at 1, 2 and 5 where it is short."""
    ax.set(**{f"{which}scale": "log"})
    axis = {"x": ax.xaxis, "y": ax.yaxis}[which]
    low, high = ax.dataLim.get_points()[:, "xy".index(which)]
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
