"""Dickey-Fuller tests against statsmodels, and differencing on series of known order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from causalprune_lib.causality.granger import granger_test
from causalprune_studies.ch04_granger.stationarity import adf_test, difference_until_stationary


def series(width, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(width, 9))
    x[:, 3:6] = x[:, 3:6].cumsum(0)
    for t in range(1, width):
        x[t, 6:] += 0.8 * x[t - 1, 6:]
    return x * np.array([1, 1e-3, 1e3] * 3)


@pytest.mark.parametrize("width", [10, 60, 201])
def test_equal_to_statsmodels_and_alone_as_in_a_batch(width):
    from statsmodels.tsa.stattools import adfuller

    x = series(width)
    result = adf_test(x)
    for s in range(x.shape[1]):
        found = adfuller(x[:, s], result_object=True)
        assert int(result.lag[s]) == found.lags
        assert float(result.statistic[s]) == pytest.approx(found.statistic, rel=1e-8)
        assert float(result.pvalue[s]) == pytest.approx(found.pvalue, rel=1e-7, abs=1e-12)
    alone = adf_test(x[:, [4]])
    assert float(alone.statistic) == pytest.approx(float(result.statistic[4]), rel=1e-10)


def test_the_level_of_the_test_on_random_walks():
    """A lag chosen by AIC makes the test a little too ready: about 6% in place of 5."""
    walks = np.random.default_rng(2).normal(size=(300, 1500)).cumsum(0)
    rate = float((adf_test(walks).pvalue < 0.05).double().mean())
    assert 0.03 < rate < 0.08


def test_what_cannot_be_tested_is_missing():
    x = np.random.default_rng(3).normal(size=(40, 5))
    x[:, 0] = 2.5
    x[:, 1] = np.arange(40)
    x[7, 2] = np.nan
    result = adf_test(x)
    assert result.pvalue.isnan().tolist() == [True, True, True, False, False]
    assert result.lag[:3].tolist() == [-1, -1, -1]
    np.testing.assert_allclose(result.pvalue[3:], adf_test(x[:, 3:]).pvalue, rtol=1e-9)
    assert adf_test(x[:3, 3:]).pvalue.isnan().all()
    assert adf_test(x[:4, 3:]).pvalue.isfinite().all()


def test_errors_name_the_parameter():
    x = np.zeros((20, 2))
    with pytest.raises(ValueError, match=r"x must have shape \(any, any\); got \(20,\)"):
        adf_test(x[:, 0])
    with pytest.raises(ValueError, match="causes must have shape"):
        difference_until_stationary(x[:, 0], x[:10])


def test_series_of_known_order():
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(400, 3))
    once, twice = noise[:, 1].cumsum(), noise[:, 2].cumsum().cumsum()
    constant = np.full(400, 3.0)
    ready = difference_until_stationary(once, np.stack([noise[:, 0], twice, constant], 1))
    assert ready.effect_order == 1
    assert ready.cause_order.tolist() == [0, 2, 0]
    # Rows are of the same time: the two that the double differences lack are gone everywhere.
    np.testing.assert_allclose(ready.effect, noise[2:, 1], atol=1e-9)
    np.testing.assert_allclose(ready.causes[:, 0], noise[2:, 0])
    np.testing.assert_allclose(ready.causes[:, 1], noise[2:, 2], atol=1e-9)
    assert adf_test(ready.effect[:, None]).pvalue < 0.05
    assert (adf_test(ready.causes).pvalue[:2] < 0.05).all()


def test_no_more_than_two_differences():
    walk = np.random.default_rng(5).normal(size=(200, 2)).cumsum(0).cumsum(0).cumsum(0)
    ready = difference_until_stationary(walk[:, 0], walk[:, 1:])
    assert ready.effect_order == 2
    assert adf_test(ready.effect[:, None]).pvalue > 0.05
    assert torch.equal(ready.effect, torch.from_numpy(np.diff(walk[:, 0], n=2)))


def test_differencing_removes_spurious_causes():
    """Random walks that share nothing: many seem causal, and 5% after differencing."""
    rng = np.random.default_rng(6)
    n, before, after = 150, 0, 0
    for _ in range(n):
        walks = rng.normal(size=(100, 2)).cumsum(0)
        effect, causes = walks[:, 0], walks[:, 1:]
        before += int(granger_test(effect, causes, max_lag=1).f_pvalue[0, 0] < 0.05)
        ready = difference_until_stationary(effect, causes)
        after += int(granger_test(ready.effect, ready.causes, max_lag=1).f_pvalue[0, 0] < 0.05)
    low, high = stats.binom.ppf([5e-4, 1 - 5e-4], n, 0.05)
    assert before > high
    assert low <= after <= high
