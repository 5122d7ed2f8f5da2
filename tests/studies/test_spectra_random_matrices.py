"""Spectra of random matrices, against their laws, and what stands out of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from causalprune_lib.diagnostics.spectra import esd
from causalprune_studies.ch10_spectra.random_matrices import (
    correlation_traps,
    marchenko_pastur,
    marchenko_pastur_edges,
    randomised_esd,
)


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("variance", [1.0, 0.01])
def test_the_law_has_mass_one_and_its_known_moments(ratio, variance):
    low, high = marchenko_pastur_edges(ratio=ratio, variance=variance)

    def moment(power):
        def term(t):  # x = (low + high)/2 - cos(t) (high - low)/2 takes the roots at the edges away
            x = (low + high) / 2 - np.cos(t) * (high - low) / 2
            density = marchenko_pastur(x, ratio=ratio, variance=variance)
            return x**power * density * np.sin(t) * (high - low) / 2

        return integrate.quad(term, 0, np.pi)[0]

    assert moment(0) == pytest.approx(1, abs=1e-6)
    assert moment(1) == pytest.approx(variance, rel=1e-6)
    assert moment(2) == pytest.approx(variance**2 * (1 + ratio), rel=1e-6)
    outside = np.array([low / 2 - 1e-9, high * 1.1])
    assert marchenko_pastur(outside, ratio=ratio, variance=variance).tolist() == [0, 0]


@pytest.mark.parametrize("draw", ["normal", "uniform", "laplace"])
def test_random_matrices_follow_the_law_whatever_their_entries(draw):
    n, m, spread = 450, 150, 0.1
    unit = {"normal": 1, "uniform": 1 / 12**0.5, "laplace": 2**0.5}[draw]
    w = getattr(np.random.default_rng(1), draw)(size=(n, m)) * spread / unit
    w -= w.mean()  # uniform entries are drawn from 0 to 1
    low, high = marchenko_pastur_edges(ratio=m / n, variance=spread**2)
    grid = np.linspace(low, high, 20_001)
    density = marchenko_pastur(grid, ratio=m / n, variance=spread**2)
    mass = integrate.cumulative_trapezoid(density, grid, initial=0)
    # eigenvalues are rigid: their distance from the law is of order 1 / m, not 1 / sqrt(m)
    found = stats.kstest(esd(w), lambda x: np.interp(x, grid, mass)).statistic
    assert found < 4 / m


def test_a_shuffle_keeps_the_weights_and_takes_the_structure():
    rng = np.random.default_rng(2)
    w = np.outer(rng.normal(size=200), rng.normal(size=50))  # rank one
    shuffled = randomised_esd(w, permutations=3, seed=0)
    np.testing.assert_allclose(shuffled.sum(1), esd(w).sum(), rtol=1e-12)
    assert esd(w)[:-1].max() < 1e-12 * esd(w)[-1] < shuffled.min()
    np.testing.assert_array_equal(shuffled, randomised_esd(w, permutations=3, seed=0))
    assert not np.array_equal(shuffled, randomised_esd(w, permutations=3, seed=1))
    kernel = torch.randn(6, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    assert randomised_esd(kernel, permutations=3).shape == (3, 24)


def test_traps_in_pure_noise_are_as_rare_as_promised():
    rng = np.random.default_rng(3)
    found = [correlation_traps(rng.normal(size=(60, 20)), seed=i).share for i in range(50)]
    # 1,000 shuffles of 50 matrices, 1% each: a binomial error of 0.3%
    assert np.mean(found) < 0.02


def test_zeros_alone_can_look_like_a_trap():
    rng = np.random.default_rng(5)
    share = {}
    for kept in (1.0, 0.1):
        masks = [rng.uniform(size=(50, 30)) < kept for _ in range(40)]
        layers = [rng.uniform(-1, 1, (50, 30)) * mask for mask in masks]
        share[kept] = np.mean([correlation_traps(w, permutations=5).share for w in layers])
    assert share[1.0] < 0.05
    assert 0.4 < share[0.1] < 0.8  # as the docstring says, 0.6


def test_one_huge_weight_is_a_trap():
    w = np.random.default_rng(4).normal(size=(100, 30))
    assert correlation_traps(w).count == 0
    w[3, 5] = 25
    traps = correlation_traps(w)
    assert traps.share == 1
    assert traps.largest.min() > 25**2 / 100 > traps.threshold > traps.edge


@settings(max_examples=15, deadline=None)
@given(mean=st.floats(0.3, 3), seed=st.integers(0, 99))
def test_a_mean_looks_like_a_trap_of_known_size(mean, seed):
    n, m = 200, 40
    w = np.random.default_rng(seed).normal(size=(n, m)) + mean
    traps = correlation_traps(w, permutations=5)
    # the spike of a rank-one mean in unit noise: (1 + l)(1 + q / l), l = m mean^2
    spike = (1 + traps.mean_spike) * (1 + m / n / traps.mean_spike)
    np.testing.assert_allclose(traps.largest, spike, rtol=0.25)
    assert correlation_traps(w, permutations=5, centre=True).count <= 0.2


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-3, 1 / 3])
def test_a_layer_of_one_value_is_refused(value):
    with pytest.raises(ValueError, match="more than one value"):
        correlation_traps(np.full((7, 3), value))  # the mean of sevenths is rounded


def test_bad_laws_are_named():
    with pytest.raises(ValueError, match=r"ratio must be in \[0, 1\]; got 1.5"):
        marchenko_pastur(np.ones(2), ratio=1.5)
    with pytest.raises(ValueError, match="variance must be a finite number > 0"):
        marchenko_pastur_edges(ratio=0.5, variance=0)
