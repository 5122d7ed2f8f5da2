"""The loss around a minimum: on a plane of random directions, and under random perturbations.

Figures 4 and 5 of the causal pruning paper show f(theta + alpha u1 + beta u2) for alpha and beta
in (-1, 1), with filter-normalised u1 and u2 and the height as log(1 + f) (appendix B, after Li et
al., NeurIPS 2018). Two directions out of n show little of a landscape: `perturbation_flatness` says
how sharp it is on average over many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from tqdm.auto import tqdm

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_finite, check_int, check_positive, check_shape
from causalprune_lib.diagnostics.curvature import mean_and_error
from causalprune_lib.diagnostics.hessian import Objective
from causalprune_lib.dynamics.tangent import Batch, Loss
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import device_and_dtype


@dataclass(frozen=True, eq=False)
class LossSurface:
    """The loss on a plane through the weights."""

    alphas: torch.Tensor  # (A,) float64, positions along the first direction
    betas: torch.Tensor  # (B,) float64, positions along the second
    loss: torch.Tensor  # (A, B) float64, mean loss; infinite or NaN where it overflows

    @property
    def log_loss(self) -> torch.Tensor:
        """log(1 + loss), the height of the paper's figures."""
        return self.loss.log1p()


def loss_surface(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    directions: torch.Tensor | None = None,
    extent: float = 1.0,
    points: int = 31,
    seed: int = 0,
    progress: bool = True,
) -> LossSurface:
    """The loss at theta + alpha u1 + beta u2, for alpha and beta from -extent to extent.

    Pruned weights stay where they are, all over the plane. To compare networks of one architecture,
    give them the same `seed`, data, `extent` and `points`.

    Parameters
    ----------
    model, loss, batches
        As for `HessianOperator`. A CPU draws images in `torch.channels_last` about twice as fast.
    directions : tensor (2, P), optional
        u1 and u2, in the order of `ParameterLayout.of(model, which="all")`; by default random and
        filter-normalised.
    extent : float
        Half the side of the square, in lengths of u1 and u2.
    points : int
        Points per side. An odd number has the network itself in the middle.
    seed : int
        Of the directions, and of a model that draws random numbers.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> batch = (torch.eye(2), torch.zeros(2, 1))
    >>> options = {"directions": torch.eye(2), "points": 3, "progress": False}
    >>> surface = loss_surface(model, nn.functional.mse_loss, [batch], **options)
    >>> bool(torch.isclose(surface.loss[1, 1], model.weight.double().square().mean()))
    True
    """
    extent = check_positive("extent", extent)
    axis = torch.linspace(-extent, extent, check_int("points", points, minimum=2)).double()
    objective = Objective(model, loss, batches, seed=seed)
    if directions is None:
        directions = filter_normalised_directions(model, seed=seed)
    check_shape("directions", directions, (2, objective.layout.size))
    check_finite("directions", directions)
    directions = directions.to(objective.theta)
    moved = int((directions[:, ~objective.kept] != 0).any(0).sum())
    if moved:
        raise ValueError(f"directions must be zero at pruned weights; {moved} of them would move.")
    losses = []
    with torch.inference_mode(), objective.at_rest():
        _loss_of_network(objective)
        places = torch.cartesian_prod(axis, axis)  # (A B, 2)
        for place in tqdm(places, unit="point", disable=not progress, leave=False):
            theta = objective.theta + place.to(directions) @ directions
            losses.append(objective.mean_loss(theta))
    values = torch.tensor(losses, dtype=torch.float64).reshape(points, points)
    return LossSurface(axis, axis.clone(), values)


