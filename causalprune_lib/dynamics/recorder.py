"""Recording the weights of a network while any PyTorch loop trains it."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from causalprune_lib._memory import Bytes, check_fits
from causalprune_lib._validation import check_choice, check_fraction, check_int
from causalprune_lib.dynamics.trajectory import (
    DiskRows,
    MemoryRows,
    Stored,
    Trajectory,
    check_index,
    prepare_folder,
    recording_bytes,
    start_folder,
    write_meta,
)
from causalprune_lib.nets.parameters import ParameterLayout

# ---- probes: Looking at a network in mid-training without leaving a trace.


@contextmanager
def undisturbed(model: nn.Module, *, batch_statistics: bool = True) -> Iterator[nn.Module]:
    """Switch the noise of `model` off for a block, and leave no trace in it afterwards.

    Within the block every module is in evaluation mode, so dropout passes everything. No gradient
    is taken and autocast is off, so that two calls differ in nothing but the weights. Afterwards
    each module is back in its own mode, and running statistics and the states of torch's random
    generators are as they were, also when the block raises.

    Parameters
    ----------
    model : nn.Module
        The network to look at.
    batch_statistics : bool
        How batch normalisation works in the block. True: by the statistics of the batch, which is
        the function that a training step descends (a frozen layer, in evaluation mode, keeps its
        running statistics). False: by the running statistics, which is the network as it is used.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    >>> x = torch.randn(8, 2)
    >>> with undisturbed(model):
    ...     same = torch.equal(model(x), model(x))
    >>> same, model.training, model[1].num_batches_tracked.item()
    (True, True, 0)
    """
    modules = list(model.modules())
    modes = [module.training for module in modules]
    norms = [
        (module, module.running_mean, module.running_var)
        for module in modules
        if batch_statistics and isinstance(module, _BatchNorm) and module.training
    ]
    devices = {parameter.device for parameter in model.parameters()} - {torch.device("cpu")}
    kind = next(iter(devices)).type if devices else "cpu"
    forked = {"devices": sorted(d.index or 0 for d in devices)}
    if devices:
        forked["device_type"] = kind
    try:
        for module in modules:
            module.training = False
        for module, _, _ in norms:  # without running statistics a layer uses those of the batch
            module.running_mean = module.running_var = None
        with (
            torch.no_grad(),
            torch.random.fork_rng(**forked),
            torch.autocast(kind, enabled=False),
        ):
            yield model
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for module, mean, variance in norms:
            module.running_mean, module.running_var = mean, variance


# ---- listening: Hearing the steps of optimizers, and reading the weights that they move.


class WeightReader:
    """Copies the chosen weights of a model into a row, straight from where they are.

    A pruned tensor (`torch.nn.utils.prune`) is read as the network uses it: `weight_orig` times
    `weight_mask`. Masks may be applied or removed between two reads.

    Parameters
    ----------
    model : nn.Module
        The network to read.
    layout : ParameterLayout
        Where each weight stands in the flat order.
    index : array (P,) of int, optional
        Increasing flat indices of the weights to read; default all.
    """

    def __init__(
        self, model: nn.Module, layout: ParameterLayout, index: np.ndarray | None = None
    ) -> None:
        self._slots = []  # (owning module, attribute, place in the row, positions in the tensor)
        for name in layout.names:
            owner, _, leaf = name.rpartition(".")
            span, inside = layout.span(name), None
            if index is not None:
                low, high = np.searchsorted(index, [span.start, span.stop])
                inside = torch.from_numpy(index[low:high] - span.start)
                span = slice(int(low), int(high))
            if span.stop > span.start:
                self._slots.append((model.get_submodule(owner), leaf, span, inside))
        for values, _ in self._tensors():
            if not values.is_floating_point():
                raise TypeError(f"weights must be floating point; got a tensor of {values.dtype}.")

    def _tensors(self) -> list[tuple[nn.Parameter, torch.Tensor | None]]:
        found = []
        for owner, leaf, _, _ in self._slots:
            mask = getattr(owner, f"{leaf}_mask", None)
            found.append((getattr(owner, leaf if mask is None else f"{leaf}_orig"), mask))
        return found

    def parameters(self) -> list[nn.Parameter]:
        """The trainable tensors that hold the weights which are read."""
        return [values for values, _ in self._tensors()]

    @torch.no_grad()
    def read_into(self, row: torch.Tensor) -> None:
        """Write the weights into `row` (P,), which may lie on another device."""
        for (values, mask), (_, _, place, inside) in zip(self._tensors(), self._slots, strict=True):
            target = row[place]
            if inside is None:
                target = target.view(values.shape)
            else:
                inside = inside.to(values.device)
                values = torch.take(values, inside)
                mask = None if mask is None else torch.take(mask, inside)
            target.copy_(values if mask is None else values * mask)


class StepListener:
    """Calls `on_step` after each step of an optimizer that holds one of the weights read.

    A step is one call of `step()` that comes to its end. A call that raises is none, and neither
    is one that a gradient scaler made do nothing, because of an infinite gradient. An optimizer
    that wraps another makes one step, not two.

    Parameters
    ----------
    reader : WeightReader
        Names the parameters whose optimizers count.
    on_step : callable
        Called without arguments when a step has ended.
    optimizer : torch.optim.Optimizer, optional
        Count the steps of this one only.

    Attributes
    ----------
    begun : int
        How many steps have begun, ended or not.
    """

    def __init__(
        self,
        reader: WeightReader,
        on_step: Callable[[], None],
        *,
        optimizer: Optimizer | None = None,
    ) -> None:
        self._reader, self._on_step, self._only = reader, on_step, optimizer
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._open: list[Optimizer] = []  # optimizers whose step() is running, outermost first
        self.begun = 0

    @property
    def inside(self) -> bool:
        """Whether a step is running now, so that a closure may be the caller."""
        return bool(self._open)

    def start(self) -> None:
        """Begin to listen."""
        self._handles = [
            register_optimizer_step_pre_hook(self._before),
            register_optimizer_step_post_hook(self._after),
        ]

    def stop(self) -> None:
        """Stop listening; the hooks are gone afterwards."""
        while self._handles:
            self._handles.pop().remove()

    def _concerns(self, optimizer: Optimizer) -> bool:
        if self._only is not None:
            return optimizer is self._only
        read = {id(parameter) for parameter in self._reader.parameters()}
        return any(id(p) in read for group in optimizer.param_groups for p in group["params"])

    def _before(self, optimizer: Optimizer, *_: object) -> None:
        if not self._concerns(optimizer):
            return
        self._forget(optimizer)  # its last step raised, if it is still there
        while self._open and not _is_running(self._open[-1]):
            self._open.pop()
        if not self._open:
            self.begun += 1
        self._open.append(optimizer)

    def _after(self, optimizer: Optimizer, *_: object) -> None:
        if not any(optimizer is other for other in self._open):
            return
        self._forget(optimizer)
        skipped = getattr(optimizer, "found_inf", None)  # set by a scaler of a fused optimizer
        if not self._open and not (skipped is not None and bool(skipped)):
            self._on_step()

    def _forget(self, optimizer: Optimizer) -> None:
        for position, other in enumerate(self._open):
            if other is optimizer:
                del self._open[position:]
                return


def _is_running(optimizer: Optimizer) -> bool:
    """Whether a method of `optimizer` is on the call stack: it may have raised and been caught."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_locals.get("self") is optimizer:
            return True
        frame = frame.f_back
    return False


