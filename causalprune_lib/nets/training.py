"""Training and judging a network: one plain loop, and what stands around it.

If you need a loop of your own, `iterate_batches` gives the shuffled batches and `evaluate` judges;
the rest is five lines of PyTorch, in the middle of `train`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from time import perf_counter

import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from causalprune_lib._random import seeded
from causalprune_lib._validation import (
    check_choice,
    check_finite,
    check_fraction,
    check_int,
    check_positive,
)
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.parameters import refresh
from causalprune_lib.nets.tasks import Task, task_of

Pair = tuple[torch.Tensor, torch.Tensor]  # examples (N, ...) and their targets (N, ...)
PRECISIONS = ("full", "bfloat16")
OnBatch = Callable[[torch.Tensor, torch.Tensor, float], None]


@dataclass(frozen=True)
class Training:
    """How a network is trained: what `train` takes, but for the network, the data and the seed.

    `patience` without `tolerance` waits for a validation split to be given.

    >>> x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> model = nn.Linear(4, 2)
    >>> _ = Training(epochs=20, batch_size=10).train(model, *data)
    >>> evaluate(model, *data).accuracy > 0.9
    True
    """

    epochs: int
    batch_size: int = 64
    lr: float | None = None
    optimizer: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    patience: int | None = None
    tolerance: float | None = None
    shuffle: bool = True
    task: str | Task = "classification"
    precision: str = "full"

    def train(self, model: nn.Module, x: torch.Tensor, y: torch.Tensor, **options) -> History:
        """Train `model` in place; `options` are the `seed` and so on of `train`."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        if options.get("validation") is None and self.tolerance is None:
            own["patience"] = None
        return train(model, x, y, **{"progress": False, **own, **options})

    def n_steps(self, n_examples: int) -> int:
        """How many steps the optimizer makes on so many examples."""
        return self.epochs * math.ceil(n_examples / self.batch_size)


