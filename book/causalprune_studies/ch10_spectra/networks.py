"""The networks that chapters 10 to 12 look at: one dense MNIST network and its sparse versions.

LEGCNet's MNIST network (arXiv:2308.09955) is trained as released and read as it goes; its masks and
their controls are trained from the same initial weights, side by side, on the same batches. The
paper prunes 139 of 41,000 weights. So few can hardly change what a network is like, whichever they
are; so every ranking also prunes half of each layer. (With nine random weights of ten gone, the
training does not get far from chance in the paper's 50 epochs.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_int
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.contest import RANDOM, UNIFORM, Contest, Entry
from causalprune_lib.pruning.masks import Masks, clone_model
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

Place = tuple[str, str | float]  # a network of `PRUNED`, and the amount


@dataclass(frozen=True, eq=False)
class MNISTNetworks:
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
    masks: dict[Place, Masks]
    cut: dict[Place, nn.Module]
    retrained: dict[Place, nn.Module]

    def trained(self) -> dict[Place, nn.Module]:
        """The dense network, as ("dense", "published"), and the retrained ones."""
        return {("dense", PUBLISHED): self.dense, **self.retrained}


def mnist_networks(
    settings: ImageSettings,
    *,
    seed: int,
    amounts: tuple[float, ...] = (0.5,),
    device: torch.device | str = "cpu",
) -> MNISTNetworks:
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
    >>> networks = mnist_networks(settings, seed=0)
    >>> networks.masks["random", 0.5].amount == networks.masks["LEGCNet-FT", 0.5].amount
    True
    >>> len(networks.retrained)
    8
    """
    check_int("seed", seed, minimum=0)
    data = mnist_data(settings).to(device)
    recording = record_dense(settings, data, seed=seed)

    def play(masks: Sequence[Masks]) -> list[nn.Module]:
        start = recording.initial.repeat(len(masks))
        run = train_on_images(start, settings, data, seed=seed, masks=masks)
        return [run.networks.model(i) for i in range(len(masks))]

    layout = recording.initial.layout
    drawn = torch.rand(layout.size, generator=own_stream(seed, "random masks"))
    flat = {name: recording.decide(r, rule="as_released").scores for name, r in READINGS.items()}
    flat |= {"drawn": drawn, "magnitude": recording.run.networks.flat()[0].abs()}
    rankings = {name: layout.unflatten(scores.cpu()) for name, scores in flat.items()}
    contest = Contest(rankings, play, nan="keep")
    places = {}
    for amount in (PUBLISHED, *amounts):
        places |= {(entry.ranking, amount): entry for entry in _enter(contest, recording, amount)}
    other = DeepNetworks.initial(settings.sizes, seed=seed + OTHER_SEED, device=device)
    stranger = train_on_images(other, settings, data, seed=seed + OTHER_SEED)
    retrained, dense = dict(contest.run()), recording.run.networks.model(0)
    masks = {place: entry.masks for place, entry in places.items()}
    return MNISTNetworks(
        data=data,
        initial=recording.initial.model(0),
        dense=dense,
        other=stranger.networks.model(0),
        masks=masks,
        cut={place: _cut(dense, mask) for place, mask in masks.items()},
        retrained={place: retrained[entry] for place, entry in places.items()},
    )


def _enter(contest: Contest, recording: DenseRecording, amount: str | float) -> list[Entry]:
    """Enter LEGCNet's masks and their controls at one amount, in the order of `PRUNED`."""
    entries = []
    for name, reading in READINGS.items():
        if amount == PUBLISHED:
            entries += contest.enter(name, recording.settings.amounts[reading])
        else:
            entries += contest.enter(name, amount, at=UNIFORM)
    like, at = entries[0].masks, entries[0].allocation
    random = contest.cut("drawn", like=like)
    entries.append(contest.enter_masks(random, RANDOM, at, like.amount))
    return entries + contest.enter("magnitude", like.amount, at=at, like=like)


@torch.no_grad()
def _cut(network: nn.Module, masks: Masks) -> nn.Module:
    """A copy with zeros where the masks say so."""
    network = clone_model(network)
    for name, keep in masks.items():
        network.get_parameter(name).mul_(keep.to(network.get_parameter(name)))
    return network
