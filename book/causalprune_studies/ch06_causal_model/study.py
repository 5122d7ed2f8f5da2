"""Does the model of causal pruning hold: loss changes explained by squared moves of the weights?

The model of Shah, Challa, Danda, Mathur and Saha, "A Granger-causal perspective on gradient descent
with application to pruning", arXiv:2412.03035: dL_t = sum_k gamma_k x_tk, where x_tk is the squared
move of weight k in step t. What is varied, with its control:

- The loss. On the same batch before and after the step, or on two batches as in the paper.
- Time. The losses of the two-batch form in shuffled order: nothing is left to explain.
- Movement. The weights stand still and only their gradients are taken, on batch after batch. No
  loss change can then have been caused by a move, so what is still explained has another cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn.functional import cross_entropy

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.causality.lasso import lasso_path
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import iterate_batches
from causalprune_studies.recipe import Recipe

RECORDING = 30_000  # apart from the seeds of training
KINDS = ("same_batch", "two_batch", "shuffled", "frozen")
HELD_OUT = 0.25  # of the steps: the last ones


@dataclass(frozen=True)
class CausalModelFit(Recipe):
    """How much of the loss changes squared moves explain, under both losses and two controls.

    The network is trained for `epochs`, and then makes `steps` recorded steps of plain SGD.

    Gives points with the coordinate `kind` (one of `KINDS`): slope times lr, R^2 of the one-slope
    model, its correlation, and the share of the variance that the exchange of batches makes up
    (`swap`, two batches only). With the further coordinate `layer` (one of `layers`, or "all" for
    all parameters): the rank agreement (Spearman) of |sum_t dL_t x_tk| with the movement
    sum_t x_tk; with `ratio` too, what `lasso_scores` gives.
    """

    steps: int = 200
    step_lr: float = 0.05
    step_batch: int = 64
    ratios: tuple[float, ...] = (0.5, 0.2, 0.1, 0.05)

    def build(self, *, seed: int) -> nn.Module:
        """As in `Recipe`, with images in the memory order in which convolutions are fastest."""
        return super().build(seed=seed).to(memory_format=torch.channels_last)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that are fitted by themselves, too: those that can be pruned."""
        return ParameterLayout.of(self.build(seed=0)).names

    def run(self, seed: int) -> Iterator[Point]:
        """Train, record, fit."""
        yield from self.points(self.measured_steps(seed), seed)

    def measured_steps(self, seed: int) -> dict[str, Steps]:
        """Train a network, then let it step ("moving") and stand still ("frozen")."""
        data = self.load()
        options = {"steps": check_int("steps", self.steps, minimum=8), "lr": self.step_lr}
        options |= {"batch_size": self.step_batch, "seed": seed + RECORDING}
        model = self.build(seed=seed)
        self.train(model, data, seed=seed)
        frozen = frozen_steps(model, data, **options)
        return {"frozen": frozen, "moving": recorded_steps(model, data, **options)}

    def points(self, steps: dict[str, Steps], seed: int) -> Iterator[Point]:
        """The points of steps already made."""
        moving = steps["moving"]
        for kind in KINDS:
            taken = steps["frozen"] if kind == "frozen" else moving
            x, y = taken.fitted("same_batch" if kind == "same_batch" else "two_batch")
            if kind == "shuffled":
                y = np.random.default_rng(seed).permutation(y)
            one = OneSlope.of(x, y, lr=self.step_lr)
            values = {"slope_lr": one.slope * self.step_lr, "r2": one.r2}
            values |= {"r2_theory": one.r2_theory, "correlation": one.correlation}
            if kind == "two_batch":
                values["swap"] = float(moving.swap().var() / y.var())
            yield Point(values, kind=kind)
            layers = {"all": slice(None)} | {n: taken.layout.span(n) for n in self.layers}
            for layer, span in layers.items():
                part = x[:, span].astype(np.float64)
                agreement = spearmanr(np.abs(part.T @ y), part.sum(0)).statistic
                yield Point({"spearman": float(agreement)}, kind=kind, layer=layer)
                for ratio, scores in lasso_scores(part, y, ratios=self.ratios):
                    yield Point(scores, kind=kind, layer=layer, ratio=ratio)

    def table(self, made: Sequence[dict[str, Steps]]) -> pd.DataFrame:
        """What `run_grid` would tell of the steps of seeds 0, 1, ..., a row per seed and metric."""
        return pd.DataFrame(
            [
                {**point.coordinates, "seed": seed, "metric": metric, "value": value}
                for seed, steps in enumerate(made)
                for point in self.points(steps, seed)
                for metric, value in point.metrics.items()
            ]
        )


