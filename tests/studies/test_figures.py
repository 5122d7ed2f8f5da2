"""The contract of all figures: every `plot_*` of every chapter, each drawn from an example below.

A figure is Axes whose axes say what they measure and in what unit, legible on a phone, in colours
that nobody confuses, and it leaves pyplot as it was. What a figure draws is tested by chapter.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_hex
from matplotlib.image import AxesImage
from matplotlib.text import Text

from causalprune_lib.evidence.style import GREY, PALETTE
from causalprune_studies import figures as shared
from causalprune_studies.ch10_spectra.figures import Spectrum
from causalprune_studies.chapters import chapters

SMALLEST, WIDEST = 12, 6.5  # points, inches: on a phone the figure shrinks to half its width
COLOUR_MAPS = {"Blues", "RdBu_r", "gray_r", "viridis"}  # their lightness says what their hue says
COUNTED = ("step", "epoch", "update", "sweep", "iteration", "rank", "claims", "sets asked", "width")
WITHOUT_UNIT = (  # pure numbers, and numbers in whatever unit the network's output has
    *("coefficient", "eigenvalue", "exponent", "learning rate", "multiplied by", "sharpness"),
    *(
        "weight $",
        "weight",
        "distance over",
        "distance",
        "density",
        "share",
        "$x_",
        "loss",
        "value",
    ),
    *("objective", "pull of the data", "p-value", "largest prediction", "input", "change of"),
    *("direction",),
)


WHO = ["published", "here", "control"]


def table(**values):
    """All combinations of `values`, with means that differ and intervals around them."""
    frame = pd.DataFrame(itertools.product(*values.values()), columns=list(values))
    mean = 0.3 + 0.6 * np.arange(len(frame)) / len(frame)
    return frame.assign(mean=mean, low=mean - 0.05, high=mean + 0.1)


def null_law():
    at = np.linspace(0.1, 5, 30)
    return at, np.exp(-at)


T = np.arange(30)
RISING = np.geomspace(1e-8, 1e-2, 30)[:, None] * [1.0, 2.0]  # (moments, seeds)
METHODS = ["magnitude", "random", "causal"]
COUNTS = table(layer=["conv1", "fc1"], amount=[0.5, 0.9], method=METHODS).assign(
    density=lambda f: f["mean"] / 4
)
KINDS = ["the series itself", "shuffled", "phase-randomised"]
QUANTITIES = ["Reading\n(nats per step)", "Twins\n(nats per step)"]
PATHS = {"a": np.array([1.0, 0.5, 0.1]), "b": np.array([1.0, -0.8, 0.3])}
AXIS = np.linspace(-1, 1, 5)
BOWLS = {name: (AXIS, AXIS, k * AXIS[:, None] ** 2 + AXIS**2) for k, name in enumerate("abc", 1)}
HEAVY = np.random.default_rng(0).pareto(1.5, 50) + 1
FEATURES = pd.DataFrame({"dense": [0.6, 0.4], "pruned": [0.5, -0.1]}, index=["age", "fare"])
AGREEMENT = table(network=["ours", "other"], counts=["FT", "PT"])
OVERLAPS = table(amount_a=[0.8, 0.95], amount_b=[0.8, 0.95]).assign(both_pruned=0.7, expected=0.64)
QUANTILES = {"n": 10, "q025": 1, "q25": 2, "q50": 2.5, "q75": 3, "q975": 4}
CURVES = table(series=["logistic map", "noise"], k=T)
LENGTHS = table(series=["logistic map", "noise"], samples=[50, 100, 200])


def call(*data, **options):
    """How a figure is drawn; a test may add the Axes."""
    return data, options


EXAMPLES = {
    "figures.plot_lines": call(
        table(amount=[0, 0.5, 0.9], method=METHODS),
        x="amount", hue="method", xlabel="Weights pruned (fraction)", ylabel="Accuracy (fraction)",
    ),
    "figures.plot_dots": call(
        table(control=["random", "frozen"], data=["digits", "iris"]),
        y="control", hue="data", xlabel="Gap (points)", reference=0.0, hollow=["iris"],
    ),
    "figures.plot_bars": call(FEATURES, xlabel="Share (%)"),
    "ch01_pruning.plot_images": call({"0": np.eye(8), "1": np.eye(8)}),
    "ch01_pruning.plot_accuracy_vs_sparsity": call(
        table(method=METHODS, amount=[0.5, 0.9, 0.99]),
        hue="method", reference=table(method=["dense"]),
    ),
    "ch01_pruning.plot_layer_density": call(COUNTS[COUNTS.method == "causal"]),
    "ch01_pruning.plot_size_distribution": call(
        {"fc1": HEAVY, "fc2": HEAVY / 2}, threshold=1.5
    ),
    "ch01_pruning.plot_latency": call(
        pd.DataFrame({"model": ["dense", 0.5, 0.9], "ratio": [1, 3, 0.8]}).assign(
            ratio_q25=0.7, ratio_q75=3.5
        )
    ),
    "ch02_chaos.plot_orbits": call(PATHS, target=0.0),
    "ch02_chaos.plot_bifurcation": call(
        np.linspace(0.5, 2, 7), {"right": np.ones((7, 4)), "left": -np.ones((7, 4))},
        np.linspace(-1, 1, 7), marks={"edge": 1.0},
    ),
    "ch02_chaos.plot_edge_of_stability": call(
        table(lr=[0.1, 0.5], step=[0, 10, 20]).assign(loss=lambda f: f["mean"], edge=1.9)
    ),
    "ch02_chaos.plot_rounding": call(
        {"small rate": {"one": RISING, "other": RISING}, "large": {"one": RISING}}, start=1e-8
    ),
    "ch02_chaos.plot_distances": call({"one": RISING, "other": RISING[::-1]}, start=1e-8),
    "ch02_chaos.plot_exponents": call(
        table(kind=["twin", "tangent"], lr=[0.1, 0.5, 1.0]), hue="kind"
    ),
    "ch02_chaos.plot_running_exponents": call({"one": RISING, "other": 2 * RISING}),
    "ch02_chaos.plot_growth": call(np.array([[0.5, 2.0, 1.0], [3.0, 1.0, 9.0]])),
    "ch03_exponents.plot_portraits": call({"one": np.sin(np.arange(90.0)), "two": np.ones(90)}),
    "ch03_exponents.plot_divergence": call(CURVES, truths={"logistic map": 0.02}),
    "ch03_exponents.plot_against_length": call(LENGTHS, level=0.7),
    "ch03_exponents.plot_surrogates": call(table(series=["white noise", "weights"], kind=KINDS)),
    "ch03_exponents.plot_through_training": call(
        table(quantity=QUANTITIES, step=T), quantities=QUANTITIES
    ),
    "ch04_granger.plot_null_statistic": call(
        np.linspace(0, 4, 200), curve=null_law(), observed=3.5, xlabel="F statistic (ratio)"
    ),
    "ch04_granger.plot_sorted_pvalues": call(
        np.array([0.5, 1e-9, 0.04, 0.9]), true=np.array([False, True, False, False])
    ),
    "ch04_granger.plot_series": call(
        pd.DataFrame({"x": np.sin(T), "y": np.cos(T)}), xlabel="Time (samples)",
        ylabels=["x (m)", "y (m)"],
    ),
    "ch04_granger.plot_rates": call(
        table(what=["noise", "real"], n=[30, 60, 150]), x="n", hue="what",
        xlabel="Length (samples)", logarithmic=True,
    ),
    "ch04_granger.plot_rate_dots": call(
        table(what=["noise", "real"], n=[30, 60]), label="what", hue="n",
        xlabel="Called causal (%)",
    ),
    "ch04_granger.plot_arrow_rates": call(
        pd.DataFrame(np.full((3, 3), 0.3), index=[*"abc"], columns=[*"abc"]), true={("a", "b")}
    ),
    "ch05_legcnet.plot_method": call(
        np.ones((101, 2)), np.ones((5, 2)), np.ones(5), range(20, 101, 20),
        names=["one", "other"], kept=[True, False],
    ),
    "ch05_legcnet.plot_network": call((9, 6, 1), np.arange(60) % 7 > 0),
    "ch05_legcnet.plot_shares": call(
        table(exponents=["own", "shuffled"], rule=["released", "corrected"]),
        y="exponents", hue="rule", xlabel="Weights called causal (%)", reference=0.5,
    ),
    "ch05_legcnet.plot_front": call(
        pd.DataFrame(
            [
                ("cancer", by, mask, pruned, lost)
                for by in ("threshold", "ranking")
                for mask in ("LEGCNet", "random")
                for pruned, lost in ((0.1, 0.0), (0.5, 0.1))
            ],
            columns=["dataset", "by", "mask", "pruned", "lost"],
        )
    ),
    "ch05_legcnet.plot_settings": call(
        table(rule=["released", "corrected"], changed=["nothing", "windows"]).assign(
            causal=0.5, jaccard=0.4, jaccard_chance=0.3, gain=lambda f: f["mean"]
        )
    ),
    "ch05_legcnet.plot_twins": call(
        np.geomspace(1e-8, 1, 301)[:, None] * np.ones(5), [100, 200, 300],
        {"raw": np.ones(3), "growth": np.zeros(3)}, names="twins",
    ),
    "ch06_causal_model.plot_first_order": call(
        pd.DataFrame({"lr": [0.01, 0.1], "error": [0.01, 0.12], "curvature": [0.01, 0.1]})
    ),
    "ch06_causal_model.plot_changes": call({"same batch": (-1.0 * T, -1.1 * T), "two": (-T, T)}),
    "ch06_causal_model.plot_explained": call(
        table(kind=["same"], ratio=[0.01, 0.1, 1.0], metric=["r2_in", "r2_out"]),
        names={"same": "same batch"}, parts={"r2_in": "fitted", "r2_out": "new"},
    ),
    "ch07_lasso.plot_soft_threshold": call(
        AXIS, {"pull 0.5": (AXIS - 0.5) ** 2 + abs(AXIS)}, AXIS, AXIS / 2, threshold=1.0
    ),
    "ch07_lasso.plot_gaps": call(
        pd.DataFrame({"penalty": "0.1", "sweep": [0, 1], "gap": [1, 0.1], "distance": [0.5, 0.0]})
    ),
    "ch07_lasso.plot_path": call(np.array([1.0, 0.5, 0.1]), np.ones((3, 2))),
    "ch07_lasso.plot_cumulative": call([1.0, 3], [1.0, 2], {"the weight": [0.0, 1]}),
    "ch07_lasso.plot_departure": call(
        pd.DataFrame({"layer": "fc1", "factor": [1.0, 1e6], "different": [0, 0.5]}).assign(
            largest_prediction=[1e-16, 1e-3]
        ),
        lr=1e-3,
    ),
    "ch08_causal_pruning.plot_curves": call(
        table(dataset=["Digits", "CIFAR-10"], method=["dense", *METHODS], amount=[0.8, 0.98])
    ),
    "ch08_causal_pruning.plot_overlap_grid": call(OVERLAPS),
    "ch08_causal_pruning.plot_iterations": call(
        *[table(setting=["1e-15, N_prune 2", "1e-13, N_prune 2"], iteration=[1, 10])] * 2
    ),
    "ch08_causal_pruning.plot_gaps": call(table(control=["random", "frozen"], dataset=["digits"])),
    "ch08_causal_pruning.plot_phases": call(
        pd.DataFrame({"phase": ["pretrain", "record", "posttrain"], "number": [0, 1, 2]}).assign(
            train_loss=1.0
        )
    ),
    "ch08_causal_pruning.plot_alpha": call(COUNTS.assign(alpha=10.0 ** -(COUNTS.index + 3))),
    "ch08_causal_pruning.plot_kept": call(COUNTS[COUNTS.amount == 0.9]),
    "ch08_causal_pruning.plot_latency": call(
        pd.DataFrame({"model": ["dense", "half"], "ratio": [1, 0.5]}).assign(
            ratio_q25=0.4, ratio_q75=1.1
        )
    ),
    "ch09_flat_minima.plot_two_minima": call(
        np.linspace(0.1, 5, 9), np.linspace(-0.2, 2, 8), np.ones((8, 9)), {"(1, 1)": (1, 1)},
        AXIS, {"(1, 1)": AXIS**2},
    ),
    "ch09_flat_minima.plot_estimates": call({"power": 0.5**T, "Lanczos": 0.1**T}),
    "ch09_flat_minima.plot_densities": call(AXIS, {"exact": AXIS**2 + 1, "ours": AXIS**2 + 2}),
    "ch09_flat_minima.plot_top_eigenvalues": call(
        table(space=["kept", "all"], method=METHODS, rank=[1, 2, 3])
    ),
    "ch09_flat_minima.plot_sharpness_on_the_way": call(
        table(dataset=["digits"], method=METHODS, seed=[0, 1], step=[0, 1, 2]).assign(
            loss=lambda f: 2.0**-f.step, top_1=lambda f: f["mean"]
        )
    ),
    "ch09_flat_minima.plot_flat_against_accurate": call(
        table(dataset=["digits"], method=METHODS).assign(accuracy=0.9, top=[0.1, 1, 10]),
        measures={"top": "Top eigenvalue"},
    ),
    "ch09_flat_minima.plot_landscapes": call(BOWLS),
    "ch10_spectra.plot_spectra": call(
        {"fc1": Spectrum(HEAVY, HEAVY / 2, null_law(), edge=3.0, orange=4.0)},
        names=("layer", "shuffled"),
    ),
    "ch10_spectra.plot_tails": call({"one": (HEAVY, 2.5, 1.5)}),
    "ch10_spectra.plot_spike": call(
        pd.DataFrame({"strength": [0, 1], "largest": [1.5, 2.1], "theory": [1.5, 2]}), edge=1.5
    ),
    "ch10_spectra.plot_estimates": call(pd.DataFrame([QUANTILES]), truth=2.5),
    "ch10_spectra.plot_exponents": call(
        pd.DataFrame({"network": ["a", "b"], "layer": "layer 1", "value": [1.5, 99.0]}),
        order=["b", "a"],
    ),
    "ch10_spectra.plot_clock": call(
        pd.DataFrame({"layer": "fc1", "value": [3, 1.5], "epoch": [0, 1]})
    ),
    "ch10_spectra.plot_nulls": call({"50 x 30": HEAVY, "30 x 10": HEAVY}, marks={"30 x 10": [2.0]}),
    "ch11_explanations.plot_bar_panels": call(
        {"One": FEATURES, "Two": FEATURES}, xlabel="Share (%)"
    ),
    "ch11_explanations.plot_agreement": call(
        {"cancer": AGREEMENT}, yardstick="other", xlabel="Correlation (1 = same order)"
    ),
    "ch11_explanations.plot_sampling_error": call(
        table(samples=[10, 100]), deep=0.05, everything=510
    ),
    "ch12_closeness.plot_farthest": call(
        {"Found": np.eye(8)}, {"Found": {"dense": [0.9, 0.1], "pruned": [0.2, 0.8]}}, top=1.0
    ),
    "ch12_closeness.plot_steepness": call(
        AXIS, AXIS**2 / 5, pd.DataFrame({"middle": [0.0], "slope": [0.2]})
    ),
    "ch12_closeness.plot_by_width": call(
        {"One hidden layer": table(network=["random", "magnitude"], width=[25, 100, 400])},
        hue="network", ylabel="Distance of the scores", guide=(100, 0.5, -0.5), inputs=64,
    ),
    "ch12_closeness.plot_yardsticks": call(
        table(network=["twin", "pruned"]), yardsticks=["twin"], xlabel="Distance of the outputs"
    ),
    "ch12_closeness.plot_bound": call(
        table(ranking=METHODS, amount=[0.1, 0.5]).assign(bound=9.0, found=1.0),
        hue="ranking", xlabel="Weights pruned (%)", ylabel="Distance of the scores",
    ),
    "ch13_tables.plot_beside": call(
        table(panel=["Accuracy (%)", "Epochs"], line=["cancer", "iris"], who=WHO), log=["Epochs"]
    ),
}  # fmt: skip


def discovered():
    """Every `plot_*` that the shared file or a chapter's `figures.py` defines, by its address."""
    modules = {"figures": shared}
    for chapter in chapters():
        name = chapter.__name__.rpartition(".")[2]
        modules[name] = importlib.import_module(f"{chapter.__name__}.figures")
    return {
        f"{name}.{function}": thing
        for name, module in modules.items()
        for function, thing in vars(module).items()
        if function.startswith("plot_") and thing.__module__ == module.__name__
    }


