"""The figures and tables of chapter 11 show the numbers that they are given."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch11_explanations import figures as plots
from causalprune_studies.ch11_explanations import tables

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def bars():
    return pd.DataFrame({"dense": [0.6, 0.4], "pruned": [0.5, -0.1]}, index=["first", "second"])


def test_bars_stand_in_the_order_of_the_table_from_the_top():
    ax = plots.plot_bars(bars(), xlabel="Share")
    widths = [[bar.get_width() for bar in group] for group in ax.containers]
    assert widths == [[0.6, 0.4], [0.5, -0.1]]
    at = [bar.get_y() for group in ax.containers for bar in group]
    assert at == sorted(at[:2]) + sorted(at[2:])
    assert at[0] < at[2]  # dense above pruned
    bottom, top = ax.get_ylim()
    assert bottom > top
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    assert ax.get_xlabel() == "Share"


def test_panels_share_one_legend():
    axes = plots.plot_bar_panels({"One": bars(), "Two": bars()}, xlabel="Share")
    assert [ax.get_title(loc="left") for ax in axes] == ["One", "Two"]
    assert [ax.get_xlabel() for ax in axes] == ["", "Share"]
    assert len(axes[0].figure.legends) == 1
    assert all(ax.get_legend() is None for ax in axes)


def agreement():
    return pd.DataFrame(
        {
            "network": ["ours", "ours", "other"],
            "counts": ["FT", "PT", "none"],
            "mean": [0.8, 0.7, 0.95],
            "low": [0.6, 0.5, 0.9],
            "high": [1.1, 0.9, 1.0],
        }
    )


def test_agreement_has_a_yardstick_and_intervals_that_end_at_one():
    (ax,) = plots.plot_agreement(
        {"": agreement()}, order=["ours", "gone", "other"], yardstick="other"
    )
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ours", "other"]
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [0.95]
    ends = np.concatenate(
        [s for box in ax.containers for c in box.lines[2] for s in c.get_segments()]
    )
    assert ends[:, 0].max() == pytest.approx(1.0)
    assert ends[:, 0].min() == pytest.approx(0.5)
    labels = {text.get_text() for text in ax.figure.legends[0].get_texts()}
    assert labels == {"no mask", "FT", "PT"}


def test_sampling_error_shows_percent_and_both_references():
    table = pd.DataFrame(
        {"samples": [50, 200], "mean": [0.02, 0.01], "low": [0.01, 0.005], "high": [0.03, 0.02]}
    )
    ax = plots.plot_sampling_error(table, deep=0.05, everything=510)
    assert [line.get_label() for line in ax.lines] == ["Kernel SHAP", "Deep SHAP", "all sets"]
    assert ax.lines[1].get_ydata()[0] == 0.05
    assert ax.lines[2].get_xdata()[0] == 510
    assert ax.yaxis.get_major_formatter()(0.02, 0) == "2"
    with pytest.raises(ValueError, match="high"):
        plots.plot_sampling_error(table.drop(columns="high"), deep=0.05, everything=510)


def test_tables_name_features_and_average_over_trials():
    common = {"metric": "importance", "dataset": "banknote", "counts": "none", "network": "dense"}
    rows = [
        {**common, "feature": f, "seed": seed, "value": v}
        for seed, values in enumerate(([0.4, 0.3, 0.2, 0.1], [0.2, 0.3, 0.2, 0.3]))
        for f, v in enumerate(values)
    ]
    rows += [{**row, "network": "LEGCNet", "counts": "PT"} for row in rows]
    rows += [{**rows[0], "network": "LEGCNet", "counts": "half", "value": 9.0}]
    rows += [{**rows[0], "dataset": "vowel", "value": 9.0}]
    table = tables.importance_table(pd.DataFrame(rows), dataset="banknote")
    assert list(table) == ["dense", "LEGCNet, PT"]
    assert table.index.tolist() == ["variance", "skewness", "kurtosis", "entropy"]
    np.testing.assert_allclose(table["dense"], [0.3, 0.3, 0.2, 0.2])
    with pytest.raises(ValueError, match="banknote"):
        tables.importance_table(pd.DataFrame(rows), dataset="banknotes")


def test_agreement_is_a_mean_over_trials_at_one_stop():
    rows = pd.DataFrame(
        [
            {"metric": m, "stop": stop, "dataset": "vowel", "counts": "FT", "network": "LEGCNet",
             "seed": seed, "value": value + seed * 0.1}
            for m, stop, value in (
                ("spearman", "benchmark", 0.5), ("spearman", "end", 0.1), ("shares", "end", 0.2)
            )
            for seed in (0, 1)
        ]
    )  # fmt: skip
    found = tables.agreement_table(rows)
    assert found["mean"].tolist() == pytest.approx([0.55])
    assert found.network.tolist() == ["LEGCNet"]
    assert found.n.tolist() == [2]
