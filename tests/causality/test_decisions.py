"""The two rules, the exceptions that one of them counts as causal, and the corrections."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.causality.decisions import benjamini_hochberg, bonferroni, causal_decision
from causalprune_lib.causality.granger import granger_test

W = 60
T = np.arange(W)
RNG = np.random.default_rng(0)
Y = RNG.normal(size=W)
ODD = {  # causes on which a batch could part from one call per series
    "noise": RNG.normal(size=W),
    "NaN": np.where(T == 5, np.nan, Y),
    "infinite": np.where(T == 5, np.inf, Y),
    "zero": np.zeros(W),
    "constant": np.full(W, 0.1),
    "trend": 1.0 * T,
    "parabola": T**2.0,
    "decay": 0.9**T,
    "wave": np.sin(T),
    "alternating": (-1.0) ** T,
    "the effect": 2 * Y + 3,
    "its past": np.concatenate([[0.3], Y[:-1]]),
    "its future": np.concatenate([Y[1:], [0.3]]),
    "later future": np.concatenate([Y[3:], [0.3, 0.1, 0.2]]),
    "spike": 1.0 * (T == 30),
    "early spike": 1.0 * (T == 3),
    "late spike": 1.0 * (T == 52),
    "last": 1.0 * (T == 59),
    "step": 1.0 * (T > 20),
    "late step": 1.0 * (T > 50),
    "two spikes": 1.0 * (T == 30) + (T == 33),
    "few values": np.round(RNG.normal(size=W)),
}


def as_released(effect, cause, max_lag):
    """The rule in so many words, with statsmodels: (smallest p, did it raise?)."""
    from statsmodels.tsa.stattools import grangercausalitytests

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tests = grangercausalitytests(np.column_stack([effect, cause]), max_lag)
    except Exception:
        return 0.0, True
    return min(round(found[0]["ssr_chi2test"][1], 4) for found in tests.values()), False


@pytest.mark.parametrize("max_lag", [1, 2, 5, 14])
def test_the_released_reading_of_odd_series(max_lag):
    """The rounding of p can tip either way: one unit of the fourth digit is allowed."""
    result = granger_test(Y, np.stack(list(ODD.values()), 1), max_lag=max_lag)
    for s, (name, cause) in enumerate(ODD.items()):
        p, raised = as_released(Y, cause, max_lag)
        assert bool(result.raised[s]) == raised, name
        assert float(result.released[s]) == pytest.approx(p, abs=1.01e-4), name


@pytest.mark.parametrize(
    "effect",
    [
        np.full(W, 0.7),
        np.sin(0.3 * T),
        1.0 * T,
        np.where(T < 30, 0.9, 0.95),
        np.where(T < 50, 0.9, 0.95),
        np.round(0.5 * np.exp(-T / 9) + 0.1, 3),
    ],
)
def test_the_released_reading_of_odd_effects(effect):
    causes = RNG.normal(size=(W, 3))
    result = granger_test(effect, causes, max_lag=5)
    expected = [as_released(effect, cause, 5) for cause in causes.T]
    assert result.raised.tolist() == [raised for _, raised in expected]
    np.testing.assert_allclose(result.released.numpy(), [p for p, _ in expected], atol=1.01e-4)


@pytest.mark.parametrize("width", [5, 8, 16, 17, 43, 44, 45])
def test_the_released_reading_of_short_series(width):
    """With 14 lags statsmodels wants 44 samples: below, every series is called causal."""
    y, x = Y[:width], RNG.normal(size=(width, 4))
    result = granger_test(y, x, max_lag=14)
    expected = [as_released(y, cause, 14) for cause in x.T]
    assert result.raised.tolist() == [raised for _, raised in expected] == [width < 44] * 4
    np.testing.assert_allclose(result.released.numpy(), [p for p, _ in expected], atol=1.01e-4)
    assert causal_decision(result, rule="as_released").n_causal >= 4 * (width < 44)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 4), max_lag=st.integers(1, 4))
def test_the_released_reading_of_coarse_series(seed, levels, max_lag):
    """Few values make constant columns and perfect fits likely."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, levels + 1, size=16).astype(float)
    y[:2] = 0, 1
    x = rng.integers(0, levels, size=(16, 3)).astype(float)
    result = granger_test(y, x, max_lag=max_lag)
    expected = [as_released(y, cause, max_lag) for cause in x.T]
    assert result.raised.tolist() == [raised for _, raised in expected]
    np.testing.assert_allclose(result.released.numpy(), [p for p, _ in expected], atol=1.01e-4)


