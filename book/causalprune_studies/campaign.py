"""A campaign: which cells of which studies there are, which are measured, what the rest would take.

A cell is a spec with a seed. What it takes is read from the committed rows: those of the same class
of spec, scaled by images times epochs where another size was measured.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from causalprune_lib._memory import Bytes
from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.grid import Cell, fields_of
from causalprune_lib.evidence.ledger import Ledger, Row, read_rows
from causalprune_lib.nets.data import DATASETS, dataset_info
from causalprune_lib.nets.images import HUB_SETS
from causalprune_lib.nets.sources import cache_folder, mirrored
from causalprune_studies import tables
from causalprune_studies.chapters import paper_size_of, profiles_of, rows_of_studies, studies_of

PROFILES = ("quick", "full", "paper")
QUICK_ROWS = Path("_build") / "quick-rows"  # they illustrate, and stand in no table of the book
DOWNLOADS = {  # bytes that a first use fetches where neither mirror nor cache holds the data
    "mnist": 18_200_000,
    "fashion_mnist": 36_100_000,
    "cifar10": 143_600_000,
    "tiny_imagenet": 161_000_000,
    "titanic": 94_000,
    "vowel": 14_000,
}
TABLES = {"titanic": "titanic_train.csv", "vowel": "vowel.csv"}


@dataclass(frozen=True)
class Plan:
    """One file of rows, and the cells that a command asks of it."""

    rows: str
    profile: str
    out: Path
    specs: tuple[Any, ...]
    seeds: tuple[int, ...]
    missing: tuple[Cell, ...]  # not yet in the file; or there with an error, to be run again

    @property
    def n_cells(self) -> int:
        return len(self.specs) * len(self.seeds)


def plans_of(
    names: Sequence[str],
    *,
    profile: str = "full",
    seeds: Sequence[int] = (0, 1, 2),
    on: str = "cpu",
    out: Path | None = None,
    retry_errors: bool = False,
) -> list[Plan]:
    """What running these studies would do; "all" stands for all that have the profile.

    Raises
    ------
    ValueError
        For an unknown name or profile, with the nearest; for a file of another schema.

    Examples
    --------
    >>> [plan] = plans_of(["what-a-network-can-lose"], seeds=[0, 1])
    >>> plan.n_cells, len(plan.missing)
    (4, 0)
    """
    check_choice("profile", profile, PROFILES)
    known = rows_of_studies()
    names = [named(name, [*known, "all"]) for name in names]
    if "all" in names:
        names = [rows for rows in known if profile in profiles_of(rows)]
    folder = out or (QUICK_ROWS if profile == "quick" else tables.MEASURED)
    return [
        _plan(rows, profile, tuple(seeds), on, folder / f"{rows}{tables.PACKED}", retry_errors)
        for rows in dict.fromkeys(names)
    ]


def named(name: str, known: Sequence[str]) -> str:
    """The name of the rows that is meant: itself, or the only one that ends so.

    >>> named("table2", ["causal-pruning", "causal-pruning-table2"])
    'causal-pruning-table2'
    """
    ends = [rows for rows in known if rows.endswith(f"-{name}")]
    return ends[0] if len(ends) == 1 and name not in known else check_choice("NAME", name, known)


def _plan(
    rows: str, profile: str, seeds: tuple[int, ...], on: str, out: Path, retry_errors: bool
) -> Plan:
    specs = studies_of(rows, profile, on=on)
    there = Ledger(out)
    done = {key for key in there.cells if not (retry_errors and there.failed(key))}
    cells = (Cell(spec, seed) for spec in specs for seed in seeds)
    missing = tuple(cell for cell in cells if cell.key not in done)
    return Plan(rows, profile, out, specs, seeds, missing)


def listed(seeds: Sequence[int]) -> Iterator[str]:
    """A line for each study: its chapter, and by profile its cells and how many are measured."""
    yield f"{'NAME':36} chapter       quick        full       paper"
    for rows, chapter in rows_of_studies().items():
        there = Ledger(tables.MEASURED / f"{rows}{tables.PACKED}")
        good = {key for key in there.cells if not there.failed(key)}
        line = f"{rows:36} {chapter.PAGE[:2]:>7}"
        for profile in PROFILES:
            there_is = profile in profiles_of(rows)
            specs = studies_of(rows, profile) if there_is else ()
            n, done = len(specs) * len(seeds), _n_measured(specs, seeds, good)
            line += f"{(n if profile == 'quick' else f'{done}/{n}') if there_is else '-':>12}"
        yield line
    yield f"\nCells with {len(seeds)} seeds: measured/all; quick cells are only counted."
    yield "Where '-' stands a study has no such profile."
    same = {rows: size for rows in rows_of_studies() if (size := paper_size_of(rows))}
    if same:
        yield "Full cells that stand for the paper's too, because they have"
        yield from (f"  {size}: {rows}" for rows, size in same.items())


def stored() -> Iterator[dict[str, Any]]:
    """What the committed rows hold of every study in every profile, with all seeds of its file.

    Keys: `rows`, `page`, `profile`, `specs` (how many), `seeds`, `measured` (cells with a result)
    and `paper_size` (see `paper_size_of`). Where there is no row of a profile, `seeds` is empty.

    Examples
    --------
    >>> found = {(one["rows"], one["profile"]): one for one in stored()}
    >>> one = found["what-a-network-can-lose", "full"]
    >>> one["specs"], one["seeds"], one["measured"]
    (2, [0, 1, 2], 6)
    """
    for rows, chapter in rows_of_studies().items():
        there = Ledger(tables.MEASURED / f"{rows}{tables.PACKED}")
        good = {key for key in there.cells if not there.failed(key)}
        seeds = sorted({int(found[0]["seed"]) for found in there.cells.values()})
        for profile in profiles_of(rows):
            if profile == "quick":
                continue
            specs = studies_of(rows, profile)
            own = [seed for seed in seeds if _n_measured(specs, [seed], good)]
            yield {
                "rows": rows,
                "page": chapter.PAGE,
                "profile": profile,
                "specs": len(specs),
                "seeds": own,
                "measured": _n_measured(specs, own, good),
                "paper_size": paper_size_of(rows),
            }


def _n_measured(specs: Iterable[Any], seeds: Sequence[int], good: set[str]) -> int:
    """How many cells are measured, on whatever device."""
    return sum(
        any(Cell(replace(spec, on=on), seed).key in good for on in ("cpu", "cuda"))
        for spec in specs
        for seed in seeds
    )


def described(plan: Plan, workers: int) -> Iterator[str]:
    """What running the plan would take, for people."""
    counts = Counter(type(cell.spec).__name__ for cell in plan.missing)
    what = ", ".join(f"{kind} {n}" for kind, n in counts.items()) or "nothing"
    yield f"{plan.rows}, profile {plan.profile}"
    yield f"  to do     {len(plan.missing)} of {plan.n_cells} cells: {what}"
    yield f"  file      {plan.out}"
    if not plan.missing:
        return
    known, unknown = seconds_known_of(plan)
    if known:
        n = len(plan.missing) - sum(unknown.values())
        each = f", {spoken(known / workers)} with {workers} workers" if workers > 1 else ""
        counted = any(seconds_of_rows(cell.spec) is None for cell in plan.missing)
        about = "at most" if counted else "about"  # by steps of training alone
        yield f"  time      {about} {spoken(known)} of one worker for {n} cells{each}"
    for kind, n in unknown.items():
        yield f"  time      unknown for {kind} ({n} cells): nothing like it was measured"
    names = dict.fromkeys(d for cell in plan.missing for d in datasets_of(cell.spec))
    sizes = [memory_of(cell.spec) for cell in plan.missing]
    yield f"  memory    {Bytes(max(sizes))} of data for each worker; the peak is not recorded"
    for name in names:
        if n_bytes := to_download(name):
            yield f"  download  {name}: about {Bytes(n_bytes)}"
    if not any(map(to_download, names)):
        yield "  download  nothing"


def summed(plans: Sequence[Plan]) -> str:
    """What several plans would take together."""
    known, unknown = zip(*map(seconds_known_of, plans), strict=True)
    open_cells = sum(sum(counts.values()) for counts in unknown)
    also = f", and an unknown time for {open_cells} more" if open_cells else ""
    n = sum(len(plan.missing) for plan in plans) - open_cells
    return f"in all: {n} cells, about {spoken(sum(known))} of one worker{also}"


def seconds_known_of(plan: Plan) -> tuple[float, Counter]:
    """Seconds of the missing cells of which they are known, and the classes of the others."""
    known, unknown = 0.0, Counter()
    for cell in plan.missing:
        seconds = seconds_of(cell.spec)
        known += seconds or 0.0
        unknown[type(cell.spec).__name__] += seconds is None
    return known, +unknown


def spoken(seconds: float) -> str:
    """A time for people.

    >>> spoken(20), spoken(200), spoken(20_000)
    ('20 seconds', '3 minutes', '5.6 hours')
    >>> spoken(7_200_000)
    '2,000 hours'
    """
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    hours = seconds / 3600
    return (
        f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{hours:,.{int(hours < 100)}f} hours"
    )


def seconds_of(spec: Any) -> float | None:
    """Seconds that one cell of a spec is likely to take, from the committed rows; None: unknown."""
    found = seconds_of_rows(spec)
    return seconds_of_steps(spec) if found is None else found


def seconds_of_rows(spec: Any) -> float | None:
    """Seconds of one cell of a spec by the committed rows of its class, or None.

    Rows of the same spec tell it by their mean. Otherwise rows of the same class and model, if
    possible with the same data, are scaled by images times epochs.
    """
    wanted = _as_text(spec)
    rows = _measured_cells().get(type(spec).__name__, [])
    same = [row for row in rows if all(row.get(k, "") == v for k, v in wanted.items())]
    if same:
        return statistics.mean(float(row["seconds"]) for row in same)
    work = work_of(wanted)
    near = [row for row in rows if work_of(row) and row.get("model") == wanted.get("model")]
    near = [row for row in near if row["dataset"] == wanted.get("dataset")] or near
    if not work or not near:
        return None
    return work * statistics.mean(float(row["seconds"]) / work_of(row) for row in near)


def seconds_of_steps(spec: Any) -> float | None:
    """The most that the trainings of a spec can take, by what steps of its model take; or None."""
    wanted = _as_text(spec)
    same = ("model", "dataset", "precision")
    timed = [
        float(row["value"])
        for row in _measured_cells().get("StepTime", [])
        if all(row[name] == wanted.get(name) for name in same)
    ]
    epochs = getattr(spec, "most_epochs", None)
    if not timed or epochs is None:
        return None
    return statistics.mean(timed) * epochs * _images(wanted)[0]


def work_of(fields: Row) -> float | None:
    """Images times epochs of a spec's fields; None where it has neither data nor epochs."""
    dataset = fields.get("dataset", "")
    epochs = [float(v) for k, v in fields.items() if k.endswith("epochs") and _is_number(v)]
    if dataset not in DATASETS or not epochs:
        return None
    return _images(fields)[0] * max(sum(epochs), 1.0)


