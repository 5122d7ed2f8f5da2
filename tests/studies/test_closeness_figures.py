"""What the figures of chapter 12 show; their looks are tested in test_figures.py."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch12_closeness.figures import (
    plot_bound,
    plot_by_width,
    plot_farthest,
    plot_steepness,
    plot_yardsticks,
)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def by_width(level):
    widths = [100, 25, 400]  # in any order
    return pd.DataFrame(
        {"network": "random", "width": widths, "mean": level, "low": -1.0, "high": 2 * level}
    )


def test_width_panels_share_the_axis_and_sort_the_widths():
    axes = plot_by_width(
        {"one": by_width(0.5), "two": by_width(1.0)},
        hue="network", ylabel="distance", guide=(100, 2.0, -0.5), inputs=64,
    )  # fmt: skip
    assert [ax.get_title(loc="left") for ax in axes] == ["one", "two"]
    line, guide, inputs = axes[0].lines
    assert line.get_xdata().tolist() == [25, 100, 400]
    assert line.get_ydata().tolist() == [0.5] * 3
    assert guide.get_ydata() == pytest.approx([4, 2, 1])
    assert inputs.get_xdata() == [64, 64]
    assert axes[1].get_yscale() == "log"
    assert [t.get_text() for t in axes[1].get_xticklabels()] == ["25", "100", "400"]
    assert axes[0].collections[0].get_paths()[0].vertices[:, 1].min() > 0  # no band below zero


def test_yardsticks_are_hollow_and_in_the_given_order():
    table = pd.DataFrame({"network": ["twin", "pruned"], "mean": [0.1, 0.3]})
    table["low"], table["high"] = table["mean"] - 0.05, table["mean"] + 0.05
    ax = plot_yardsticks(table, yardsticks=["twin"], xlabel="distance")
    faces = {
        line.get_xdata().item(): line.get_markerfacecolor()
        for line in ax.lines
        if line.get_marker() == "o"
    }
    assert faces[0.1] == "white" != faces[0.3]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["twin", "pruned"]
    with pytest.raises(ValueError, match="high"):
        plot_yardsticks(table.drop(columns="high"), yardsticks=[], xlabel="x")


def test_bounds_are_lines_and_what_was_found_are_marks():
    table = pd.DataFrame({"ranking": "random", "amount": [0.5, 0.1], "bound": [9, 5]})
    table["found"] = [1.0, 0.5]
    line, marks = plot_bound(table, hue="ranking", xlabel="x", ylabel="y").lines
    assert line.get_ydata().tolist() == [5, 9]
    assert marks.get_ydata().tolist() == [0.5, 1]
    assert marks.get_linestyle() == "None"


def test_steepness_shows_the_quarter():
    x = np.array([-1.0, 0, 1])
    chords = pd.DataFrame({"middle": [0.0], "slope": [0.2]})
    lines = {line.get_label(): line for line in plot_steepness(x, x * 0 + 0.1, chords).lines}
    assert lines["1/4"].get_ydata() == [0.25, 0.25]
    assert lines["two points, measured"].get_ydata().tolist() == [0.2]


def test_the_farthest_image_stands_beside_what_both_networks_say():
    said = {"dense": [0.9, 0.1], "pruned": [0.2, 0.8]}
    axes = plot_farthest({"Found": np.eye(8)}, {"Found": said}, top=1.0)
    assert axes.shape == (1, 2)
    assert [bar.get_height() for bar in axes[0, 1].patches] == [0.9, 0.1, 0.2, 0.8]
    assert axes[0, 0].get_title(loc="left") == "Found"
