"""Rows of weights that grow while a network trains: in memory, or in a folder on disk.

`storage` describes the folder. Rows of either kind have one life: `next_row` gives the row to fill,
`commit` makes it count, `amend` sets a column of the last row, `close` ends.
"""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import numpy as np

from causalprune_lib.dynamics.room import Bytes, available_disk, check_room

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
            check_room("Recording more steps than announced", rows * self._row_bytes, None)
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
