"""Directions, slices, surfaces and shaken weights."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from causalprune_lib.diagnostics.curvature import top_eigenvalues
from causalprune_lib.diagnostics.hessian import exact_hessian
from causalprune_lib.diagnostics.landscape import (
    filter_normalised_directions,
    loss_slice,
    loss_surface,
    perturbation_flatness,
    rescale_relu,
    sam_step,
)
from causalprune_lib.nets.models import MLP, build_model
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import evaluate
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model, remove_masks


def convnet(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
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


def half_pruned(model, seed=5):
    layout = ParameterLayout.of(model)
    random = torch.Generator().manual_seed(seed)
    return Masks.from_flat(layout, torch.rand(layout.size, generator=random) < 0.5)


def parts(model, flat):
    return ParameterLayout.of(model, which="all").unflatten(flat)


def test_every_filter_has_the_norm_of_the_networks_own_filter():
    model = convnet()
    directions = filter_normalised_directions(model, n=3, seed=1)
    for direction in directions:
        pieces = parts(model, direction)
        for name, axis in (("0.weight", 0), ("3.weight", 1), ("7.weight", 0)):
            own = model.get_parameter(name).detach().transpose(0, axis).flatten(1).norm(dim=1)
            got = pieces[name].transpose(0, axis).flatten(1).norm(dim=1)
            torch.testing.assert_close(got, own)
        for name in ("0.bias", "3.bias", "4.weight", "4.bias", "7.bias"):
            assert not pieces[name].any()
    with_biases = parts(model, filter_normalised_directions(model, n=1, biases=True)[0])
    torch.testing.assert_close(with_biases["7.bias"].norm(), model[7].bias.detach().norm())


def test_networks_of_one_architecture_get_the_same_directions():
    first, second = (filter_normalised_directions(convnet(seed), seed=7) for seed in (0, 1))
    layout = ParameterLayout.of(convnet(), which="all")
    a, b = (layout.unflatten(d)["7.weight"] for d in (first, second))  # (2, 3, 32)
    cosine = nn.functional.cosine_similarity(a, b, dim=2)
    torch.testing.assert_close(cosine, torch.ones(2, 3))
    assert not torch.equal(a, b)  # each has its own norms
    assert torch.equal(first, filter_normalised_directions(convnet(0), seed=7))
    other = filter_normalised_directions(convnet(0), seed=8)
    assert abs(nn.functional.cosine_similarity(first[0], other[0], dim=0)) < 0.5
    assert abs(nn.functional.cosine_similarity(first[0], first[1], dim=0)) < 0.5


@pytest.mark.parametrize("live", [True, False])
def test_pruned_weights_do_not_move(images, live):
    model = convnet()
    masks = half_pruned(model)
    apply_masks(model, masks)
    dense = filter_normalised_directions(convnet())
    if not live:
        remove_masks(model)
    option = {} if live else {"masks": masks}
    sparse = filter_normalised_directions(model, **option)
    for k in range(2):
        pieces, raw = parts(model, sparse[k]), parts(model, dense[k])
        for name, keep in masks.items():
            assert not pieces[name][~keep].any()
            # the same draw, but for the length of each filter
            assert torch.equal(pieces[name][keep] > 0, raw[name][keep] > 0)
    row = parts(model, sparse[0])["7.weight"].norm(dim=1)
    torch.testing.assert_close(row, model[7].weight.detach().norm(dim=1))
    with pytest.raises(ValueError, match="must be zero at pruned weights"):
        loss_surface(model, cross_entropy, [images], directions=dense, points=3, **option)


def test_the_surface_is_the_loss_at_each_point(images):
    x, y = images
    model = convnet().train()
    batches = [(x[:20], y[:20]), (x[20:], y[20:])]
    directions = filter_normalised_directions(model, seed=3)
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
    cut = loss_slice(model, cross_entropy, batches, seed=3, points=5, progress=False)
    same = loss_surface(
        model,
        cross_entropy,
        batches,
        directions=torch.stack([filter_normalised_directions(model, seed=3, n=1)[0]] * 2),
        points=5,
        progress=False,
    )
    torch.testing.assert_close(cut.loss, same.loss[:, 2])
    assert model.training
    assert model[4].num_batches_tracked == 0


def test_a_slice_of_a_parabola_is_a_parabola():
    model = nn.Linear(3, 1, bias=False).double()
    batch = (torch.eye(3).double(), model.weight.detach().T.clone())
    u = torch.tensor([1.0, 2.0, 2.0])
    cut = loss_slice(model, mse_loss, [batch], direction=u, extent=2.0, points=9, progress=False)
    torch.testing.assert_close(cut.loss, 3 * cut.alphas**2)  # |u|^2 = 9, mean over 3


def test_a_surface_leaves_the_model_as_it_was(images):
    model = apply_masks(convnet(), half_pruned(convnet()))
    cross_entropy(model(images[0]), images[1]).backward()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    weight, random = model[7].weight, torch.get_rng_state()
    loss_surface(model, cross_entropy, [images], points=3, progress=False)
    perturbation_flatness(model, cross_entropy, [images], samples=3)
    assert model.training
    assert model[7].weight is weight
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), random)


def test_bad_landscapes_are_named(images):
    model = convnet()
    with pytest.raises(ValueError, match=r"directions must have shape \(2, "):
        loss_surface(model, cross_entropy, [images], directions=torch.zeros(2, 5))
    with pytest.raises(ValueError, match="at least one batch"):
        loss_surface(model, cross_entropy, [])
    with pytest.raises(ValueError, match="points must be >= 2"):
        loss_slice(model, cross_entropy, [images], points=1)
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
    found = perturbation_flatness(model, mse_loss, [batch], radius=0.2, samples=400)
    norm = float(model.weight.detach().norm())
    truth = (0.2 * norm) ** 2 * float(exact.trace()) / 12
    assert abs(found.mean - truth) < 4 * found.standard_error
    largest = (0.2 * norm) ** 2 * float(torch.linalg.eigvalsh(exact)[-1]) / 2
    assert found.mean < found.maximum <= largest * (1 + 1e-5)
    assert found.loss == pytest.approx(0, abs=1e-10)
    again = perturbation_flatness(model, mse_loss, [batch], radius=0.2, samples=400)
    other = perturbation_flatness(model, mse_loss, [batch], radius=0.2, samples=400, seed=1)
    assert torch.equal(found.increases, again.increases)
    assert not torch.equal(found.increases, other.increases)


@pytest.mark.parametrize("masked", [False, True])
def test_rescaling_changes_the_sharpness_and_not_the_function(masked):
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 6, generator=random), torch.randint(3, (50,), generator=random)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MLP([6, 8, 3])
    if masked:
        apply_masks(model, half_pruned(model))
    twin = rescale_relu(model, "fc1", "fc2", 5.0)
    torch.testing.assert_close(twin(x), model(x), rtol=1e-4, atol=1e-5)
    sharp, sharper = (
        float(top_eigenvalues(net, cross_entropy, [(x, y)], k=1).eigenvalues)
        for net in (model, twin)
    )
    assert sharper > 5 * sharp
    # a measure relative to each filter does not see the difference
    flat, same = (
        perturbation_flatness(net, cross_entropy, [(x, y)], samples=5, dtype=torch.float64)
        for net in (model, twin)
    )
    torch.testing.assert_close(flat.increases, same.increases, rtol=1e-3, atol=1e-6)
    with pytest.raises(ValueError, match="second must be one of 'fc1', 'fc2'; got 'fc3'"):
        rescale_relu(model, "fc1", "fc3", 2.0)
    with pytest.raises(ValueError, match="two layers"):
        rescale_relu(model, "fc1", "fc1", 2.0)
    with pytest.raises(ValueError, match="c must be a finite number > 0"):
        rescale_relu(model, "fc1", "fc2", -1.0)


def test_rescaling_through_pooling_and_flattening(images):
    model = convnet().eval()
    del model[4]  # batch normalisation would undo it
    twin = rescale_relu(model, "0", "3", 0.1)
    torch.testing.assert_close(twin(images[0]), model(images[0]), rtol=1e-4, atol=1e-5)


def test_sam_steps_with_the_gradient_from_up_the_slope(images):
    x, y = images
    model = apply_masks(convnet(), half_pruned(convnet())).eval()
    plain, still = clone_model(model), clone_model(model)
    for net, rho in ((model, 0.1), (still, 0.0)):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        assert sam_step(net, cross_entropy, (x, y), optimizer, rho=rho) > 0
    # by hand
    cross_entropy(plain(x), y).backward()
    gradients = [p.grad.clone() for p in plain.parameters()]
    length = torch.cat([g.flatten() for g in gradients]).norm()
    up = clone_model(plain)
    with torch.no_grad():
        for p, g in zip(up.parameters(), gradients, strict=True):
            p += 0.1 * g / length
    cross_entropy(up(x), y).backward()
    for before, g, high, sam, sgd in zip(
        plain.parameters(),
        gradients,
        up.parameters(),
        model.parameters(),
        still.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(sam, before - 0.1 * high.grad)
        torch.testing.assert_close(sgd, before - 0.1 * g)
    pruned = model[7].weight_mask == 0
    assert torch.equal(model[7].weight_orig[pruned], plain[7].weight_orig[pruned])


def test_a_failing_sam_step_gives_the_weights_back(images):
    model, calls = convnet(), []

    def loss(output, y):
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("a fault of the loss")
        return cross_entropy(output, y)

    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(KeyError):
        sam_step(model, loss, images, optimizer)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("init", ["default", "fan_out"])
def test_directions_are_not_the_numbers_that_drew_the_initial_weights(init):
    """One seed for the network and the plane: the first direction must not be the first layer."""
    model = build_model("mlp", dataset="digits", hidden=(48, 24), init=init, seed=0)
    weight = model.fc1.weight.detach().flatten()
    for direction in filter_normalised_directions(model, seed=0):
        along = torch.corrcoef(torch.stack([direction[: len(weight)], weight]))[0, 1]
        assert abs(along) < 4 / len(weight) ** 0.5  # four standard errors of independent numbers
