"""Paths of penalties, and coefficients tied within groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from causalprune_lib.causality.lasso import RATIOS, CausalLasso, lasso_path


def data(seed, n_rows=40, n_columns=150):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n_rows, n_columns)) + rng.normal(size=(n_rows, 1))) ** 2
    return x, rng.normal(size=n_rows) + x[:, 0]


OPTIONS = (
    {},
    {"standardise": True},
    {"fit_intercept": True},
    {"standardise": True, "fit_intercept": True},
)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_path_equals_separate_fits(options):
    """Where the solution is unique, a warm start leaves no trace."""
    x, y = data(0)
    path = lasso_path(x, y, tol=1e-12, **options)
    np.testing.assert_allclose(path.alpha_ratios, RATIOS, rtol=1e-12)
    assert (path.relative_gaps <= 1e-12).all()
    for i, alpha in enumerate(path.alphas):
        model = CausalLasso(alpha, tol=1e-12, **options).fit(x, y)
        np.testing.assert_array_equal(path.support(i), model.support_)
        np.testing.assert_allclose(path.coef(i), model.coef_, rtol=1e-5, atol=1e-10)
        assert path.intercepts[i] == pytest.approx(model.intercept_, rel=1e-6, abs=1e-10)
        assert path.n_kept[i] == model.support_.sum()


def test_the_estimator_walks_the_same_path():
    x, y = data(1)
    path = CausalLasso(standardise=True, tol=1e-10).path(x, y, alpha_ratios=[0.1, 0.4])
    expected = lasso_path(x, y, standardise=True, tol=1e-10, alpha_ratios=[0.4, 0.1])
    np.testing.assert_array_equal(path.alphas, expected.alphas)
    np.testing.assert_array_equal(path.coefs.toarray(), expected.coefs.toarray())
    with pytest.raises(ValueError, match="solver='exact'"):
        CausalLasso(solver="sgd").path(x, y)


def test_penalties_from_alpha_max_on_keep_nothing():
    x, y = data(2)
    path = lasso_path(x, y, alpha_ratios=[2.0, 1.0, 0.9])
    assert path.n_kept[:2].tolist() == [0, 0]
    assert path.n_kept[2] > 0
    assert path.dual_gaps[:2].tolist() == [0, 0]
    by_alpha = lasso_path(x, y, alphas=path.alphas[::-1])
    np.testing.assert_array_equal(by_alpha.coefs.toarray(), path.coefs.toarray())


def test_the_path_of_an_effect_of_zero_is_zero():
    x, _ = data(3)
    path = lasso_path(x, np.zeros(40))
    assert path.coefs.nnz == 0
    assert path.alpha_max == 0
    assert np.isnan(path.alpha_ratios).all()


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_groups_share_one_coefficient(solver):
    x, y = data(4)
    groups = np.random.default_rng(0).integers(5, 25, size=150)
    model = CausalLasso(alpha_ratio=0.2, groups=groups, solver=solver).fit(x, y)
    of_group = {g: set(model.coef_[groups == g]) for g in np.unique(groups)}
    assert all(len(values) == 1 for values in of_group.values())
    n_kept = sum(values != {0.0} for values in of_group.values())
    assert 0 < n_kept < len(of_group)


def test_tied_coefficients_minimise_eq_9_with_weight_sharing():
    """The same objective over all P gammas, minimised over one number per group by a lasso with
    features summed over each group, whose penalty is n_g alpha: here by substitution."""
    x, y = data(5)
    groups = np.repeat(np.arange(15), 10)  # equal sizes: a plain lasso on sums, at 10 alpha
    model = CausalLasso(3.0, groups=torch.from_numpy(groups), tol=1e-12).fit(x, y)
    sums = x.reshape(40, 15, 10).sum(2)
    expected = CausalLasso(30.0, tol=1e-12).fit(sums, y)
    np.testing.assert_allclose(model.coef_[::10], expected.coef_, rtol=1e-6, atol=1e-12)
    assert model.support_.sum() == 10 * expected.support_.sum() > 0

    def objective(coef):
        return ((y - x @ coef) ** 2).mean() / 2 + 3.0 * np.abs(coef).sum()

    assert model.relative_gap_ <= 1e-12
    least = objective(model.coef_)
    rng = np.random.default_rng(1)
    for _ in range(200):
        moved = model.coef_ + 1e-4 * rng.normal(size=15)[groups]
        assert objective(moved) >= least


def test_unequal_groups_pay_for_each_member():
    """Tied columns with two and one member and orthogonal sums: gamma_g = soft(., n_g alpha)."""
    x = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    y = np.array([3.0, 4.0])
    model = CausalLasso(0.25, groups=[1, 1, 0], tol=1e-14).fit(x, y)
    # 1/4 (3 - 2 g)^2 + 0.5 |g|  ->  g = 1.25;  1/4 (4 - 2 h)^2 + 0.25 |h|  ->  h = 1.875
    np.testing.assert_allclose(model.coef_, [1.25, 1.25, 1.875], rtol=1e-12)


def test_one_group_per_column_changes_nothing():
    x, y = data(6)
    plain = CausalLasso(alpha_ratio=0.1, tol=1e-12).fit(x, y)
    tied = CausalLasso(alpha_ratio=0.1, tol=1e-12, groups=np.arange(150)[::-1]).fit(x, y)
    np.testing.assert_allclose(tied.coef_, plain.coef_, rtol=1e-6, atol=1e-12)
    path = lasso_path(x, y, groups=np.zeros(150, int), alpha_ratios=[0.5])
    assert path.n_kept[0] == 150


@pytest.mark.parametrize(
    ("groups", "error", "said"),
    [
        ([0, 1], ValueError, r"groups must have shape \(150\); got \(2,\)"),
        (np.zeros(150), TypeError, "groups must be whole numbers; got float64"),
    ],
)
def test_bad_groups(groups, error, said):
    with pytest.raises(error, match=said):
        CausalLasso(groups=groups).fit(*data(7))
