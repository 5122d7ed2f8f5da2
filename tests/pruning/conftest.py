"""A small network and masks for it, shared by the tests of pruning."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from causalprune_lib._random import seeded
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.select import masks_from_scores


@pytest.fixture(scope="session")
def convnet() -> Callable[..., nn.Module]:
    """`convnet(seed=0)`: for images (1, 6, 6); 36 + 192 prunable weights, all different."""

    def build(seed: int = 0) -> nn.Module:
        with seeded(seed):
            return nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
            )

    return build


@pytest.fixture(scope="session")
def masks_for() -> Callable[..., Masks]:
    """`masks_for(model, amount=0.7, seed=1)`: random masks, one ranking over all layers."""

    def build(model: nn.Module, amount: float = 0.7, seed: int = 1) -> Masks:
        layout = ParameterLayout.of(model)
        scores = torch.rand(layout.size, generator=torch.Generator().manual_seed(seed))
        return masks_from_scores(layout.unflatten(scores), amount)

    return build
