"""The exact lasso: optimal by its own conditions, and as scikit-learn finds it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_sparse_uncorrelated
from sklearn.linear_model import Lasso, lasso_path

from causalprune_lib.causality import solver as active_set
from causalprune_lib.causality import solver as working_set
from causalprune_lib.causality.lasso import CausalLasso
from causalprune_lib.causality.solver import duality_gap, may_be_active

EPS = np.finfo(float).eps
KINDS = ("random", "alike", "repeated", "squares", "walk")


def design(kind: str, seed: int, n_rows: int, n_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """x (T, P) and y (T,); all but "random" are correlated, "repeated" has equal columns."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, n_columns))
    if kind == "alike":
        x = 0.05 * x + rng.normal(size=(n_rows, 1))
    elif kind == "repeated":
        x = x[:, rng.integers(0, n_columns, size=n_columns)]
    elif kind == "squares":  # as recorded: steps and weights of very different size, all above 0
        x = np.exp(2 * rng.normal(size=(n_rows, 1))) * np.exp(2 * rng.normal(size=n_columns)) * x
        x = 1e-12 * x**2
    elif kind == "walk":
        x = x.cumsum(1)
    y = rng.normal(size=n_rows) + x[:, 0] / np.abs(x[:, 0]).max()
    return x, y


def objective(x, y, coef, alpha):
    residual = y - x @ coef
    return residual @ residual / (2 * len(y)) + alpha * np.abs(coef).sum()


def independent_gap(x, y, coef, alpha):
    """The gap from the textbook's dual, with the residual scaled to be feasible."""
    residual = (y - x @ coef) / len(y)
    residual = residual * min(1.0, alpha / np.abs(x.T @ residual).max())
    dual = len(y) / 2 * (y @ y / len(y) ** 2 - ((residual - y / len(y)) ** 2).sum())
    return objective(x, y, coef, alpha) - dual


designs = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 150)
)


def rounding_of(x, model):
    """Of the gap. |z| |gamma|_1 is the size of what cancels in a residual; it comes in squared."""
    size = np.linalg.norm(x, axis=0).max() * np.abs(model.coef_).sum()
    return 4 * EPS * (size**2 / len(x) + model.alpha_ * np.abs(model.coef_).sum())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@settings(max_examples=80, deadline=None)
@given(designs, st.floats(-3.5, -0.05), st.sampled_from([1e-4, 1e-8, 1e-12]))
def test_optimal_by_the_duality_gap(problem, exponent, tol):
    x, y = design(*problem)
    model = CausalLasso(alpha_ratio=10**exponent, tol=tol).fit(x, y)
    null = y @ y / (2 * len(y))
    allowed = tol * null + rounding_of(x, model)
    assert 0 <= model.dual_gap_ <= allowed
    assert model.dual_gap_ == pytest.approx(model.relative_gap_ * null, rel=1e-9)
    assert independent_gap(x, y, model.coef_, model.alpha_) <= allowed + 1e-13 * null


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@settings(max_examples=60, deadline=None)
@given(designs, st.floats(-3, -0.05))
def test_optimal_by_kkt(problem, exponent):
    """A gap G means |residual - best| <= sqrt(2 T G), which bounds every correlation's error."""
    x, y = design(*problem)
    model = CausalLasso(alpha_ratio=10**exponent, tol=1e-12).fit(x, y)
    correlation = x.T @ (y - x @ model.coef_) / len(y)
    gap = 1e-12 * (y @ y) / (2 * len(y)) + rounding_of(x, model)
    error = np.linalg.norm(x, axis=0) * np.sqrt(2 * gap / len(y))
    assert (np.abs(correlation) <= model.alpha_ + error).all()
    kept = model.support_
    pull = correlation[kept] * np.sign(model.coef_[kept])
    assert (np.abs(pull - model.alpha_) <= error[kept]).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@settings(max_examples=60, deadline=None)
@given(designs, st.floats(-4, -0.05), st.sampled_from([1e-3, 1e-10]))
def test_at_most_t_are_kept(problem, exponent, tol):
    x, y = design(*problem)
    model = CausalLasso(alpha_ratio=10**exponent, tol=tol).fit(x, y)
    assert model.support_.sum() <= np.linalg.matrix_rank(x) <= len(y)