def _images(fields: Row) -> tuple[int, int]:
    """Training and test images that a spec uses."""
    info = dataset_info(fields["dataset"])
    told = fields.get("subset") or fields.get("images") or ""
    parts = [int(float(part)) for part in told.strip("[]").split(",") if _is_number(part)]
    return (parts or [info.n_train])[0], (*parts, info.n_test)[1 if parts else 0]


def memory_of(spec: Any) -> int:
    """Bytes of the data of a spec, as the 32-bit floats that a worker holds."""
    fields = _as_text(spec)
    if fields.get("dataset", "") not in DATASETS:
        return 0
    return 4 * sum(_images(fields)) * math.prod(dataset_info(fields["dataset"]).shape)


def datasets_of(spec: Any) -> list[str]:
    """The names of datasets among the fields of a spec."""
    values = fields_of(spec).values()
    return [value for value in values if isinstance(value, str) and value in DATASETS]


def to_download(dataset: str) -> int:
    """Bytes that a first use would fetch; 0 for what is bundled, in the mirror or in the cache."""
    if dataset not in DOWNLOADS:
        return 0
    if dataset in TABLES:
        mirror, cached = f"tabular/{TABLES[dataset]}", f"files/{TABLES[dataset]}"
    else:
        mirror = f"hub/{HUB_SETS[dataset].parquet('train')}"
        cached = f"images/{dataset}-train-hub"
    at_hand = mirrored(mirror) is not None or (cache_folder() / cached).exists()
    return 0 if at_hand else DOWNLOADS[dataset]


@cache
def _measured_cells() -> dict[str, list[Row]]:
    """One row of every committed cell without error, by the class of its spec."""
    found: dict[str, dict[str, Row]] = {}
    for path in sorted(tables.MEASURED.glob(f"[!.]*{tables.PACKED}")):
        for row in read_rows(path):
            if not row["error"]:
                found.setdefault(row["spec"], {})[row["cell"]] = row
    return {kind: list(cells.values()) for kind, cells in found.items()}


def _as_text(spec: Any) -> Row:
    """The fields of a spec as they stand in a row, but for its device and profile."""
    fields = {k: v for k, v in fields_of(spec).items() if k not in ("on", "profile")}
    text = {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()}
    return {k: "" if v == "null" else v for k, v in text.items()}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
