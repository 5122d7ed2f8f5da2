"""What the test does on data whose truth is known: level, power, direction, lag.

Seeds and levels were fixed before the numbers were seen.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causalprune_lib.causality.granger import granger_test

LEVEL = 1e-3  # of each test of a theorem


def pairs(rng, n, width):
    """`n` independent pairs of independent white noise."""
    for _ in range(n):
        yield rng.normal(size=width), rng.normal(size=(width, 1))


@pytest.mark.parametrize("effect", ["noise", "walk", "steps"])
def test_p_values_of_noise_are_uniform_whatever_the_effect(effect):
    """Given the effect, one lag of Gaussian noise makes F exactly F(1, n - 3) distributed."""
    rng = np.random.default_rng(2023)
    y = rng.normal(size=40)
    y = {"noise": y, "walk": y.cumsum(), "steps": np.round(y)}[effect]
    result = granger_test(y, rng.normal(size=(40, 4000)), max_lag=1)
    assert stats.kstest(result.f_pvalue[0].numpy(), "uniform").pvalue > LEVEL


@pytest.mark.parametrize("lag", [2, 5])
def test_p_values_of_longer_lags_are_uniform_in_long_series(lag):
    rng = np.random.default_rng(2024)
    y, x = rng.normal(size=600), rng.normal(size=(600, 2000))
    p = granger_test(y, x, max_lag=lag).f_pvalue[lag - 1].numpy()
    assert stats.kstest(p, "uniform").pvalue > LEVEL


def test_the_chi2_test_rejects_noise_too_often_in_short_series():
    """At 44 samples and 14 lags: F keeps 5%, chi2 does not."""
    rng = np.random.default_rng(2025)
    results = [granger_test(y, x, max_lag=14) for y, x in pairs(rng, 120, 44)]
    f = np.mean([float(r.f_pvalue[13, 0]) < 0.05 for r in results])
    chi2 = np.mean([float(r.chi2_pvalue[13, 0]) < 0.05 for r in results])
    assert f < stats.binom.isf(LEVEL, 120, 0.05) / 120
    assert chi2 > 0.9


def test_power_is_that_of_the_noncentral_f():
    """y_t = 0.2 x_{t-1} + e_t: rejections follow F(1, n - 3; 0.04 |x freed of y's past|^2)."""
    rng = np.random.default_rng(2026)
    width, b, n_runs = 150, 0.2, 600
    n = width - 1
    critical = stats.f.isf(0.05, 1, n - 3)
    rejected, expected = 0, []
    for e, x in pairs(rng, n_runs, width):
        y = e.copy()
        y[1:] += b * x[:-1, 0]
        rejected += float(granger_test(y, x, max_lag=1).fstat[0, 0]) > critical
        own = np.column_stack([np.ones(n), y[:-1]])
        free = x[:-1, 0] - own @ np.linalg.lstsq(own, x[:-1, 0], rcond=None)[0]
        expected.append(stats.ncf.sf(critical, 1, n - 3, b**2 * free @ free))
    expected = np.array(expected)
    assert 0.5 < expected.mean() < 0.9
    spread = np.sqrt((expected * (1 - expected)).sum())
    assert abs(rejected - expected.sum()) < stats.norm.isf(LEVEL / 2) * spread


def test_arrows_of_a_vector_autoregression():
    """driver -> effect -> follower, and a bystander: only the arrow into the effect is found.

    The effect given its past is y_t = 0.4 y_{t-1} + white noise, so that what the follower carries
    of older y adds nothing.
    """
    rng = np.random.default_rng(2027)
    n_runs, found = 200, np.zeros(3)
    for _ in range(n_runs):
        driver, effect, follower, bystander = rng.normal(size=(4, 200))
        for t in range(2, 200):
            effect[t] += 0.4 * effect[t - 1] + 0.6 * driver[t - 2]
            follower[t] += 0.7 * effect[t - 1]
            bystander[t] += 0.8 * bystander[t - 1]
        causes = np.stack([driver, follower, bystander], 1)
        found += (granger_test(effect, causes, max_lag=2).f_pvalue[1] < 0.05).numpy()
        assert granger_test(follower, effect[:, None], max_lag=2).f_pvalue[1, 0] < LEVEL
    low, high = stats.binom.ppf([LEVEL / 2, 1 - LEVEL / 2], n_runs, 0.05)
    assert found[0] == n_runs
    assert low <= found[1] <= high
    assert low <= found[2] <= high


def test_a_lag_beyond_max_lag_is_not_seen():
    rng = np.random.default_rng(2028)
    x, y = rng.normal(size=(300, 1)), 0.5 * rng.normal(size=300)
    y[4:] += x[:-4, 0]
    p = granger_test(y, x, max_lag=4).f_pvalue[:, 0]
    assert (p[:3] > LEVEL).all()
    assert p[3] < 1e-30


def test_the_smallest_p_over_14_lags_is_no_5_percent_test():
    """Ours and statsmodels' on separate draws of noise: the same rate, many times the nominal."""
    from statsmodels.tsa.stattools import grangercausalitytests

    rng = np.random.default_rng(2029)
    n, m, ours, theirs = 300, 80, 0.0, 0.0
    for y, x in pairs(rng, n, 60):
        ours += float(granger_test(y, x, max_lag=14).released[0]) < 0.05
    for y, x in pairs(rng, m, 60):
        tests = grangercausalitytests(np.column_stack([y, x]), 14)
        theirs += min(round(t[0]["ssr_chi2test"][1], 4) for t in tests.values()) < 0.05
    ours, theirs = ours / n, theirs / m
    pooled = (n * ours + m * theirs) / (n + m)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    assert abs(ours - theirs) < stats.norm.isf(LEVEL / 2) * spread
    assert ours > 10 * 0.05


def test_bic_finds_the_true_lag_and_aic_overshoots():
    rng = np.random.default_rng(2030)
    n, chosen = 120, {"bic": [], "aic": []}
    for e, x in pairs(rng, n, 200):
        y = e.copy()
        y[3:] += 0.5 * x[:-3, 0]
        for kind, lags in chosen.items():
            lags.append(int(granger_test(y, x, max_lag=8, lag=kind).lag[0]))
    bic, aic = (np.array(chosen[kind]) for kind in ("bic", "aic"))
    assert (bic == 3).mean() > 0.95
    assert (aic >= 3).mean() > 0.95
    assert (aic > 3).mean() > (bic > 3).mean() + 0.05


@pytest.mark.parametrize("kind", ["aic", "bic"])
def test_criteria_are_those_of_the_unrestricted_model_on_common_rows(kind):
    from statsmodels.api import OLS

    rng = np.random.default_rng(2031)
    y, x = 1e-3 * rng.normal(size=50).cumsum(), 5 + rng.normal(size=(50, 3))
    result = granger_test(y, x, max_lag=6, lag=kind)
    expected = np.empty((6, 3))
    for s in range(3):
        for lag in range(1, 7):
            columns = [np.ones(44)]
            for i in range(1, lag + 1):
                columns += [y[6 - i : 50 - i], x[6 - i : 50 - i, s]]
            expected[lag - 1, s] = getattr(OLS(y[6:], np.column_stack(columns)).fit(), kind)
    np.testing.assert_allclose(result.criterion.numpy(), expected, rtol=1e-9)
    assert (result.lag.numpy() == expected.argmin(0) + 1).all()
