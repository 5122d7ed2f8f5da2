"""The true largest Lyapunov exponent of a map, and of SGD as a map, from its tangent vectors.

A tangent vector v is an infinitely small perturbation of the state. The map F carries it to J(x) v,
with J the Jacobian of F; for an SGD step J = I - lr H, so J v is one Hessian-vector product. The
exponent is the long-run mean of ln |J v| / |v| per step. Vectors are made orthonormal again every
few steps, which keeps them finite and, for several vectors, gives several exponents (Benettin,
Galgani, Giorgilli and Strelcyn, Meccanica 15, 1980). No embedding, no neighbours, no window: this
is the yardstick for what is estimated from series.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from causalprune_lib._validation import check_finite, check_int, check_shape
from causalprune_lib.dynamics.sgd_map import Batch, Loss, SGDMap, as_batches

Jvp = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, eq=False)
class TangentResult:
    """Exponents along one orbit.

    Attributes
    ----------
    exponent : tensor (n_vectors,)
        Nats per step, largest first; NaN if the orbit diverged.
    running : tensor (R, n_vectors)
        The estimate after each of the R renormalisations.
    log_stretch : tensor (R, n_vectors)
        ln of the growth since the renormalisation before. With `renormalise_every=1`, R = T steps.
    steps : tensor (R,) of int64
        Steps taken at each renormalisation.
    state : tensor
        The last state of the orbit.
    vectors : tensor (n_vectors, *state.shape)
        The last tangent vectors, orthonormal.
    diverged_at : int or None
        The first step after which the state or a vector was not finite.
    """

    exponent: torch.Tensor
    running: torch.Tensor
    log_stretch: torch.Tensor
    steps: torch.Tensor
    state: torch.Tensor
    vectors: torch.Tensor
    diverged_at: int | None


def tangent_exponent_map(
    step: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor | float,
    n_steps: int,
    *,
    jvp: Jvp | None = None,
    n_vectors: int = 1,
    renormalise_every: int = 1,
    transient: int = 0,
    vectors: torch.Tensor | None = None,
    seed: int = 0,
) -> TangentResult:
    """Exponents of the map `step` along the orbit of `start`.

    Parameters
    ----------
    step : callable
        The map: a tensor to a tensor of the same shape.
    start : tensor or float
        First state. Computed in float64.
    n_steps : int
        T, steps to average over, after `transient` steps without tangent vectors.
    jvp : callable, optional
        (x, v) -> (step(x), J(x) v). Default: forward-mode differentiation of `step`.
    n_vectors : int
        How many exponents, from the largest on; at most the size of the state.
    renormalise_every : int
        Steps between two renormalisations.
    vectors : tensor (n_vectors, *start.shape), optional
        First tangent vectors. Default: random, from `seed`.

    Returns
    -------
    TangentResult

    Examples
    --------
    >>> def logistic(x):
    ...     return 4 * x * (1 - x)
    >>> def with_tangent(x, v):
    ...     return logistic(x), (4 - 8 * x) * v
    >>> found = tangent_exponent_map(logistic, 0.3, 2000, jvp=with_tangent)
    >>> print(f"{found.exponent.item():.2f}, truth {math.log(2):.2f}")
    0.69, truth 0.69
    """
    state = torch.as_tensor(start, dtype=torch.float64)
    for _ in range(check_int("transient", transient, minimum=0)):
        state = step(state)
    if jvp is None:

        def jvp(x, v):
            return torch.func.jvp(step, (x,), (v,))

    def push(x: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = [jvp(x, one) for one in v]
        return pairs[0][0], torch.stack([tangent for _, tangent in pairs])

    moves = [push] * check_int("n_steps", n_steps)
    tangents = _first_vectors(state, vectors, n_vectors, seed)
    return _benettin(moves, state, tangents, check_int("renormalise_every", renormalise_every))


def tangent_exponent(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    lr: float,
    momentum: float = 0.0,
    n_vectors: int = 1,
    renormalise_every: int = 1,
    vectors: torch.Tensor | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> TangentResult:
    """Lyapunov exponents of SGD on `model`, along the very path that `batches` make it take.

    The perturbations are of the weights that SGD moves: not of pruned or frozen ones. A direction
    in which the loss is flat keeps its length, so a network with such directions (dead units,
    more weights than the data can tell apart) has no largest exponent below 0.

    Parameters
    ----------
    model : nn.Module
        Where training starts; left as it is. All its parameters, biases too, are the state.
    loss : callable
        loss(output, target) -> scalar tensor, twice differentiable.
    batches : iterable of (x, y)
        One SGD step each, in this order. Repeat the data for several epochs.
    lr, momentum : float
        As in `torch.optim.SGD`. With momentum the state is (theta, velocity).
    n_vectors, renormalise_every, vectors
        As in `tangent_exponent_map`; `vectors` (n_vectors, P), or 2P with momentum.
    seed : int
        For the first vectors and for dropout.

    Returns
    -------
    TangentResult

    Raises
    ------
    ValueError
        See `SGDMap`; also `batches` is empty or `vectors` has another shape.

    Examples
    --------
    A quadratic loss with curvature h = 2 contracts by |1 - lr h| per step:

    >>> model = nn.Linear(1, 1, bias=False)
    >>> batch = (torch.ones(4, 1), torch.zeros(4, 1))
    >>> found = tangent_exponent(model, nn.functional.mse_loss, [batch] * 20, lr=0.1)
    >>> print(f"{found.exponent.item():.6f}, truth {math.log(0.8):.6f}")
    -0.223144, truth -0.223144
    """
    batches = as_batches(batches)
    step = SGDMap(model, loss, lr=lr, momentum=momentum, dtype=dtype)
    movable = step.movable.repeat(2) if momentum else step.movable
    tangents = _first_vectors(step.start, vectors, n_vectors, seed, movable)
    moves = [lambda x, v, batch=batch: step.push(x, v, batch) for batch in batches]
    every = check_int("renormalise_every", renormalise_every)
    with step.running(seed):
        return _benettin(moves, step.start, tangents, every)


def _first_vectors(
    state: torch.Tensor,
    vectors: torch.Tensor | None,
    n_vectors: int,
    seed: int,
    movable: torch.Tensor | None = None,
) -> torch.Tensor:
    """Orthonormal vectors (n_vectors, *state.shape), random ones only where `movable`."""
    size = state.numel() if movable is None else int(movable.sum())
    if check_int("n_vectors", n_vectors) > size:
        raise ValueError(
            f"n_vectors must be at most the number of free variables, {size}; got {n_vectors}."
        )
    shape = (n_vectors, *state.shape)
    if vectors is None:
        random = torch.Generator().manual_seed(check_int("seed", seed, minimum=0))
        vectors = torch.randn(shape, generator=random, dtype=torch.float64).to(state)
        vectors = vectors if movable is None else vectors * movable
    check_shape("vectors", vectors, shape)
    check_finite("vectors", vectors)
    given, vectors = vectors, vectors.to(state)
    eps = max(torch.finfo(v.dtype).eps for v in (given, vectors) if v.is_floating_point())
    length = vectors.reshape(n_vectors, -1).norm(dim=1)
    vectors, beyond = _orthonormal(vectors)
    # what QR leaves of a dependent vector is rounding, not zero, and differs between processors
    if not bool((beyond > 100 * math.sqrt(size) * eps * length).all()):
        raise ValueError("vectors must be linearly independent; got dependent or zero vectors.")
    return vectors


def _orthonormal(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Orthonormal vectors of the same spans, and each one's length beyond those before it."""
    q, r = torch.linalg.qr(vectors.reshape(len(vectors), -1).T)  # columns (D, n)
    return q.T.reshape(vectors.shape), r.diagonal().abs()


def _benettin(moves: list, state: torch.Tensor, vectors: torch.Tensor, every: int) -> TangentResult:
    n_steps, n_vectors = len(moves), len(vectors)
    ends = [*range(every, n_steps, every), n_steps]
    log_stretch = state.new_full((len(ends), n_vectors), math.nan)
    diverged_at, row = None, 0
    for t, move in enumerate(moves, start=1):
        state, vectors = move(state, vectors)
        if not (bool(torch.isfinite(state).all()) and bool(torch.isfinite(vectors).all())):
            diverged_at = t
            break
        if t == ends[row]:
            vectors, stretch = _orthonormal(vectors)
            log_stretch[row] = stretch.log()  # -inf where a vector was crushed to nothing
            row += 1
    steps = torch.tensor(ends, device=state.device)
    running = log_stretch.cumsum(0) / steps[:, None]
    return TangentResult(
        running[-1].clone(), running, log_stretch, steps, state, vectors, diverged_at
    )
