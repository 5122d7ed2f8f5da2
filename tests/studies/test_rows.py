"""The committed rows stay what they are: their keys, their specs, and the verdicts they give."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from causalprune_lib.evidence.grid import Cell, fields_of
from causalprune_studies.chapters import all_verdicts, rows_of_studies, studies_of
from causalprune_studies.tables import measured

GOLDEN = json.loads(Path(__file__).with_name("golden_verdicts.json").read_text(encoding="utf-8"))


def as_text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("rows", rows_of_studies())
def test_every_stored_key_is_that_of_a_registered_spec_and_recomputes_from_its_row(rows):
    """A key hashes class name, fields and seed: files may move, names may not."""
    frame = measured(rows).drop_duplicates("cell")
    assert len(frame)
    specs = studies_of(rows, "full")
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


def test_the_verdicts_are_those_that_were_drawn_before():
    found = list(all_verdicts())
    assert [(chapter.PAGE, claim) for chapter, claim, _ in found] == [
        (old["chapter"], old["claim"]) for old in GOLDEN
    ]
    for (_, claim, verdict), old in zip(found, GOLDEN, strict=True):
        assert verdict.verdict == old["verdict"], claim
        assert verdict.n_seeds == old["n"], claim
        assert (verdict.claim, verdict.control, verdict.unit) == (
            old["text"],
            old["control"],
            old["unit"],
        ), claim
        assert verdict.effect == pytest.approx(old["effect"], rel=1e-9, abs=1e-12), claim
        assert verdict.interval == pytest.approx(tuple(old["interval"]), rel=1e-9, abs=1e-12), claim
