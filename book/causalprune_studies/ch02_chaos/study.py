"""The studies of the chapter "Is SGD chaotic?", as specs for `run_grid`.

`LearningRateSweep` asks how fast a hair's breadth grows during training, for many learning rates
and for three orders of the data. `PerturbedWeights` repeats the experiment of the LEGCNet paper's
section 2.1 (arXiv:2308.09955).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.func import vmap

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.dynamics.tangent import Batch, SGDMap, tangent_exponent
from causalprune_lib.dynamics.twins import TwinResult, twin_trajectories
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import LEGCNET, load_dataset
from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.windows import first_step_estimator
from causalprune_studies.ch02_chaos.sensitivity import (
    SensitivityPaths,
    orbits,
    sensitivity_paths,
    sharpness,
    starts_and_directions,
)
from causalprune_studies.paper_networks.initial import load_legcnet_init
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks

ORDERS = ("full batch", "fixed order", "reshuffled")
RATES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2)
FEWER = (0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)  # where a minute has to be enough


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
                drawn = torch.stack([torch.randperm(self.subset, generator=g) for g in generators])
                cut = drawn.to(self.on).split(self.batch_size, dim=1)  # drawn (S, N)
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

    def measure(self, paths: SensitivityPaths, order: str) -> list[list[Point]]:
        """What `paths` say: for each seed a list with one point per learning rate."""
        step = SGDMap(self.build(seed=0), half_squared_error, lr=1.0)
        everything = self.load()
        top = sharpness(step, paths.weights.nan_to_num(), everything, iterations=30)
        loss = vmap(vmap(lambda theta: step.loss_at(theta, everything)))
        alive = paths.weights.isfinite().all(-1)
        found = {
            "exponent": paths.exponent,
            "late_exponent": paths.log_stretch[paths.steps // 2 :].mean(0),
            "twin_growth": paths.twin_growth,
            "distance": paths.distance[-1],
            "edge": torch.where(alive, paths.lrs * top, math.nan),
            "loss": loss(paths.weights),
        }

        def point(s: int, r: int) -> Point:
            metrics = {name: value[s, r].item() for name, value in found.items()}
            return Point(metrics, order=order, lr=self.lrs[r])

        seeds, rates = range(len(paths.weights)), range(len(self.lrs))
        return [[point(s, r) for r in rates] for s in seeds]

    def run(self, seed: int) -> Iterator[Point]:
        """One seed, all orders and learning rates."""
        for order in self.orders:
            yield from self.measure(self.paths(order, [seed]), order)[0]

    def table(self, paths: SensitivityPaths, order: str, seeds: Iterable[int]) -> pd.DataFrame:
        """The rows that `run` would give for `seeds`, from paths that are there already."""
        return pd.DataFrame(
            {**point.coordinates, "seed": seed, "metric": metric, "value": value}
            for seed, points in zip(seeds, self.measure(paths, order), strict=True)
            for point in points
            for metric, value in point.metrics.items()
        )


def squared_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The squared distance of one output and its target, as LEGCNet's released code has it."""
    return ((output - target) ** 2).sum()


@dataclass(frozen=True, eq=False)
class WeightRecord:
    """One training and the twins of all its P weights.

    Attributes
    ----------
    weights : tensor (T+1, P)
        The unperturbed training, row 0 its start.
    twins : TwinResult
        Every step recorded, each twin's own difference only.
    exponent : float
        Of the tangent vector, nats per step.
    accuracy : float
        On the training set, at the end.
    """

    weights: torch.Tensor
    twins: TwinResult
    exponent: float
    accuracy: float

    @property
    def growth(self) -> torch.Tensor:
        """Last distance of each twin over its first, (P,)."""
        return self.twins.distance[-1] / self.twins.distance[0]


