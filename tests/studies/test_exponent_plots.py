"""The figures of exponents: they draw the numbers they are given, and nothing is cut off."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

from causalprune_studies.ch03_exponents import figures as plots


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def table(*columns, **values):
    """All combinations of `values`, with means that differ and intervals around them."""
    frame = pd.DataFrame(itertools.product(*values.values()), columns=list(values))
    mean = 0.5 + np.arange(len(frame)) / 7
    return frame.assign(mean=mean, low=mean - 0.1, high=mean + 0.2)


CURVES = table(series=["logistic map", "white noise"], k=range(6))
LENGTHS = table(series=["logistic map", "Lorenz flow"], samples=[50, 100, 200])
KINDS = ["shuffled", "the series itself", "phase-randomised", "increments shuffled"]
SURROGATES = table(series=["white noise", "breast cancer weights"], kind=KINDS)
TRAINING = table(quantity=["Reading\n(nats per step)", "Twins\n(nats per step)"], step=range(20))
FORMULA = pd.DataFrame({"series": "formula", "samples": [50, 200], "value": [1.0, 2.0]})

SINGLE = {
    "divergence": lambda **o: plots.plot_divergence(CURVES, **o),
    "length": lambda **o: plots.plot_against_length(LENGTHS, formula=FORMULA, **o),
    "length, log": lambda **o: plots.plot_against_length(LENGTHS, scale="log", **o),
    "surrogates": lambda **o: plots.plot_surrogates(SURROGATES, **o),
}
each_single = pytest.mark.parametrize("draw", SINGLE.values(), ids=SINGLE.keys())
WHOLE = {
    "portraits": lambda: plots.plot_portraits({"one": np.arange(90.0), "two": np.ones(90)}).flat,
    "training": lambda: plots.plot_through_training(TRAINING, quantities=TRAINING.quantity[::20]),
    **{name: lambda draw=draw: [draw()] for name, draw in SINGLE.items()},
}
each_figure = pytest.mark.parametrize("draw", WHOLE.values(), ids=WHOLE.keys())


def lines(ax):
    """Label -> (x, y) of every labelled line, error bars included."""
    found = {line.get_label(): line.get_xydata().T for line in ax.lines}
    bars = {b.get_label(): b.lines[0].get_xydata().T for b in ax.containers}
    return {name: xy for name, xy in (found | bars).items() if not name.startswith("_")}


def shown(ax):
    """Every text that can be seen; ticks beyond the ends of an axis cannot."""
    texts = [ax.title, ax.xaxis.label, ax.yaxis.label]
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = (t for t in axis.get_major_ticks() if low <= t.get_loc() <= high)
        texts += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    texts += ax.get_legend().get_texts() if ax.get_legend() else []
    return [text for text in texts if text.get_text()]


@each_figure
def test_legible_on_a_phone_and_nothing_is_cut_off(draw):
    axes = list(draw())
    figure = axes[0].figure
    figure.canvas.draw()
    assert figure.get_size_inches()[0] <= 6.5
    box = figure.bbox
    for text in (text for ax in axes for text in shown(ax)):
        assert text.get_fontsize() >= 11
        extent = text.get_window_extent()
        assert box.x0 - 1 <= extent.x0 < extent.x1 <= box.x1 + 1, text
        assert box.y0 - 1 <= extent.y0 < extent.y1 <= box.y1 + 1, text


@each_single
def test_a_given_axes_is_drawn_on_and_no_style_is_left_behind(draw):
    figure, ax = plt.subplots(figsize=(5, 3))
    before = dict(mpl.rcParams)
    assert draw(ax=ax) is ax
    assert tuple(figure.get_size_inches()) == (5, 3)
    draw()
    assert dict(mpl.rcParams) == before
    assert "nats" in ax.get_xlabel() + ax.get_ylabel()


def test_portraits_pair_each_sample_with_the_one_a_lag_before():
    x = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
    grid = plots.plot_portraits({"pi": x}, lag=2, shown=4)
    assert grid.shape == (1, 2)
    assert np.array_equal(grid[0, 0].lines[0].get_ydata(), x[:4])
    assert np.array_equal(grid[0, 1].lines[0].get_xydata(), [[3, 4], [1, 1], [4, 5], [1, 9]])
    assert grid[0, 1].get_xlabel() == "$x_{t-2}$"
    with pytest.raises(ValueError, match="at least one series; got none"):
        plots.plot_portraits({})


def test_curves_are_the_means_in_order_of_k_with_their_bands():
    ax = plots.plot_divergence(CURVES.sample(frac=1, random_state=0))
    for name, rows in CURVES.groupby("series"):
        assert np.array_equal(lines(ax)[name], [rows.k, rows["mean"]])
    heights = {y for band in ax.collections for y in band.get_paths()[0].vertices[:, 1]}
    assert heights == {*CURVES.low, *CURVES.high}


def test_a_known_exponent_is_a_line_of_that_slope_through_the_start():
    ax = plots.plot_divergence(CURVES, truths={"logistic map": 0.2}, start=1)
    dotted = next(
        line for line in ax.lines if line.get_linestyle() == ":" and len(line.get_xdata())
    )
    k, value = dotted.get_xydata().T
    curve = CURVES[CURVES.series == "logistic map"]["mean"].to_numpy()
    assert k[0] == 1
    assert value[0] == curve[1]
    assert np.allclose(np.diff(value), 0.2)
    assert value[-1] <= curve.max() + 0.3
    assert "known exponent" in lines(ax)
    assert "known exponent" not in lines(plots.plot_divergence(CURVES))


def test_lengths_are_drawn_with_bars_a_formula_and_a_level():
    ax = plots.plot_against_length(LENGTHS, formula=FORMULA, level=0.7)
    for name, rows in LENGTHS.groupby("series"):
        assert np.array_equal(lines(ax)[name], [rows.samples, rows["mean"]])
    low, high = ax.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((LENGTHS.low[0], LENGTHS.high[0]))
    assert np.array_equal(lines(ax)["formula"], [[50, 200], [1, 2]])
    assert [text.get_text() for text in ax.get_legend().get_texts()][-1] == "formula"
    assert 0.7 in {y for line in ax.lines for y in line.get_ydata()}
    ax.figure.canvas.draw()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["50", "100", "200"]
    assert ax.get_yscale() == "linear"
    assert plots.plot_against_length(LENGTHS, scale="log").get_yscale() == "log"


def test_an_interval_that_is_not_known_is_no_bar():
    ax = plots.plot_against_length(LENGTHS.assign(low=np.nan, high=np.nan))
    segment = ax.containers[0].lines[2][0].get_segments()[0]
    assert segment[0, 1] == segment[1, 1] == LENGTHS["mean"][0]


def test_the_series_itself_is_filled_and_its_surrogates_are_hollow():
    ax = plots.plot_surrogates(SURROGATES)
    marks = {bars.get_label(): bars.lines[0] for bars in ax.containers}
    assert next(iter(marks)) == "the series itself"
    for kind, mark in marks.items():
        hollow = mark.get_markerfacecolor() == "white"
        assert hollow == (kind != "the series itself")
        rows = SURROGATES[SURROGATES.kind == kind]
        assert np.array_equal(mark.get_xdata(), rows["mean"])
        assert np.array_equal(np.round(mark.get_ydata()), [0, 1])  # on the line of its series
    assert len({mark.get_ydata()[0] for mark in marks.values()}) == len(KINDS)  # none hides another
    assert [label.get_text() for label in ax.get_yticklabels()] == list(SURROGATES.series.unique())
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first series on top


def test_quantities_have_an_axis_each_in_the_order_asked_for():
    second, first = TRAINING.quantity.unique()[::-1]
    axes = plots.plot_through_training(TRAINING, quantities=[second, first])
    assert [ax.get_ylabel() for ax in axes] == [second, first]
    rows = TRAINING[TRAINING.quantity == second]
    assert np.array_equal(axes[0].lines[0].get_xydata().T, [rows.step, rows["mean"]])
    assert axes[0].get_xlim() == axes[1].get_xlim()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="Did you mean"):
        plots.plot_divergence(CURVES.rename(columns={"series": "serie"}))
    with pytest.raises(ValueError, match="scale must be one of"):
        plots.plot_against_length(LENGTHS, scale="logarithmic")
    with pytest.raises(ValueError, match="original must be one of"):
        plots.plot_surrogates(SURROGATES, original="itself")
    with pytest.raises(ValueError, match="quantities: each must be one of"):
        plots.plot_through_training(TRAINING, quantities=["loss"])
    with pytest.raises(ValueError, match="lag must be"):
        plots.plot_portraits({"one": np.arange(9.0)}, lag=0)
