"""Figures of the chapter "Causal pruning": what they draw is what they were given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalprune_lib.evidence.plots.causal import (
    plot_curves,
    plot_iterations,
    plot_overlap_grid,
)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def line(method, dataset, amounts, level):
    return pd.DataFrame(
        {
            "method": method,
            "dataset": dataset,
            "amount": amounts,
            "mean": [level - amount / 10 for amount in amounts],
            "low": level - 0.12,
            "high": level,
        }
    )


def test_curves_have_one_panel_per_data_set_and_one_legend():
    parts = [
        line(method, dataset, amounts, level)
        for dataset, level in (("fashion_mnist", 0.8), ("cifar10", 0.5))
        for method, amounts in (("dense", [0.0]), ("causal", [0.8, 0.98]), ("random", [0.8, 0.98]))
    ]
    axes = plot_curves(pd.concat(parts), titles={"cifar10": "CIFAR-10"})
    assert len(axes) == 2
    assert [ax.get_legend() is not None for ax in axes] == [True, False]
    lines = {text.get_label(): text for text in axes[1].lines}
    assert lines["causal"].get_xdata().tolist() == [0.8, 0.98]
    assert lines["causal"].get_ydata() == pytest.approx([0.42, 0.402])
    assert lines["dense"].get_ydata() == pytest.approx([0.5, 0.5])
    assert [text.get_text() for text in axes[1].texts] == ["CIFAR-10"]
    assert axes[0].get_xlabel() == ""


def test_overlap_grid_shows_what_was_found_and_chance():
    amounts = (0.8, 0.95)
    overlaps = pd.DataFrame(
        [
            {"amount_a": a, "amount_b": b, "both_pruned": a * b + 0.01, "expected": a * b}
            for a in amounts
            for b in amounts
        ]
    )
    ax = plot_overlap_grid(overlaps)
    shown = [text.get_text() for text in ax.texts]
    assert shown == ["65.0\n(64.0)", "77.0\n(76.0)", "77.0\n(76.0)", "91.2\n(90.2)"]
    assert np.asarray(ax.images[0].get_array()) == pytest.approx(np.ones((2, 2)))
    assert min(text.get_fontsize() for text in ax.texts) >= 12


def test_iterations_draw_both_quantities_with_intervals():
    rows = pd.DataFrame(
        {
            "iteration": [1, 10, 1, 10],
            "l1_coeff": [1e-15, 1e-15, 1e-13, 1e-13],
            "mean": [0.5, 0.6, 0.9, 0.95],
            "low": [0.4, 0.5, 0.8, 0.9],
            "high": [0.6, 0.7, 1.0, 1.0],
        }
    )
    axes = plot_iterations(rows, rows, hue="l1_coeff", label="{:g}")
    labels = axes[0].get_legend_handles_labels()[1]
    assert labels == ["1e-15", "1e-13"]
    assert axes[0].get_ylabel() == "Weights pruned (%)"
    assert axes[0].containers[1].lines[0].get_ydata().tolist() == [0.9, 0.95]
    with pytest.raises(ValueError, match="iteration"):
        plot_iterations(rows.drop(columns="iteration"), rows, hue="l1_coeff")
