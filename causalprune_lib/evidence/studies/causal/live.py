"""The experiments of the page "Causal pruning" at the size of a page: an illustration.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from causalprune_lib.causality.streaming import CausalScores
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.causal.controls import Cutter
from causalprune_lib.evidence.studies.causal.curves import CausalCurve
from causalprune_lib.evidence.studies.causal.recipe import RANDOM, RECORD, CausalRecipe, record
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.pruning.masks import clone_model
from causalprune_lib.pruning.scores import magnitude_scores, random_scores
from causalprune_lib.pruning.structured import filter_masks, remove_filters

CONTROLS = ("random", "magnitude", "inverse", "shuffled loss", "frozen", "movement")
PAIRS = (
    ("causal", "causal"),
    *((control, "causal") for control in CONTROLS),
    ("magnitude", "magnitude"),
)
CROSSED = (
    ("causal", "magnitude"),
    ("random", "magnitude"),
    ("causal", "uniform"),
    ("random", "uniform"),
    ("magnitude", "uniform"),
)


@dataclass(frozen=True)
class CausalSketch(CausalCurve):
    """`CausalCurve` with fewer pairs: every control at causal's counts, at every amount.

    For the amounts in `thorough` also the pairs that cross three rankings with three allocations.
    Its points are those of `CausalCurve`.
    """

    def run(self, seed: int) -> Iterator[Point]:
        """Train and record once, then cut, rewind and post-train."""
        data = self.load()
        network = self.build(seed=seed)
        self.train(network, data, seed=seed)
        rankings, _ = self._rankings(network, data, seed)
        dense = {"ranking": "dense", "allocation": "none", "amount": 0.0}
        yield Point(self.judged(network, None, data, seed=seed), **dense)
        for amount in self.amounts:
            cutter = Cutter(rankings, amount)
            for ranking, allocation in PAIRS + (CROSSED if amount in self.thorough else ()):
                masks = cutter.cut(ranking, allocation, seed=RANDOM + 100 * seed)
                metrics = self.judged(network, masks, data, seed=seed)
                if ranking == allocation:
                    metrics["emptied"] = cutter.emptied(ranking)
                yield Point(metrics, ranking=ranking, allocation=allocation, amount=amount)
        yield from self._overlaps(rankings, network, data, seed)


SKETCH = CausalSketch(  # Adam at four times the paper's rate: there are seconds for it, not hours
    dataset="digits",
    image_size=20,
    subset=(800, 360),
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
    twin = clone_model(network)
    seen: CausalScores = record(recipe, twin, data, seed=seed + RECORD).two_batch
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


def amounts_of_alpha(scores: CausalScores, alphas: torch.Tensor) -> pd.DataFrame:
    """What the released rule keeps of each layer at each alpha: `alpha`, `layer`, `density`."""
    rows = []
    for name, values in scores.scores().items():
        ordered = values.flatten().double().sort().values  # (n,)
        cut = torch.searchsorted(ordered, alphas.double() * scores.total_step, right=True)
        density = 1 - cut / len(ordered)
        rows += [
            {"alpha": float(alpha), "layer": name.removesuffix(".weight"), "density": float(kept)}
            for alpha, kept in zip(alphas, density, strict=True)
        ]
    return pd.DataFrame(rows)
