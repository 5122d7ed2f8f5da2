"""A small problem and a small network, for the tests of training."""

import torch
from torch import nn

from causalprune_lib.nets.training import train


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


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])
