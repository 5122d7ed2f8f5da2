"""Small networks that several files judge."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from causalprune_lib._random import seeded
from causalprune_lib.diagnostics.hessian import exact_hessian
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model


@pytest.fixture(scope="session")
def task():
    """A small trained network, its batches of unequal size, and its exact Hessian (92, 92)."""
    random = torch.Generator().manual_seed(1)
    y = torch.randint(4, (60,), generator=random)
    x = torch.randn(60, 6, generator=random) + 2 * torch.randn(4, 6, generator=random)[y]
    with seeded(0):
        model = MLP([6, 8, 4])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    model.zero_grad()
    batches = [(x[:40], y[:40]), (x[40:], y[40:])]
    return model, batches, exact_hessian(model, cross_entropy, batches)


@pytest.fixture(scope="session")
def half_pruned():
    """Of a network: a copy, half of whose weights are pruned at random."""

    def prune(model: nn.Module) -> nn.Module:
        layout = ParameterLayout.of(model)
        drawn = torch.rand(layout.size, generator=torch.Generator().manual_seed(5))
        return apply_masks(clone_model(model), Masks.from_flat(layout, drawn < 0.5))

    return prune


@pytest.fixture(scope="session")
def state_of():
    """Of a network: all that a measurement must leave as it was."""

    def state(model: nn.Module) -> tuple:
        modules = list(model.modules())
        return (
            [module.training for module in modules],
            [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules],
            [len(m._backward_hooks) for m in modules],
            [p.requires_grad for p in model.parameters()],
            [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
            {name: value.tolist() for name, value in model.state_dict().items()},
            torch.get_rng_state().tolist(),
            torch.is_grad_enabled(),
            [id(t) for m in modules for t in vars(m).values() if isinstance(t, torch.Tensor)],
        )

    return state
