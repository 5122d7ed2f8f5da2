"""Algorithm 1 of the causal pruning paper against iterated magnitude pruning, as a study.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.causal.recipe import (
    RANDOM,
    RECORD,
    SHUFFLE,
    CausalRecipe,
    Recording,
    record,
    shuffled_losses,
)
from causalprune_lib.pruning.iterative import random_ticket, repeated_amounts
from causalprune_lib.pruning.masks import (
    Masks,
    apply_masks,
    clone_model,
    masks_from_scores,
    masks_of,
)
from causalprune_lib.pruning.rewinding import rewind
from causalprune_lib.pruning.scores import Scores, magnitude_scores


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
