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


def mlp(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def batches(n: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(1)
    return [
        (torch.randn(6, 3, generator=random), torch.randint(2, (6,), generator=random))
        for _ in range(n)
    ]


def separate_run(model, data, *, lr, index=None, delta=0.0, momentum=0.0) -> torch.Tensor:
    """The prunable weights (T+1, P) of a plain training loop, after moving one of them."""
    model = copy.deepcopy(model).double()
    layers = [model[0].weight, model[2].weight]
    if index is not None:
        layer = layers[0] if index < 12 else layers[1]
        with torch.no_grad():
            layer.view(-1)[index if index < 12 else index - 12] += delta
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    rows = [torch.cat([layer.detach().flatten() for layer in layers])]
    for x, y in data:
        optimizer.zero_grad()
        LOSS(model(x.double()), y).backward()
        optimizer.step()
        rows.append(torch.cat([layer.detach().flatten() for layer in layers]))
    return torch.stack(rows)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equal_to_training_each_twin_on_its_own(momentum):
    data, delta = batches(15), 1e-3
    found = twin_trajectories(
        mlp(), LOSS, data, lr=0.2, delta=delta, record="all", momentum=momentum
    )
    assert found.differences.shape == (16, 20, 20)
    alone = separate_run(mlp(), data, lr=0.2, momentum=momentum)
    for twin in (0, 7, 12, 19):
        moved = separate_run(mlp(), data, lr=0.2, index=twin, delta=delta, momentum=momentum)
        torch.testing.assert_close(found.differences[:, twin], moved - alone, rtol=0, atol=1e-13)
        torch.testing.assert_close(
            found.difference[:, twin], (moved - alone)[:, twin], rtol=0, atol=1e-13
        )
    assert torch.equal(found.differences[0] != 0, torch.eye(20).bool())


def test_twins_and_tangent_agree_on_a_contracting_quadratic():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(30, 3, generator=random, dtype=torch.float64)
    batch = (x, torch.zeros(30, 1, dtype=torch.float64))
    model, lr, steps = nn.Linear(3, 1, bias=False), 0.2, 60
    h, directions = torch.linalg.eigh(2 / 30 * x.T @ x)
    # each twin starts on an axis: delta times its parts along the eigenvectors contract apart
    twins = twin_trajectories(model, nn.functional.mse_loss, [batch] * steps, lr=lr)
    parts = directions.T * (1 - lr * h).pow(steps)[:, None]  # (eigenvector, axis)
    exact = parts.norm(dim=0).log() / steps
    torch.testing.assert_close(twins.growth(), exact, rtol=0, atol=1e-6)
    for k in range(3):
        tangent = tangent_exponent(
            model, nn.functional.mse_loss, [batch] * steps, lr=lr, vectors=torch.eye(3)[k : k + 1]
        )
        assert tangent.exponent.item() == pytest.approx(exact[k].item(), abs=1e-12)
    slowest = (1 - lr * h).abs().log().max().item()
    long = tangent_exponent(model, nn.functional.mse_loss, [batch] * 2000, lr=lr)
    assert long.exponent.item() == pytest.approx(slowest, abs=0.002)
    assert slowest < 0  # the map contracts, and both say so


def test_small_twins_follow_the_tangent_vector_through_a_real_training():
    data = batches(40)
    twins = twin_trajectories(mlp(), LOSS, data, lr=0.8, indices=[3, 15], which="all")
    n_parameters = 3 * 4 + 4 + 4 * 2 + 2
    for column, k in enumerate([3, 15]):
        start = torch.eye(n_parameters)[k : k + 1]
        tangent = tangent_exponent(mlp(), LOSS, data, lr=0.8, vectors=start)
        grown = (twins.distance[1:, column] / twins.distance[0, column]).log()
        torch.testing.assert_close(tangent.log_stretch[:, 0].cumsum(0), grown, rtol=0, atol=1e-5)


def test_chunks_every_and_indices_change_only_what_they_say():
    model, data = mlp(), batches(11)
    full = twin_trajectories(model, LOSS, data, lr=0.3)
    assert full.layout.size == 20
    assert full.steps.tolist() == list(range(12))
    chunked = twin_trajectories(model, LOSS, data, lr=0.3, chunk=7)
    torch.testing.assert_close(chunked.distance, full.distance, rtol=0, atol=1e-15)
    some = twin_trajectories(model, LOSS, data, lr=0.3, indices=[19, 4], every=4)
    assert some.steps.tolist() == [0, 4, 8, 11]
    assert some.index.tolist() == [19, 4]
    right = full.distance[[0, 4, 8, 11]][:, [19, 4]]
    torch.testing.assert_close(some.distance, right, rtol=0, atol=1e-15)


def test_dropout_is_the_same_for_every_twin_and_the_state_is_restored():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = twin_trajectories(model, LOSS, batches(10), lr=0.1, seed=3)
    # other masks would part the twins by whole steps, of about 0.1, not by 1e-8
    assert float(found.distance.max()) < 1e-6
    again = twin_trajectories(model, LOSS, batches(10), lr=0.1, seed=3, chunk=3)
    torch.testing.assert_close(again.distance, found.distance, rtol=0, atol=1e-15)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


def test_a_weight_that_nothing_passes_through_keeps_its_distance():
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
        ({"record": "ownn"}, "Did you mean 'own'"),
        ({"every": 0}, "every must be >= 1"),
        ({"chunk": 0}, "chunk must be >= 1"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        twin_trajectories(mlp(), LOSS, batches(2), lr=0.1, **options)
