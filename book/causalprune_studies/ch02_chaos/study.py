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
from torch.func import grad, grad_and_value, vjp, vmap

from causalprune_lib._validation import check_choice, check_int, check_positive
from causalprune_lib.dynamics.lyapunov import largest_lyapunov
from causalprune_lib.dynamics.tangent import Batch, Loss, SGDMap, as_batches, tangent_exponent
from causalprune_lib.dynamics.twins import TwinResult, twin_trajectories
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import LEGCNET, load_dataset
from causalprune_lib.nets.models import build_model
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_studies.paper_networks.initial import load_legcnet_init
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks

# ---- perturbed_weights: Every weight perturbed in turn: the experiment of the LEGCNet paper's se


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


@dataclass(frozen=True)
class PerturbedWeights:
    """Section 2.1 of the LEGCNet paper: every weight perturbed in turn, everything else the same.

    A sigmoid network with one hidden layer, trained on one example at a time in a fixed order.
    Gives the metrics `growth_median` and `growth_max` (last distance over first, over the P twins),
    `twin_growth` (nats per step, median), `exponent` (of the tangent vector), `released` (the
    exponent as the released code reads it, without its gate, mean over windows and weights of the
    raw series),
    `described` (the same reading of the difference series), and `accuracy` on the training set.

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
            rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
            x, y = x[rows], y[rows]
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

        That code prints weights with six decimals first (`decimals=6`).
        """
        if decimals is not None:
            series = series.round(decimals=decimals)
        windows = series.T.contiguous().unfold(1, self.window, round(0.9 * self.window))
        options = {"theiler": 0, "horizon": 3, "fit": "first_step", "convention": "tisean"}
        return largest_lyapunov(windows, **options).exponent

    def run(self, seed: int) -> dict[str, float]:
        """One network."""
        record = self.record(seed)
        growth = record.twins.distance[-1] / record.twins.distance[0]
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


# ---- sensitivity: How sensitive many trainings are to their start, all of them side by side.


@dataclass(frozen=True, eq=False)
class SensitivityPaths:
    """S networks, each trained for T steps at R learning rates, with a twin and a tangent vector.

    Attributes
    ----------
    lrs : tensor (R,)
        The learning rates.
    loss : tensor (T, S, R)
        Loss of each batch before its step.
    distance : tensor (T+1, S, R)
        Euclidean distance of the twin, over all parameters.
    log_stretch : tensor (T, S, R)
        ln of the factor by which each step stretched the tangent vector.
    weights : tensor (S, R, P)
        All parameters after the last step. NaN or infinite where training diverged.
    """

    lrs: torch.Tensor
    loss: torch.Tensor
    distance: torch.Tensor
    log_stretch: torch.Tensor
    weights: torch.Tensor

    @property
    def steps(self) -> int:
        """T."""
        return len(self.log_stretch)

    @property
    def exponent(self) -> torch.Tensor:
        """Finite-time Lyapunov exponent (S, R): mean log stretch, nats per step."""
        return self.log_stretch.mean(0)

    @property
    def twin_growth(self) -> torch.Tensor:
        """ln(last distance / first distance) / T, nats per step, (S, R)."""
        return (self.distance[-1] / self.distance[0]).log() / self.steps

    @property
    def tangent_distance(self) -> torch.Tensor:
        """How far the twin would be if it had stayed infinitely near, (T+1, S, R)."""
        total = self.log_stretch.cumsum(0)
        return self.distance[0] * torch.cat([torch.zeros_like(total[:1]), total]).exp()


