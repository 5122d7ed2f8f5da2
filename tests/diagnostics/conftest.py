"""Small networks that several files judge."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from toys import exact_hessian, half_pruned_copy, trained_on_clouds


@pytest.fixture(scope="session")
def task():
    """A small trained network, its batches of unequal size, and its exact Hessian (92, 92)."""
    model, batches = trained_on_clouds()
    return model, batches, exact_hessian(model, cross_entropy, batches)


@pytest.fixture(scope="session")
def half_pruned():
    """Of a network: a copy, half of whose weights are pruned at random."""

    return half_pruned_copy


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
