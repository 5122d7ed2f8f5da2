"""What the figures of LEGCNet show; that they are legible is tested for all figures."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch05_legcnet.figures import (
    plot_method,
    plot_network,
    plot_settings,
    plot_shares,
    plot_twins,
)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_network_shows_the_pruned_weights_dashed():
    keep = np.ones(60, dtype=bool)
    keep[[3, 57]] = False
    ax = plot_network((9, 6, 1), keep)
    assert sum(line.get_linestyle() == "--" for line in ax.lines) == 3  # two, and the legend's


def test_the_method_says_which_weight_is_kept():
    series = np.zeros((101, 2)), np.ones((5, 2)), np.ones(5), range(20, 101, 20)
    axes = plot_method(*series, names=["a", "b"], kept=[True, False])
    assert [t.get_text() for t in axes[0].get_legend().get_texts()] == ["a: kept", "b: pruned"]


def test_intervals_of_shares_end_at_0_and_1():
    table = pd.DataFrame({"of": ["a"], "rule": ["r"], "mean": [0.9], "low": [-0.1], "high": [1.2]})
    ax = plot_shares(table, y="of", hue="rule", xlabel="Share (%)")
    [bar] = [c for c in ax.collections if len(c.get_segments())]
    assert bar.get_segments()[0][:, 0] == pytest.approx([0, 1])


def test_a_hollow_mark_is_the_overlap_by_chance():
    table = pd.DataFrame({"rule": ["x", "y"], "changed": "nothing", "causal": 0.9, "jaccard": 0.5})
    table = table.assign(jaccard_chance=0.25, gain=0.0, low=-0.1, high=0.1)
    axes = plot_settings(table)
    assert axes[0].get_yticklabels()[0].get_text() == "nothing"
    hollow = [line for line in axes[1].lines if line.get_markerfacecolor() == "white"]
    assert [line.get_xdata().tolist() for line in hollow] == [[0.25], [0.25]]


def test_twins_part_on_a_logarithmic_scale():
    distance = 1e-8 * np.exp(np.linspace(0, 1, 3001))[:, None] * np.ones(5)
    exponents = {"raw": np.ones(4), "growth": np.zeros(4)}
    axes = plot_twins(distance, [700, 1400, 2100, 2800], exponents, names="twins")
    assert axes[0].get_yscale() == "log"
    assert (len(axes[0].lines), len(axes[1].lines)) == (6, 2)
