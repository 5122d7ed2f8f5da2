"""Training seen as a map: one SGD step is a function from the weights to the weights.

`SGDMap` turns a network, a loss and a learning rate into the pure function
theta -> theta - lr grad L(theta; batch), on one flat vector and in float64. `tangent` takes its
derivative, `twins` runs many copies of it at once. The network itself is read, never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.func import functional_call, grad

from causalprune_lib._random import seeded
from causalprune_lib._validation import check_finite, check_fraction, check_positive
from causalprune_lib.nets.guards import device_and_dtype, refresh_pruned_weights
from causalprune_lib.nets.parameters import ParameterLayout

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]


class SGDMap:
    """The step of stochastic gradient descent, with or without momentum, as in `torch.optim.SGD`.

    The state, of length D, is theta (P,), or (theta, velocity) in one vector (2P,) where `momentum`
    is not 0: velocity' = momentum velocity + grad L(theta), theta' = theta - lr velocity'.

    Parameters
    ----------
    model : nn.Module
        Where the weights start. Pruned weights and frozen parameters stay as they are.
    loss : callable
        loss(output, target) -> scalar tensor.
    lr, momentum : float
        As in `torch.optim.SGD`.
    dtype : torch.dtype
        Type of the weights, of the buffers, and of every floating-point batch.

    Raises
    ------
    ValueError
        `lr` is not positive, a weight is not finite, or the model has batch normalisation in
        training mode: that step also moves running statistics, so it is no map of the weights.

    Examples
    --------
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 3.0)
    >>> step = SGDMap(model, nn.functional.mse_loss, lr=0.25)
    >>> step(step.start, (torch.ones(4, 1), torch.zeros(4, 1)))  # 3 - 0.25 * 2 * 3
    tensor([1.5000], dtype=torch.float64)
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
        self.model, self.loss, self.dtype = model, loss, dtype
        self.lr = check_positive("lr", lr)
        self.momentum = check_fraction("momentum", momentum, closed=False)
        _refuse_running_statistics(model)
        self.layout = ParameterLayout.of(model, which="all")
        live = self.layout.parameters(model)
        known_as = {id(parameter): name for name, parameter in model.named_parameters()}
        self._names = {name: known_as[id(parameter)] for name, parameter in live.items()}
        self._fixed = {name: _cast(buffer, dtype) for name, buffer in model.named_buffers()}
        with torch.no_grad():
            theta = self.layout.flatten(live).to(dtype)
        check_finite("the weights of model", theta)
        self.movable = self._movable(live)  # (P,) False where SGD never moves a weight
        self.start = torch.cat([theta, torch.zeros_like(theta)]) if self.momentum else theta

    @property
    def size(self) -> int:
        """P, the number of parameters, biases included."""
        return self.layout.size

    def loss_at(self, theta: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Loss of one batch at the flat weights `theta` (P,)."""
        x, y = (_cast(part, self.dtype) for part in batch)
        values = {self._names[name]: t for name, t in self.layout.unflatten(theta).items()}
        return self.loss(functional_call(self.model, (values, self._fixed), (x,)), y)

    def __call__(self, state: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The state after one step on `batch` = (x, y)."""
        theta = state[: self.size]
        return self._moved(state, theta, grad(self.loss_at)(theta, batch))

    def push(
        self, state: torch.Tensor, vectors: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The state after one step, and the tangent vectors (n, D) after it.

        The gradient's derivative in the direction v is the Hessian-vector product H v; H is
        symmetric, so it is also the product v H that a second backward pass gives.
        """
        theta = state[: self.size]
        gradient, times_hessian = torch.func.vjp(lambda t: grad(self.loss_at)(t, batch), theta)
        along = vectors[:, : self.size]
        if len(vectors) == 1:
            products = times_hessian(along[0])[0][None]
        else:
            products = torch.func.vmap(lambda v: times_hessian(v)[0])(along)
        # An SGD step is affine in (state, gradient), so it treats their tangents as them.
        return self._moved(state, theta, gradient), self._moved(vectors, along, products)

    def _moved(self, state, theta, gradient) -> torch.Tensor:
        gradient = torch.where(self.movable, gradient, 0.0)
        if not self.momentum:
            return theta - self.lr * gradient
        velocity = self.momentum * state[..., self.size :] + gradient
        return torch.cat([theta - self.lr * velocity, velocity], -1)

    def _movable(self, live: dict[str, nn.Parameter]) -> torch.Tensor:
        masks = dict(self.model.named_buffers())
        pieces = []
        for name, parameter in live.items():
            mask = masks.get(f"{name}_mask", torch.ones_like(parameter))
            pieces.append((mask != 0).flatten() & parameter.requires_grad)
        return torch.cat(pieces)

    @contextmanager
    def running(self, seed: int) -> Iterator[None]:
        """Seed dropout inside the block; afterwards the generators and the model are as before."""
        try:
            with seeded(seed, device_and_dtype(self.model)[0]):
                yield
        finally:
            refresh_pruned_weights(self.model)


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


def _cast(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _refuse_running_statistics(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if module.training and getattr(module, "running_mean", None) is not None:
            raise ValueError(
                f"model must not move running statistics while it trains; got {name!r} "
                f"({type(module).__name__}) in training mode. Call model.eval(), or build the "
                "model without batch normalisation."
            )