PLOTS = discovered()
OPTIONS = {name: inspect.signature(plot).parameters for name, plot in PLOTS.items()}
TOLD_WHERE = {name: found for name in PLOTS for found in ("ax", "axes") if found in OPTIONS[name]}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(name, **more):
    """The Axes of the example of a plot, in a flat array."""
    if name not in EXAMPLES:
        pytest.fail(f"{name} has no example: give it one in EXAMPLES")
    data, options = EXAMPLES[name]
    found = PLOTS[name](*data, **options, **more)
    assert not isinstance(found, Axes) or "ax" in OPTIONS[name], "one panel: it must take `ax`"
    axes = np.ravel(np.asarray(found, dtype=object))
    assert all(isinstance(ax, Axes) for ax in axes)
    assert len({ax.figure for ax in axes}) == 1
    return axes


def has_unit(label):
    """Whether a label says its unit, or names something that has none."""
    unit = re.search(r"%|\((?!logarithmic\))[^)]+\)", label)
    return bool(unit) or any(word in label.lower() for word in (*COUNTED, *WITHOUT_UNIT))


def shows_numbers(axis):
    """Whether the ticks of an axis are numbers; names of things need no label."""
    texts = [tick.get_text() for tick in axis.get_ticklabels() if tick.get_visible()]
    plain = [re.sub(r"\$|\\mathdefault|[{}^−-]", "", text) for text in texts]
    return any(re.fullmatch(r"[\d.e×\\times ]+", text) for text in plain if text)


