"""Recording the weights of a network while any PyTorch loop trains it, in memory or on disk.

`StepListener` hears the optimizers' steps and knows the losses; a recorder keeps what it hears. The
result is a `Trajectory`, and `trajectory` has the format of a recording on disk.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from causalprune_lib._memory import Bytes, check_fits
from causalprune_lib._validation import check_fraction, check_int
from causalprune_lib.dynamics.listener import StepListener, as_number
from causalprune_lib.dynamics.trajectory import (
    CHUNK_BYTES,
    HEADER_BYTES,
    STEP,
    FolderWriter,
    Trajectory,
    check_index,
)
from causalprune_lib.nets.parameters import ParameterLayout


class TrajectoryRecorder:
    """Records the weights, the losses and the error rate of `model` during a `with` block.

    Row 0 holds the initial weights; each step of an optimizer that holds recorded weights adds a
    row. A loop without an optimizer calls `recorder.step()` instead. Rows are float64 where a
    recorded weight is, and float32 otherwise; a diverging run is recorded as it is.

    Losses come in one of two ways. `log(loss=...)` takes the loss that the loop has computed
    anyway. A `probe` measures the loss of each batch before and after its step, with dropout off
    and no trace in the training (see `undisturbed`), at the price of two forward passes. With
    gradient accumulation the last batch before the step counts.

    In Lightning, call `recorder.batch(*batch)` in a callback's `on_train_batch_start`, or
    `recorder.log(loss=loss)` in its `on_before_backward`. With Hugging Face's `Trainer`, override
    `training_step(self, model, inputs, *rest)` and call there
    `recorder.batch(self._prepare_inputs(inputs))`, or log what the overridden method returns.

    Parameters
    ----------
    model, which : nn.Module, {"prunable", "all"}
        The network, which its own loop trains, and which parameters (see `ParameterLayout.of`).
    every : int
        Record each `every`-th step. Values logged for the steps between are dropped.
    indices : sequence of int, optional
        Increasing flat indices of the weights to record; default all of them.
    path : path, optional
        A new folder, where rows are safe from the death of the process. Default: in memory.
    steps : int, optional
        How many steps will come. Space for them is then checked at the start. More may come.
    probe : callable, optional
        `probe(model, *batch) -> loss`, called with what `batch(...)` was given.
    reuse_loss : bool
        With a probe: take the loss before the step from `log(loss=...)`, as the training pass
        computed it. This saves one forward pass, and is right where training adds no noise.
    optimizer : torch.optim.Optimizer, optional
        Count the steps of this one only, where several optimizers make one round.

    Raises
    ------
    OSError, MemoryError
        On entering: the disk or the memory is too small for `steps` steps, by how much, or `path`
        holds something; nothing has been written. Later: it is full; the rows so far are kept.

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
        probe: Callable[..., torch.Tensor] | None = None,
        reuse_loss: bool = False,
        optimizer: Optimizer | None = None,
    ) -> None:
        self.layout = ParameterLayout.of(model, which=which)
        size = self.layout.size
        self._index = None if indices is None else check_index("indices", indices, size)
        self.width = size if self._index is None else len(self._index)  # P
        self._every = check_int("every", every)
        self._path = None if path is None else Path(path)
        self._steps = None if steps is None else check_int("steps", steps, minimum=0)
        options = {"optimizer": optimizer, "probe": probe, "reuse_loss": reuse_loss}
        self._listener = StepListener(model, self.layout, self.step, index=self._index, **options)
        doubles = any(values.dtype == torch.float64 for values in self._listener.parameters())
        self._dtype = np.dtype(np.float64 if doubles else np.float32)
        self._store: _MemoryStore | FolderWriter | None = None
        self._open = self._complete = False
        self._count = self._last = 0  # steps made; that of the last row

    def estimate(self, steps: int) -> Bytes:
        """Bytes that a recording of `steps` steps takes; prints as, say, `1.69 GB`."""
        length = check_int("steps", steps, minimum=0) // self._every + 1
        row = self.width * self._dtype.itemsize + STEP.itemsize
        index = 0 if self._index is None else 8 * self.width + HEADER_BYTES
        return Bytes(length * row + 2 * HEADER_BYTES + index)

    def __enter__(self) -> TrajectoryRecorder:
        if self._store is not None:
            raise RuntimeError("A recorder records once; make a new TrajectoryRecorder.")
        path = self._path
        if path is not None and path.exists() and not (path.is_dir() and not any(path.iterdir())):
            held = "a recording" if (path / "meta.json").exists() else "something else"
            raise FileExistsError(f"path must be new or an empty folder; {path} holds {held}.")
        what = "Recording" if self._steps is None else f"Recording {self._steps} steps"
        needed = self.estimate(self._steps or 0)
        check_fits(f"{what} of {self.width:,} weights", needed, path)
        if path is None:
            expected = None if self._steps is None else self._steps // self._every + 1
            self._store = _MemoryStore(self.width, self._dtype, expected)
        else:
            self._store = FolderWriter(path, self.layout, self._dtype, self._index)
        try:
            self._record(math.nan, math.nan)
        except Exception:
            self._store.close(complete=False)
            raise
        self._open = True
        self._listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._listener.stop()
        self._open, self._complete = False, kind is None
        self._store.close(complete=self._complete)
        if self._complete and not self._count:
            message = "No optimizer step of this model was seen: only its initial weights are kept"
            warnings.warn(f"{message}. Without an optimizer, call recorder.step().", stacklevel=2)

    def batch(self, *batch: object) -> None:
        """Announce the batch of the coming step: the probe measures its loss now and after it."""
        self._must_be_open()
        self._listener.batch(batch, measure=(self._count + 1) % self._every == 0)

    def log(self, *, loss: object | None = None, error: float | None = None) -> None:
        """Take values that the loop has computed, as numbers or tensors of one element.

        `loss` is that of the coming step's batch: log it before `optimizer.step()` or in its
        closure. `error` is the error rate in [0, 1] of the weights as they are now.
        """
        self._must_be_open()
        if error is not None:
            error = check_fraction("error", as_number("error", error))
            if self._last == self._count:  # the weights as they are now have a row
                self._store.set_error(error)
        if loss is not None:
            self._listener.log(loss)

    def step(self) -> None:
        """Count one step. Optimizers do this by themselves; a loop without one calls it."""
        self._must_be_open()
        self._count += 1
        due = self._count % self._every == 0
        before, after = self._listener.loss_around_step(measure=due)
        if due:
            self._record(before, after)

    def trajectory(self) -> Trajectory:
        """What has been recorded so far; of a recording on disk, a memory map."""
        if self._store is None:
            raise RuntimeError("Nothing is recorded yet; use the recorder in a with block.")
        if self._path is not None:
            return Trajectory.load(self._path)
        weights, records = self._store.arrays()
        steps, *known = (records[name] for name in STEP.names)
        return Trajectory(steps, weights, self.layout, *known, self._index, self._complete)

    def _record(self, loss_before: float, loss_after: float) -> None:
        self._listener.read_into(torch.from_numpy(self._store.weights()))
        self._store.write(self._count, loss_before, loss_after, math.nan)
        self._last = self._count

    def _must_be_open(self) -> None:
        if not self._open:
            raise RuntimeError("The recorder works inside its with block only.")


