"""Recording the weights of a network while any PyTorch loop trains it."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import Optimizer

from causalprune_lib._validation import check_choice, check_fraction, check_int
from causalprune_lib.dynamics.listening import StepListener, WeightReader
from causalprune_lib.dynamics.losses import StepLosses, as_number
from causalprune_lib.dynamics.probes import undisturbed
from causalprune_lib.dynamics.room import Bytes, check_room
from causalprune_lib.dynamics.rows import DiskRows, MemoryRows
from causalprune_lib.dynamics.storage import (
    Stored,
    check_index,
    prepare_folder,
    recording_bytes,
    start_folder,
    write_meta,
)
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout


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
            check_room(what, needed, None)
            rows = None if self._steps is None else self._steps // self._every + 1
            self._rows = MemoryRows(self.width, self._dtype, rows)
        else:
            freed = prepare_folder(self._path, overwrite=self._overwrite)
            check_room(what, needed, self._path, freed=freed)
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
