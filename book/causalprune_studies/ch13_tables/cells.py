"""One cell of a published table, measured: estimate, interval, units, control, scale, command."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from causalprune_lib.evidence.statistics import t_interval
from causalprune_studies.tables import measured, measured_names

Cell = dict[str, object]
Series = pd.Series  # values by seed
MEASURED, SETTING, NOT_TESTED = "measured", "setting", "not tested"
COUNTED = "counted"  # no rows, but the network that the library builds


@dataclass(frozen=True)
class Source:
    """What the cells of one study share."""

    rows: str  # name of the file of rows, or COUNTED
    profile: str
    seeds: int
    units: str  # what was drawn independently
    scale: str = ""  # as shares of the paper's

    @classmethod
    def of(cls, name: str, rows: pd.DataFrame, *, units: str, scale: str = "") -> Source:
        """The source that some rows of the file `name` are."""
        return cls(name, rows.profile.iloc[0], rows.seed.nunique(), units, scale)

    def at(self, scale: str) -> Source:
        """The same rows at another scale."""
        return replace(self, scale=scale)

    @property
    def command(self) -> str:
        """What measures these rows.

        Examples
        --------
        >>> Source("legcnet", "full", 10, "starts").command
        'python -m causalprune_studies run legcnet --profile full --seeds 10'
        """
        if self.rows == COUNTED:
            return ""
        profile = f"--profile {self.profile} --seeds {self.seeds}"
        return f"python -m causalprune_studies run {self.rows} {profile}"


def cell(
    row: str,
    column: str,
    own: Series,
    source: Source,
    *,
    control: Series | None = None,
    against: str = "",
    best: Callable[[Series], float] | None = None,
    printed: int | None = None,
) -> Cell:
    """A measured cell: the mean over units, with Student's interval, beside its control.

    `one_low` and `one_high` are the range in which one more unit would lie, 95 times of 100: for n
    units wider by sqrt(n + 1) than the interval of their mean.

    Parameters
    ----------
    row, column : str
        Where the paper prints it, as in `published`.
    own, control : Series
        Values by seed, in the paper's unit; NaN is not counted. No values is no cell: NaN.
    source : Source
    against : str
        What the control is.
    best : function
        Of the first five seeds, what the paper would print: `max`, say.
    printed : int
        The seed that the paper prints, where it is known.

    Examples
    --------
    >>> own = pd.Series([0.8, 0.9], index=[0, 1])
    >>> found = cell("cancer", "Accuracy DN", own, Source("legcnet", "full", 2, "starts"), best=max)
    >>> round(found["mean"], 2), found["n"], found["best"], round(found["high"], 2)
    (0.85, 2, 0.9, 1.49)
    """
    own = own.dropna()
    first = own[own.index < 5]
    found = _estimate(own) | {"n": len(own), "units": source.units}
    half = (found["high"] - found["low"]) / 2 * math.sqrt(len(own) + 1)
    found |= {"one_low": found["mean"] - half, "one_high": found["mean"] + half}
    found |= {
        f"control_{k}": v for k, v in _estimate(Series() if control is None else control).items()
    }
    found["best"] = best(first) if best is not None and len(first) else math.nan
    found["same"] = own.get(printed, math.nan)
    status = MEASURED if len(own) else NOT_TESTED
    return _place(row, column, source, status) | found | {"against": against}


def setting(row: str, column: str, value: float, source: Source) -> Cell:
    """A cell that is not found but chosen: what ours was set to; NaN if nothing was run there."""
    status = SETTING if value == value else NOT_TESTED
    return _place(row, column, source, status) | {"mean": float(value), "n": 0}


def _place(row: str, column: str, source: Source, status: str) -> Cell:
    there = {"rows": source.rows, "profile": source.profile, "scale": source.scale}
    return {"row": row, "column": column, "status": status, **there, "command": source.command}


def _estimate(values: Series) -> dict[str, float]:
    """Mean and interval; no interval where all values are equal, for equal is not certain."""
    values = values.dropna().astype(float)
    if values.empty:
        return dict.fromkeys(("mean", "low", "high"), math.nan)
    low, high = t_interval(values.to_numpy(), 0.95) if values.nunique() > 1 else (math.nan,) * 2
    return {"mean": float(values.mean()), "low": low, "high": high}


def best_first(*names: str) -> list[tuple[str, pd.DataFrame]]:
    """The files of rows that there are, each by name: put the larger scale first.

    Examples
    --------
    >>> [name for name, _ in best_first("nothing-of-this-name", "causal-pruning")]
    ['causal-pruning']
    """
    there = measured_names()
    return [(name, measured(name)) for name in names if name in there]


def by_seed(rows: pd.DataFrame) -> Series:
    """The values of rows of one metric and one place, by seed."""
    return rows.set_index("seed").value


def shares(**parts: tuple[float, float]) -> str:
    """A scale: each part as "ours of the paper's", with its share where ours is smaller.

    Examples
    --------
    >>> shares(images=(10_000, 50_000), rounds=(10, 10), networks=(3, 1))
    "images 10,000 of 50,000 (20%), rounds 10 of 10, networks 3 for the paper's 1"
    """
    texts = []
    for name, (ours, paper) in parts.items():
        share = f" ({ours / paper:.0%})" if ours < paper else ""
        link = "for the paper's" if ours > paper else "of"
        texts.append(f"{name.replace('_', ' ')} {ours:,} {link} {paper:,}{share}")
    return ", ".join(texts)


def as_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Cells as rows; of two for one place the first, if it was measured or set."""
    columns = ["row", "column", "status", "mean", "low", "high", "n", "units"]
    columns += ["one_low", "one_high", "best", "same"]
    columns += ["control_mean", "control_low", "control_high", "against"]
    columns += ["scale", "rows", "profile", "command"]
    table = pd.DataFrame(list(cells)).reindex(columns=columns)
    table = table[table.status != NOT_TESTED]
    return table.drop_duplicates(["row", "column"]).reset_index(drop=True)
