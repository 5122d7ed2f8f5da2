"""How far two networks are apart as functions, and this for every network that is judged.

Theorem 3.1 of the LEGCNet paper (arXiv:2308.09955) bounds the largest distance of the class scores
over the unit ball. Images are far from that ball (their pixels go up to 16 or 255), so the distance
is also searched for over the box of all possible images, and measured on the test images.

Yardsticks: the distance to a dense network of another seed (a stranger), to a twin (the same
training again with one weight moved a hair at its start), and to the network before training.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_int
from causalprune_lib.diagnostics.approximation import removal_bound
from causalprune_lib.diagnostics.distance import sup_distance
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.mnist_networks.networks import JudgedNetworks
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.legcnet_deep import DeepNetworks
from causalprune_lib.pruning.legcnet_mnist import ImageSettings, mnist_settings, train_on_images

IMAGES = 2000  # test images compared, the first ones
DIRECTIONS = 256  # random points of the unit ball to start from, beside the images
STEPS = 40
HAIR = 1e-6
NONE = "none"  # the amount of a dense network


def distances(
    model: nn.Module, other: nn.Module, data: Dataset, *, top: float, steps: int = STEPS
) -> dict[str, float]:
    """Measure and search for the distance of two networks that give class scores.

    Parameters
    ----------
    model, other : nn.Module
        The dense network, and the one to compare it with.
    data : Dataset
        Images as vectors.
    top : float
        Value of the brightest pixel.
    steps : int
        Steps of each search.

    Returns
    -------
    dict
        `ball`, `box`: the largest distance of the scores found over the unit ball and over all
        images with pixels from 0 to `top`. `images`, `mean`: the largest and the mean over the test
        images. `outputs`, `outputs_box`: the mean over the test images, and the largest found over
        all images, of the distance of the outputs, after the softmax; at most sqrt(2). `disagree`:
        the share of the test images that are given another class. `bound`: what `removal_bound`
        says for the unit ball.
    """
    x = data.x_test[:IMAGES]
    given, outputs = nn.Sequential(model, nn.Softmax(1)), nn.Sequential(other, nn.Softmax(1))
    ball = sup_distance(model, other, ball_points(x), steps=steps, radius=1)
    box = sup_distance(model, other, x, steps=steps, box=(0, top))
    certain = sup_distance(given, outputs, x, steps=steps, box=(0, top))
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
    }


def accuracy(model: nn.Module, data: Dataset) -> float:
    """Share of all test images that are recognised."""
    with torch.no_grad():
        return (model(data.x_test).argmax(1) == data.y_test).float().mean().item()


def retrain(
    networks: DeepNetworks,
    settings: ImageSettings,
    data: Dataset,
    *,
    seed: int,
    keep: torch.Tensor | None = None,
) -> DeepNetworks:
    """Train networks as the settings say, under the masks `keep` (B, P)."""
    return train_on_images(networks, settings, data, seed=seed, masks=keep).networks


def moved_a_hair(networks: DeepNetworks) -> DeepNetworks:
    """The same networks with `HAIR` added to the first weight of the last layer."""
    moved = networks.clone()
    moved.weights[-1][:, 0, 0] += HAIR
    return moved


def closeness_points(
    judged: JudgedNetworks, *, seed: int, settings: ImageSettings | None = None
) -> Iterator[Point]:
    """Distances to the dense network: one point per network, amount and `state`.

    States: "cut", right after the weights went; "retrained"; and "dense" for the yardsticks
    "other", "twin" and "initial", which have the amount `NONE`. The twin is trained here, as
    `settings` say; by default those of the dataset, `mnist_settings`.
    """
    check_int("seed", seed, minimum=0)
    data, top = judged.data, float(judged.data.x_train.max())
    settings = mnist_settings(data.name) if settings is None else settings
    twin = retrain(moved_a_hair(_one(judged.initial)), settings, data, seed=seed).model(0)
    compared = {("other", NONE, "dense"): judged.other, ("twin", NONE, "dense"): twin}
    compared["initial", NONE, "dense"] = judged.initial
    for state in ("cut", "retrained"):
        found = getattr(judged, state)
        compared |= {(name, amount, state): net for (name, amount), net in found.items()}
    for (name, amount, state), network in compared.items():
        metrics = distances(judged.dense, network, data, top=top)
        metrics["accuracy"] = accuracy(network, data)
        yield Point(metrics, judge="closeness", network=name, amount=str(amount), state=state)


def _one(model: nn.Module) -> DeepNetworks:
    """A network of linear layers as a batch of one."""
    layout = ParameterLayout.of(model, which="all")
    values = [value.detach()[None].clone() for value in layout.tensors(model).values()]
    return DeepNetworks(tuple(values[0::2]), tuple(values[1::2]))


def ball_points(x: torch.Tensor) -> torch.Tensor:
    """Points (n, D) of the unit ball: images, and random directions, always the same."""
    generator = own_stream(0, "directions")
    random = torch.randn((DIRECTIONS, x.shape[1]), generator=generator).to(x)
    both = torch.cat([x[:DIRECTIONS], random])
    return both / both.norm(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
