"""Train any small network while its weights and its errors are recorded, as LEGCNet needs them.

For the sigmoid networks of the paper there is the batched trainer in `legcnet_training`, which is
much faster; this file takes any `nn.Module`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from causalprune_lib._random import seeded
from causalprune_lib._validation import check_finite, check_int, check_positive
from causalprune_lib.dynamics.probes import undisturbed
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.evaluation import Loss, iterate_batches
from causalprune_lib.nets.guards import (
    check_data,
    check_step,
    check_weights,
    device_and_dtype,
    in_mode,
    try_forward,
)
from causalprune_lib.pruning.legcnet_networks import targets_of
from causalprune_lib.pruning.legcnet_windows import Windows, cut_windows

Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Recording:
    """A recorded training.

    Attributes
    ----------
    trajectory : Trajectory
        Rows 0..T; its `error` holds the error rate at the windows' ends, NaN elsewhere.
    windows : Windows
        Where the W windows lie.
    error : array (W,) of float64
        Error rate at each window's end.
    """

    trajectory: Trajectory
    windows: Windows
    error: np.ndarray


def record_training(
    model: nn.Module,
    train: Pair,
    judged: Pair,
    *,
    steps: int,
    window: int,
    overlap: float = 0.1,
    lr: float = 0.1,
    batch_size: int = 1,
    loss: str | Loss = "cross_entropy",
    seed: int = 0,
    path: str | os.PathLike | None = None,
    progress: bool = False,
) -> Recording:
    """Train `model` in place by plain SGD for `steps` steps, the data always in the same order.

    Parameters
    ----------
    model : nn.Module
        Maps a batch (B, ...) to outputs (B, K).
    train, judged : (x, y)
        Examples to train on, and those whose error rate is taken at each window's end.
    steps : int
        T, optimizer steps.
    window, overlap
        As in `cut_windows`.
    lr, batch_size : float, int
        The paper's networks are trained with one example per step.
    loss : {"cross_entropy", "squared_error"} or callable
        "squared_error": the sum over the outputs of their squared distance from the one-hot label
        (K = 1: from 0 or 1), a mean over the batch. A callable takes (outputs, labels).
    seed : int
        For dropout; the global generators are left as they were.
    path : path, optional
        Record to this new folder instead of memory.
    progress : bool
        Show a bar.

    Returns
    -------
    Recording

    Raises
    ------
    FloatingPointError
        The loss stops being finite.

    Examples
    --------
    >>> x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> recording = record_training(nn.Linear(2, 2), data, data, steps=90, window=20)
    >>> recording.trajectory.weights.shape, recording.error.shape
    ((91, 4), (4,))
    """
    check_int("steps", steps)
    check_positive("lr", lr)
    check_weights(model)
    measure = LOSSES.get(loss, loss) if isinstance(loss, str) else loss
    if not callable(measure):
        known = ", ".join(map(repr, LOSSES))
        raise ValueError(f"loss must be one of {known} or a callable; got {loss!r}.")
    n_outputs = _check_pair(model, train, ("x", "y"))
    _check_pair(model, judged, ("judged[0]", "judged[1]"))
    if loss == "cross_entropy" and n_outputs == 1:
        raise ValueError(
            "loss='cross_entropy' needs two outputs or more; got one, which goes with "
            "loss='squared_error'."
        )
    device, _ = device_and_dtype(model)
    (x, y), judged = (tuple(t.to(device) for t in pair) for pair in (train, judged))
    windows = cut_windows(steps + 1, window=window, overlap=overlap)
    due = set(windows.ends.tolist())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    recorder = TrajectoryRecorder(model, steps=steps, path=path, optimizer=optimizer)
    bar = tqdm(total=steps, unit="step", disable=not progress, leave=False)
    with bar, seeded(seed, device), in_mode(model, training=True), recorder:
        for step, batch in enumerate(_endless(x, y, batch_size), start=1):
            optimizer.zero_grad()
            value = measure(model(batch[0]), batch[1])
            check_step(value, epoch=1 + (step - 1) * batch_size // len(x), step=step, lr=lr)
            value.backward()
            optimizer.step()
            if step in due:
                recorder.log(error=error_rate(model, *judged))
            bar.update()
            if step == steps:
                break
    trajectory = recorder.trajectory()
    return Recording(trajectory, windows, trajectory.error[windows.ends])


def error_rate(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Share of the examples that `model` gets wrong, in evaluation mode, leaving no trace.

    With one output, a class is that output rounded to 0 or 1; otherwise it is the highest output.
    """
    with undisturbed(model, batch_statistics=False):
        parts = [model(part) for part, _ in iterate_batches(x, y, batch_size=1024)]
    outputs = torch.cat(parts)
    predicted = (outputs[:, 0] >= 0.5).long() if outputs.shape[1] == 1 else outputs.argmax(1)
    return float((predicted != y).double().mean())


def squared_error(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean over the batch of sum_k (o_k - t_k)^2, with t the one-hot label (K = 1: 0 or 1)."""
    return (outputs - targets_of(y, outputs.shape[1]).to(outputs)).square().sum(1).mean()


LOSSES: dict[str, Callable] = {"cross_entropy": cross_entropy, "squared_error": squared_error}


def _endless(x: torch.Tensor, y: torch.Tensor, batch_size: int):
    while True:
        yield from iterate_batches(x, y, batch_size=batch_size)


def _check_pair(model: nn.Module, pair: Pair, names: tuple[str, str]) -> int:
    """The number of outputs K, after a check that the examples fit the model."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(f"{names[0]}, {names[1]} must be a pair of tensors; got {type(pair)}.")
    x, y = pair
    with undisturbed(model, batch_statistics=False):
        n_outputs = try_forward(model, x[:1].to(device_and_dtype(model)[0]), names[0]).shape[-1]
    if n_outputs > 1:
        check_data(model, x, y, names=names)
        return n_outputs
    check_finite(names[0], x)
    targets_of(y, 1)
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{names[0]} and {names[1]} must have one length; got {len(x)}, {len(y)}.")
    return 1