@pytest.mark.parametrize("kind", ["random", "alike", "squares", "walk"])
@pytest.mark.parametrize("ratio", [0.5, 0.05])
def test_scikit_learn_finds_the_same(kind, ratio):
    x, y = design(kind, 11, 30, 200)
    unit = np.sqrt((x**2).mean(0).max())  # scikit-learn's stopping rule has a unit
    model = CausalLasso(alpha_ratio=ratio, tol=1e-10).fit(x, y)
    peer = Lasso(model.alpha_ / unit, fit_intercept=False, tol=1e-10, max_iter=10**6)
    peer.fit(x / unit, y)
    assert peer.dual_gap_ <= 1e-10 * (y @ y) / len(y)
    np.testing.assert_array_equal(model.support_, peer.coef_ != 0)
    mine = objective(x, y, model.coef_, model.alpha_)
    theirs = objective(x, y, peer.coef_ / unit, model.alpha_)
    assert mine == pytest.approx(theirs, rel=1e-8)


@pytest.mark.parametrize("held", [0, 2**28], ids=["never held", "held when screened"])
@pytest.mark.parametrize("least", [3, 50])
def test_any_working_set_leads_to_the_same_solution(monkeypatch, held, least):
    x, y = design("alike", 5, 40, 600)
    whole = CausalLasso(alpha_ratio=0.02, tol=1e-13).fit(x, y)
    monkeypatch.setattr(working_set, "HELD_BYTES", held)
    monkeypatch.setattr(working_set, "LEAST", least)
    model = CausalLasso(alpha_ratio=0.02, tol=1e-13).fit(x, y)
    assert model.n_iter_ > 1
    np.testing.assert_array_equal(model.support_, whole.support_)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-6, atol=1e-9)


def test_orthogonal_columns_are_soft_thresholded():
    """With Z^T Z = T I the lasso is soft(Z^T y / T, alpha), column by column."""
    rng = np.random.default_rng(2)
    x = np.linalg.qr(rng.normal(size=(40, 25)))[0] * np.sqrt(40)
    y = rng.normal(size=40)
    model = CausalLasso(0.1, tol=1e-14).fit(x, y)
    z = x.T @ y / 40
    expected = np.sign(z) * np.maximum(np.abs(z) - 0.1, 0)
    np.testing.assert_allclose(model.coef_, expected, atol=1e-12)
    assert 0 < model.support_.sum() < 25


def test_alpha_max_is_where_the_first_weight_enters():
    x, y = design("squares", 3, 25, 80)
    model = CausalLasso(alpha_ratio=0.999).fit(x, y)
    first = int(np.abs(x.T @ y).argmax())
    assert np.flatnonzero(model.support_).tolist() == [first]
    assert model.alpha_max_ == pytest.approx(np.abs(x.T @ y).max() / 25, rel=1e-12)
    with pytest.warns(UserWarning, match="coefficients are zero"):
        assert not CausalLasso(model.alpha_max_ * 1.001).fit(x, y).support_.any()


def test_the_ratio_does_not_depend_on_units():
    """y in c times the unit, x in d times: gamma in c / d times, at one alpha / alpha_max."""
    x, y = design("walk", 4, 30, 90)
    one = CausalLasso(alpha_ratio=0.07, tol=1e-13).fit(x, y)
    for c, d in ((1e-9, 1e-20), (1e6, 1e3)):
        other = CausalLasso(alpha_ratio=0.07, tol=1e-13).fit(d * x, c * y)
        np.testing.assert_array_equal(other.support_, one.support_)
        np.testing.assert_allclose(other.coef_, c / d * one.coef_, rtol=1e-7)


def test_standardised_is_the_lasso_on_standardised_columns():
    """And then each column's own unit no longer matters."""
    x, y = design("random", 6, 50, 120)
    sizes = np.exp(3 * np.random.default_rng(0).normal(size=120))
    unit = np.sqrt((x**2).mean(0))
    plain = CausalLasso(alpha_ratio=0.1, tol=1e-12).fit(x / unit, y)
    model = CausalLasso(alpha_ratio=0.1, standardise=True, tol=1e-12).fit(x * sizes, y)
    np.testing.assert_allclose(model.coef_ * unit * sizes, plain.coef_, rtol=1e-7, atol=1e-12)
    assert model.alpha_ == pytest.approx(plain.alpha_)


