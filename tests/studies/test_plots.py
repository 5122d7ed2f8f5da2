"""The figures: they draw the numbers they are given, with units, for every reader."""

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

from causalprune_studies.ch01_pruning import figures as plots

OKABE_ITO = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def summary():
    rows = itertools.product(["magnitude", "random"], [0.5, 0.9, 0.99])
    frame = pd.DataFrame(rows, columns=["method", "amount"])
    mean = [0.97, 0.96, 0.9, 0.95, 0.8, 0.5]
    return frame.assign(mean=mean, low=np.array(mean) - 0.02, high=np.array(mean) + 0.01)


def counts():
    frame = pd.DataFrame(itertools.product(["a", "b"], [0.5, 0.9]), columns=["layer", "amount"])
    return frame.assign(density=[0.5, 0.2, 0.4, 0.05], method="global")


def overlap():
    names = ["pruned", "kept"]
    return pd.DataFrame(
        [[94.4, 2.7], [2.5, 0.4]],
        index=pd.Index(names, name="causal"),
        columns=pd.Index(names, name="magnitude"),
    )


def history():
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "train_loss": [1.0, 0.5, 0.2],
            "val_loss": [1.1, 0.6, 0.4],
            "val_accuracy": [0.5, 0.8, 0.9],
        }
    )


def latencies(names=("dense", 0.5, 0.9)):
    median = np.array([0.001, 0.003, 0.0008])
    frame = pd.DataFrame({"model": names, "median": median, "q25": 0.9 * median})
    frame["q75"] = 1.3 * median
    for name in ("median", "q25", "q75"):
        frame[{"median": "ratio"}.get(name, f"ratio_{name}")] = frame[name] / 0.001
    return frame


def joined():
    return pd.DataFrame(
        {
            "row": ["cancer", "titanic", "vowel"],
            "published": [0.87, 0.72, 0.75],
            "measured": [0.86, 0.74, np.nan],
            "low": [0.84, 0.73, np.nan],
            "high": [0.89, 0.75, np.nan],
        }
    )


FIGURES = {
    "accuracy": lambda **o: plots.plot_accuracy_vs_sparsity(summary(), **o),
    "accuracy, kept": lambda **o: plots.plot_accuracy_vs_sparsity(summary(), scale="kept", **o),
    "density": lambda **o: plots.plot_layer_density(counts(), **o),
    "bars": lambda **o: plots.plot_layer_bars(counts()[counts().amount == 0.9], **o),
    "overlap": lambda **o: plots.plot_mask_overlap(overlap(), **o),
    "loss": lambda **o: plots.plot_history(history(), best_epoch=2, **o),
    "accuracy by epoch": lambda **o: plots.plot_history(history(), show="accuracy", **o),
    "latency": lambda **o: plots.plot_latency(latencies(), **o),
    "latency by name": lambda **o: plots.plot_latency(latencies([*"abc"]), show="seconds", **o),
    "published": lambda **o: plots.plot_published_vs_measured(joined(), quantity="F1 (%)", **o),
}
each_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES.keys())


def texts(ax):
    """Every text that can be seen; ticks beyond the ends of an axis cannot."""
    ends = {axis: sorted(axis.get_view_interval()) for axis in (ax.xaxis, ax.yaxis)}
    ticks = [
        tick.label1
        for axis, (low, high) in ends.items()
        for tick in axis.get_major_ticks()
        if low <= tick.get_loc() <= high
    ]
    legend = ax.get_legend()
    found = [*ticks, ax.xaxis.label, ax.yaxis.label, *ax.texts]
    return [t for t in [*found, *(legend.get_texts() if legend else [])] if t.get_text()]


def data(ax):
    """Label -> (x, y) of every labelled line, error bars included."""
    found = {line.get_label(): line.get_xydata().T for line in ax.lines}
    for bars in ax.containers:
        if hasattr(bars, "lines"):
            found[bars.get_label()] = bars.lines[0].get_xydata().T
    return found


@each_figure
def test_a_figure_is_axes_with_units_legible_on_a_phone_and_white(draw, tmp_path):
    ax = draw()
    assert isinstance(ax, Axes)
    ax.figure.canvas.draw()
    assert min(text.get_fontsize() for text in texts(ax)) >= 11
    assert ax.figure.get_size_inches()[0] <= 6.5
    assert to_rgb(ax.figure.get_facecolor()) == (1, 1, 1)
    shown = " ".join(text.get_text() for text in texts(ax)) + ax.get_xlabel() + ax.get_ylabel()
    assert any(unit in shown for unit in ("%", "nats", "epoch", "Milliseconds", "times that"))
    path = tmp_path / "figure.png"
    ax.figure.savefig(path)
    assert (plt.imread(path)[0, 0, :3] == 1).all()  # not transparent: dark pages stay readable


@each_figure
def test_a_given_axes_is_drawn_on_and_keeps_its_style(draw):
    _, ax = plt.subplots()
    ax.xaxis.label.set_fontsize(7)
    before = dict(mpl.rcParams)
    assert draw(ax=ax) is ax
    assert ax.xaxis.label.get_fontsize() == 7
    draw()
    assert dict(mpl.rcParams) == before  # nothing global is left behind


@each_figure
def test_nothing_is_cut_off(draw):
    ax = draw()
    ax.figure.canvas.draw()
    box = ax.figure.bbox
    for text in texts(ax):
        extent = text.get_window_extent()
        assert box.x0 - 1 <= extent.x0 < extent.x1 <= box.x1 + 1, text
        assert box.y0 - 1 <= extent.y0 < extent.y1 <= box.y1 + 1, text


