"""Every weight perturbed in turn: the experiment of the LEGCNet paper's section 2.1.

Paper: "To prune or not to prune: a chaos-causality approach to principled pruning of dense neural
networks", arXiv:2308.09955. There each weight is moved a little, the training repeated with
everything else the same, and exponents are computed of the recorded series. Here the growth of the
distance is measured too, which is what those exponents are said to be.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from causalprune_lib.dynamics.lyapunov import largest_lyapunov
from causalprune_lib.dynamics.sgd_map import Batch, SGDMap
from causalprune_lib.dynamics.tangent import tangent_exponent
from causalprune_lib.dynamics.twins import TwinResult, twin_trajectories
from causalprune_lib.nets.catalogue import LEGCNET
from causalprune_lib.nets.datasets import load_dataset
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.tabular import load_legcnet_init
from causalprune_lib.pruning.legcnet_networks import SigmoidNetworks


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
