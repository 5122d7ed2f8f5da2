"""The interactive figure of the chapter "The lasso that prunes": a path, and the fit at a penalty.

It is a plotly figure whose curves are all there from the start; the slider only shows and hides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causalprune_lib._validation import check_shape
from causalprune_lib.evidence.plots.lasso import COEFFICIENT, RATIO
from causalprune_lib.evidence.plots.style import BLUE, GREY, PALETTE, VERMILLION


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
