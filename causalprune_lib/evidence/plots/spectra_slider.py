"""The interactive figure of chapter 10: a spectrum whose planted direction grows with a slider.

It is a plotly figure whose bars are all there from the start; the slider only shows and hides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.plots.style import BLACK, GREEN, SKY, VERMILLION


def slide_spectra(
    strengths: Sequence[float],
    eigenvalues: np.ndarray,
    *,
    law: tuple[np.ndarray, np.ndarray],
    theory: Sequence[float],
    titles: Sequence[str],
    bins: int = 40,
):
    """A plotly figure with a slider over the strength of a planted direction.

    Parameters
    ----------
    strengths : sequence of S numbers
        The positions of the slider.
    eigenvalues : array (S, M)
        The spectrum at each position.
    law : two arrays
        Where, and the density of the law without the direction.
    theory : sequence of S numbers
        Where the largest eigenvalue should be; NaN for nowhere in particular.
    titles : sequence of S str
        What stands above the plot.
    bins : int
        How many bars.
    """
    import plotly.graph_objects as go

    eigenvalues = np.asarray(eigenvalues, float)
    n = len(strengths)
    check_shape("eigenvalues", eigenvalues, (n, None))
    if len(titles) != n or len(theory) != n:
        raise ValueError(
            f"titles and theory must be {n}, one per position; got {len(titles)} and {len(theory)}."
        )
    edges = np.linspace(0, 1.03 * eigenvalues.max(), bins + 1)
    middle = _short((edges[1:] + edges[:-1]) / 2)
    figure = go.Figure()
    figure.add_scatter(
        x=_short(law[0]),
        y=_short(law[1]),
        mode="lines",
        line={"color": BLACK, "dash": "dash"},
        hoverinfo="skip",
    )
    top = 0.0
    for place, row in enumerate(eigenvalues):
        heights = np.histogram(row, edges, density=True)[0]
        top = max(top, heights.max(), np.max(law[1]))
        figure.add_bar(
            x=middle,
            y=_short(heights),
            width=float(edges[1]),
            marker={"color": SKY},
            visible=place == 0,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=_short(row),
            y=[0.0] * len(row),
            mode="markers",
            visible=place == 0,
            marker={"color": GREEN, "symbol": "line-ns-open", "size": 12},
            hovertemplate="eigenvalue %{x}<extra></extra>",
        )
        expected = theory[place]
        figure.add_scatter(
            x=[] if np.isnan(expected) else _short([expected, expected]),
            y=[] if np.isnan(expected) else _short([0, 0.9 * np.max(law[1])]),
            mode="lines",
            visible=place == 0,
            line={"color": VERMILLION, "dash": "dash"},
            hovertemplate="theory %{x}<extra></extra>",
        )
    steps = [
        {
            "method": "update",
            "label": f"{strength:.2g}",
            "args": [
                {"visible": [True] + [i // 3 == place for i in range(3 * n)]},
                {"title.text": title},
            ],
        }
        for place, (strength, title) in enumerate(zip(strengths, titles, strict=True))
    ]
    figure.update_layout(
        template="plotly_white",
        title={"text": titles[0], "font": {"size": 15}, "x": 0.02, "y": 0.98, "yanchor": "top"},
        font={"size": 13},
        height=430,
        margin={"l": 10, "r": 15, "t": 65, "b": 10},
        showlegend=False,
        sliders=[{"steps": steps, "currentvalue": {"prefix": "strength "}, "pad": {"t": 50}}],
    )
    figure.update_xaxes(title="Eigenvalue of X (variances of an entry)", range=[0, edges[-1]])
    figure.update_yaxes(title="Density", range=[-0.06 * top, 1.05 * top])
    return figure


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.3g}") for value in values]
