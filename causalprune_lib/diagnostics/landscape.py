"""The loss around a minimum, along one or two random directions.

Figures 4 and 5 of the causal pruning paper show f(theta + alpha u1 + beta u2) for alpha and beta
in (-1, 1), with filter-normalised u1 and u2 and the height as log(1 + f) (appendix B, after Li et
al., NeurIPS 2018). Two directions out of n show little of a landscape: `flatness.py` says how sharp
it is on average over many. Directions are made in `directions.py`; its names and those of
`flatness.py` can be imported from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from tqdm.auto import tqdm

from causalprune_lib._validation import check_finite, check_int, check_positive, check_shape
from causalprune_lib.diagnostics.directions import filter_normalised_directions
from causalprune_lib.diagnostics.flatness import (
    PerturbationFlatness,
    perturbation_flatness,
    rescale_relu,
    sam_step,
)
from causalprune_lib.diagnostics.objective import Batch, Loss, Objective
from causalprune_lib.pruning.maskset import Masks

__all__ = [
    "LossSlice",
    "LossSurface",
    "PerturbationFlatness",
    "filter_normalised_directions",
    "loss_slice",
    "loss_surface",
    "perturbation_flatness",
    "rescale_relu",
    "sam_step",
]


@dataclass(frozen=True, eq=False)
class LossSlice:
    """The loss along a line through the weights.

    Attributes
    ----------
    alphas : tensor (A,) of float64
        Positions; 0 is the network itself, 1 is one direction away from it.
    loss : tensor (A,) of float64
        Mean loss there; infinite or NaN where it overflows.
    """

    alphas: torch.Tensor
    loss: torch.Tensor

    @property
    def log_loss(self) -> torch.Tensor:
        """log(1 + loss), the height of the paper's figures."""
        return self.loss.log1p()


@dataclass(frozen=True, eq=False)
class LossSurface:
    """The loss on a plane through the weights.

    Attributes
    ----------
    alphas : tensor (A,) of float64
        Positions along the first direction.
    betas : tensor (B,) of float64
        Positions along the second.
    loss : tensor (A, B) of float64
        Mean loss there; infinite or NaN where it overflows.
    """

    alphas: torch.Tensor
    betas: torch.Tensor
    loss: torch.Tensor

    @property
    def log_loss(self) -> torch.Tensor:
        """log(1 + loss), the height of the paper's figures."""
        return self.loss.log1p()


def loss_slice(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    direction: torch.Tensor | None = None,
    extent: float = 1.0,
    points: int = 51,
    seed: int = 0,
    masks: Masks | None = None,
    dtype: torch.dtype | None = None,
    progress: bool = True,
) -> LossSlice:
    """The loss at theta + alpha u for alpha from -extent to extent.

    Parameters
    ----------
    direction : tensor (P,), optional
        u, in the order of `ParameterLayout.of(model, which="all")`. Default: the first of
        `filter_normalised_directions(model, seed=seed, masks=masks)`.
    model, loss, batches, extent, points, seed, masks, dtype, progress
        As for `loss_surface`.

    Examples
    --------
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 2.0)
    >>> batch = (torch.ones(1, 1), torch.full((1, 1), 2.0))
    >>> u = torch.tensor([2.0])
    >>> cut = loss_slice(
    ...     model, nn.functional.mse_loss, [batch], direction=u, points=3, progress=False
    ... )
    >>> cut.alphas.tolist(), cut.loss.tolist()
    ([-1.0, 0.0, 1.0], [4.0, 0.0, 4.0])
    """
    directions = None if direction is None else direction[None]
    alphas = _positions(extent, points)
    objective, directions = _prepare(model, loss, batches, directions, 1, seed, masks, dtype)
    values = _walk(objective, directions, alphas[:, None], progress)
    return LossSlice(alphas, values)


def loss_surface(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    directions: torch.Tensor | None = None,
    extent: float = 1.0,
    points: int = 31,
    seed: int = 0,
    masks: Masks | None = None,
    dtype: torch.dtype | None = None,
    progress: bool = True,
) -> LossSurface:
    """The loss at theta + alpha u1 + beta u2, for alpha and beta from -extent to extent.

    Pruned weights stay where they are, all over the plane. To compare networks of one architecture,
    give them the same `seed`, data, `extent` and `points`.

    Parameters
    ----------
    model, loss, batches, dtype
        As for `Objective`. A CPU draws images in `torch.channels_last` about twice as fast.
    directions : tensor (2, P), optional
        u1 and u2, in the order of `ParameterLayout.of(model, which="all")`. Default:
        `filter_normalised_directions(model, seed=seed, masks=masks)`.
    extent : float
        Half the side of the square, in lengths of u1 and u2.
    points : int
        Points per side. An odd number has the network itself in the middle.
    seed : int
        Of the directions.
    masks : Masks, optional
        Pruned weights besides those that the model's own masks prune.
    progress : bool
        Show a bar.

    Returns
    -------
    LossSurface

    Raises
    ------
    ValueError
        As for `Objective`; also directions of another shape, or that would move a pruned weight.
    FloatingPointError
        The loss of the network itself is not finite.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> batch = (torch.eye(2), torch.zeros(2, 1))
    >>> options = {"directions": torch.eye(2), "points": 3, "progress": False}
    >>> surface = loss_surface(model, nn.functional.mse_loss, [batch], **options)
    >>> bool(torch.isclose(surface.loss[1, 1], model.weight.double().square().mean()))
    True
    """
    alphas = _positions(extent, points)
    objective, directions = _prepare(model, loss, batches, directions, 2, seed, masks, dtype)
    pairs = torch.cartesian_prod(alphas, alphas)  # (A B, 2)
    values = _walk(objective, directions, pairs, progress)
    return LossSurface(alphas, alphas.clone(), values.reshape(points, points))


def _positions(extent: float, points: int) -> torch.Tensor:
    extent = check_positive("extent", extent)
    return torch.linspace(-extent, extent, check_int("points", points, minimum=2)).double()


def _prepare(
    model, loss, batches, directions, n: int, seed: int, masks, dtype
) -> tuple[Objective, torch.Tensor]:
    """The loss as a function, and `n` directions (n, P) of its type."""
    objective = Objective(model, loss, batches, masks=masks, dtype=dtype, seed=seed)
    if directions is None:
        directions = filter_normalised_directions(model, seed=seed, n=n, masks=masks)
    check_shape("directions", directions, (n, objective.layout.size))
    check_finite("directions", directions)
    directions = directions.to(objective.theta)
    moved = int((directions[:, ~objective.kept] != 0).any(0).sum())
    if moved:
        raise ValueError(f"directions must be zero at pruned weights; {moved} of them would move.")
    return objective, directions


def _walk(
    objective: Objective, directions: torch.Tensor, steps: torch.Tensor, progress: bool
) -> torch.Tensor:
    """Mean loss (S,) at theta + steps @ directions, for `steps` (S, n)."""
    losses = []
    with torch.inference_mode(), objective.at_rest():
        centre = objective.mean_loss(objective.theta)
        if not math.isfinite(centre):
            raise FloatingPointError(f"the loss of the network must be finite; got {centre}.")
        for step in tqdm(steps, unit="point", disable=not progress, leave=False):
            theta = objective.theta + step.to(directions) @ directions
            losses.append(objective.mean_loss(theta))
    return torch.tensor(losses, dtype=torch.float64)
