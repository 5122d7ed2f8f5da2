"""Random networks as theorem 3.1 of the LEGCNet paper assumes them, and what a cut does to them.

Paper: arXiv:2308.09955. See `by_width.py` for trained networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from causalprune_lib._random import seeded
from causalprune_lib._validation import check_int
from causalprune_lib.diagnostics.approximation import removal_bound
from causalprune_lib.diagnostics.distance import sup_distance
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.closeness.points import ball_points
from causalprune_lib.nets.models import MLP
from causalprune_lib.pruning.baselines import magnitude_scores, random_scores
from causalprune_lib.pruning.masks import apply_masks, clone_model
from causalprune_lib.pruning.selection import masks_from_scores

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
