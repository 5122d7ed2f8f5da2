"""Eigenvalues and power laws of layers, against WeightWatcher, powerlaw, and known laws."""

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

from causalprune_lib.diagnostics.spectra import alpha_interval, esd, layer_spectra, power_law_fit
from causalprune_lib.nets.models import MLP, build_model
from causalprune_lib.pruning.masks import Masks, apply_masks

FIT = ("in_fit", "pl_alpha", "sigma", "xmin", "D", "alpha_weighted", "log_alpha_norm")


def mlp(*sizes, seed=0):
    return build_model("mlp", shape=sizes[:1], n_classes=sizes[-1], hidden=sizes[1:-1], seed=seed)


@contextlib.contextmanager
def silence():
    waste = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(waste),
        contextlib.redirect_stderr(waste),
    ):
        yield


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_eigenvalues_are_those_of_the_correlation_matrix(shape):
    w = np.random.default_rng(0).normal(size=shape)
    tall = w if shape[0] >= shape[1] else w.T
    expected = np.linalg.eigvalsh(tall.T @ tall / len(tall))
    np.testing.assert_allclose(esd(torch.tensor(w)), expected, atol=1e-12)
    np.testing.assert_allclose(esd(w, normalise=False), len(tall) * expected, atol=1e-12)


def test_a_convolution_pools_one_matrix_per_position_of_its_kernel():
    w = torch.randn(6, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    slices = [esd(w[:, :, i, j]) for i in range(2) for j in range(3)]
    np.testing.assert_allclose(esd(w), np.sort(np.concatenate(slices)), rtol=1e-9)


def test_weights_that_are_no_matrix_are_refused():
    with pytest.raises(ValueError, match=r"weight must be a matrix .* got shape \(3,\)"):
        esd(np.ones(3))
    with pytest.raises(ValueError, match="weight must be finite"):
        esd(torch.tensor([[1.0, float("nan")]]))


@pytest.mark.parametrize("n", [8, 10, 19, 20, 50, 300])
def test_the_fit_is_that_of_weightwatcher(n):
    with silence():
        from weightwatcher.WW_powerlaw import WWFit
    rng = np.random.default_rng(n)
    for values in (rng.pareto(1.5, n) + 1, rng.uniform(size=n), rng.lognormal(size=n)):
        with silence():
            theirs = WWFit(values)
        ours = power_law_fit(values)
        for name in ("alpha", "sigma", "xmin", "D"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9)
        assert ours.in_fit == (values >= theirs.xmin).sum()


def test_the_plain_fit_is_that_of_the_package_powerlaw():
    import powerlaw

    values = np.random.default_rng(1).pareto(1.2, 50) + np.random.default_rng(2).uniform(size=50)
    ours = power_law_fit(values, rule="clauset")
    with silence():
        theirs = powerlaw.Fit(values, xmin=ours.xmin)
    assert ours.alpha == pytest.approx(theirs.power_law.alpha, rel=1e-9)


@pytest.mark.parametrize("alpha", [1.8, 2.5, 4.0])
def test_a_true_power_law_is_found(alpha):
    values = (1 - np.random.default_rng(3).uniform(size=600)) ** (-1 / (alpha - 1))
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
    [
        ([], "clauset"),
        ([2.0], "clauset"),
        ([3.0] * 30, "clauset"),
        ([1e300] * 3000, "clauset"),  # the sum of 3000 logarithms is rounded
        (range(1, 8), "weightwatcher"),
    ],
)
def test_without_a_tail_there_is_nan(values, rule):
    fit = power_law_fit(np.array(values, dtype=float), rule=rule)
    assert math.isnan(fit.alpha)
    assert (fit.in_fit, fit.n) == (0, len(values))
    low, high = alpha_interval(np.array(values[:7], dtype=float), resamples=3)
    assert math.isnan(low)
    assert math.isnan(high)


def test_values_that_no_power_law_has_are_refused():
    with pytest.raises(ValueError, match="values must be positive"):
        power_law_fit(np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="Did you mean 'clauset'"):
        power_law_fit(np.ones(3), rule="Clauset")
    with pytest.raises(ValueError, match="resamples must be >= 1"):
        alpha_interval(np.ones(3), resamples=0)


def test_the_interval_for_50_values_holds_the_exponent_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    hits = 0
    for seed in range(30):
        low, high = alpha_interval(rng.pareto(1.5, 50) + 1, resamples=40, seed=seed)
        hits += low < 2.5 < high
    assert hits > 22  # 0.95 is promised, 0.97 was measured; below 23 has a chance of 1e-5


@pytest.fixture(scope="module")
def lenet():
    return build_model("lenet", dataset="digits", image_size=28, seed=1)


def test_the_frame_says_what_weightwatcher_says(lenet):
    with silence():
        from weightwatcher import WeightWatcher

        theirs = WeightWatcher(model=copy.deepcopy(lenet)).analyze().set_index("longname")
    ours = layer_spectra(lenet).set_index("layer")
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
    frame = layer_spectra(model)
    assert frame.equals(layer_spectra(plain))
    values = esd(plain.fc1.weight, normalise=False)
    assert frame["pl_alpha"][0] == pytest.approx(power_law_fit(values).alpha, 1e-4)


def test_nothing_else_changes(state_of):
    model = mlp(30, 20, 10).train()
    before = state_of(model)
    attributes = [set(vars(module)) for module in model.modules()]
    layer_spectra(model)  # imports what is imported late
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    filters, handlers = warnings.filters[:], logging.getLogger().handlers[:]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        layer_spectra(model, interval=True, resamples=10)
    assert out.getvalue() == ""
    assert (np.random.get_state()[1] == state).all()
    assert warnings.filters[:] == filters
    assert ("ignore", None, Warning, None, 0) not in filters  # as WeightWatcher leaves it
    assert logging.getLogger().handlers == handlers
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert state_of(model) == before


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


def test_intervals_are_columns_when_asked_for():
    frame, again = (
        layer_spectra(mlp(60, 40, 10), interval=True, resamples=30, seed=3) for _ in range(2)
    )
    assert (frame["alpha_low"] < frame["alpha_high"]).all()
    assert frame.equals(again)


def test_a_mean_is_what_weightwatcher_calls_a_trap():
    model = mlp(30, 12, 10)
    with torch.no_grad():
        model.fc1.weight += 0.3
    state = np.random.get_state()[1].copy()
    frame = layer_spectra(model, traps=True, seed=1)
    assert (np.random.get_state()[1] == state).all()  # its shuffles are ours to seed
    assert frame["num_traps"].tolist() == [5, 0]  # one in each of five shuffles
    assert frame.columns.difference(layer_spectra(model).columns).tolist() == ["num_traps"]


def test_a_weight_that_is_not_finite_is_named():
    model = mlp(12, 10)
    model.fc1.weight.data[0, 1] = float("nan")
    with pytest.raises(ValueError, match=r"weight 'fc1\.weight' must be finite"):
        layer_spectra(model)