@dataclass(frozen=True)
class PerturbedWeights:
    """Section 2.1 of the LEGCNet paper: every weight perturbed in turn, everything else the same.

    A sigmoid network with one hidden layer, trained on one example at a time in a fixed order.
    Gives the metrics `growth_median` and `growth_max` (last distance over first, over the P twins),
    `twin_growth` (nats per step, median), `exponent` (of the tangent vector), `released` (the
    exponent as the released code reads it, without its gate, mean over windows and weights of the
    raw series), `described` (the same reading of the difference series), and `accuracy` on the
    training set.

    Parameters
    ----------
    dataset : str
        Two classes. A table of the paper is taken as released, with the published initial weights,
        one trial per seed (0 to 4); other data are standardised and shuffled once, and initial
        weights are normal with deviation 0.1.
    subset : int, optional
        Training examples, stratified.
    hidden : int
        Hidden neurons.
    lr : float
        Learning rate.
    epochs : int
        Passes over the data.
    window : int
        Samples per window, cut with an overlap of a tenth.
    """

    dataset: str = "breast_cancer"
    subset: int | None = 200
    hidden: int = 6
    lr: float = 0.1
    epochs: int = 5
    window: int = 200
    delta: float = 1e-8
    on: str = "cpu"
    profile: str = "quick"

    def load(self) -> Batch:
        """Features (N, D) and labels (N, 1), in float64, in the order of training."""
        released = self.dataset in LEGCNET
        data = load_dataset(
            self.dataset,
            subset=self.subset,
            preprocessing="as_released" if released else "standard",
            dtype=torch.float64,
            progress=False,
        )
        x, y = data.x_train, data.y_train[:, None].double()
        if not released:
            order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
            x, y = x[order], y[order]
        return x.to(self.on), y.to(self.on)

    def build(self, *, seed: int) -> nn.Module:
        """The network of one seed, in float64."""
        sizes = (self.load()[0].shape[1], self.hidden, 1)
        if self.dataset in LEGCNET:
            trials = load_legcnet_init(self.dataset)
            return SigmoidNetworks.from_trials(trials, device=self.on).model(seed)
        return SigmoidNetworks.random(sizes, 1, seed=seed, device=self.on).model(0)

    def batches(self) -> list[Batch]:
        """One example per step, in the same order in every epoch."""
        x, y = self.load()
        return list(zip(x.split(1), y.split(1), strict=True)) * self.epochs

    def record(self, seed: int) -> WeightRecord:
        """Train once, with a twin for every weight and a tangent vector."""
        model, batches = self.build(seed=seed), self.batches()
        step = SGDMap(model, squared_error, lr=self.lr)
        states = [step.start]
        for batch in batches:
            states.append(step(states[-1], batch))
        twins = twin_trajectories(model, squared_error, batches, lr=self.lr, delta=self.delta)
        spans = [step.layout.span(name) for name in twins.layout.names]
        x, y = self.load()
        ParameterLayout.of(model, which="all").load(model, states[-1])
        with torch.no_grad():
            accuracy = ((model(x) > 0.5) == (y > 0.5)).double().mean().item()
        return WeightRecord(
            weights=torch.cat([torch.stack(states)[:, span] for span in spans], 1),
            twins=twins,
            exponent=tangent_exponent(
                self.build(seed=seed), squared_error, batches, lr=self.lr, seed=seed
            ).exponent.item(),
            accuracy=accuracy,
        )

    def released_exponents(self, series: torch.Tensor, *, decimals: int | None) -> torch.Tensor:
        """Exponents (P, W) of the windows of `series` (T+1, P), read as the released code does.

        That code prints weights with six decimals first (`decimals=6`). Unlike
        `windowed_exponents`, this neither gates nor rounds the exponents.
        """
        if decimals is not None:
            series = series.round(decimals=decimals)
        windows = series.T.contiguous().unfold(1, self.window, round(0.9 * self.window))
        return first_step_estimator()(windows)

    def run(self, seed: int) -> dict[str, float]:
        """One network."""
        return self.measure(self.record(seed))

    def measure(self, record: WeightRecord) -> dict[str, float]:
        """The metrics of one network."""
        growth = record.growth
        raw = self.released_exponents(record.weights, decimals=6)
        difference = self.released_exponents(record.twins.difference, decimals=None)
        return {
            "growth_median": growth.median().item(),
            "growth_max": growth.max().item(),
            "twin_growth": record.twins.growth().median().item(),
            "exponent": record.exponent,
            "released": raw.nanmean().item(),
            "described": difference.nanmean().item(),
            "accuracy": record.accuracy,
        }


