"""Loss landscapes: height lines, and the same surfaces as a plotly figure to be turned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.statistics import require_columns
from causalprune_lib.evidence.style import GREY, line_styles, percent, use_style

# ---- flatness: Figures of the chapter "Flat minima", but for its landscapes. Finished numbers in


TOP = "Top eigenvalue"


def plot_top_eigenvalues(
    summary: pd.DataFrame,
    *,
    panel: str = "space",
    titles: Mapping[str, str] | None = None,
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

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        for name, line in rows.groupby("method", sort=False):
            line = line.sort_values("rank")
            spread = [line["mean"] - line.low, line.high - line["mean"]]
            style = styles[name] | {"linewidth": 1.2}
            at = line["rank"] + shift[name]
            ax.errorbar(at, line["mean"], yerr=spread, capsize=2, label=str(name), **style)
        _logarithmic(ax, "y")
        ax.set_ylabel("Eigenvalue")
        ax.set_xticks(sorted(summary["rank"].unique()))

    styles = line_styles(methods)
    axes = _panels(summary, panel, titles, draw)
    axes[-1].set_xlabel("Rank of the eigenvalue")
    return axes


def plot_sharpness_on_the_way(
    curves: pd.DataFrame,
    *,
    panel: str = "dataset",
    titles: Mapping[str, str] | None = None,
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
    styles = line_styles(curves.method.unique())

    def draw(ax: Axes, rows: pd.DataFrame) -> None:
        seen = set()
        for (name, _), line in rows.groupby(["method", "seed"], sort=False):
            line = line.sort_values("step")
            style = styles[name] | {"linewidth": 1.2, "alpha": 0.75, "markevery": [len(line) - 1]}
            label = None if name in seen else str(name)
            ax.plot(line.loss, line.top_1, label=label, **style)
            seen.add(name)
        _logarithmic(ax, "x")
        _logarithmic(ax, "y")
        ax.set_ylabel(TOP)

    axes = _panels(curves, panel, titles, draw)
    axes[0].invert_xaxis()
    axes[-1].set_xlabel("Training loss (nats), falling to the right")
    return axes


def plot_flat_against_accurate(
    rows: pd.DataFrame, *, measures: Mapping[str, str], panel: str = "dataset"
) -> np.ndarray:
    """Test accuracy against sharpness, a point for every network, a row for each measure.

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
    styles, places = line_styles(rows.method.unique()), list(rows[panel].unique())
    with use_style():
        figure, axes = plt.subplots(
            len(measures),
            len(places),
            figsize=(6.4, 0.8 + 2.7 * len(measures)),
            squeeze=False,
            sharey="col",
            layout="constrained",
        )
        for row, (column, label) in zip(axes, measures.items(), strict=True):
            for ax, place in zip(row, places, strict=True):
                for name, points in rows[rows[panel] == place].groupby("method", sort=False):
                    style = styles[name] | {"linestyle": "none"}
                    ax.plot(points[column], points.accuracy, label=str(name), **style)
                if rows[column].min() > 0 and rows[column].max() > 10 * rows[column].min():
                    _logarithmic(ax, "x")
                ax.set_xlabel(label)
                ax.yaxis.set_major_formatter(percent())
            row[0].set_ylabel("Test accuracy (%)")
        if len(places) > 1:
            for ax, place in zip(axes[0], places, strict=True):
                ax.set_title(str(place))
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return axes


def _logarithmic(ax: Axes, which: str) -> None:
    """A logarithmic axis with plain numbers, at 1, 2 and 5 where it is short."""
    ax.set(**{f"{which}scale": "log"})
    axis = {"x": ax.xaxis, "y": ax.yaxis}[which]
    low, high = ax.dataLim.get_points()[:, "xy".index(which)]
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _panels(rows: pd.DataFrame, panel: str, titles: Mapping[str, str] | None, draw) -> np.ndarray:
    """One panel below the other, with one legend above them all."""
    names = list(rows[panel].unique())
    with use_style():
        figure, axes = plt.subplots(
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
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return axes[:, 0]


# ---- landscapes: Loss landscapes: height lines, and the same surfaces as a plotly figure to be t


HEIGHT = "log(1 + loss)"


def plot_landscapes(
    surfaces: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    columns: int = 2,
    label: str = HEIGHT,
) -> np.ndarray:
    """Contours of the loss around each network, all with the same levels.

    Parameters
    ----------
    surfaces : mapping of str to (alphas (A,), betas (B,), height (A, B))
        Title and surface; alpha goes up, beta to the right.

    Returns
    -------
    array of Axes, one for each surface
    """
    levels = MaxNLocator(12).tick_values(*_span(surfaces))
    n_rows = -(-len(surfaces) // columns)
    with use_style():
        figure, axes = plt.subplots(
            n_rows,
            columns,
            figsize=(6.4, 1.6 + 2.75 * n_rows),
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


def turn_landscape(
    surfaces: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], *, label: str = HEIGHT
):
    """A plotly figure to be turned with the mouse: one surface at a time, all on the same scale.

    Parameters
    ----------
    surfaces : mapping
        As for `plot_landscapes`. A button for each.
    """
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


def _span(surfaces: Mapping[str, Sequence]) -> tuple[float, float]:
    """The lowest and the highest finite height of all surfaces."""
    heights = np.concatenate([np.asarray(height).ravel() for _, _, height in surfaces.values()])
    heights = heights[np.isfinite(heights)]
    return float(heights.min()), float(heights.max())