class _MemoryStore:
    """A recording in memory, used like a `FolderWriter`; in one piece if `expected` rows come."""

    def __init__(self, width: int, dtype: np.dtype, expected: int | None) -> None:
        self._width, self._dtype = width, dtype
        self._ahead = max(1, CHUNK_BYTES // (width * dtype.itemsize))  # rows in a further piece
        self._records: list[tuple[float, ...]] = []
        self._pieces = [np.empty((expected or self._ahead, width), dtype)]
        self._free = len(self._pieces[0])  # rows of the last piece that are not yet used

    def weights(self) -> np.ndarray:
        """The memory (P,) of the coming row; filling it again before `write` is harmless."""
        if not self._free:
            needed = self._ahead * self._width * self._dtype.itemsize
            check_fits("Recording more steps than announced", needed, None)
            self._pieces.append(np.empty((self._ahead, self._width), self._dtype))
            self._free = self._ahead
        return self._pieces[-1][-self._free]

    def write(self, *record: float) -> None:
        """Make the filled row count."""
        self._records.append(record)
        self._free -= 1

    def set_error(self, error: float) -> None:
        """Set the error rate of the last row."""
        self._records[-1] = (*self._records[-1][:-1], error)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights (T, P) and records (T,). Pieces are joined, each let go as it is copied."""
        length = len(self._records)
        if len(self._pieces) > 1:
            joined, at = np.empty((length, self._width), self._dtype), 0
            while self._pieces:
                piece = self._pieces.pop(0)[: length - at]
                joined[at : at + len(piece)] = piece
                at += len(piece)
            self._pieces, self._free = [joined], 0
        return self._pieces[0][:length], np.array(self._records, dtype=STEP)

    def close(self, *, complete: bool) -> None:
        """Nothing to close in memory."""
