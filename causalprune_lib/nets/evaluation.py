"""Judging a classifier, and walking through data in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from causalprune_lib._validation import check_int
from causalprune_lib.nets.guards import check_data, device_and_dtype, in_mode

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Evaluation:
    """How good a classifier is on one data set.

    Attributes
    ----------
    loss : float
        Mean loss per example.
    accuracy : float
        Share of the examples whose highest score is at the right class, in [0, 1].
    error_rate : float
        1 - accuracy.
    """

    loss: float
    accuracy: float
    error_rate: float


@torch.no_grad()
def evaluate(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    batch_size: int = 1024,
    loss: Loss = cross_entropy,
) -> Evaluation:
    """Judge `model` on examples `x` (N, ...) with labels `y` (N,), in evaluation mode.

    The mode of every part of the model is put back afterwards. Parameters and errors are those of
    `train`; `batch_size` changes the memory needed and the speed, not the result.

    Examples
    --------
    >>> model = nn.Linear(2, 2, bias=False)
    >>> _ = nn.init.eye_(model.weight)  # the class is the larger of the two inputs
    >>> evaluate(model, torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0])).accuracy
    0.5
    """
    check_int("batch_size", batch_size)
    check_data(model, x, y)
    device, _ = device_and_dtype(model)
    total_loss, n_right = 0.0, 0
    with in_mode(model, training=False):
        for x_batch, y_batch in iterate_batches(x, y, batch_size=batch_size):
            x_batch, y_batch = x_batch.to(device), y_batch.to(device)
            scores = model(x_batch)  # (B, K)
            total_loss += loss(scores, y_batch).item() * len(x_batch)
            n_right += int((scores.argmax(dim=1) == y_batch).sum())
    return Evaluation(total_loss / len(x), n_right / len(x), 1 - n_right / len(x))


def iterate_batches(
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    batch_size: int,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Walk once through the data in batches: every example exactly once, the last batch smaller.

    Parameters
    ----------
    x, y : torch.Tensor
        Examples (N, ...) and labels (N,).
    batch_size : int
        B, examples per batch.
    generator : torch.Generator, optional
        Shuffles the examples. None: the order they stand in.

    Yields
    ------
    x_batch, y_batch : torch.Tensor
        Shapes (B, ...) and (B,), on the devices of `x` and `y`.

    Examples
    --------
    >>> x, y = torch.arange(5.0).reshape(5, 1), torch.arange(5)
    >>> [labels.tolist() for _, labels in iterate_batches(x, y, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """
    check_int("batch_size", batch_size)
    if len(x) != len(y):
        raise ValueError(f"x and y must have one length; got {len(x)} and {len(y)}.")
    if generator is None:
        for start in range(0, len(x), batch_size):
            yield x[start : start + batch_size], y[start : start + batch_size]
        return
    order = torch.randperm(len(x), generator=generator, device=generator.device)
    for chosen in order.split(batch_size):
        yield x[chosen.to(x.device)], y[chosen.to(y.device)]
