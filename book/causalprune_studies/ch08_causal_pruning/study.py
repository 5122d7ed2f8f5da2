"""Causal pruning with its controls: figures 1 and 2 and table 2, as specs for `run_grid`.

`CausalCurve` prunes one network once, by every ranking at every allocation: figures 1a and 1b.
`IteratedRun` is algorithm 1 with its rewinding: table 2, and figure 2 where its fields are varied.
`CausalSketch` is the first at the size of a page.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import nn

from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.training import Training, evaluate
from causalprune_lib.pruning.causal import CausalPruning, Recording, record
from causalprune_lib.pruning.contest import Contest, Play
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model
from causalprune_lib.pruning.scores import (
    Scores,
    inverse_scores,
    magnitude_scores,
    obd_scores,
    random_scores,
)
from causalprune_lib.pruning.select import masks_from_scores, random_masks_like
from causalprune_lib.pruning.structured import filter_masks, remove_filters
from causalprune_studies.ch08_causal_pruning.controls import (
    frozen_scores,
    overlap_metrics,
    rank_correlations,
    repeated_amounts,
    shuffled_losses,
    without_floor,
)
from causalprune_studies.recipe import Recipe

# Seeds of different purposes are kept apart.
RECORD, POST, RANDOM, SHUFFLE, OTHER = (10_000 * k for k in range(1, 6))

# Pairs of a ranking and an allocation. The allocation has the name of the ranking whose own
# threshold gives the counts; "uniform" prunes the same fraction of every layer.
MAIN = (
    ("causal", "causal"),
    ("random", "causal"),
    ("magnitude", "causal"),
    ("inverse", "causal"),
    ("shuffled loss", "causal"),
    ("magnitude", "magnitude"),
    ("obd", "obd"),
)
MORE = (
    ("frozen", "causal"),
    ("movement", "causal"),
    ("same batch", "causal"),
    ("shuffled loss", "shuffled loss"),
    ("movement", "movement"),
    ("same batch", "same batch"),
    ("causal", "magnitude"),
    ("random", "magnitude"),
    ("causal", "uniform"),
    ("random", "uniform"),
    ("magnitude", "uniform"),
)
SKETCHED = (  # what the page runs by itself: at every amount, and the others at one
    ("causal", "causal"),
    ("random", "causal"),
    ("magnitude", "causal"),
    ("shuffled loss", "causal"),
    ("magnitude", "magnitude"),
)
CONTROLS = (("inverse", "causal"), ("frozen", "causal"), ("movement", "causal"))
OVERLAPS = {  # ranking -> those that its masks are compared with
    "causal": (
        "magnitude",
        "movement",
        "same batch",
        "shuffled loss",
        "frozen",
        "causal, other order",
        "causal, other seed",
    ),
    "magnitude": ("magnitude, other seed",),
}


def counted(masks: Masks) -> dict[str, float]:
    """The metrics `amount_pruned`, and `kept_LAYER`, counts."""
    counts = masks.counts()
    names = counts.layer.str.removesuffix(".weight")
    kept = {f"kept_{name}": n for name, n in zip(names, counts.kept, strict=True)}
    return {"amount_pruned": masks.amount, **kept}


@dataclass(frozen=True)
class CausalRecipe(Recipe):
    """The phases of the causal pruning paper, as released, at a size of our own.

    Adam at `lr` trains before pruning for `epochs` (the paper's N_pre) and after it for
    `post_epochs` (N_post). SGD without momentum at `prune_lr` is recorded for `prune_epochs`
    (N_prune), then the weights go back to what they were. Batches are of `batch_size`, and of
    `post_batch_size` after pruning: few epochs with small batches make as many steps as more epochs
    with large ones, for less work.
    """

    model: str = "lenet"
    init: str = "fan_out"
    epochs: int = 10
    batch_size: int = 512
    lr: float = 5e-4
    momentum: float = 0.0
    optimizer: str = "adam"
    prune_epochs: int = 10
    prune_lr: float = 1e-3
    post_epochs: int = 4
    post_batch_size: int = 64

    @property
    def recording(self) -> Training:
        """The training that is recorded."""
        return Training(self.prune_epochs, self.batch_size, lr=self.prune_lr)

    @property
    def posttraining(self) -> Training:
        """The training after pruning."""
        return replace(self.training, epochs=self.post_epochs, batch_size=self.post_batch_size)

    def build(self, *, seed: int) -> nn.Module:
        """As in `Recipe`, with images in the memory order in which convolutions are fastest."""
        return super().build(seed=seed).to(memory_format=torch.channels_last)

    def pretrained(self, data: Dataset, *, seed: int) -> nn.Module:
        """The network of `seed` after its first training."""
        network = self.build(seed=seed)
        self.train(network, data, seed=seed)
        return network

    def record(
        self, network: nn.Module, data: Dataset, *, order: int, **options: object
    ) -> Recording:
        """Record a copy of `network`; `order` is the seed of the batches, `options` as `record`."""
        twin = clone_model(network)
        return record(twin, data, self.recording, seed=order, reuse_loss=True, **options)

    def iterate(
        self,
        network: nn.Module,
        data: Dataset,
        *,
        seed: int,
        path: str | os.PathLike | None = None,
        **how: object,
    ) -> CausalPruning:
        """The rounds of algorithm 1 on the trained `network`; `how` as in `CausalPruning`."""
        nothing = replace(self.training, epochs=0)
        pruning = CausalPruning(
            **how,
            floor=1,
            pretrain=nothing,
            record=self.recording,
            posttrain=nothing,
            seed=lambda number: seed + RECORD + 100 * (number - 1) if number else seed,
        )
        return pruning.fit(network, data, path=path)

    def play(self, network: nn.Module, data: Dataset, *, seed: int) -> Play:
        """Cut, post-train and judge copies of `network`; None stands for no masks.

        Metrics: `accuracy_cut` and `accuracy` on the test set, right after the cut and after the
        last epoch, and `train_loss` of that epoch. With masks also `amount_pruned` and
        `kept_LAYER`, counts.
        """

        def accuracy(network: nn.Module) -> float:
            return evaluate(network, data.x_test, data.y_test, batch_size=256).accuracy

        def play(many: Sequence[Masks | None]) -> Iterator[dict[str, float]]:
            for masks in many:
                pruned = clone_model(network)
                if masks is not None:
                    apply_masks(pruned, masks)
                found = {"accuracy_cut": accuracy(pruned)}
                history = self.posttraining.train(
                    pruned, data.x_train, data.y_train, seed=seed + POST
                )
                found["accuracy"] = accuracy(pruned)
                found["train_loss"] = history.frame.train_loss.iloc[-1]
                yield found | ({} if masks is None else counted(masks))

        return play


@dataclass(frozen=True)
class CausalCurve(CausalRecipe):
    """Accuracy against the amount pruned in one shot: rankings and allocations told apart.

    Gives points with the coordinates `ranking`, `allocation` and `amount`: the dense network, and
    for each pair of `MAIN` the metrics of `CausalRecipe.play`, means over `n_random` masks where
    the ranking is random; for the amounts in `thorough` the pairs of `MORE` too. A ranking at its
    own allocation has also `emptied`, the layers that it would leave without a weight. "causal" at
    its own allocation is the released rule, at the `alpha` (L1_coeff) that prunes `amount`.

    And points with the coordinates `a`, `b`, `amount_a` and `amount_b`: `overlap_metrics` of the
    masks of two rankings at their own allocations; without amounts, the correlations of their
    ranks in each layer. "frozen" is the ranking when no weight moves (`frozen_scores`), "other
    order" a second recording from the same weights, "other seed" a network of its own.
    """

    amounts: tuple[float, ...] = (0.8, 0.9, 0.95, 0.98)
    thorough: tuple[float, ...] = ()
    n_random: int = 1

    def pairs(self, amount: float) -> tuple[tuple[str, str], ...]:
        """Rankings and allocations at one amount."""
        return MAIN + (MORE if amount in self.thorough else ())

    def run(self, seed: int) -> Iterator[Point]:
        """Train and record once, then cut, rewind and post-train in every way."""
        data = self.load()
        network = self.pretrained(data, seed=seed)
        rankings, total_step = self.rankings(network, data, seed)
        play = self.play(network, data, seed=seed)
        contest = Contest(rankings, play, floor=1, seed=RANDOM + 100 * seed)
        yield Point(*play([None]), ranking="dense", allocation="none", amount=0.0)
        for amount in self.amounts:
            for ranking, allocation in self.pairs(amount):
                entries = contest.enter(ranking, amount, at=allocation, draws=self.n_random)
                metrics = pd.DataFrame([m for _, m in contest.run(entries)]).mean().to_dict()
                if ranking == allocation:
                    metrics["emptied"], threshold = without_floor(rankings[ranking], amount)
                if ranking == allocation == "causal":
                    metrics["alpha"] = threshold / total_step
                yield Point(metrics, ranking=ranking, allocation=allocation, amount=amount)
        yield from self._overlaps(contest, network, data, seed)

    def rankings(
        self, network: nn.Module, data: Dataset, seed: int
    ) -> tuple[dict[str, Scores], float]:
        """Scores of every ranking, and the sum of the step sizes of the released solver."""
        order = seed + RECORD
        real = self.record(network, data, order=order, changes=["two_batch", "same_batch"])
        mixed = shuffled_losses(real.losses, seed=seed + SHUFFLE)
        placebo = self.record(network, data, order=order, losses=mixed)
        seen = real.scores["two_batch"]
        rankings = {
            "causal": seen.scores(),
            "frozen": frozen_scores(network, data, self.recording, seed=order),
            "inverse": inverse_scores(seen.scores()),
            "magnitude": magnitude_scores(network),
            "movement": seen.movement,
            "obd": obd_scores(network, seen.movement),
            "same batch": real.scores["same_batch"].scores(),
            "shuffled loss": placebo.scores["two_batch"].scores(),
        }
        return rankings, seen.total_step

    def _overlaps(
        self, contest: Contest, network: nn.Module, data: Dataset, seed: int
    ) -> Iterator[Point]:
        again = self.record(network, data, order=seed + RECORD + OTHER)
        contest.rank("causal, other order", again.scores["two_batch"].scores())
        if self.thorough:
            stranger = self.pretrained(data, seed=seed + OTHER)
            contest.rank("magnitude, other seed", magnitude_scores(stranger))
            found = self.record(stranger, data, order=seed + OTHER + RECORD)
            contest.rank("causal, other seed", found.scores["two_batch"].scores())
        for a, others in OVERLAPS.items():
            for b in others:
                if b not in contest.rankings:
                    continue
                yield Point(rank_correlations(contest.rankings[a], contest.rankings[b]), a=a, b=b)
                for p in self.amounts:
                    for q in self.amounts if (a, b) == ("causal", "magnitude") else (p,):
                        metrics = overlap_metrics(
                            contest.allocation(a, p), contest.allocation(b, q)
                        )
                        yield Point(metrics, a=a, b=b, amount_a=p, amount_b=q)


@dataclass(frozen=True)
class IteratedRun(CausalRecipe):
    """Algorithm 1: record, prune, rewind, `n_iter` times over; then post-train.

    With `l1_coeff` each iteration keeps what the released rule keeps at that alpha, as described.
    Without it each prunes `fraction` of what remains, as the paper's magnitude baseline does. Every
    layer keeps at least one weight.

    Gives points with the coordinates `ranking`, `allocation` and `iteration`, and the metrics of
    `CausalRecipe.play`: for "causal" after each of the iterations in `report`. With `controls`
    also, after the last iteration: at the amounts of the causal run "magnitude" iterated likewise,
    where each iteration trains as long, and "shuffled loss", with the changes of the loss that the
    causal run saw in that iteration in another order; at its last amount "causal, one shot" and
    "magnitude, one shot"; at its last counts per layer "random" and "magnitude".
    """

    n_iter: int = 10
    fraction: float = 0.275
    l1_coeff: float | None = None
    report: tuple[int, ...] = (1, 2, 5, 10)
    controls: bool = False

    def run(self, seed: int) -> Iterator[Point]:
        """Train once; iterate every ranking from the same weights; post-train what is left."""
        data = self.load()
        network = self.pretrained(data, seed=seed)
        play = self.play(network, data, seed=seed)

        def point(masks: Masks | None, ranking: str, allocation: str, iteration: int) -> Point:
            where = {"ranking": ranking, "allocation": allocation, "iteration": iteration}
            return Point(*play([masks]), **where)

        yield point(None, "dense", "none", 0)
        recordings: list[Recording] = []

        def causal(twin: nn.Module, number: int, record: Callable[..., Recording]) -> Scores:
            recordings.append(record())
            return recordings[-1].scores["two_batch"].scores()

        if self.l1_coeff is None:
            how = {"amount": repeated_amounts(self.fraction, self.n_iter)}
        else:
            how = {"alpha": self.l1_coeff}
        how |= {"n_iter": self.n_iter, "score": causal}
        rounds = self.iterate(network, data, seed=seed, **how).masks_by_round_
        for iteration in self.report:
            yield point(rounds[iteration - 1], "causal", "causal", iteration)
        if not self.controls:
            return
        n_pruned = [masks.n - masks.n_kept for masks in rounds]

        def magnitude(twin: nn.Module, number: int, record: Callable[..., Recording]) -> Scores:
            record()  # each iteration trains as long
            return magnitude_scores(twin)

        def placebo(twin: nn.Module, number: int, record: Callable[..., Recording]) -> Scores:
            seen = recordings[number - 1].losses
            mixed = shuffled_losses(seen, seed=seed + SHUFFLE + 100 * (number - 1))
            return record(losses=mixed).scores["two_batch"].scores()

        for ranking, score in {"magnitude": magnitude, "shuffled loss": placebo}.items():
            found = self.iterate(network, data, seed=seed, amount=n_pruned, score=score)
            yield point(found.masks_, ranking, ranking, self.n_iter)
        at_once = {
            "causal": recordings[0].scores["two_batch"].scores(),
            "magnitude": magnitude_scores(network),
        }
        for ranking, scores in at_once.items():
            masks = masks_from_scores(scores, n_pruned[-1], floor=1)
            yield point(masks, f"{ranking}, one shot", ranking, self.n_iter)
        last = rounds[-1]
        yield point(random_masks_like(last, seed=seed + RANDOM), "random", "causal", self.n_iter)
        masks = masks_from_scores(at_once["magnitude"], scope="like", like=last)
        yield point(masks, "magnitude", "causal", self.n_iter)


@dataclass(frozen=True)
class CausalSketch(CausalCurve):
    """`CausalCurve` with fewer pairs, for the page: all controls at the amounts in `thorough`."""

    def pairs(self, amount: float) -> tuple[tuple[str, str], ...]:
        """Rankings and allocations at one amount."""
        return SKETCHED + (CONTROLS if amount in self.thorough else ())


# The full size is what two CPU cores do in an hour or two: 10,000 images of each data set, 20
# batches an epoch, so that 10 epochs are T = 200 recorded steps; the paper's N_pre, N_iter and
# N_prune; for N_post 4 epochs of 157 batches in place of 200 epochs. An epoch of LeNet takes 1.8
# seconds of one core for Fashion-MNIST and 3.3 for CIFAR-10. One seed, in minutes of one core: 9,
# 14, 12, 4, 2, 2, 2, 4 and 21, in the order below; the last may be left out.
_QUICK = {
    "dataset": "digits",
    "image_size": 28,
    "epochs": 4,
    "batch_size": 128,
    "prune_epochs": 3,
    "post_epochs": 1,
}
_FULL = {"subset": (10_000, 10_000), "profile": "full"}
_PAPER = {"post_epochs": 200, "post_batch_size": 512, "profile": "paper"}
_FASHION = {"dataset": "fashion_mnist", **_FULL}
_CIFAR10 = {"dataset": "cifar10", **_FULL}
_SHORT = {**_FASHION, "prune_epochs": 2}

CAUSAL_PRUNING_STUDIES: dict[str, tuple[CausalRecipe, ...]] = {
    "quick": (
        CausalCurve(**_QUICK, amounts=(0.8, 0.95)),
        IteratedRun(**_QUICK, n_iter=3, report=(1, 3), controls=True),
    ),
    "full": (
        CausalCurve(**_FASHION, thorough=(0.95,)),
        CausalCurve(**_CIFAR10, thorough=(0.95,)),
        IteratedRun(**_FASHION, controls=True),
        CausalCurve(**_FASHION, init="default", amounts=(0.95, 0.98)),
        *(IteratedRun(**_SHORT, l1_coeff=alpha) for alpha in (1e-15, 1e-14, 1e-13)),
        IteratedRun(**_FASHION, prune_epochs=5, l1_coeff=1e-14),
        IteratedRun(**_CIFAR10, controls=True),
    ),
    "paper": (  # all images and N_post; the stopping rule is that of `PaperTable2`
        CausalCurve(dataset="fashion_mnist", **_PAPER, thorough=(0.95,)),
        CausalCurve(dataset="cifar10", **_PAPER, thorough=(0.95,)),
        IteratedRun(dataset="fashion_mnist", **_PAPER, controls=True),
        IteratedRun(dataset="cifar10", **_PAPER, controls=True),
    ),
}

SKETCH = CausalSketch(  # Adam at four times the paper's rate: there are seconds for it, not hours
    dataset="digits",
    image_size=20,
    subset=(640, 360),
    epochs=4,
    lr=2e-3,
    batch_size=64,
    prune_epochs=3,
    post_epochs=2,
    amounts=(0.8, 0.9, 0.95),
    thorough=(0.9,),
)


def smaller_networks(
    recipe: CausalRecipe, network: nn.Module, data: Dataset, amount: float, *, seed: int
) -> dict[str, nn.Module]:
    """`network` without `amount` of the filters and neurons of each layer, by four scores.

    As many in every layer, so that the four differ in which. They are not trained any further.
    """
    example = data.x_train[:1]
    seen = recipe.record(network, data, order=seed + RECORD).scores["two_batch"]
    scores = {
        "causal": seen.sums,
        "movement": seen.movement,
        "magnitude": magnitude_scores(network),
        "random": random_scores(network, seed=seed + RANDOM),
    }
    found = {}
    for name, values in scores.items():
        masks = filter_masks(
            network, values, amount, example=example, signed=name == "causal", floor=1
        )
        found[name] = remove_filters(network, masks, example=example)
    return found
