"""The command that measures: it lists what there is, and writes the rows where they belong."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from causalprune_studies import tables
from causalprune_studies.ch01_pruning.study import PruningCurve
from causalprune_studies.chapters import rows_of_studies

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "book" / "measure.py"))


def test_help_lists_the_names_their_chapter_and_their_specs(capsys):
    with pytest.raises(SystemExit):
        SCRIPT["main"](["--help"])
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert set(rows_of_studies()) <= set(lines)
    told = " ".join(lines["causal-pruning"])
    assert told == "causal-pruning 08 Causal pruning CausalCurve, IteratedRun"


def test_an_unknown_name_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit):
        SCRIPT["main"](["legcnett"])
    assert "choose from" in capsys.readouterr().err


def test_rows_are_written_compressed_under_their_name(tmp_path, monkeypatch, capsys):
    tiny = PruningCurve(dataset="iris", hidden=(4,), epochs=1, amounts=(0.5,), finetune_epochs=1)
    monkeypatch.setattr(tables, "MEASURED", tmp_path)
    monkeypatch.setitem(SCRIPT["main"].__globals__, "studies_of", lambda *_, on: (tiny,))
    SCRIPT["main"](["legcnet", "--seeds", "1", "--on", "cpu"])
    assert [path.name for path in tmp_path.iterdir()] == ["legcnet.csv.gz"]
    assert set(tables.measured("legcnet").seed) == {0}
    assert str(tmp_path / "legcnet.csv.gz") in capsys.readouterr().out