def edge_of_stability(
    sweep: LearningRateSweep, lrs: Sequence[float], *, every: int = 20
) -> pd.DataFrame:
    """One network trained on the full batch: `loss` and `edge`, lr times sharpness, on the way.

    One row for every `every` steps (`step`) and each of the rates (`lr`).
    """
    batch, rates = sweep.load(), torch.tensor(lrs, dtype=torch.float64)
    step = SGDMap(sweep.build(seed=0), half_squared_error, lr=1.0)
    path = orbits(step, step.start.expand(len(lrs), -1), [batch] * sweep.steps, rates)
    states = torch.stack(list(islice(path, 0, None, every)))  # (moments, R, P)
    edge = rates.to(states) * sharpness(step, states, batch, iterations=20)
    loss = vmap(vmap(lambda theta: step.loss_at(theta, batch)))(states)
    return pd.DataFrame(
        (every * m, lr, loss[m, r].item(), edge[m, r].item())
        for r, lr in enumerate(lrs)
        for m in range(len(states))
    ).set_axis(["step", "lr", "loss", "edge"], axis=1)


def rounding_distances(
    sweep: LearningRateSweep, lrs: Sequence[float], seeds: Sequence[int], *, steps: int
) -> dict[str, torch.Tensor]:
    """What rounding does to twins on the full batch: distances (steps+1, S, R) by kind.

    "float32": twins with one weight moved by `delta`, computed in 32 bits. "placebo": twins that
    are not moved, in 64 bits, whose examples stand in another order in the batch.
    """
    (x, y), n = sweep.load(), len(lrs)
    models = [sweep.build(seed=seed) for seed in seeds]
    moved = [sweep.perturbed(seed=seed) for seed in seeds]
    orders = [torch.randperm(len(x), generator=torch.Generator().manual_seed(s)) for s in seeds]
    rates, found = torch.tensor(lrs, dtype=torch.float64).repeat(2 * len(seeds)), {}
    for kind, dtype in (("float32", torch.float32), ("placebo", torch.float64)):
        placebo = kind == "placebo"
        step, starts, directions = starts_and_directions(
            models, half_squared_error, moved, dtype=dtype
        )
        twins = starts if placebo else starts + sweep.delta * directions
        own = torch.arange(len(x)).expand(len(seeds), -1)
        seen = torch.cat([own, torch.stack(orders) if placebo else own]).repeat_interleave(n, 0)
        both = torch.cat([starts, twins]).repeat_interleave(n, 0)  # (2 S R, P)
        path = orbits(step, both, [(x[seen], y[seen])] * steps, rates)
        apart = [(states[: len(states) // 2] - states[len(states) // 2 :]) for states in path]
        found[kind] = torch.stack([d.norm(dim=1) for d in apart]).double().unflatten(1, (-1, n))
    return found


_CANCER = PerturbedWeights("cancer", subset=None, lr=0.01, epochs=50, window=200, profile="full")
_PAPER = {"subset": None, "hidden": 8, "window": 250, "profile": "paper"}

STUDIES: dict[str, tuple[LearningRateSweep | PerturbedWeights, ...]] = {
    "quick": (LearningRateSweep(lrs=FEWER, steps=800), PerturbedWeights(epochs=3)),
    "full": (
        LearningRateSweep(subset=500, hidden=(32, 32), steps=3000, batch_size=50, profile="full"),
        _CANCER,
        # Two more tables, with learning rates, neurons and windows as released, but fewer epochs:
        # 20 of 50, 15 of 100. All three take about 20,000 steps.
        PerturbedWeights(
            "titanic", subset=None, hidden=8, lr=0.1, epochs=20, window=250, profile="full"
        ),
        PerturbedWeights(
            "banknote", subset=None, hidden=8, lr=0.5, epochs=15, window=250, profile="full"
        ),
    ),
    "paper": (
        # No paper has the sweep; the paper's training on cancer takes 27,300 steps.
        LearningRateSweep(
            subset=500, hidden=(32, 32), steps=27_300, batch_size=50, profile="paper"
        ),
        _CANCER,
        PerturbedWeights("titanic", lr=0.1, epochs=50, **_PAPER),
        PerturbedWeights("banknote", lr=0.5, epochs=100, **_PAPER),
    ),
}  # seeds of the larger ones: 0 to 4, the published trials