@dataclass(frozen=True)
class History:
    """What `train` did.

    `frame` has one row per epoch: `epoch` (from 1), `train_loss` (mean over the epoch's batches,
    each taken just before its step), `val_loss`, `val_accuracy` (or another metric of the task; NaN
    without a validation split) and `seconds` (of the training pass).
    """

    frame: pd.DataFrame
    best_epoch: int | None  # the last one that set a new lowest loss of those that are watched
    stopped_early: bool  # whether `patience` ran out before `epochs` did


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
    patience: int | None = None,
    tolerance: float | None = None,
    shuffle: bool = True,
    task: str | Task = "classification",
    precision: str = "full",
    seed: int = 0,
    validation: Pair | None = None,
    progress: bool = True,
    on_batch: OnBatch | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> History:
    """Train `model` in place on examples `x` with targets `y`.

    Data and options that do not fit are named before anything has changed. A FloatingPointError
    says where the loss stopped being finite; the model keeps the weights of the last step.

    Parameters
    ----------
    model : nn.Module
        Maps a batch (B, ...) to outputs (B, K), on its own device. Masked weights stay zero.
    x, y : tensors (N, ...)
        Examples, of the model's floating-point type, and targets as the task has them: for a
        classification int64 (N,), 0..K-1.
    epochs, batch_size : int
        Passes over the data, and examples per step; the last batch of an epoch may be smaller.
    lr : float, optional
        Learning rate. None: 0.1 for SGD, 0.001 for Adam.
    optimizer, momentum, weight_decay : {"sgd", "adam"}, float, float
        As in `torch.optim`. Adam takes no `momentum`; it has its own.
    patience, tolerance : int, float, optional
        Stop after `patience` epochs in a row without a new lowest validation loss, and put the
        weights of the best epoch back. With a `tolerance` the training loss of `History` is watched
        instead. It is a new lowest where it falls by more than that below the last one that was,
        and the weights of the last epoch stay. The causal pruning paper has 5 and 1e-4.
    shuffle : bool
        Draw the order of the examples anew for each epoch; else they come as they stand.
    task : {"classification", "squared_error", "regression"} or Task
        The loss, and the metric of the validation split.
    precision : {"full", "bfloat16"}
        The number type of the two passes: that of the weights, or bfloat16 under `torch.autocast`.
        Weights, optimizer and loss keep theirs.
    seed : int
        Fixes the order of the batches and the dropout. On the CPU of one machine the same seed
        gives the same weights to the last bit. The global generators are left as they were.
    validation : (x_val, y_val), optional
        Judged after every epoch. Never the test split, whose accuracy would be too good.
    progress, on_batch, on_epoch : bool, callable, callable
        Show a bar. `on_batch` is called with `x_batch`, `y_batch` and the batch's loss just before
        every step, for instance `lambda x, y, loss: recorder.log(loss=loss)` with a recorder, and
        `on_epoch` with its number after every epoch.

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
    task = task_of(task)
    check_choice("precision", precision, PRECISIONS)
    if patience is not None:
        check_int("patience", patience)
        if validation is None and tolerance is None:
            raise ValueError("patience needs validation=(x_val, y_val), or tolerance; got neither.")
    if tolerance is not None:
        check_positive("tolerance", tolerance, allow_zero=True)
        if patience is None:
            raise ValueError("tolerance needs patience, in epochs; got patience=None.")
    stepper, lr = _make_optimizer(model, optimizer, lr, momentum, weight_decay)
    check_data(model, x, y, task=task)
    if validation is not None:
        if not isinstance(validation, Sequence) or len(validation) != 2:
            got = type(validation).__name__
            raise ValueError(f"validation must be a pair (x_val, y_val); got a {got}.")
        check_data(model, *validation, task=task, names=("validation[0]", "validation[1]"))

    device, _ = device_and_dtype(model)
    generator = torch.Generator().manual_seed(seed) if shuffle else None
    n_steps = math.ceil(len(x) / batch_size)
    rows, lowest, best_epoch, best_state = [], math.inf, None, None
    bar = tqdm(total=epochs * n_steps, unit="batch", disable=not progress, leave=False)

    with bar, seeded(seed, device), in_mode(model, training=True):
        for epoch in range(1, epochs + 1):
            started, total = perf_counter(), 0.0
            batches = iterate_batches(x, y, batch_size=batch_size, generator=generator)
            for step, (x_batch, y_batch) in enumerate(batches, start=1):
                x_batch, y_batch = x_batch.to(device), y_batch.to(device)
                stepper.zero_grad()
                loss = task.loss(forward(model, x_batch, precision), y_batch)
                value = _check_step(loss, epoch=epoch, step=step, lr=lr)
                loss.backward()
                if on_batch is not None:
                    on_batch(x_batch, y_batch, value)
                stepper.step()
                total += value * len(x_batch)
                bar.update()
            _check_epoch(model, epoch=epoch, lr=lr)
            seconds, mean = perf_counter() - started, total / len(x)
            found = math.nan, math.nan
            if validation is not None:
                judged = evaluate(model, *validation, task=task, precision=precision)
                found = judged.loss, judged.metric
            watched = found[0] if tolerance is None else mean
            if watched < lowest - (tolerance or 0.0):
                lowest, best_epoch = watched, epoch
                if patience and tolerance is None:
                    best_state = copy.deepcopy(model.state_dict())
            rows.append((epoch, mean, *found, seconds))
            bar.set_postfix(epoch=epoch, loss=f"{mean:.4f}")
            if on_epoch is not None:
                on_epoch(epoch)
            if patience is not None and epoch - (best_epoch or 0) >= patience:
                break

    if best_state is not None:
        model.load_state_dict(best_state)
    with torch.no_grad():
        refresh(model)
    columns = ["epoch", "train_loss", "val_loss", f"val_{task.metric_name}", "seconds"]
    return History(pd.DataFrame(rows, columns=columns), best_epoch, len(rows) < epochs)


@dataclass(frozen=True)
class Evaluation:
    """How good a network is on one data set."""

    loss: float  # mean per example
    metric: float  # what the task judges by; for a classification the accuracy
    metric_name: str = "accuracy"

    @property
    def accuracy(self) -> float:
        """Share of the examples whose highest output is at the right class, in [0, 1]."""
        if self.metric_name != "accuracy":
            raise AttributeError(f"this task is judged by {self.metric_name}: use .metric.")
        return self.metric

    @property
    def error_rate(self) -> float:
        """1 - accuracy."""
        return 1 - self.accuracy


@torch.no_grad()
def evaluate(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    batch_size: int = 1024,
    task: str | Task = "classification",
    precision: str = "full",
) -> Evaluation:
    """Judge `model` on examples `x` (N, ...) with targets `y` (N, ...), in evaluation mode.

    The mode of every part of the model is put back afterwards. Parameters and errors are those of
    `train`; `batch_size` changes the memory needed and the speed, not the result.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> _ = nn.init.eye_(model.weight)  # the class is the larger of the two inputs
    >>> evaluate(model, torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0])).accuracy
    0.5
    """
    check_choice("precision", precision, PRECISIONS)
    task = task_of(task)
    check_data(model, x, y, task=task)
    device, _ = device_and_dtype(model)
    total, outputs = 0.0, []
    with in_mode(model, training=False):
        for x_batch, y_batch in iterate_batches(x, y, batch_size=batch_size):
            outputs.append(forward(model, x_batch.to(device), precision))  # (B, K)
            total += task.loss(outputs[-1], y_batch.to(device)).item() * len(x_batch)
    metric = task.metric(torch.cat(outputs), y.to(device))
    return Evaluation(total / len(x), metric, task.metric_name)


def forward(model: nn.Module, x: torch.Tensor, precision: str = "full") -> torch.Tensor:
    """`model(x)`, computed as `precision` says in `train`; what was bfloat16 comes as float32."""
    if precision == "full":
        return model(x)
    with torch.autocast(x.device.type, torch.bfloat16):
        return model(x).float()


def iterate_batches(
    x: torch.Tensor, y: torch.Tensor, *, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[Pair]:
    """Walk once through x (N, ...) and y (N, ...) in batches, shuffled where there is a generator.

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


