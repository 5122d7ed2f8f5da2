"""What `CausalLasso` asks of its input, and what it says when it is not met."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from causalprune_lib.causality.lasso import CausalLasso, causal_samples, lasso_path
from causalprune_lib.causality.solver import Features, as_features
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout

# Runs only where SciPy was imported with SCIPY_ARRAY_API=1, which no test can change afterwards.
NOT_RUN = {"check_array_api_input"}


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_scikit_learns_own_checks(solver):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # several checks use an effect of zero
        checks = check_estimator(CausalLasso(solver=solver), on_fail=None, on_skip=None)
    assert len(checks) > 40
    failed = {c["check_name"]: c["exception"] for c in checks if c["status"] != "passed"}
    assert failed.keys() <= NOT_RUN, failed


def data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 80))
    return x, x[:, 0] - x[:, 1] + 0.1 * rng.normal(size=30)


def test_the_penalty_can_be_searched_for():
    x, y = data()
    search = GridSearchCV(CausalLasso(), {"alpha_ratio": [0.9, 0.1]}, cv=3).fit(x, y)
    assert search.best_params_ == {"alpha_ratio": 0.1}
    assert search.best_score_ > 0.5


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"alpha": 0.0}, ValueError, "alpha must be a finite number > 0; got 0.0"),
        ({"alpha": -1.0}, ValueError, "alpha must be a finite number > 0; got -1.0"),
        ({"alpha": np.nan}, ValueError, "alpha must be a finite number > 0; got nan"),
        ({"alpha": "small"}, TypeError, "alpha must be a finite number > 0; got 'small'"),
        ({"alpha_ratio": 0}, ValueError, "alpha_ratio must be a finite number > 0; got 0"),
        ({"alpha": 1.0, "alpha_ratio": 0.1}, ValueError, "alpha or alpha_ratio, not both"),
        ({"solver": "exakt"}, ValueError, "Did you mean 'exact'"),
        ({"tol": 0.0}, ValueError, "tol must be a finite number > 0"),
        ({"max_iter": 0}, ValueError, "max_iter must be >= 1; got 0"),
        ({"groups": [0, 1]}, ValueError, r"groups must have shape \(80\); got \(2,\)"),
        ({"groups": np.zeros(80)}, TypeError, "groups must be whole numbers; got float64"),
    ],
)
def test_bad_options(options, error, said):
    with pytest.raises(error, match=said):
        CausalLasso(**options).fit(*data())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alphas": [1.0, 0.0]}, r"alphas must be a finite number > 0; got 0\.0"),
        ({"alpha_ratios": []}, "alpha_ratios must hold at least one number"),
        ({"alphas": [1.0], "alpha_ratios": [0.5]}, "alphas or alpha_ratios, not both"),
    ],
)
def test_bad_penalties_of_a_path(options, said):
    with pytest.raises(ValueError, match=said):
        lasso_path(*data(), **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad):
    x, y = data()
    broken = x.copy()
    broken[3, 5] = bad
    with pytest.raises(ValueError, match="contains"):  # scikit-learn's words for arrays
        CausalLasso().fit(broken, y)
    with pytest.raises(ValueError, match=r"got 1 columns with NaN.*first is column 5"):
        CausalLasso().fit(Features(broken), y)
    y[2] = bad
    with pytest.raises(ValueError, match=r"y must be finite; got 1 NaN.*index \(2,\)"):
        CausalLasso().fit(Features(x), y)


def test_values_too_large_or_too_small():
    x, y = data()
    with pytest.raises(ValueError, match="small enough to be squared; got 80 columns"):
        CausalLasso().fit(1e200 * x, y)
    for solver in ("exact", "sgd"):
        with pytest.raises(ValueError, match="x must be large enough to be squared; got at most"):
            CausalLasso(solver=solver).fit(1e-160 * x, y)
    with pytest.raises(ValueError, match="y times x must be neither 0 nor infinite; got about inf"):
        CausalLasso().fit(1e150 * x, 1e200 * y)


@pytest.mark.parametrize("values", [np.full((3, 2), 1j), np.full((3, 2), "1")])
def test_values_that_are_no_real_numbers(values):
    for given in (values, torch.from_numpy(values) if values.dtype.kind == "c" else values):
        with pytest.raises(TypeError, match="x must hold real numbers; got dtype"):
            lasso_path(given, np.ones(3))
    with pytest.raises(TypeError, match="y must hold real numbers; got dtype"):
        lasso_path(np.ones((3, 2)), values[:, 0])


def test_shapes():
    x, y = data()
    with pytest.raises(ValueError, match=r"y must have shape \(30\); got \(29,\)"):
        CausalLasso().fit(Features(x), y[1:])
    with pytest.raises(ValueError, match=r"at least one row and one column; got \(0, 80\)"):
        lasso_path(x[:0], y[:0])
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        CausalLasso().fit(x[:0], y[:0])
    with pytest.raises(ValueError, match=r"x must have shape \(any, any\); got \(30,\)"):
        lasso_path(y, y)
    model = CausalLasso().fit(x, y)
    with pytest.raises(ValueError, match="X must have 80 columns; got 79"):
        model.predict(Features(x[:, 1:]))
    with pytest.raises(NotFittedError):
        CausalLasso().predict(x)


@pytest.mark.parametrize(("solver", "zero"), [("exact", "x"), ("exact", "y"), ("sgd", "y")])
def test_zeros_give_zeros_with_a_warning(solver, zero):
    x, y = data()
    x, y = (0 * x, y) if zero == "x" else (x, 0 * y)
    with pytest.warns(UserWarning, match="all coefficients are zero"):
        model = CausalLasso(solver=solver).fit(x, y)
    assert not model.support_.any()
    assert (model.alpha_max_, model.dual_gap_, model.relative_gap_) == (0, 0, 0)


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_columns_of_zero_are_never_kept(solver):
    x, y = data()
    x[:, 10:40] = 0
    model = CausalLasso(alpha_ratio=0.01, solver=solver).fit(x, y)
    assert not model.support_[10:40].any()
    assert model.support_.any()
    assert np.isfinite(model.coef_).all()


def test_a_gap_out_of_reach_is_said():
    x, y = data()
    with pytest.warns(ConvergenceWarning, match="the duality gap is"):
        model = CausalLasso(alpha_ratio=0.01, tol=1e-25).fit(x, y)
    assert model.relative_gap_ < 1e-12  # as good as it gets all the same


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
def test_tensors_of_any_precision_that_carry_gradients(dtype):
    x, y = data()
    x = torch.from_numpy(x).to(dtype).requires_grad_()
    expected = CausalLasso().fit(x.detach().double().numpy(), y)
    for given in (x, as_features(x)):
        model = CausalLasso().fit(given, torch.from_numpy(y))
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-5, atol=1e-12)


def walk(losses, steps=None, **options):
    layout = ParameterLayout.of(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))
    steps = np.arange(len(losses)) if steps is None else steps
    weights = np.ones((len(losses), len(options.get("index", range(6)))))
    return Trajectory(steps, weights, layout, loss_before=losses, **options)


def test_samples_need_every_step_and_losses():
    losses = [np.nan, 3.0, 2.0, 1.0]
    with pytest.raises(ValueError, match="every=1"):
        causal_samples(walk(losses, steps=[0, 2, 4, 6]))
    with pytest.raises(ValueError, match="at least 2 steps; got 0 of 2"):
        causal_samples(walk([np.nan] * 4))
    with pytest.raises(ValueError, match="a recorder with a probe"):
        causal_samples(walk(losses), loss="same_batch")
    with pytest.raises(ValueError, match="Did you mean 'two_batch'"):
        causal_samples(walk(losses), loss="two_batches")


def test_weights_that_were_not_recorded_cannot_be_fitted():
    losses = [np.nan, 3.0, 2.0, 1.0]
    for layer in ("0.weight", "1.weight"):
        assert causal_samples(walk(losses, index=[1, 4]), layer=layer)[0].shape == (2, 1)
    with pytest.raises(ValueError, match=r"hold weights of '1\.weight'"):
        causal_samples(walk(losses, index=[1, 2]), layer="1.weight")
