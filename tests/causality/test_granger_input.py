"""Series that cannot be tested, and arguments that make no sense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from causalprune_lib.causality.granger import granger_test, min_length


def test_each_bad_series_says_why_and_harms_no_other(noise, numbers):
    y, x = noise(13, 60, 12)
    clean = numbers(granger_test(y, x, max_lag=5))
    x[7, 1] = np.nan
    x[0, 2] = -np.inf
    x[:, 3] = 1 / 3
    x[:, 4] = 2 * y + 3
    x[:, 5] = np.arange(60)
    x[:, 6] = np.concatenate([y[1:], [0.0]])  # foretells the effect exactly
    x[:, 7] = np.where(np.arange(60) == 56, 5.0, 0.0)  # the lags 3.. never see the spike
    result = granger_test(y, x, max_lag=5, lag="bic")
    assert result.reason.tolist() == [
        "",
        "not finite",
        "not finite",
        "constant",
        "collinear",
        "collinear",
        "perfect fit",
        "constant",
        *[""] * 4,
    ]
    nowhere = (result.code != 0).all(0)  # the trend has a number at lag 1, the spike at 1 and 2
    assert nowhere.nonzero()[:, 0].tolist() == [1, 2, 3, 4, 6]
    found = numbers(result)
    good = [0, 8, 9, 10, 11]
    np.testing.assert_allclose(found[:, :, good], clean[:, :, good], rtol=1e-10)
    missing = (result.code != 0).numpy()
    assert np.isnan(found[:, missing]).all()
    assert not np.isnan(found[:, ~missing]).any()
    assert result.chosen_pvalue.isnan().nonzero()[:, 0].tolist() == [1, 2, 3, 4, 6]
    assert result.lag[[1, 2, 3, 4, 6]].tolist() == [0] * 5


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        (np.full(60, 0.25), "constant effect"),
        (np.sin(np.arange(60)), "perfect fit"),
        (np.arange(60.0), "perfect fit"),
        (np.where(np.arange(60) == 0, 1.0, 0.5), "constant effect"),
    ],
)
def test_an_effect_that_leaves_nothing_to_explain(noise, effect, reason):
    result = granger_test(effect, noise(14, 60, 3)[1], max_lag=4)
    assert result.reason.tolist() == [reason] * 3
    assert result.pvalue[2:].isnan().all()
    assert result.raised.all()


def test_lags_that_are_too_long_are_missing_and_the_others_are_not(noise):
    y, x = noise(15, 16, 4)
    result = granger_test(y, x, max_lag=14, lag="bic")
    assert result.pvalue[:4].isfinite().all()
    assert result.pvalue[4:].isnan().all()
    assert set(result.reason) == {"too short: lag 5 needs 17 samples"}
    assert result.lag.min() >= 1
    assert result.lag.max() <= 4
    alone = granger_test(y, x, max_lag=4)
    assert torch.equal(result.pvalue[:4], alone.pvalue)


@pytest.mark.parametrize("max_lag", [1, 2, 5, 14])
def test_min_length_is_the_least_that_works(noise, max_lag):
    least = min_length(max_lag)
    y, x = noise(16, least, 3)
    assert granger_test(y, x, max_lag=max_lag).pvalue.isfinite().all()
    short = granger_test(y[1:], x[1:], max_lag=max_lag)
    assert short.pvalue[-1].isnan().all()
    assert short.reason[0] == f"too short: lag {max_lag} needs {least} samples"


@pytest.mark.parametrize(("width", "n_series"), [(0, 2), (1, 2), (4, 2), (30, 0)])
def test_almost_nothing_is_not_an_error(noise, width, n_series):
    y, x = noise(17, width, n_series)
    result = granger_test(y, x, max_lag=2, lag="bic")
    assert result.pvalue.shape == (2, n_series)
    assert result.pvalue.isnan().all()
    assert result.lag.tolist() == [0] * n_series
    assert result.reason.tolist() == ["too short: lag 1 needs 5 samples"] * n_series


def test_errors_name_the_parameter(noise):
    y, x = noise(18, 30, 2)
    with pytest.raises(ValueError, match=r"effect must be finite; got 1 NaN .* index \(4,\)"):
        granger_test(np.where(np.arange(30) == 4, np.nan, y), x, max_lag=2)
    with pytest.raises(ValueError, match=r"causes must have shape \(30, any\); got \(2, 30\)"):
        granger_test(y, x.T, max_lag=2)
    with pytest.raises(ValueError, match=r"effect must have shape \(any\); got \(30, 1\)"):
        granger_test(y[:, None], x, max_lag=2)
    with pytest.raises(ValueError, match="max_lag must be >= 1; got 0"):
        granger_test(y, x, max_lag=0)
    with pytest.raises(TypeError, match="max_lag must be a whole number"):
        granger_test(y, x, max_lag=2.5)
    with pytest.raises(ValueError, match="lag must be <= max_lag = 2; got 3"):
        granger_test(y, x, max_lag=2, lag=3)
    with pytest.raises(ValueError, match="Did you mean 'bic'"):
        granger_test(y, x, max_lag=2, lag="BIC")
    with pytest.raises(ValueError, match="test must be one of 'f', 'chi2'"):
        granger_test(y, x, max_lag=2, test="t")
    with pytest.raises(TypeError, match="causes must hold real numbers; got dtype complex128"):
        granger_test(y, x + 1j, max_lag=2)
    with pytest.raises(TypeError, match=r"effect must hold real numbers; got dtype torch.bool"):
        granger_test(torch.from_numpy(y) > 0, x, max_lag=2)
    with pytest.raises(ValueError, match="no lag was chosen"):
        _ = granger_test(y, x, max_lag=2).chosen_pvalue
