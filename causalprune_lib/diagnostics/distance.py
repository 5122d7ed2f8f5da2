"""The distance of two networks as functions: measured over inputs, and searched for.

The largest distance found is a lower bound on the supremum that theorem 3.1 of the LEGCNet paper
(arXiv:2308.09955) speaks of; `removal_bound` in `approximation.py` is an upper one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from causalprune_lib._validation import check_finite, check_int, check_positive
from causalprune_lib.nets.guards import in_mode, try_forward


@dataclass(frozen=True, eq=False)
class SupDistance:
    """The largest distance found between the outputs of two networks.

    Attributes
    ----------
    value : float
        max over x of the 2-norm of f(x) - g(x): a lower bound on the supremum.
    at : tensor (...)
        Where.
    measured : float
        The largest over the given inputs alone, before any search.
    mean : float
        The mean over the given inputs.
    """

    value: float
    at: torch.Tensor = field(repr=False)
    measured: float
    mean: float


def sup_distance(
    model: nn.Module,
    other: nn.Module,
    x: torch.Tensor,
    *,
    steps: int = 0,
    box: tuple[float, float] | None = None,
    radius: float | None = None,
    starts: int = 16,
    rate: float = 0.1,
) -> SupDistance:
    """Measure how far two networks are apart, and search for where they are farthest.

    Parameters
    ----------
    model, other : nn.Module
        Networks that map (N, ...) to (N, K), masked or not; compared in evaluation mode.
    x : torch.Tensor, shape (N, ...)
        Inputs, on the device of `model`.
    steps : int
        Steps of gradient ascent on the distance; 0 only measures.
    box : (low, high), optional
        Where to search: every feature from `low` to `high`.
    radius : float, optional
        Where to search instead: the ball of this radius about zero, as in theorem 3.1.
    starts : int
        How many of the inputs to start from: those at which the networks are farthest apart, once
        all inputs have been moved into the box or ball.
    rate : float
        Length of the first step, as a share of the size of the box or ball; the last is a hundredth
        of it.

    Returns
    -------
    SupDistance
        With `box` or `radius`, `value` is for points in there alone, the given inputs among them,
        moved to the nearest point in there.

    Raises
    ------
    ValueError
        If the networks' outputs differ in shape, or a search has not exactly one of `box` and
        `radius`.

    Notes
    -----
    The search climbs from where it starts. Data lie in one corner of a ball about zero: add points
    in other directions to `x`, or the search may not leave that corner.

    Examples
    --------
    >>> f, g = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    >>> f.weight.data[:], g.weight.data[:] = 3.0, 1.0
    >>> x = torch.tensor([[0.1], [0.5]])
    >>> sup_distance(f, g, x).value, round(sup_distance(f, g, x, steps=50, box=(-2, 2)).value, 4)
    (1.0, 4.0)
    """
    check_int("steps", steps, minimum=0)
    check_int("starts", starts)
    check_positive("rate", rate)
    if not isinstance(x, torch.Tensor) or x.dim() < 2 or len(x) == 0:
        got = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
        raise ValueError(f"x must be a tensor (N, ...) with N >= 1; got {got}.")
    check_finite("x", x)
    x = x.detach()
    with in_mode(model, training=False), in_mode(other, training=False), torch.no_grad():
        shapes = [tuple(try_forward(net, x[:1], "x").shape) for net in (model, other)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"other must have outputs of shape {shapes[0]}; got {shapes[1]}.")
    project = _region(box, radius) if steps or box is not None or radius is not None else None
    with in_mode(model, training=False), in_mode(other, training=False):
        with torch.no_grad():
            found = _distance(model, other, x)  # (N,)
            measured, mean = float(found.max()), float(found.mean())
            if project is None:
                best = int(found.argmax())
                return SupDistance(measured, x[best].detach().clone(), measured, mean)
            moved = project(x)
            there = _distance(model, other, moved)
            first = there.argsort(descending=True)[:starts]
        best, at, points = there[first[0]].item(), moved[first[0]], moved[first]
        size = radius if box is None else (box[1] - box[0]) / 2 * points[0].numel() ** 0.5
        for step in range(steps + 1):
            points = points.detach().requires_grad_()
            with torch.enable_grad():
                distances = _distance(model, other, points)
                total = distances.sum()
            top = int(distances.argmax())
            if distances[top].item() > best:
                best, at = distances[top].item(), points[top]
            if step == steps:
                break
            (slope,) = torch.autograd.grad(total, points)
            steepness = slope.flatten(1).norm(dim=1).clamp(min=torch.finfo(slope.dtype).tiny)
            length = rate * size * 0.01 ** (step / max(steps - 1, 1))
            shift = length * slope / steepness.view(-1, *[1] * (slope.dim() - 1))
            with torch.no_grad():
                points = project(points + shift)
    return SupDistance(best, at.detach().clone(), measured, mean)


def _region(
    box: tuple[float, float] | None, radius: float | None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """What takes inputs (N, ...) to the nearest ones in the box or ball."""
    if (box is None) == (radius is None):
        raise ValueError(
            f"a search must have either box or radius; got box={box!r} and radius={radius!r}."
        )
    if radius is not None:
        most = check_positive("radius", radius)

        def into_ball(x: torch.Tensor) -> torch.Tensor:
            norm = x.flatten(1).norm(dim=1).clamp(min=torch.finfo(x.dtype).tiny)
            shrink = (most / norm).clamp(max=1)
            return x * shrink.view(-1, *[1] * (x.dim() - 1))

        return into_ball
    low, high = box
    if not low < high:
        raise ValueError(f"box must be (low, high) with low < high; got {box!r}.")
    return lambda x: x.clamp(low, high)


def _distance(model: nn.Module, other: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """2-norm (N,) of the difference of the outputs."""
    difference = model(x) - other(x)
    return difference.flatten(1).norm(dim=1)