def label_of(ax, which):
    """The label of an axis, of another one in its column or row, or of the whole figure."""
    span = {"x": "colspan", "y": "rowspan"}[which]
    place = getattr(ax.get_subplotspec(), span)
    beside = [other for other in ax.figure.axes if other.get_subplotspec() is not None]
    beside = [other for other in beside if getattr(other.get_subplotspec(), span) == place]
    labels = [getattr(other, f"get_{which}label")() for other in (ax, *beside)]
    whole = getattr(ax.figure, f"get_sup{which}label")()
    return next(filter(None, [*labels, whole]), "")


def colours_of(ax):
    """The colours of all lines, marks, bars and areas, but not of what a colour map paints."""
    found = []
    for line in ax.lines:
        found += [line.get_color()] if line.get_linestyle() != "None" else []
        if line.get_marker() not in ("None", "", None):
            found += [line.get_markeredgecolor(), line.get_markerfacecolor()]
    for thing in (*ax.collections, *ax.patches):
        if isinstance(thing, ScalarMappable) and thing.get_array() is not None:
            colours = thing.get_cmap()  # of its own, where the lines of a contour are all white
            found += [] if colours.name in COLOUR_MAPS else list(colours(range(colours.N)))
            continue
        for colour in (thing.get_facecolor(), thing.get_edgecolor()):
            found += list(colour) if np.ndim(colour) == 2 else [colour]
    return {to_hex(colour) for colour in found if not isinstance(colour, str) or colour != "none"}


