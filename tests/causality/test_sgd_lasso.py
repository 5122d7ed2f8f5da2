"""The released solver: its theorem, its closed form, and scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import SGDRegressor

from causalprune_lib.causality.scores import solver_step_sizes
from causalprune_lib.causality.sgd_lasso import sgd_lasso

EPS = np.finfo(float).eps


def samples(seed, n_samples=40, n_features=120, scale=1e-9):
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(n_samples, n_features)) ** 2, rng.normal(size=n_samples)


def literal(x, y, alpha, passes):
    """Figure 2 of Tsuruoka et al., coefficient by coefficient; yields (w, total, U) per update."""
    n = x.shape[1]
    w, q, total, u, i = [0.0] * n, [0.0] * n, [0.0] * n, 0.0, 0
    for _ in range(passes):
        for x_t, y_t in zip(x.tolist(), y.tolist(), strict=True):
            i += 1
            rate = 0.01 / i**0.25
            u += alpha * rate
            error = y_t - sum(a * b for a, b in zip(w, x_t, strict=True))
            for k in range(n):
                step = rate * error * x_t[k]
                z = w[k] + step
                total[k] += step
                if z > 0:
                    w[k] = max(0.0, z - (u + q[k]))
                elif z < 0:
                    w[k] = min(0.0, z + (u - q[k]))
                else:
                    w[k] = z
                q[k] += w[k] - z
            yield np.array(w), np.array(total), u


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.integers(1, 8),
    st.sampled_from([1e-9, 0.1, 1.0, 4.0]),
    st.floats(-3, 0.1),
)
def test_every_iterate_is_a_soft_threshold(seed, n_samples, n_features, scale, exponent):
    """The theorem, for predictions of any size: the clipping leaves no trace. Signs are mixed, so
    that totals cross zero and the threshold again and again."""
    rng = np.random.default_rng(seed)
    x, y = scale * rng.normal(size=(n_samples, n_features)), rng.normal(size=n_samples)
    alpha = 10**exponent * scale
    size = 0.0
    for w, total, u in literal(x, y, alpha, passes=3):
        size = max(size, np.abs(total).max(), u)
        expected = np.sign(total) * np.maximum(np.abs(total) - u, 0)
        np.testing.assert_allclose(w, expected, rtol=0, atol=4 * 3 * n_samples * EPS * size)
    found = sgd_lasso(x, y, alpha=alpha)
    np.testing.assert_allclose(found.coef, w, rtol=0, atol=1e-12 * size)
    np.testing.assert_allclose(found.coef - found.penalty, total, rtol=0, atol=1e-12 * size)
    assert found.threshold == pytest.approx(u, rel=1e-12)


@pytest.mark.parametrize(("scale", "alpha"), [(1.0, 0.05), (1.0, 0.4), (1e-4, 1e-5)])
def test_scikit_learn_has_the_same_solver(scale, alpha):
    """`SGDRegressor` with its defaults for "l1", unshuffled: rates, penalty and clip included."""
    x, y = samples(0, scale=scale)
    x[:, ::2] *= -1
    peer = SGDRegressor(
        penalty="l1", alpha=alpha, fit_intercept=False, max_iter=3, tol=None, shuffle=False
    )
    peer.fit(x, y)
    found = sgd_lasso(x, y, alpha=alpha)
    np.testing.assert_allclose(found.coef, peer.coef_, rtol=1e-9, atol=1e-14 * scale)
    np.testing.assert_array_equal(found.coef != 0, peer.coef_ != 0)
    assert 0 < np.count_nonzero(found.coef) < 120


def test_the_rates_of_three_passes_add_up_to_the_step_sizes():
    found = sgd_lasso(*samples(1), alpha=1e-10)
    np.testing.assert_allclose(found.rates, 0.01 / np.arange(1, 121) ** 0.25, rtol=1e-14)
    sums = found.rates.reshape(3, 40).sum(0)
    np.testing.assert_allclose(sums, solver_step_sizes(40).numpy(), rtol=1e-12)


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("ratio", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("scale", [1e-9, 1e-16])
def test_the_closed_form_gives_the_same_mask(passes, ratio, scale):
    x, y = samples(2, n_features=1000, scale=scale)
    w = solver_step_sizes(40, passes=passes).numpy()
    sums = np.abs((w * y) @ x)
    found = sgd_lasso(x, y, alpha=ratio * sums.max() / w.sum(), passes=passes).coef != 0
    np.testing.assert_array_equal(found, sums > ratio * sums.max())
    assert 0 < found.sum() < 1000


def test_tensors_and_arrays_give_the_same():
    x, y = samples(3)
    expected = sgd_lasso(x, y, alpha=1e-10).coef
    tensors = sgd_lasso(torch.from_numpy(x), torch.from_numpy(y), alpha=1e-10)
    np.testing.assert_array_equal(tensors.coef, expected)


def test_bad_settings():
    x, y = samples(8)
    with pytest.raises(ValueError, match="alpha must be a finite number > 0; got 0"):
        sgd_lasso(x, y, alpha=0.0)
    with pytest.raises(ValueError, match="passes must be >= 1; got 0"):
        sgd_lasso(x, y, alpha=1.0, passes=0)
    with pytest.raises(ValueError, match="base must be a finite number > 0"):
        sgd_lasso(x, y, alpha=1.0, base=0.0)
    with pytest.raises(ValueError, match=r"y must have shape \(40\); got \(39,\)"):
        sgd_lasso(x, y[1:], alpha=1.0)
    with pytest.raises(ValueError, match="y must be finite; got 1 NaN"):
        sgd_lasso(x, np.where(np.arange(40) == 3, np.nan, y), alpha=1.0)
    with pytest.raises(ValueError, match="at update 3 of 120 the prediction is nan"):
        sgd_lasso(np.where(np.arange(40) == 2, np.nan, x.T).T, y, alpha=1.0)
    with pytest.raises(ValueError, match=r"the prediction is -?inf"), np.errstate(all="ignore"):
        sgd_lasso(1e160 * x, y, alpha=1e-9)
