"""Flatness without eigenvalues: the loss under random perturbations, and two things to know of it.

A few eigenvalues, or a plane through two directions, rest on little. `perturbation_flatness` takes
the mean and the largest increase of the loss over many random perturbations of a given relative
size. `rescale_relu` writes a network in other units: the same function with other eigenvalues
(Dinh, Pascanu, Bengio and Bengio, "Sharp minima can generalize for deep nets", ICML 2017).
`sam_step` trains for flatness (Foret, Kleiner, Mobahi and Neyshabur, ICLR 2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_choice, check_int, check_positive
from causalprune_lib.diagnostics.directions import filter_normalised_directions
from causalprune_lib.diagnostics.objective import Batch, Loss, Objective
from causalprune_lib.diagnostics.probing import mean_and_error
from causalprune_lib.nets.parameters import PRUNABLE_MODULES
from causalprune_lib.pruning.masks import Masks, clone_model, refresh


@dataclass(frozen=True, eq=False)
class PerturbationFlatness:
    """How much the loss grows when the weights are shaken.

    Attributes
    ----------
    loss : float
        Mean loss of the network itself.
    increases : tensor (S,) of float64
        What each perturbation adds to it. An increase may be negative, or infinite.
    radius : float
        Norm of a filter's perturbation over the norm of the filter.
    """

    loss: float
    increases: torch.Tensor
    radius: float

    @property
    def mean(self) -> float:
        """Mean increase: the expected sharpness."""
        return float(self.increases.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean; NaN for one sample."""
        return mean_and_error(self.increases.tolist())[1]

    @property
    def maximum(self) -> float:
        """Largest increase met: a lower bound of the largest there is."""
        return float(self.increases.max())


def perturbation_flatness(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    radius: float = 0.1,
    samples: int = 30,
    biases: bool = False,
    masks: Masks | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> PerturbationFlatness:
    """Increase of the mean loss under random filter-normalised perturbations.

    Each filter is moved by `radius` times its norm, in a random direction. The perturbations are on
    the surface of the ball: in many dimensions almost all of a ball is there. Networks of one
    architecture meet the same perturbations, each scaled to its own filters, so differences between
    them are known better than the standard errors say. Where a ReLU network is rescaled filter by
    filter (`rescale_relu`), perturbations scale with it, and this measure does not change.

    Parameters
    ----------
    model, loss, batches, masks, dtype
        As for `Objective`. Pruned weights stay where they are.
    radius : float
        Relative size.
    samples : int
        S, perturbations.
    biases : bool
        Move parameters of one dimension too; see `filter_normalised_directions`.
    seed : int
        Of the perturbations.

    Raises
    ------
    ValueError
        As for `Objective`.
    FloatingPointError
        The loss of the network itself is not finite.

    Examples
    --------
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 2.0)
    >>> batch = (torch.ones(1, 1), torch.full((1, 1), 2.0))
    >>> shaken = perturbation_flatness(model, nn.functional.mse_loss, [batch], radius=0.5)
    >>> round(shaken.mean, 6), round(shaken.maximum, 6)  # the weight moves by 1, up or down
    (1.0, 1.0)
    """
    check_positive("radius", radius)
    objective = Objective(model, loss, batches, masks=masks, dtype=dtype, seed=seed)
    increases = []
    with torch.inference_mode(), objective.at_rest():
        centre = objective.mean_loss(objective.theta)
        if not math.isfinite(centre):
            raise FloatingPointError(f"the loss of the network must be finite; got {centre}.")
        seeds = own_stream(seed, "perturbations")
        for _ in range(check_int("samples", samples)):
            one = int(torch.randint(2**31, (1,), generator=seeds))
            direction = filter_normalised_directions(
                model, seed=one, n=1, masks=masks, biases=biases
            )[0]
            theta = objective.theta + radius * direction.to(objective.theta)
            increases.append(objective.mean_loss(theta) - centre)
    return PerturbationFlatness(centre, torch.tensor(increases, dtype=torch.float64), radius)


@torch.no_grad()
def rescale_relu(model: nn.Module, first: str, second: str, c: float) -> nn.Module:
    """A copy of `model` that computes the same function with other weights.

    Weights and biases of the layer `first` are multiplied by c, the weights of `second` divided by
    it. For c > 0, relu(c z) = c relu(z), so the output is unchanged where all that stands between
    the two layers treats its input so: ReLU, max- or mean-pooling, flattening, dropout; not batch
    normalisation, sigmoid or tanh; and where no other path leads around them. The Hessian changes:
    a minimum can be made as sharp as one likes.

    Parameters
    ----------
    model : nn.Module
        Left as it is; masks are kept in the copy.
    first, second : str
        Names of two linear or convolution layers, the second one fed by the first.
    c : float
        Above 0.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> twin = rescale_relu(model, "0", "2", 10.0)
    >>> x = torch.ones(1, 3)
    >>> torch.allclose(model(x), twin(x), atol=1e-5), torch.equal(model[0].weight, twin[0].weight)
    (True, False)
    """
    check_positive("c", c)
    twin = clone_model(model)
    layers = {name: m for name, m in twin.named_modules() if isinstance(m, PRUNABLE_MODULES)}
    for label, name in (("first", first), ("second", second)):
        check_choice(label, name, layers)
    if first == second:
        raise ValueError(f"first and second must be two layers; got {first!r} twice.")
    for parameter in layers[first].parameters(recurse=False):
        parameter.mul_(c)
    for leaf, parameter in layers[second].named_parameters(recurse=False):
        if leaf.removesuffix("_orig") == "weight":
            parameter.div_(c)
    refresh(twin)
    return twin


def sam_step(
    model: nn.Module,
    loss: Loss,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    *,
    rho: float = 0.05,
) -> float:
    """One step of sharpness-aware minimisation on `batch` = (x, y); returns the loss before it.

    The weights go up the gradient g by rho g / |g|, the gradient is taken there, the weights come
    back, and `optimizer` steps with that gradient. Costs two steps. Weights with a live mask have
    no gradient and stay pruned. Batch normalisation sees the batch twice.

    Examples
    --------
    At weight 1 of the loss w^2 the gradient is taken at 1.1: the step is 0.25 * 2.2.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 1.0)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    >>> batch = (torch.ones(1, 1), torch.zeros(1, 1))
    >>> sam_step(model, nn.functional.mse_loss, batch, optimizer, rho=0.1)
    1.0
    >>> round(model.weight.item(), 6)
    0.45
    """
    check_positive("rho", rho, allow_zero=True)
    x, y = batch
    optimizer.zero_grad()
    value = loss(model(x), y)
    value.backward()
    moved = [p for p in model.parameters() if p.grad is not None]
    before = [p.detach().clone() for p in moved]
    length = torch.stack([p.grad.norm() for p in moved]).norm()
    try:
        with torch.no_grad():
            for parameter in moved:
                parameter.add_(parameter.grad * (rho / length.clamp(min=1e-12)))
        optimizer.zero_grad()
        loss(model(x), y).backward()
    finally:
        with torch.no_grad():
            for parameter, old in zip(moved, before, strict=True):
                parameter.copy_(old)
    optimizer.step()
    return value.item()
