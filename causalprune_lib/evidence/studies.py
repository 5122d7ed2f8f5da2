"""The studies of the book's chapters, as specs for `run_grid`.

Each study is a `Recipe` (which data, which network, how it is trained) plus what is varied. Its
`run(seed)` does everything once, from the initial weights to the accuracies. The seed decides the
initial weights, the order of the batches and the random masks; the split into training and test
data is always the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.chaos_studies import (
    CHAOS_STUDIES,
    LearningRateSweep,
    PerturbedWeights,
)
from causalprune_lib.evidence.legcnet_studies import LEGCNET_STUDIES, LEGCNetTrial
from causalprune_lib.nets.datasets import Dataset, load_dataset
from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.training import History, evaluate, train
from causalprune_lib.pruning.baselines import inverse_scores, magnitude_scores
from causalprune_lib.pruning.iterative import lottery_ticket, random_ticket
from causalprune_lib.pruning.masks import apply_masks, clone_model, masks_from_scores

# Seeds of different purposes are kept apart: the batches of fine-tuning are not those of training.
FINETUNE, REINITIALISE = 10_000, 20_000


@dataclass(frozen=True)
class Recipe:
    """How a network of a study is made and trained.

    Parameters
    ----------
    dataset : str
        As in `load_dataset`.
    model : str
        As in `build_model`.
    hidden : tuple of int
        Widths of the hidden layers, for an MLP.
    init : {"default", "fan_out"}
        Initial weights, as in `build_model`.
    subset : int or tuple of int, optional
        How many training examples (or training and test examples) to take, stratified.
    image_size : int, optional
        Side that images are resized to.
    epochs, batch_size, lr, momentum, optimizer
        As in `train`.
    on : str
        The device that computes.
    profile : str
        The size class that rows of this study are filed under.

    Examples
    --------
    >>> recipe = Recipe(dataset="iris", hidden=(8,), epochs=30, lr=0.1)
    >>> model = recipe.build(seed=0)
    >>> data = recipe.load()
    >>> _ = recipe.train(model, data, seed=0)
    >>> evaluate(model, data.x_test, data.y_test).accuracy > 0.8
    True
    """

    dataset: str = "digits"
    model: str = "mlp"
    hidden: tuple[int, ...] = (128, 64)
    init: str = "default"
    subset: int | tuple[int, int] | None = None
    image_size: int | None = None
    epochs: int = 20
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    optimizer: str = "sgd"
    on: str = "cpu"
    profile: str = "quick"

    def load(self) -> Dataset:
        """The data, on the recipe's device; loaded once per process."""
        return _load(self.dataset, self.subset, self.image_size, self.on)

    def build(self, *, seed: int) -> nn.Module:
        """A network with the initial weights of `seed`."""
        options = {"hidden": self.hidden} if self.model == "mlp" else {}
        return build_model(
            self.model,
            dataset=self.dataset,
            image_size=self.image_size,
            init=self.init,
            seed=seed,
            **options,
        ).to(self.on)

    def train(
        self, model: nn.Module, data: Dataset, *, seed: int, epochs: int | None = None
    ) -> History:
        """Train `model` in place, for the recipe's epochs or for `epochs`."""
        return train(
            model,
            data.x_train,
            data.y_train,
            epochs=self.epochs if epochs is None else epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            momentum=self.momentum,
            optimizer=self.optimizer,
            seed=seed,
            progress=False,
        )


@dataclass(frozen=True)
class PruningCurve(Recipe):
    """Accuracy against the amount pruned: two decisions, each changed alone.

    Gives points with the coordinates `ranking` (dense, magnitude, random, inverse), `allocation`
    (global: the counts per layer that one magnitude threshold gives; layer: the same fraction of
    every layer; none for the dense network) and `amount`, and the metrics `accuracy` (right after
    the cut) and `accuracy_finetuned`, on the test set. The dense network is fine-tuned too.
    """

    amounts: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
    finetune_epochs: int = 10

    def run(self, seed: int) -> Iterator[Point]:
        """Train once, prune in every way at every amount, fine-tune each."""
        data = self.load()
        dense = self.build(seed=seed)
        self.train(dense, data, seed=seed)
        yield self._judged(dense, data, seed, ranking="dense", allocation="none", amount=0.0)

        magnitude = magnitude_scores(dense)
        inverse = inverse_scores(magnitude)
        for amount in self.amounts:
            by_threshold = masks_from_scores(magnitude, amount)
            by_layer = masks_from_scores(magnitude, amount, scope="layer")
            for allocation, found in {"global": by_threshold, "layer": by_layer}.items():
                rankings = {
                    "magnitude": found,
                    "random": random_ticket(found, seed=seed),
                    "inverse": masks_from_scores(inverse, scope="like", like=found),
                }
                for ranking, masks in rankings.items():
                    network = apply_masks(clone_model(dense), masks)
                    yield self._judged(
                        network, data, seed, ranking=ranking, allocation=allocation, amount=amount
                    )

    def _judged(self, network: nn.Module, data: Dataset, seed: int, **where) -> Point:
        """Accuracy of `network`, before and after fine-tuning it in place."""
        before = evaluate(network, data.x_test, data.y_test).accuracy
        self.train(network, data, seed=seed + FINETUNE, epochs=self.finetune_epochs)
        after = evaluate(network, data.x_test, data.y_test).accuracy
        return Point({"accuracy": before, "accuracy_finetuned": after}, **where)


