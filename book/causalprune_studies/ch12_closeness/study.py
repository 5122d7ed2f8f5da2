"""Does a pruned network come closer to the dense one as both get wider?

Theorem 3.1 of the LEGCNet paper (arXiv:2308.09955) says so. Two parts:

- Where its assumptions hold (`UniformNetworks`): random networks as it describes them, before any
  training, with pruned parts of a fixed size and with parts that shrink as networks grow.
- Where the method works (`ClosenessByWidth`): trained networks, under LEGCNet's masks and others
  with the same counts, right after the cut and retrained from the initial weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from causalprune_lib._random import own_stream, seeded
from causalprune_lib._validation import check_int
from causalprune_lib.causality.scores import CausalScores
from causalprune_lib.diagnostics.closeness import removal_bound, sup_distance
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.training import iterate_batches
from causalprune_lib.pruning.contest import RANDOM, UNIFORM, Contest, Play
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model
from causalprune_lib.pruning.scores import magnitude_scores, random_scores
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_studies.ch10_spectra.networks import OTHER_SEED
from causalprune_studies.ch12_closeness.distances import (
    NONE,
    accuracy,
    ball_points,
    distances,
    moved_a_hair,
)
from causalprune_studies.paper_networks.deep import DeepNetworks
from causalprune_studies.paper_networks.mnist import (
    DenseRecording,
    ImageSettings,
    mnist_data,
    mnist_settings,
    record_dense,
    train_on_images,
)

SHRINKING = "shrinking"  # the amount 1 / sqrt(width)
RULE = "rule"  # the amount that LEGCNet's rule as released decides on
RANKINGS = ("LEGCNet", "shuffled", "random", "magnitude", "causal")


@dataclass(frozen=True)
class UniformNetworks:
    """Random networks as theorem 3.1 assumes them, cut at random and by magnitude.

    Inputs of 64 numbers, one or more sigmoid layers of `width` neurons, 10 linear outputs, no
    biases, weights uniform between -K / sqrt(max(h_i, h_(i-1))) and the same above zero, K = 1. A
    part of each layer is pruned: `amount` is a fraction, or `SHRINKING`.

    Metrics at each `width`, `network` (the ranking) and `amount`: `ball`, the largest distance
    found over the unit ball; `bound`, `removal_bound` for it. At the amount 1 nothing is left but
    zeros, and `ball` is the size of the dense network itself.
    """

    widths: tuple[int, ...] = (25, 100, 400)
    amounts: tuple[float, ...] = (0.1, 0.5, 1.0)
    hidden_layers: int = 1
    steps: int = 40
    on: str = "cpu"
    profile: str = "quick"

    def build(self, width: int, *, seed: int) -> MLP:
        """One network."""
        sizes = (64, *[width] * check_int("hidden_layers", self.hidden_layers), 10)
        with seeded(seed):
            model = MLP(sizes, activation="sigmoid")
            for name, value in model.named_parameters():
                most = max(value.shape) ** -0.5 if name.endswith("weight") else 0.0
                nn.init.uniform_(value, -most, most)
        return model.to(self.on)

    def run(self, seed: int) -> Iterator[Point]:
        """Build, cut, search."""
        x = ball_points(torch.empty((0, 64), device=self.on))
        for width in self.widths:
            dense = self.build(width, seed=seed)
            drawn = random_scores(dense, seed=seed)
            for name, scores in (("random", drawn), ("magnitude", magnitude_scores(dense))):
                for amount in (*self.amounts, SHRINKING):
                    part = width**-0.5 if amount == SHRINKING else float(amount)
                    masks = masks_from_scores(scores, part, scope="layer")
                    cut = apply_masks(clone_model(dense), masks)
                    found = sup_distance(dense, cut, x, steps=self.steps, radius=1)
                    bound = removal_bound(dense, cut, radius=1)
                    yield Point(
                        {"ball": found.value, "bound": bound.value},
                        width=width,
                        network=name,
                        amount=amount,
                        state="untrained",
                    )


@dataclass(frozen=True)
class ClosenessByWidth:
    """Distances of trained networks to their pruned versions, at several widths.

    LEGCNet's digits settings with `hidden_layers` layers of `width` neurons, twice the epochs, and
    `lr`: 1 for one hidden layer, 4 for two, so that every width learns. Masks (`RANKINGS`): by the
    scores of LEGCNet-FT; by those of its placebo, in which each weight's exponents are shuffled in
    time; at random; by magnitude; by causal pruning's scores of `record_epochs` more epochs of the
    dense training. All have the same counts in every layer: a fraction `amount` of each layer,
    `SHRINKING`, or, at `RULE`, what LEGCNet's rule as released prunes.

    Metrics at each `width`, `network` and `amount`, and `state` ("cut", "retrained", or "dense" for
    the yardsticks): as `distances`, and `pruned`, the fraction of all weights that went. The
    yardsticks have the amount `NONE`. "dense" itself gives `accuracy` only.
    """

    widths: tuple[int, ...] = (25, 100)
    amounts: tuple[float, ...] = (0.1, 0.5)
    hidden_layers: int = 1
    lr: float = 1.0
    record_epochs: int = 2
    on: str = "cpu"
    profile: str = "quick"

    def settings(self, width: int) -> ImageSettings:
        """How networks of this width are trained and read."""
        base = mnist_settings("digits")
        hidden = [width] * check_int("hidden_layers", self.hidden_layers)
        epochs = 2 * base.epochs
        return replace(
            base,
            sizes=(base.sizes[0], *hidden, base.sizes[-1]),
            epochs=epochs,
            lr=self.lr,
            readings=base.readings | {"FT": replace(base.readings["FT"], epochs=epochs)},
        )

    def run(self, seed: int) -> Iterator[Point]:
        """Train, read, cut, retrain and compare, width by width."""
        for width in self.widths:
            settings = self.settings(width)
            data = mnist_data(settings).to(self.on)
            for point in self._at_width(settings, data, seed=seed):
                yield Point(point.metrics, width=width, **point.coordinates)

    def _at_width(self, settings: ImageSettings, data: Dataset, *, seed: int) -> Iterator[Point]:
        recording = record_dense(settings, data, seed=seed)
        initial, dense = recording.initial, recording.run.networks.model(0)
        contest = self.contest(
            recording, data, seed=seed, play=cut_and_retrain(recording, data, seed)
        )
        played = list(contest.run())

        def trained(start: DeepNetworks, seed: int) -> nn.Module:
            return train_on_images(start, settings, data, seed=seed).networks.model(0)

        other = DeepNetworks.initial(settings.sizes, seed=seed + OTHER_SEED, device=self.on)
        yardsticks = {
            "stranger": trained(other, seed + OTHER_SEED),
            "order": trained(initial, seed + OTHER_SEED),
            "twin": trained(moved_a_hair(initial), seed),
            "initial": initial.model(0),
        }
        at = {"state": "dense", "amount": NONE}
        yield Point({"accuracy": accuracy(dense, data)}, network="dense", **at)
        for name, model in yardsticks.items():
            yield Point(distances(dense, model, data, top=settings.top), network=name, **at)
        for entry, states in played:
            fixed = entry.allocation == UNIFORM
            amount = entry.amount if fixed else entry.allocation
            for state, model in states.items():
                metrics = distances(dense, model, data, top=settings.top)
                metrics["pruned"] = entry.masks.amount
                yield Point(metrics, network=entry.ranking, state=state, amount=amount)

    def contest(
        self, recording: DenseRecording, data: Dataset, *, seed: int, play: Play
    ) -> Contest:
        """A contest of all masks; their allocation is `RULE`, `SHRINKING` or uniform."""
        dense, layout = recording.run.networks.model(0), recording.initial.layout
        decision = recording.decide("FT", rule="as_released")
        exponents = recording.exponents["FT"]  # (W, P)
        drawn = torch.rand(exponents.shape, generator=torch.Generator().manual_seed(seed))
        mixed = exponents.gather(0, drawn.argsort(0).to(exponents.device))
        placebo = recording.decide("FT", rule="as_released", exponents=mixed)
        causal = self.causal_scores(dense, recording.settings, data, seed=seed)
        rankings = {
            "LEGCNet": layout.unflatten(decision.scores),
            "shuffled": layout.unflatten(placebo.scores),
            "magnitude": magnitude_scores(dense),
            "causal": causal,
        }
        rankings = {
            name: {layer: value.cpu() for layer, value in scores.items()}
            for name, scores in rankings.items()
        }
        random = random_scores(dense, seed=seed)
        random = {layer: value.cpu() for layer, value in random.items()}
        contest = Contest(rankings, play, nan="keep")
        width = recording.settings.sizes[1]
        for amount in (RULE, *self.amounts, SHRINKING):
            at = amount if isinstance(amount, str) else UNIFORM
            if amount == RULE:
                like = Masks.from_flat(layout, decision.keep.cpu())
                part = like.amount
            else:
                part = width**-0.5 if amount == SHRINKING else float(amount)
                like = contest.allocation(UNIFORM, part)
            masks = {name: contest.cut(name, like=like) for name in rankings}
            masks[RANDOM] = masks_from_scores(random, scope="like", like=like)
            if amount == RULE:
                masks["LEGCNet"] = like
            for name in RANKINGS:
                contest.enter_masks(masks[name], name, at, part)
        return contest

    def causal_scores(
        self, dense: nn.Module, settings: ImageSettings, data: Dataset, *, seed: int
    ) -> dict[str, torch.Tensor]:
        """The released scores of causal pruning, from more training of a copy, on its own loss."""
        model = clone_model(dense)
        optimizer = torch.optim.SGD(model.parameters(), lr=settings.lr)
        generator = own_stream(seed, "recorded batches")
        n_steps = self.record_epochs * math.ceil(len(data.x_train) / settings.batch_size)
        with CausalScores(model, n_steps=n_steps) as recorded:
            for _ in range(self.record_epochs):
                for x, y in iterate_batches(
                    data.x_train,
                    data.y_train,
                    batch_size=settings.batch_size,
                    generator=generator,
                ):
                    goals = nn.functional.one_hot(y, settings.sizes[-1]).to(x)
                    loss = nn.functional.mse_loss(model(x).softmax(1), goals)
                    optimizer.zero_grad()
                    loss.backward()
                    recorded.log(loss=loss)
                    optimizer.step()
        return recorded.scores()


def cut_and_retrain(recording: DenseRecording, data: Dataset, seed: int) -> Play:
    """Play a contest: the dense network under each mask, "cut", and trained so, "retrained"."""
    device = data.x_train.device
    dense = recording.run.networks.model(0)

    def play(masks: Sequence[Masks]) -> Iterator[dict[str, nn.Module]]:
        keep = torch.stack([mask.flat() for mask in masks]).to(device)
        start = recording.initial.repeat(len(masks))
        again = train_on_images(start, recording.settings, data, seed=seed, masks=keep).networks
        for i, mask in enumerate(masks):
            cut = apply_masks(clone_model(dense), mask.to(device))
            yield {"cut": cut, "retrained": again.model(i)}

    return play


CLOSENESS_STUDIES = {
    "quick": (UniformNetworks(), ClosenessByWidth()),
    "full": (
        UniformNetworks((25, 50, 100, 200, 400, 800, 1600), (0.1, 0.5, 0.9, 1.0), profile="full"),
        UniformNetworks(
            (25, 50, 100, 200, 400, 800), (0.1, 0.5, 0.9, 1.0), hidden_layers=2, profile="full"
        ),
        ClosenessByWidth((25, 50, 100, 200, 400), (0.1, 0.5), profile="full"),
        ClosenessByWidth((25, 50, 100, 200), (0.1, 0.5), hidden_layers=2, lr=4.0, profile="full"),
    ),
}
CLOSENESS_STUDIES["paper"] = CLOSENESS_STUDIES["full"]  # the theorem is about all widths
