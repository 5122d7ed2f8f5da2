"""The folder in which a recording lives, and the rules for writing to it and reading from it.

It holds plain NumPy files and one JSON file, so that it can be read without this library:

    weights.npy   (T, P) float32 or float64, one row per recorded step
    columns.npy   (T,) records: step, loss_before, loss_after, error
    index.npy     (P,) flat indices, only where a subset of the weights was recorded
    meta.json     names and shapes of the parameters, and whether the recording ended in order

A row counts once its record in `columns.npy` is whole. That record is written after the weights,
so a process killed at any moment leaves every finished step readable.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from causalprune_lib._files import replacing
from causalprune_lib.dynamics.room import Bytes, check_room
from causalprune_lib.dynamics.rows import COLUMNS, HEADER_BYTES, DiskRows
from causalprune_lib.nets.parameters import ParameterLayout

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
    check_room(f"A trajectory of {rows} rows", needed, path, freed=freed)
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
