"""The true largest Lyapunov exponent of a map, and of SGD as a map, from its tangent vectors.

A tangent vector v is an infinitely small perturbation of the state. The map carries it to J(x) v,
with J its Jacobian; for an SGD step J = I - lr H, so J v is one Hessian-vector product. The
exponent is the long-run mean of ln |J v| / |v| per step. The vectors are made orthonormal again
after every step, which keeps them finite and, for several vectors, gives several exponents. This is
the yardstick for what is estimated from series.

Benettin, Galgani, Giorgilli and Strelcyn, Meccanica 15, 9-30, 1980.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call, grad

from causalprune_lib._random import seeded
from causalprune_lib._validation import (
    check_finite,
    check_fraction,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.nets.parameters import ParameterLayout, refresh

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]
Pushed = tuple[torch.Tensor, torch.Tensor]  # the state after a step, and tangents after it


@dataclass(frozen=True, eq=False)
class TangentResult:
    """Exponents along one orbit of T steps."""

    exponent: torch.Tensor  # (n_vectors,) nats per step, largest first; NaN if the orbit diverged
    # (T, n_vectors) ln of the growth in each step; -inf where a vector was crushed, NaN from the
    # step on after which the state or a vector was not finite
    log_stretch: torch.Tensor
    state: torch.Tensor  # the last of the orbit
    vectors: torch.Tensor  # (n_vectors, *state.shape) the last tangent vectors, orthonormal


def tangent_exponent(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    lr: float,
    momentum: float = 0.0,
    n_vectors: int = 1,
    vectors: torch.Tensor | None = None,
    seed: int = 0,
) -> TangentResult:
    """Lyapunov exponents of SGD on `model`, along the very path that `batches` make it take.

    The perturbations are of the weights that SGD moves: not of pruned or frozen ones. A direction
    in which the loss is flat keeps its length, so a network with such directions (dead units,
    more weights than the data can tell apart) has no largest exponent below 0. Computed in float64.
    Errors are those of `SGDMap`; also `batches` is empty, or `vectors` depend on each other.

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
    n_vectors : int
        How many exponents, from the largest on; at most the number of free variables.
    vectors : tensor (n_vectors, P), or (n_vectors, 2P) with momentum, optional
        First tangent vectors. Default: random, from `seed`, which also seeds dropout.

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
    step = SGDMap(model, loss, lr=lr, momentum=momentum)
    movable = step.free.repeat(2) if momentum else step.free
    tangents = _first_vectors(step.start, vectors, n_vectors, seed, movable)
    moves = [lambda x, v, batch=batch: step.push(x, v, batch) for batch in batches]
    with step.running(seed):
        return _benettin(moves, step.start, tangents)


