"""What the shared shapes and the figures of chapter 1 draw is what they were given."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

from causalprune_studies.ch01_pruning import figures as plots
from causalprune_studies.figures import plot_bars, plot_dots, plot_lines

LABELS = {"xlabel": "Weights pruned (fraction)", "ylabel": "Accuracy (fraction)"}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def summary():
    rows = itertools.product(["magnitude", "random"], [0.5, 0.9, 0.99])
    frame = pd.DataFrame(rows, columns=["method", "amount"])
    mean = np.array([0.97, 0.96, 0.9, 0.95, 0.8, 0.5])
    return frame.assign(mean=mean, low=mean - 0.02, high=mean + 0.01)


def counts():
    frame = pd.DataFrame(itertools.product(["a", "b"], [0.5, 0.9]), columns=["layer", "amount"])
    return frame.assign(density=[0.5, 0.2, 0.4, 0.05])


def latencies(names=("dense", 0.5, 0.9)):
    ratio = np.array([1.0, 3.0, 0.8])
    return pd.DataFrame(
        {"model": names, "ratio": ratio, "ratio_q25": 0.9 * ratio, "ratio_q75": 1.3 * ratio}
    )


def data(ax):
    """Label -> (x, y) of every labelled line, error bars included."""
    found = {line.get_label(): line.get_xydata().T for line in ax.lines}
    for bars in ax.containers:
        if hasattr(bars, "lines"):
            found[bars.get_label()] = bars.lines[0].get_xydata().T
    return found


@pytest.mark.parametrize("interval", ["band", "bars", "none"])
def test_lines_are_the_numbers_given_in_any_order(interval):
    table = summary().sample(frac=1, random_state=0)
    ax = plot_lines(table, x="amount", hue="method", interval=interval, **LABELS)
    for name, rows in summary().groupby("method"):
        assert np.array_equal(data(ax)[name], [rows.amount, rows["mean"]])
    rows = table[table.method == table.method.iloc[0]]
    if interval == "band":
        heights = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert set(heights) == {*rows.low, *rows.high}
    if interval == "bars":
        segments = ax.containers[0].lines[2][0].get_segments()
        ends = rows.sort_values("amount")[["low", "high"]].to_numpy()
        np.testing.assert_allclose([segment[:, 1] for segment in segments], ends)


def test_an_interval_that_is_not_known_is_no_bar():
    table = summary().assign(low=np.nan, high=np.nan)
    ax = plot_lines(table, x="amount", hue="method", interval="bars", **LABELS)
    segment = ax.containers[0].lines[2][0].get_segments()[0]
    assert segment[0, 1] == segment[1, 1] == table["mean"][0]


def test_a_line_for_each_seed_has_the_look_and_the_one_label_of_its_hue():
    table = pd.concat([summary().assign(seed=0), summary().assign(seed=1)])
    ax = plot_lines(table, x="amount", hue="method", each="seed", interval="none", **LABELS)
    assert [line.get_label() for line in ax.lines] == ["magnitude", "_", "random", "_"]
    assert ax.lines[0].get_color() == ax.lines[1].get_color() != ax.lines[2].get_color()


def test_dots_stand_on_the_line_of_their_name_apart_by_hue_and_hollow_where_told():
    table = summary()
    ax = plot_dots(table, y="amount", hue="method", xlabel="x (%)", hollow=["random"], reference=0)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0.5", "0.9", "0.99"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first name on top
    marks = {bars.get_label(): bars.lines[0] for bars in ax.containers}
    for name, rows in table.groupby("method"):
        assert np.array_equal(marks[name].get_xdata(), rows["mean"])
        assert np.array_equal(np.round(marks[name].get_ydata()), [0, 1, 2])
        assert (marks[name].get_markerfacecolor() == "white") == (name == "random")
    assert marks["magnitude"].get_ydata()[0] < marks["random"].get_ydata()[0]
    assert [0, 0] in [list(line.get_xdata()) for line in ax.lines]
    alone = plot_dots(table[:3], y="amount", xlabel="x (%)", hollow=[0.9])
    assert alone.get_legend() is None
    faces = [bars.lines[0].get_markerfacecolor() for bars in alone.containers]
    assert faces[1:] == ["white"]


def test_bars_have_the_lengths_given_and_what_is_missing_has_none():
    table = pd.DataFrame({"global": [0.2, 0.05], "other": [0.5, np.nan]}, index=["a", "b"])
    ax = plot_bars(table, xlabel="Weights kept (fraction)")
    assert [bar.get_width() for bar in ax.containers[0]] == [0.2, 0.05]
    assert ax.containers[1][0].get_width() == 0.5
    assert np.isnan(ax.containers[1][1].get_width())
    at = [bar.get_y() for bars in ax.containers for bar in bars]
    assert at[0] < at[2] < at[1] < at[3]  # groups from the top, series in each from the top


def test_accuracy_runs_from_all_weights_to_few():
    ax = plots.plot_accuracy_vs_sparsity(summary(), hue="method")
    assert np.allclose(np.sort(data(ax)["random"][0]), [0.01, 0.1, 0.5])
    assert ax.get_xlim()[0] > ax.get_xlim()[1]
    assert ax.get_xscale() == "log"
    ax.figure.draw_without_rendering()
    assert {"10", "50"} <= {tick.get_text() for tick in ax.get_xticklabels()}  # percent


def test_the_reference_is_one_line_across_with_its_name():
    one = pd.DataFrame([{"method": "dense", "mean": 0.98, "low": 0.97, "high": 0.99}])
    ax = plots.plot_accuracy_vs_sparsity(summary(), hue="method", reference=one)
    assert set(data(ax)["dense"][1]) == {0.98}
    with pytest.raises(ValueError, match="reference must be one row; got 2"):
        plots.plot_accuracy_vs_sparsity(summary(), hue="method", reference=pd.concat([one, one]))


def test_an_empty_layer_is_drawn_and_a_logarithm_does_not_lose_it():
    table = counts()
    table.loc[1, "density"] = 0.0
    ax = plots.plot_layer_density(table)
    assert np.array_equal(data(ax)["a"], [[0.5, 0.9], [0.5, 0.0]])
    assert np.allclose(data(ax)["equal fractions"], [[0.5, 0.9], [0.5, 0.1]])
    assert np.isfinite(ax.transData.transform([(0.9, 0.0)])).all()
    assert ax.get_ylim()[0] == 0
    assert plots.plot_layer_density(counts()).get_yscale() == "log"


def test_sizes_are_shares_of_their_layer_and_zeros_have_no_place():
    sizes = {"fc1": np.array([0.0, 1.0, 1.0, 2.0]), "fc2": np.array([1.0, 4.0])}
    ax = plots.plot_size_distribution(sizes, threshold=1.5)
    heights = [patch.get_data().values for patch in ax.patches]
    assert [round(float(h.sum()), 9) for h in heights] == [1, 1]
    assert heights[0].max() == pytest.approx(2 / 3)
    assert set(data(ax)["threshold"][0]) == {1.5}


def test_latencies_are_lines_over_amounts_or_dots_by_name():
    ax = plots.plot_latency(latencies())
    assert np.allclose(data(ax)["pruned"], [[0.5, 0.9], [3, 0.8]])
    assert set(data(ax)["dense"][1]) == {1}
    assert ax.get_ylim()[0] == 0
    segments = ax.containers[0].lines[2][0].get_segments()
    assert np.allclose(segments[0][:, 1], [2.7, 3.9])
    named = plots.plot_latency(latencies([*"abc"]))
    assert [tick.get_text() for tick in named.get_yticklabels()] == ["a", "b", "c"]
    assert named.get_xlim()[0] == 0
    assert "times that of a" in named.get_xlabel()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="Did you mean 'method'"):
        plots.plot_accuracy_vs_sparsity(summary(), hue="methods")
    for amount in (95, 1.0):  # on a logarithmic axis there is no place for nothing left
        with pytest.raises(ValueError, match=r"amount must be in \[0, 1\)"):
            plots.plot_accuracy_vs_sparsity(summary().assign(amount=amount), hue="method")
    with pytest.raises(ValueError, match="interval must be one of"):
        plot_lines(summary(), x="amount", hue="method", interval="bar", **LABELS)
    with pytest.raises(ValueError, match="'high'"):
        plot_dots(summary().drop(columns="high"), y="method", xlabel="x (%)")
    with pytest.raises(ValueError, match="'ratio'"):
        plots.plot_latency(latencies().drop(columns="ratio"))
