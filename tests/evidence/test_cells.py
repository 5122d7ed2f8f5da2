"""A cell: which specs and results are fit, and what makes two cells the same."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, make_dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.evidence.grid import Cell, Point, canonical, run_grid


@dataclass(frozen=True)
class Square:
    scale: float = 2.0
    amounts: tuple[float, ...] = ()

    def run(self, seed):
        return {"square": self.scale * seed**2}


@dataclass(frozen=True)
class Returns:
    """Gives back whatever its name says."""

    what: str

    def run(self, seed):
        return {
            "text": {"accuracy": "high"},
            "none": {"accuracy": None},
            "complex": {"accuracy": 1j},
            "nothing": {},
            "number": 0.5,
            "string": "accuracy",
            "nameless": {3: 0.5},
            "reserved": {"error": 0.5},
            "plain": [{"accuracy": 0.5}],
            "vector": {"accuracy": torch.ones(2)},
            "twice": [Point({"a": 1.0}, x=1), Point({"a": 2.0}, x=1)],
            "clash": [Point({"a": 1.0}, what="here")],
            "taken": [Point({"a": 1.0}, seconds=3)],
        }[self.what]


def quiet(*args, **options):
    return run_grid(*args, progress=False, **options)


UNFIT = "text none complex nothing number string nameless reserved plain vector twice clash taken"


@pytest.mark.parametrize("what", UNFIT.split())
def test_results_that_are_not_named_numbers_are_recorded_as_errors(what):
    with pytest.warns(UserWarning, match="1 of 1"):
        frame = quiet([Returns(what)], [0], out=None)
    assert list(frame.metric) == ["error"]
    assert re.match(r"(TypeError|ValueError): .*must|.*gave", frame.error[0])


@dataclass
class Thawed:
    def run(self, seed):
        return {"a": 1.0}


@dataclass(frozen=True)
class NoRun:
    a: int = 1


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([Thawed()], "frozen=True"),
        ([Square], "instance"),
        ([{"a": 1}], "frozen=True"),
        ([NoRun()], "run"),
        ([make_dataclass("S", ["seed"], frozen=True, namespace={"run": id})(1)], "seed"),
        ([Square(scale=torch.ones(2))], "scale"),
        (Square(), "specs must be a list"),
    ],
)
def test_specs_that_do_not_fit_are_refused_at_once(specs, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        quiet(specs, [0], out=tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments_are_refused_by_name():
    with pytest.raises(ValueError, match="repeat a cell"):
        quiet([Square(), Square(scale=2)], [0], out=None)  # 2 and 2.0 are the same cell
    with pytest.raises(ValueError, match="repeat a cell"):
        quiet([Square()], [4, 4], out=None)
    with pytest.raises(ValueError, match="empty"):
        quiet([], [0], out=None)
    with pytest.raises(TypeError, match="seed"):
        quiet([Square()], [0.5], out=None)
    with pytest.raises(ValueError, match="Did you mean 'loky'"):
        quiet([Square()], [0], out=None, backend="lokey")
    with pytest.raises(ValueError, match="n_jobs"):
        quiet([Square()], [0], out=None, n_jobs=0)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


fields = st.recursive(
    plain, lambda inner: st.tuples(inner, inner) | st.dictionaries(st.text(), inner), max_leaves=6
)


@settings(max_examples=60, deadline=None)
@given(value=fields, other=fields)
def test_a_cell_is_known_by_its_content(value, other):
    key = Cell(Square(amounts=value), 0).key
    assert key == Cell(Square(amounts=value), np.int64(0)).key
    assert (key == Cell(Square(amounts=other), 0).key) == (
        repr(canonical(value)) == repr(canonical(other))
    )
    assert key != Cell(Square(amounts=value), 1).key


def test_what_counts_as_the_same_field_value():
    class Colour(enum.Enum):
        RED = 1

    assert canonical((1, 2)) == canonical([1.0, np.float64(2)])
    assert canonical({"b": 1, "a": 2}) == canonical({"a": 2, "b": 1})
    assert canonical({3, 1, 2}) == canonical(frozenset([1, 2, 3]))
    assert canonical(Colour.RED) == "RED"
    assert canonical(True) is True  # and not 1
    with pytest.raises(TypeError, match="numbers, strings"):
        canonical({1: "a"})