@torch.no_grad()
def filter_normalised_directions(model: nn.Module, *, seed: int = 0, n: int = 2) -> torch.Tensor:
    """Random directions (n, P) whose filters have the norms of the network's filters.

    Filter j of layer i of a direction u, drawn from a normal distribution, becomes
    u_ij |d_ij| / |u_ij|, with d the network's weights, in the order of
    `ParameterLayout.of(model, which="all")`. A filter is what one output unit sees: a row of a
    linear layer, a kernel over all its inputs of a convolution. A direction is zero at pruned
    weights before its filters are normalised, and, as Li et al. have it, at biases and all other
    parameters of one dimension. The draw depends on the seed and the network's shapes alone.
    """
    layout = ParameterLayout.of(model, which="all")
    keep = layout.flatten(layout.kept(model))  # (P,)
    random = own_stream(seed, "directions")
    raw = torch.randn(check_int("n", n), layout.size, generator=random)  # (n, P)
    raw = raw.to(*device_and_dtype(model)) * keep
    weights = layout.unflatten(layout.flatten(layout.parameters(model)) * keep)
    scaled = []
    for name, direction in layout.unflatten(raw).items():  # (n, *shape)
        if weights[name].dim() > 1:
            layer = model.get_submodule(name.rpartition(".")[0])
            outputs = 1 if isinstance(layer, _ConvTransposeNd) else 0  # the axis of output units
            scaled.append(with_norms_of(weights[name], direction, outputs))
        else:
            scaled.append(torch.zeros_like(direction))
    return torch.cat([part.reshape(n, -1) for part in scaled], dim=1)


def with_norms_of(weight: torch.Tensor, direction: torch.Tensor, axis: int) -> torch.Tensor:
    """`direction` (n, *shape), each filter scaled to the norm of that of `weight` (*shape)."""
    others = [i for i in range(weight.dim()) if i != axis]
    wanted = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
    length = torch.linalg.vector_norm(direction, dim=[i + 1 for i in others], keepdim=True)
    return torch.where(length > 0, direction / length, 0.0) * wanted


@dataclass(frozen=True, eq=False)
class PerturbationFlatness:
    """How much the loss grows when the weights are shaken."""

    loss: float  # of the network itself
    increases: torch.Tensor  # (S,) float64, what each perturbation adds; may be negative, infinite

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
    seed: int = 0,
) -> PerturbationFlatness:
    """Increase of the mean loss under random filter-normalised perturbations.

    Each filter is moved by `radius` times its norm, in a random direction; pruned weights, and
    biases, stay where they are. The perturbations are on the surface of the ball: in many
    dimensions almost all of a ball is there. Networks of one architecture meet the same `samples`
    (S) of them, each scaled to its own filters, so differences between networks are known better
    than the standard errors say. Where a ReLU network is rescaled filter by filter, perturbations
    scale with it, and this measure does not change.

    `model`, `loss`, `batches` and errors are as for `HessianOperator`.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 2.0)
    >>> batch = (torch.ones(1, 1), torch.full((1, 1), 2.0))
    >>> shaken = perturbation_flatness(model, nn.functional.mse_loss, [batch], radius=0.5)
    >>> round(shaken.mean, 6), round(shaken.maximum, 6)  # the weight moves by 1, up or down
    (1.0, 1.0)
    """
    check_positive("radius", radius)
    objective = Objective(model, loss, batches, seed=seed)
    seeds = own_stream(seed, "perturbations")
    increases = []
    with torch.inference_mode(), objective.at_rest():
        centre = _loss_of_network(objective)
        for _ in range(check_int("samples", samples)):
            one = int(torch.randint(2**31, (1,), generator=seeds))
            direction = filter_normalised_directions(model, seed=one, n=1)[0]
            theta = objective.theta + radius * direction.to(objective.theta)
            increases.append(objective.mean_loss(theta) - centre)
    return PerturbationFlatness(centre, torch.tensor(increases, dtype=torch.float64))


def _loss_of_network(objective: Objective) -> float:
    centre = objective.mean_loss(objective.theta)
    if not math.isfinite(centre):
        raise FloatingPointError(f"the loss of the network must be finite; got {centre}.")
    return centre
