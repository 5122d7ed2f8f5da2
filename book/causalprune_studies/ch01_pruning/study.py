"""What a network can lose: accuracy against the amount pruned, and lottery tickets.

Each study's `run(seed)` does everything once, from the initial weights to the accuracies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.training import evaluate
from causalprune_lib.pruning.contest import UNIFORM, Contest, retraining
from causalprune_lib.pruning.iterative import lottery_ticket
from causalprune_lib.pruning.masks import apply_masks, clone_model
from causalprune_lib.pruning.scores import inverse_scores, magnitude_scores
from causalprune_lib.pruning.select import random_masks_like
from causalprune_studies.recipe import Recipe

# Seeds of different purposes are kept apart: the batches of fine-tuning are not those of training.
FINETUNE, REINITIALISE = 10_000, 20_000


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
        finetuning = replace(self.training, epochs=self.finetune_epochs)

        def accuracy(network: nn.Module) -> dict[str, float]:
            return {"accuracy": evaluate(network, data.x_test, data.y_test).accuracy}

        found = accuracy(dense)
        finetuning.train(dense, data.x_train, data.y_train, seed=seed + FINETUNE)
        found["accuracy_finetuned"] = accuracy(dense)["accuracy"]
        yield Point(found, ranking="dense", allocation="none", amount=0.0)
        magnitude = magnitude_scores(dense)  # all others start from this network
        contest = Contest(
            {"magnitude": magnitude, "inverse": inverse_scores(magnitude)},
            retraining(dense, data, finetuning, judge=accuracy, seed=seed + FINETUNE),
            seed=seed,
        )
        for amount in self.amounts:
            for allocation in ("magnitude", UNIFORM):
                for ranking in ("magnitude", "random", "inverse"):
                    contest.enter(ranking, amount, at=allocation)
        named = {"magnitude": "global", UNIFORM: "layer"}
        for entry, found in contest.run():
            metrics = {"accuracy": found["accuracy_cut"], "accuracy_finetuned": found["accuracy"]}
            where = {"ranking": entry.ranking, "allocation": named[entry.allocation]}
            yield Point(metrics, **where, amount=entry.amount)


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
                "random mask": (clone_model(start), random_masks_like(found.masks, seed=seed)),
            }
            for name, (network, masks) in controls.items():
                accuracy = train_and_judge(apply_masks(network, masks))
                yield Point({"accuracy": accuracy}, network=name, amount=amount)


_DIGITS = {"dataset": "digits", "model": "mlp", "hidden": (128, 64), "lr": 0.05}
_FASHION = {"dataset": "fashion_mnist", "model": "lenet", "subset": 10_000, "lr": 0.02}
_ALL = {**_FASHION, "subset": None}
_FEWER = (0.8, 0.9, 0.95, 0.98)

STUDIES = {
    "quick": (
        PruningCurve(**_DIGITS, amounts=(0.5, *_FEWER)),
        LotteryCurve(**_DIGITS, amounts=_FEWER),
    ),
    "full": (
        PruningCurve(**_FASHION, epochs=8, finetune_epochs=2, amounts=_FEWER, profile="full"),
        LotteryCurve(**_FASHION, epochs=8, amounts=_FEWER, profile="full"),
    ),
    "paper": (  # neither paper draws these curves: all images and amounts
        PruningCurve(**_ALL, epochs=20, finetune_epochs=10, profile="paper"),
        LotteryCurve(**_ALL, epochs=20, profile="paper"),
    ),
}
