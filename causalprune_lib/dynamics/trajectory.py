"""A recorded walk of a network's weights through training.

Row 0 holds the initial weights, theta^0. Row t holds the weights after step number `steps[t]`, with
the loss of that step's batch before and after it. So increment t, from row t to row t + 1, belongs
to `loss_before[t + 1]` and `loss_after[t + 1]`. `recorder` makes trajectories from a training loop,
`storage` describes their files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from causalprune_lib._validation import check_int, check_shape
from causalprune_lib.dynamics.room import Bytes
from causalprune_lib.dynamics.rows import COLUMNS
from causalprune_lib.dynamics.storage import (
    Stored,
    as_array,
    check_index,
    read_folder,
    write_folder,
)
from causalprune_lib.nets.parameters import ParameterLayout

CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """The weights of one network at T moments of its training.

    The stored columns are NumPy arrays that cannot be written to; those of a recording on disk
    are memory maps, read only where they are touched. What the methods hand out for computing is
    a fresh tensor.

    Parameters
    ----------
    steps : array (T,) of int
        Number of optimizer steps taken at each row; increasing. A recording starts at 0.
    weights : array (T, P) of float32 or float64
        The weights after `steps[t]` steps.
    layout : ParameterLayout
        Names and shapes of the parameters that the flat indices refer to.
    loss_before, loss_after : array (T,), optional
        Loss of the batch used in step `steps[t]`, before and after that step. NaN in row 0 and
        wherever none was logged.
    error : array (T,), optional
        Error rate of the weights of row t, in [0, 1]. NaN wherever none was logged.
    index : array (P,) of int, optional
        Flat index in `layout` of each recorded weight. Default: every weight, 0..P-1.
    complete : bool
        False for a recording that was killed or that ended in an error. Its rows are whole.

    Examples
    --------
    >>> from torch import nn
    >>> layout = ParameterLayout.of(nn.Linear(2, 1))
    >>> walk = Trajectory([0, 1, 2], torch.tensor([[0.0, 1.0], [0.5, 1.0], [0.5, 3.0]]), layout)
    >>> walk.movement()
    tensor([0.2500, 4.0000], dtype=torch.float64)
    >>> walk
    Trajectory(3 rows, steps 0..2, 2 of 2 weights, float32, 24 bytes, no losses, no errors)
    """

    steps: np.ndarray
    weights: np.ndarray
    layout: ParameterLayout
    loss_before: np.ndarray | None = None
    loss_after: np.ndarray | None = None
    error: np.ndarray | None = None
    index: np.ndarray | None = None
    complete: bool = True

    def __post_init__(self) -> None:
        weights = as_array(self.weights)
        check_shape("weights", weights, (None, self.layout.size if self.index is None else None))
        rows, width = weights.shape
        if weights.dtype not in (np.float32, np.float64):
            raise TypeError(f"weights must be float32 or float64; got {weights.dtype}.")
        index = np.arange(self.layout.size) if self.index is None else self.index
        columns = {"weights": weights, "index": check_index("index", index, self.layout.size)}
        check_shape("index", columns["index"], (width,))
        columns["steps"] = steps = as_array(self.steps)
        if rows == 0 or steps.dtype.kind not in "iu" or (np.diff(steps) <= 0).any():
            raise ValueError(f"steps must be one or more increasing whole numbers; got {steps}.")
        for name in ("loss_before", "loss_after", "error"):
            given = getattr(self, name)
            columns[name] = np.full(rows, np.nan) if given is None else as_array(given) * 1.0
        for name, values in columns.items():
            if name not in ("weights", "index"):
                check_shape(name, values, (rows,))
            view = values.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        """T, the number of rows."""
        return len(self.steps)

    def __repr__(self) -> str:
        losses, errors = (int(np.isfinite(x).sum()) for x in (self.loss_before, self.error))
        parts = [
            f"{len(self)} rows",
            f"steps {self.steps[0]}..{self.steps[-1]}",
            f"{self.weights.shape[1]:,} of {self.layout.size:,} weights",
            str(self.weights.dtype),
            str(Bytes(self.weights.nbytes)),
            f"{losses or 'no'} losses",
            f"{errors or 'no'} errors",
            *([] if self.complete else ["unfinished"]),
        ]
        return f"Trajectory({', '.join(parts)})"

    def at(self, step: int) -> torch.Tensor:
        """The weights (P,) after `step` steps: a copy, for instance to rewind a network.

        `layout.load(model, trajectory.at(0))` restores the initial weights where all of them
        were recorded.
        """
        row = int(np.searchsorted(self.steps, step))
        if row == len(self) or self.steps[row] != step:
            nearest = self.steps[np.abs(self.steps - step).argmin()]
            raise ValueError(f"step must be a recorded one; got {step}, the nearest is {nearest}.")
        return torch.from_numpy(np.array(self.weights[row]))

    def window(self, first: int, last: int) -> Trajectory:
        """The rows with `first <= step <= last`, without copying the weights."""
        low, high = np.searchsorted(self.steps, [first, last + 1])
        if low >= high:
            raise ValueError(
                f"first..last must hold a recorded step in {self.steps[0]}..{self.steps[-1]}; "
                f"got {first}..{last}."
            )
        names = ("steps", "weights", "loss_before", "loss_after", "error")
        part = {name: getattr(self, name)[low:high] for name in names}
        return Trajectory(**part, layout=self.layout, index=self.index, complete=self.complete)

    def sliding_windows(self, size: int, *, stride: int = 1) -> np.ndarray:
        """Windows (W, P, size) of `size` successive rows, `stride` rows apart; a view, no copy.

        Window w holds the rows `w * stride` to `w * stride + size - 1`. W is
        `(T - size) // stride + 1`.
        """
        size, stride = check_int("size", size), check_int("stride", stride)
        if size > len(self):
            raise ValueError(f"size must be at most T = {len(self)} rows; got {size}.")
        return np.lib.stride_tricks.sliding_window_view(self.weights, size, axis=0)[::stride]

    def iter_weights(self, *, max_bytes: int = CHUNK_BYTES) -> Iterator[tuple[slice, torch.Tensor]]:
        """Weights in order: pairs of a slice of 0..P-1 and its series (T, p), a copy.

        A chunk has at most `max_bytes` bytes, or one series where a series is larger.
        """
        series = len(self) * self.weights.itemsize
        size = max(1, check_int("max_bytes", max_bytes) // series)
        for start in range(0, self.weights.shape[1], size):
            part = slice(start, min(start + size, self.weights.shape[1]))
            yield part, torch.from_numpy(np.array(self.weights[:, part]))

    def iter_increments(
        self, *, max_bytes: int = CHUNK_BYTES
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """Increments in order: pairs of a slice of 0..T-2 and its rows (t, P) of `increments`.

        A chunk has at most `max_bytes` bytes, or one row where a row is larger.
        """
        size = max(1, check_int("max_bytes", max_bytes) // self.weights[0].nbytes)
        for start in range(0, len(self) - 1, size):
            rows = slice(start, min(start + size, len(self) - 1))
            yield rows, torch.from_numpy(np.diff(self.weights[start : rows.stop + 1], axis=0))

    def increments(self) -> torch.Tensor:
        """All increments (T-1, P), `theta^t - theta^(t-1)`, in the type of the weights.

        Row t leads from row t to row t + 1: over one step, or k where every k-th was recorded.
        This takes as much memory as the weights; `iter_increments` does not.
        """
        return torch.from_numpy(np.diff(self.weights, axis=0))

    def movement(self, *, max_bytes: int = CHUNK_BYTES) -> torch.Tensor:
        """Sum of squared increments of each weight, `sum_t (theta^t - theta^(t-1))^2`.

        Differences, squares and sums are taken in float64, on blocks of about `max_bytes` bytes.

        Returns
        -------
        tensor (P,) of float64
            In squared units of the weights; zeros where only one row was recorded.

        Raises
        ------
        ValueError
            A weight is NaN or infinite; the message names the first such step.
        """
        check_int("max_bytes", max_bytes)
        total = np.zeros(self.weights.shape[1])
        width = max(1, min(len(total), max_bytes // 32))  # two rows, their difference and the sum
        size = max(1, max_bytes // (32 * width))
        for left in range(0, len(total), width):
            part = slice(left, left + width)
            for start in range(0, len(self) - 1, size):
                block = self.weights[start : start + size + 1, part].astype(np.float64)
                with np.errstate(invalid="ignore", over="ignore"):
                    change = np.diff(block, axis=0)
                    total[part] += np.einsum("tp,tp->p", change, change)
        if not np.isfinite(total).all() and not self.finite.all():
            row = int(np.argmin(self.finite))
            column = int(np.argmin(np.isfinite(self.weights[row])))
            name, position = self.layout.locate(int(self.index[column]))
            raise ValueError(
                f"weights must be finite to sum their movement; the first NaN or infinity is in "
                f"{name}{list(position)} after step {self.steps[row]}. "
                "`window(first, last)` gives the part before it."
            )
        return torch.from_numpy(total)

    @cached_property
    def finite(self) -> np.ndarray:
        """Whether all weights of a row are finite, (T,) of bool."""
        return np.array([bool(np.isfinite(row).all()) for row in self.weights])

    def save(self, path: str | os.PathLike, *, overwrite: bool = False) -> None:
        """Write the trajectory to the new folder `path`, in the format described in `storage`.

        Raises FileExistsError where there is something at `path` (a recording is replaced with
        `overwrite=True`), and OSError where the disk is too small, with nothing written.
        """
        columns = np.empty(len(self), COLUMNS)
        columns["step"] = self.steps
        for name in ("loss_before", "loss_after", "error"):
            columns[name] = getattr(self, name)
        index = None if len(self.index) == self.layout.size else self.index
        stored = Stored(self.weights, columns, index, self.layout, self.complete)
        write_folder(Path(path), stored, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Trajectory:
        """Open the recording in the folder `path`; the weights stay on disk until they are used.

        A recording that was killed is read up to its last whole row, with `complete` false. Raises
        FileNotFoundError where there is none, and ValueError naming a damaged or truncated file.
        """
        return cls.of(read_folder(Path(path)))

    @classmethod
    def of(cls, stored: Stored) -> Trajectory:
        """The trajectory of what a folder or a recorder holds."""
        columns = {name: stored.columns[name] for name in ("loss_before", "loss_after", "error")}
        columns |= {"index": stored.index, "complete": stored.complete}
        return cls(stored.columns["step"], stored.weights, stored.layout, **columns)
