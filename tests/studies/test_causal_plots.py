"""Figures of the chapter "Causal pruning": what they draw is what they were given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch08_causal_pruning.figures import (
    plot_alpha,
    plot_curves,
    plot_gaps,
    plot_iterations,
    plot_kept,
    plot_overlap_grid,
    plot_phases,
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


def test_curves_mark_published_points_in_the_colour_of_their_line():
    parts = [line(method, "cifar10", [0.8, 0.98], 0.5) for method in ("causal", "magnitude")]
    points = pd.DataFrame(
        {"dataset": "cifar10", "method": ["causal", "dense"], "amount": [0.963, 0], "mean": 0.67}
    )
    [ax] = plot_curves(pd.concat(parts), points=points)
    drawn = [text for text in ax.lines if text.get_marker() == "D" and text.get_mfc() == "none"]
    assert [list(mark.get_xdata()) for mark in drawn] == [[0.963]]  # dense has no line to belong to
    causal = next(text for text in ax.lines if text.get_label() == "causal")
    assert drawn[0].get_mec() == causal.get_color()
    assert len(ax.collections) == 1  # one band, causal's


def test_gaps_are_drawn_in_points():
    gaps = pd.DataFrame(
        {"control": ["random", "frozen"], "dataset": "digits", "mean": [-0.1, 0.02]}
    ).assign(low=-0.2, high=0.1)
    ax = plot_gaps(gaps)
    assert ax.containers[0].lines[0].get_xdata().tolist() == [-10.0, 2.0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["random", "frozen"]


def test_phases_are_pieces_in_a_row():
    history = pd.DataFrame(
        {
            "phase": ["pretrain"] * 2 + ["record"] * 4 + ["posttrain"],
            "number": [0, 0, 1, 1, 2, 2, 3],
            "train_loss": [2.0, 1.0, 0.9, 0.8, 1.5, 1.4, 1.2],
        }
    )
    ax = plot_phases(history)
    pieces = [text.get_xdata().tolist() for text in ax.lines if len(text.get_ydata()) != 2]
    assert pieces == [[7]]
    records = [text for text in ax.lines if text.get_label() in ("record", "_")]
    assert [p.get_xdata().tolist() for p in records] == [[3, 4], [5, 6]]


def test_layers_by_alpha_and_by_method():
    by_alpha = pd.DataFrame(
        {"alpha": [1e-3, 1e-2] * 2, "layer": ["a", "a", "b", "b"], "density": [1, 0.5, 0.2, 0]}
    )
    ax = plot_alpha(by_alpha)
    assert [text.get_label() for text in ax.lines] == ["a", "b"]
    assert ax.get_xscale() == "log"
    kept = pd.DataFrame(
        {"layer": ["a", "b"] * 2, "method": ["causal"] * 2 + ["magnitude"] * 2, "density": 0.1}
    ).assign(density=[0.5, 0.1, 0.01, 0])
    ax = plot_kept(kept)
    drawn = {text.get_label(): text.get_ydata().tolist() for text in ax.lines}
    assert drawn == {"causal": [0.5, 0.1], "magnitude": [0.01, 0.0]}
