"""A recorded walk of a network's weights through training.

Row 0 holds the initial weights, theta^0. Row t holds the weights after step number `steps[t]`, with
the loss of that step's batch before and after it. So increment t, from row t to row t + 1, belongs
to `loss_before[t + 1]` and `loss_after[t + 1]`. `recorder` makes trajectories from a training loop,
`storage` describes their files.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from causalprune_lib._files import replacing
from causalprune_lib._memory import Bytes, available_disk, check_fits
from causalprune_lib._validation import check_int, check_shape
from causalprune_lib.nets.parameters import ParameterLayout

# ---- rows: Rows of weights that grow while a network trains: in memory, or in a folder on disk.


COLUMNS = np.dtype(
    [("step", "<i8"), ("loss_before", "<f8"), ("loss_after", "<f8"), ("error", "<f8")]
)


HEADER_BYTES = 256  # of every file written here, whatever its length


BLOCK_BYTES = 64 * 2**20


class MemoryRows:
    """Rows in blocks of memory; one block where the number of rows was announced."""

    def __init__(self, width: int, dtype: np.dtype, rows: int | None = None) -> None:
        self._width, self._dtype = width, np.dtype(dtype)
        self._blocks: list[np.ndarray] = []
        self._free = 0  # rows of the last block that are not yet used
        self._columns: list[tuple[float, ...]] = []
        self._row_bytes = width * self._dtype.itemsize
        self._add_block(rows or max(1, BLOCK_BYTES // self._row_bytes))

    def _add_block(self, rows: int) -> None:
        self._blocks.append(np.empty((rows, self._width), self._dtype))
        self._free = rows

    def next_row(self) -> np.ndarray:
        """The row (P,) to fill before `commit`; filling it again before that is harmless."""
        if not self._free:
            rows = max(1, BLOCK_BYTES // self._row_bytes)
            check_fits("Recording more steps than announced", rows * self._row_bytes, None)
            self._add_block(rows)
        return self._blocks[-1][-self._free]

    def commit(self, step: int, loss_before: float, loss_after: float, error: float) -> None:
        """Make the filled row count."""
        self._columns.append((step, loss_before, loss_after, error))
        self._free -= 1

    def amend(self, column: str, value: float) -> None:
        """Set `column` of the last row."""
        last = list(self._columns[-1])
        last[COLUMNS.names.index(column)] = value
        self._columns[-1] = tuple(last)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights (T, P) and columns (T,). Blocks are joined once, each let go as it is copied."""
        rows = len(self._columns)
        if len(self._blocks) > 1:
            joined, at = np.empty((rows, self._width), self._dtype), 0
            while self._blocks:
                block = self._blocks.pop(0)[: rows - at]
                joined[at : at + len(block)] = block
                at += len(block)
            self._blocks, self._free = [joined], 0
        return self._blocks[0][:rows], np.array(self._columns, dtype=COLUMNS)

    def close(self) -> None:
        """Nothing to close in memory."""


class DiskRows:
    """Rows in the folder `path`, through one row of memory."""

    def __init__(self, path: Path, width: int, dtype: np.dtype) -> None:
        self._row = np.empty(width, dtype)
        self._weights = GrowingNpy(path / "weights.npy", self._row.dtype, (width,))
        self._columns = GrowingNpy(path / "columns.npy", COLUMNS, ())

    def next_row(self) -> np.ndarray:
        """The row (P,) to fill before `commit`."""
        return self._row

    def commit(self, step: int, loss_before: float, loss_after: float, error: float) -> None:
        """Write the filled row, then the record that makes it count."""
        rows = self._columns.rows
        self._weights.write(rows, memoryview(self._row).cast("B"))
        record = np.array((step, loss_before, loss_after, error), dtype=COLUMNS)
        self._columns.write(rows, record.tobytes())

    def amend(self, column: str, value: float) -> None:
        """Set `column` of the last row."""
        self._columns.patch(COLUMNS.fields[column][1], np.float64(value).astype("<f8").tobytes())

    def close(self) -> None:
        """Bring the data to the disk and close the files."""
        try:
            self._weights.close()
        finally:
            self._columns.close()


