"""Figures of chapter 10: what they draw is what they were given."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch10_spectra import figures as plots
from causalprune_studies.ch10_spectra.figures import slide_spectra


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_spectra_have_a_panel_each_with_what_was_given():
    values = np.linspace(0.1, 2, 30)
    law = np.array([0.5, 1.0]), np.array([0.3, 0.2])
    axes = plots.plot_spectra(
        {
            "bare": plots.Spectrum(values),
            "full": plots.Spectrum(values, values / 2, law, edge=1.1, orange=1.2),
            "many": plots.Spectrum(np.linspace(0, 1, 100), marks=values[:3]),
        },
        columns=2,
        names=("layer", "shuffled"),
    )
    assert [ax.get_title(loc="left") for ax in axes[:3]] == ["bare", "full", "many"]
    assert not axes[3].axison
    ticks = [next(line for line in ax.lines if line.get_marker() == "|") for ax in axes[:3]]
    assert [len(line.get_xdata()) for line in ticks] == [30, 30, 3]
    labels = axes[1].get_legend_handles_labels()[1]
    assert set(labels) == {
        "layer",
        "shuffled",
        "Marchenko-Pastur",
        "edge of the law",
        "largest shuffled",
    }
    upright = [line.get_xdata()[0] for line in axes[1].lines if line.get_label()[:4] in "edge larg"]
    assert sorted(upright) == [1.1, 1.2]


def test_a_tail_and_its_law_meet_where_the_tail_begins():
    values = np.random.default_rng(0).pareto(1.5, 50) + 1
    begin = np.sort(values)[20]
    (ax,) = plots.plot_tails({"a": (values, 2.5, begin)})
    points, line = ax.lines
    begins = points.get_xdata() == begin
    np.testing.assert_allclose(points.get_ydata()[begins], line.get_ydata()[0])


def test_exponents_beyond_the_ceiling_are_arrows():
    table = pd.DataFrame(
        {"network": ["a", "a", "b"], "layer": ["one"] * 3, "value": [1.5, 99.0, 3.0]}
    )
    marks = pd.DataFrame({"network": ["b"], "layer": ["one"], "value": [2.5]})
    (ax,) = plots.plot_exponents(table, order=["b", "a"], marks=marks)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    found = {marker: [] for marker in "o>D"}
    for line in ax.lines:
        found[line.get_marker()] += list(line.get_xdata())
    assert found == {"o": [1.5, 3.0], ">": [12], "D": [2.5]}


def test_other_figures_draw_their_tables():
    table = pd.DataFrame(
        {"strength": [0, 0, 1], "largest": [1.5, 1.6, 2.1], "theory": [1.5, 1.5, 2]}
    )
    ax = plots.plot_spike(table, edge=1.5)
    assert len(ax.lines[0].get_xdata()) == 3
    assert len(ax.lines[1].get_xdata()) == 2
    row = {"n": 10, "q025": 1, "q25": 2, "q50": 2.5, "q75": 3, "q975": 4}
    ax = plots.plot_estimates(pd.DataFrame([row]), truth=2.5)
    assert ax.get_yticklabels()[0].get_text() == "10 values"
    clock = pd.DataFrame({"layer": ["a", "a"], "value": [3, 1.5], "epoch": [0, 1]})
    assert plots.plot_clock(clock).lines[0].get_ydata().tolist() == [3, 1.5]
    (ax,) = plots.plot_nulls({"a": np.array([2.2, 99.0])}, marks={"a": [2.0]})
    heights = [patch.get_height() for patch in ax.patches if patch.get_height() == 0.5]
    assert len(heights) == 2  # one of them in the last bar
    with pytest.raises(ValueError, match="strength"):
        plots.plot_spike(clock, edge=1)


def test_the_slider_shows_one_spectrum_at_a_time():
    law = np.array([0.5, 1.0]), np.array([0.3, 0.2])
    spectra = np.array([[0.5, 1], [0.6, 2]])
    figure = slide_spectra([0, 1], spectra, law=law, theory=[np.nan, 2.1], edge=1.1)
    assert [trace.visible for trace in figure.data] == [None] + [True] * 3 + [False] * 3
    titles = []
    for place, step in enumerate(figure.layout.sliders[0].steps):
        shown = step.args[0]["visible"]
        titles.append(step.args[1]["title.text"])
        assert shown[0]
        assert [i for i, on in enumerate(shown[1:]) if on] == [3 * place + i for i in range(3)]
    assert titles[0].endswith("1.00<br>theory at the edge, 1.10")
    assert titles[1] == "strength 1: largest eigenvalue 2.00<br>theory 2.10"
    assert figure.data[5].x == (0.6, 2.0)
    assert len(json.dumps(figure.to_dict(), default=str)) < 100_000
    with pytest.raises(ValueError, match="theory must be 2"):
        slide_spectra([0, 1], np.ones((2, 2)), law=law, theory=[1], edge=1.1)