def test_both_rules_on_one_set():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(W, 30))
    y = 0.5 * rng.normal(size=W)
    y[1:] += x[:-1, 0] + x[:-1, 1]
    x[:, 2] = 1.0
    result = granger_test(y, x, max_lag=14, lag="bic")
    corrected = causal_decision(result)
    released = causal_decision(result, rule="as_released")
    assert corrected.causal[:3].tolist() == [True, True, False]
    assert corrected.pvalue[2].isnan()
    assert corrected.missing.nonzero()[:, 0].tolist() == [2]
    assert corrected.n_missing == released.n_missing == 1
    assert released.causal[:3].tolist() == [True, True, True]
    assert released.pvalue[2] == 0
    assert released.n_causal > 10 > corrected.n_causal
    assert torch.equal(released.causal, released.pvalue < 0.05)
    assert (corrected.rule, released.rule) == ("corrected", "as_released")


def test_released_is_below_alpha_and_corrected_is_at_most_alpha():
    result = granger_test(Y, RNG.normal(size=(W, 40)), max_lag=3, lag=1)
    p = causal_decision(result).pvalue
    level = float(p.min())
    assert causal_decision(result, alpha=level).causal.any()
    level = float(result.released.min())
    assert not causal_decision(result, rule="as_released", alpha=level).causal.any()


def test_a_fixed_lag_and_bonferroni_keep_the_rate_of_false_discoveries():
    """120 sets of noise: the chance that a set has any discovery is 5% or less, by theory."""
    rng = np.random.default_rng(2)
    fixed = bonferroni_rule = released = 0
    for _ in range(120):
        result = granger_test(rng.normal(size=W), rng.normal(size=(W, 20)), max_lag=5, lag=1)
        fixed += causal_decision(result).n_causal > 0
        bonferroni_rule += causal_decision(result, over_lags="bonferroni").n_causal > 0
        released += causal_decision(result, rule="as_released").n_causal > 0
    assert fixed <= 15  # P(more) = 3e-4 at 5%
    assert bonferroni_rule <= 15
    assert released > 108


def test_decisions_want_known_words_and_a_chosen_lag():
    result = granger_test(Y, RNG.normal(size=(W, 2)), max_lag=2)
    with pytest.raises(ValueError, match="no lag was chosen: call granger_test with lag='bic'"):
        causal_decision(result)
    assert causal_decision(result, over_lags="bonferroni").causal.shape == (2,)
    with pytest.raises(ValueError, match="Did you mean 'as_released'"):
        causal_decision(result, rule="released")
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\]; got 5"):
        causal_decision(result, rule="as_released", alpha=5)


@settings(max_examples=50, deadline=None)
@given(
    p=st.lists(
        st.one_of(st.floats(0, 1), st.sampled_from([0.01, 0.05]), st.just(math.nan)), max_size=30
    )
)
def test_benjamini_hochberg_is_statsmodels(p):
    from statsmodels.stats.multitest import multipletests

    p = np.array(p, dtype=float)
    expected = np.full_like(p, np.nan)
    known = ~np.isnan(p)
    if known.any():
        expected[known] = multipletests(p[known], method="fdr_bh")[1]
    found = benjamini_hochberg(torch.from_numpy(p)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_bonferroni_is_statsmodels_smallest():
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(3).random((14, 50)) ** 3
    expected = [multipletests(column, method="bonferroni")[1].min() for column in p.T]
    np.testing.assert_allclose(bonferroni(torch.from_numpy(p)).numpy(), expected, rtol=1e-14)
    p[5:, 0] = np.nan
    assert bonferroni(torch.from_numpy(p))[0] == min(1.0, 5 * np.nanmin(p[:, 0]))
