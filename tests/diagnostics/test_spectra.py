"""Power laws of layers, against WeightWatcher, the package powerlaw, and laws that are known."""

import contextlib
import copy
import io
import logging
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from causalprune_lib.diagnostics.spectra import (
    alpha_interval,
    esd,
    layer_spectra,
    power_law_fit,
    untrained_alphas,
)
from causalprune_lib.nets.models import MLP, build_model
from causalprune_lib.pruning.masks import Masks, apply_masks

FIT = ("in_fit", "pl_alpha", "sigma", "xmin", "D", "alpha_weighted", "log_alpha_norm")


def mlp(*sizes, seed=0):
    return build_model("mlp", shape=sizes[:1], n_classes=sizes[-1], hidden=sizes[1:-1], seed=seed)


@pytest.mark.parametrize("n", [8, 10, 19, 20, 50, 300])
def test_the_fit_is_that_of_weightwatcher(n):
    with warnings.catch_warnings():
        from weightwatcher.WW_powerlaw import WWFit
    rng = np.random.default_rng(n)
    for values in (rng.pareto(1.5, n) + 1, rng.uniform(size=n), rng.lognormal(size=n)):
        with contextlib.redirect_stdout(io.StringIO()):
            theirs = WWFit(values)
        ours = power_law_fit(values)
        for name in ("alpha", "sigma", "xmin", "D"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9)
        assert ours.in_fit == (values >= theirs.xmin).sum()


def test_the_plain_fit_is_that_of_the_package_powerlaw():
    import powerlaw

    values = np.random.default_rng(1).pareto(1.2, 150) + np.random.default_rng(2).uniform(size=150)
    ours = power_law_fit(values, rule="clauset")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        theirs = powerlaw.Fit(values, xmin=ours.xmin)
    assert ours.alpha == pytest.approx(theirs.power_law.alpha, rel=1e-9)


@pytest.mark.parametrize("alpha", [1.8, 2.5, 4.0])
def test_a_true_power_law_is_found(alpha):
    values = (1 - np.random.default_rng(3).uniform(size=2000)) ** (-1 / (alpha - 1))
    fit = power_law_fit(values)
    assert abs(fit.alpha - alpha) < 4 * fit.sigma
    assert fit.D * fit.in_fit**0.5 < 1.63  # the 1% point of Kolmogorov's law


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-6, 1e6), n=st.integers(8, 60), seed=st.integers(0, 99))
def test_the_exponent_has_no_scale(scale, n, seed):
    values = np.random.default_rng(seed).lognormal(size=n)
    fit, scaled = power_law_fit(values), power_law_fit(scale * values)
    assert scaled.alpha == pytest.approx(fit.alpha, rel=1e-6)
    assert scaled.xmin == pytest.approx(scale * fit.xmin)


@pytest.mark.parametrize(
    ("values", "rule"),
    [([], "clauset"), ([2.0], "clauset"), ([3.0] * 30, "clauset"), (range(1, 8), "weightwatcher")],
)
def test_without_a_tail_there_is_nan(values, rule):
    fit = power_law_fit(np.array(values, dtype=float), rule=rule)
    assert math.isnan(fit.alpha)
    assert (fit.in_fit, fit.n) == (0, len(values))
    assert math.isnan(alpha_interval(np.array(values, dtype=float), rule=rule).low)


def test_values_that_no_power_law_has_are_refused():
    with pytest.raises(ValueError, match="values must be positive"):
        power_law_fit(np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="Did you mean 'clauset'"):
        power_law_fit(np.ones(3), rule="Clauset")
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        alpha_interval(np.ones(3), level=1)


def test_the_interval_for_50_values_holds_the_exponent_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    hits = 0
    for seed in range(50):
        interval = alpha_interval(rng.pareto(1.5, 50) + 1, resamples=100, seed=seed)
        hits += interval.low < 2.5 < interval.high
    assert hits > 40  # 0.95 is promised, 0.97 was measured; below 41 has a chance of 1e-5


def test_untrained_layers_of_the_papers_shapes_pass_as_well_trained():
    share = {
        shape: float(((alphas > 2) & (alphas < 6)).mean())
        for shape in ((784, 50), (50, 30), (30, 10))
        for alphas in [untrained_alphas(*shape, draws=80, rule="clauset")]
    }
    assert share[784, 50] < 0.4 < 0.75 < min(share[50, 30], share[30, 10])


