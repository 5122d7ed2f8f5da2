"""Figures of the chapter "Flat minima": what they draw is what they were given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch09_flat_minima import figures as plots
from causalprune_studies.ch09_flat_minima.figures import plot_landscapes, turn_landscape

AXIS = np.linspace(-1, 1, 5)
BOWL = AXIS[:, None] ** 2 + 2 * AXIS[None] ** 2
SURFACES = {name: (AXIS, AXIS, k * BOWL) for k, name in enumerate(("dense", "causal", "other"), 1)}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def eigenvalues():
    rows = [(p, m, r, 10.0 / r, 8 / r, 12 / r) for p in "ab" for m in ("dense", "causal")
            for r in (1, 2, 3)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["space", "method", "rank", "mean", "low", "high"])
    return plots.plot_top_eigenvalues(table, titles={"a": "kept"})


def on_the_way():
    rows = [("d", m, s, t, 2.0**-t, 5 + t) for m in ("dense", "causal") for s in (0, 1)
            for t in (2, 0, 1)]  # fmt: skip
    columns = ["dataset", "method", "seed", "step", "loss", "top_1"]
    return plots.plot_sharpness_on_the_way(pd.DataFrame(rows, columns=columns))


def accurate():
    rows = pd.DataFrame({
        "dataset": ["d"] * 4, "method": ["dense", "causal"] * 2,
        "accuracy": [0.9, 0.8, 0.85, 0.7], "top": [0.1, 1, 10, 100.0], "rise": [1, 2, 3, 4.0],
    })  # fmt: skip
    return plots.plot_flat_against_accurate(rows, measures={"top": "Top", "rise": "Rise"})


def test_two_minima_are_marked_and_walked_out_of():
    a, b, walked = np.linspace(0.1, 5, 9), np.linspace(-0.2, 2, 8), np.linspace(-1, 1, 5)
    minima = {"one": (1, 1), "other": (4, 0.25)}
    walks = {"one": walked**2, "other": 3 * walked**2}
    loss = np.square(np.multiply.outer(b, a) - 1)
    height, across = plots.plot_two_minima(a, b, loss, minima, walked, walks)
    valley, *marks = height.lines
    np.testing.assert_allclose(np.multiply(*valley.get_data()), 1)
    assert [tuple(map(float, mark.get_xydata()[0])) for mark in marks] == [(1, 1), (4, 0.25)]
    for line, walk in zip(across.lines, walks.values(), strict=True):
        assert line.get_ydata().tolist() == walk.tolist()


def test_errors_too_small_for_the_axis_are_drawn_at_its_end():
    ax = plots.plot_estimates({"one": [0.1, 0.0], "other": [0.5]})
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[1, 0.1], [2, 1e-16]], [[1, 0.5]]]


def test_the_first_density_is_broad():
    ax = plots.plot_densities(AXIS, {"exact": AXIS**2 + 1, "estimate": AXIS**2 + 2})
    exact, estimate = ax.lines
    assert exact.get_linewidth() > estimate.get_linewidth()
    assert estimate.get_ydata().tolist() == (AXIS**2 + 2).tolist()


def test_eigenvalues_stand_beside_their_rank():
    first, second = eigenvalues()
    assert first.get_title(loc="left") == "kept"
    assert second.get_title(loc="left") == "b"
    dense, causal = (c.lines[0].get_xydata() for c in first.containers)
    assert dense[:, 1].tolist() == pytest.approx([10, 5, 10 / 3])
    assert np.abs(dense[:, 0] - [1, 2, 3]).max() < 0.5
    assert (dense[:, 0] < causal[:, 0]).all()


def test_time_goes_to_the_right_and_ends_at_the_marker():
    (ax,) = on_the_way()
    assert len(ax.lines) == 4
    for line in ax.lines:
        assert line.get_xdata().tolist() == [1, 0.5, 0.25]
        assert line.get_markevery() == [2]
    left, right = ax.get_xlim()
    assert left > right
    labels = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert labels == ["dense", "causal"]


def test_an_axis_is_logarithmic_where_its_values_ask_for_it():
    wide, narrow = accurate()[:, 0]
    assert (wide.get_xscale(), narrow.get_xscale()) == ("log", "linear")


def test_all_landscapes_have_the_same_colours():
    axes = plot_landscapes(SURFACES)
    assert [ax.get_title() for ax in axes] == list(SURFACES)
    limits = {ax.collections[0].get_clim() for ax in axes}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low <= 0
    assert high >= 9
    with pytest.raises(ValueError, match="height"):
        plot_landscapes({"a": (AXIS, AXIS[:-1], BOWL)})


def test_the_surface_to_turn_shows_one_network_at_a_time():
    figure = turn_landscape(SURFACES)
    assert [trace.visible for trace in figure.data] == [True, False, False]
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == list(SURFACES)
    for place, button in enumerate(buttons):
        assert button.args[0]["visible"] == [i == place for i in range(3)]
    for trace, (_, _, height) in zip(figure.data, SURFACES.values(), strict=True):
        np.testing.assert_allclose(np.array(trace.z, dtype=float), height, rtol=5e-3)
    assert tuple(figure.layout.scene.zaxis.range) == (0, 9)