_LENET = {"model": "lenet", "init": "fan_out", "subset": 10_000, "optimizer": "adam", "lr": 5e-4}
_LENET |= {"momentum": 0.0, "batch_size": 512, "epochs": 10, "step_lr": 1e-3, "step_batch": 512}
CAUSAL_MODEL_STUDIES = {
    "quick": (CausalModelFit(hidden=(32,), epochs=5, momentum=0.0, steps=400),),
    "full": tuple(
        CausalModelFit(**_LENET, dataset=name, steps=200, profile="full")
        for name in ("fashion_mnist", "cifar10")
    ),
    "paper": tuple(  # ten recorded epochs
        CausalModelFit(**_LENET | {"subset": None}, dataset=name, steps=steps, profile="paper")
        for name, steps in (("fashion_mnist", 1180), ("cifar10", 980))
    ),
}


@dataclass(frozen=True)
class Steps:
    """What T steps did: the moves, the losses, and the step size they were made with.

    Attributes
    ----------
    squares : array (T, P)
        Squared move of each parameter in each step, (theta_k^t - theta_k^(t-1))^2, biases too.
    loss_before, loss_after : array (T,)
        Loss of the step's batch before and after it.
    lr : float
        The learning rate.
    layout : ParameterLayout
        Which columns belong to which layer.
    """

    squares: np.ndarray
    loss_before: np.ndarray
    loss_after: np.ndarray
    lr: float
    layout: ParameterLayout

    def fitted(self, loss: str) -> tuple[np.ndarray, np.ndarray]:
        """Features (t, P) and loss changes (t,) of one definition of the loss change.

        With "two_batch" the change of step t ends on the next step's batch, so the last step has
        none and t = T - 1.
        """
        check_choice("loss", loss, ["same_batch", "two_batch"])
        if loss == "same_batch":
            return self.squares, self.loss_after - self.loss_before
        return self.squares[:-1], np.diff(self.loss_before)

    def swap(self) -> np.ndarray:
        """(t,) What the exchange of batches adds to a two-batch change: L(b', theta) - L(b, theta).

        Both losses are at the weights after the step, so no weight moves between them.
        """
        return self.loss_before[1:] - self.loss_after[:-1]


