"""The networks that chapters 10 to 12 judge: one dense MNIST network and its sparse versions.

LEGCNet's MNIST network (arXiv:2308.09955) is trained as released and read as it goes; its masks and
their controls are trained from the same initial weights, side by side, on the same batches. The
paper prunes 139 of 41,000 weights. So few can hardly change what a network is like, whichever they
are; so every ranking also prunes half of each layer. (With nine random weights of ten gone, the
training does not get far from chance in the paper's 50 epochs.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_int
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_studies.paper_networks.deep import DeepNetworks
from causalprune_studies.paper_networks.mnist import (
    DenseRecording,
    ImageSettings,
    mnist_data,
    record_dense,
    train_on_images,
)

PUBLISHED = "published"


PRUNED = ("LEGCNet-FT", "LEGCNet-PT", "random", "magnitude")


READINGS = {"LEGCNet-FT": "FT", "LEGCNet-PT": "PT, short windows"}


OTHER_SEED = 1000  # apart from the seeds of the cells


@dataclass(frozen=True, eq=False)
class JudgedNetworks:
    """A dense network, and what is left of it under each mask.

    All networks are `MLP`s that give class scores, before the softmax.

    Attributes
    ----------
    data : Dataset
        Pixels as the network takes them.
    initial : MLP
        Before training.
    dense : MLP
        After the last epoch.
    other : MLP
        Dense too, from other initial weights and in another order of examples: what two trainings
        differ by.
    masks : dict of (str, str or float) to Masks
        By the mask's name (see `PRUNED`) and the amount: "published", the paper's number of
        weights, or a fraction of each layer. LEGCNet prunes the lowest scores of the rule as
        released; "random" and "magnitude" (of the dense network) prune as many in each layer as
        LEGCNet-FT.
    cut, retrained : dict of (str, str or float) to MLP
        The dense network under the mask, and one trained under it from `initial`.
    """

    data: Dataset
    initial: nn.Module
    dense: nn.Module
    other: nn.Module
    masks: dict[tuple[str, str | float], Masks]
    cut: dict[tuple[str, str | float], nn.Module]
    retrained: dict[tuple[str, str | float], nn.Module]

    def trained(self) -> dict[tuple[str, str | float], nn.Module]:
        """The dense network, as ("dense", "published"), and the retrained ones."""
        return {("dense", PUBLISHED): self.dense, **self.retrained}


def judged_networks(
    settings: ImageSettings,
    *,
    seed: int,
    amounts: tuple[float, ...] = (0.5,),
    device: torch.device | str = "cpu",
) -> JudgedNetworks:
    """Train the dense network of a seed, read its masks, train every mask.

    Parameters
    ----------
    settings : ImageSettings
        See `mnist_settings`.
    seed : int
        Of the initial weights, the order of examples and the random masks.
    amounts : tuple of float
        Fractions to prune beside the published numbers.
    device : torch.device or str
        Where to train; the networks stay there.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from causalprune_studies.paper_networks.mnist import mnist_settings
    >>> settings = replace(mnist_settings("digits"), sizes=(64, 6, 5, 10), epochs=5)
    >>> judged = judged_networks(settings, seed=0)
    >>> judged.masks["random", 0.5].amount == judged.masks["LEGCNet-FT", 0.5].amount
    True
    >>> len(judged.retrained)
    8
    """
    check_int("seed", seed, minimum=0)
    data = mnist_data(settings).to(device)
    recording = record_dense(settings, data, seed=seed)
    masks = _masks(recording, (PUBLISHED, *amounts), seed=seed)
    other = DeepNetworks.initial(settings.sizes, seed=seed + OTHER_SEED, device=device)
    keep = torch.stack([m.flat() for m in masks.values()]).to(device)
    again = recording.initial.repeat(len(masks))
    retrained = train_on_images(again, settings, data, seed=seed, masks=keep)
    stranger = train_on_images(other, settings, data, seed=seed + OTHER_SEED)
    trained = recording.run.networks
    return JudgedNetworks(
        data=data,
        initial=recording.initial.model(0),
        dense=trained.model(0),
        other=stranger.networks.model(0),
        masks=masks,
        cut={place: _cut(trained, mask).model(0) for place, mask in masks.items()},
        retrained={place: retrained.networks.model(i) for i, place in enumerate(masks)},
    )


def _masks(
    recording: DenseRecording, amounts: tuple[str | float, ...], *, seed: int
) -> dict[tuple[str, str | float], Masks]:
    layout = recording.initial.layout
    drawn = torch.rand(layout.size, generator=own_stream(seed, "random masks"))
    controls = {"random": drawn, "magnitude": recording.run.networks.flat()[0].abs().cpu()}
    masks: dict[tuple[str, str | float], Masks] = {}
    for amount in amounts:
        for name, reading in READINGS.items():
            scores = recording.decide(reading, rule="as_released").scores.cpu()
            published = amount == PUBLISHED
            masks[name, amount] = masks_from_scores(
                layout.unflatten(scores),
                recording.settings.amounts[reading] if published else amount,
                scope="global" if published else "layer",
                nan="keep",
            )
        like = masks["LEGCNet-FT", amount]
        for name, scores in controls.items():
            named = layout.unflatten(scores)
            masks[name, amount] = masks_from_scores(named, scope="like", like=like)
    return masks


def _cut(networks: DeepNetworks, mask: Masks) -> DeepNetworks:
    kept = mask.keep.values()
    weights = (w * keep.to(w) for w, keep in zip(networks.weights, kept, strict=True))
    return replace(networks, weights=tuple(weights))
