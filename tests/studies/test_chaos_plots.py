"""The figures of chaos draw the numbers they are given; their looks are in `test_figures.py`."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

from causalprune_studies.ch02_chaos import figures

VALUES = np.array([[1e-8, 1e-8], [0.0, 2e-8], [4e-8, 3e-8]])  # (moments, seeds)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def lines(ax):
    """(x, y) of each line, in the order drawn."""
    return [line.get_xydata().T for line in ax.lines]


def test_distances_are_drawn_at_their_steps_and_zeros_are_left_out():
    ax = figures.plot_distances({"a": VALUES}, start=1e-8)
    (x, first), (_, second), (_, start) = lines(ax)
    assert x.tolist() == [0, 1, 2]
    assert np.isnan(first[1])
    assert first[2] == 4e-8
    assert second.tolist() == [1e-8, 2e-8, 3e-8]
    assert list(start) == [1e-8, 1e-8]
    assert ax.get_yscale() == "log"


def test_each_panel_of_rounding_has_its_own_curves_and_the_figure_one_legend():
    panels = {"left": {"twin": VALUES, "placebo": VALUES}, "right": {"twin": 2 * VALUES}}
    left, right = figures.plot_rounding(panels, start=1e-8)
    assert [len(ax.lines) for ax in (left, right)] == [5, 3]
    assert lines(right)[1][1].tolist() == [2e-8, 4e-8, 6e-8]
    assert [ax.get_legend() for ax in (left, right)] == [None, None]
    shown = left.figure.legends[0].get_texts()
    assert [text.get_text() for text in shown] == ["twin", "placebo"]


def test_a_running_exponent_begins_after_one_step_and_negative_values_leave_a_gap():
    ax = figures.plot_running_exponents({"a": np.array([[0.5], [-0.1], [0.2]])})
    ((x, y),) = lines(ax)
    assert x.tolist() == [1, 2, 3]
    assert np.isnan(y[1])
    assert y[2] == 0.2


def test_growth_is_sorted_and_ends_at_all_weights():
    ax = figures.plot_growth(np.array([[0.5, 2.0, 1.0, 4.0]]))
    (x, y), _ = lines(ax)
    assert y.tolist() == [0.5, 1.0, 2.0, 4.0]
    assert x.tolist() == [25, 50, 75, 100]


def test_the_bifurcation_shows_every_state_and_the_exponent():
    states = {"right": np.ones((7, 4)), "left": -np.ones((7, 4))}
    exponent = np.linspace(-1, 1, 7)
    top, bottom = figures.plot_bifurcation(np.linspace(0.5, 2, 7), states, exponent, marks={})
    dots = [line for line in top.lines if line.get_marker() == ","]
    assert [len(line.get_xdata()) for line in dots] == [28, 28]
    assert set(dots[1].get_ydata()) == {-1.0}
    assert bottom.lines[1].get_ydata().tolist() == exponent.tolist()


def test_the_edge_has_its_dashed_line_at_two():
    table = pd.DataFrame({"step": [0, 10], "lr": 0.5, "loss": [1.0, 0.5], "edge": [0.5, 1.9]})
    top, bottom = figures.plot_edge_of_stability(table)
    assert lines(top)[0][1].tolist() == [1.0, 0.5]
    assert [y.tolist() for _, y in lines(bottom)] == [[0.5, 1.9], [2.0, 2.0]]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"curves\['a'\] must have shape"):
        figures.plot_distances({"a": np.ones(3)}, start=1)
    with pytest.raises(ValueError, match=r"exponent must have shape \(2\)"):
        figures.plot_bifurcation(np.ones(2), {}, np.ones(3), marks={})
    with pytest.raises(ValueError, match="each must be one of"):
        figures.plot_edge_of_stability(pd.DataFrame({"step": [0], "lr": 0.5, "loss": 1.0}))


# The slider -----------------------------------------------------------------


def slider(**options):
    distance = np.random.default_rng(0).uniform(1e-8, 1, (101, 2, 3))  # (T+1, seeds, positions)
    distance[5, 0, 0] = 0.0
    given = {"labels": list("abc"), "titles": list("xyz"), "start": 1e-8, "every": 5, "first": 1}
    given |= options
    return distance, figures.slide_distances(distance, 2 * distance, **given)


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
    figure = figures.slide_distances(distance, distance, start=1e-8, every=10, **texts)
    assert len(figure.to_json()) < 1e6


@pytest.mark.parametrize("given", ["labels", "titles"])
def test_texts_must_fit_the_positions(given):
    with pytest.raises(ValueError, match=f"{given} must be 3, one per position; got 2"):
        slider(**{given: ["a", "b"]})