def recorded_steps(
    model: nn.Module, data: Dataset, *, steps: int, batch_size: int, lr: float, seed: int
) -> Steps:
    """Make `steps` steps of plain SGD on full batches and record all of them.

    Every loss is measured with the noise of training off. `model` is trained in place.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    with TrajectoryRecorder(model, which="all", probe=_loss, steps=steps) as recorder:
        for x, y in _full_batches(data, batch_size, steps, seed):
            recorder.batch(x, y)
            optimizer.zero_grad()
            _loss(model, x, y).backward()
            optimizer.step()
    trajectory = recorder.trajectory()
    losses = np.asarray(trajectory.loss_before)[1:], np.asarray(trajectory.loss_after)[1:]
    return Steps(trajectory.increments().square_().numpy(), *losses, lr, recorder.layout)


def frozen_steps(
    model: nn.Module, data: Dataset, *, steps: int, batch_size: int, lr: float, seed: int
) -> Steps:
    """The control: the same batches and the moves that they ask for, and no weight moves.

    Squares are (lr g_k)^2 of each batch's gradient g at the same weights; the loss after a step is
    the loss before it.
    """
    layout = ParameterLayout.of(model, which="all")
    weights = list(layout.parameters(model).values())
    squares = np.empty((steps, layout.size), dtype=np.float32)
    losses = np.empty(steps)
    for t, (x, y) in enumerate(_full_batches(data, batch_size, steps, seed)):
        loss = _loss(model, x, y)
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])
        squares[t] = (lr * gradient).square().cpu().numpy()
        losses[t] = loss.item()
    return Steps(squares, losses, losses, lr, layout)


@dataclass(frozen=True)
class OneSlope:
    """Least squares of dL_t = slope * s_t, where s_t is the sum of all squared moves of step t.

    Attributes
    ----------
    slope : float
        Theory, to first order: -1 / lr.
    r2, r2_theory : float
        Share of the variance of dL explained by that line, and by theory's line without any fit.
    correlation : float
        Of s with dL.
    """

    slope: float
    r2: float
    r2_theory: float
    correlation: float

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, *, lr: float) -> OneSlope:
        """Fit features (t, P) and changes (t,)."""
        s = x.sum(1, dtype=np.float64)
        slope = float(s @ y / (s @ s))
        return cls(
            slope,
            explained(y, slope * s, mean=y.mean()),
            explained(y, -s / lr, mean=y.mean()),
            float(np.corrcoef(s, y)[0, 1]),
        )


def explained(y: np.ndarray, predicted: np.ndarray, *, mean: float) -> float:
    """R^2 = 1 - sum (y - predicted)^2 / sum (y - mean)^2; below 0 is worse than always `mean`."""
    return float(1 - ((y - predicted) ** 2).sum() / ((y - mean) ** 2).sum())


def lasso_scores(
    x: np.ndarray, y: np.ndarray, *, ratios: tuple[float, ...]
) -> Iterator[tuple[float, dict[str, float]]]:
    """Fit an exact lasso to the first steps and judge it on the last quarter.

    Columns are brought to length one on the first part, so that the penalty's strength is
    `ratio` = alpha / alpha_max, where alpha_max is the smallest alpha that keeps nothing.

    Yields
    ------
    ratio, scores
        R^2 on the fitted steps (`r2_in`) and on the held-out ones (`r2_out`), both against the
        fitted steps' mean; how many weights are `kept`; the share of kept coefficients below zero
        (`negative`, NaN where none is kept).
    """
    first = len(y) - round(HELD_OUT * len(y))
    length = np.linalg.norm(x[:first], axis=0)
    columns = (x / np.where(length > 0, length, 1)).astype(np.float64, copy=False)
    fit_y, mean = y[:first], y[:first].mean()
    path = lasso_path(columns[:first], fit_y, alpha_ratios=sorted(ratios, reverse=True))
    for i, ratio in enumerate(path.alpha_ratios):
        kept = path.support(i)
        coef = path.coef(i)[kept]
        predicted = columns[:, kept] @ coef
        yield (
            round(float(ratio), 12),
            {
                "r2_in": explained(fit_y, predicted[:first], mean=mean),
                "r2_out": explained(y[first:], predicted[first:], mean=mean),
                "kept": float(kept.sum()),
                "negative": float((coef < 0).mean()) if kept.any() else float("nan"),
            },
        )


def _loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return cross_entropy(model(x), y)


def _full_batches(
    data: Dataset, batch_size: int, steps: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """`steps` shuffled batches of exactly `batch_size`, so that all losses weigh alike."""
    if batch_size > len(data.y_train):
        raise ValueError(
            f"batch_size must be at most the {len(data.y_train)} training examples; "
            f"got {batch_size}."
        )
    generator, made = torch.Generator().manual_seed(seed), 0
    while True:
        for x, y in iterate_batches(
            data.x_train, data.y_train, batch_size=batch_size, generator=generator
        ):
            if made == steps:
                return
            if len(y) == batch_size:
                made += 1
                yield x, y
