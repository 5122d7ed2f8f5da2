"""What the figures of the chapter "Granger causality" show: the numbers given, each by name."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from causalprune_lib.evidence.style import VERMILLION
from causalprune_studies.ch04_granger import figures


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def rates():
    frame = pd.DataFrame(itertools.product(["noise", "real"], [30, 60, 150]), columns=["what", "n"])
    mean = np.array([1.0, 0.2, 0.05, 0.3, 0.6, 0.9])
    return frame.assign(mean=mean, low=mean - 0.02, high=np.minimum(1, mean + 0.04))


def drawn(ax):
    """Label -> (x, y) of every labelled line, error bars included."""
    found = {line.get_label(): line.get_xydata().T for line in ax.lines}
    for bars in ax.containers:
        if hasattr(bars, "lines"):
            found[bars.get_label()] = bars.lines[0].get_xydata().T
    return found


def test_rates_are_shares_beside_the_promised_level():
    table = rates().sample(frac=1, random_state=1)
    ax = figures.plot_rates(table, x="n", hue="what", xlabel="Samples (number)", logarithmic=True)
    for name, rows in rates().groupby("what"):
        assert np.array_equal(drawn(ax)[name], [rows.n, rows["mean"]])
    across = [line for line in ax.lines if set(line.get_ydata()) == {0.05}]
    assert len(across) == 1
    assert ax.yaxis.get_major_formatter()(0.05) == "5"  # percent
    assert ax.get_xscale() == "log"
    assert list(ax.get_xticks()) == [30, 60, 150]


def test_dots_stand_on_an_axis_of_all_shares_with_the_promised_level():
    ax = figures.plot_rate_dots(rates(), label="what", hue="n", xlabel="Called causal (%)")
    for n, rows in rates().groupby("n"):
        x, y = drawn(ax)[str(n)]
        assert np.array_equal(x, rows["mean"])
        assert np.array_equal(np.round(y), [0, 1])
    assert [line for line in ax.lines if set(line.get_xdata()) == {0.05}]
    assert ax.get_xlim()[0] < 0 < 1 < ax.get_xlim()[1]


def test_arrows_show_each_pair_once_and_frame_the_true_ones():
    values = [[np.nan, 0.99, 0.2], [0.04, np.nan, 1.0], [0.05, 0.06, np.nan]]
    table = pd.DataFrame(values, index=[*"abc"], columns=[*"abc"])
    ax = figures.plot_arrow_rates(table, true={("a", "b"), ("b", "c")})
    shown = {text.get_position(): text.get_text() for text in ax.texts}
    expected = {(1, 0): "99%", (2, 0): "20%", (0, 1): "4%"}
    assert shown == expected | {(2, 1): "100%", (0, 2): "5%", (1, 2): "6%"}
    frames = {tuple(np.round(np.add(p.get_xy(), 0.46))) for p in ax.patches}
    assert frames == {(1, 0), (2, 1)}  # (effect, cause)
    assert {to_rgb(p.get_edgecolor()[:3]) for p in ax.patches} == {to_rgb(VERMILLION)}
    with pytest.raises(ValueError, match="same names in rows and columns"):
        figures.plot_arrow_rates(table.rename(index={"a": "z"}), true=set())


def test_the_null_histogram_has_area_one_and_the_observed_value_its_place():
    at = np.linspace(0.1, 5, 30)
    null = {"curve": (at, np.exp(-at)), "observed": 3.5, "xlabel": "F (ratio)"}
    ax = figures.plot_null_statistic(np.linspace(0, 4, 200), **null)
    assert sum(bar.get_width() * bar.get_height() for bar in ax.patches) == pytest.approx(1)
    assert np.array_equal(drawn(ax)["the F distribution"], null["curve"])
    assert set(drawn(ax)["the real cause"][0]) == {3.5}
    with pytest.raises(ValueError, match="values"):
        figures.plot_null_statistic([np.nan], **null)


def test_sorted_p_values_keep_their_kind_and_the_thresholds_are_the_rules():
    p, true = np.array([0.5, 1e-9, 0.04, 0.9, 0.001]), np.array([False, True, False, False, True])
    ax = figures.plot_sorted_pvalues(p, true=true)
    lines = drawn(ax)
    assert lines["a true cause"][0].tolist() == [1, 2]
    assert lines["noise"].tolist() == [[3, 4, 5], [0.04, 0.5, 0.9]]
    assert lines["a true cause"][1][1] == 0.001
    assert lines["a true cause"][1][0] > ax.get_ylim()[0]  # 1e-9 stays in sight
    assert np.allclose(lines["Benjamini-Hochberg"][1], 0.05 * np.arange(1, 6) / 5)
    assert np.allclose(lines["Bonferroni"][1], 0.01)
    assert np.allclose(lines["no correction"][1], 0.05)
    with pytest.raises(ValueError, match="true must"):
        figures.plot_sorted_pvalues(p, true=true[:3])


def test_series_share_their_time_and_keep_their_own_units():
    t = np.arange(20)
    pair = pd.DataFrame({"x": np.sin(t), "y": 100 * np.cos(t)}, index=t)
    axes = figures.plot_series(pair, xlabel="Time (samples)", ylabels=["x (m)", "y (cm)"])
    for ax, name in zip(axes, pair, strict=True):
        assert np.array_equal(ax.lines[0].get_xydata().T, [pair.index, pair[name]])
    assert [ax.get_ylabel() for ax in axes] == ["x (m)", "y (cm)"]
    assert [ax.get_xlabel() for ax in axes] == ["", "Time (samples)"]
    assert axes[1].get_ylim()[1] > 50 > 2 > axes[0].get_ylim()[1]
