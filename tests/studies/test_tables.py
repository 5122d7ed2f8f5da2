"""Tables by name, and the paper's numbers beside ours."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from causalprune_lib.evidence.grid import run_grid
from causalprune_lib.evidence.statistics import summarise
from causalprune_studies import tables
from causalprune_studies.tables import compare, measured, measured_names, published


@dataclass(frozen=True)
class Trial:
    row: str

    def run(self, seed):
        return {"accuracy": 0.8 + 0.01 * seed}


def ours(rows=("cancer", "iris_csv"), column="Accuracy DN"):
    frame = run_grid([Trial(row) for row in rows], range(3), out=None, progress=False)
    return summarise(frame, "row").assign(column=column)


def test_compare_keeps_every_published_cell_in_order():
    paper = published("legcnet_table1")
    joined = compare(paper, ours())
    assert list(joined.row) == list(paper.row)
    assert list(joined.column) == list(paper.column)
    assert np.array_equal(joined.published, paper.value)
    [cell] = joined[(joined.row == "cancer") & (joined.column == "Accuracy DN")].to_dict("records")
    assert cell["measured"] == pytest.approx(0.81)
    assert cell["difference"] == pytest.approx(0.81 - 0.8759)
    assert cell["difference_low"] == pytest.approx(cell["low"] - 0.8759)
    assert cell["difference_high"] == pytest.approx(cell["high"] - 0.8759)
    assert not cell["inside"]
    assert cell["n"] == 3
    rest = joined[joined.n == 0]
    assert len(rest) == len(paper) - 2
    assert rest.difference.isna().all()
    assert not rest.inside.any()


def test_inside_means_inside_the_interval():
    mine = pd.DataFrame({"row": [*"abc"], "n": 3, "mean": 0.5, "low": 0.4, "high": 0.6})
    paper = pd.DataFrame({"row": [*"abc"], "value": [0.39, 0.4, 0.61]})
    assert list(compare(paper, mine, on="row").inside) == [False, True, False]


def test_compare_refuses_what_it_could_only_guess():
    paper = published("legcnet_table1")
    with pytest.raises(ValueError, match=r"share cells .* 'cancer'.* 'Accuracy'"):
        compare(paper, ours(column="Accuracy"))
    with pytest.raises(ValueError, match="measured must name each cell"):
        compare(paper, pd.concat([ours(), ours()]))
    with pytest.raises(ValueError, match="published must name each cell"):
        compare(paper, ours(), on=["row"])
    with pytest.raises(ValueError, match="'low'"):
        compare(paper, ours().drop(columns="low"))


def test_unknown_names_get_the_nearest_one():
    with pytest.raises(ValueError, match="Did you mean 'legcnet_table1'"):
        published("legcnet_tabel1")
    with pytest.raises(ValueError, match="causal_table3"):
        published("x")


def test_measured_reads_what_run_grid_returned(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MEASURED", tmp_path)
    with pytest.raises(ValueError, match="there are none; got 'trials'"):
        measured("trials")
    frame = run_grid([Trial("a")], range(2), out=tmp_path / "trials.csv.gz", progress=False)
    pd.testing.assert_frame_equal(measured("trials"), frame)
    with pytest.raises(ValueError, match="Did you mean 'trials'"):
        measured("trial")
    (tmp_path / "other.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    (tmp_path / ".trials.csv.gz.part.x.csv.gz").write_bytes(b"of a killed process")
    assert measured_names() == ["other", "trials"]
    with pytest.raises(ValueError, match=r"the measured file .* missing"):
        measured("other")
