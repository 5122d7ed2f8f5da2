"""The studies of the chapter "Is SGD chaotic?", as specs for `run_grid`.

`LearningRateSweep` asks how fast a hair's breadth grows during training, for many learning rates
and for three orders of the data. `PerturbedWeights`, in its own file, repeats the experiment of the
LEGCNet paper's section 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.dynamics.sgd_map import Batch, SGDMap
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.chaos.perturbed_weights import PerturbedWeights
from causalprune_lib.evidence.studies.chaos.sensitivity import (
    SensitivityPaths,
    sensitivity_paths,
    sharpness,
)
from causalprune_lib.nets.datasets import load_dataset
from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.parameters import ParameterLayout

ORDERS = ("full batch", "fixed order", "reshuffled")
RATES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2)


def half_squared_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Half the squared distance of output and target, a mean over the examples."""
    return ((output - target) ** 2).sum(1).mean() / 2


@dataclass(frozen=True)
class LearningRateSweep:
    """A small tanh network on digits, trained at many learning rates and in three orders.

    Gives points with the coordinates `order` and `lr`, and the metrics `exponent` (of the tangent
    vector) and `twin_growth` (both in nats per step), `late_exponent` (second half of the steps),
    `distance` (of the twin, at the end), `edge` (learning rate times sharpness, at the end) and
    `loss` (on the training set, at the end).

    Parameters
    ----------
    subset : int
        Training examples, stratified.
    hidden : tuple of int
        Widths of the hidden layers.
    lrs : tuple of float
        Learning rates.
    steps : int
        T.
    batch_size : int
        Of the two orders with small batches; divides `subset`.
    orders : tuple of {"full batch", "fixed order", "reshuffled"}
        All examples in every step; small batches in the same order in every epoch; small batches
        drawn anew in every epoch. The seed decides order, initial weights and perturbed weight.
    delta : float
        Perturbation of one weight of the second layer.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "digits"
    subset: int = 100
    hidden: tuple[int, ...] = (16, 16)
    lrs: tuple[float, ...] = RATES
    steps: int = 1000
    batch_size: int = 20
    orders: tuple[str, ...] = ORDERS
    delta: float = 1e-8
    on: str = "cpu"
    profile: str = "quick"

    def load(self) -> Batch:
        """Pixels in [0, 1], each centred, (N, D), and one-hot labels (N, K), in float64."""
        data = load_dataset(
            self.dataset,
            subset=(self.subset, 10),
            preprocessing="none",
            dtype=torch.float64,
            progress=False,
        ).to(self.on)
        x = data.x_train.flatten(1)
        return x - x.mean(0), nn.functional.one_hot(data.y_train, data.n_classes).double()

    def build(self, *, seed: int) -> nn.Module:
        """The network with the initial weights of `seed`, in float64."""
        options = {"hidden": self.hidden, "activation": "tanh"}
        return build_model("mlp", dataset=self.dataset, seed=seed, **options).double().to(self.on)

    def perturbed(self, *, seed: int) -> int:
        """Flat index of the weight that is moved: one of the second layer, drawn by `seed`."""
        layout = ParameterLayout.of(self.build(seed=seed))
        second = layout.span(layout.names[1])
        return int(np.random.default_rng(seed).integers(second.start, second.stop))

    def batches(self, order: str, seeds: Sequence[int]) -> Iterator[Batch]:
        """The T batches; small ones are (S, batch_size, D), for every seed its own."""
        check_choice("order", order, ORDERS)
        x, y = self.load()
        if order == "full batch":
            yield from [(x, y)] * self.steps
            return
        if self.subset % check_int("batch_size", self.batch_size):
            raise ValueError(
                f"batch_size must divide subset = {self.subset}; got {self.batch_size}."
            )
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        per_epoch = self.subset // self.batch_size
        for t in range(self.steps):
            if t == 0 or (order == "reshuffled" and t % per_epoch == 0):
                rows = torch.stack([torch.randperm(self.subset, generator=g) for g in generators])
                cut = rows.to(self.on).split(self.batch_size, dim=1)
            now = cut[t % per_epoch]  # (S, batch_size)
            yield x[now], y[now]

    def paths(self, order: str, seeds: Iterable[int]) -> SensitivityPaths:
        """All learning rates and seeds side by side."""
        seeds = list(seeds)
        return sensitivity_paths(
            [self.build(seed=seed) for seed in seeds],
            half_squared_error,
            self.batches(order, seeds),
            lrs=self.lrs,
            indices=[self.perturbed(seed=seed) for seed in seeds],
            delta=self.delta,
        )

    def points(self, paths: SensitivityPaths, order: str) -> list[list[Point]]:
        """What `paths` say: for each seed a list with one point per learning rate."""
        step = SGDMap(self.build(seed=0), half_squared_error, lr=1.0)
        everything = self.load()
        top, _ = sharpness(step, paths.weights.nan_to_num(), everything, iterations=30)
        loss = torch.func.vmap(torch.func.vmap(lambda t: step.loss_at(t, everything)))
        alive = paths.weights.isfinite().all(-1)
        found = {
            "exponent": paths.exponent,
            "late_exponent": paths.log_stretch[paths.steps // 2 :].mean(0),
            "twin_growth": paths.twin_growth,
            "distance": paths.distance[-1],
            "edge": torch.where(alive, paths.lrs * top, math.nan),
            "loss": loss(paths.weights),
        }
        return [
            [
                Point(
                    {name: value[s, r].item() for name, value in found.items()}, order=order, lr=lr
                )
                for r, lr in enumerate(self.lrs)
            ]
            for s in range(len(paths.weights))
        ]

    def run(self, seed: int) -> Iterator[Point]:
        """One seed, all orders and learning rates."""
        for order in self.orders:
            yield from self.points(self.paths(order, [seed]), order)[0]

    def table(self, paths: SensitivityPaths, order: str, seeds: Iterable[int]) -> pd.DataFrame:
        """The rows that `run` would give for `seeds`, from paths that are there already."""
        return pd.DataFrame(
            {**point.coordinates, "seed": seed, "metric": metric, "value": value}
            for seed, points in zip(seeds, self.points(paths, order), strict=True)
            for point in points
            for metric, value in point.metrics.items()
        )


def halves_by_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Exponents of the first and second half of training, by `order` and `seed`.

    `rows` are those of `LearningRateSweep` by `run_grid`, perhaps among others. Columns `early` and
    `late`, nats per step, means over the learning rates at which the exponent of every seed and
    order is finite, and `n_lrs`, how many these are.
    """
    sweep = rows[rows.spec == "LearningRateSweep"]
    wide = sweep.pivot(index=["order", "seed", "lr"], columns="metric", values="value")
    wide = wide[["exponent", "late_exponent"]].reset_index()
    finite = wide.exponent.abs().lt(float("inf")) & wide.late_exponent.abs().lt(float("inf"))
    wide = wide[finite.groupby(wide.lr).transform("all")]
    wide = wide.assign(late=wide.late_exponent, early=2 * wide.exponent - wide.late_exponent)
    groups = wide.groupby(["order", "seed"], sort=False, as_index=False)
    return groups.agg(early=("early", "mean"), late=("late", "mean"), n_lrs=("lr", "nunique"))


CHAOS_STUDIES: dict[str, tuple[LearningRateSweep | PerturbedWeights, ...]] = {
    "quick": (LearningRateSweep(), PerturbedWeights()),
    "full": (
        LearningRateSweep(subset=500, hidden=(32, 32), steps=3000, batch_size=50, profile="full"),
        PerturbedWeights(
            dataset="cancer", subset=None, lr=0.01, epochs=50, window=200, profile="full"
        ),
        # Two more tables, with learning rates, neurons and windows as released, but fewer epochs:
        # 20 of 50, 15 of 100. All three take about 20,000 steps.
        PerturbedWeights(
            "titanic", subset=None, hidden=8, lr=0.1, epochs=20, window=250, profile="full"
        ),
        PerturbedWeights(
            "banknote", subset=None, hidden=8, lr=0.5, epochs=15, window=250, profile="full"
        ),
    ),
}  # seeds of the full ones: 0 to 4, the published trials
