"""The committed rows stay what they are: their keys, their specs, and the verdicts they give."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from causalprune_lib.evidence.grid import Cell, fields_of
from causalprune_lib.evidence.ledger import Ledger
from causalprune_lib.evidence.verdict import require_full
from causalprune_studies import chapters
from causalprune_studies.chapters import rows_of_studies, studies_of
from causalprune_studies.overview import verdict_rows
from causalprune_studies.tables import MEASURED, measured, measured_names

read_once = cache(measured)
GOLDEN_FILE = Path(__file__).with_name("golden_verdicts.json")
GOLDEN = json.loads(GOLDEN_FILE.read_text(encoding="utf-8"))
PLACE = 4  # chapter, claim, data set and cell; then the word and numbers


def golden(row: dict) -> tuple:
    """What is held of a verdict."""
    words = ("chapter", "claim", "dataset", "cell", "word")
    numbers = ("n_units", "effect", "low", "high", "control_effect")
    return tuple(row[name] for name in words + numbers)


def as_text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("rows", measured_names())
def test_every_stored_key_is_that_of_a_registered_spec_and_recomputes_from_its_row(rows):
    """A key hashes class name, fields and seed: files may move, names may not."""
    assert require_full(read_once(rows)).commit.str.fullmatch("[0-9a-f]{40}").all()
    frame = read_once(rows).drop_duplicates("cell")
    specs = [spec for profile in set(frame.profile) for spec in studies_of(rows, profile)]
    known = {
        Cell(spec, seed).key: (spec, seed)
        for spec in specs
        for seed in frame.seed.unique().tolist()
    }
    for _, row in frame.iterrows():
        spec, seed = known[row.cell]
        assert (row.spec, row.seed) == (type(spec).__name__, seed)
        for name, value in fields_of(spec).items():
            stored = row[name]
            if pd.isna(stored):
                assert value is None, name
            elif isinstance(value, str | list) or value is None:
                assert stored == as_text(value), name
            else:
                assert float(stored) == float(value), name


def test_every_file_belongs_to_a_chapter():
    assert set(measured_names()) <= set(rows_of_studies())


@pytest.mark.parametrize("rows", ["what-a-network-can-lose", "is-sgd-chaotic"])
def test_a_committed_file_is_what_the_ledger_would_write(rows, tmp_path):
    path = MEASURED / f"{rows}.csv.gz"
    ledger = Ledger(path)
    ledger.path = tmp_path / path.name
    ledger.save(order=[])
    assert ledger.path.read_bytes()[:10] == path.read_bytes()[:10]
    # other builds of zlib may pack the same text in other bytes
    assert gzip.decompress(ledger.path.read_bytes()) == gzip.decompress(path.read_bytes())


def test_the_verdicts_are_those_that_were_drawn_before(monkeypatch):
    """`python tests/studies/test_rows.py` writes them anew, when rows or claims have changed."""
    monkeypatch.setattr(chapters, "measured", read_once)
    found = [golden(row) for row in verdict_rows()]
    assert [row[:PLACE] for row in found] == [tuple(old[:PLACE]) for old in GOLDEN]
    for row, old in zip(found, GOLDEN, strict=True):
        assert row[PLACE] == old[PLACE], row[:PLACE]  # the word
        for now, then in zip(row[PLACE + 1 :], old[PLACE + 1 :], strict=True):
            near = then is not None and now == pytest.approx(then, rel=1e-6, abs=1e-9)
            assert near or now is then, row[:PLACE]


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(golden(row)) for row in verdict_rows())
    GOLDEN_FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