def training_pair(data: Dataset | Pair) -> Pair:
    """The examples to train on, (x, y): of a Dataset, its training part."""
    if isinstance(data, Dataset):
        return data.x_train, data.y_train
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"data must be a Dataset or a pair (x, y); got {type(data).__name__}.")
    return tuple(data)


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[nn.Module]:
    """Put `model` into training or evaluation mode for a block; then put each part's own back."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield model
    finally:
        for module, mode in before.items():
            module.training = mode


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
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    task: str | Task = "classification",
    names: tuple[str, str] = ("x", "y"),
) -> None:
    """Raise unless `x` (N, ...) and `y` (N, ...) are data for `model` and the task.

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
    if x.dim() < 2 or len(x) != len(y):
        raise ValueError(
            f"{x_name} must have shape (N, ...) and {y_name} as many targets; got "
            f"{tuple(x.shape)} and {tuple(y.shape)}."
        )
    if len(x) == 0:
        raise ValueError(f"{x_name} must hold at least one example; got shape {tuple(x.shape)}.")
    check_finite(x_name, x)
    with in_mode(model, training=False), torch.no_grad():
        output = try_forward(model, x[:1].to(device), x_name)
    task_of(task).check_targets(y, output, y_name)


def _check_step(loss: torch.Tensor, *, epoch: int, step: int, lr: float) -> float:
    """Return the loss of a batch as a number; raise if it is not one, or not finite."""
    if not isinstance(loss, torch.Tensor) or loss.dim() != 0:
        got = tuple(loss.shape) if isinstance(loss, torch.Tensor) else loss
        raise ValueError(f"the task's loss must return a tensor with one number; got {got}.")
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the training loss became {value} at epoch {epoch}, step {step}. The learning rate is "
            f"probably too high: lr is {lr:g}; try {lr / 10:g}."
        )
    return value


def _check_epoch(model: nn.Module, *, epoch: int, lr: float) -> None:
    """Raise if the last step of an epoch left a weight that is not finite."""
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise FloatingPointError(
                f"the weights of {name!r} stopped being finite in the last step of epoch {epoch}. "
                f"The learning rate is probably too high: lr is {lr:g}; try {lr / 10:g}."
            )


def _make_optimizer(
    model: nn.Module, name: str, lr: float | None, momentum: float, weight_decay: float
) -> tuple[torch.optim.Optimizer, float]:
    """The optimizer of the trainable weights, which must be finite, and its learning rate."""
    check_choice("optimizer", name, ["sgd", "adam"])
    lr = {"sgd": 0.1, "adam": 0.001}[name] if lr is None else check_positive("lr", lr)
    check_fraction("momentum", momentum, closed=False)
    check_positive("weight_decay", weight_decay, allow_zero=True)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not weights:
        raise ValueError(
            f"model must have a parameter that requires a gradient; got a {type(model).__name__} "
            "without one."
        )
    for key, parameter in model.named_parameters():
        check_finite(f"model parameter {key!r}", parameter.detach())
    if name == "sgd":
        return torch.optim.SGD(weights, lr=lr, momentum=momentum, weight_decay=weight_decay), lr
    if momentum:
        raise ValueError(f"momentum must be 0 with optimizer='adam'; got {momentum}.")
    return torch.optim.Adam(weights, lr=lr, weight_decay=weight_decay), lr
