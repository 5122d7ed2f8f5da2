"""The batched Granger test against statsmodels, and against itself in pieces."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.causality import granger as lagged
from causalprune_lib.causality.granger import granger_test

EPS = np.finfo(float).eps


def statsmodels_tests(effect, cause, max_lag):
    """(4, L): F, its p-value, chi2, its p-value, as statsmodels has them."""
    from statsmodels.tsa.stattools import grangercausalitytests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = grangercausalitytests(np.column_stack([effect, cause]), max_lag)
    tests = [found[lag][0] for lag in range(1, max_lag + 1)]
    return np.array([[*t["ssr_ftest"][:2], *t["ssr_chi2test"][:2]] for t in tests]).T


def ours(result):
    """(4, L, S) in the same order."""
    return torch.stack([result.fstat, result.f_pvalue, result.chi2, result.chi2_pvalue]).numpy()


def noise(seed, width, n_series):
    rng = np.random.default_rng(seed)
    return rng.normal(size=width), rng.normal(size=(width, n_series))


@pytest.mark.parametrize(
    ("width", "max_lag", "seed"), [(60, 14, 0), (44, 14, 1), (5, 1, 2), (23, 7, 3), (400, 6, 4)]
)
def test_p_values_are_those_of_statsmodels(width, max_lag, seed):
    y, x = noise(seed, width, 6)
    x[2:, 0] += 0.6 * y[:-2]  # arrow the wrong way
    y[1:] += 0.7 * x[:-1, 1]  # and one the right way
    x[:, 2] = x[:, 2].cumsum()
    found = ours(granger_test(y, x, max_lag=max_lag))
    for s in range(6):
        expected = statsmodels_tests(y, x[:, s], max_lag)
        np.testing.assert_allclose(found[1::2, :, s], expected[1::2], rtol=0, atol=1e-10)
        np.testing.assert_allclose(found[::2, :, s], expected[::2], rtol=1e-8, atol=1e-10)


def test_tiny_p_values_agree_relatively():
    """|d log p / d log F| <= d2 / 2, so that a relative error of 1e-11 in F stays below it."""
    y, x = noise(5, 80, 4)
    x *= np.array([0.5, 0.1, 0.02, 1e-3])
    y = np.concatenate([[0], x[:-1].sum(1)]) + 0.02 * y
    found = ours(granger_test(y, x[:, :2], max_lag=3))
    for s in range(2):
        expected = statsmodels_tests(y, x[:, s], 3)
        np.testing.assert_allclose(found[1::2, :, s], expected[1::2], rtol=80 / 2 * 1e-11)
    assert found[1].min() < 1e-30
    assert found[3].min() < 1e-250


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-5, 1e-7])
def test_nearly_collinear_causes(distance):
    """Rounding of the data alone moves p by about eps / distance; both sides stay within that."""
    y, x = noise(6, 60, 4)
    x = y[:, None] + distance * x
    found = ours(granger_test(y, x, max_lag=8))
    for s in range(4):
        expected = statsmodels_tests(y, x[:, s], 8)
        tolerance = max(1e-10, 200 * EPS / distance)
        np.testing.assert_allclose(found[1::2, :, s], expected[1::2], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "kind", ["walk", "smooth", "decay", "spikes", "outlier", "offset", "units"]
)
def test_series_as_weights_have_them(kind):
    y, x = noise(7, 60, 4)
    t = np.arange(60)[:, None]
    x = {
        "walk": x.cumsum(0),
        "smooth": x.cumsum(0).cumsum(0),
        "decay": np.exp(-t / 15) + 1e-3 * x,
        "spikes": np.where(np.abs(x) > 1, x, 0.0),
        "outlier": np.where(t == 20, 1e4, x),
        "offset": 1e3 + x,
        "units": x * np.array([1e-4, 1e-2, 1e2, 1e4]),
    }[kind]
    found = ours(granger_test(y, x, max_lag=14))
    for s in range(4):
        expected = statsmodels_tests(y, x[:, s], 14)
        np.testing.assert_allclose(found[1::2, :, s], expected[1::2], rtol=0, atol=1e-10)


def test_both_decompositions_agree(monkeypatch):
    y, x = noise(8, 60, 50)
    by_cholesky = ours(granger_test(y, x, max_lag=14))
    monkeypatch.setattr(lagged, "PIVOT_GATE", np.inf)
    by_qr = ours(granger_test(y, x, max_lag=14))
    assert not np.array_equal(by_cholesky, by_qr)
    np.testing.assert_allclose(by_cholesky[1::2], by_qr[1::2], rtol=0, atol=1e-12)


def test_the_lines_for_a_gpu_agree_with_those_for_a_cpu(monkeypatch):
    y, x = noise(9, 60, 20)
    on_numpy = ours(granger_test(y, x, max_lag=14))
    monkeypatch.setattr(lagged, "native", lambda tensor: tensor)
    on_torch = ours(granger_test(y, x, max_lag=14))
    np.testing.assert_allclose(on_torch, on_numpy, rtol=1e-9)


@pytest.mark.gpu
def test_on_a_gpu():
    y, x = noise(10, 60, 500)
    x[:, :50] = x[:, :50].cumsum(0).cumsum(0)
    x[:, 50] = 3.0
    on_gpu = granger_test(y, torch.from_numpy(x).cuda(), max_lag=14, lag="bic")
    on_cpu = granger_test(y, x, max_lag=14, lag="bic")
    assert on_gpu.pvalue.is_cuda
    assert on_gpu.released.is_cuda
    torch.testing.assert_close(
        on_gpu.f_pvalue.cpu(), on_cpu.f_pvalue, rtol=0, atol=1e-9, equal_nan=True
    )
    assert torch.equal(on_gpu.lag.cpu(), on_cpu.lag)
    assert torch.equal(on_gpu.code.cpu(), on_cpu.code)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    max_lag=st.integers(1, 6),
    spare=st.integers(0, 30),
    n_series=st.integers(1, 9),
)
def test_batched_equals_looped_equals_chunked(seed, max_lag, spare, n_series):
    y, x = noise(seed, 3 * max_lag + 2 + spare, n_series)
    whole = granger_test(y, x, max_lag=max_lag, lag="aic")
    pieces = granger_test(y, x, max_lag=max_lag, lag="aic", chunk_bytes=1)
    alone = [granger_test(y, x[:, [s]], max_lag=max_lag, lag="aic") for s in range(n_series)]
    for other in (ours(pieces), np.concatenate([ours(one) for one in alone], 2)):
        np.testing.assert_allclose(other[1::2], ours(whole)[1::2], rtol=0, atol=1e-10)
    assert torch.equal(pieces.lag, whole.lag)
    assert torch.equal(torch.cat([one.lag for one in alone]), whole.lag)


def test_threads_share_the_work_and_are_as_many_afterwards():
    y, x = noise(19, 60, 1100)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = granger_test(y, x, max_lag=6, lag="bic")
        torch.set_num_threads(3)
        shared = granger_test(y, x, max_lag=6, lag="bic")
        assert torch.get_num_threads() == 3
        granger_test(y, x[:, :2], max_lag=6)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(ours(shared), ours(alone), rtol=1e-9)
    assert torch.equal(shared.lag, alone.lag)
    assert torch.equal(shared.released, alone.released)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    log_unit=st.floats(-250, 250),
    shift=st.floats(-100, 100),
    sign=st.sampled_from([-1, 1]),
)
def test_units_and_origins_do_not_matter(seed, log_unit, shift, sign):
    """A shift of up to 100 costs two digits of the data: eps * 100, far below the tolerance."""
    y, x = noise(seed, 50, 3)
    plain = granger_test(y, x, max_lag=5, lag="bic")
    unit = sign * 10.0**log_unit
    moved = granger_test(-3e7 * (y + shift), unit * (x + shift), max_lag=5, lag="bic")
    np.testing.assert_allclose(ours(moved)[1::2], ours(plain)[1::2], rtol=0, atol=1e-10)
    assert torch.equal(moved.lag, plain.lag)


def test_tensors_arrays_and_views_give_the_same():
    y, x = noise(11, 40, 6)
    expected = ours(granger_test(y, x, max_lag=3))
    wide = np.ascontiguousarray(x.T)
    for effect, causes in [
        (torch.from_numpy(y), torch.from_numpy(x)),
        (y, wide.T),
        (y[::-1][::-1], x[:, ::-1][:, ::-1]),
        (torch.from_numpy(y), torch.from_numpy(wide).T),
    ]:
        assert np.array_equal(ours(granger_test(effect, causes, max_lag=3)), expected)
    whole_numbers = np.arange(40) % 7
    result = granger_test(y, whole_numbers[:, None], max_lag=1)
    same = granger_test(y, whole_numbers[:, None].astype(float), max_lag=1)
    assert torch.equal(result.fstat, same.fstat)


def test_the_caller_s_data_are_left_alone():
    y, x = noise(12, 40, 3)
    x[3, 0] = np.nan
    before = y.copy(), x.copy()
    granger_test(y, x, max_lag=3, lag="bic")
    np.testing.assert_array_equal(y, before[0])
    np.testing.assert_array_equal(x, before[1])
