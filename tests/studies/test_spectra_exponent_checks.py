"""What an exponent is worth: draws from known laws, the null, and the test of the law."""

import math

import numpy as np
import pytest
from scipy import stats

from causalprune_lib.diagnostics.spectra import power_law_fit
from causalprune_studies.ch10_spectra.exponent_checks import (
    power_law_pvalue,
    power_law_sample,
    sampled_alphas,
    untrained_alphas,
)


def test_samples_follow_the_law():
    rng = np.random.default_rng(0)
    values = power_law_sample(2000, alpha=3.0, xmin=2.0, generator=rng)
    assert stats.kstest(values, stats.pareto(b=2.0, scale=2.0).cdf).pvalue > 0.01


def test_sampled_exponents_are_those_of_the_samples():
    found = sampled_alphas(30, alpha=2.5, draws=2, generator=np.random.default_rng(3))
    rng = np.random.default_rng(3)
    samples = [power_law_sample(30, alpha=2.5, generator=rng) for _ in range(2)]
    assert found.tolist() == [power_law_fit(sample).alpha for sample in samples]


def test_the_test_is_fair_to_power_laws_and_turns_down_what_is_none():
    rng = np.random.default_rng(1)
    fair = [
        power_law_pvalue(power_law_sample(50, alpha=2.5, generator=rng), samples=30, seed=seed)
        for seed in range(40)
    ]
    # at most a tenth should lie below 0.1; 11 of 40 has a chance of about 0.001
    assert np.mean(np.array(fair) < 0.1) < 0.275
    two_heaps = np.concatenate([rng.uniform(1, 1.1, 100), rng.uniform(9, 10, 100)])
    assert power_law_pvalue(two_heaps, samples=30) < 0.1


@pytest.mark.parametrize("n", [10, 50])
def test_few_values_of_another_law_are_seldom_turned_down(n):
    rng = np.random.default_rng(2)
    found = [power_law_pvalue(rng.lognormal(size=n), samples=30, seed=s) for s in range(30)]
    assert np.mean(np.array(found) < 0.1) < 0.3  # measured: 0.10 and 0.08


def test_untrained_layers_of_the_papers_shapes_pass_as_well_trained():
    share = {
        shape: float(((alphas > 2) & (alphas < 6)).mean())
        for shape in ((784, 50), (50, 30), (30, 10))
        for alphas in [untrained_alphas(*shape, draws=60)]
    }
    assert share[784, 50] < 0.4 < 0.6 < min(share[50, 30], share[30, 10])


def test_bad_input_is_named():
    assert math.isnan(power_law_pvalue(np.ones(30)))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="alpha must be above 1"):
        power_law_sample(3, alpha=1.0, generator=rng)
    with pytest.raises(ValueError, match="values must be positive"):
        power_law_pvalue(np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="draws must be >= 1"):
        untrained_alphas(5, 4, draws=0)
