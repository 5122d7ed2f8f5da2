"""Small problems and small networks, for the tests of several rooms."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from causalprune_lib._random import seeded
from causalprune_lib.diagnostics.hessian import HessianOperator
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import train
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model


def blobs(n=120, seed=0):
    """Three overlapping clouds in the plane."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.tensor([[0.0, 2.0], [-2.0, -1.0], [2.0, -1.0]])
    return centres[y] + torch.randn(n, 2, generator=generator), y


def quiet(model, x, y, **options):
    return train(model, x, y, **({"epochs": 2, "batch_size": 20, "progress": False} | options))


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def trained_on_clouds():
    """A trained network of 92 weights, and its batches, of unequal sizes."""
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
    return model, [(x[:40], y[:40]), (x[40:], y[40:])]


def half_pruned_copy(model):
    """A copy, half of whose weights are pruned at random."""
    layout = ParameterLayout.of(model)
    drawn = torch.rand(layout.size, generator=torch.Generator().manual_seed(5))
    return apply_masks(clone_model(model), Masks.from_flat(layout, drawn < 0.5))


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def exact_hessian(model, loss, batches):
    """Every entry of the Hessian (n, n) of a small network, n <= 3000, in float64."""
    return HessianOperator(model, loss, batches, dtype=torch.float64).dense()
