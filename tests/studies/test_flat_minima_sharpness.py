"""A sharper minimum of the same function, and steps that look for a flat one."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from causalprune_lib._random import seeded
from causalprune_lib.diagnostics.curvature import top_eigenvalues
from causalprune_lib.diagnostics.landscape import perturbation_flatness
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model
from causalprune_studies.ch09_flat_minima.sharpness import rescale_relu, sam_step


def network():
    with seeded(0):
        return MLP([6, 8, 3])


def half_pruned(model):
    layout = ParameterLayout.of(model)
    drawn = torch.rand(layout.size, generator=torch.Generator().manual_seed(5))
    return apply_masks(clone_model(model), Masks.from_flat(layout, drawn < 0.5))


@pytest.fixture(scope="module")
def batch():
    random = torch.Generator().manual_seed(0)
    return torch.randn(50, 6, generator=random), torch.randint(3, (50,), generator=random)


@pytest.mark.parametrize("masked", [False, True])
def test_rescaling_changes_the_sharpness_and_not_the_function(batch, masked):
    model = half_pruned(network()) if masked else network()
    twin = rescale_relu(model, "fc1", "fc2", 5.0)
    torch.testing.assert_close(twin(batch[0]), model(batch[0]), rtol=1e-4, atol=1e-5)
    sharp, sharper = (
        float(top_eigenvalues(net, cross_entropy, [batch], k=1).eigenvalues)
        for net in (model, twin)
    )
    assert sharper > 5 * sharp
    # a measure relative to each filter does not see the difference
    flat, same = (
        perturbation_flatness(clone_model(net).double(), cross_entropy, [batch], samples=5)
        for net in (model, twin)
    )
    torch.testing.assert_close(flat.increases, same.increases, rtol=1e-3, atol=1e-6)


def test_rescaling_through_pooling_and_flattening():
    with seeded(0):
        model = nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.ConvTranspose2d(3, 2, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32, 3),
        )
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    twin = rescale_relu(model, "0", "3", 0.1)
    torch.testing.assert_close(twin(images), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("first", "second", "c", "message"),
    [
        ("fc1", "fc3", 2.0, "second must be one of 'fc1', 'fc2'; got 'fc3'"),
        ("fc1", "fc1", 2.0, "two layers"),
        ("fc1", "fc2", -1.0, "c must be a finite number > 0"),
    ],
)
def test_bad_layers_are_named(first, second, c, message):
    with pytest.raises(ValueError, match=message):
        rescale_relu(network(), first, second, c)


def test_sam_steps_with_the_gradient_from_up_the_slope(batch):
    x, y = batch
    model = half_pruned(network())
    plain, still = clone_model(model), clone_model(model)
    for net, rho in ((model, 0.1), (still, 0.0)):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        assert sam_step(net, cross_entropy, batch, optimizer, rho=rho) > 0
    # by hand
    cross_entropy(plain(x), y).backward()
    gradients = [p.grad.clone() for p in plain.parameters()]
    length = torch.cat([g.flatten() for g in gradients]).norm()
    up = clone_model(plain)
    with torch.no_grad():
        for p, g in zip(up.parameters(), gradients, strict=True):
            p += 0.1 * g / length
    cross_entropy(up(x), y).backward()
    four = (net.parameters() for net in (plain, up, model, still))
    for g, before, high, sam, sgd in zip(gradients, *four, strict=True):
        torch.testing.assert_close(sam, before - 0.1 * high.grad)
        torch.testing.assert_close(sgd, before - 0.1 * g)
    pruned = model.fc1.weight_mask == 0
    assert torch.equal(model.fc1.weight_orig[pruned], plain.fc1.weight_orig[pruned])


def test_a_failing_sam_step_gives_the_weights_back(batch):
    model, calls = network(), []

    def loss(output, y):
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("a fault of the loss")
        return cross_entropy(output, y)

    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(KeyError):
        sam_step(model, loss, batch, optimizer)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
