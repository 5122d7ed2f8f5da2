"""The batched Granger test against statsmodels, against itself in pieces, and against the truth.

Seeds and levels of the statistical tests were fixed before the numbers were seen.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from causalprune_lib.causality import granger
from causalprune_lib.causality.granger import best_lag, granger_test, information_criterion

EPS = np.finfo(float).eps
LEVEL = 1e-3  # of each test of a theorem


def statsmodels_tests(effect, cause, max_lag):
    """(4, L): F, its p-value, chi2, its p-value, as statsmodels has them."""
    from statsmodels.tsa.stattools import grangercausalitytests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = grangercausalitytests(np.column_stack([effect, cause]), max_lag)
    tests = [found[lag][0] for lag in range(1, max_lag + 1)]
    return np.array([[*t["ssr_ftest"][:2], *t["ssr_chi2test"][:2]] for t in tests]).T


@pytest.mark.parametrize(
    ("width", "max_lag", "seed"), [(60, 14, 0), (44, 14, 1), (5, 1, 2), (23, 7, 3), (400, 3, 4)]
)
def test_p_values_are_those_of_statsmodels(noise, numbers, width, max_lag, seed):
    y, x = noise(seed, width, 3)
    x[2:, 0] += 0.6 * y[:-2]  # arrow the wrong way
    y[1:] += 0.7 * x[:-1, 1]  # and one the right way
    x[:, 2] = x[:, 2].cumsum()
    found = numbers(granger_test(y, x, max_lag=max_lag))
    for s in range(3):
        expected = statsmodels_tests(y, x[:, s], max_lag)
        np.testing.assert_allclose(found[1::2, :, s], expected[1::2], rtol=0, atol=1e-10)
        np.testing.assert_allclose(found[::2, :, s], expected[::2], rtol=1e-8, atol=1e-10)


def test_tiny_p_values_agree_relatively(noise, numbers):
    """|d log p / d log F| <= d2 / 2, so that a relative error of 1e-11 in F stays below it."""
    y, x = noise(5, 80, 4)
    x *= np.array([0.5, 0.1, 0.02, 1e-3])
    y = np.concatenate([[0], x[:-1].sum(1)]) + 0.02 * y
    found = numbers(granger_test(y, x[:, :2], max_lag=3))
    for s in range(2):
        expected = statsmodels_tests(y, x[:, s], 3)
        np.testing.assert_allclose(found[1::2, :, s], expected[1::2], rtol=80 / 2 * 1e-11)
    assert found[1].min() < 1e-30
    assert found[3].min() < 1e-250


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-5, 1e-7])
def test_nearly_collinear_causes(noise, numbers, distance):
    """Rounding of the data alone moves p by about eps / distance; both sides stay within that."""
    y, x = noise(6, 60, 2)
    x = y[:, None] + distance * x
    found = numbers(granger_test(y, x, max_lag=5))
    for s in range(2):
        expected = statsmodels_tests(y, x[:, s], 5)
        tolerance = max(1e-10, 200 * EPS / distance)
        np.testing.assert_allclose(found[1::2, :, s], expected[1::2], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "kind", ["walk", "smooth", "decay", "spikes", "outlier", "offset", "units"]
)
def test_series_as_weights_have_them(noise, numbers, kind):
    y, x = noise(7, 60, 2)
    t = np.arange(60)[:, None]
    x = {
        "walk": x.cumsum(0),
        "smooth": x.cumsum(0).cumsum(0),
        "decay": np.exp(-t / 15) + 1e-3 * x,
        "spikes": np.where(np.abs(x) > 1, x, 0.0),
        "outlier": np.where(t == 20, 1e4, x),
        "offset": 1e3 + x,
        "units": x * np.array([1e-4, 1e4]),
    }[kind]
    found = numbers(granger_test(y, x, max_lag=14))
    for s in range(2):
        expected = statsmodels_tests(y, x[:, s], 14)
        np.testing.assert_allclose(found[1::2, :, s], expected[1::2], rtol=0, atol=1e-10)


def test_both_decompositions_agree(noise, numbers, monkeypatch):
    y, x = noise(8, 60, 50)
    by_cholesky = numbers(granger_test(y, x, max_lag=14))
    monkeypatch.setattr(granger, "PIVOT_GATE", np.inf)
    by_qr = numbers(granger_test(y, x, max_lag=14))
    assert not np.array_equal(by_cholesky, by_qr)
    np.testing.assert_allclose(by_cholesky[1::2], by_qr[1::2], rtol=0, atol=1e-12)


def test_the_lines_for_a_gpu_agree_with_those_for_a_cpu(noise, numbers, monkeypatch):
    y, x = noise(9, 60, 20)
    on_numpy = numbers(granger_test(y, x, max_lag=14))
    monkeypatch.setattr(granger, "native", lambda tensor: tensor)
    on_torch = numbers(granger_test(y, x, max_lag=14))
    np.testing.assert_allclose(on_torch, on_numpy, rtol=1e-9)


@pytest.mark.gpu
def test_on_a_gpu(noise):
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
def test_batched_equals_looped_equals_chunked(noise, numbers, seed, max_lag, spare, n_series):
    y, x = noise(seed, 3 * max_lag + 2 + spare, n_series)
    options = {"max_lag": max_lag, "lag": "aic"}
    whole = granger_test(y, x, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(granger, "CPU_BYTES_PER_THREAD", 1)  # one series at a time
        pieces = granger_test(y, x, **options)
    alone = [granger_test(y, x[:, [s]], **options) for s in range(n_series)]
    for other in (numbers(pieces), np.concatenate([numbers(one) for one in alone], 2)):
        np.testing.assert_allclose(other[1::2], numbers(whole)[1::2], rtol=0, atol=1e-10)
    assert torch.equal(pieces.lag, whole.lag)
    assert torch.equal(torch.cat([one.lag for one in alone]), whole.lag)


def test_threads_share_the_work_and_are_as_many_afterwards(noise, numbers):
    y, x = noise(19, 60, 600)
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
    np.testing.assert_allclose(numbers(shared), numbers(alone), rtol=1e-9)
    assert torch.equal(shared.lag, alone.lag)
    torch.testing.assert_close(shared.released, alone.released, rtol=0, atol=1.01e-4)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    log_unit=st.floats(-250, 250),
    shift=st.floats(-100, 100),
    sign=st.sampled_from([-1, 1]),
)
def test_units_and_origins_do_not_matter(noise, numbers, seed, log_unit, shift, sign):
    """A shift of up to 100 costs two digits of the data: eps * 100, far below the tolerance."""
    y, x = noise(seed, 50, 3)
    plain = granger_test(y, x, max_lag=5, lag="bic")
    unit = sign * 10.0**log_unit
    moved = granger_test(-3e7 * (y + shift), unit * (x + shift), max_lag=5, lag="bic")
    np.testing.assert_allclose(numbers(moved)[1::2], numbers(plain)[1::2], rtol=0, atol=1e-10)
    assert torch.equal(moved.lag, plain.lag)


def test_tensors_arrays_and_views_give_the_same_and_stay_as_they_are(noise, numbers):
    y, x = noise(11, 40, 6)
    wide, before = np.ascontiguousarray(x.T), (y.copy(), x.copy())
    expected = numbers(granger_test(y, x, max_lag=3))
    read_only = x.copy()
    read_only.flags.writeable = False
    for effect, causes in [
        (torch.from_numpy(y), torch.from_numpy(x)),
        (y, wide.T),
        (y[::-1][::-1], x[:, ::-1][:, ::-1]),
        (torch.from_numpy(y), torch.from_numpy(wide).T),
        (y, read_only),
    ]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(numbers(granger_test(effect, causes, max_lag=3)), expected)
    np.testing.assert_array_equal(y, before[0])
    np.testing.assert_array_equal(x, before[1])
    whole_numbers = np.arange(40)[:, None] % 7
    result = granger_test(y, whole_numbers, max_lag=1)
    assert torch.equal(result.fstat, granger_test(y, whole_numbers * 1.0, max_lag=1).fstat)


# Against the truth


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
    y, x = rng.normal(size=600), rng.normal(size=(600, 1000))
    p = granger_test(y, x, max_lag=lag).f_pvalue[lag - 1].numpy()
    assert stats.kstest(p, "uniform").pvalue > LEVEL


def test_in_short_series_chi2_and_the_smallest_p_reject_noise_too_often_and_f_does_not():
    """44 samples and 14 lags, noise on noise: 8 effects with 20 causes each."""
    rng = np.random.default_rng(2025)
    results = [
        granger_test(rng.normal(size=44), rng.normal(size=(44, 20)), max_lag=14) for _ in range(8)
    ]
    f, chi2, released = (
        torch.cat([read(result) for result in results]) < 0.05
        for read in (lambda r: r.f_pvalue[13], lambda r: r.chi2_pvalue[13], lambda r: r.released)
    )
    assert int(f.sum()) < stats.binom.isf(LEVEL, 160, 0.05)
    assert float(chi2.double().mean()) > 0.9
    assert float(released.double().mean()) > 0.9


def test_power_is_that_of_the_noncentral_f():
    """y_t = 0.2 x_{t-1} + e_t: rejections follow F(1, n - 3; 0.04 |x freed of y's past|^2)."""
    rng = np.random.default_rng(2026)
    width, b, n_runs = 150, 0.2, 200
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
    n_runs, found = 100, np.zeros(3)
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


def test_bic_finds_the_true_lag_and_aic_overshoots():
    rng = np.random.default_rng(2030)
    n, chosen = 120, {"bic": [], "aic": []}
    for e, x in pairs(rng, n, 200):
        y, x = torch.from_numpy(e.copy()), torch.from_numpy(x)
        y[3:] += 0.5 * x[:-3, 0]
        for kind, lags in chosen.items():
            lags.append(int(best_lag(information_criterion(y, x, max_lag=8, kind=kind))))
    bic, aic = (np.array(chosen[kind]) for kind in ("bic", "aic"))
    assert (bic == 3).mean() > 0.95
    assert (aic >= 3).mean() > 0.95
    assert (aic > 3).mean() > (bic > 3).mean() + 0.05


@pytest.mark.parametrize("kind", ["aic", "bic"])
def test_criteria_are_those_of_the_unrestricted_model_on_common_rows(kind):
    from statsmodels.api import OLS

    rng = np.random.default_rng(2031)
    y, x = 1e-3 * rng.normal(size=50).cumsum(), 5 + rng.normal(size=(50, 3))
    expected = np.empty((6, 3))
    for s in range(3):
        for lag in range(1, 7):
            columns = [np.ones(44)]
            for i in range(1, lag + 1):
                columns += [y[6 - i : 50 - i], x[6 - i : 50 - i, s]]
            expected[lag - 1, s] = getattr(OLS(y[6:], np.column_stack(columns)).fit(), kind)
    found = information_criterion(*map(torch.from_numpy, (y, x)), max_lag=6, kind=kind)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    result = granger_test(y, x, max_lag=6, lag=kind)
    assert (result.lag.numpy() == expected.argmin(0) + 1).all()
