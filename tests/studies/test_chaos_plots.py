"""The figures of chaos: they draw the numbers they are given, with units, for every reader."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

from causalprune_studies.ch02_chaos import figures as chaos_plots
from causalprune_studies.ch02_chaos import figures as map_plots
from causalprune_studies.ch02_chaos.figures import slide_distances


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


RISING = np.geomspace(1e-8, 1e-2, 30)[:, None] * np.array([1.0, 2.0])  # (moments, seeds)


def edge_table():
    steps = [0, 10, 20]
    frames = [
        pd.DataFrame({"step": steps, "lr": lr, "loss": [1.0, 0.5, 0.1], "edge": [lr, 1.0, 2.0]})
        for lr in (0.1, 0.5)
    ]
    return pd.concat(frames)


def summary():
    rows = [(kind, lr) for kind in ("twin", "tangent") for lr in (0.5, 0.1, 1.0)]
    frame = pd.DataFrame(rows, columns=["kind", "lr"])
    mean = 0.01 * np.arange(1, 7)
    return frame.assign(mean=mean, low=mean - 0.002, high=mean + 0.001)


def bifurcation(**options):
    rates = np.linspace(0.5, 2, 7)
    states = {"right": np.ones((7, 4)), "left": -np.ones((7, 4))}
    return map_plots.plot_bifurcation(rates, states, np.linspace(-1, 1, 7), **options)


FIGURES = {
    "orbits": lambda: map_plots.plot_orbits({"a": [1, 0.5], "b": [1, -1]}, target=0.0),
    "bifurcation": lambda: bifurcation(marks={"edge": 1.0}),
    "edge": lambda: map_plots.plot_edge_of_stability(edge_table()),
    "distances": lambda: chaos_plots.plot_distances({"a": RISING, "b": RISING[::-1]}, start=1e-8),
    "exponents": lambda: chaos_plots.plot_exponents(summary(), hue="kind", edge=0.4),
    "running": lambda: chaos_plots.plot_running_exponents({"a": RISING, "b": 2 * RISING}),
    "growth": lambda: chaos_plots.plot_growth(np.array([[0.5, 2.0, 1.0], [3.0, 1.0, 9.0]])),
}
each_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES.keys())


def lines(ax):
    """Label -> list of (x, y), lines of one name together, in the order drawn."""
    found, name = {}, None
    for line in ax.lines:
        if line.get_label() != "_" and not line.get_label().startswith("_child"):
            name = line.get_label()
        found.setdefault(name, []).append(line.get_xydata().T)
    return found


@each_figure
def test_every_axis_is_labelled_and_no_text_is_small(draw):
    axes = np.atleast_1d(draw())
    figure = axes[0].figure
    figure.draw_without_rendering()
    assert axes[-1].get_xlabel()
    for ax in axes:
        assert ax.get_ylabel()
        legend = ax.get_legend()
        texts = [ax.xaxis.label, ax.yaxis.label, *ax.texts, *(legend.get_texts() if legend else [])]
        assert min(text.get_fontsize() for text in texts if text.get_text()) >= 12
        assert legend is None or not legend.get_frame_on()
    assert figure.get_size_inches()[0] == pytest.approx(6.4)


@each_figure
def test_the_style_of_the_caller_is_left_alone(draw):
    before = dict(mpl.rcParams)
    draw()
    assert dict(mpl.rcParams) == before


def test_lines_of_two_names_differ_in_more_than_colour():
    ax = chaos_plots.plot_distances({"a": RISING, "b": RISING})
    looks = {(line.get_marker(), line.get_linestyle()) for line in ax.lines}
    assert len(looks) == 2


def test_distances_are_drawn_at_their_steps_and_zeros_are_left_out():
    values = np.array([[1e-8, 1e-8], [0.0, 2e-8], [4e-8, 3e-8]])
    ax = chaos_plots.plot_distances({"a": values}, every=10)
    (x, first), (_, second) = lines(ax)["a"]
    assert x.tolist() == [0, 10, 20]
    assert np.isnan(first[1])
    assert first[2] == 4e-8
    assert second.tolist() == [1e-8, 2e-8, 3e-8]
    assert ax.get_yscale() == "log"


def test_exponents_are_drawn_in_the_order_of_the_rates_with_their_bands():
    ax = chaos_plots.plot_exponents(summary(), hue="kind")
    x, y = lines(ax)["twin"][0]
    assert x.tolist() == [0.1, 0.5, 1.0]
    assert y.tolist() == [0.02, 0.01, 0.03]
    band = ax.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == pytest.approx((0.008, 0.031))


def test_a_running_exponent_begins_after_one_step_and_negative_values_leave_a_gap():
    ax = chaos_plots.plot_running_exponents({"a": np.array([[0.5], [-0.1], [0.2]])})
    x, y = lines(ax)["a"][0]
    assert x.tolist() == [1, 2, 3]
    assert np.isnan(y[1])
    assert y[2] == 0.2


def test_growth_is_sorted_and_ends_at_all_weights():
    ax = chaos_plots.plot_growth(np.array([[0.5, 2.0, 1.0, 4.0]]))
    x, y = lines(ax)["network 0"][0]
    assert y.tolist() == [0.5, 1.0, 2.0, 4.0]
    assert x.tolist() == [25, 50, 75, 100]


def test_the_bifurcation_shows_every_state_and_the_exponent():
    top, bottom = bifurcation()
    dots = [line for line in top.lines if line.get_marker() == ","]
    assert [len(line.get_xdata()) for line in dots] == [28, 28]
    assert set(dots[1].get_ydata()) == {-1.0}
    assert bottom.lines[1].get_ydata().tolist() == np.linspace(-1, 1, 7).tolist()


def test_the_edge_has_its_dashed_line_at_two():
    _, bottom = map_plots.plot_edge_of_stability(edge_table())
    assert [2.0, 2.0] in [list(line.get_ydata()) for line in bottom.lines]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"curves\['a'\] must have shape"):
        chaos_plots.plot_distances({"a": np.ones(3)})
    with pytest.raises(ValueError, match=r"exponent must have shape \(2\)"):
        map_plots.plot_bifurcation(np.ones(2), {}, np.ones(3))
    with pytest.raises(ValueError, match="each must be one of"):
        map_plots.plot_edge_of_stability(edge_table().drop(columns="edge"))


# The slider -----------------------------------------------------------------


def slider(**options):
    distance = np.random.default_rng(0).uniform(1e-8, 1, (101, 2, 3))  # (T+1, seeds, positions)
    distance[5, 0, 0] = 0.0
    given = {"labels": list("abc"), "titles": list("xyz"), "start": 1e-8, "every": 5, "first": 1}
    given |= options
    return distance, slide_distances(distance, 2 * distance, **given)


def test_each_position_shows_the_curves_of_one_rate_and_no_others():
    distance, figure = slider()
    steps = figure.layout.sliders[0].steps
    assert [step.label for step in steps] == ["a", "b", "c"]
    for place, step in enumerate(steps):
        shown = [t for t, on in zip(figure.data, step.args[0]["visible"], strict=True) if on]
        assert len(shown) == 4  # two seeds, twin and tangent vector
        np.testing.assert_allclose(shown[1].y, distance[::5, 1, place], rtol=5e-3)
        np.testing.assert_allclose(shown[3].y, 2 * distance[::5, 1, place], rtol=5e-3)
        assert step.args[1]["title.text"] == "xyz"[place]


def test_it_opens_at_the_first_position_that_was_asked_for():
    _, figure = slider()
    assert [trace.visible for trace in figure.data] == figure.layout.sliders[0].steps[1].args[0][
        "visible"
    ]
    assert figure.layout.title.text == "y"
    assert figure.layout.sliders[0].active == 1


def test_a_distance_of_zero_is_a_gap_on_the_logarithmic_axis():
    _, figure = slider()
    assert np.isnan(figure.data[0].y[1])
    assert figure.layout.yaxis.type == "log"


def test_a_slider_of_the_size_of_the_book_is_below_one_megabyte():
    distance = np.random.default_rng(0).uniform(1e-8, 1, (1001, 5, 12))
    texts = {"labels": list("abcdefghijkl"), "titles": ["a long title"] * 12}
    figure = slide_distances(distance, distance, start=1e-8, every=10, **texts)
    assert len(figure.to_json()) < 1e6


@pytest.mark.parametrize("given", ["labels", "titles"])
def test_texts_must_fit_the_positions(given):
    with pytest.raises(ValueError, match=f"{given} must be 3, one per position; got 2"):
        slider(**{given: ["a", "b"]})
