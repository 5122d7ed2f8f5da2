"""Figures of chapter 7: what they draw is what they were given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch07_lasso import figures as plots

RATIOS = np.array([1.0, 0.5, 0.1])
COEFS = np.array([[0.0, 0.0], [0.0, 1.0], [-0.5, 2.0]])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_every_objective_is_marked_at_its_lowest_point():
    w, pulls = np.linspace(-3, 3, 61), np.array([-2.0, 0.0, 2.0])
    objectives = {f"pull {p:g}": 0.5 * (w - p) ** 2 + abs(w) for p in (0.5, 2.0)}
    least = np.array([-1.0, 0, 1])
    top, bottom = plots.plot_soft_threshold(w, objectives, pulls, least, threshold=1.0)
    marks = [line.get_xdata()[line.get_markevery()[0]] for line in top.lines[:2]]
    assert np.allclose(marks, [0.0, 1.0])
    assert bottom.lines[1].get_ydata().tolist() == [-1, 0, 1]
    assert [line.get_xdata()[0] for line in bottom.lines[2:]] == [-1.0, 1.0]


def test_gaps_start_at_sweep_zero_and_leave_zeros_out():
    table = pd.DataFrame({"sweep": [0, 1], "gap": [1.0, 0.1], "distance": [0.5, 0.0]})
    gap, distance = plots.plot_gaps(table.assign(penalty="0.1")).lines
    assert (gap.get_linestyle(), distance.get_linestyle()) == ("-", "--")
    assert gap.get_xdata().tolist() == [0, 1]
    assert distance.get_ydata()[0] == 0.5
    assert np.isnan(distance.get_ydata()[1])


def test_a_path_runs_from_alpha_max_to_the_right():
    ax = plots.plot_path(RATIOS, COEFS)
    assert ax.get_xlim() == (1.0, 0.1)
    assert ax.lines[1].get_ydata().tolist() == [0, 1, 2]


def test_the_second_axis_of_a_departure_is_the_learning_rate():
    table = pd.DataFrame({"layer": "fc1", "factor": [1.0, 1e6]})
    table = table.assign(largest_prediction=[1e-16, 1e-3], different=[0.0, 0.5])
    top, bottom = plots.plot_departure(table, lr=1e-3)
    (rate,) = top.child_axes
    top.figure.draw_without_rendering()
    low, high = top.get_xlim()
    assert rate.get_xlim() == pytest.approx((1e-3 * low**0.5, 1e-3 * high**0.5))
    assert bottom.lines[0].get_ydata().tolist() == [0.0, 0.5]


def test_each_position_of_the_slider_shows_its_fit_and_its_penalty():
    fitted = np.array([[0.0, 0], [1, 2], [3, 4]])
    options = {"names": ["a", "b"], "titles": ["x", "y", "z"], "first": 1}
    figure = plots.slide_path(RATIOS, COEFS, np.array([3.0, 4]), fitted, **options)
    steps = figure.layout.sliders[0].steps
    for place, step in enumerate(steps):
        shown = [t for t, on in zip(figure.data, step.args[0]["visible"], strict=True) if on]
        assert len(shown) == 5  # two paths, the measured changes, the mark, the fit
        assert list(shown[3].x) == [RATIOS[place]] * 2
        assert list(shown[4].y) == fitted[place].tolist()
        assert step.args[1]["title.text"] == "xyz"[place]
    assert figure.layout.title.text == "y"
    now = [trace.visible is None or trace.visible for trace in figure.data]
    assert now == list(steps[1].args[0]["visible"])


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="coefs"):
        plots.plot_path(RATIOS, COEFS[:2])
    with pytest.raises(ValueError, match="titles must be 3"):
        plots.slide_path(RATIOS, COEFS, np.ones(2), np.ones((3, 2)), names="ab", titles="x")
