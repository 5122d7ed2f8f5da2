"""The figures of the Granger chapter: they draw the numbers given, and say which is which."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from causalprune_lib.evidence.style import VERMILLION
from causalprune_studies.ch04_granger import figures as granger_plots
from causalprune_studies.ch04_granger import figures as rate_plots

RATE = ["mean", "low", "high"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def rates():
    frame = pd.DataFrame(itertools.product(["noise", "real"], [30, 60, 150]), columns=["what", "n"])
    mean = np.array([1.0, 0.2, 0.05, 0.3, 0.6, 0.9])
    return frame.assign(mean=mean, low=mean - 0.02, high=np.minimum(1, mean + 0.04))


def arrow_rates():
    values = [[np.nan, 0.99, 0.2], [0.04, np.nan, 1.0], [0.05, 0.06, np.nan]]
    return pd.DataFrame(values, index=[*"abc"], columns=[*"abc"])


def pvalues():
    p = np.array([0.5, 1e-9, 0.04, 0.9, 0.001])
    return p, np.array([False, True, False, False, True])


def pair():
    t = np.arange(20)
    return pd.DataFrame({"x": np.sin(t), "y": 100 * np.cos(t)}, index=t)


def null():
    grid = np.linspace(0.1, 5, 30)
    return {"values": np.linspace(0, 4, 200), "curve": (grid, np.exp(-grid)), "observed": 3.5}


FIGURES = {
    "rates": lambda **o: rate_plots.plot_rates(
        rates(), x="n", hue="what", xlabel="Samples (number)", **o
    ),
    "rates, logarithmic": lambda **o: rate_plots.plot_rates(
        rates(), x="n", hue="what", xlabel="Samples (number)", logarithmic=True, **o
    ),
    "dots": lambda **o: rate_plots.plot_rate_dots(rates(), label="what", hue="n", **o),
    "arrows": lambda **o: rate_plots.plot_arrow_rates(arrow_rates(), true={("a", "b")}, **o),
    "null": lambda **o: granger_plots.plot_null_statistic(**null(), xlabel="F (ratio)", **o),
    "sorted": lambda **o: granger_plots.plot_sorted_pvalues(pvalues()[0], true=pvalues()[1], **o),
}
each_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES.keys())


def texts(ax):
    legend = ax.get_legend()
    ticks = [*ax.get_xticklabels(), *ax.get_yticklabels()]
    found = [*ticks, ax.xaxis.label, ax.yaxis.label, *ax.texts]
    return [t for t in [*found, *(legend.get_texts() if legend else [])] if t.get_text()]


def drawn(ax):
    """Label -> (x, y) of every labelled line, error bars included."""
    found = {line.get_label(): line.get_xydata().T for line in ax.lines}
    for bars in ax.containers:
        if hasattr(bars, "lines"):
            found[bars.get_label()] = bars.lines[0].get_xydata().T
    return found


@each_figure
def test_a_figure_is_axes_with_units_legible_on_a_phone_and_white(draw):
    ax = draw()
    assert isinstance(ax, Axes)
    ax.figure.canvas.draw()
    assert min(text.get_fontsize() for text in texts(ax)) >= 12
    assert ax.figure.get_size_inches()[0] <= 6.5
    assert to_rgb(ax.figure.get_facecolor()) == (1, 1, 1)
    shown = ax.get_xlabel() + ax.get_ylabel()
    assert any(unit in shown for unit in ("%", "ratio", "number"))


@each_figure
def test_a_given_axes_is_drawn_on_and_the_style_is_not_left_behind(draw):
    _, ax = plt.subplots()
    before = dict(mpl.rcParams)
    assert draw(ax=ax) is ax
    draw()
    assert dict(mpl.rcParams) == before


@each_figure
def test_nothing_is_cut_off(draw):
    ax = draw()
    ax.figure.canvas.draw()
    box = ax.figure.bbox
    ends = {axis: sorted(axis.get_view_interval()) for axis in (ax.xaxis, ax.yaxis)}
    hidden = {
        tick.label1
        for axis, (low, high) in ends.items()
        for tick in axis.get_major_ticks()
        if not low <= tick.get_loc() <= high
    }
    for thing in set(texts(ax)) - hidden:
        extent = thing.get_window_extent()
        assert box.x0 - 1 <= extent.x0 < extent.x1 <= box.x1 + 1, thing
        assert box.y0 - 1 <= extent.y0 < extent.y1 <= box.y1 + 1, thing


def test_rates_are_the_numbers_given_with_their_intervals_in_any_order():
    table = rates().sample(frac=1, random_state=1)
    ax = rate_plots.plot_rates(table, x="n", hue="what", xlabel="Samples (number)", nominal=0.1)
    for name, rows in rates().groupby("what"):
        assert np.array_equal(drawn(ax)[name], [rows.n, rows["mean"]])
    bars = {bar.get_label(): bar.lines[2][0].get_segments() for bar in ax.containers}
    assert bars["real"][0][:, 1] == pytest.approx([0.28, 0.34])
    across = [line for line in ax.lines if set(line.get_ydata()) == {0.1}]
    assert len(across) == 1
    assert ax.yaxis.get_major_formatter()(0.05) == "5"  # percent


def test_a_rate_that_is_missing_is_not_drawn_and_does_not_move_the_others():
    table = rates()
    table.loc[1, RATE] = np.nan
    ax = rate_plots.plot_rates(table, x="n", hue="what", xlabel="Samples (number)")
    assert drawn(ax)["noise"].tolist() == [[30, 150], [1.0, 0.05]]
    assert drawn(ax)["real"].shape == (2, 3)


def test_dots_stand_on_the_line_of_their_name_and_apart_by_group():
    ax = rate_plots.plot_rate_dots(rates(), label="what", hue="n")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["noise", "real"]
    for n, rows in rates().groupby("n"):
        x, y = drawn(ax)[str(n)]
        assert np.array_equal(x, rows["mean"])
        assert np.array_equal(np.round(y), [0, 1])
    heights = [drawn(ax)[str(n)][1][0] for n in (30, 60, 150)]
    assert heights == sorted(set(heights))
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first name on top
    alone = rate_plots.plot_rate_dots(rates()[:1], label="what")
    assert alone.get_legend() is None


def test_arrows_show_each_pair_once_and_frame_the_true_ones():
    ax = rate_plots.plot_arrow_rates(arrow_rates(), true={("a", "b"), ("b", "c")})
    shown = {text.get_position(): text.get_text() for text in ax.texts}
    assert shown == {
        (1, 0): "99%",
        (2, 0): "20%",
        (0, 1): "4%",
        (2, 1): "100%",
        (0, 2): "5%",
        (1, 2): "6%",
    }
    frames = {tuple(np.round(np.add(p.get_xy(), 0.46))) for p in ax.patches}
    assert frames == {(1, 0), (2, 1)}  # (effect, cause)
    assert {to_rgb(p.get_edgecolor()[:3]) for p in ax.patches} == {to_rgb(VERMILLION)}
    with pytest.raises(ValueError, match="same names in rows and columns"):
        rate_plots.plot_arrow_rates(arrow_rates().rename(index={"a": "z"}), true=set())


def test_the_null_histogram_has_area_one_and_the_observed_value_its_place():
    ax = granger_plots.plot_null_statistic(**null(), xlabel="F (ratio)")
    assert sum(bar.get_width() * bar.get_height() for bar in ax.patches) == pytest.approx(1)
    assert np.array_equal(drawn(ax)["the F distribution"], null()["curve"])
    assert set(drawn(ax)["the real cause"][0]) == {3.5}
    with pytest.raises(ValueError, match="values"):
        granger_plots.plot_null_statistic(**{**null(), "values": [np.nan]}, xlabel="F")


def test_sorted_p_values_keep_their_kind_and_the_thresholds_are_the_rules():
    p, true = pvalues()
    ax = granger_plots.plot_sorted_pvalues(p, true=true, alpha=0.1)
    lines = drawn(ax)
    assert lines["a true cause"][0].tolist() == [1, 2]
    assert lines["noise"].tolist() == [[3, 4, 5], [0.04, 0.5, 0.9]]
    assert lines["a true cause"][1][1] == 0.001
    assert lines["a true cause"][1][0] > ax.get_ylim()[0]  # 1e-9 stays in sight
    assert np.allclose(lines["Benjamini-Hochberg"][1], 0.1 * np.arange(1, 6) / 5)
    assert np.allclose(lines["Bonferroni"][1], 0.02)
    assert np.allclose(lines["no correction"][1], 0.1)
    with pytest.raises(ValueError, match="true must"):
        granger_plots.plot_sorted_pvalues(p, true=true[:3])


def test_series_share_their_time_and_keep_their_own_units():
    axes = granger_plots.plot_series(pair(), xlabel="Time (samples)", ylabels=["x (m)", "y (cm)"])
    for ax, name in zip(axes, pair(), strict=True):
        assert np.array_equal(ax.lines[0].get_xydata().T, [pair().index, pair()[name]])
    assert [ax.get_ylabel() for ax in axes] == ["x (m)", "y (cm)"]
    assert [ax.get_xlabel() for ax in axes] == ["", "Time (samples)"]
    assert axes[1].get_ylim()[1] > 50 > 2 > axes[0].get_ylim()[1]
    _, mine = plt.subplots(2, 1)
    assert granger_plots.plot_series(pair(), xlabel="t", axes=mine) is mine
    with pytest.raises(ValueError, match=r"one entry for each of 2 series; got 1"):
        granger_plots.plot_series(pair(), xlabel="t", ylabels=["x"])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="Did you mean 'what'"):
        rate_plots.plot_rates(rates(), x="n", hue="waht", xlabel="n")
    with pytest.raises(ValueError, match="nominal"):
        rate_plots.plot_rate_dots(rates(), label="what", hue="n", nominal=5)