class GrowingNpy:
    """A `.npy` file that is whole after every row, because its header is rewritten each time.

    Room on the disk is reserved some rows ahead where the system can do that, which makes writing
    several times faster. `close` gives back what was not used.
    """

    def __init__(self, path: Path, dtype: np.dtype, tail: tuple[int, ...]) -> None:
        self._path, self._dtype, self._tail = path, dtype, tail
        self._row_bytes = dtype.itemsize * int(np.prod(tail, dtype=np.int64))
        self._file = path.open("xb", buffering=0)
        self.rows = 0
        self._reserved = HEADER_BYTES if tail and hasattr(os, "posix_fallocate") else math.inf
        self._put(0, self._header())

    def _header(self) -> bytes:
        descr = np.lib.format.dtype_to_descr(self._dtype)
        shape = (self.rows, *self._tail)
        text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
        body = text.encode("latin1").ljust(HEADER_BYTES - 11) + b"\n"
        return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body

    def _reserve(self, end: int) -> None:
        if end > self._reserved:
            ahead = self._row_bytes * max(1, min(16, BLOCK_BYTES // self._row_bytes))
            try:
                os.posix_fallocate(self._file.fileno(), self._reserved, ahead)
                self._reserved += ahead
            except OSError:  # cannot reserve here, or not that much: then write without
                self._reserved = math.inf

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
                f"{available_disk(self._path)} are available. The {self.rows} rows written so far "
                "are whole and readable.",
            ) from error

    def write(self, row: int, data: bytes | memoryview) -> None:
        """Write one row, then the header that counts it."""
        offset = HEADER_BYTES + row * self._row_bytes
        self._reserve(offset + self._row_bytes)
        self._put(offset, data)
        self.rows = row + 1
        self._put(0, self._header())

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite part of the last row, from `offset` bytes into it."""
        self._put(HEADER_BYTES + (self.rows - 1) * self._row_bytes + offset, data)

    def close(self) -> None:
        """Bring the data to the disk and close the file."""
        with self._file:
            self._file.truncate(HEADER_BYTES + self.rows * self._row_bytes)
            os.fsync(self._file.fileno())


# ---- storage: The folder in which a recording lives, and the rules for writing to it and reading


FILES = ("meta.json", "columns.npy", "weights.npy", "index.npy")


FORMAT, VERSION = "causalprune trajectory", 1


class Stored(NamedTuple):
    """What a folder holds: weights (T, P), columns (T,), index (P,) or None for every weight."""

    weights: np.ndarray
    columns: np.ndarray
    index: np.ndarray | None
    layout: ParameterLayout
    complete: bool


def recording_bytes(rows: int, width: int, dtype: np.dtype, *, indexed: bool = False) -> Bytes:
    """Bytes of `rows` rows of `width` weights, with their columns, headers and index."""
    row = width * np.dtype(dtype).itemsize + COLUMNS.itemsize
    return Bytes(rows * row + 2 * HEADER_BYTES + (8 * width + HEADER_BYTES) * indexed)


def prepare_folder(path: Path, *, overwrite: bool) -> int:
    """Check that a recording may be written to `path`; return the bytes an old one there holds.

    Raises
    ------
    FileExistsError
        A recording is at `path` and `overwrite` is false, or something that is not a recording
        is there, which is never replaced.
    """
    if not path.exists():
        return 0
    entries = list(path.iterdir()) if path.is_dir() else [path]
    if any(entry.name not in FILES for entry in entries) or not path.is_dir():
        raise FileExistsError(
            f"path must be new or hold nothing but a recording; {path} holds something else."
        )
    if entries and not overwrite:
        raise FileExistsError(
            f"path must be new; {path} holds a recording. Pass overwrite=True to replace it."
        )
    return sum(entry.stat().st_size for entry in entries)


def start_folder(
    path: Path, layout: ParameterLayout, dtype: np.dtype, index: np.ndarray | None
) -> None:
    """Make the folder with its meta.json and index.npy, in place of the files of an old recording.

    The old meta.json goes first: a folder without one is never taken for a recording.
    """
    path.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (path / name).unlink(missing_ok=True)
    if index is not None:
        np.save(path / "index.npy", index)
    write_meta(path, layout, dtype, index, rows=None)


def write_meta(
    path: Path,
    layout: ParameterLayout,
    dtype: np.dtype,
    index: np.ndarray | None,
    *,
    rows: int | None,
) -> None:
    """Write meta.json in one move; `rows` is the final count, None while a recording runs."""
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "complete": rows is not None,
        "rows": rows,
        "dtype": np.dtype(dtype).str,
        "weights": layout.size if index is None else len(index),
        "subset": index is not None,
        "layout": {"names": layout.names, "shapes": [list(shape) for shape in layout.shapes]},
    }
    with replacing(path / "meta.json") as draft:
        draft.write_text(json.dumps(meta, indent=1) + "\n")


def write_folder(path: Path, stored: Stored, *, overwrite: bool) -> None:
    """Write a whole recording to `path`, row by row.

    Raises
    ------
    FileExistsError
        As `prepare_folder`.
    OSError
        The disk has too little room; nothing has been written then.
    """
    (rows, width), dtype = stored.weights.shape, stored.weights.dtype
    freed = prepare_folder(path, overwrite=overwrite)
    needed = recording_bytes(rows, width, dtype, indexed=stored.index is not None)
    check_fits(f"A trajectory of {rows} rows", needed, path, freed=freed)
    start_folder(path, stored.layout, dtype, stored.index)
    target = DiskRows(path, width, dtype)
    try:
        for weights, columns in zip(stored.weights, stored.columns, strict=True):
            target.next_row()[...] = weights
            target.commit(*columns.tolist())
    finally:
        target.close()
    if stored.complete:
        write_meta(path, stored.layout, dtype, stored.index, rows=rows)


def read_folder(path: Path) -> Stored:
    """Open the recording at `path`, as far as its rows are whole.

    Raises
    ------
    FileNotFoundError
        There is no recording at `path`.
    ValueError
        A file is damaged, or holds fewer rows than meta.json promises, or no row at all.
    """
    try:
        meta = json.loads((path / "meta.json").read_text())
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"path must hold a recording; there is no meta.json in {path}."
        ) from error
    except ValueError as error:
        raise ValueError(f"{path / 'meta.json'} is damaged: {error}.") from error
    if not isinstance(meta, dict) or (meta.get("format"), meta.get("version")) != (FORMAT, VERSION):
        raise ValueError(f"{path / 'meta.json'} must say {FORMAT!r}, version {VERSION}.")
    try:
        names, shapes = meta["layout"]["names"], meta["layout"]["shapes"]
        layout = ParameterLayout(tuple(names), tuple(torch.Size(shape) for shape in shapes))
        dtype, width, promised = np.dtype(meta["dtype"]), int(meta["weights"]), meta["rows"]
        subset, complete = bool(meta["subset"]), bool(meta["complete"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path / 'meta.json'} is damaged: {error!r}.") from error
    whole = {
        "columns.npy": _whole_rows(path / "columns.npy", COLUMNS.itemsize),
        "weights.npy": _whole_rows(path / "weights.npy", width * dtype.itemsize),
    }
    rows = min(whole.values())
    if rows < (promised or 1):
        short = min(whole, key=whole.__getitem__)
        raise ValueError(
            f"{path / short} must hold {promised or 'at least 1'} rows; {rows} are whole."
        )
    rows, offset = promised or rows, HEADER_BYTES
    weights = np.memmap(path / "weights.npy", dtype, "r", offset=offset, shape=(rows, width))
    columns = np.fromfile(path / "columns.npy", COLUMNS, count=rows, offset=offset)
    index = np.load(path / "index.npy") if subset else None
    return Stored(weights, columns, index, layout, complete)


def _whole_rows(path: Path, row_bytes: int) -> int:
    size = path.stat().st_size if path.exists() else 0
    return max(0, size - HEADER_BYTES) // row_bytes


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


# ---- trajectory: A recorded walk of a network's weights through training.


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
