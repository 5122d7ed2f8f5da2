"""The exact lasso: optimal by its own conditions, as scikit-learn finds it, paths and groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_sparse_uncorrelated
from sklearn.linear_model import Lasso
from torch import nn

from causalprune_lib.causality import solver
from causalprune_lib.causality.lasso import (
    RATIOS,
    CausalLasso,
    SquaredIncrements,
    causal_samples,
    lasso_path,
)
from causalprune_lib.causality.scores import released_sums, released_support, solver_step_sizes
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.dynamics.trajectory import Trajectory

EPS = np.finfo(float).eps
KINDS = ("random", "alike", "repeated", "squares", "walk")


def problem(kind: str, seed: int, n_samples: int, n_features: int):
    """x (T, P) and y (T,); all but "random" are correlated, "repeated" has equal columns."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_samples, n_features))
    if kind == "alike":
        x = 0.05 * x + rng.normal(size=(n_samples, 1))
    elif kind == "repeated":
        x = x[:, rng.integers(0, n_features, size=n_features)]
    elif kind == "squares":  # as recorded: steps and weights of very different size, all above 0
        sizes = rng.normal(size=(n_samples, 1)), rng.normal(size=n_features)
        x = 1e-12 * (np.exp(2 * sizes[0]) * np.exp(2 * sizes[1]) * x) ** 2
    elif kind == "walk":
        x = x.cumsum(1)
    y = rng.normal(size=n_samples) + x[:, 0] / np.abs(x[:, 0]).max()
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


problems = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 150)
)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@settings(max_examples=80, deadline=None)
@given(problems, st.floats(-3.5, -0.05), st.sampled_from([1e-4, 1e-8, 1e-12]))
def test_optimal_by_the_gap_and_by_kkt_with_at_most_t_weights(given_problem, exponent, tol):
    """A gap G means |residual - best| <= sqrt(2 T G), which bounds every correlation's error.

    Rounding of a gap: |z| |gamma|_1 is the size of what cancels in a residual, and comes squared.
    """
    x, y = problem(*given_problem)
    model = CausalLasso(alpha_ratio=10**exponent, tol=tol).fit(x, y)
    n, null, l1 = len(y), y @ y / (2 * len(y)), np.abs(model.coef_).sum()
    size = np.linalg.norm(x, axis=0).max() * l1
    allowed = tol * null + 4 * EPS * (size**2 / n + model.alpha_ * l1)
    assert 0 <= model.dual_gap_ <= allowed
    assert model.dual_gap_ == pytest.approx(model.relative_gap_ * null, rel=1e-9)
    assert independent_gap(x, y, model.coef_, model.alpha_) <= allowed + 1e-13 * null
    correlation = x.T @ (y - x @ model.coef_) / n
    error = np.linalg.norm(x, axis=0) * np.sqrt(2 * (allowed + 1e-13 * null) / n)
    assert (np.abs(correlation) <= model.alpha_ + error).all()
    kept = model.support_
    pull = correlation[kept] * np.sign(model.coef_[kept])
    assert (np.abs(pull - model.alpha_) <= error[kept]).all()
    assert kept.sum() <= np.linalg.matrix_rank(x) <= n