def test_lines_and_bands_are_the_numbers_given():
    table = summary().sample(frac=1, random_state=0)  # rows in any order
    ax = plots.plot_accuracy_vs_sparsity(table)
    for name, rows in summary().groupby("method"):
        assert np.array_equal(data(ax)[name], [rows.amount, rows["mean"]])
    band = ax.collections[0].get_paths()[0].vertices
    rows = table[table.method == table.method.iloc[0]]
    assert set(band[:, 1]) == {*rows.low, *rows.high}
    ax.figure.canvas.draw()
    assert {"60", "90"} <= {tick.get_text() for tick in ax.get_xticklabels()}  # percent
    kept = plots.plot_accuracy_vs_sparsity(summary(), scale="kept")
    assert np.allclose(data(kept)["random"][0], [0.5, 0.1, 0.01])
    assert kept.get_xlim()[0] > kept.get_xlim()[1]  # from all weights to few


def test_the_reference_is_one_line_across_with_its_name():
    one = pd.DataFrame([{"method": "dense", "mean": 0.98, "low": 0.97, "high": 0.99}])
    ax = plots.plot_accuracy_vs_sparsity(summary(), reference=one)
    assert set(data(ax)["dense"][1]) == {0.98}
    with pytest.raises(ValueError, match="reference must be one row; got 2"):
        plots.plot_accuracy_vs_sparsity(summary(), reference=pd.concat([one, one]))


def test_an_empty_layer_is_drawn_and_a_logarithm_does_not_lose_it():
    table = counts()
    table.loc[1, "density"] = 0.0
    ax = plots.plot_layer_density(table)
    assert np.array_equal(data(ax)["a"], [[0.5, 0.9], [0.5, 0.0]])
    assert np.allclose(data(ax)["equal fractions"], [[0.5, 0.9], [0.5, 0.1]])
    assert np.isfinite(ax.transData.transform([(0.9, 0.0)])).all()
    assert ax.get_ylim()[0] == 0
    assert plots.plot_layer_density(counts()).get_yscale() == "log"


def test_bars_have_the_lengths_given_and_a_missing_layer_has_none():
    table = pd.concat(
        [counts().query("amount == 0.9"), counts().query("amount == 0.5 & layer=='a'")]
    )
    table["method"] = ["global", "global", "other"]
    ax = plots.plot_layer_bars(table)
    widths = [[bar.get_width() for bar in group] for group in ax.containers]
    assert widths[0] == [0.2, 0.05]
    assert widths[1][0] == 0.5
    assert np.isnan(widths[1][1])


def test_overlaps_show_their_four_numbers_and_whose_they_are():
    ax = plots.plot_mask_overlap(overlap())
    assert [text.get_text() for text in ax.texts] == ["94.4%", "2.7%", "2.5%", "0.4%"]
    assert [text.get_position() for text in ax.texts] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("magnitude", "causal")
    several = plots.plot_mask_overlap({"90%": overlap(), "95%": overlap(), "98%": overlap()})
    assert [ax.get_title() for ax in several] == ["90%", "95%", "98%"]


def test_the_history_leaves_out_what_was_not_measured():
    ax = plots.plot_history(history().assign(val_loss=np.nan), best_epoch=2)
    assert set(data(ax)) == {"training", "best epoch: 2"}
    assert np.array_equal(data(ax)["training"], history()[["epoch", "train_loss"]].T)


def test_latencies_are_lines_over_amounts_or_dots_by_name():
    ax = plots.plot_latency(latencies())
    assert np.allclose(data(ax)["pruned"], [[0.5, 0.9], [3, 0.8]])
    assert ax.get_ylim()[0] == 0
    bars = ax.containers[0].lines[2][0].get_segments()
    assert np.allclose(bars[0][:, 1], [2.7, 3.9])
    named = plots.plot_latency(latencies([*"abc"]), show="seconds")
    named.figure.canvas.draw()
    assert [tick.get_text() for tick in named.get_yticklabels()] == ["a", "b", "c"]
    assert named.xaxis.get_major_formatter()(0.0025) == "2.5"  # milliseconds


def test_published_and_measured_stand_on_the_same_line():
    ax = plots.plot_published_vs_measured(joined(), quantity="Test accuracy (fraction)")
    assert np.array_equal(data(ax)["published"], [joined().published, [0, 1, 2]])
    assert np.array_equal(data(ax)["measured here"][0], joined().measured, equal_nan=True)
    low, high = ax.containers[0].lines[2][0].get_segments()[0][:, 0]
    assert (low, high) == pytest.approx((0.84, 0.89))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="Did you mean 'method'"):
        plots.plot_accuracy_vs_sparsity(summary(), hue="methods")
    with pytest.raises(ValueError, match=r"amount.* must be in \[0, 1\]"):
        plots.plot_accuracy_vs_sparsity(summary().assign(amount=95))
    with pytest.raises(ValueError, match="logarithmic"):
        plots.plot_accuracy_vs_sparsity(summary().assign(amount=1.0), scale="kept")
    with pytest.raises(ValueError, match="2 by 2"):
        plots.plot_mask_overlap(pd.DataFrame(np.eye(3)))
    with pytest.raises(ValueError, match="at least one table"):
        plots.plot_mask_overlap({})
    with pytest.raises(ValueError, match="show must be one of"):
        plots.plot_history(history(), show="los")
