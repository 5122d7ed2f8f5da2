"""The CSV file behind a grid: read with suspicion, written whole, never half, by one at a time.

Rows are kept as the text that was written. Numbers are read from that text only for the `DataFrame`
handed to the caller, so a file that is read and written again does not drift. A file whose name
ends in `.gz` is compressed: equal rows give an equal file, on every machine and at any time.
"""

from __future__ import annotations

import csv
import errno
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from math import nan
from pathlib import Path

import pandas as pd

from causalprune_lib._files import holding, replacing
from causalprune_lib.evidence.provenance import CODE_COLUMNS, MACHINE_COLUMNS

KEY_COLUMNS = ("spec", "seed", "metric", "value", "error")
RUN_COLUMNS = ("seconds", "started", *MACHINE_COLUMNS, *CODE_COLUMNS, "cell")
RESERVED = frozenset(KEY_COLUMNS + RUN_COLUMNS)
FLOAT_COLUMNS = ("value", "seconds")
TEXT_COLUMNS = RESERVED - {*FLOAT_COLUMNS, "seed", "threads", "dirty"}
WHOLE = re.compile(r"-?\d+")
NUMBER = re.compile(r"-?(\d+\.?\d*(e[+-]?\d+)?|inf|Infinity)", re.IGNORECASE)

Row = dict[str, str]  # column -> text; a column that is not there is an empty place


class DiskFullError(OSError):
    """The disk of the results is full; the file holds what it held before, whole."""


class Ledger:
    """The rows of finished cells, by cell, and the file they live in; None for memory only.

    Who writes enters it: a second one that would write the same file meets a `FileHeldError`.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._hold = ExitStack()
        self._read()

    def _read(self) -> None:
        self.cells: dict[str, list[Row]] = {}
        self._columns: list[str] = []
        self._lines: dict[str, str] = {}  # of each cell, for as long as the columns stay
        if self.path is not None and self.path.exists():
            for row in read_rows(self.path):
                self.cells.setdefault(row["cell"], []).append(row)

    def __enter__(self) -> Ledger:
        if self.path is not None:
            self._hold.enter_context(holding(self.path))
            self._read()  # what another one has added meanwhile
        return self

    def __exit__(self, *error: object) -> None:
        self._hold.close()

    def failed(self, cell: str) -> bool:
        """True if the cell ended in a recorded error."""
        return any(row["error"] for row in self.cells[cell])

    def record(self, cell: str, rows: list[Row], *, order: Iterable[str]) -> None:
        """Add the rows of one finished cell and write the file; `order` sorts the cells in it."""
        self.cells[cell] = rows
        self._lines.pop(cell, None)
        self.save(order=order)

    def save(self, *, order: Iterable[str]) -> None:
        """Write the file: cells of other grids first, then those in `order`."""
        last = dict.fromkeys(cell for cell in order if cell in self.cells)
        first = [cell for cell in self.cells if cell not in last]
        self.cells = {cell: self.cells[cell] for cell in (*first, *last)}
        if self.path is None:
            return
        columns = columns_of(row for rows in self.cells.values() for row in rows)
        if columns != self._columns:
            self._columns, self._lines = columns, {}
        for cell in self.cells.keys() - self._lines.keys():
            self._lines[cell] = _lines_of(self.cells[cell], columns)
        header = _lines_of([{name: name for name in columns}], columns)
        text = header + "".join(self._lines[cell] for cell in self.cells)
        try:
            with replacing(self.path) as draft:
                draft.write_bytes(_packed(text) if self.path.suffix == ".gz" else text.encode())
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFullError(
                problem.errno,
                f"the disk of {self.path.parent} is full. {self.path.name} holds, whole, what it "
                "held before the last cell: make room and start again, and only the rest is run",
            ) from problem


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Columns of a file: spec, fields and coordinates, seed, the result, then provenance."""
    own = dict.fromkeys(name for row in rows for name in row)
    return ["spec", *(name for name in own if name not in RESERVED), *KEY_COLUMNS[1:], *RUN_COLUMNS]


def _lines_of(rows: list[Row], columns: list[str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([row.get(name, "") for name in columns] for row in rows)
    return stream.getvalue()


def _packed(text: str) -> bytes:
    """The text compressed; no time and no file name go into it."""
    stream = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=stream, mtime=0) as packer:
        packer.write(text.encode())
    return stream.getvalue()


def read_rows(path: Path, *, name: str = "out") -> list[Row]:
    """The rows of a whole file; a ValueError calls it `name` and says what is wrong where."""

    def bad(problem: str) -> ValueError:
        return ValueError(
            f"{name} must be a new file or one that run_grid wrote; got {path}, where {problem}. "
            "The file was left as it is."
        )

    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as problem:
        raise bad(f"reading failed ({type(problem).__name__}: {problem})") from problem
    header = lines[0] if lines else []
    missing = [column for column in (*KEY_COLUMNS, *RUN_COLUMNS) if column not in header]
    if missing:
        raise bad(f"the columns {missing} are missing")
    if len(set(header)) < len(header):
        raise bad("a column name stands twice")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise bad(f"line {number} has {len(line)} of {len(header)} values")
        rows.append(dict(zip(header, line, strict=True)))
        if problem := _problem(rows[-1]):
            raise bad(f"line {number} has {problem}")
    return rows


def _problem(row: Row) -> str:
    """What is wrong with a row; empty if nothing is."""
    if not re.fullmatch("[0-9a-f]{16}", row["cell"]):
        return f"no cell key but {row['cell']!r}"
    for column in ("value", "seconds", "seed"):
        try:
            float(row[column])
        except ValueError:
            if column != "value" or row[column]:  # no value is NaN
                return f"{column} {row[column]!r}, not a number"
    if (row["metric"] == "error") != bool(row["error"]):
        return f"metric {row['metric']!r} with error {row['error']!r}"
    return ""


def to_frame(rows: list[Row]) -> pd.DataFrame:
    """Rows as a table: numbers as numbers to the last digit, an empty place as NaN."""
    columns = {name: [row.get(name, "") for row in rows] for name in columns_of(rows)}
    for name, texts in columns.items():
        different = set(texts)
        read = _kind(name, different)
        values = {text: read(text) if text else nan for text in different}
        columns[name] = [values[text] for text in texts]
    return pd.DataFrame(columns)


def _kind(name: str, texts: set[str]) -> Callable[[str], object]:
    """How a column is read: all numbers, all true or false, or text."""
    present = texts - {""}
    if name in TEXT_COLUMNS:
        return str
    if name in FLOAT_COLUMNS:
        return float
    if all(map(NUMBER.fullmatch, present)):
        return int if all(map(WHOLE.fullmatch, texts)) else float
    if {text.lower() for text in present} <= {"true", "false"}:
        return lambda text: text.lower() == "true"
    return str
