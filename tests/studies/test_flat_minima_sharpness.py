"""A sharper minimum of the same function; a spectrum and a landscape in a few numbers."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from causalprune_lib._random import seeded
from causalprune_lib.diagnostics.curvature import spectral_density, top_eigenvalues
from causalprune_lib.diagnostics.landscape import LossSurface, perturbation_flatness
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model
from causalprune_studies.ch09_flat_minima.sharpness import (
    landscape_summary,
    rescale_relu,
    spectrum_summary,
)


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


def test_the_spectrum_in_three_numbers():
    model = nn.Linear(2, 1, bias=False)
    x, y = torch.diag(torch.tensor([2.0, 1.0])), torch.zeros(2, 1)
    found = spectral_density(
        model, lambda out, _: (out**2 * torch.tensor([[3.0], [-1.0]])).sum(), [(x, y)], n_vectors=1
    )  # eigenvalues 24 and -2
    summary = spectrum_summary(found)
    assert summary["lowest"] == pytest.approx(-2, rel=1e-4)
    assert summary["negative"] == pytest.approx(2 / 26, rel=1e-4)
    assert summary["near_zero"] == 0


def test_the_landscape_in_two_numbers():
    axis = torch.linspace(-1, 1, 5).double()
    loss = torch.expm1(axis[:, None] ** 2 + axis[None] ** 2 + 0.5)  # log(1 + loss) is a bowl
    summary = landscape_summary(LossSurface(axis, axis, loss))
    assert summary == pytest.approx({"rise": 2 * 0.5, "rise_half": 2 * 0.25 * 2 / 3})
