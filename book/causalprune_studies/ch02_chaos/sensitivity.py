"""How sensitive trainings are to their start: many of them side by side, each with a companion.

A companion is a twin, which starts a hair away, and a tangent vector, which is infinitely near
(Benettin and others, Meccanica 15, 1980; `causalprune_lib.dynamics.tangent` has one at a time). All
networks of a batch have one architecture and train together in one call, in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import grad, vjp, vmap

from causalprune_lib._validation import check_int, check_positive
from causalprune_lib.dynamics.tangent import Batch, Loss, SGDMap, as_batches
from causalprune_lib.nets.parameters import ParameterLayout


@dataclass(frozen=True, eq=False)
class SensitivityPaths:
    """S networks, each trained for T steps at R learning rates, with a twin and a tangent vector.

    Attributes
    ----------
    lrs : tensor (R,)
        The learning rates.
    distance : tensor (T+1, S, R)
        Euclidean distance of the twin, over all parameters.
    log_stretch : tensor (T, S, R)
        ln of the factor by which each step stretched the tangent vector.
    weights : tensor (S, R, P)
        All parameters after the last step. NaN or infinite where training diverged.
    """

    lrs: torch.Tensor
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
    rates = torch.tensor([check_positive("lrs", lr) for lr in lrs], dtype=torch.float64)
    step, starts, vectors = starts_and_directions(models, loss, indices)  # (S, P) each
    loss_at = step.loss_at

    def push(theta, vector, batch):
        gradient, times_hessian = vjp(lambda t: grad(loss_at)(t, batch), theta)
        return gradient, times_hessian(vector)[0]

    n, rate = len(rates), rates.to(starts.device).repeat(len(starts))[:, None]  # (S R, 1)
    own = 0 if batches[0][0].dim() == 3 else None
    push_all = vmap(push, in_dims=(0, 0, own))
    gradients = vmap(grad(loss_at), in_dims=(0, own))
    states, vectors = starts.repeat_interleave(n, 0), vectors.repeat_interleave(n, 0)  # (S R, P)
    twins = states + check_positive("delta", delta) * vectors
    distance, log_stretch = [(twins - states).norm(dim=-1)], []
    for batch in batches:
        if own == 0:  # every network's batch, once for each learning rate
            batch = tuple(part.repeat_interleave(n, 0) for part in batch)
        gradient, product = push_all(states, vectors, batch)
        twins = twins - rate * gradients(twins, batch)
        states = states - rate * gradient
        vectors = vectors - rate * product
        length = vectors.norm(dim=-1, keepdim=True)
        vectors = vectors / length
        log_stretch.append(length[:, 0].log())
        distance.append((twins - states).norm(dim=-1))
    shape = (len(starts), n)
    return SensitivityPaths(
        rates,
        *(torch.stack(each).unflatten(1, shape) for each in (distance, log_stretch)),
        states.unflatten(0, shape),
    )


@torch.no_grad()
def sharpness(
    step: SGDMap, theta: torch.Tensor, batch: Batch, *, iterations: int = 10
) -> torch.Tensor:
    """Top eigenvalue (...,) of the loss's Hessian at `theta` (..., P) by power iteration.

    Each iteration is one Hessian-vector product, from the same random vector for all. What is found
    is the eigenvalue of largest size: in training that is the largest one, as long as no negative
    one is larger in size. The learning rate of `step` plays no part.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> batch = (torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1))
    >>> step = SGDMap(model, nn.functional.mse_loss, lr=0.1)
    >>> round(sharpness(step, step.start, batch, iterations=50).item(), 6)  # of diag(1, 4)
    4.0
    """
    random = torch.Generator().manual_seed(0)
    first = torch.randn(theta.shape[-1], generator=random, dtype=torch.float64).to(theta)
    flat = theta.reshape(-1, theta.shape[-1])
    vector = nn.functional.normalize(first.expand_as(flat), dim=-1)

    def times_hessian(weights, v):
        return vjp(lambda t: grad(step.loss_at)(t, batch), weights)[1](v)[0]

    for _ in range(check_int("iterations", iterations)):
        product = vmap(times_hessian)(flat, vector)
        value = (vector * product).sum(-1)
        vector = nn.functional.normalize(product, dim=-1)
    return value.view(theta.shape[:-1])


@torch.no_grad()
def orbits(step: SGDMap, starts: torch.Tensor, batches: Iterable[Batch], lrs: torch.Tensor):
    """Yield the weights (B, P) of B trainings before the first and after every step.

    `starts` (B, P), `lrs` (B,). x is (N, D), shared by all, or (B, N, D): each has its own.
    """
    states, rates = starts, lrs.to(starts)[:, None]
    yield states
    for batch in batches:
        own = 0 if batch[0].dim() == 3 else None
        states = states - rates * vmap(grad(step.loss_at), in_dims=(0, own))(states, batch)
        yield states


def starts_and_directions(
    models: Sequence[nn.Module], loss: Loss, indices: Sequence[int], **options: object
) -> tuple[SGDMap, torch.Tensor, torch.Tensor]:
    """A map for all, their weights (S, P), and the direction (S, P) of one weight of each."""
    if len(models) == 0 or len(models) != len(indices):
        raise ValueError(
            f"models and indices must have one length >= 1; got {len(models)}, {len(indices)}."
        )
    maps = [SGDMap(model, loss, lr=1.0, **options) for model in models]
    starts = torch.stack([step.start for step in maps])
    directions = torch.zeros_like(starts)
    for s, (model, index) in enumerate(zip(models, indices, strict=True)):
        directions[s, _place(model, index)] = 1.0
    return maps[0], starts, directions


def _place(model: nn.Module, index: int) -> int:
    """Where prunable weight number `index` stands among all parameters."""
    prunable, whole = ParameterLayout.of(model), ParameterLayout.of(model, which="all")
    if check_int("indices", index, minimum=0) >= prunable.size:
        raise ValueError(f"indices must be in 0..{prunable.size - 1}; got {index}.")
    name, _ = prunable.locate(index)
    return whole.span(name).start + index - prunable.span(name).start


def _double(part: torch.Tensor) -> torch.Tensor:
    return part.double() if part.is_floating_point() else part