@pytest.mark.parametrize("kind", ["random", "alike", "squares", "walk"])
@pytest.mark.parametrize("ratio", [0.5, 0.05])
def test_scikit_learn_finds_the_same(kind, ratio):
    x, y = problem(kind, 11, 30, 200)
    unit = np.sqrt((x**2).mean(0).max())  # scikit-learn's stopping rule has a unit
    model = CausalLasso(alpha_ratio=ratio, tol=1e-10).fit(x, y)
    peer = Lasso(model.alpha_ / unit, fit_intercept=False, tol=1e-10, max_iter=10**6)
    peer.fit(x / unit, y)
    assert peer.dual_gap_ <= 1e-10 * (y @ y) / len(y)
    np.testing.assert_array_equal(model.support_, peer.coef_ != 0)
    mine = objective(x, y, model.coef_, model.alpha_)
    theirs = objective(x, y, peer.coef_ / unit, model.alpha_)
    assert mine == pytest.approx(theirs, rel=1e-8)
    np.testing.assert_allclose(model.predict(x), x @ model.coef_)


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
    x, y = problem("squares", 3, 25, 80)
    model = CausalLasso(alpha_ratio=0.999).fit(x, y)
    first = int(np.abs(x.T @ y).argmax())
    assert np.flatnonzero(model.support_).tolist() == [first]
    assert model.alpha_max_ == pytest.approx(np.abs(x.T @ y).max() / 25, rel=1e-12)
    with pytest.warns(UserWarning, match="coefficients are zero"):
        assert not CausalLasso(model.alpha_max_ * 1.001).fit(x, y).support_.any()


@pytest.mark.parametrize(
    ("of_y", "of_x"), [(1e-9, 1e-20), (1e6, 1e3), (1e-200, 1.0), (1e200, 1e-90), (1.0, 1e140)]
)
def test_the_ratio_does_not_depend_on_units(of_y, of_x):
    """y in c times the unit, x in d times: gamma in c / d times, at one alpha / alpha_max."""
    x, y = problem("walk", 4, 30, 90)
    one = CausalLasso(alpha_ratio=0.07, tol=1e-12).fit(x, y)
    other = CausalLasso(alpha_ratio=0.07, tol=1e-12).fit(of_x * x, of_y * y)
    np.testing.assert_array_equal(other.support_, one.support_)
    np.testing.assert_allclose(other.coef_ / (of_y / of_x), one.coef_, rtol=1e-7)
    assert other.relative_gap_ <= 1e-12


@pytest.mark.parametrize("seed", range(3))
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


def test_the_released_solver_does_not_solve_the_lasso():
    """Its predictions are zero, so its gap is that of gamma = 0: (1 - alpha / alpha_max)^2, and it
    is not held to T weights."""
    rng = np.random.default_rng(6)
    x, y = 1e-9 * rng.normal(size=(20, 120)) ** 2, rng.normal(size=20)
    best = CausalLasso(alpha_ratio=0.1).fit(x, y)
    released = CausalLasso(best.alpha_, solver="sgd").fit(x, y)
    assert released.support_.sum() > 20 >= best.support_.sum() > 0
    assert released.relative_gap_ == pytest.approx(0.9**2, rel=1e-6)
    assert best.relative_gap_ <= 1e-6
    with pytest.warns(UserWarning, match="coefficients are zero"):
        CausalLasso(released.alpha_max_ * 1.0001, solver="sgd").fit(x, y)


# Paths


def test_a_path_equals_separate_fits():
    """Where the solution is unique, a warm start leaves no trace."""
    x, y = problem("squares", 0, 40, 150)
    path = lasso_path(x, y, tol=1e-12)
    np.testing.assert_allclose(path.alpha_ratios, RATIOS, rtol=1e-12)
    assert (path.relative_gaps <= 1e-12).all()
    for i, alpha in enumerate(path.alphas):
        model = CausalLasso(alpha, tol=1e-12).fit(x, y)
        np.testing.assert_array_equal(path.support(i), model.support_)
        size = np.abs(model.coef_).max()
        np.testing.assert_allclose(path.coef(i), model.coef_, rtol=1e-5, atol=1e-10 * size)
        assert path.n_kept[i] == model.support_.sum()


def test_penalties_from_alpha_max_on_keep_nothing():
    x, y = problem("alike", 2, 40, 150)
    path = lasso_path(x, y, alpha_ratios=[2.0, 1.0, 0.9])
    assert path.n_kept[:2].tolist() == [0, 0]
    assert path.n_kept[2] > 0
    assert path.relative_gaps[:2].tolist() == [0, 0]
    by_alpha = lasso_path(x, y, alphas=path.alphas[::-1])
    np.testing.assert_array_equal(by_alpha.coefs.toarray(), path.coefs.toarray())


