"""What stands around a training loop: checks before it, and state put back after it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils.prune import BasePruningMethod

from causalprune_lib._validation import check_finite


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[nn.Module]:
    """Put `model` into training or evaluation mode for a block; then give each part its own back.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    >>> with in_mode(model, training=False):
    ...     model[1].training
    False
    >>> model[1].training
    True
    """
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield model
    finally:
        for module, mode in before.items():
            module.training = mode


def refresh_pruned_weights(model: nn.Module) -> None:
    """Bring every masked `weight` up to date with its `weight_orig` and `weight_mask`.

    `torch.nn.utils.prune` computes `weight` at the start of a forward pass, so after an optimizer's
    step it is one step old until the next forward pass.
    """
    with torch.no_grad():
        for module in model.modules():
            for hook in module._forward_pre_hooks.values():
                if isinstance(hook, BasePruningMethod):
                    hook(module, None)


def device_and_dtype(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where the weights of `model` live and their type; the CPU and float32 if it has none."""
    first = next(model.parameters(), torch.empty(0, device="cpu", dtype=torch.float32))
    return first.device, first.dtype


def try_forward(model: nn.Module, x: torch.Tensor, name: str) -> torch.Tensor:
    """Return `model(x)`; where the model fails on it, say so with the name and shape of `x`."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(x).__name__}.")
    try:
        return model(x)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{name} must fit the model; a {type(model).__name__} failed on shape "
            f"{tuple(x.shape)}, {x.dtype} on {x.device}, with: {error}"
        ) from error


def check_data(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, *, names: tuple[str, str] = ("x", "y")
) -> None:
    """Raise unless `x` (N, ...) and `y` (N,) are data that `model` can classify.

    One example goes through the model, in evaluation mode and without gradients.
    """
    x_name, y_name = names
    for name, tensor in ((x_name, x), (y_name, y)):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(
                f"{name} must be a torch.Tensor; got {type(tensor).__name__}. "
                "torch.as_tensor(...) makes one."
            )
    device, dtype = device_and_dtype(model)
    if x.dtype != dtype:
        raise TypeError(
            f"{x_name} must have the model's dtype, {dtype}; got {x.dtype}. "
            f"{x_name}.to({dtype}) converts it."
        )
    if y.dtype != torch.int64:
        raise TypeError(
            f"{y_name} must hold classes as torch.int64; got {y.dtype}. {y_name}.long() converts "
            "it."
        )
    if x.dim() < 2 or y.dim() != 1 or len(x) != len(y):
        raise ValueError(
            f"{x_name} must have shape (N, ...) and {y_name} shape (N,); got {tuple(x.shape)} and "
            f"{tuple(y.shape)}."
        )
    if len(x) == 0:
        raise ValueError(f"{x_name} must hold at least one example; got shape {tuple(x.shape)}.")
    check_finite(x_name, x)

    with in_mode(model, training=False), torch.no_grad():
        scores = try_forward(model, x[:1].to(device), x_name)
    if scores.dim() != 2:
        raise ValueError(
            f"model must return class scores of shape (N, K); got {tuple(scores.shape)} for one "
            "example."
        )
    low, high, n_classes = int(y.min()), int(y.max()), scores.shape[1]
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"{y_name} must hold classes 0..{n_classes - 1}, the model's {n_classes} outputs; got "
            f"classes {low}..{high}."
        )


def check_weights(model: nn.Module) -> None:
    """Raise unless `model` has something to train and all its weights are finite."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            f"model must have a parameter that requires a gradient; got a {type(model).__name__} "
            "without one."
        )
    for name, parameter in model.named_parameters():
        check_finite(f"model parameter {name!r}", parameter.detach())


def check_step(batch_loss: torch.Tensor, *, epoch: int, step: int, lr: float) -> float:
    """Return the loss of a batch as a number; raise if it is not one, or not finite."""
    if not isinstance(batch_loss, torch.Tensor) or batch_loss.dim() != 0:
        got = tuple(batch_loss.shape) if isinstance(batch_loss, torch.Tensor) else batch_loss
        raise ValueError(f"loss must return a tensor with one number; got {got}.")
    value = batch_loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the training loss became {value} at epoch {epoch}, step {step}. The learning rate is "
            f"probably too high: lr is {lr:g}; try {lr / 10:g}."
        )
    return value


def check_epoch(model: nn.Module, *, epoch: int, lr: float) -> None:
    """Raise if the last step of an epoch left a weight that is not finite."""
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise FloatingPointError(
                f"the weights of {name!r} stopped being finite in the last step of epoch {epoch}. "
                f"The learning rate is probably too high: lr is {lr:g}; try {lr / 10:g}."
            )
