"""Twins: right on a quadratic loss, in step with the tangent exponent, equal to separate runs."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from causalprune_lib.dynamics.tangent import tangent_exponent
from causalprune_lib.dynamics.twins import twin_trajectories

LOSS = nn.functional.cross_entropy


def separate_run(model, data, *, lr, index=None, delta=0.0, momentum=0.0) -> torch.Tensor:
    """All parameters (T+1, P) of a plain training loop, after moving one prunable weight."""
    model = copy.deepcopy(model).double()
    if index is not None:
        layer = model[0].weight if index < 12 else model[2].weight
        with torch.no_grad():
            layer.view(-1)[index if index < 12 else index - 12] += delta
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    states = [torch.cat([p.detach().flatten() for p in model.parameters()])]
    for x, y in data:
        optimizer.zero_grad()
        LOSS(model(x.double()), y).backward()
        optimizer.step()
        states.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    return torch.stack(states)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equal_to_training_each_twin_on_its_own(mlp, batches, momentum):
    data, delta = batches(15), 1e-3
    found = twin_trajectories(mlp(), LOSS, data, lr=0.2, delta=delta, momentum=momentum)
    assert found.index.tolist() == list(range(20))
    assert found.layout.size == 20
    assert found.difference.shape == found.distance.shape == (16, 20)
    alone = separate_run(mlp(), data, lr=0.2, momentum=momentum)
    for twin in (0, 7, 12, 19):
        moved = separate_run(mlp(), data, lr=0.2, index=twin, delta=delta, momentum=momentum)
        apart, own = moved - alone, twin if twin < 12 else twin + 4
        torch.testing.assert_close(found.difference[:, twin], apart[:, own], rtol=0, atol=1e-13)
        torch.testing.assert_close(found.distance[:, twin], apart.norm(dim=1), rtol=0, atol=1e-13)


def test_twins_and_tangent_agree_on_a_contracting_quadratic():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(30, 3, generator=random, dtype=torch.float64)
    batch = (x, torch.zeros(30, 1, dtype=torch.float64))
    model, lr, steps = nn.Linear(3, 1, bias=False), 0.2, 30
    h, directions = torch.linalg.eigh(2 / 30 * x.T @ x)
    # each twin starts on an axis: delta times its parts along the eigenvectors contract apart
    twins = twin_trajectories(model, nn.functional.mse_loss, [batch] * steps, lr=lr)
    parts = directions.T * (1 - lr * h).pow(steps)[:, None]  # (eigenvector, axis)
    exact = parts.norm(dim=0).log() / steps
    torch.testing.assert_close(twins.growth(), exact, rtol=0, atol=1e-6)
    assert bool((exact < 0).all())  # the map contracts
    for k in range(3):
        tangent = tangent_exponent(
            model, nn.functional.mse_loss, [batch] * steps, lr=lr, vectors=torch.eye(3)[k : k + 1]
        )
        assert tangent.exponent.item() == pytest.approx(exact[k].item(), abs=1e-12)


def test_small_twins_follow_the_tangent_vector_through_a_real_training(mlp, batches):
    data = batches(40)
    twins = twin_trajectories(mlp(), LOSS, data, lr=0.8, indices=[15, 3])
    assert twins.index.tolist() == [15, 3]
    for twin, place in enumerate([19, 3]):  # weight 15 stands behind the biases of the first layer
        tangent = tangent_exponent(
            mlp(), LOSS, data, lr=0.8, vectors=torch.eye(26)[place : place + 1]
        )
        grown = (twins.distance[1:, twin] / twins.distance[0, twin]).log()
        torch.testing.assert_close(tangent.log_stretch[:, 0].cumsum(0), grown, rtol=0, atol=1e-5)


def test_dropout_is_the_same_for_every_twin_and_the_state_is_restored(batches):
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = twin_trajectories(model, LOSS, batches(10), lr=0.1, seed=3)
    # other masks would part the twins by whole steps, of about 0.1, not by 1e-8
    assert float(found.distance.max()) < 1e-6
    some = twin_trajectories(model, LOSS, batches(10), lr=0.1, seed=3, indices=[19, 4])
    torch.testing.assert_close(some.distance, found.distance[:, [19, 4]], rtol=0, atol=1e-15)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


def test_a_weight_that_nothing_passes_through_keeps_its_distance(mlp, batches):
    data = [(x * torch.tensor([0.0, 1.0, 1.0]), y) for x, y in batches(8)]
    found = twin_trajectories(mlp(), LOSS, data, lr=0.5, indices=[0, 1], delta=2.0**-20)
    assert found.difference[:, 0].tolist() == pytest.approx([2.0**-20] * 9, abs=1e-16)
    assert found.growth()[0].item() == pytest.approx(0, abs=1e-9)
    assert abs(found.growth()[1].item()) > 1e-4
    assert math.isfinite(found.growth()[1].item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indices": [20]}, r"indices must be in 0..19"),
        ({"indices": [-1]}, r"indices must be in 0..19"),
        ({"indices": []}, "indices must be whole numbers, at least one"),
        ({"indices": [0.5]}, "indices must be whole numbers"),
        ({"delta": 0.0}, "delta must be"),
    ],
)
def test_wrong_options_are_named(mlp, batches, options, message):
    with pytest.raises(ValueError, match=message):
        twin_trajectories(mlp(), LOSS, batches(2), lr=0.1, **options)
