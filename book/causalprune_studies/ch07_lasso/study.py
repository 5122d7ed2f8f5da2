"""The networks of chapter 7, which weights two rules both keep, and how far the solver gets.

The most important weights of an exact lasso and of the released rule are compared at equal counts
per layer, on recorded steps and on two controls: changes of the loss in shuffled order, and steps
that no weight makes. `SolverFit` asks how much of its lasso the released solver solves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from causalprune_lib.causality.lasso import CausalLasso
from causalprune_lib.causality.scores import released_sums, solver_step_sizes
from causalprune_lib.causality.sgd_lasso import sgd_lasso
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks, jaccard
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_studies.ch06_causal_model.study import (
    CAUSAL_MODEL_STUDIES,
    CausalModelFit,
    Steps,
    recorded_steps,
)
from causalprune_studies.ch07_lasso.departure import soft_threshold
from causalprune_studies.recipe import Recipe

ADAM = {"model": "lenet", "optimizer": "adam", "lr": 5e-4, "momentum": 0.0}
SMALL = CausalModelFit(hidden=(128, 64), epochs=5, momentum=0.0, step_lr=1e-3)
LARGE = {
    "quick": Recipe(image_size=28, epochs=3, **ADAM),
    "full": Recipe(
        dataset="cifar10", init="fan_out", subset=10_000, batch_size=512, epochs=10, **ADAM
    ),
    "paper": Recipe(dataset="cifar10", init="fan_out", batch_size=512, epochs=10, **ADAM),
}
RATIO = 0.05  # alpha / alpha_max of the exact lasso that is compared
PAIRS = {  # what is compared: two times the rule and the steps that it saw
    "exact and released": (("exact", "two-batch"), ("released", "two-batch")),
    "the same, shuffled changes": (("exact", "shuffled"), ("released", "shuffled")),
    "exact: two-batch and frozen": (("exact", "two-batch"), ("exact", "frozen")),
    "exact: two-batch and shuffled": (("exact", "two-batch"), ("exact", "shuffled")),
    "released: two-batch and frozen": (("released", "two-batch"), ("released", "frozen")),
    "released: two-batch and shuffled": (("released", "two-batch"), ("released", "shuffled")),
    "released and movement": (("released", "two-batch"), ("movement", "two-batch")),
    "chance": (("one", "random"), ("other", "random")),
}


@dataclass(frozen=True)
class SolverFit(CausalModelFit):
    """How much of its own lasso the released solver solves, layer by layer.

    The objective is |y - X gamma|^2 / (2T) + alpha |gamma|_1 with the squared moves X of a layer
    and the two-batch changes y. Gives points with the coordinates `layer` and `ratio`, alpha as a
    share of the smallest alpha that keeps nothing: `reached`, the fall of the objective from zero
    that the released solver makes, as a share of the fall that is possible; `kept` and
    `kept_exact` weights; and `same`, the share of the weights of which it and the closed form
    soft(sum eta y x, alpha sum eta) say the same.
    """

    def run(self, seed: int) -> Iterator[Point]:
        """Train, record, solve twice."""
        data, model = self.load(), self.build(seed=seed)
        self.train(model, data, seed=seed)
        options = {"steps": self.steps, "lr": self.step_lr, "batch_size": self.step_batch}
        steps = recorded_steps(model, data, **options, seed=seed + 30_000)
        squares, y = steps.fitted("two_batch")
        for layer in self.layers:
            x = squares[:, steps.layout.span(layer)].astype(np.float64)
            for ratio in self.ratios:
                yield Point(self._solved(x, y, ratio), layer=layer, ratio=ratio)

    @staticmethod
    def _solved(x: np.ndarray, y: np.ndarray, ratio: float) -> dict[str, float]:
        exact = CausalLasso(alpha_ratio=ratio).fit(x, y)
        alpha, n = exact.alpha_, len(y)
        released = sgd_lasso(x, y, alpha=alpha)

        def objective(gamma: np.ndarray) -> float:
            return ((y - x @ gamma) ** 2).sum() / (2 * n) + alpha * np.abs(gamma).sum()

        start = (y @ y) / (2 * n)
        sums = released.rates.reshape(-1, n).sum(0) * y @ x
        closed = soft_threshold(sums, released.threshold)
        return {
            "reached": (start - objective(released.coef)) / (start - objective(exact.coef_)),
            "kept": np.count_nonzero(released.coef),
            "kept_exact": np.count_nonzero(exact.coef_),
            "same": ((released.coef != 0) == (closed != 0)).mean(),
        }


def _solver_fit(spec: CausalModelFit, **changes: object) -> SolverFit:
    fields = {name: getattr(spec, name) for name in spec.__dataclass_fields__}
    return SolverFit(**fields | changes)


SOLVER_STUDIES = {
    "quick": (_solver_fit(SMALL, steps=60, ratios=(0.5, 0.1)),),
    "full": tuple(_solver_fit(s, ratios=(0.5, 0.1)) for s in CAUSAL_MODEL_STUDIES["full"]),
    "paper": tuple(_solver_fit(s, ratios=(0.5, 0.1)) for s in CAUSAL_MODEL_STUDIES["paper"]),
}
Scores = dict[str, dict[str, torch.Tensor]]  # by rule, then by layer


def shared_weights(recordings: Sequence[dict[str, Steps]]) -> pd.DataFrame:
    """Jaccard's index of each of `PAIRS`, a row for each network (seed) and pair."""
    rows = []
    for seed, steps in enumerate(recordings):
        masks = equal_masks(steps, seed)
        rows += [
            {"pair": pair, "seed": seed, "metric": "jaccard", "value": jaccard(masks[a], masks[b])}
            for pair, (a, b) in PAIRS.items()
        ]
    return pd.DataFrame(rows)


