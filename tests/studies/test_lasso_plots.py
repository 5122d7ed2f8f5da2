"""Figures of the chapter "The lasso that prunes": what they draw is what they were given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from causalprune_studies.ch07_lasso import figures as plots
from causalprune_studies.ch07_lasso.figures import slide_path

RATIOS = np.array([1.0, 0.5, 0.1])
COEFS = np.array([[0.0, 0.0], [0.0, 1.0], [-0.5, 2.0]])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def departure():
    curves = {"fc1": np.array([1e-16, 1e-3]), "fc2": np.array([1e-17, 1.0])}
    return plots.plot_departure(np.array([1.0, 1e6]), curves, curves, lr=1e-3)


def soft():
    w, pulls = np.linspace(-3, 3, 61), np.array([-2.0, 0.0, 2.0])
    objectives = {f"pull {p:g}": 0.5 * (w - p) ** 2 + abs(w) for p in (0.5, 2.0)}
    return plots.plot_soft_threshold(w, objectives, pulls, np.array([-1.0, 0, 1]), threshold=1.0)


FIGURES = {
    "soft": soft,
    "gaps": lambda: plots.plot_gaps({"a": (np.array([1, 0.1]), np.array([0.5, 0.0]))}),
    "path": lambda: plots.plot_path(RATIOS, COEFS),
    "cumulative": lambda: plots.plot_cumulative([1.0, 3], [1.0, 2], {"w": [0.0, 1]}),
    "departure": departure,
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES.keys())
def test_axes_have_names_and_no_text_is_small(draw):
    axes = np.atleast_1d(draw())
    axes[0].figure.draw_without_rendering()
    assert axes[0].figure.get_size_inches()[0] == pytest.approx(6.4)
    assert axes[-1].get_xlabel()
    for ax in axes:
        assert ax.get_ylabel()
        legend = ax.get_legend()
        labels = [*ax.get_xticklabels(), *ax.get_yticklabels()]
        texts = [ax.xaxis.label, ax.yaxis.label, *labels, *(legend.get_texts() if legend else [])]
        assert min(text.get_fontsize() for text in texts if text.get_text()) >= 12


def test_every_objective_is_marked_at_its_lowest_point():
    top, bottom = soft()
    marks = [line.get_xydata()[0] for line in top.lines if len(line.get_xdata()) == 1]
    assert np.allclose([mark[0] for mark in marks], [0.0, 1.0])
    assert bottom.lines[1].get_ydata().tolist() == [-1, 0, 1]
    assert [line.get_xdata()[0] for line in bottom.lines[2:]] == [-1.0, 1.0]


def test_gaps_start_at_sweep_zero_and_leave_zeros_out():
    ax = FIGURES["gaps"]()
    gap, distance = ax.lines
    assert gap.get_xdata().tolist() == [0, 1]
    assert distance.get_ydata()[0] == 0.5
    assert np.isnan(distance.get_ydata()[1])


def test_a_path_runs_from_alpha_max_to_the_right():
    ax = plots.plot_path(RATIOS, COEFS)
    assert ax.get_xlim() == (1.0, 0.1)
    assert ax.lines[1].get_ydata().tolist() == [0, 1, 2]


def test_the_second_axis_of_a_departure_is_the_learning_rate():
    top, _ = departure()
    (rate,) = top.child_axes
    top.figure.draw_without_rendering()
    low, high = top.get_xlim()
    assert rate.get_xlim() == pytest.approx((1e-3 * low**0.5, 1e-3 * high**0.5))


def test_each_position_of_the_slider_shows_its_fit_and_its_penalty():
    fitted = np.array([[0.0, 0], [1, 2], [3, 4]])
    options = {"names": ["a", "b"], "titles": ["x", "y", "z"], "first": 1}
    figure = slide_path(RATIOS, COEFS, np.array([3.0, 4]), fitted, **options)
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
        slide_path(RATIOS, COEFS, np.ones(2), np.ones((3, 2)), names="ab", titles="x")
