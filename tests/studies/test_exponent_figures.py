"""What the figures of the chapter "Measuring chaos" show: the numbers given, each by name."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

from causalprune_studies.ch03_exponents import figures
from causalprune_studies.ch03_exponents.study import ITSELF


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def table(**values):
    """All combinations of `values`, with means that differ and intervals around them."""
    frame = pd.DataFrame(itertools.product(*values.values()), columns=list(values))
    mean = 0.5 + np.arange(len(frame)) / 7
    return frame.assign(mean=mean, low=mean - 0.1, high=mean + 0.2)


CURVES = table(series=["logistic map", "white noise"], k=range(6))
LENGTHS = table(series=["logistic map", "Lorenz flow"], samples=[50, 100, 200])
KINDS = ["shuffled", ITSELF, "phase-randomised", "increments shuffled"]
SURROGATES = table(series=["white noise", "cancer weights"], kind=KINDS)
TRAINING = table(quantity=["Reading\n(nats per step)", "Twins\n(nats per step)"], step=range(20))


def drawn(ax):
    """Label -> (x, y) of every labelled line, error bars included."""
    found = {line.get_label(): line.get_xydata().T for line in ax.lines}
    bars = {b.get_label(): b.lines[0].get_xydata().T for b in ax.containers}
    return {name: xy for name, xy in (found | bars).items() if not name.startswith("_")}


def test_portraits_pair_each_sample_with_the_one_before():
    x = np.sin(np.arange(90.0))
    grid = figures.plot_portraits({"sine": x, "line": np.arange(70.0)})
    assert grid.shape == (2, 2)
    assert np.array_equal(grid[0, 0].lines[0].get_ydata(), x[:60])
    assert np.array_equal(grid[0, 1].lines[0].get_xydata(), np.stack([x[:-1], x[1:]], 1))
    assert [ax.get_title(loc="left") for ax in grid[:, 0]] == ["sine", "line"]


def test_a_known_exponent_is_a_line_of_that_slope_through_the_start():
    shuffled = CURVES.sample(frac=1, random_state=0)
    ax = figures.plot_divergence(shuffled, truths={"logistic map": 0.2}, start=1)
    for name, rows in CURVES.groupby("series"):
        assert np.array_equal(drawn(ax)[name], [rows.k, rows["mean"]])
    dotted = [line for line in ax.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    k, value = dotted[0].get_xydata().T
    curve = CURVES[CURVES.series == "logistic map"]["mean"].to_numpy()
    assert (k[0], value[0]) == (1, curve[1])
    assert np.allclose(np.diff(value), 0.2)
    assert value[-1] <= curve.max() + 0.3
    assert "known exponent" in drawn(ax)
    assert "known exponent" not in drawn(figures.plot_divergence(CURVES))


def test_lengths_stand_on_a_logarithmic_axis_with_a_formula_and_a_level():
    formula = pd.DataFrame({"series": "formula", "samples": [50, 200], "value": [1.0, 2.0]})
    ax = figures.plot_against_length(LENGTHS, formula=formula, level=0.7)
    for name, rows in LENGTHS.groupby("series"):
        assert np.array_equal(drawn(ax)[name], [rows.samples, rows["mean"]])
    low, high = ax.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((LENGTHS.low[0], LENGTHS.high[0]))
    assert np.array_equal(drawn(ax)["formula"], [[50, 200], [1, 2]])
    assert [text.get_text() for text in ax.get_legend().get_texts()][-1] == "formula"
    assert 0.7 in {y for line in ax.lines for y in line.get_ydata()}
    ax.figure.canvas.draw()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["50", "100", "200"]
    assert ax.get_yscale() == "linear"
    assert figures.plot_against_length(LENGTHS, scale="log").get_yscale() == "log"
    with pytest.raises(ValueError, match="scale must be one of"):
        figures.plot_against_length(LENGTHS, scale="logarithmic")


def test_the_series_itself_is_filled_and_its_surrogates_are_hollow():
    ax = figures.plot_surrogates(SURROGATES)
    marks = {bars.get_label(): bars.lines[0] for bars in ax.containers}
    assert next(iter(marks)) == ITSELF
    for kind, mark in marks.items():
        assert (mark.get_markerfacecolor() == "white") == (kind != ITSELF)
        rows = SURROGATES[SURROGATES.kind == kind]
        assert np.array_equal(mark.get_xdata(), rows["mean"])
        assert np.array_equal(np.round(mark.get_ydata()), [0, 1])  # on the line of its series
    assert len({mark.get_ydata()[0] for mark in marks.values()}) == len(KINDS)  # none hides another
    assert [label.get_text() for label in ax.get_yticklabels()] == ["white noise", "cancer weights"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first series on top


def test_quantities_have_an_axis_each_in_the_order_asked_for():
    first, second = TRAINING.quantity.unique()
    axes = figures.plot_through_training(TRAINING, quantities=[second, first])
    assert [ax.get_ylabel() for ax in axes] == [second, first]
    rows = TRAINING[TRAINING.quantity == second]
    assert np.array_equal(axes[0].lines[0].get_xydata().T, [rows.step, rows["mean"]])
    assert axes[0].get_xlim() == axes[1].get_xlim()
