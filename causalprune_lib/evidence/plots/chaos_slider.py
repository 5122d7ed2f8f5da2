"""The interactive figure of the chapter "Is SGD chaotic?": twins at every learning rate.

It is a plotly figure whose curves are all there from the start; the slider only shows and hides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.plots.chaos import DISTANCE, STEPS
from causalprune_lib.evidence.plots.style import BLUE, GREY, VERMILLION


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
