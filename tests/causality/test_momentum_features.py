"""The momentum form: a regression finds the coefficients that the derivation gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from causalprune_lib.causality.scores import momentum_coefficients, momentum_features
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.nets.data import load_dataset


def regress(features: torch.Tensor, change: torch.Tensor) -> np.ndarray:
    """Least squares of the change (T,) on the features (T, F, P), each summed over the weights."""
    return np.linalg.lstsq(features.double().sum(2).numpy(), change.numpy(), rcond=None)[0]


def quadratic_steps(lr: float, beta: float, draws: int = 300, width: int = 20):
    """One step each from random weights and velocities: increments (draws, 2, P) and dL (draws,).

    L = theta' H theta / 2, with curvatures between 0 and 1.
    """
    noise = torch.Generator().manual_seed(0)
    curvature = torch.rand(width, generator=noise, dtype=torch.float64)
    theta = torch.randn(draws, width, generator=noise, dtype=torch.float64)
    velocity = torch.randn(draws, width, generator=noise, dtype=torch.float64)
    new = -lr * (beta * velocity + curvature * theta)
    change = (curvature * ((theta + new) ** 2 - theta**2) / 2).sum(1)
    return torch.stack([-lr * velocity, new], dim=1), change


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("lr", [1e-3, 1e-2])
def test_a_quadratic_gives_back_the_derived_coefficients(lr, beta):
    """To first order: what is left over is d1' H d1 / 2, a part lr / 2 of |d1|^2 / lr at most."""
    pairs, change = quadratic_steps(lr, beta)
    for form in ("derived", "paper"):
        x = torch.cat([momentum_features(pair, form=form) for pair in pairs])
        found = lr * regress(x, change)
        expected = lr * np.array(momentum_coefficients(lr=lr, momentum=beta, form=form))
        assert np.abs(found - expected).max() < lr
        assert expected[0] == -1
        assert expected[-1] == pytest.approx(beta)
    assert abs(found[1]) < lr  # |d0|^2 plays no part


def test_the_printed_coefficients_do_not_predict_the_change():
    pairs, change = quadratic_steps(1e-2, 0.9)
    x = torch.cat([momentum_features(pair, form="paper") for pair in pairs]).sum(2)
    spread = float((change - change.mean()).square().sum())
    for form, fits in (("paper", True), ("printed", False)):
        c = torch.tensor(momentum_coefficients(lr=1e-2, momentum=0.9, form=form)).double()
        unexplained = float((change - x @ c).square().sum()) / spread
        assert (unexplained < 1e-3) if fits else (unexplained > 1)


def test_digits_give_back_the_derived_coefficients():
    """Batches of 16 through a network of two layers, with torch's own optimizer."""
    lr, beta = 1e-4, 0.9
    data = load_dataset("digits")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    model.double()

    def loss_of(model, x, y):
        return nn.functional.cross_entropy(model(x), y)

    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=beta)
    order = torch.randperm(len(data.x_train), generator=torch.Generator().manual_seed(0))
    with TrajectoryRecorder(model, probe=loss_of, which="all") as recorder:
        for rows in order[: 16 * 80].split(16):
            x, y = data.x_train[rows].double(), data.y_train[rows]
            recorder.batch(x, y)
            optimizer.zero_grad()
            loss_of(model, x, y).backward()
            optimizer.step()
    trajectory = recorder.trajectory()
    change = torch.from_numpy(trajectory.loss_after - trajectory.loss_before)[2:]
    for form in ("derived", "paper"):
        expected = momentum_coefficients(lr=lr, momentum=beta, form=form)
        found = regress(momentum_features(trajectory, form=form), change)
        np.testing.assert_allclose(lr * found, lr * np.array(expected), atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 2**16))
def test_features_are_products_of_successive_increments(steps, width, seed):
    d = np.random.default_rng(seed).standard_normal((steps, width))
    x = momentum_features(d, form="paper").numpy()
    assert x.shape == (steps - 1, 3, width)
    for t in range(1, steps):
        np.testing.assert_array_equal(x[t - 1], [d[t] ** 2, d[t - 1] ** 2, d[t - 1] * d[t]])
    np.testing.assert_array_equal(momentum_features(d), x[:, [0, 2]])


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="at least two steps; got 1"):
        momentum_features(torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"increments must have shape \(any, any\)"):
        momentum_features(torch.ones(3))
    with pytest.raises(ValueError, match="increments must be finite"):
        momentum_features(torch.tensor([[1.0], [float("nan")]]))
    with pytest.raises(ValueError, match="Did you mean 'derived'"):
        momentum_features(torch.ones(3, 2), form="derive")
    with pytest.raises(ValueError, match="Did you mean 'printed'"):
        momentum_coefficients(lr=0.1, momentum=0.9, form="print")
    with pytest.raises(ValueError, match="lr must be a finite number > 0"):
        momentum_coefficients(lr=0.0, momentum=0.9)
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\)"):
        momentum_coefficients(lr=0.1, momentum=1.0)
    model = nn.Linear(2, 1)
    with TrajectoryRecorder(model, every=2) as recorder:
        for _ in range(6):
            recorder.step()
    with pytest.raises(ValueError, match="recording of every step"):
        momentum_features(recorder.trajectory())