def equal_masks(steps: dict[str, Steps], seed: int) -> dict[tuple[str, str], Masks]:
    """A mask for each rule and kind of steps, all with the same count in each layer.

    The count is the smallest support of the exact lassos of that layer; random masks have it too.
    """
    layout = steps["moving"].layout
    x, y = steps["moving"].fitted("two_batch")
    shuffled = np.random.default_rng(seed).permutation(y)
    found = {
        "two-batch": importance(layout, x, y),
        "shuffled": importance(layout, x, shuffled),
        "frozen": importance(layout, *steps["frozen"].fitted("two_batch")),
    }
    sizes, count = {}, {}
    for name, score in found["two-batch"]["exact"].items():
        sizes[name] = len(score)
        fewest = min(int((rules["exact"][name] > 0).sum()) for rules in found.values())
        count[name] = torch.arange(len(score)) < fewest
    dice = torch.Generator().manual_seed(seed)
    found["random"] = {
        number: {name: torch.rand(size, generator=dice) for name, size in sizes.items()}
        for number in ("one", "other")
    }
    return {
        (rule, kind): masks_from_scores(scores, scope="like", like=Masks(count))
        for kind, rules in found.items()
        for rule, scores in rules.items()
    }


def importance(layout: ParameterLayout, x: np.ndarray, y: np.ndarray) -> Scores:
    """Per prunable layer: share in the exact fit, size of the released sum, movement.

    `x` (T, P) are the squared moves of all parameters of `layout`, `y` (T,) the loss changes.
    """
    found: Scores = {"exact": {}, "released": {}, "movement": {}}
    for name in SMALL.layers:
        part = x[:, layout.span(name)].astype(float)
        coef = CausalLasso(alpha_ratio=RATIO).fit(part, y).coef_
        size = np.sqrt((part**2).mean(0))
        moves, changes = torch.from_numpy(part), torch.from_numpy(y)
        sums = released_sums(moves, changes, step_sizes=solver_step_sizes(len(y)))
        found["exact"][name] = torch.from_numpy(np.abs(coef) * size)
        found["released"][name] = sums.abs()
        found["movement"][name] = moves.sum(0)
    return found
