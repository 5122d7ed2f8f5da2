"""How far two networks are apart as functions, and the yardsticks for such a distance.

Yardsticks are dense networks: a "stranger" (another seed), a network with the same start and
another "order" of examples, and a "twin" (same start, same order, one weight moved a hair). What
the twin shows is due to the sensitivity of training and not to any pruning.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_int
from causalprune_lib.diagnostics.closeness import removal_bound, sup_distance
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_studies.ch10_spectra.networks import MNISTNetworks
from causalprune_studies.paper_networks.deep import DeepNetworks
from causalprune_studies.paper_networks.mnist import (
    ImageSettings,
    mnist_settings,
    train_on_images,
)

IMAGES = 2000  # test images compared, the first ones
DIRECTIONS = 256  # random points of the unit ball to start from, beside the images
STEPS = 40
HAIR = 1e-6
NONE = "none"  # the amount of a dense network


def distances(model: nn.Module, other: nn.Module, data: Dataset, *, top: float) -> dict[str, float]:
    """Measure and search for the distance of two networks that give class scores.

    Parameters
    ----------
    model, other : nn.Module
        The dense network, and the one to compare it with.
    data : Dataset
        Images as vectors.
    top : float
        Value of the brightest pixel.

    Returns
    -------
    dict
        `ball`, `box`: the largest distance of the scores found over the unit ball and over all
        images with pixels from 0 to `top`. `images`, `mean`: the largest and the mean over the test
        images. `outputs`, `outputs_box`: the mean over the test images, and the largest found over
        all images, of the distance of the outputs, after the softmax; at most sqrt(2). `disagree`:
        the share of the test images that are given another class. `bound`: what `removal_bound`
        says for the unit ball. `accuracy`: the share of all test images that `other` recognises.
    """
    x = data.x_test[:IMAGES]
    given, outputs = nn.Sequential(model, nn.Softmax(1)), nn.Sequential(other, nn.Softmax(1))
    ball = sup_distance(model, other, ball_points(x), steps=STEPS, radius=1)
    box = sup_distance(model, other, x, steps=STEPS, box=(0, top))
    certain = sup_distance(given, outputs, x, steps=STEPS, box=(0, top))
    with torch.no_grad():
        differ = (model(x).argmax(1) != other(x).argmax(1)).float().mean().item()
    return {
        "ball": ball.value,
        "box": box.value,
        "images": box.measured,
        "mean": box.mean,
        "outputs": certain.mean,
        "outputs_box": certain.value,
        "disagree": differ,
        "bound": removal_bound(model, other, radius=1).value,
        "accuracy": accuracy(other, data),
    }


def accuracy(model: nn.Module, data: Dataset) -> float:
    """Share of all test images that are recognised."""
    with torch.no_grad():
        return (model(data.x_test).argmax(1) == data.y_test).float().mean().item()


def ball_points(x: torch.Tensor) -> torch.Tensor:
    """Points (n, D) of the unit ball: images, and random directions, always the same."""
    generator = own_stream(0, "directions")
    random = torch.randn((DIRECTIONS, x.shape[1]), generator=generator).to(x)
    both = torch.cat([x[:DIRECTIONS], random])
    return both / both.norm(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)


def moved_a_hair(networks: DeepNetworks) -> DeepNetworks:
    """The same networks with `HAIR` added to the first weight of the last layer."""
    moved = networks.clone()
    moved.weights[-1][:, 0, 0] += HAIR
    return moved


def image_distances(
    networks: MNISTNetworks, *, seed: int, settings: ImageSettings | None = None
) -> Iterator[Point]:
    """Distances to the dense network: one point per network, amount and `state`.

    States: "cut", right after the weights went; "retrained"; and "dense" for the yardsticks
    "other", "twin" and "initial", which have the amount `NONE`. The twin is trained here, as
    `settings` say; by default those of the dataset, `mnist_settings`.
    """
    check_int("seed", seed, minimum=0)
    data, top = networks.data, float(networks.data.x_train.max())
    settings = mnist_settings(data.name) if settings is None else settings
    start = moved_a_hair(batch_of_one(networks.initial))
    twin = train_on_images(start, settings, data, seed=seed).networks.model(0)
    compared = {("other", NONE, "dense"): networks.other, ("twin", NONE, "dense"): twin}
    compared["initial", NONE, "dense"] = networks.initial
    for state in ("cut", "retrained"):
        found = getattr(networks, state)
        compared |= {(name, amount, state): net for (name, amount), net in found.items()}
    for (name, amount, state), network in compared.items():
        metrics = distances(networks.dense, network, data, top=top)
        yield Point(metrics, judge="closeness", network=name, amount=str(amount), state=state)


def batch_of_one(model: nn.Module) -> DeepNetworks:
    """A network of linear layers as a batch of one."""
    layout = ParameterLayout.of(model, which="all")
    values = [value.detach()[None].clone() for value in layout.tensors(model).values()]
    return DeepNetworks(tuple(values[0::2]), tuple(values[1::2]))
