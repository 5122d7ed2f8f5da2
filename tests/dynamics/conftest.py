"""Small networks: one in a loop that keeps clones of its weights by hand, and one full of noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn


class Loop:
    """Seven steps on noise: 42 prunable weights, 18 in a convolution and 24 in a linear layer."""

    steps = 7

    def network(self, seed: int = 0) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))

    def batches(self, steps: int | None = None) -> list[tuple[torch.Tensor, torch.Tensor]]:
        noise = torch.Generator().manual_seed(1)
        return [
            (torch.randn(5, 1, 4, 4, generator=noise), torch.randint(3, (5,), generator=noise))
            for _ in range(steps or self.steps)
        ]

    def loss(self, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(x), y)

    def weights(self, model: nn.Module) -> torch.Tensor:
        """The weights in use: of a pruned layer, the trained tensor times its mask."""
        pieces = []
        for layer in (model[0], model[3]):
            pruned = hasattr(layer, "weight_mask")
            pieces.append(layer.weight_orig * layer.weight_mask if pruned else layer.weight)
        return torch.cat([piece.flatten() for piece in pieces]).detach().clone()

    def walk(self, model: nn.Module, *optimizers: torch.optim.Optimizer, steps=None) -> np.ndarray:
        """Train; return the weights before the first and after each step of each optimizer."""
        seen = [self.weights(model)]
        for x, y in self.batches(steps):
            for optimizer in optimizers:
                optimizer.zero_grad()
                self.loss(model, x, y).backward()
                optimizer.step()
                seen.append(self.weights(model))
        return torch.stack(seen).numpy()


@pytest.fixture
def loop() -> Loop:
    return Loop()


class Noisy(nn.Module):
    """Dropout of both kinds, batch normalisation, and one frozen batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4))
        self.frozen = nn.BatchNorm1d(8).eval()
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.dropout(self.frozen(self.body(x)), 0.1, training=self.training)
        return self.head(hidden)


@pytest.fixture
def noisy() -> Callable[[], Noisy]:
    """Makes the same network each time."""

    def make() -> Noisy:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Noisy()

    return make