def grey(colour):
    return len({colour[i : i + 2] for i in (1, 3, 5)}) == 1


def test_every_plot_has_an_example_and_every_example_a_plot():
    assert sorted(EXAMPLES) == sorted(PLOTS)
    assert len(PLOTS) > 40


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_is_labelled_legible_safe_for_the_colour_blind_and_leaves_pyplot_alone(name):
    before = dict(mpl.rcParams)
    axes = drawn(name)
    figure = axes[0].figure
    assert dict(mpl.rcParams) == before
    figure.draw_without_rendering()

    for ax in (ax for ax in axes if ax.axison and ax.get_visible()):
        for which, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
            label = label_of(ax, which)
            assert label or not shows_numbers(axis), f"no label on the {which} axis"
            assert not label or not shows_numbers(axis) or has_unit(label), label
        wrong = {c for c in colours_of(ax) if not grey(c)} - {c.lower() for c in (*PALETTE, GREY)}
        assert wrong == set()
        assert {image.get_cmap().name for image in ax.findobj(AxesImage)} <= COLOUR_MAPS

    assert figure.get_size_inches()[0] <= WIDEST
    sizes = [t.get_fontsize() for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    assert min(sizes) >= SMALLEST
    assert to_hex(figure.get_facecolor()) == "#ffffff"
    everything, page = figure.get_tightbbox(), figure.get_size_inches()
    slack = 0.02  # inches
    assert (everything.min >= -slack).all(), "cut off at the left or below"
    assert (everything.max <= page + slack).all(), "cut off at the right or above"


@pytest.mark.parametrize(("name", "option"), TOLD_WHERE.items())
def test_a_figure_is_drawn_where_it_is_told_to_and_nowhere_else(name, option):
    figure, given = plt.subplots(1 if option == "ax" else 2, figsize=(5, 3))
    for ax in np.atleast_1d(given):
        ax.xaxis.label.set_fontsize(7)
    other = plt.figure()
    before, figures = dict(mpl.rcParams), plt.get_fignums()
    axes = drawn(name, **{option: given})
    assert list(axes) == list(np.atleast_1d(given))
    assert {ax.xaxis.label.get_fontsize() for ax in axes} == {7}  # the style it had
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == figures
    assert plt.gcf() is other
    assert tuple(figure.get_size_inches()) == (5, 3)


@pytest.mark.parametrize(
    ("label", "fine"),
    [
        ("Accuracy (%)", True),
        ("Accuracy", False),
        ("Time", False),
        ("Time (logarithmic)", False),
        ("Training step", True),
        ("", False),
    ],
)
def test_the_contract_knows_a_label_without_a_unit(label, fine):
    assert has_unit(label) == fine
