"""What `CausalLasso` asks of its input, and what it says when it is not met."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

from causalprune_lib.causality.lasso import CausalLasso, lasso_path
from causalprune_lib.causality.solver import ArrayColumns

# Runs only where SciPy was imported with SCIPY_ARRAY_API=1, which no test can change afterwards.
NOT_RUN = {"check_array_api_input"}


@pytest.mark.parametrize(
    "options",
    [{}, {"solver": "sgd"}, {"standardise": True, "fit_intercept": True}],
    ids=["exact", "sgd", "standardised"],
)
def test_scikit_learns_own_checks(options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # several checks use an effect of zero
        checks = check_estimator(CausalLasso(**options), on_fail=None, on_skip=None)
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
        ({"solver": "sgd", "passes": 0}, ValueError, "passes must be >= 1; got 0"),
    ],
)
def test_bad_options(options, error, said):
    with pytest.raises(error, match=said):
        CausalLasso(**options).fit(*data())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad):
    x, y = data()
    broken = x.copy()
    broken[3, 5] = bad
    with pytest.raises(ValueError, match="contains"):  # scikit-learn's words for arrays
        CausalLasso().fit(broken, y)
    with pytest.raises(ValueError, match=r"got 1 columns with NaN.*first is column 5"):
        CausalLasso().fit(ArrayColumns(broken), y)
    with pytest.raises(ValueError, match="small enough to be squared; got 80 columns"):
        CausalLasso().fit(ArrayColumns(1e200 * x), y)
    y[2] = bad
    with pytest.raises(ValueError, match=r"y must be finite; got 1 NaN.*index \(2,\)"):
        CausalLasso().fit(ArrayColumns(x), y)


def test_shapes():
    x, y = data()
    with pytest.raises(ValueError, match=r"y must have shape \(30\); got \(29,\)"):
        CausalLasso().fit(ArrayColumns(x), y[1:])
    with pytest.raises(ValueError, match=r"at least one row and one column; got \(0, 80\)"):
        lasso_path(x[:0], y[:0])
    with pytest.raises(ValueError, match="at least one row and one column"):
        CausalLasso().fit(ArrayColumns(x[:0]), y[:0])
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        CausalLasso().fit(x[:0], y[:0])
    with pytest.raises(ValueError, match=r"x must have shape \(any, any\); got \(30,\)"):
        lasso_path(y, y)
    model = CausalLasso().fit(x, y)
    with pytest.raises(ValueError, match="X must have 80 columns; got 79"):
        model.predict(ArrayColumns(x[:, 1:]))
    with pytest.raises(NotFittedError):
        CausalLasso().predict(x)


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_an_effect_of_zero_gives_zeros_with_a_warning(solver):
    x, _ = data()
    with pytest.warns(UserWarning, match="all coefficients are zero"):
        model = CausalLasso(solver=solver).fit(x, np.zeros(30))
    assert not model.support_.any()
    assert (model.alpha_max_, model.dual_gap_, model.relative_gap_) == (0, 0, 0)
    with pytest.warns(UserWarning, match="all coefficients are zero"):
        CausalLasso(fit_intercept=True).fit(x, np.full(30, 3.0))


@pytest.mark.parametrize("options", [{}, {"standardise": True}, {"solver": "sgd"}])
def test_columns_of_zero_are_never_kept(options):
    x, y = data()
    x[:, 10:40] = 0
    model = CausalLasso(alpha_ratio=0.01, **options).fit(x, y)
    assert not model.support_[10:40].any()
    assert model.support_.any()
    assert np.isfinite(model.coef_).all()


def test_constant_columns_are_never_kept_beside_an_intercept():
    x, y = data()
    x[:, 7] = 1e6 + 0.1  # not a sum of powers of two: its centred norm is rounding
    for standardise in (False, True):
        model = CausalLasso(alpha_ratio=0.05, fit_intercept=True, standardise=standardise)
        assert not model.fit(x, y).support_[7]
        assert model.support_[:2].all()


def test_all_columns_zero():
    with pytest.warns(UserWarning, match="all coefficients are zero"):
        model = CausalLasso().fit(np.zeros((5, 3)), np.ones(5))
    assert model.alpha_max_ == 0


def test_a_gap_out_of_reach_is_said():
    x, y = data()
    with pytest.warns(ConvergenceWarning, match="the duality gap is"):
        model = CausalLasso(alpha_ratio=0.01, tol=1e-25).fit(x, y)
    assert model.relative_gap_ < 1e-12  # as good as it gets all the same


def test_penalties_of_a_path():
    x, y = data()
    with pytest.raises(ValueError, match=r"alphas must be a finite number > 0; got 0\.0"):
        lasso_path(x, y, alphas=[1.0, 0.0])
    with pytest.raises(ValueError, match="alpha_ratios must hold at least one number"):
        lasso_path(x, y, alpha_ratios=[])
    with pytest.raises(ValueError, match="alphas or alpha_ratios, not both"):
        lasso_path(x, y, alphas=[1.0], alpha_ratios=[0.5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_of_any_precision_that_carry_gradients(dtype):
    x, y = data()
    x = torch.from_numpy(x).to(dtype).requires_grad_()
    model = CausalLasso().fit(ArrayColumns(x), torch.from_numpy(y))
    expected = CausalLasso().fit(x.detach().double().numpy(), y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-12)
