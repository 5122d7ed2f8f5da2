"""Numbers of the papers, numbers of ours, and the table that puts them side by side.

`published` reads what the two papers print, `measured` reads what `run_grid` wrote, `compare`
joins them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.ledger import read_rows, to_frame
from causalprune_lib.evidence.statistics import require_columns

ROWS = Path(__file__).parent / "rows"
PUBLISHED = ROWS / "published"
MEASURED = ROWS / "measured"
PACKED = ".csv.gz"


def published_index() -> pd.DataFrame:
    """List the published tables: name, paper, table number, caption, source.

    >>> published_index().name.tolist()[:2]
    ['legcnet_table1', 'legcnet_table2']
    """
    return pd.read_csv(PUBLISHED / "index.csv", keep_default_na=False)


def published(name: str) -> pd.DataFrame:
    """Read one table of a paper, as printed, one row per cell.

    Parameters
    ----------
    name : str
        A name in `published_index()`.

    Returns
    -------
    DataFrame
        `table` (number in the paper), `row` (the name this library uses: a dataset, or
        model/dataset), `label` (the row's heading as printed), `column` (heading as printed),
        `value` (float), `unit` ("%" means that 65.13 stands for 65.13 percent, "fraction" that
        0.65 does), `note` (what a reader should know; empty for most).

    Raises
    ------
    ValueError
        For an unknown name, with the nearest one.

    Examples
    --------
    >>> table = published("legcnet_table1")
    >>> table[(table.row == "cancer") & table.column.str.startswith("Flops")].value.tolist()
    [60.0, 54.0]
    """
    check_choice("name", name, published_index().name)
    frame = pd.read_csv(PUBLISHED / f"{name}.csv", keep_default_na=False)
    return frame.astype({"value": float})


def measured_names() -> list[str]:
    """The names that `measured` knows: whatever was measured at full size."""
    return sorted(path.name.removesuffix(PACKED) for path in MEASURED.glob(f"[!.]*{PACKED}"))


def measured(name: str) -> pd.DataFrame:
    """Read the committed rows of a study, as `run_grid` returned them.

    Raises
    ------
    ValueError
        For an unknown name, with the nearest one and the names there are; for a damaged file.

    Examples
    --------
    >>> measured("what-a-network-can-lose").profile.unique().tolist()
    ['full']
    """
    names = measured_names()
    if not names:
        raise ValueError(f"name must be one of the measured rows; there are none; got {name!r}.")
    check_choice("name", name, names)
    return to_frame(read_rows(MEASURED / f"{name}{PACKED}", name="the measured file"))


def compare(
    published: pd.DataFrame, measured: pd.DataFrame, *, on: Sequence[str] = ("row", "column")
) -> pd.DataFrame:
    """Put a paper's numbers and ours side by side.

    Parameters
    ----------
    published : DataFrame
        Rows of `published(...)`; `value` in the same unit as ours.
    measured : DataFrame
        Rows of `summarise(...)`, with `mean`, `low`, `high` and `n`.
    on : sequence of str
        Columns that name a cell in both.

    Returns
    -------
    DataFrame
        One row per published cell, in the paper's order: the columns of `on`, `published`,
        `measured` (our mean), `low`, `high`, `n`, `difference` (ours minus the paper's), its
        interval `difference_low`, `difference_high`, and `inside` (the paper's number lies in our
        interval). A cell that we did not measure has NaN and n = 0. The interval holds our spread
        over seeds only: a paper that prints one number tells nothing about its own.

    Raises
    ------
    ValueError
        If a cell is named twice on either side, or the two have no cell in common.

    Examples
    --------
    >>> paper = pd.DataFrame({"row": ["cancer", "vowel"], "value": [0.87, 0.75]})
    >>> ours = pd.DataFrame({"row": ["cancer"], "n": 5, "mean": 0.86, "low": 0.84, "high": 0.88})
    >>> compare(paper, ours, on=["row"])[["row", "difference", "inside", "n"]].round(2)
          row  difference  inside  n
    0  cancer       -0.01    True  5
    1   vowel         NaN   False  0
    """
    on = [on] if isinstance(on, str) else list(on)
    require_columns("published", published, [*on, "value"])
    require_columns("measured", measured, [*on, "n", "mean", "low", "high"])
    for name, frame in (("published", published), ("measured", measured)):
        repeated = frame[frame.duplicated(on)]
        if len(repeated):
            cell = repeated.iloc[0][on].to_dict()
            raise ValueError(f"{name} must name each cell of {on} once; got {cell} twice.")
    left = published[[*on, "value"]].rename(columns={"value": "published"})
    right = measured[[*on, "mean", "low", "high", "n"]].rename(columns={"mean": "measured"})
    joined = left.merge(right, on=on, how="left")
    if joined.n.isna().all():
        raise ValueError(
            f"published and measured must share cells of {on}; got none in common, for example "
            f"{left.iloc[0][on].to_dict()} and {right.iloc[0][on].to_dict()}."
        )
    return joined.assign(
        n=joined.n.fillna(0).astype(int),
        difference=joined.measured - joined.published,
        difference_low=joined.low - joined.published,
        difference_high=joined.high - joined.published,
        inside=joined.published.between(joined.low, joined.high),
    )
