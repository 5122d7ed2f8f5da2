"""Tangent exponents where they are known exactly: quadratic losses, and maps from the textbooks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from causalprune_lib.dynamics.tangent import SGDMap, tangent_exponent, tangent_exponent_map

LOSS = nn.functional.cross_entropy


def least_squares() -> tuple[nn.Module, tuple, torch.Tensor, torch.Tensor]:
    """A linear network without bias, its one batch, and eigenvalues and -vectors of the Hessian."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=random, dtype=torch.float64) * torch.tensor([0.3, 0.6, 1, 2])
    y = torch.randn(20, 1, generator=random, dtype=torch.float64)
    h, directions = torch.linalg.eigh(2 / 20 * x.T @ x)
    return nn.Linear(4, 1, bias=False), (x, y), h, directions


def test_a_quadratic_loss_gives_all_its_contraction_rates():
    model, batch, h, _ = least_squares()
    steps, lr = 150, 0.3
    found = tangent_exponent(model, nn.functional.mse_loss, [batch] * steps, lr=lr, n_vectors=4)
    rates = (1 - lr * h).abs().log().sort(descending=True).values
    # the vectors need a while to turn into the eigenvectors; their last stretches are exact
    torch.testing.assert_close(found.log_stretch[-1], rates, rtol=0, atol=1e-9)
    assert found.exponent[0].item() == pytest.approx(rates[0].item(), abs=5 / steps)
    assert found.exponent.sum().item() == pytest.approx(rates.sum().item(), abs=1e-9)
    torch.testing.assert_close(found.exponent, found.log_stretch.mean(0), rtol=1e-12, atol=1e-12)


def test_started_on_an_eigenvector_the_exponent_is_exact_from_the_first_step():
    model, batch, h, directions = least_squares()
    for k in range(4):
        found = tangent_exponent(
            model, nn.functional.mse_loss, [batch] * 3, lr=0.05, vectors=directions[None, :, k]
        )
        right = math.log(abs(1 - 0.05 * h[k]))
        assert found.log_stretch.flatten().tolist() == pytest.approx([right] * 3, abs=1e-12)


@pytest.mark.parametrize("inference", [False, True])
def test_the_weights_it_starts_from_are_plain_numbers(inference):
    with torch.inference_mode(inference):
        step = SGDMap(nn.Linear(2, 2), nn.functional.mse_loss, lr=0.1)
    assert not step.start.requires_grad
    assert not step.start.is_inference()


def test_momentum_has_the_exponents_of_the_heavy_ball():
    model, batch, h, _ = least_squares()
    lr, momentum, steps = 0.05, 0.9, 120
    found = tangent_exponent(
        model, nn.functional.mse_loss, [batch] * steps, lr=lr, momentum=momentum, n_vectors=8
    )
    # each eigenvalue's step has determinant `momentum`, so all volumes shrink by its fourth power
    assert found.exponent.sum().item() == pytest.approx(4 * math.log(momentum), abs=1e-9)
    pairs = [[[1 - lr * e, -lr * momentum], [e, momentum]] for e in h.tolist()]
    radius = torch.linalg.eigvals(torch.tensor(pairs, dtype=torch.float64)).abs().max()
    assert found.exponent[0].item() == pytest.approx(radius.log().item(), abs=5 / steps)


def test_logistic_map():
    def step(x):
        return 4 * x * (1 - x)

    found = tangent_exponent_map(step, 0.3, 1000, jvp=lambda x, v: (step(x), (4 - 8 * x) * v))
    assert found.exponent.item() == pytest.approx(math.log(2), rel=0.01)


def test_henon_map():
    def step(s):
        return torch.stack((1 - 1.4 * s[0] ** 2 + s[1], 0.3 * s[0]))

    def with_tangent(s, v):
        return step(s), torch.stack((-2.8 * s[0] * v[0] + v[1], 0.3 * v[0]))

    start = torch.tensor([0.1, 0.1])
    found = tangent_exponent_map(step, start, 1500, jvp=with_tangent, n_vectors=2, transient=50)
    assert found.exponent[0].item() == pytest.approx(0.4192, rel=0.03)
    # the determinant of the Jacobian is -0.3 everywhere, so the exponents add up to ln 0.3
    assert found.exponent.sum().item() == pytest.approx(math.log(0.3), abs=1e-9)


