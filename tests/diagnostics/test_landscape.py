"""Directions, surfaces and shaken weights."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from toys import exact_hessian

from causalprune_lib._random import seeded
from causalprune_lib.diagnostics.landscape import (
    filter_normalised_directions,
    loss_surface,
    perturbation_flatness,
)
from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import evaluate
from causalprune_lib.pruning.masks import clone_model, masks_of, remove_masks


def convnet(seed=0):
    with seeded(seed):
        return nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.ConvTranspose2d(3, 2, 2),
            nn.BatchNorm2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32, 3),
        )


@pytest.fixture(scope="module")
def images():
    random = torch.Generator().manual_seed(0)
    return torch.randn(30, 1, 8, 8, generator=random), torch.randint(3, (30,), generator=random)


def parts(model, flat):
    return ParameterLayout.of(model, which="all").unflatten(flat)


def test_every_filter_has_the_norm_of_the_networks_own_filter():
    model = convnet()
    for direction in filter_normalised_directions(model, n=3, seed=1):
        found = parts(model, direction)
        for name, axis in (("0.weight", 0), ("3.weight", 1), ("7.weight", 0)):
            own = model.get_parameter(name).detach().transpose(0, axis).flatten(1).norm(dim=1)
            got = found[name].transpose(0, axis).flatten(1).norm(dim=1)
            torch.testing.assert_close(got, own)
        for name in ("0.bias", "3.bias", "4.weight", "4.bias", "7.bias"):
            assert not found[name].any()


def test_networks_of_one_architecture_get_the_same_directions():
    first, second = (filter_normalised_directions(convnet(seed), seed=7) for seed in (0, 1))
    a, b = (parts(convnet(), d)["7.weight"] for d in (first, second))  # (2, 3, 32)
    cosine = nn.functional.cosine_similarity(a, b, dim=2)
    torch.testing.assert_close(cosine, torch.ones(2, 3))
    assert not torch.equal(a, b)  # each has its own norms
    assert torch.equal(first, filter_normalised_directions(convnet(0), seed=7))
    other = filter_normalised_directions(convnet(0), seed=8)
    assert abs(nn.functional.cosine_similarity(first[0], other[0], dim=0)) < 0.5
    assert abs(nn.functional.cosine_similarity(first[0], first[1], dim=0)) < 0.5


def test_pruned_weights_do_not_move(images, half_pruned):
    model = half_pruned(convnet())
    dense = filter_normalised_directions(convnet())
    sparse = filter_normalised_directions(model)
    for k in range(2):
        found, raw = parts(model, sparse[k]), parts(model, dense[k])
        for name, keep in masks_of(model).items():
            assert not found[name][~keep].any()
            # the same draw, but for the length of each filter
            assert torch.equal(found[name][keep] > 0, raw[name][keep] > 0)
    lengths = parts(model, sparse[0])["7.weight"].norm(dim=1)
    weight = remove_masks(clone_model(model))[7].weight.detach()
    torch.testing.assert_close(lengths, weight.norm(dim=1))
    with pytest.raises(ValueError, match="must be zero at pruned weights"):
        loss_surface(model, cross_entropy, [images], directions=dense, points=3)


@pytest.mark.parametrize("init", ["default", "fan_out"])
def test_directions_are_not_the_numbers_that_drew_the_initial_weights(init):
    """One seed for the network and the plane: the first direction must not be the first layer."""
    model = build_model("mlp", dataset="digits", hidden=(48, 24), init=init, seed=0)
    weight = model.fc1.weight.detach().flatten()
    for direction in filter_normalised_directions(model, seed=0):
        along = torch.corrcoef(torch.stack([direction[: len(weight)], weight]))[0, 1]
        assert abs(along) < 4 / len(weight) ** 0.5  # four standard errors of independent numbers


def test_the_surface_is_the_loss_at_each_point(images):
    x, y = images
    model = convnet().train()
    directions = filter_normalised_directions(model, seed=3)
    batches = [(x[:20], y[:20]), (x[20:], y[20:])]
    surface = loss_surface(model, cross_entropy, batches, seed=3, points=5, progress=False)
    assert surface.loss.shape == (5, 5)
    assert surface.alphas.tolist() == surface.betas.tolist() == [-1, -0.5, 0, 0.5, 1]
    layout = ParameterLayout.of(model, which="all")
    for a, b in ((2, 2), (0, 3), (4, 1)):
        moved = clone_model(model)
        step = surface.alphas[a] * directions[0] + surface.betas[b] * directions[1]
        layout.load(moved, layout.flatten(model) + step)
        assert float(surface.loss[a, b]) == pytest.approx(evaluate(moved, x, y).loss, rel=1e-5)
    torch.testing.assert_close(surface.log_loss, torch.log(1 + surface.loss))


def test_the_surface_of_a_parabola_is_a_parabola():
    model = nn.Linear(3, 1, bias=False).double()
    batch = (torch.eye(3).double(), model.weight.detach().T.clone())
    u = torch.tensor([[1.0, 2.0, 2.0], [2.0, 1.0, -2.0]])  # orthogonal, |u|^2 = 9
    options = {"directions": u, "extent": 2.0, "points": 5, "progress": False}
    surface = loss_surface(model, mse_loss, [batch], **options)
    expected = 3 * (surface.alphas[:, None] ** 2 + surface.betas**2)  # mean over 3
    torch.testing.assert_close(surface.loss, expected)


def test_the_model_is_left_as_it_was(images, half_pruned, state_of):
    model = half_pruned(convnet()).train()
    cross_entropy(model(images[0]), images[1]).backward()
    before = state_of(model)
    loss_surface(model, cross_entropy, [images], points=3, progress=False)
    perturbation_flatness(model, cross_entropy, [images], samples=3)
    assert state_of(model) == before


def test_bad_landscapes_are_named(images):
    model = convnet()
    with pytest.raises(ValueError, match=r"directions must have shape \(2, "):
        loss_surface(model, cross_entropy, [images], directions=torch.zeros(2, 5))
    with pytest.raises(ValueError, match="at least one batch"):
        loss_surface(model, cross_entropy, [])
    with pytest.raises(ValueError, match="points must be >= 2"):
        loss_surface(model, cross_entropy, [images], points=1)
    for measure in (loss_surface, perturbation_flatness):
        with pytest.raises(FloatingPointError, match="loss of the network must be finite"):
            measure(model, lambda output, y: output.mean() * math.nan, [images])
    with pytest.raises(ValueError, match="radius must be a finite number > 0"):
        perturbation_flatness(model, cross_entropy, [images], radius=0)


def test_flatness_of_a_quadratic_is_half_the_trace():
    """A filter moved by d, |d| = radius |w|: the mean of d'Hd / 2 is |d|^2 tr H / 2n."""
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(6, 1, bias=False)
    batch = (x, model(x).detach())
    exact = exact_hessian(model, mse_loss, [batch])
    found, again, other = (
        perturbation_flatness(model, mse_loss, [batch], radius=0.2, samples=100, seed=seed)
        for seed in (0, 0, 1)
    )
    norm = float(model.weight.detach().norm())
    truth = (0.2 * norm) ** 2 * float(exact.trace()) / 12
    assert abs(found.mean - truth) < 4 * found.standard_error
    largest = (0.2 * norm) ** 2 * float(torch.linalg.eigvalsh(exact)[-1]) / 2
    assert found.mean < found.maximum <= largest * (1 + 1e-5)
    assert found.loss == pytest.approx(0, abs=1e-10)
    assert torch.equal(found.increases, again.increases)
    assert not torch.equal(found.increases, other.increases)