def test_the_path_of_an_effect_of_zero_is_zero():
    path = lasso_path(problem("random", 3, 40, 150)[0], np.zeros(40))
    assert path.coefs.nnz == 0
    assert path.alpha_max == 0
    assert np.isnan(path.alpha_ratios).all()


# Groups


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_groups_share_one_coefficient(solver):
    x, y = problem("squares", 4, 40, 150)
    groups = np.random.default_rng(0).integers(5, 25, size=150)
    model = CausalLasso(alpha_ratio=0.2, groups=groups, solver=solver).fit(x, y)
    of_group = {g: set(model.coef_[groups == g]) for g in np.unique(groups)}
    assert all(len(values) == 1 for values in of_group.values())
    n_kept = sum(values != {0.0} for values in of_group.values())
    assert 0 < n_kept < len(of_group)


def test_tied_coefficients_minimise_eq_9_with_weight_sharing():
    """The same objective over all P gammas, minimised over one number per group by a lasso with
    features summed over each group, whose penalty is n_g alpha: here by substitution."""
    x, y = problem("random", 5, 40, 150)
    groups = np.repeat(np.arange(15), 10)  # equal sizes: a plain lasso on sums, at 10 alpha
    model = CausalLasso(0.02, groups=torch.from_numpy(groups), tol=1e-12).fit(x, y)
    expected = CausalLasso(0.2, tol=1e-12).fit(x.reshape(40, 15, 10).sum(2), y)
    np.testing.assert_allclose(model.coef_[::10], expected.coef_, rtol=1e-6, atol=1e-12)
    assert model.support_.sum() == 10 * expected.support_.sum() > 0
    least, rng = objective(x, y, model.coef_, 0.02), np.random.default_rng(1)
    for _ in range(100):
        moved = model.coef_ + 1e-4 * rng.normal(size=15)[groups]
        assert objective(x, y, moved, 0.02) >= least


def test_unequal_groups_pay_for_each_member():
    """Tied columns with two and one member and orthogonal sums: gamma_g = soft(., n_g alpha)."""
    x = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    y = np.array([3.0, 4.0])
    model = CausalLasso(0.25, groups=[1, 1, 0], tol=1e-14).fit(x, y)
    # 1/4 (3 - 2 g)^2 + 0.5 |g|  ->  g = 1.25;  1/4 (4 - 2 h)^2 + 0.25 |h|  ->  h = 1.875
    np.testing.assert_allclose(model.coef_, [1.25, 1.25, 1.875], rtol=1e-12)


def test_one_group_per_column_changes_nothing():
    x, y = problem("random", 6, 40, 150)
    plain = CausalLasso(alpha_ratio=0.1, tol=1e-12).fit(x, y)
    tied = CausalLasso(alpha_ratio=0.1, tol=1e-12, groups=np.arange(150)[::-1]).fit(x, y)
    np.testing.assert_allclose(tied.coef_, plain.coef_, rtol=1e-6, atol=1e-12)
    path = lasso_path(x, y, groups=np.zeros(150, int), alpha_ratios=[0.5])
    assert path.n_kept[0] == 150


# Recordings


@pytest.fixture(scope="module")
def recording(loop, tmp_path_factory):
    """A training recorded on disk, with the losses before and after each step."""
    model, path = loop.network(), tmp_path_factory.mktemp("lasso") / "walk"
    with TrajectoryRecorder(model, path=path, probe=loop.loss) as recorder:
        loop.train(model, recorder, loss="same_batch", steps=30)
    return Trajectory.load(path)


@pytest.fixture
def small(monkeypatch):
    """Chunks of a few features, and nothing held but the working set."""
    monkeypatch.setattr(solver, "CHUNK_BYTES", 2_000)
    monkeypatch.setattr(solver, "HELD_BYTES", 0)
    monkeypatch.setattr(solver, "LEAST", 10)