def tangent_exponent_map(
    step: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor | float,
    n_steps: int,
    *,
    jvp: Callable[[torch.Tensor, torch.Tensor], Pushed] | None = None,
    n_vectors: int = 1,
    transient: int = 0,
    vectors: torch.Tensor | None = None,
    seed: int = 0,
) -> TangentResult:
    """Exponents of the map `step`, a tensor to a tensor of its shape, along the orbit of `start`.

    It averages over `n_steps` steps (T), after `transient` ones without tangent vectors, in
    float64. `jvp` maps (x, v) to (step(x), J(x) v); by default `step` is differentiated in forward
    mode. `n_vectors`, `vectors` (n_vectors, *start.shape) and `seed` are as in `tangent_exponent`.

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

    def move(x: torch.Tensor, v: torch.Tensor) -> Pushed:
        pairs = [jvp(x, one) for one in v]
        return pairs[0][0], torch.stack([tangent for _, tangent in pairs])

    tangents = _first_vectors(state, vectors, n_vectors, seed)
    return _benettin([move] * check_int("n_steps", n_steps), state, tangents)


class FlatNetwork:
    """A network and its loss as functions of one vector of all its weights (P,), biases included.

    `model` is read, never changed. `dtype` is that of the weights, which must be finite, of the
    buffers, and of every floating-point batch.
    """

    def __init__(self, model: nn.Module, loss: Loss, dtype: torch.dtype):
        self.model, self.loss, self.dtype = model, loss, dtype
        self.layout = ParameterLayout.of(model, which="all")
        parameters = self.layout.parameters(model)
        known_as = {id(parameter): name for name, parameter in model.named_parameters()}
        self._names = {name: known_as[id(parameter)] for name, parameter in parameters.items()}
        self._buffers = {name: self.cast(b.detach().clone()) for name, b in model.named_buffers()}
        with torch.inference_mode(False), torch.no_grad():  # the first allows gradients
            self.theta = self.layout.flatten(parameters).to(dtype)  # (P,) a copy
        check_finite("the weights of model", self.theta)
        kept = self.layout.kept(model)
        free = {name: kept[name] & p.requires_grad for name, p in parameters.items()}
        self.kept = self.layout.flatten(kept)  # (P,) False where a weight is pruned
        self.free = self.layout.flatten(free)  # (P,) False where it is pruned or frozen

    def named(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """All P weights `theta` as tensors, under the model's own names."""
        return {self._names[name]: t for name, t in self.layout.unflatten(theta).items()}

    def output(self, values: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """What the network makes of `x` with the weights `values`."""
        return functional_call(self.model, {**self._buffers, **values}, (x,))

    def cast(self, value: torch.Tensor) -> torch.Tensor:
        """`value` in `dtype` if it holds floating-point numbers."""
        return value.to(self.dtype) if value.is_floating_point() else value


class SGDMap(FlatNetwork):
    """The step of stochastic gradient descent, with or without momentum, as in `torch.optim.SGD`.

    The state, of length D, is theta (P,), or (theta, velocity) in one vector (2P,) where `momentum`
    is not 0: velocity' = momentum velocity + grad L(theta), theta' = theta - lr velocity'. Pruned
    and frozen weights stay as they are. Batch normalisation must be in evaluation mode: a step that
    moves running statistics is no map of the weights.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        *,
        lr: float,
        momentum: float = 0.0,
        dtype: torch.dtype = torch.float64,
    ):
        self.lr = check_positive("lr", lr)
        self.momentum = check_fraction("momentum", momentum, closed=False)
        for name, module in model.named_modules():
            if module.training and getattr(module, "running_mean", None) is not None:
                raise ValueError(
                    f"model must not move running statistics while it trains; got {name!r} "
                    f"({type(module).__name__}) in training mode. Call model.eval(), or build the "
                    "model without batch normalisation."
                )
        super().__init__(model, loss, dtype)
        self.size, theta = self.layout.size, self.theta  # P, biases included
        self.start = torch.cat([theta, torch.zeros_like(theta)]) if self.momentum else theta

    def loss_at(self, theta: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Loss of one batch at the flat weights `theta` (P,)."""
        x, y = (self.cast(part) for part in batch)
        return self.loss(self.output(self.named(theta), x), y)

    def __call__(self, state: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The state after one step on `batch` = (x, y)."""
        theta = state[: self.size]
        return self._moved(state, theta, grad(self.loss_at)(theta, batch))

    def push(self, state: torch.Tensor, vectors: torch.Tensor, batch: Batch) -> Pushed:
        """The state after one step, and the tangent vectors (n, D) after it."""
        theta = state[: self.size]
        # H is symmetric: the product v H of a second backward pass is the derivative H v.
        gradient, times_hessian = torch.func.vjp(lambda t: grad(self.loss_at)(t, batch), theta)
        along = vectors[:, : self.size]
        if len(vectors) == 1:
            products = times_hessian(along[0])[0][None]
        else:
            products = torch.func.vmap(lambda v: times_hessian(v)[0])(along)
        # An SGD step is affine in (state, gradient), so it treats their tangents as them.
        return self._moved(state, theta, gradient), self._moved(vectors, along, products)

    @contextmanager
    def running(self, seed: int) -> Iterator[None]:
        """Seed dropout inside the block; afterwards the generators and the model are as before."""
        try:
            with seeded(seed, self.start.device):
                yield
        finally:
            with torch.no_grad():
                refresh(self.model)

    def _moved(self, state, theta, gradient) -> torch.Tensor:
        """The step from a state (..., D), or what it makes of a tangent."""
        gradient = torch.where(self.free, gradient, 0.0)
        if not self.momentum:
            return theta - self.lr * gradient
        velocity = self.momentum * state[..., self.size :] + gradient
        return torch.cat([theta - self.lr * velocity, velocity], -1)


def as_batches(batches: Iterable[Batch]) -> list[Batch]:
    """The batches as a list of (x, y); raises where there is none or one is not a pair."""
    listed = list(batches)
    if not listed:
        raise ValueError("batches must hold at least one batch (x, y); got none.")
    for number, batch in enumerate(listed):
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise TypeError(
                f"batches must hold pairs (x, y); got a {type(batch).__name__} at {number}."
            )
    return listed


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
    vectors, beyond = _orthonormal(vectors, eps)
    if not bool((beyond > 0).all()):
        raise ValueError("vectors must be linearly independent; got dependent or zero vectors.")
    return vectors


def _orthonormal(vectors: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Orthonormal vectors of the same spans, and each one's length beyond those before it.

    What QR leaves of a dependent vector is not zero but rounding, which differs between processors:
    a length below some eps of the whole vector's counts as 0.
    """
    q, r = torch.linalg.qr(vectors.reshape(len(vectors), -1).T)  # (D, n), (n, n)
    beyond, length = r.diagonal().abs(), r.abs().amax(0)
    beyond = torch.where(beyond > 100 * math.sqrt(len(q)) * eps * length, beyond, 0.0)
    return q.T.reshape(vectors.shape), beyond


def _benettin(moves: list, state: torch.Tensor, vectors: torch.Tensor) -> TangentResult:
    """Carry orthonormal vectors along the orbit, and note how each step stretches them."""
    n_steps, eps = len(moves), torch.finfo(vectors.dtype).eps
    log_stretch = state.new_full((n_steps, len(vectors)), math.nan)  # (T, n)
    for t, move in enumerate(moves):
        state, vectors = move(state, vectors)
        if not (bool(torch.isfinite(state).all()) and bool(torch.isfinite(vectors).all())):
            break
        vectors, stretch = _orthonormal(vectors, eps)
        log_stretch[t] = stretch.log()
    exponent = log_stretch.cumsum(0)[-1] / n_steps  # summed in the order of the steps
    return TangentResult(exponent, log_stretch, state, vectors)
