"""Toys of this room: noise for Granger tests, and a network full of noise in a loop of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def noise():
    """Effect (W,) and causes (W, S) that have nothing to do with each other."""

    def draw(seed: int, width: int, n_series: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        return rng.normal(size=width), rng.normal(size=(width, n_series))

    return draw


@pytest.fixture(scope="session")
def numbers():
    """F, its p-value, chi2, its p-value: (4, L, S)."""

    def of(result) -> np.ndarray:
        found = result.fstat, result.f_pvalue, result.chi2, result.chi2_pvalue
        return torch.stack(found).numpy()

    return of


class Loop:
    """A network with batch normalisation and dropout, 75 prunable weights, and its training."""

    steps = 12

    def network(self, seed: int = 0) -> nn.Sequential:
        layers = (nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers[0].reset_parameters()
            return nn.Sequential(*layers, nn.Dropout(0.3), nn.Linear(12, 4))

    def batches(self, steps: int | None = None) -> list[tuple[torch.Tensor, torch.Tensor]]:
        noise = torch.Generator().manual_seed(1)
        return [
            (torch.randn(8, 1, 4, 4, generator=noise), torch.randint(4, (8,), generator=noise))
            for _ in range(steps or self.steps)
        ]

    @staticmethod
    def loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(x), y)

    def options(self, loss: str) -> dict:
        """Of `CausalScores`, for all the steps."""
        return {
            "loss": loss,
            "n_steps": self.steps,
            "probe": [None, self.loss][loss != "two_batch"],
        }

    def train(self, model, *listeners, loss="two_batch", spoil=(), steps=None, optimizer=None):
        """Losses and the random state left; the loss logged is infinite at the steps in `spoil`."""
        optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        double = next(model.parameters()).dtype == torch.float64
        losses = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            for t, (x, y) in enumerate(self.batches(steps)):
                x = x.double() if double else x
                if loss == "same_batch":
                    [listener.batch(x, y) for listener in listeners]
                optimizer.zero_grad()
                value = self.loss(model, x, y)
                value.backward()
                losses.append(value.item())
                if loss == "two_batch":
                    logged = math.inf if t in spoil else value
                    [listener.log(loss=logged) for listener in listeners]
                optimizer.step()
            return [*losses, torch.rand(()).item()]


@pytest.fixture(scope="session")
def loop() -> Loop:
    return Loop()
