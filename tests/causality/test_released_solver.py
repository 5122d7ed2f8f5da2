"""The released solver, its theorem, its closed form, and where the closed form ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import SGDRegressor
from torch import nn

from causalprune_lib.causality.lasso import CausalLasso, causal_samples
from causalprune_lib.causality.scores import released_support, solver_step_sizes
from causalprune_lib.causality.sgd_lasso import learning_rates, sgd_lasso
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_studies.ch07_lasso.study import sgd_departure

EPS = np.finfo(float).eps


def samples(seed, n_rows=40, n_columns=120, scale=1e-9):
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(n_rows, n_columns)) ** 2, rng.normal(size=n_rows)


def highest(x, y):
    """The least alpha at which the closed form keeps nothing."""
    weights = solver_step_sizes(len(y)).numpy()
    return np.abs((weights * y) @ x).max() / weights.sum()


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
def test_every_iterate_is_a_soft_threshold(seed, n_rows, n_columns, scale, exponent):
    """The theorem, for predictions of any size: the clipping leaves no trace. Signs are mixed, so
    that totals cross zero and the threshold again and again."""
    rng = np.random.default_rng(seed)
    x, y = scale * rng.normal(size=(n_rows, n_columns)), rng.normal(size=n_rows)
    alpha = 10**exponent * scale
    size = 0.0
    for w, total, u in literal(x, y, alpha, passes=3):
        size = max(size, np.abs(total).max(), u)
        expected = np.sign(total) * np.maximum(np.abs(total) - u, 0)
        np.testing.assert_allclose(w, expected, rtol=0, atol=4 * 3 * n_rows * EPS * size)
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
    np.testing.assert_allclose(
        found.rates.reshape(3, 40).sum(0), solver_step_sizes(40).numpy(), rtol=1e-12
    )


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("ratio", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("scale", [1e-9, 1e-16])
def test_the_closed_form_gives_the_same_mask(passes, ratio, scale):
    x, y = samples(2, n_columns=2000, scale=scale)
    alpha = ratio * highest(x, y)
    found = sgd_lasso(x, y, alpha=alpha, passes=passes).coef != 0
    sizes = solver_step_sizes(40, passes=passes)
    closed = released_support(
        torch.from_numpy(x), torch.from_numpy(y), alpha=alpha, step_sizes=sizes
    )
    np.testing.assert_array_equal(found, closed.numpy())
    assert 0 < found.sum() < 2000


def test_both_solvers_agree_on_a_recorded_training():
    """Every layer of a small network, from the weights of its steps to the masks."""
    make = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with TrajectoryRecorder(model) as recorder:
        for _ in range(80):
            x, y = torch.randn(16, 30, generator=make), torch.randint(5, (16,), generator=make)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            recorder.log(loss=loss)
            optimizer.step()
    trajectory = recorder.trajectory()
    for layer in trajectory.layout.names:
        features, y = causal_samples(trajectory, layer=layer)
        x = torch.from_numpy(features.gather(np.arange(features.shape[1])))
        for ratio in (0.5, 0.1, 0.02):
            model = CausalLasso(alpha_ratio=ratio, solver="sgd").fit(features, y)
            assert model.alpha_max_ == pytest.approx(highest(x.numpy(), y), rel=1e-12)
            sizes = solver_step_sizes(len(y))
            closed = released_support(x, torch.from_numpy(y), alpha=model.alpha_, step_sizes=sizes)
            np.testing.assert_array_equal(model.support_, closed.numpy())
            assert model.support_.any()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(2, 20),
    st.floats(-9, 0.3),
    st.floats(-3, -0.1),
    st.integers(1, 4),
)
def test_the_bounds_on_the_departure_hold(seed, n_rows, exponent, ratio, passes):
    x, y = samples(seed, n_rows, 60, 10**exponent)
    alpha = 10**ratio * highest(x, y)
    found = sgd_departure(x, y, alpha=alpha, passes=passes)
    assert found.largest_prediction <= found.bound * (1 + 1e-9)
    assert found.n_different <= found.n_at_risk
    assert found.clipping <= 1e-12
    assert found.n == 60


def test_the_closed_form_holds_where_predictions_are_small_and_only_there():
    """eta |x|^2 from 1e-16 as recorded up to 1: the error of S grows with it, linearly at first."""
    x, y = samples(5, n_columns=3000, scale=1.0)
    scales = np.array([1e-9, 1e-5, 1e-4, 1e-3, 0.1])
    found = [sgd_departure(s * x, y, alpha=0.1 * s * highest(x, y)) for s in scales]
    assert found[0].n_different == 0
    assert found[0].bound < 1e-12
    assert found[-1].n_different > 30
    errors = [f.prediction for f in found]
    assert errors[2] / errors[1] == pytest.approx(100, rel=0.2)  # |x|^2 of the scale
    assert errors[3] > 20 * errors[2]


def test_the_departure_of_no_prediction_is_rounding():
    """With disjoint rows seen once, no earlier step can make a prediction."""
    x = np.diag([1.0, 2.0, 3.0])
    found = sgd_departure(x, [3.0, -1.0, 0.5], alpha=0.1, passes=1)
    assert found.largest_prediction == 0
    assert found.prediction < 4 * EPS
    assert found.n_different == 0
    assert found.n_kept == 3


def test_the_released_solver_does_not_solve_the_lasso():
    """Its predictions are zero, so its gap is that of gamma = 0: (1 - alpha / alpha_max)^2."""
    x, y = samples(6)
    best = CausalLasso(alpha_ratio=0.1).fit(x, y)
    released = CausalLasso(best.alpha_, solver="sgd").fit(x, y)
    assert released.support_.sum() > best.support_.sum() > 0
    assert released.relative_gap_ == pytest.approx(0.9**2, rel=1e-6)
    assert best.relative_gap_ <= 1e-6


def test_the_released_solver_is_not_held_to_t_weights():
    x, y = samples(7, n_rows=10)
    released = CausalLasso(alpha_ratio=0.01, solver="sgd").fit(x, y)
    assert released.support_.sum() > 10
    with pytest.warns(UserWarning, match="coefficients are zero"):
        CausalLasso(released.alpha_max_ * 1.0001, solver="sgd").fit(x, y)


def test_bad_settings():
    x, y = samples(8)
    with pytest.raises(ValueError, match="alpha must be a finite number > 0; got 0"):
        sgd_lasso(x, y, alpha=0.0)
    with pytest.raises(ValueError, match="passes must be >= 1; got 0"):
        sgd_lasso(x, y, alpha=1.0, passes=0)
    with pytest.raises(ValueError, match=r"y must have shape \(40\); got \(39,\)"):
        sgd_lasso(x, y[1:], alpha=1.0)
    with pytest.raises(ValueError, match="y must be finite; got 1 NaN"):
        sgd_departure(x, np.where(np.arange(40) == 3, np.nan, y), alpha=1.0)
    with pytest.raises(ValueError, match="at update 3 of 120 the prediction is nan"):
        sgd_lasso(np.where(np.arange(40) == 2, np.nan, x.T).T, y, alpha=1.0)
    with pytest.raises(ValueError, match=r"the prediction is -?inf"), np.errstate(all="ignore"):
        sgd_lasso(1e160 * x, y, alpha=1e-9)
    with pytest.raises(ValueError, match="base must be a finite number > 0"):
        learning_rates(3, base=0.0)
