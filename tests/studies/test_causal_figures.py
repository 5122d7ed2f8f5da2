"""Figures of the chapter "Causal pruning": what they draw is what they were given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch08_causal_pruning.figures import (
    plot_curves,
    plot_gaps,
    plot_kept,
    plot_overlap_grid,
    plot_phases,
)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def line(method, dataset, amounts, level):
    mean = level - np.array(amounts) / 10
    return pd.DataFrame(
        {"method": method, "dataset": dataset, "amount": amounts, "mean": mean}
    ).assign(low=level - 0.12, high=level)


def test_curves_have_one_panel_per_data_set_one_legend_and_the_published_numbers():
    parts = [
        line(method, dataset, amounts, level)
        for dataset, level in (("Digits", 0.8), ("CIFAR-10", 0.5))
        for method, amounts in (("dense", [0.0]), ("causal", [0.8, 0.98]), ("random", [0.8, 0.98]))
    ]
    printed = pd.DataFrame(
        {"dataset": "CIFAR-10", "method": ["causal", "dense"], "amount": [0.963, 0], "mean": 0.67}
    )
    axes = plot_curves(pd.concat(parts), published=printed)
    assert [ax.get_legend() is not None for ax in axes] == [True, False]
    assert [ax.get_xlabel() == "" for ax in axes] == [True, False]
    assert [text.get_text() for text in axes[1].texts] == ["CIFAR-10"]
    lines = {drawn.get_label(): drawn for drawn in axes[1].lines}
    assert lines["causal"].get_xdata().tolist() == [0.8, 0.98]
    assert lines["causal"].get_ydata() == pytest.approx([0.42, 0.402])
    assert lines["dense"].get_ydata() == pytest.approx([0.5, 0.5])
    assert len(axes[1].collections) == 1  # one band, causal's
    marks = [d for d in axes[1].lines if d.get_marker() == "D" and d.get_mfc() == "none"]
    assert [list(mark.get_xdata()) for mark in marks] == [[0.963]]  # dense has no line to belong to
    assert marks[0].get_mec() == lines["causal"].get_color()


def test_overlap_grid_shows_what_was_found_and_chance():
    overlaps = pd.DataFrame(
        [
            {"amount_a": a, "amount_b": b, "both_pruned": a * b + 0.01, "expected": a * b}
            for a in (0.8, 0.95)
            for b in (0.8, 0.95)
        ]
    )
    ax = plot_overlap_grid(overlaps)
    shown = [text.get_text() for text in ax.texts]
    assert shown == ["65.0\n(64.0)", "77.0\n(76.0)", "77.0\n(76.0)", "91.2\n(90.2)"]
    assert np.asarray(ax.images[0].get_array()) == pytest.approx(np.ones((2, 2)))


def test_gaps_are_drawn_in_points():
    gaps = pd.DataFrame(
        {"control": ["random", "frozen"], "dataset": "Digits", "mean": [-0.1, 0.02]}
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
    drawn = [line for line in plot_phases(history).lines if line.get_linestyle() != ":"]
    pieces = [line.get_xdata().tolist() for line in drawn if line.get_marker() != "None"]
    assert sorted(pieces) == [[1, 2], [3, 4], [5, 6], [7]]


def test_kept_shares_stand_over_their_layer_and_zero_has_a_place():
    kept = pd.DataFrame(
        {"layer": ["a", "b"] * 2, "method": ["causal"] * 2 + ["magnitude"] * 2, "density": 0.1}
    ).assign(density=[0.5, 0.1, 0.01, 0])
    drawn = {line.get_label(): line.get_ydata().tolist() for line in plot_kept(kept).lines}
    assert drawn == {"causal": [0.5, 0.1], "magnitude": [0.01, 0.0]}
