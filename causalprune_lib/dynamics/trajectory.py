"""A recorded walk of a network's weights through training, in memory or in a folder on disk.

Row 0 holds the initial weights, theta^0. Row t holds the weights after step number `steps[t]`, with
the loss of that step's batch before and after it. So increment t, from row t to row t + 1, belongs
to `loss_before[t + 1]` and `loss_after[t + 1]`. `recorder` makes trajectories from a training loop.

A folder holds plain NumPy files and one JSON file, so that it can be read without this library:

    weights.npy   (T, P) float32 or float64, one row per recorded step
    columns.npy   (T,) records: step, loss_before, loss_after, error
    index.npy     (P,) flat indices, only where a subset of the weights was recorded
    meta.json     names and shapes of the parameters, and whether the recording ended in order

A row counts once its record in columns.npy is whole. That record is written after the weights, so
a process killed at any moment leaves every finished step readable.
"""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from causalprune_lib._files import replacing
from causalprune_lib._memory import Bytes, available_disk
from causalprune_lib._validation import check_shape
from causalprune_lib.nets.parameters import ParameterLayout

STEP = np.dtype([("step", "<i8"), ("loss_before", "<f8"), ("loss_after", "<f8"), ("error", "<f8")])
FORMAT, VERSION = "causalprune trajectory", 1
HEADER_BYTES = 256  # of weights.npy and columns.npy, whatever their length
CHUNK_BYTES = 64 * 2**20  # of weights that are looked at in one go


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """The weights of one network at T moments of its training.

    The stored arrays cannot be written to; the weights of a recording on disk are a memory map,
    read only where they are touched. What the methods hand out is a fresh tensor.

    >>> from torch import nn
    >>> layout = ParameterLayout.of(nn.Linear(2, 1))
    >>> walk = Trajectory([0, 1, 2], torch.tensor([[0.0, 1.0], [0.5, 1.0], [0.5, 3.0]]), layout)
    >>> walk.movement()
    tensor([0.2500, 4.0000], dtype=torch.float64)
    >>> walk
    Trajectory(3 rows, steps 0..2, 2 of 2 weights, float32, 24 bytes, no losses, no errors)
    """

    steps: np.ndarray  # (T,) optimizer steps taken at each row, increasing; a recording starts at 0
    weights: np.ndarray  # (T, P) of float32 or float64, after so many steps
    layout: ParameterLayout  # what the flat indices refer to
    # Loss of the batch of step `steps[t]`, before and after it; NaN in row 0 and where not known.
    loss_before: np.ndarray | None = None  # (T,)
    loss_after: np.ndarray | None = None  # (T,)
    error: np.ndarray | None = None  # (T,) error rate of row t in [0, 1]; NaN where none was logged
    index: np.ndarray | None = None  # (P,) flat index of each recorded weight; default 0..P-1
    complete: bool = True  # False where the recording was killed or ended in an error

    def __post_init__(self) -> None:
        weights, steps = as_array(self.weights), as_array(self.steps)
        check_shape("weights", weights, (None, self.layout.size if self.index is None else None))
        length, width = weights.shape  # T, P
        if weights.dtype not in (np.float32, np.float64):
            raise TypeError(f"weights must be float32 or float64; got {weights.dtype}.")
        every = np.arange(self.layout.size)
        index = every if self.index is None else check_index("index", self.index, self.layout.size)
        check_shape("index", index, (width,))
        if length == 0 or steps.dtype.kind not in "iu" or (np.diff(steps) <= 0).any():
            raise ValueError(f"steps must be one or more increasing whole numbers; got {steps}.")
        per_row = {"steps": steps}
        for name in STEP.names[1:]:
            given = getattr(self, name)
            per_row[name] = np.full(length, np.nan) if given is None else as_array(given) * 1.0
        for name, values in per_row.items():
            check_shape(name, values, (length,))
        for name, values in {"weights": weights, "index": index, **per_row}.items():
            view = values.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        """T, the number of rows."""
        return len(self.steps)

    def __repr__(self) -> str:
        losses, errors = (int(np.isfinite(x).sum()) for x in (self.loss_before, self.error))
        return (
            f"Trajectory({len(self)} rows, steps {self.steps[0]}..{self.steps[-1]}, "
            f"{self.weights.shape[1]:,} of {self.layout.size:,} weights, {self.weights.dtype}, "
            f"{Bytes(self.weights.nbytes)}, {losses or 'no'} losses, {errors or 'no'} errors"
            f"{'' if self.complete else ', unfinished'})"
        )

    def at(self, step: int) -> torch.Tensor:
        """The weights (P,) after `step` steps: `layout.load(model, trajectory.at(0))` rewinds."""
        row = int(np.searchsorted(self.steps, step))
        if row == len(self) or self.steps[row] != step:
            nearest = self.steps[np.abs(self.steps - step).argmin()]
            raise ValueError(f"step must be a recorded one; got {step}, the nearest is {nearest}.")
        return torch.from_numpy(np.array(self.weights[row]))

    def increments(self) -> torch.Tensor:
        """All increments (T-1, P): number t leads from row t to row t + 1, over `every` steps."""
        return torch.from_numpy(np.diff(self.weights, axis=0))

    def movement(self) -> torch.Tensor:
        """Sum of squared increments of each weight, `sum_t (theta^t - theta^(t-1))^2`, (P,).

        In float64; zeros for a single row. A ValueError names the first weight that is not finite.
        """
        total = np.zeros(self.weights.shape[1])
        width = max(1, min(len(total), CHUNK_BYTES // 32))  # two rows, their difference and the sum
        height = max(1, CHUNK_BYTES // (32 * width))
        for left in range(0, len(total), width):
            part = slice(left, left + width)
            for start in range(0, len(self) - 1, height):
                some = self.weights[start : start + height + 1, part].astype(np.float64)
                with np.errstate(invalid="ignore", over="ignore"):
                    change = np.diff(some, axis=0)
                    total[part] += np.einsum("tp,tp->p", change, change)
        if not np.isfinite(total).all() and not self.finite.all():
            row = int(np.argmin(self.finite))
            k = int(np.argmin(np.isfinite(self.weights[row])))
            name, position = self.layout.locate(int(self.index[k]))
            raise ValueError(
                f"weights must be finite to sum their movement; the first NaN or infinity is in "
                f"{name}{list(position)} after step {self.steps[row]}."
            )
        return torch.from_numpy(total)

    @cached_property
    def finite(self) -> np.ndarray:
        """Whether all weights of a row are finite, (T,) of bool."""
        return np.array([bool(np.isfinite(row).all()) for row in self.weights])

    @classmethod
    def load(cls, path: str | os.PathLike) -> Trajectory:
        """Open the recording in the folder `path`; the weights stay on disk until they are used.

        A recording that was killed is read up to its last whole row, with `complete` false. A
        FileNotFoundError says that there is none, a ValueError which file is damaged.
        """
        path = Path(path)
        meta, layout, dtype = _read_meta(path / "meta.json")
        width, promised = meta["weights"], meta["rows"]
        row_bytes, whole = {"columns.npy": STEP.itemsize, "weights.npy": width * dtype.itemsize}, {}
        for name, size in row_bytes.items():  # the last row may be cut short
            held = (path / name).stat().st_size if (path / name).exists() else 0
            whole[name] = max(0, held - HEADER_BYTES) // size
        short = min(whole, key=whole.__getitem__)
        if whole[short] < (promised or 1):
            needed = promised or "at least 1"
            raise ValueError(f"{path / short} must hold {needed} rows; {whole[short]} are whole.")
        shape = (promised or whole[short], width)  # a killed recording's weights.npy may be longer
        weights = np.memmap(path / "weights.npy", dtype, "r", offset=HEADER_BYTES, shape=shape)
        records = np.fromfile(path / "columns.npy", STEP, count=shape[0], offset=HEADER_BYTES)
        index = np.load(path / "index.npy") if meta["subset"] else None
        steps, *known = (records[name] for name in STEP.names)
        return cls(steps, weights, layout, *known, index, meta["complete"])


def _read_meta(file: Path) -> tuple[dict, ParameterLayout, np.dtype]:
    """What meta.json says of a recording, with the layout of the network and the weights' type."""
    try:
        meta = json.loads(file.read_text())
        if (meta["format"], meta["version"]) != (FORMAT, VERSION):
            raise ValueError("it is of another kind")
        names, shapes = meta["layout"]["names"], meta["layout"]["shapes"]
        layout = ParameterLayout(tuple(names), tuple(torch.Size(shape) for shape in shapes))
        kept = {name: meta[name] for name in ("rows", "subset", "complete")}
        return kept | {"weights": int(meta["weights"])}, layout, np.dtype(meta["dtype"])
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"path must hold a recording; there is no meta.json in {file.parent}."
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file} is damaged; it must be whole and say {FORMAT!r}, version {VERSION}; got "
            f"{error!r}."
        ) from error


class FolderWriter:
    """Writes a recording to a folder: fill `weights()`, then `write` what belongs to them."""

    def __init__(
        self, path: Path, layout: ParameterLayout, dtype: np.dtype, index: np.ndarray | None
    ) -> None:
        width = layout.size if index is None else len(index)
        self._path, self._row, self._length = path, np.empty(width, dtype), 0
        self._meta = {
            "format": FORMAT,
            "version": VERSION,
            "complete": False,
            "rows": None,
            "dtype": self._row.dtype.str,
            "weights": width,
            "subset": index is not None,
            "layout": {"names": layout.names, "shapes": [list(shape) for shape in layout.shapes]},
        }
        path.mkdir(parents=True, exist_ok=True)
        if index is not None:
            np.save(path / "index.npy", index)
        self._write_meta()
        self._weights = _GrowingNpy(path / "weights.npy", self._row.dtype, (width,))
        self._records = _GrowingNpy(path / "columns.npy", STEP, ())

    def weights(self) -> np.ndarray:
        """The memory (P,) of the coming row; filling it again before `write` is harmless."""
        return self._row

    def write(self, step: int, loss_before: float, loss_after: float, error: float) -> None:
        """Write the filled row, then the record that makes it count."""
        self._record = np.array((step, loss_before, loss_after, error), dtype=STEP)
        self._weights.write(self._length, memoryview(self._row).cast("B"))
        self._records.write(self._length, self._record.tobytes())
        self._length += 1

    def set_error(self, error: float) -> None:
        """Set the error rate of the last row."""
        self._record["error"] = error
        self._records.write(self._length - 1, self._record.tobytes())

    def close(self, *, complete: bool) -> None:
        """Bring the data to the disk, and say whether the recording came to its end."""
        try:
            self._weights.close()
        finally:
            self._records.close()
        if complete:
            self._meta.update(complete=True, rows=self._length)
            self._write_meta()

    def _write_meta(self) -> None:
        with replacing(self._path / "meta.json") as draft:
            draft.write_text(json.dumps(self._meta, indent=1) + "\n")


class _GrowingNpy:
    """A `.npy` file that is whole after every row, because its header is rewritten each time.

    Space for rows of weights is reserved some rows ahead where the system can do that, which makes
    writing several times faster. `close` gives back what was not used.
    """

    def __init__(self, path: Path, dtype: np.dtype, row_shape: tuple[int, ...]) -> None:
        self._path, self._dtype, self._row_shape = path, dtype, row_shape
        self._row_bytes = dtype.itemsize * math.prod(row_shape)
        self._file = path.open("xb", buffering=0)
        self._length = 0
        ahead = bool(row_shape) and hasattr(os, "posix_fallocate")
        self._reserved = HEADER_BYTES if ahead else math.inf  # bytes from the start of the file
        self._put(0, self._header())

    def write(self, row: int, data: bytes | memoryview) -> None:
        """Write row number `row`, then the header that counts it."""
        offset = HEADER_BYTES + row * self._row_bytes
        if offset + self._row_bytes > self._reserved:
            ahead = self._row_bytes * max(1, min(16, CHUNK_BYTES // self._row_bytes))
            try:
                os.posix_fallocate(self._file.fileno(), self._reserved, ahead)
                self._reserved += ahead
            except OSError:  # cannot reserve here, or not that much: then write without
                self._reserved = math.inf
        self._put(offset, data)
        self._length = row + 1
        self._put(0, self._header())

    def close(self) -> None:
        """Bring the data to the disk and close the file."""
        with self._file:
            self._file.truncate(HEADER_BYTES + self._length * self._row_bytes)
            os.fsync(self._file.fileno())

    def _header(self) -> bytes:
        descr, shape = np.lib.format.dtype_to_descr(self._dtype), (self._length, *self._row_shape)
        text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
        body = text.encode("latin1").ljust(HEADER_BYTES - 11) + b"\n"
        return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body

    def _put(self, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            self._file.seek(offset)
            while view:  # a raw write may take less than it is given
                view = view[self._file.write(view) :]
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                errno.ENOSPC,
                f"The disk of {self._path} is full: a row needs {Bytes(self._row_bytes)} and "
                f"{available_disk(self._path)} are available. The {self._length} rows written so "
                "far are whole and readable.",
            ) from error


def check_index(name: str, values: object, size: int) -> np.ndarray:
    """Return `values` as flat indices (P,) of int64 if they increase strictly within 0..size-1."""
    index = as_array(values)
    if index.ndim != 1 or index.dtype.kind not in "iu" or len(index) == 0:
        raise TypeError(
            f"{name} must be one or more whole numbers, the flat indices of weights; got "
            f"shape {index.shape} of {index.dtype}."
        )
    index = index.astype(np.int64)
    if (np.diff(index) <= 0).any():
        raise ValueError(f"{name} must increase without repeats, as `sorted(set(...))` gives them.")
    if index[0] < 0 or index[-1] >= size:
        raise ValueError(
            f"{name} must lie in 0..{size - 1}, the weights of the model; got {index[0]}.."
            f"{index[-1]}."
        )
    return index


def as_array(values: object) -> np.ndarray:
    """A NumPy array from a tensor of any device, an array or a list."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    return np.asarray(values)
