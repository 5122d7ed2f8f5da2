"""Duality, screening and the active set; features on disk are fitted like those in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import lasso_path

from causalprune_lib.causality import solver
from causalprune_lib.causality.lasso import CausalLasso
from causalprune_lib.causality.solver import (
    Features,
    duality_gap,
    finish,
    independent,
    may_be_active,
)

EPS = np.finfo(float).eps


def alike(seed: int, n_samples: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """x (T, P) of features that are nearly the same, and y (T,)."""
    rng = np.random.default_rng(seed)
    x = 0.05 * rng.normal(size=(n_samples, n_features)) + rng.normal(size=(n_samples, 1))
    return x, rng.normal(size=n_samples) + x[:, 0] / np.abs(x[:, 0]).max()


@pytest.mark.parametrize("held", [0, 2**28], ids=["never held", "held when screened"])
@pytest.mark.parametrize("least", [3, 50])
def test_any_working_set_leads_to_the_same_solution(monkeypatch, held, least):
    x, y = alike(5, 40, 600)
    whole = CausalLasso(alpha_ratio=0.02, tol=1e-13).fit(x, y)
    monkeypatch.setattr(solver, "HELD_BYTES", held)
    monkeypatch.setattr(solver, "LEAST", least)
    model = CausalLasso(alpha_ratio=0.02, tol=1e-13).fit(x, y)
    assert model.n_iter_ > 1
    np.testing.assert_array_equal(model.support_, whole.support_)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-6, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(-2, -0.2), st.integers(1, 30))
def test_screening_never_drops_a_feature_of_the_solution(seed, exponent, epochs):
    """Whatever the point that the gap is taken at."""
    x, y = alike(seed, 20, 60)
    y = y / np.linalg.norm(y)
    lam = 10**exponent * np.abs(x.T @ y).max()
    best = CausalLasso(lam / 20, tol=1e-11).fit(x, y).support_
    rough = best * np.random.default_rng(seed).normal(size=60) / epochs
    correlation = x.T @ (y - x @ rough)
    gap = duality_gap(y, y - x @ rough, correlation, np.abs(rough).sum(), lam)
    kept = may_be_active(gap, correlation, np.linalg.norm(x, axis=0), lam, slack=1e-12)
    assert kept[best].all()


def test_screening_drops_something_near_the_solution():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 300)), rng.normal(size=40)
    model = CausalLasso(alpha_ratio=0.3, tol=1e-10).fit(x, y)
    correlation = x.T @ (y - x @ model.coef_)
    lam = 40 * model.alpha_
    gap = duality_gap(y, y - x @ model.coef_, correlation, np.abs(model.coef_).sum(), lam)
    kept = may_be_active(gap, correlation, np.linalg.norm(x, axis=0), lam, slack=1e-12)
    assert kept.sum() < 30


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 40))
def test_dependent_features_are_thinned_without_a_trace(seed, n_samples, n_features):
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, size=(n_samples, n_features)).astype(float)
    x[0] += 0.5  # no column is zero
    w = rng.normal(size=n_features)
    thin = independent(x, w)
    size = np.abs(x).sum() * np.abs(w).max()
    np.testing.assert_allclose(x @ thin, x @ w, atol=1e-9 * size)
    assert np.abs(thin).sum() <= np.abs(w).sum() * (1 + 1e-9)
    support = np.flatnonzero(thin)
    assert np.linalg.matrix_rank(x[:, support]) == len(support)


def test_finish_needs_no_coordinate_descent():
    rng = np.random.default_rng(9)
    x = rng.normal(size=(30, 60)).cumsum(1)
    y = rng.normal(size=30)
    lam = 0.05 * np.abs(x.T @ y).max()
    w = finish(x, y, lam, np.zeros(60), steps=200)
    _, expected, _ = lasso_path(x, y, alphas=[lam / 30], tol=1e-12, max_iter=10**6)
    np.testing.assert_allclose(w, expected[:, 0], atol=1e-6)


def test_finish_on_orthogonal_features_is_soft_thresholding():
    found = finish(np.eye(3), np.array([3.0, -2.0, 0.5]), 1.0, np.zeros(3), steps=5)
    np.testing.assert_allclose(found, [2, -1, 0], atol=4 * EPS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_maps_are_read_as_they_are_and_in_small_pieces(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(solver, "CHUNK_BYTES", 10_000)
    monkeypatch.setattr(solver, "HELD_BYTES", 0)
    monkeypatch.setattr(solver, "LEAST", 20)
    rng = np.random.default_rng(0)
    x = (1e-6 * rng.normal(size=(30, 400)) ** 2).astype(dtype)
    y = rng.normal(size=30)
    on_disk = np.memmap(tmp_path / "x", dtype, "w+", shape=x.shape)
    on_disk[:] = x
    options = {"alpha_ratio": 0.05, "tol": 1e-12}
    expected = CausalLasso(**options).fit(x.astype(np.float64), y)
    for given_x in (on_disk, torch.from_numpy(x), Features(on_disk)):
        model = CausalLasso(**options).fit(given_x, y)
        np.testing.assert_array_equal(model.support_, expected.support_)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)


def test_only_the_working_set_is_held(monkeypatch):
    """P = 20,000 features; what is read at once is a chunk, or 4 x the support's size."""
    monkeypatch.setattr(solver, "CHUNK_BYTES", 10_000)
    monkeypatch.setattr(solver, "HELD_BYTES", 0)
    monkeypatch.setattr(solver, "LEAST", 20)
    n_samples, widest = 25, []

    class Watched(Features):
        def read(self, index):
            found = super().read(index)
            widest.append(found.shape[1])
            return found

    x = np.random.default_rng(3).normal(size=(n_samples, 20_000)).astype(np.float32)
    model = CausalLasso(alpha_ratio=0.3, tol=1e-8)
    model.fit(Watched(x), np.random.default_rng(4).normal(size=n_samples))
    assert model.relative_gap_ <= 1e-8
    assert 0 < max(widest) <= solver.GROWTH * n_samples
