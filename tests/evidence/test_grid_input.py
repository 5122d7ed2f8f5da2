"""Which specs, results and arguments are fit, and what makes two cells the same."""

from __future__ import annotations

import re
from dataclasses import dataclass, make_dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.evidence.grid import Cell, Point, canonical, run_grid

UNFIT = {
    "text": {"accuracy": "high"},
    "none": {"accuracy": None},
    "complex": {"accuracy": 1j},
    "vector": {"accuracy": torch.ones(2)},
    "nothing": {},
    "number": 0.5,
    "string": "accuracy",
    "nameless": {3: 0.5},
    "empty name": {"": 0.5},
    "named error": {"error": 0.5},
    "no point": [{"accuracy": 0.5}],
    "twice": [Point({"a": 1.0}, x=1), Point({"a": 2.0}, x=1)],
    "named as a field": [Point({"a": 1.0}, what="here")],
    "named as a column": [Point({"a": 1.0}, seconds=3)],
}


@dataclass(frozen=True)
class Returns:
    """Gives back what its name says."""

    what: str

    def run(self, seed):
        return UNFIT[self.what]


@pytest.mark.parametrize("what", UNFIT)
def test_results_that_are_not_named_numbers_are_recorded_as_errors(what, grid):
    with pytest.warns(UserWarning, match="1 of 1"):
        frame = grid([Returns(what)], [0], out=None)
    assert list(frame.metric) == ["error"]
    assert re.match(r"(TypeError|ValueError): .*must|.*gave", frame.error[0])


@dataclass
class Thawed:
    def run(self, seed):
        return {"a": 1.0}


@dataclass(frozen=True)
class NoRun:
    a: int = 1


@dataclass(frozen=True)
class Holds:
    thing: object = None

    def run(self, seed):
        return {"a": 1.0}


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([Thawed()], "frozen=True"),
        ([Holds], "instance"),
        ([{"a": 1}], "frozen=True"),
        ([NoRun()], "run"),
        ([make_dataclass("S", ["seed"], frozen=True, namespace={"run": id})(1)], "seed"),
        ([Holds(torch.ones(2))], "thing"),
        ([Holds({1: "a"})], "numbers, strings"),
        ([Holds({1, 2})], "numbers, strings"),
        (Holds(), "specs must be a list"),
    ],
)
def test_specs_that_do_not_fit_are_refused_at_once(specs, message, grid, tmp_path):
    with pytest.raises(TypeError, match=message):
        grid(specs, [0], out=tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("specs", "seeds", "options", "error", "message"),
    [
        ([Holds(2), Holds(2.0)], [0], {}, ValueError, "repeat a cell"),
        ([Holds()], [4, 4], {}, ValueError, "repeat a cell"),
        ([], [0], {}, ValueError, "empty"),
        ([Holds()], [0.5], {}, TypeError, "seed"),
        ([Holds()], "01", {}, TypeError, "seeds must be a list"),
        ([Holds()], [0], {"backend": "lokey"}, ValueError, "Did you mean 'loky'"),
        ([Holds()], [0], {"n_jobs": 0}, ValueError, "n_jobs"),
        ([Holds()], [0], {"threads": 0}, ValueError, "threads"),
    ],
)
def test_bad_arguments_are_refused_by_name(specs, seeds, options, error, message):
    with pytest.raises(error, match=message):
        run_grid(specs, seeds, out=None, progress=False, **options)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
fields = st.recursive(
    plain, lambda inner: st.tuples(inner, inner) | st.dictionaries(st.text(), inner), max_leaves=4
)


@settings(max_examples=30, deadline=None)
@given(value=fields, other=fields)
def test_a_cell_is_known_by_its_content(value, other):
    key = Cell(Holds(value), 0).key
    assert key == Cell(Holds(value), np.int64(0)).key
    assert (key == Cell(Holds(other), 0).key) == (repr(canonical(value)) == repr(canonical(other)))
    assert key != Cell(Holds(value), 1).key


def test_what_counts_as_the_same_field_value(square):
    assert canonical((1, 2)) == canonical([1.0, np.float64(2)])
    assert canonical({"b": 1, "a": 2}) == canonical({"a": 2, "b": 1})
    assert canonical(True) is True  # and not 1
    assert canonical(square(scale=3)) == {
        "__class__": "Square",
        "log": "",
        "scale": 3,
        "amounts": [],
        "fail_on": -1,
    }
