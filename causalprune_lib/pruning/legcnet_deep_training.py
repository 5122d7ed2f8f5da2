"""Train many networks of several layers side by side, each under its own mask.

The loop of LEGCNet's released MNIST script: batches drawn anew in every epoch, plain SGD, masked
weights set to zero before each step. All networks of a batch see the same examples in the same
order, so that they differ by their masks alone.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch
from tqdm.auto import tqdm

from causalprune_lib._validation import (
    check_finite,
    check_fraction,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.pruning.legcnet_deep import DeepNetworks
from causalprune_lib.pruning.legcnet_networks import targets_of
from causalprune_lib.pruning.legcnet_training import NetworksRun


@dataclass(frozen=True, eq=False)
class DeepRun:
    """What became of B networks in E epochs.

    Attributes
    ----------
    networks : DeepNetworks
        As they are after the last step.
    train_accuracy, test_accuracy, test_f1 : tensor (B, E)
        After each epoch, as `DeepNetworks.judge` says.
    first_accuracy, first_f1 : tensor (B, E)
        The same on the first example of each test batch only, as released.
    epochs_to_benchmark : tensor (B,)
        Number, from 0, of the first epoch with a training accuracy of at least the benchmark; NaN
        where none has it, or where there was no benchmark.
    seconds : float
        Time taken, that of `watch` included.
    """

    networks: DeepNetworks
    train_accuracy: torch.Tensor
    test_accuracy: torch.Tensor
    test_f1: torch.Tensor
    first_accuracy: torch.Tensor
    first_f1: torch.Tensor
    epochs_to_benchmark: torch.Tensor
    seconds: float

    at_benchmark = NetworksRun.at_benchmark  # `name` in the epoch that reached the benchmark


@torch.no_grad()
def train_deep(
    networks: DeepNetworks,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    test: tuple[torch.Tensor, torch.Tensor],
    lr: float,
    epochs: int,
    batch_size: int = 128,
    seed: int = 0,
    masks: torch.Tensor | None = None,
    benchmark: float | None = None,
    watch: Callable[[int, DeepNetworks], None] | None = None,
    progress: bool = False,
) -> DeepRun:
    """Train every network of a batch on the same batches of examples.

    Parameters
    ----------
    networks : DeepNetworks
        B networks; they are not changed.
    x, y : tensor (N, D), tensor (N,) of int64
        Examples and classes, on the device of the networks.
    test : (x_test, y_test)
        Judged along, never trained on.
    lr, epochs, batch_size : float, int, int
        Of plain SGD on the mean squared error; the last batch of an epoch may be smaller.
    seed : int
        Of the order of examples, drawn anew in every epoch.
    masks : bool tensor (B, P), optional
        Which weights each network keeps. A masked weight is zero from the start and after every
        step; biases are never masked.
    benchmark : float, optional
        Training accuracy to wait for.
    watch : callable, optional
        Called with the number of steps done, 0 included, and the live networks.
    progress : bool
        Show a bar.

    Returns
    -------
    DeepRun

    Raises
    ------
    ValueError, TypeError
        Shapes, types or options that do not fit.

    Examples
    --------
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> networks = DeepNetworks.initial((4, 6, 5, 2), seed=0).repeat(2)
    >>> how = {"lr": 5.0, "epochs": 60, "batch_size": 30, "benchmark": 0.9}
    >>> run = train_deep(networks, *data, test=data, **how)
    >>> run.test_accuracy.shape, bool((run.test_accuracy[:, -1] > 0.9).all())
    (torch.Size([2, 60]), True)
    """
    started = perf_counter()
    check_positive("lr", lr)
    check_int("batch_size", batch_size)
    check_int("seed", seed, minimum=0)
    if benchmark is not None:
        check_fraction("benchmark", benchmark)
    _check_examples("x", networks, x, y)
    _check_examples("test[0]", networks, *test)
    keep = None if masks is None else _as_factors(masks, networks)
    state = networks.clone()
    goals = targets_of(y, networks.sizes[-1]).to(x)
    order = torch.Generator().manual_seed(seed)
    firsts = tuple(part[::batch_size] for part in test)

    _put_masks(state, keep)
    per_epoch: list[list[torch.Tensor]] = []
    reached = torch.full((len(networks),), math.nan, dtype=torch.float64, device=x.device)
    step = 0
    if watch is not None:
        watch(0, state)
    epochs = range(check_int("epochs", epochs, minimum=0))
    for epoch in tqdm(epochs, unit="epoch", disable=not progress, leave=False):
        drawn = torch.randperm(len(x), generator=order).to(x.device)
        for rows in drawn.split(batch_size):
            state.descend_(x[rows], goals[rows].T, lr=lr)
            _put_masks(state, keep)
            step += 1
            if watch is not None:
                watch(step, state)
        train_accuracy, _ = state.judge(x, y)
        per_epoch.append([train_accuracy, *state.judge(*test), *state.judge(*firsts)])
        if benchmark is not None:
            reached[reached.isnan() & (train_accuracy >= benchmark)] = epoch
    nothing = reached.new_empty((len(networks), 0))
    series = [torch.stack(s, 1) for s in zip(*per_epoch, strict=True)] or [nothing] * 5
    return DeepRun(state, *series, reached, perf_counter() - started)


def _put_masks(networks: DeepNetworks, keep: list[torch.Tensor] | None) -> None:
    for weight, factor in zip(networks.weights, keep or (), strict=False):
        weight.mul_(factor)


def _as_factors(masks: torch.Tensor, networks: DeepNetworks) -> list[torch.Tensor]:
    """One tensor of ones and zeros per layer, of the shape of its weights."""
    layout = networks.layout
    check_shape("masks", masks, (len(networks), layout.size))
    if masks.dtype != torch.bool:
        raise TypeError(f"masks must be boolean, True = keep; got {masks.dtype}.")
    parts = masks.to(networks.weights[0].device).split(list(layout.sizes), 1)
    return [
        part.to(weight.dtype).view_as(weight)
        for part, weight in zip(parts, networks.weights, strict=True)
    ]


def _check_examples(name: str, networks: DeepNetworks, x: torch.Tensor, y: torch.Tensor) -> None:
    check_shape(name, x, (None, networks.sizes[0]))
    if x.dtype != networks.weights[0].dtype:
        kind = networks.weights[0].dtype
        raise TypeError(f"{name} must be {kind}, as the networks; got {x.dtype}.")
    check_finite(name, x)
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"{name} and its labels must have one length >= 1; got {len(x)}, {len(y)}."
        )
    targets_of(y[:0], networks.sizes[-1])