@pytest.mark.parametrize("layer", ["0.weight", "5.weight"])
def test_a_recording_on_disk_gives_the_fit_of_its_array(recording, small, layer):
    weights = np.array(recording.weights[:, recording.layout.span(layer)], np.float64)
    x, y = (np.diff(weights, axis=0) ** 2)[:-1], np.diff(recording.loss_before[1:])
    options = {"alpha_ratio": 0.05, "tol": 1e-12}
    expected = CausalLasso(**options).fit(x, y)
    features, effect = causal_samples(recording, layer=layer)
    np.testing.assert_array_equal(effect, y)
    model = CausalLasso(**options).fit(features, effect)
    np.testing.assert_array_equal(model.support_, expected.support_)
    size = np.abs(expected.coef_).max()
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-5, atol=1e-8 * size)
    np.testing.assert_allclose(model.predict(features), expected.predict(x), rtol=1e-6, atol=1e-9)
    assert model.alpha_max_ == pytest.approx(expected.alpha_max_, rel=1e-12)


def test_the_released_solver_on_a_recording_keeps_what_the_closed_form_keeps(recording):
    for layer in recording.layout.names:
        features, y = causal_samples(recording, layer=layer)
        x = torch.from_numpy(1e-9 * features.read(slice(0, features.shape[1])))
        w = solver_step_sizes(len(y))
        sums, total = {"x": released_sums(x, torch.from_numpy(y), step_sizes=w)}, float(w.sum())
        for ratio in (0.5, 0.1, 0.02):
            model = CausalLasso(alpha_ratio=ratio, solver="sgd").fit(x, y)
            assert model.alpha_max_ == pytest.approx(float(sums["x"].abs().max()) / total)
            closed = released_support(sums, total_step=total, alpha=model.alpha_)["x"]
            np.testing.assert_array_equal(model.support_, closed.numpy())
            assert model.support_.any()


def test_chunks_cover_everything_once(recording, small):
    features = SquaredIncrements(recording, np.array([3, 4, 7]), "5.weight")
    seen, values, widths = np.zeros(48), np.zeros((3, 48)), []
    for part, chunk in features.chunks():
        seen[part] += 1
        values[:, part] = chunk
        widths.append(chunk.shape[1])
    assert (seen == 1).all()
    assert features.shape == (3, 48)
    np.testing.assert_array_equal(values, list(features.samples()))
    np.testing.assert_array_equal(values, features.read(np.arange(48)))
    weights = np.array(recording.weights[:, recording.layout.span("5.weight")], np.float64)
    np.testing.assert_array_equal(values, np.diff(weights, axis=0)[[3, 4, 7]] ** 2)


def test_same_batch_takes_the_loss_on_both_sides_of_a_step(recording):
    features, effect = causal_samples(recording, loss="same_batch")
    np.testing.assert_array_equal(effect, recording.loss_after[1:] - recording.loss_before[1:])
    assert features.shape == (30, recording.layout.size)


def test_steps_with_a_nan_loss_are_left_out_on_both_sides():
    from causalprune_lib.nets.parameters import ParameterLayout

    losses = [np.nan, 5.0, 4.0, np.nan, 2.0, 1.5, 1.25]
    weights = np.arange(14.0).reshape(-1, 2) ** 2
    layout = ParameterLayout.of(nn.Linear(2, 1))
    walk = Trajectory(np.arange(7), weights, layout, loss_before=losses)
    features, effect = causal_samples(walk)
    np.testing.assert_array_equal(features.increments, [0, 3, 4])
    np.testing.assert_array_equal(effect, [-1, -0.5, -0.25])
    np.testing.assert_array_equal(
        list(features.samples()), np.diff(weights, axis=0)[[0, 3, 4]] ** 2
    )