def test_the_frame_says_what_weightwatcher_says():
    model = build_model("lenet", dataset="digits", image_size=28, seed=1)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        from weightwatcher import WeightWatcher

        theirs = WeightWatcher(model=copy.deepcopy(model)).analyze().set_index("longname")
    ours = layer_spectra(model).set_index("layer")
    assert ours.index.tolist() == theirs.index.tolist() == ["conv1", "conv2", "fc1", "fc2"]
    names = {
        "n": "N",
        "m": "M",
        "eigenvalues": "num_evals",
        "in_fit": "num_pl_spikes",
        "pl_alpha": "alpha",
    }
    for name in ("n", "m", "eigenvalues", *FIT, "log_norm", "log_spectral_norm", "stable_rank"):
        expected = theirs[names.get(name, name)].to_numpy(dtype=float)
        np.testing.assert_allclose(ours[name].to_numpy(dtype=float), expected, rtol=1e-4)
    assert ours["warning"].tolist() == theirs["warning"].tolist()
    assert set(ours["reason"]) == {""}


def test_a_masked_layer_counts_with_its_zeros_also_before_the_next_forward_pass():
    model = mlp(30, 20, 10)
    keep = torch.rand(20, 30, generator=torch.Generator().manual_seed(0)) > 0.5
    plain = copy.deepcopy(model)
    apply_masks(model, Masks({"fc1.weight": keep}))
    with torch.no_grad():  # as an optimizer leaves it: `weight` is one step old
        model.fc1.weight_orig.mul_(2)
        plain.fc1.weight.mul_(2 * keep)
    assert layer_spectra(model).equals(layer_spectra(plain))
    values = esd(plain.fc1.weight, normalise=False)
    assert layer_spectra(model)["pl_alpha"][0] == pytest.approx(power_law_fit(values).alpha, 1e-4)


def test_nothing_else_changes():
    model = mlp(30, 20, 10).train()
    before = copy.deepcopy(model.state_dict())
    attributes = [set(vars(module)) for module in model.modules()]
    layer_spectra(model)  # imports what is imported late
    np.random.seed(5)
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    filters, handlers = warnings.filters[:], logging.getLogger().handlers[:]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        layer_spectra(model, interval=True, resamples=10)
    assert out.getvalue() == ""
    assert (np.random.get_state()[1] == state).all()
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert warnings.filters[:] == filters
    assert ("ignore", None, Warning, None, 0) not in filters  # as WeightWatcher leaves it
    assert logging.getLogger().handlers == handlers
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_layer_without_a_fit_says_why():
    model = nn.Sequential(
        nn.Conv1d(3, 9, 5), nn.ConvTranspose2d(8, 6, 2), MLP([20, 9, 9, 6]), nn.Linear(6, 1)
    )
    nn.init.zeros_(model[2].fc2.weight)
    frame = layer_spectra(model).set_index("layer")
    assert frame["reason"].to_dict() == {
        "0": "WeightWatcher does not read a Conv1d",
        "1": "WeightWatcher does not read a ConvTranspose2d",
        "2.fc1": "",
        "2.fc2": "0 eigenvalues above 1e-05; a fit needs 8",
        "2.fc3": "6 eigenvalues above 1e-05; a fit needs 8",
        "3": "1 eigenvalues above 1e-05; a fit needs 8",
    }
    failed = frame[frame["reason"] != ""]
    assert failed[list(FIT)].isna().all().all()
    assert (failed["warning"] == "").all()  # WeightWatcher says "over-trained" of its -1
    assert frame.loc["3", "stable_rank"] == pytest.approx(1)
    assert math.isnan(frame.loc["2.fc2", "stable_rank"])
    assert layer_spectra(model, min_eigenvalues=10)["reason"][2].startswith("9 eigenvalues")
    with pytest.raises(ValueError, match="min_eigenvalues must be >= 8"):
        layer_spectra(model, min_eigenvalues=6)


def test_intervals_are_columns_when_asked_for():
    frame = layer_spectra(mlp(60, 40, 10), interval=True, resamples=60, seed=3)
    assert (frame["alpha_low"] < frame["alpha_high"]).all()
    again = layer_spectra(mlp(60, 40, 10), interval=True, resamples=60, seed=3)
    assert frame.equals(again)
    assert "alpha_low" not in layer_spectra(mlp(60, 40, 10))


def test_a_weight_that_is_not_finite_is_named():
    model = mlp(12, 10)
    model.fc1.weight.data[0, 1] = float("nan")
    with pytest.raises(ValueError, match=r"weight 'fc1\.weight' must be finite"):
        layer_spectra(model)


def test_a_mean_is_what_weightwatcher_calls_a_trap_and_its_count_can_be_repeated():
    model = nn.Sequential(mlp(60, 30, 10))
    plain = layer_spectra(model, traps=True, seed=1)
    with torch.no_grad():
        model[0].fc1.weight += 0.3
    state = np.random.get_state()[1].copy()
    shifted = layer_spectra(model, traps=True, seed=1)
    assert (np.random.get_state()[1] == state).all()
    assert plain["num_traps"].tolist() == [0, 0]
    assert shifted["num_traps"].tolist() == [5, 0]  # one in each of five shuffles
    assert shifted.columns.difference(layer_spectra(model).columns).tolist() == ["num_traps"]