@torch.no_grad()
def sensitivity_paths(
    models: Sequence[nn.Module],
    loss: Loss,
    batches: Iterable[Batch],
    *,
    lrs: Sequence[float],
    indices: Sequence[int],
    delta: float = 1e-8,
) -> SensitivityPaths:
    """Train every model at every learning rate, with a twin and a tangent vector each.

    Parameters
    ----------
    models : sequence of nn.Module
        S networks of one architecture; left as they are.
    loss : callable
        loss(output, target) -> scalar tensor.
    batches : iterable of (x, y)
        One step each. x (N, D), shared by all networks, or (S, N, D): each network has its own.
    lrs : sequence of float
        R learning rates.
    indices : sequence of int
        For each network the prunable weight that its twins have `delta` more of, as a flat index;
        its tangent vectors start in that direction.
    delta : float
        The perturbation.

    Returns
    -------
    SensitivityPaths
        Computed in float64.

    Examples
    --------
    On a quadratic loss with curvature 2 both shrink by |1 - 2 lr| per step:

    >>> model = nn.Linear(1, 1, bias=False)
    >>> batch = (torch.ones(4, 1), torch.zeros(4, 1))
    >>> found = sensitivity_paths(
    ...     [model], nn.functional.mse_loss, [batch] * 20, lrs=[0.1, 0.9], indices=[0]
    ... )
    >>> (found.exponent - found.twin_growth).abs().max() < 1e-6
    tensor(True)
    >>> found.exponent.tolist()[0]  # ln 0.8, twice
    [-0.223143..., -0.223143...]
    """
    batches = [tuple(_double(part) for part in batch) for batch in as_batches(batches)]
    if len(models) == 0 or len(models) != len(indices):
        raise ValueError(
            f"models and indices must have one length >= 1; got {len(models)}, {len(indices)}."
        )
    rates = torch.tensor([check_positive("lrs", lr) for lr in lrs], dtype=torch.float64)
    maps = [SGDMap(model, loss, lr=1.0) for model in models]
    places = [_place(model, index) for model, index in zip(models, indices, strict=True)]
    starts = torch.stack([step.start for step in maps])  # (S, P)
    vectors = torch.zeros_like(starts)
    vectors[torch.arange(len(maps)), torch.tensor(places)] = 1.0
    loss_at = maps[0].loss_at

    def push(theta, vector, batch):
        def gradient_and_loss(t):
            return grad_and_value(loss_at)(t, batch)

        gradient, times_hessian, value = vjp(gradient_and_loss, theta, has_aux=True)
        return gradient, times_hessian(vector)[0], value

    n, rate = len(rates), rates.to(starts.device).repeat(len(maps))[:, None]  # (S R, 1)
    own = 0 if batches[0][0].dim() == 3 else None
    push_all = vmap(push, in_dims=(0, 0, own))
    gradients = vmap(grad(loss_at), in_dims=(0, own))
    states, vectors = starts.repeat_interleave(n, 0), vectors.repeat_interleave(n, 0)
    twins = states + check_positive("delta", delta) * vectors
    distance = [(twins - states).norm(dim=-1)]
    values, log_stretch = [], []
    for batch in batches:
        if own == 0:  # every network's batch, once for each learning rate
            batch = tuple(part.repeat_interleave(n, 0) for part in batch)
        gradient, product, value = push_all(states, vectors, batch)
        twins = twins - rate * gradients(twins, batch)
        states = states - rate * gradient
        vectors = vectors - rate * product
        length = vectors.norm(dim=-1, keepdim=True)
        vectors = vectors / length
        values.append(value)
        log_stretch.append(length[:, 0].log())
        distance.append((twins - states).norm(dim=-1))
    shape = (len(maps), n)
    return SensitivityPaths(
        rates,
        *(torch.stack(rows).unflatten(1, shape) for rows in (values, distance, log_stretch)),
        states.unflatten(0, shape),
    )


@torch.no_grad()
def sharpness(
    step: SGDMap,
    theta: torch.Tensor,
    batch: Batch,
    *,
    start: torch.Tensor | None = None,
    iterations: int = 10,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Top eigenvalue of the loss's Hessian at `theta` by power iteration, and its vector.

    Each iteration is one Hessian-vector product. With the vectors found a few steps earlier as
    `start`, a few iterations are enough. Power iteration finds the eigenvalue of largest size: in
    training that is the largest one, as long as no negative one is larger in size.

    Parameters
    ----------
    step : SGDMap
        Says which network and loss; its learning rate plays no part.
    theta : tensor (..., P)
        All parameters of one network, or of many.
    batch : (x, y)
        The examples that the loss is a mean over.
    start : tensor (..., P), optional
        First vectors. Default: random, always the same.
    iterations : int
        Products.

    Returns
    -------
    tensor (...,), tensor (..., P)

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> batch = (torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1))
    >>> step = SGDMap(model, nn.functional.mse_loss, lr=0.1)
    >>> value, _ = sharpness(step, step.start, batch, iterations=50)
    >>> round(value.item(), 6)  # the Hessian is diag(1, 4)
    4.0
    """
    if start is None:
        random = torch.Generator().manual_seed(0)
        start = torch.randn(theta.shape[-1], generator=random, dtype=torch.float64).to(theta)
    flat = theta.reshape(-1, theta.shape[-1])
    vector = nn.functional.normalize(start.expand_as(theta).reshape_as(flat), dim=-1)

    def times_hessian(weights, v):
        return vjp(lambda t: grad(step.loss_at)(t, batch), weights)[1](v)[0]

    for _ in range(check_int("iterations", iterations)):
        product = vmap(times_hessian)(flat, vector)
        value = (vector * product).sum(-1)
        vector = nn.functional.normalize(product, dim=-1)
    return value.view(theta.shape[:-1]), vector.view_as(theta)


def _place(model: nn.Module, index: int) -> int:
    """Where prunable weight number `index` stands among all parameters."""
    prunable, whole = ParameterLayout.of(model), ParameterLayout.of(model, which="all")
    if check_int("indices", index, minimum=0) >= prunable.size:
        raise ValueError(f"indices must be in 0..{prunable.size - 1}; got {index}.")
    name, _ = prunable.locate(index)
    return whole.span(name).start + index - prunable.span(name).start


def _double(part: torch.Tensor) -> torch.Tensor:
    return part.double() if part.is_floating_point() else part


# ---- learning_rates: The studies of the chapter "Is SGD chaotic?", as specs for `run_grid`.


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