# ---- losses: The loss of each step's batch, before and after the step: logged by the loop, or me


class StepLosses:
    """Keeps the loss that belongs to the coming step, until that step has been made.

    A closure may run many times within one step, and only its first run sees the weights before
    the step: what it announces or logs later in the same step is left out.

    Parameters
    ----------
    model : nn.Module
        The network whose loss is measured.
    listener : StepListener
        Knows whether a step is running.
    probe : callable, optional
        `probe(model, *batch) -> loss`.
    reuse : bool
        Measure the loss after the step only; the one before is logged.
    """

    def __init__(
        self,
        model: nn.Module,
        listener: StepListener,
        probe: Callable[..., torch.Tensor] | None = None,
        *,
        reuse: bool = False,
    ) -> None:
        if reuse and probe is None:
            raise ValueError("reuse_loss needs a probe; got none.")
        self._model, self._listener, self._probe, self._reuse = model, listener, probe, reuse
        self._loss, self._batch = math.nan, None
        self._seen: dict[str, int] = {}  # how many steps had begun when a batch or loss last came

    def announce(self, batch: tuple, *, due: bool) -> None:
        """Take the batch of the coming step, and measure its loss now if that step is `due`."""
        if self._probe is None:
            raise RuntimeError("batch(...) needs a probe; pass probe= to the recorder.")
        if self._early("batch"):
            self._batch = batch
            if not self._reuse:
                self._loss = self._measure(batch) if due else math.nan

    def log(self, loss: object) -> None:
        """Take the loss of the coming step as the loop computed it."""
        if self._probe is not None and not self._reuse:
            raise ValueError(
                "loss must not be logged where a probe measures it; got both. With "
                "reuse_loss=True the probe measures the loss after the step only."
            )
        if "loss" not in self._seen and self._listener.begun > self._listener.inside:
            warnings.warn(
                "The first loss came after the first step and is booked for the coming one. "
                'If it belongs to the step just made, pass step="last".',
                stacklevel=3,
            )
        if self._early("loss"):
            self._loss = as_number("loss", loss)

    def take(self, *, due: bool) -> tuple[float, float]:
        """Loss before and after the step that has just been made; NaN where it is not known.

        Raises
        ------
        RuntimeError
            There is a probe, and no batch has ever been announced.
        """
        if self._probe is not None and "batch" not in self._seen:
            raise RuntimeError("probe needs recorder.batch(...) before each step; none has come.")
        loss, batch = self._loss, self._batch
        self._loss, self._batch = math.nan, None
        return loss, self._measure(batch) if due and batch is not None else math.nan

    def _early(self, what: str) -> bool:
        early = not self._listener.inside or self._seen.get(what) != self._listener.begun
        self._seen[what] = self._listener.begun
        return early

    def _measure(self, batch: tuple) -> float:
        with undisturbed(self._model):
            return as_number("probe", self._probe(self._model, *batch))


