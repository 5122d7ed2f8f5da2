"""Where the closed form of the released solver ends: bounds on how far the solver is from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.causality.scores import solver_step_sizes
from causalprune_studies.ch07_lasso.departure import sgd_departure

EPS = np.finfo(float).eps


def samples(seed, n_rows=40, n_columns=120, scale=1e-9):
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(n_rows, n_columns)) ** 2, rng.normal(size=n_rows)


def highest(x, y):
    """The least alpha at which the closed form keeps nothing."""
    weights = solver_step_sizes(len(y)).numpy()
    return np.abs((weights * y) @ x).max() / weights.sum()


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


def test_bad_losses_are_named():
    x, y = samples(8)
    with pytest.raises(ValueError, match="y must be finite; got 1 NaN"):
        sgd_departure(x, np.where(np.arange(40) == 3, np.nan, y), alpha=1.0)