def test_a_step_given_by_hand_equals_the_derived_one():
    def step(x):
        return 3.9 * x * (1 - x)

    derived = tangent_exponent_map(step, 0.2, 40)
    by_hand = tangent_exponent_map(step, 0.2, 40, jvp=lambda x, v: (step(x), 3.9 * (1 - 2 * x) * v))
    torch.testing.assert_close(derived.log_stretch, by_hand.log_stretch, rtol=0, atol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_the_map_is_torch_sgd(mlp, batches, momentum):
    model, peer = mlp(), mlp().double()
    step = SGDMap(model, LOSS, lr=0.3, momentum=momentum)
    optimizer = torch.optim.SGD(peer.parameters(), lr=0.3, momentum=momentum)
    state = step.start
    for x, y in batches(25):
        state = step(state, (x, y))
        optimizer.zero_grad()
        LOSS(peer(x.double()), y).backward()
        optimizer.step()
    weights = step.layout.flatten(dict(peer.named_parameters()))
    torch.testing.assert_close(state[: step.size], weights.detach(), rtol=0, atol=1e-12)


def test_pushed_vectors_are_differences_of_steps(mlp, batches):
    step = SGDMap(mlp(), LOSS, lr=0.7, momentum=0.5)
    batch, tiny = batches(1)[0], 1e-6
    state = step(step.start, batch)
    vectors = torch.randn(3, len(state), generator=torch.Generator().manual_seed(0)).double()
    after, pushed = step.push(state, vectors, batch)
    torch.testing.assert_close(after, step(state, batch), rtol=0, atol=1e-15)
    for vector, image in zip(vectors, pushed, strict=True):
        ahead, behind = (step(state + sign * tiny * vector, batch) for sign in (1, -1))
        torch.testing.assert_close(image, (ahead - behind) / (2 * tiny), rtol=0, atol=1e-7)


def test_pruned_and_frozen_weights_are_not_perturbed(mlp, batches):
    model = mlp()
    prune.l1_unstructured(model[0], "weight", amount=5)
    model[2].bias.requires_grad_(False)
    step = SGDMap(model, LOSS, lr=0.5)
    assert int((~step.free).sum()) == 5 + 2
    found = tangent_exponent(model, LOSS, batches(20), lr=0.5, n_vectors=19)
    assert bool((found.vectors[:, ~step.free].abs() < 1e-12).all())
    assert torch.equal(found.state[~step.free], step.start[~step.free])
    with pytest.raises(ValueError, match="number of free variables, 19"):
        tangent_exponent(model, LOSS, batches(1), lr=0.5, n_vectors=20)


def test_the_model_and_the_generators_are_as_before(batches):
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    prune.random_unstructured(model[0], "weight", amount=3)
    model[2].bias.grad = torch.ones(2)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    weight = model[0].weight.detach().clone()
    options = {"lr": 0.1, "n_vectors": 2, "seed": 5}
    one = tangent_exponent(model, LOSS, batches(5), **options)
    two = tangent_exponent(model, LOSS, batches(5), **options)
    assert torch.equal(one.log_stretch, two.log_stretch)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model[0].weight, weight)
    assert model.training
    assert torch.equal(model[2].bias.grad, torch.ones(2))
    assert model[0].weight_orig.grad is None


def test_divergence_is_reported_and_a_crushed_vector_is_minus_infinity():
    found = tangent_exponent_map(lambda x: x**2, 3.0, 40)
    assert found.exponent.isnan()
    number = torch.isfinite(found.log_stretch[:, 0])  # (T,)
    assert number.int().argmin() == 9  # 3^(2^10) is beyond float64
    assert not number[9:].any()
    crushed = tangent_exponent_map(lambda x: 0 * x, 3.0, 4)
    assert crushed.exponent.item() == -math.inf


def test_a_map_of_rank_one_crushes_the_second_vector_whatever_rounding_leaves_of_it():
    draw = torch.Generator().manual_seed(0)
    for _ in range(12):
        along, to = torch.randn(2, 5, generator=draw, dtype=torch.float64)
        found = tangent_exponent_map(lambda x: (x @ along).sin() * to, to, 3, n_vectors=2)  # noqa: B023
        assert torch.isfinite(found.exponent[0])
        assert found.exponent[1].item() == -math.inf


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_dependent_vectors_are_refused_whatever_rounding_leaves_of_them(dtype):
    draw = torch.Generator().manual_seed(0)
    for size in (2, 3, 10, 1000):
        for _ in range(4):
            first, state = torch.randn(2, size, generator=draw, dtype=torch.float64).to(dtype)
            dependent = torch.stack([first, first * torch.rand(1, generator=draw).to(dtype)])
            with pytest.raises(ValueError, match="linearly independent"):
                tangent_exponent_map(torch.sin, state, 1, vectors=dependent, n_vectors=2)
            # a thousandth of its length in another direction is enough to be independent
            dependent[1] += 1e-3 * dependent[1].norm() * torch.eye(size)[size // 2]
            tangent_exponent_map(torch.sin, state, 1, vectors=dependent, n_vectors=2)


def test_wrong_input_is_named(mlp, batches):
    loss = LOSS
    with pytest.raises(ValueError, match="batches must hold at least one"):
        tangent_exponent(mlp(), loss, [], lr=0.1)
    with pytest.raises(TypeError, match=r"batches must hold pairs \(x, y\)"):
        tangent_exponent(mlp(), loss, [torch.ones(2)], lr=0.1)
    with pytest.raises(ValueError, match="lr must be"):
        tangent_exponent(mlp(), loss, batches(1), lr=0.0)
    with pytest.raises(ValueError, match="vectors must have shape"):
        tangent_exponent(mlp(), loss, batches(1), lr=0.1, vectors=torch.ones(1, 3))
    with pytest.raises(ValueError, match="linearly independent"):
        tangent_exponent_map(torch.sin, torch.ones(2), 3, vectors=torch.ones(2, 2), n_vectors=2)
    normalised = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"'1' \(BatchNorm1d\) in training mode"):
        tangent_exponent(normalised, loss, batches(1), lr=0.1)
    assert tangent_exponent(normalised.eval(), loss, batches(3), lr=0.1).exponent.isfinite()
