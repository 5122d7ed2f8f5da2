"""What each chapter measures and judges, found by its folder.

A folder `chNN_name` says in its `__init__.py` which page it belongs to, where its specs stand and
what draws its verdicts, as "file:name". Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.verdict import Verdict
from causalprune_studies.tables import measured, measured_names

PACKAGE = "causalprune_studies"


@cache
def chapters() -> tuple[ModuleType, ...]:
    """The chapters' folders, in order.

    Examples
    --------
    >>> chapters()[4].TITLE
    'LEGCNet'
    """
    folders = pkgutil.iter_modules([str(Path(__file__).parent)])
    names = sorted(found.name for found in folders if found.ispkg and found.name[:2] == "ch")
    return tuple(importlib.import_module(f"{PACKAGE}.{name}") for name in names)


def rows_of_studies() -> dict[str, ModuleType]:
    """The names of all files of rows, and the chapter that measures each."""
    return {rows: chapter for chapter in chapters() for rows in getattr(chapter, "STUDIES", ())}


def profiles_of(rows: str) -> tuple[str, ...]:
    """The profiles that the studies of a file of rows have specs for."""
    chapter = rows_of_studies()[rows]
    return tuple(_named(chapter, chapter.STUDIES[rows]))


def paper_size_of(rows: str) -> str:
    """What of the papers' size a file's full specs have, if some of them stand for the paper's.

    Examples
    --------
    >>> paper_size_of("judged-networks"), paper_size_of("flat-minima")
    ("the paper's MNIST, network and 50 epochs", '')
    """
    return getattr(rows_of_studies()[rows], "PAPER_SIZE", {}).get(rows, "")


def studies_of(rows: str, profile: str, *, on: str = "cpu") -> tuple[Any, ...]:
    """The specs whose results make a file of rows, in a profile, to be computed on the device `on`.

    `python -m causalprune_studies run ROWS` runs the full ones and keeps what they gave.

    Examples
    --------
    >>> curve, lottery = studies_of("what-a-network-can-lose", "quick")
    >>> curve.dataset, lottery.epochs
    ('digits', 20)
    """
    known = rows_of_studies()
    check_choice("rows", rows, known)
    specs = _named(known[rows], known[rows].STUDIES[rows])
    check_choice(f"profile of {rows!r}", profile, specs)
    return tuple(replace(spec, on=on) for spec in specs[profile])


def all_verdicts() -> Iterator[tuple[ModuleType, str, Verdict]]:
    """Chapter, name of the claim and verdict, one for each data set or printed cell.

    Examples
    --------
    >>> chapter, claim, verdict = next(all_verdicts())
    >>> chapter.PAGE, claim, verdict.dataset
    ('02-is-sgd-chaotic', 'exponents are positive', 'cancer')
    """
    there = measured_names()
    for chapter in chapters():
        for rows, judge in getattr(chapter, "VERDICTS", {}).items():
            if rows in there:
                for claim, verdicts in _named(chapter, judge)(measured(rows)).items():
                    for verdict in verdicts:
                        yield chapter, claim, verdict


def named_by_chapters(what: str) -> list[Any]:
    """What the chapters call `what`, in order: "MNIST_JUDGE", say."""
    return [_named(c, getattr(c, what)) for c in chapters() if hasattr(c, what)]


def _named(chapter: ModuleType, address: str) -> Any:
    """What "file:name" means in the folder of a chapter."""
    file, _, name = address.partition(":")
    return getattr(importlib.import_module(f"{chapter.__name__}.{file}"), name)
