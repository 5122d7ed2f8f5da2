"""What the figures of chapter 11 show; their looks are tested in test_figures.py."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch11_explanations import figures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_panels_share_one_legend():
    bars = pd.DataFrame({"dense": [0.6, 0.4], "pruned": [0.5, -0.1]}, index=["first", "second"])
    axes = figures.plot_bar_panels({"One": bars, "Two": bars}, xlabel="Share")
    assert [ax.get_title(loc="left") for ax in axes] == ["One", "Two"]
    assert [ax.get_xlabel() for ax in axes] == ["", "Share"]
    assert len(axes[0].figure.legends) == 1
    assert all(ax.get_legend() is None for ax in axes)


def test_agreement_is_held_against_the_yardstick():
    table = pd.DataFrame(
        {
            "network": ["ours", "ours", "other"],
            "counts": ["FT", "PT", "none"],
            "mean": [0.8, 0.7, 0.95],
            "low": [0.6, 0.5, 0.9],
            "high": [1.0, 0.9, 1.0],
        }
    )
    (ax,) = figures.plot_agreement({"": table}, yardstick="other", xlabel="x")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ours", "other"]
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [0.95]
    ends = [s for box in ax.containers for c in box.lines[2] for s in c.get_segments()]
    assert np.ptp(np.concatenate(ends)[:, 0]) == pytest.approx(0.5)
    labels = {text.get_text() for text in ax.figure.legends[0].get_texts()}
    assert labels == {"no mask", "FT", "PT"}


def test_sampling_error_shows_percent_and_both_references():
    table = pd.DataFrame(
        {"samples": [50, 200], "mean": [0.02, 0.01], "low": [0.01, 0.005], "high": [0.03, 0.02]}
    )
    ax = figures.plot_sampling_error(table, deep=0.05, everything=510)
    assert [line.get_label() for line in ax.lines] == ["Kernel SHAP", "Deep SHAP", "all sets"]
    assert ax.lines[1].get_ydata()[0] == 0.05
    assert ax.lines[2].get_xdata()[0] == 510
    assert ax.yaxis.get_major_formatter()(0.02, 0) == "2"
