"""Twins of the paper's sigmoid networks: the numbers of the general twins, and the readings."""

from __future__ import annotations

import math

import pytest
import torch

from causalprune_lib.dynamics.tangent import SGDMap
from causalprune_lib.dynamics.twins import twin_trajectories
from causalprune_lib.nets.tasks import class_targets
from causalprune_lib.pruning.windows import windowed_exponents
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import train_networks
from causalprune_studies.paper_networks.twins import growth_exponents, twin_series


@pytest.fixture(scope="module")
def problem():
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).double()
    y = (x[:, 0] + x[:, 1] > 0).long() + (x[:, 2] > 1).long()
    return SigmoidNetworks.random((3, 4, 3), 1, seed=1, scale=1.0), x, y


def test_differences_are_those_of_the_general_twins(problem):
    network, x, y = problem
    epochs, lr, delta = 3, 0.6, 1e-6
    fast = twin_series(network, x, y, lr=lr, label_size=3, epochs=epochs, delta=delta)
    goals = class_targets(y, 3)
    batches = [(x[i : i + 1], goals[i : i + 1]) for i in range(len(x))] * epochs
    model, options = network.model(0), {"lr": lr / 3}

    def loss(output, goal):
        return ((output - goal) ** 2).sum()

    slow = twin_trajectories(model, loss, batches, delta=delta, **options)
    rounding = 1e-13  # a few times 1e-16 per step, in differences of 1e-6
    torch.testing.assert_close(fast.own, slow.difference, rtol=0, atol=rounding)
    step = SGDMap(model, loss, **options)
    weights = [torch.arange(step.size)[step.layout.span(name)] for name in slow.layout.names]
    weights = torch.cat(weights)  # without biases

    def walk(moved: float, twin: int = 0) -> torch.Tensor:
        states = [step.start.index_add(0, weights[[twin]], step.start.new_tensor([moved]))]
        for batch in batches:
            states.append(step(states[-1], batch))
        return torch.stack(states)[:, weights]

    torch.testing.assert_close(fast.first, walk(delta) - walk(0.0), rtol=0, atol=rounding)
    for twin in (0, 7, 23):
        apart = (walk(delta, twin) - walk(0.0)).norm(dim=1)
        torch.testing.assert_close(fast.distance[:, twin], apart, rtol=0, atol=rounding)


def test_the_unperturbed_row_is_the_plain_training_whatever_the_chunks(problem, monkeypatch):
    network, x, y = problem
    plain = train_networks(network, x, y, lr=0.5, epochs=2, record=[0]).weights[0]
    whole = twin_series(network, x, y, lr=0.5, epochs=2)
    torch.testing.assert_close(whole.weights, plain, rtol=0, atol=1e-13)
    monkeypatch.setattr("causalprune_studies.paper_networks.twins.CHUNK_BYTES", 25 * 24 * 8 * 5)
    parts = twin_series(network, x, y, lr=0.5, epochs=2)
    assert torch.equal(parts.own, whole.own)
    assert torch.equal(parts.distance, whole.distance)


def test_readings_do_not_depend_on_delta(problem):
    network, x, y = problem
    found = [twin_series(network, x, y, lr=0.5, epochs=20, delta=delta) for delta in (1e-6, 1e-7)]
    a, b = (growth_exponents(twins.distance, window=60) for twins in found)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    how = {"window": 60, "gate": False, "decimals": None}
    a, b = (windowed_exponents(twins.own, **how).exponent for twins in found)
    assert float((a - b).abs().median()) < 1e-3  # a nearest neighbour may change here and there


def test_growth_exponents_are_the_rate_of_a_known_growth_and_nan_at_zero():
    rate = torch.tensor([0.02, -0.01])
    distance = 1e-8 * (rate * torch.arange(301)[:, None]).double().exp()
    found = growth_exponents(distance, window=100)
    assert found.shape == (3, 2)
    torch.testing.assert_close(found, rate.double().expand(3, 2), rtol=0, atol=1e-6)
    distance[99, 1] = 0.0
    found = growth_exponents(distance, window=100)
    assert math.isnan(found[0, 1])
    assert not found[:, 0].isnan().any()


def test_twins_need_one_network(problem):
    network, x, y = problem
    with pytest.raises(ValueError, match="got 2"):
        twin_series(network.select([0, 0]), x, y, lr=0.1, epochs=1)
