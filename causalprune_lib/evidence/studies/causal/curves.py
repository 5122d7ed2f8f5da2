"""The studies of the chapter "Causal pruning", as specs for `run_grid`.

`CausalCurve` prunes one network once, by every ranking at every allocation: figures 1a and 1b of
the paper with their controls. `IteratedRun` (`iterated.py`) is algorithm 1 with its
rewinding: table 2, and figure 2 where its fields are varied.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from torch import nn

from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.causal.controls import (
    MAIN,
    MORE,
    OVERLAPS,
    Cutter,
    overlap_metrics,
    rank_correlations,
)
from causalprune_lib.evidence.studies.causal.iterated import IteratedRun
from causalprune_lib.evidence.studies.causal.recipe import (
    OTHER,
    RANDOM,
    RECORD,
    SHUFFLE,
    CausalRecipe,
    frozen_scores,
    record,
    shuffled_losses,
)
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.pruning.masks import clone_model
from causalprune_lib.pruning.scores import Scores, inverse_scores, magnitude_scores, obd_scores


@dataclass(frozen=True)
class CausalCurve(CausalRecipe):
    """Accuracy against the amount pruned in one shot: rankings and allocations told apart.

    Gives points with the coordinates `ranking`, `allocation` and `amount`: the dense network, and
    for each pair of `MAIN` the metrics of `CausalRecipe.judged`, means over `n_random` masks where
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

    def run(self, seed: int) -> Iterator[Point]:
        """Train and record once, then cut, rewind and post-train in every way."""
        data = self.load()
        network = self.build(seed=seed)
        self.train(network, data, seed=seed)
        rankings, total_step = self._rankings(network, data, seed)
        dense = {"ranking": "dense", "allocation": "none", "amount": 0.0}
        yield Point(self.judged(network, None, data, seed=seed), **dense)
        for amount in self.amounts:
            cutter = Cutter(rankings, amount)
            for ranking, allocation in MAIN + (MORE if amount in self.thorough else ()):
                draws = range(self.n_random if ranking == "random" else 1)
                seeds = [RANDOM + 100 * seed + draw for draw in draws]
                masks = [cutter.cut(ranking, allocation, seed=s) for s in seeds]
                found = [self.judged(network, m, data, seed=seed) for m in masks]
                metrics = pd.DataFrame(found).mean().to_dict()
                if ranking == allocation:
                    metrics["emptied"] = cutter.emptied(ranking)
                if ranking == allocation == "causal":
                    metrics["alpha"] = cutter.threshold(ranking) / total_step
                yield Point(metrics, ranking=ranking, allocation=allocation, amount=amount)
        yield from self._overlaps(rankings, network, data, seed)

    def _rankings(
        self, network: nn.Module, data: Dataset, seed: int
    ) -> tuple[dict[str, Scores], float]:
        """Scores of every ranking, and the sum of the step sizes of the released solver."""
        first = seed + RECORD
        real = record(self, clone_model(network), data, seed=first, same_batch=True)
        mixed = shuffled_losses(real.losses, seed=seed + SHUFFLE)
        placebo = record(self, clone_model(network), data, seed=first, losses=mixed)
        causal = real.two_batch.scores()
        rankings = {
            "causal": causal,
            "frozen": frozen_scores(self, network, data, seed=first),
            "inverse": inverse_scores(causal),
            "magnitude": magnitude_scores(network),
            "movement": real.two_batch.movement,
            "obd": obd_scores(network, real.two_batch.movement),
            "same batch": real.same_batch.scores(),
            "shuffled loss": placebo.two_batch.scores(),
        }
        return rankings, real.two_batch.total_step

    def _overlaps(
        self, rankings: dict[str, Scores], network: nn.Module, data: Dataset, seed: int
    ) -> Iterator[Point]:
        again = record(self, clone_model(network), data, seed=seed + RECORD + OTHER)
        rankings = rankings | {"causal, other order": again.two_batch.scores()}
        if self.thorough:
            stranger = self.build(seed=seed + OTHER)
            self.train(stranger, data, seed=seed + OTHER)
            rankings["magnitude, other seed"] = magnitude_scores(stranger)
            found = record(self, stranger, data, seed=seed + OTHER + RECORD)
            rankings["causal, other seed"] = found.two_batch.scores()
        cutters = {amount: Cutter(rankings, amount) for amount in self.amounts}
        for a, others in OVERLAPS.items():
            for b in others:
                if b not in rankings:
                    continue
                yield Point(rank_correlations(rankings[a], rankings[b]), a=a, b=b)
                for p in self.amounts:
                    for q in self.amounts if (a, b) == ("causal", "magnitude") else (p,):
                        metrics = overlap_metrics(cutters[p].own(a), cutters[q].own(b))
                        yield Point(metrics, a=a, b=b, amount_a=p, amount_b=q)


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
}
