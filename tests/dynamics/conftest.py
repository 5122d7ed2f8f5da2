"""Small networks and their batches: plain, in a loop that keeps clones by hand, full of noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def noise_batches(n: int, size: int, shape: tuple[int, ...], n_classes: int) -> Batches:
    noise = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, *shape, generator=noise),
            torch.randint(n_classes, (size,), generator=noise),
        )
        for _ in range(n)
    ]


class Loop:
    """Seven steps on noise: 42 prunable weights, 18 in a convolution and 24 in a linear layer."""

    steps = 7

    def network(self, seed: int = 0) -> nn.Sequential:
        def make():
            return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))

        return seeded(make, seed)

    def batches(self, steps: int | None = None) -> Batches:
        return noise_batches(steps or self.steps, 5, (1, 4, 4), 3)

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

    def same_bits(self, one: np.ndarray, other: np.ndarray) -> bool:
        """Equality that tells -0 from 0."""
        return one.shape == other.shape and one.tobytes() == other.tobytes()


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
    """Makes the same network each time; its inputs are (16, 4), its classes 3."""
    return lambda: seeded(Noisy)


@pytest.fixture
def mlp() -> Callable[[], nn.Sequential]:
    """Makes the same network of 26 parameters each time, 20 of them prunable."""
    return lambda: seeded(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))


@pytest.fixture
def batches() -> Callable[..., Batches]:
    """Batches of noise: of six for `mlp`, or of another size, shape and number of classes."""

    def make(n: int, size: int = 6, shape: tuple[int, ...] = (3,), n_classes: int = 2) -> Batches:
        return noise_batches(n, size, shape, n_classes)

    return make