def test_intercept_is_the_lasso_on_centred_data():
    x, y = design("random", 7, 50, 120)
    x, y = x + 3, y - 5
    model = CausalLasso(0.05, fit_intercept=True, tol=1e-10).fit(x, y)
    peer = Lasso(0.05, tol=1e-10, max_iter=10**5).fit(x, y)
    np.testing.assert_array_equal(model.support_, peer.coef_ != 0)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-4)
    assert model.intercept_ == pytest.approx(peer.intercept_, abs=1e-4)
    np.testing.assert_allclose(model.predict(x), peer.predict(x), atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_sparse_truth_is_recovered(seed):
    """T = 200 is above 2 s log(P - s) = 111, where a random design gives away its support."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, 1000))
    truth = np.zeros(1000)
    truth[rng.choice(1000, 8, replace=False)] = rng.choice([-1.0, 1.0], 8) * rng.uniform(1, 2, 8)
    noise = 0.2
    y = x @ truth + noise * rng.normal(size=200)
    model = CausalLasso(2 * noise * np.sqrt(2 * np.log(1000) / 200)).fit(x, y)
    np.testing.assert_array_equal(np.sign(model.coef_), np.sign(truth))


def test_sparse_truth_of_scikit_learn_is_recovered():
    x, y = make_sparse_uncorrelated(n_samples=2000, n_features=200, random_state=0)
    model = CausalLasso(1.5 * np.sqrt(2 * np.log(200) / 2000)).fit(x, y)
    assert np.flatnonzero(model.support_).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(np.sign(model.coef_[:4]), [1, 1, -1, -1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(-2, -0.2), st.integers(1, 30))
def test_screening_never_drops_a_column_of_the_solution(seed, exponent, epochs):
    """Whatever the point that the gap is taken at."""
    x, y = design("alike", seed, 20, 60)
    y = y / np.linalg.norm(y)
    lam = 10**exponent * np.abs(x.T @ y).max()
    best = CausalLasso(lam / 20, tol=1e-11).fit(x, y).support_
    rough = best * np.random.default_rng(seed).normal(size=60) / epochs
    correlation = x.T @ (y - x @ rough)
    gap = duality_gap(y, y - x @ rough, correlation, np.abs(rough).sum(), lam)
    kept = may_be_active(gap, correlation, np.linalg.norm(x, axis=0), lam, slack=1e-12)
    assert kept[best].all()


def test_screening_drops_something_near_the_solution():
    x, y = design("random", 1, 40, 300)
    model = CausalLasso(alpha_ratio=0.3, tol=1e-10).fit(x, y)
    correlation = x.T @ (y - x @ model.coef_)
    lam = 40 * model.alpha_
    gap = duality_gap(y, y - x @ model.coef_, correlation, np.abs(model.coef_).sum(), lam)
    kept = may_be_active(gap, correlation, np.linalg.norm(x, axis=0), lam, slack=1e-12)
    assert kept.sum() < 30


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 40))
def test_dependent_columns_are_thinned_without_a_trace(seed, n_rows, n_columns):
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, size=(n_rows, n_columns)).astype(float)
    x[0] += 0.5  # no column is zero
    w = rng.normal(size=n_columns)
    thin = active_set.independent(x, w)
    size = np.abs(x).sum() * np.abs(w).max()
    np.testing.assert_allclose(x @ thin, x @ w, atol=1e-9 * size)
    assert np.abs(thin).sum() <= np.abs(w).sum() * (1 + 1e-9)
    support = np.flatnonzero(thin)
    assert np.linalg.matrix_rank(x[:, support]) == len(support)


def test_finish_needs_no_coordinate_descent():
    x, y = design("walk", 9, 30, 60)
    lam = 0.05 * np.abs(x.T @ y).max()
    w = active_set.finish(x, y, lam, np.zeros(60), steps=200)
    _, expected, _ = lasso_path(x, y, alphas=[lam / 30], tol=1e-12, max_iter=10**6)
    np.testing.assert_allclose(w, expected[:, 0], atol=1e-6)
