"""Loss landscapes: height lines, and the same surfaces as a plotly figure to be turned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.plots.style import use_style

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
