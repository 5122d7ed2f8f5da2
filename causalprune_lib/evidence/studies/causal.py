"""The studies of the chapter "Causal pruning", as specs for `run_grid`.

`CausalCurve` prunes one network once, by every ranking at every allocation: figures 1a and 1b of
the paper with their controls. `IteratedRun` is algorithm 1 with its rewinding, against iterated
magnitude pruning: table 2, and figure 2 where its fields are varied.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
from torch import nn

from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.causal_controls import (
    MAIN,
    MORE,
    Cutter,
    overlap_metrics,
    rank_correlations,
)
from causalprune_lib.evidence.studies.causal_recipe import (
    OTHER,
    RANDOM,
    RECORD,
    SHUFFLE,
    CausalRecipe,
    Recording,
    record,
    shuffled_losses,
)
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.pruning.iterative import random_ticket, repeated_amounts
from causalprune_lib.pruning.masks import (
    Masks,
    apply_masks,
    clone_model,
    masks_from_scores,
    masks_of,
)
from causalprune_lib.pruning.rewinding import rewind
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
    ranks in each layer. "other order" is a second recording from the same weights, "other seed" a
    network of its own.
    """

    amounts: tuple[float, ...] = (0.8, 0.9, 0.95, 0.98)
    thorough: tuple[float, ...] = ()
    n_random: int = 2

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


OVERLAPS = {  # ranking -> those that its masks are compared with
    "causal": (
        "magnitude",
        "movement",
        "same batch",
        "shuffled loss",
        "causal, other order",
        "causal, other seed",
    ),
    "magnitude": ("magnitude, other seed",),
}


@dataclass(frozen=True)
class IteratedRun(CausalRecipe):
    """Algorithm 1: record, prune, rewind, `n_iter` times over; then post-train.

    With `l1_coeff` each iteration keeps what the released rule keeps at that alpha, as described.
    Without it each prunes `fraction` of what remains, as the paper's magnitude baseline does. Every
    layer keeps at least one weight.

    Gives points with the coordinates `ranking`, `allocation` and `iteration`, and the metrics of
    `CausalRecipe.judged`: for "causal" after each of the iterations in `report`. With `controls`
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
        network = self.build(seed=seed)
        self.train(network, data, seed=seed)

        def point(masks: Masks | None, ranking: str, allocation: str, iteration: int) -> Point:
            where = {"ranking": ranking, "allocation": allocation, "iteration": iteration}
            return Point(self.judged(network, masks, data, seed=seed), **where)

        def recorded(twin: nn.Module, iteration: int, losses=None) -> Recording:
            order = seed + RECORD + 100 * iteration
            return record(self, twin, data, seed=order, losses=losses)

        yield point(None, "dense", "none", 0)
        recordings: list[Recording] = []

        def causal(twin: nn.Module, iteration: int) -> tuple[Scores, float | int]:
            recordings.append(recorded(twin, iteration))
            return recordings[-1].two_batch.scores(), self._amount(recordings[-1], iteration)

        rounds = list(self._iterate(network, causal))
        for iteration in self.report:
            yield point(rounds[iteration - 1], "causal", "causal", iteration)
        if not self.controls:
            return
        n_pruned = [masks.n - masks.n_kept for masks in rounds]

        def magnitude(twin: nn.Module, iteration: int) -> tuple[Scores, int]:
            recorded(twin, iteration)
            return magnitude_scores(twin), n_pruned[iteration]

        def placebo(twin: nn.Module, iteration: int) -> tuple[Scores, int]:
            seen = recordings[iteration].losses
            mixed = shuffled_losses(seen, seed=seed + SHUFFLE + 100 * iteration)
            return recorded(twin, iteration, mixed).two_batch.scores(), n_pruned[iteration]

        for ranking, score in {"magnitude": magnitude, "shuffled loss": placebo}.items():
            *_, masks = self._iterate(network, score)
            yield point(masks, ranking, ranking, self.n_iter)
        at_once = {
            "causal": recordings[0].two_batch.scores(),
            "magnitude": magnitude_scores(network),
        }
        for ranking, scores in at_once.items():
            masks = masks_from_scores(scores, n_pruned[-1], floor=1)
            yield point(masks, f"{ranking}, one shot", ranking, self.n_iter)
        last = rounds[-1]
        yield point(random_ticket(last, seed=seed + RANDOM), "random", "causal", self.n_iter)
        masks = masks_from_scores(at_once["magnitude"], scope="like", like=last)
        yield point(masks, "magnitude", "causal", self.n_iter)

    def _iterate(
        self,
        network: nn.Module,
        score: Callable[[nn.Module, int], tuple[Scores, float | int]],
    ) -> Iterator[Masks]:
        """Masks after each iteration; `score` trains what is left and gives scores and amount."""
        start = copy.deepcopy(network.state_dict())
        twin = clone_model(network)
        masks = masks_of(twin)
        for iteration in range(self.n_iter):
            scores, amount = score(twin, iteration)
            masks = masks_from_scores(scores, amount, within=masks, floor=1)
            rewind(apply_masks(twin, masks), start)
            yield masks

    def _amount(self, found: Recording, iteration: int) -> float | int:
        """How much the causal run prunes in all, after `iteration`, counted from 0."""
        if self.l1_coeff is None:
            return repeated_amounts(self.fraction, self.n_iter)[iteration]
        sums = found.two_batch.scores()
        threshold = self.l1_coeff * found.two_batch.total_step
        below = sum(int((layer <= threshold).sum()) for layer in sums.values())
        return min(below, sum(layer.numel() for layer in sums.values()) - len(sums))