@dataclass(frozen=True)
class LotteryCurve(Recipe):
    """Lottery tickets by iterative magnitude pruning with rewinding, and their two controls.

    Gives points with the coordinates `network` (dense; ticket; new values: the ticket's mask on new
    initial weights; random mask: the old initial weights under a random mask with the same counts
    per layer) and `amount`, and the metric `accuracy` on the test set. Each network is trained from
    its initial weights for the same number of epochs.
    """

    amounts: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)

    def run(self, seed: int) -> Iterator[Point]:
        """Find a ticket at every amount, then train it and its controls from the start."""
        data = self.load()
        start = self.build(seed=seed)

        def train_and_judge(network: nn.Module) -> float:
            self.train(network, data, seed=seed)
            return evaluate(network, data.x_test, data.y_test).accuracy

        ticket = clone_model(start)
        rounds = lottery_ticket(
            ticket, train_and_judge, amounts=self.amounts, rewind_to=start.state_dict()
        )
        # Round r trains what round r - 1 left: first the dense network, then ticket after ticket.
        dense, *tickets = [found.training for found in rounds] + [train_and_judge(ticket)]
        yield Point({"accuracy": dense}, network="dense", amount=0.0)
        for amount, found, accuracy in zip(self.amounts, rounds, tickets, strict=True):
            yield Point({"accuracy": accuracy}, network="ticket", amount=amount)
            controls = {
                "new values": (self.build(seed=seed + REINITIALISE), found.masks),
                "random mask": (clone_model(start), random_ticket(found.masks, seed=seed)),
            }
            for name, (network, masks) in controls.items():
                accuracy = train_and_judge(apply_masks(network, masks))
                yield Point({"accuracy": accuracy}, network=name, amount=amount)


Study = Recipe | LearningRateSweep | PerturbedWeights | LEGCNetTrial

_DIGITS = {"dataset": "digits", "model": "mlp", "hidden": (128, 64), "lr": 0.05}
_FASHION = {"dataset": "fashion_mnist", "model": "lenet", "subset": 10_000, "lr": 0.02}
_FEWER = (0.8, 0.9, 0.95, 0.98)

STUDIES: dict[str, dict[str, tuple[Study, ...]]] = {
    "what-a-network-can-lose": {
        "quick": (PruningCurve(**_DIGITS), LotteryCurve(**_DIGITS)),
        "full": (
            PruningCurve(**_FASHION, epochs=8, finetune_epochs=2, amounts=_FEWER, profile="full"),
            LotteryCurve(**_FASHION, epochs=8, amounts=_FEWER, profile="full"),
        ),
    },
    "is-sgd-chaotic": CHAOS_STUDIES,
    "legcnet": LEGCNET_STUDIES,  # the seed is one of ten published trials, from 0
}


def studies_of(chapter: str, profile: str, *, on: str = "cpu") -> tuple[Study, ...]:
    """The studies that a chapter runs in a profile, to be computed on the device `on`.

    The full ones are also what `python book/measure.py CHAPTER` runs and keeps.

    Examples
    --------
    >>> curve, lottery = studies_of("what-a-network-can-lose", "quick")
    >>> curve.dataset, lottery.epochs
    ('digits', 20)
    """
    check_choice("chapter", chapter, STUDIES)
    check_choice("profile", profile, STUDIES[chapter])
    return tuple(replace(study, on=on) for study in STUDIES[chapter][profile])


@lru_cache(maxsize=2)
def _load(dataset: str, subset, image_size: int | None, device: str) -> Dataset:
    data = load_dataset(dataset, subset=subset, size=image_size, progress=False)
    return data if torch.device(device).type == "cpu" else data.to(device)
