"""Training a classifier: one plain loop.

If you need a loop of your own, `iterate_batches` gives the shuffled batches and `evaluate` the
accuracy (both in `evaluation.py`); the rest is five lines of PyTorch, in the middle of `train`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from causalprune_lib._random import seeded
from causalprune_lib._validation import check_choice, check_fraction, check_int, check_positive
from causalprune_lib.nets.evaluation import Evaluation, Loss, evaluate, iterate_batches
from causalprune_lib.nets.guards import (
    check_data,
    check_epoch,
    check_step,
    check_weights,
    device_and_dtype,
    in_mode,
    refresh_pruned_weights,
)

__all__ = ["Evaluation", "History", "evaluate", "iterate_batches", "train"]


@dataclass(frozen=True)
class History:
    """What `train` did, epoch by epoch.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row per epoch: `epoch` (from 1), `train_loss` (mean over the epoch's batches, each
        taken just before its step), `val_loss`, `val_accuracy` (NaN without a validation split)
        and `seconds` (of the training pass).
    best_epoch : int or None
        The last epoch that set a new lowest validation loss; None without a validation split.
    stopped_early : bool
        Whether `patience` ran out before `epochs` did.
    """

    frame: pd.DataFrame
    best_epoch: int | None
    stopped_early: bool


def train(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    epochs: int,
    batch_size: int = 64,
    lr: float | None = None,
    optimizer: str = "sgd",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    seed: int = 0,
    validation: tuple[torch.Tensor, torch.Tensor] | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    progress: bool = True,
    on_epoch: Callable[[dict], None] | None = None,
    on_batch: Callable[[torch.Tensor, torch.Tensor, float], None] | None = None,
    loss: Loss = cross_entropy,
) -> History:
    """Train `model` in place on examples `x` with labels `y`.

    Parameters
    ----------
    model : nn.Module
        Maps a batch (B, ...) to class scores (B, K). Batches are moved to its device. Weights
        masked by `torch.nn.utils.prune` stay zero.
    x : torch.Tensor, shape (N, ...)
        Examples, of the model's floating-point type.
    y : torch.Tensor of int64, shape (N,)
        Classes 0..K-1.
    epochs : int
        Passes over the data; 0 changes nothing.
    batch_size : int
        Examples per step; the last batch of an epoch may be smaller.
    lr : float, optional
        Learning rate. None: 0.1 for SGD, 0.001 for Adam.
    optimizer : {"sgd", "adam"}
        Adam takes no `momentum`; it has its own.
    momentum, weight_decay : float
        As in `torch.optim`.
    seed : int
        Fixes the order of the batches and the dropout. On the CPU the same seed gives the same
        weights to the last bit. The global generators are left as they were.
    validation : (x_val, y_val), optional
        Judged after every epoch. Never pass the test split here: an epoch chosen on it makes the
        test accuracy too good.
    patience : int, optional
        Stop after this many epochs in a row without a new lowest validation loss, and put the
        weights of the best epoch back. Needs `validation`.
    min_delta : float
        How much lower a validation loss must be to count as new lowest.
    progress : bool
        Show a bar.
    on_epoch : callable, optional
        Called after every epoch with its row of the history, a dict.
    on_batch : callable, optional
        Called with `x_batch`, `y_batch` and the batch's loss just before every step, for instance
        `lambda x, y, loss: recorder.log(loss=loss)` with a `TrajectoryRecorder`.
    loss : callable
        `loss(scores, labels)` -> scalar tensor, the mean over the batch.

    Returns
    -------
    History

    Raises
    ------
    FloatingPointError
        If the loss stops being finite. The model keeps the weights of the last step.
    TypeError, ValueError
        If data or options do not fit.

    Examples
    --------
    >>> x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > 0).long()
    >>> model = nn.Linear(4, 2)
    >>> history = train(model, x, y, epochs=20, batch_size=10, progress=False)
    >>> len(history.frame), evaluate(model, x, y).accuracy > 0.9
    (20, True)
    """
    check_int("epochs", epochs, minimum=0)
    check_int("batch_size", batch_size)
    check_int("seed", seed, minimum=0)
    check_positive("min_delta", min_delta, allow_zero=True)
    if patience is not None:
        check_int("patience", patience)
        if validation is None:
            raise ValueError("patience needs validation=(x_val, y_val); got validation=None.")
    check_weights(model)
    check_data(model, x, y)
    if validation is not None:
        if not isinstance(validation, Sequence) or len(validation) != 2:
            got = type(validation).__name__
            raise ValueError(f"validation must be a pair (x_val, y_val); got a {got}.")
        check_data(model, *validation, names=("validation[0]", "validation[1]"))

    device, _ = device_and_dtype(model)
    stepper, lr = _make_optimizer(model, optimizer, lr, momentum, weight_decay)
    shuffling = torch.Generator().manual_seed(seed)
    n_steps = math.ceil(len(x) / batch_size)
    rows, lowest, best_epoch, best_state = [], math.inf, None, None
    bar = tqdm(total=epochs * n_steps, unit="batch", disable=not progress, leave=False)

    with bar, seeded(seed, device), in_mode(model, training=True):
        for epoch in range(1, epochs + 1):
            started, total = perf_counter(), 0.0
            batches = iterate_batches(x, y, batch_size=batch_size, generator=shuffling)
            for step, (x_batch, y_batch) in enumerate(batches, start=1):
                x_batch, y_batch = x_batch.to(device), y_batch.to(device)
                stepper.zero_grad()
                batch_loss = loss(model(x_batch), y_batch)
                value = check_step(batch_loss, epoch=epoch, step=step, lr=lr)
                batch_loss.backward()
                if on_batch is not None:
                    on_batch(x_batch, y_batch, value)
                stepper.step()
                total += value * len(x_batch)
                bar.update()
            check_epoch(model, epoch=epoch, lr=lr)
            row = {"epoch": epoch, "train_loss": total / len(x)}
            row |= {"val_loss": math.nan, "val_accuracy": math.nan}
            row["seconds"] = perf_counter() - started
            if validation is not None:
                judged = evaluate(model, *validation, loss=loss)
                row |= {"val_loss": judged.loss, "val_accuracy": judged.accuracy}
                if judged.loss < lowest - min_delta:
                    lowest, best_epoch = judged.loss, epoch
                    best_state = copy.deepcopy(model.state_dict()) if patience else None
            rows.append(row)
            bar.set_postfix(epoch=epoch, loss=f"{row['train_loss']:.4f}")
            if on_epoch is not None:
                on_epoch(dict(row))
            if patience is not None and epoch - (best_epoch or 0) >= patience:
                break

    if best_state is not None:
        model.load_state_dict(best_state)
    refresh_pruned_weights(model)
    columns = ["epoch", "train_loss", "val_loss", "val_accuracy", "seconds"]
    return History(pd.DataFrame(rows, columns=columns), best_epoch, len(rows) < epochs)


def _make_optimizer(
    model: nn.Module, name: str, lr: float | None, momentum: float, weight_decay: float
) -> tuple[torch.optim.Optimizer, float]:
    check_choice("optimizer", name, ["sgd", "adam"])
    lr = {"sgd": 0.1, "adam": 0.001}[name] if lr is None else check_positive("lr", lr)
    check_fraction("momentum", momentum, closed=False)
    check_positive("weight_decay", weight_decay, allow_zero=True)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == "sgd":
        return torch.optim.SGD(weights, lr=lr, momentum=momentum, weight_decay=weight_decay), lr
    if momentum:
        raise ValueError(f"momentum must be 0 with optimizer='adam'; got {momentum}.")
    return torch.optim.Adam(weights, lr=lr, weight_decay=weight_decay), lr
