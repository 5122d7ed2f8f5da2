"""Does a pruned network come closer to the dense one as both get wider?

Theorem 3.1 of the LEGCNet paper (arXiv:2308.09955) says so. Two parts:

- Where its assumptions hold (`UniformNetworks`): random networks as it describes them, before any
  training, with pruned parts of a fixed size and with parts that shrink as networks grow.
- Where the method works: trained networks, under LEGCNet's masks and others with the same counts,
  right after the cut and retrained from the initial weights.

Yardsticks for a distance are dense networks: a "stranger" (another seed), a network with the same
start and another "order" of examples, and a "twin" (same start, same order, one weight moved a
hair). What the twin shows is due to the sensitivity of training and not to any pruning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_int
from causalprune_lib.causality.streaming import CausalScores
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.closeness.points import (
    NONE,
    accuracy,
    distances,
    moved_a_hair,
    retrain,
)
from causalprune_lib.evidence.studies.closeness.uniform_networks import SHRINKING, UniformNetworks
from causalprune_lib.evidence.studies.mnist_networks.networks import OTHER_SEED
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.nets.evaluation import iterate_batches
from causalprune_lib.pruning.baselines import magnitude_scores, random_scores
from causalprune_lib.pruning.legcnet_deep import DeepNetworks
from causalprune_lib.pruning.legcnet_mnist import (
    DenseRecording,
    ImageSettings,
    mnist_data,
    mnist_settings,
    record_dense,
)
from causalprune_lib.pruning.masks import apply_masks, clone_model
from causalprune_lib.pruning.maskset import Masks
from causalprune_lib.pruning.selection import masks_from_scores

RULE = "rule"  # the amount that LEGCNet's rule as released decides on
RANKINGS = ("LEGCNet", "shuffled", "random", "magnitude", "causal")


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
    the yardsticks): as `distances`, and `accuracy` and `pruned`, the fraction of all weights that
    went. The yardsticks have the amount `NONE`. "dense" itself gives `accuracy` only.
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

    def masks(
        self, recording: DenseRecording, data: Dataset, *, seed: int
    ) -> dict[tuple[str, str | float], Masks]:
        """By ranking and amount."""
        dense, decision = (
            recording.run.networks.model(0),
            recording.decide("FT", rule="as_released"),
        )
        layout, width = recording.initial.layout, recording.settings.sizes[1]
        exponents = recording.exponents["FT"]
        order = torch.rand(exponents.shape, generator=torch.Generator().manual_seed(seed)).argsort(
            0
        )
        mixed = recording.decide(
            "FT", rule="as_released", exponents=exponents.gather(0, order.to(exponents.device))
        )
        scores = {
            "LEGCNet": layout.unflatten(decision.scores.cpu()),
            "shuffled": layout.unflatten(mixed.scores.cpu()),
            "random": random_scores(dense, seed=seed),
            "magnitude": magnitude_scores(dense),
            "causal": self.causal_scores(dense, recording.settings, data, seed=seed),
        }
        ruled = Masks.from_flat(layout, decision.keep.cpu())
        found: dict[tuple[str, str | float], Masks] = {}
        for amount in (RULE, *self.amounts, SHRINKING):
            part = width**-0.5 if amount == SHRINKING else amount
            for name, by in scores.items():
                by = {layer: value.cpu() for layer, value in by.items()}
                if amount == RULE:
                    own = ruled if name == "LEGCNet" else None
                    mask = own or masks_from_scores(by, scope="like", like=ruled, nan="keep")
                else:
                    mask = masks_from_scores(by, float(part), scope="layer", nan="keep")
                found[name, amount] = mask
        return found

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

    def run(self, seed: int) -> Iterator[Point]:
        """Train, read, cut, retrain and compare, width by width."""
        for width in self.widths:
            settings = self.settings(width)
            data = mnist_data(settings).to(self.on)
            yield from self._points(settings, data, width=width, seed=seed)

    def _points(
        self, settings: ImageSettings, data: Dataset, *, width: int, seed: int
    ) -> Iterator[Point]:
        recording = record_dense(settings, data, seed=seed)
        initial, dense = recording.initial, recording.run.networks.model(0)
        masks = self.masks(recording, data, seed=seed)
        keep = torch.stack([mask.flat() for mask in masks.values()]).to(self.on)
        start = initial.repeat(len(masks))
        again = retrain(start, settings, data, seed=seed, keep=keep)
        stranger = DeepNetworks.initial(settings.sizes, seed=seed + OTHER_SEED, device=self.on)
        compared = {
            ("stranger", NONE, "dense"): retrain(stranger, settings, data, seed=seed + OTHER_SEED),
            ("order", NONE, "dense"): retrain(initial, settings, data, seed=seed + OTHER_SEED),
            ("twin", NONE, "dense"): retrain(moved_a_hair(initial), settings, data, seed=seed),
        }
        models = {place: networks.model(0) for place, networks in compared.items()}
        models["initial", NONE, "dense"] = initial.model(0)
        for i, ((name, amount), mask) in enumerate(masks.items()):
            cut = apply_masks(clone_model(dense), mask.to(self.on))
            models |= {(name, amount, "cut"): cut, (name, amount, "retrained"): again.model(i)}
        yield Point(
            {"accuracy": accuracy(dense, data)},
            width=width,
            network="dense",
            state="dense",
            amount=NONE,
        )
        for (name, amount, state), model in models.items():
            metrics = distances(dense, model, data, top=settings.top)
            metrics["accuracy"] = accuracy(model, data)
            where = {"width": width, "network": name, "state": state}
            if amount != NONE:
                metrics["pruned"] = masks[name, amount].amount
            yield Point(metrics, **where, amount=amount)


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