def as_number(name: str, value: object) -> float:
    """A float from a number or from a tensor of one element."""
    try:
        return float(value.detach() if isinstance(value, torch.Tensor) else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must give one number; got {value!r}.") from error


# ---- recorder: Recording the weights of a network while any PyTorch loop trains it.


class TrajectoryRecorder:
    """Records the weights, the losses and the error rate of `model` during a `with` block.

    Row 0 holds the initial weights; each step of an optimizer that holds recorded weights adds a
    row. With two optimizers over one model each `step()` is a step: name the one that ends a round
    as `optimizer` to count rounds. A loop without an optimizer calls `recorder.step()` instead.

    Losses come in one of two ways. `log(loss=...)` books the loss that the loop has computed
    anyway. A `probe` measures the loss of each batch before and after its step, with dropout off
    and no trace in the training (see `undisturbed`), at the price of two forward passes.

    Parameters
    ----------
    model : nn.Module
        The network; its own loop trains it.
    every : int
        Record each `every`-th step. Values logged for the steps between are dropped.
    which : {"prunable", "all"}
        Which parameters; see `ParameterLayout.of`.
    indices : sequence of int, optional
        Increasing flat indices of the weights to record; default all of them.
    path : path, optional
        A new folder to record into, where rows are safe from the death of the process. Default:
        in memory.
    steps : int, optional
        How many steps will come. Room for them is then checked at the start. More may come.
    overwrite : bool
        Replace a recording at `path`.
    probe : callable, optional
        `probe(model, *batch) -> loss`, called with what `batch(...)` was given.
    reuse_loss : bool
        With a probe: take the loss before the step from `log(loss=...)`, as the training pass
        computed it. This saves one forward pass, and is right where training adds no noise.
    error_probe : callable, optional
        `error_probe(model) -> error rate` in [0, 1], called in evaluation mode on the weights of
        row 0 and of every `error_every`-th step. Other rows hold NaN.
    error_every : int, optional
        A multiple of `every`, which is the default.
    optimizer : torch.optim.Optimizer, optional
        Count the steps of this optimizer only.

    Raises
    ------
    OSError, MemoryError
        On entering: the disk or the memory is too small for `steps` steps, by how much, before
        anything is written. Later: it is full; the rows recorded so far are kept.
    FileExistsError
        On entering: `path` holds something.

    Notes
    -----
    Rows are float64 where a recorded weight is, and float32 otherwise. A diverging run is recorded
    as it is; `Trajectory.finite` says up to where the weights are numbers.

    In Lightning, call `recorder.batch(*batch)` in a callback's `on_train_batch_start`, or
    `recorder.log(loss=loss)` in its `on_before_backward`, and `trainer.fit` in the `with` block.
    With Hugging Face's `Trainer`, override `training_step(self, model, inputs, *rest)` and call
    there `recorder.batch(self._prepare_inputs(inputs))`, or `recorder.log(loss=...)` with what the
    overridden method returns. With gradient accumulation the last batch before the step counts.

    Examples
    --------
    >>> model = nn.Linear(3, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> mse = lambda model, x, y: nn.functional.mse_loss(model(x), y)
    >>> with TrajectoryRecorder(model, probe=mse) as recorder:
    ...     for x, y in [(torch.ones(8, 3), torch.zeros(8, 1))] * 5:
    ...         recorder.batch(x, y)
    ...         optimizer.zero_grad()
    ...         mse(model, x, y).backward()
    ...         optimizer.step()
    >>> recorder.trajectory()
    Trajectory(6 rows, steps 0..5, 3 of 3 weights, float32, 72 bytes, 5 losses, no errors)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 1,
        which: str = "prunable",
        indices: object | None = None,
        path: str | os.PathLike | None = None,
        steps: int | None = None,
        overwrite: bool = False,
        probe: Callable[..., torch.Tensor] | None = None,
        reuse_loss: bool = False,
        error_probe: Callable[[nn.Module], float] | None = None,
        error_every: int | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        self.layout = ParameterLayout.of(model, which=which)
        self._index = None
        if indices is not None:
            self._index = check_index("indices", indices, self.layout.size)
        self.width = self.layout.size if self._index is None else len(self._index)  # P
        self._model, self._every = model, check_int("every", every)
        self._path = None if path is None else Path(path)
        self._steps = None if steps is None else check_int("steps", steps, minimum=0)
        self._overwrite, self._error_probe = overwrite, error_probe
        self._error_every = check_int("error_every", every if error_every is None else error_every)
        if error_every is not None and error_probe is None:
            raise ValueError("error_every needs an error_probe; got none.")
        if self._error_every % self._every:
            raise ValueError(f"error_every must be a multiple of every={every}; got {error_every}.")
        self._reader = WeightReader(model, self.layout, self._index)
        self._listener = StepListener(self._reader, self.step, optimizer=optimizer)
        self._losses = StepLosses(model, self._listener, probe, reuse=reuse_loss)
        kinds = {parameter.dtype for parameter in self._reader.parameters()}
        self._dtype = np.dtype(np.float64 if torch.float64 in kinds else np.float32)
        self._rows: MemoryRows | DiskRows | None = None
        self._open = self._complete = False
        self._count = self._last = self._recorded = 0  # steps seen, step of the last row, rows

    def estimate(self, steps: int) -> Bytes:
        """Bytes that a recording of `steps` steps takes; prints as, say, `1.69 GB`."""
        rows = check_int("steps", steps, minimum=0) // self._every + 1
        return recording_bytes(rows, self.width, self._dtype, indexed=self._index is not None)

    def __enter__(self) -> TrajectoryRecorder:
        if self._rows is not None:
            raise RuntimeError("A recorder records once; make a new TrajectoryRecorder.")
        what = "Recording" if self._steps is None else f"Recording {self._steps} steps"
        what += f" of {self.width:,} weights"
        needed = self.estimate(self._steps or 0)
        if self._path is None:
            check_fits(what, needed, None)
            rows = None if self._steps is None else self._steps // self._every + 1
            self._rows = MemoryRows(self.width, self._dtype, rows)
        else:
            freed = prepare_folder(self._path, overwrite=self._overwrite)
            check_fits(what, needed, self._path, freed=freed)
            start_folder(self._path, self.layout, self._dtype, self._index)
            self._rows = DiskRows(self._path, self.width, self._dtype)
        try:
            self._record(math.nan, math.nan)
        except Exception:
            self._rows.close()
            raise
        self._open = True
        self._listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._listener.stop()
        self._open = False
        self._rows.close()
        self._complete = kind is None
        if self._complete and self._path is not None:
            write_meta(self._path, self.layout, self._dtype, self._index, rows=self._recorded)
        if self._complete and not self._count:
            message = "No optimizer step of this model was seen: only its initial weights are kept"
            warnings.warn(f"{message}. Without an optimizer, call recorder.step().", stacklevel=2)

    def batch(self, *batch: object) -> None:
        """Announce the batch of the coming step: the probe measures its loss now and after it."""
        self._must_be_open()
        self._losses.announce(batch, due=(self._count + 1) % self._every == 0)

    def log(
        self,
        *,
        loss: object | None = None,
        loss_after: object | None = None,
        error: object | None = None,
        step: str = "next",
    ) -> None:
        """Book values that the loop has computed.

        Parameters
        ----------
        loss : float or tensor of one element, optional
            Loss of a batch before its step. The step is the coming one, so log before
            `optimizer.step()` or inside its closure; with `step="last"` it is the one just made.
        loss_after : float or tensor, optional
            Loss of the same batch after the step just made.
        error : float, optional
            Error rate in [0, 1] of the weights as they are now.
        step : {"next", "last"}
            Which step `loss` belongs to.
        """
        self._must_be_open()
        check_choice("step", step, ["next", "last"])
        if error is not None:
            self._amend("error", check_fraction("error", as_number("error", error)))
        if loss_after is not None:
            self._amend("loss_after", as_number("loss_after", loss_after))
        if loss is not None and step == "last":
            self._amend("loss_before", as_number("loss", loss))
        elif loss is not None:
            self._losses.log(loss)

    def step(self) -> None:
        """Count one step. Optimizers do this by themselves; a loop without one calls it."""
        self._must_be_open()
        self._count += 1
        due = self._count % self._every == 0
        losses = self._losses.take(due=due)
        if due:
            self._record(*losses)

    def trajectory(self) -> Trajectory:
        """What has been recorded so far; of a recording on disk, a memory map."""
        if self._rows is None:
            raise RuntimeError("Nothing is recorded yet; use the recorder in a with block.")
        if self._path is not None:
            return Trajectory.load(self._path)
        weights, columns = self._rows.arrays()
        return Trajectory.of(Stored(weights, columns, self._index, self.layout, self._complete))

    def _record(self, loss_before: float, loss_after: float) -> None:
        error = math.nan
        if self._error_probe is not None and self._count % self._error_every == 0:
            with undisturbed(self._model, batch_statistics=False):
                error = as_number("error_probe", self._error_probe(self._model))
            check_fraction("The value of error_probe", error)
        self._reader.read_into(torch.from_numpy(self._rows.next_row()))
        self._rows.commit(self._count, loss_before, loss_after, error)
        self._last, self._recorded = self._count, self._recorded + 1

    def _amend(self, column: str, value: float) -> None:
        if self._last == self._count:  # the step just made has a row
            self._rows.amend(column, value)

    def _must_be_open(self) -> None:
        if not self._open:
            raise RuntimeError("The recorder works inside its with block only.")
