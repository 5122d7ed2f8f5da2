"""The CSV file behind a grid: read with suspicion, written whole, never half.

Rows are kept as the text that was written. Numbers are read from that text only for the
`DataFrame` handed to the caller, so a file that is read and written again does not drift.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from causalprune_lib._files import replacing
from causalprune_lib.evidence.provenance import (
    CODE_COLUMNS,
    MACHINE_COLUMNS,
)

KEY_COLUMNS = ("spec", "seed", "metric", "value", "error")


RUN_COLUMNS = ("seconds", "started", *MACHINE_COLUMNS, *CODE_COLUMNS, "cell")


RESERVED = frozenset(KEY_COLUMNS + RUN_COLUMNS)


Row = dict[str, str]


TEXT_COLUMNS = ("spec", "metric", "error", "started", "device", "cpu", "platform", "python")


TEXT_COLUMNS += ("torch", "numpy", "causalprune_lib", "commit", "cell")


FLOAT_COLUMNS = ("value", "seconds")


WHOLE = re.compile(r"-?\d+")


NUMBER = re.compile(r"-?(\d+\.?\d*(e[+-]?\d+)?|inf|Infinity)", re.IGNORECASE)


class Ledger:
    """The rows of finished cells, by cell, and the file they live in.

    Parameters
    ----------
    path : Path or None
        A CSV file that `run_grid` wrote, or one that does not exist yet; None for memory only.

    Raises
    ------
    ValueError
        If the file is not one that `run_grid` wrote, or is damaged. The file is left as it is.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.cells: dict[str, list[Row]] = {}
        self._stamp: tuple[int, int] | None = None
        self._written: dict[str, tuple[list[str], str]] = {}  # cell -> its columns and its text
        self._take_in_file()

    def failed(self, cell: str) -> bool:
        """True if the cell ended in a recorded error."""
        return any(row["error"] for row in self.cells[cell])

    def record(self, cell: str, rows: list[Row], *, order: Iterable[str]) -> None:
        """Add the rows of one finished cell and write the file; `order` sorts the cells in it."""
        self._take_in_file()  # rows that another process has added meanwhile
        self.cells[cell] = rows
        self._written.pop(cell, None)
        self.save(order=order)

    def save(self, *, order: Iterable[str]) -> None:
        """Write the file: cells of other grids first, then those in `order`."""
        order = [cell for cell in order if cell in self.cells]
        inside = set(order)
        others = [cell for cell in self.cells if cell not in inside]
        self.cells = {cell: self.cells[cell] for cell in [*others, *order]}
        if self.path is not None:
            with replacing(self.path) as draft:
                draft.write_text(self._text(), encoding="utf-8", newline="")
            self._stamp = _stamp(self.path)

    def _text(self) -> str:
        """The whole file; the text of a cell is made once for as long as the columns stay."""
        columns = columns_of(row for rows in self.cells.values() for row in rows)
        for cell, rows in self.cells.items():
            if cell not in self._written or self._written[cell][0] != columns:
                self._written[cell] = columns, to_csv(rows, columns)
        return to_csv([], columns, header=True) + "".join(
            self._written[cell][1] for cell in self.cells
        )

    def _take_in_file(self) -> None:
        if self.path is None or not self.path.exists() or _stamp(self.path) == self._stamp:
            return
        for cell, rows in _by_cell(read_rows(self.path)).items():
            self.cells.setdefault(cell, rows)
        self._stamp = _stamp(self.path)


def read_rows(path: Path, *, name: str = "out") -> list[Row]:
    """Read a results file as text, row by row, and check that it is whole.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        What the caller calls it, for error messages.

    Raises
    ------
    ValueError
        Names the file, what is wrong with it and the line.
    """

    def bad(problem: str) -> ValueError:
        return ValueError(
            f"{name} must be a new file or one that run_grid wrote; got {path}, where {problem}. "
            "The file was left as it is."
        )

    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = list(csv.reader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
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
        row = dict(zip(header, line, strict=True))
        problem = _problem(row)
        if problem:
            raise bad(f"line {number} has {problem}")
        rows.append(row)
    return rows


def _problem(row: Row) -> str:
    """What is wrong with a row; empty if nothing is."""
    if not re.fullmatch("[0-9a-f]{16}", row["cell"]):
        return f"no cell key but {row['cell']!r}"
    for column in ("value", "seconds", "seed"):
        if not _is_number(row[column], empty=column == "value"):
            return f"{column} {row[column]!r}, not a number"
    if (row["metric"] == "error") != bool(row["error"]):
        return f"metric {row['metric']!r} with error {row['error']!r}"
    return ""


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Columns of a file: spec, fields and coordinates, seed, the result, then provenance."""
    own = dict.fromkeys(name for row in rows for name in row)
    return ["spec", *(name for name in own if name not in RESERVED), *KEY_COLUMNS[1:], *RUN_COLUMNS]


def to_csv(rows: list[Row], columns: list[str], *, header: bool = False) -> str:
    """Rows as CSV text; a value that a row does not have is an empty place."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def to_frame(rows: list[Row]) -> pd.DataFrame:
    """Rows as a table: numbers as numbers to the last digit, an empty place as NaN.

    Examples
    --------
    >>> frame = to_frame([{"seed": "1", "value": "0.1"}, {"seed": "2", "value": ""}])
    >>> frame[["seed", "value"]].values.tolist()
    [[1.0, 0.1], [2.0, nan]]
    """
    return pd.DataFrame(
        {name: _typed(name, [row.get(name, "") for row in rows]) for name in columns_of(rows)}
    )


def _typed(name: str, texts: list[str]) -> list:
    """Read a column of texts: all numbers, all true/false, or text."""
    present = [text for text in texts if text]
    read = str
    if name in FLOAT_COLUMNS or (name not in TEXT_COLUMNS and all(map(NUMBER.fullmatch, present))):
        whole = name not in FLOAT_COLUMNS and all(map(WHOLE.fullmatch, texts))
        read = int if whole else float
    elif name not in TEXT_COLUMNS and {text.lower() for text in present} <= {"true", "false"}:
        read = {"true": True, "false": False, "True": True, "False": False}.__getitem__
    return [read(text) if text else math.nan for text in texts]


def _by_cell(rows: list[Row]) -> dict[str, list[Row]]:
    cells: dict[str, list[Row]] = {}
    for row in rows:
        cells.setdefault(row["cell"], []).append(row)
    return cells


def _is_number(text: str, *, empty: bool) -> bool:
    try:
        float(text)
    except ValueError:
        return empty and text == ""
    return True


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
