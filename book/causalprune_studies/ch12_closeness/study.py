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

from causalprune_lib._random import own_stream, seeded
from causalprune_lib._validation import check_int
from causalprune_lib.causality.scores import CausalScores
from causalprune_lib.diagnostics.closeness import removal_bound, sup_distance
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import iterate_batches
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model
from causalprune_lib.pruning.scores import magnitude_scores, random_scores
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_studies.ch10_spectra.networks import OTHER_SEED, JudgedNetworks
from causalprune_studies.paper_networks.deep import DeepNetworks
from causalprune_studies.paper_networks.mnist import (
    DenseRecording,
    ImageSettings,
    mnist_data,
    mnist_settings,
    record_dense,
    train_on_images,
)

# ---- points: How far two networks are apart as functions, and this for every network that is jud


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


# ---- uniform_networks: Random networks as theorem 3.1 of the LEGCNet paper assumes them, and wha


SHRINKING = "shrinking"  # the amount 1 / sqrt(width)


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


# ---- by_width: Does a pruned network come closer to the dense one as both get wider?


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
