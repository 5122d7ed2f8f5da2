"""run_grid: what it writes and returns, and that workers change nothing."""

from __future__ import annotations

import os
import random
import re
import sys
import warnings
from dataclasses import dataclass, field

import joblib
import numpy as np
import pandas as pd
import pytest
import torch

from causalprune_lib.evidence.grid import Point, run_grid

VARYING = ["seconds", "started", "threads"]
each_format = pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])


@each_format
def test_one_row_per_spec_seed_and_metric_with_provenance(name, grid, square, tmp_path):
    out = tmp_path / name
    frame = grid([square(), square(scale=3)], range(3), out=out)
    assert len(frame) == 2 * 3 * 2
    squares = frame[frame.metric == "square"]
    assert (squares.value == squares.scale * squares.seed**2).all()
    assert list(squares.scale) == [2, 2, 2, 3, 3, 3]
    assert (frame.torch == torch.__version__).all()
    assert (frame.numpy == np.__version__).all()
    assert (frame.python == sys.version.split()[0]).all()
    instant = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    assert all(map(instant.fullmatch, frame.started))
    assert frame.device.eq("cpu").all() or torch.backends.mps.is_available()
    assert (frame.seconds >= 0).all()
    assert frame.error.isna().all()
    assert {"commit", "dirty", "causalprune_lib", "cpu", "platform", "threads"} <= set(frame)
    written = pd.read_csv(out)
    assert list(written) == list(frame)
    assert np.array_equal(written.value, frame.value)


def test_coordinates_are_columns(grid):
    @dataclass(frozen=True)
    class Curve:
        def run(self, seed):
            for method in ("magnitude", "random"):
                for amount in (0.5, 0.9):
                    yield Point({"accuracy": amount / (seed + 1)}, method=method, amount=amount)

    frame = grid([Curve()], [0, 1], out=None)
    assert len(frame) == 8
    assert (frame.value == frame.amount / (frame.seed + 1)).all()
    assert set(frame.method) == {"magnitude", "random"}


@each_format
def test_the_file_is_sorted_as_the_grid_and_a_second_write_changes_nothing(
    name, grid, square, tmp_path
):
    out = tmp_path / name
    grid([square()], [3, 1], out=out)
    grid([square()], [1, 2, 3], out=out)
    content = out.read_bytes()
    assert list(pd.read_csv(out).seed.unique()) == [1, 2, 3]
    grid([square()], [1, 2, 3], out=out)
    assert out.read_bytes() == content


def test_nan_is_a_result_and_not_an_error(grid, tmp_path):
    @dataclass(frozen=True)
    class Undefined:
        def run(self, seed):
            return {"exponent": float("nan"), "loss": float("inf"), "zero_d": torch.tensor(0.1)}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = [grid([Undefined()], [0], out=tmp_path / "out.csv") for _ in range(2)]
    for frame in frames:
        value = dict(zip(frame.metric, frame.value, strict=True))
        assert np.isnan(value["exponent"])
        assert value["loss"] == np.inf
        assert value["zero_d"] == torch.tensor(0.1).item()


@each_format
def test_text_survives_the_file(name, grid, square, tmp_path):
    @dataclass(frozen=True)
    class Odd:
        name: str = 'NA, "quoted"\nand: ü'
        none: str | None = None
        flag: bool = True
        nested: object = square()
        counts: dict = field(default_factory=lambda: {"b": 2, "a": (1, 2.5)})

        def run(self, seed):
            return {"a, b": 0.1 + 0.2}

    first = grid([Odd()], [0], out=tmp_path / name)
    again = grid([Odd()], [0], out=tmp_path / name)
    pd.testing.assert_frame_equal(first, again)
    assert again.name[0] == Odd().name
    assert again.value[0] == 0.1 + 0.2
    assert again.flag[0]
    assert again.counts[0] == '{"a": [1, 2.5], "b": 2}'
    assert '"__class__": "Square"' in again.nested[0]


def test_workers_give_the_same_results_as_one_and_leave_the_threads_alone(grid, square, tmp_path):
    @dataclass(frozen=True)
    class Dropout:  # local, as in a notebook: it travels to the workers by value
        size: int = 100

        def run(self, seed):
            noisy = torch.nn.functional.dropout(torch.rand(self.size), 0.5)
            return {
                "torch": float(noisy.sum()),
                "numpy": np.random.rand(),
                "python": random.random(),
                "threads": torch.get_num_threads(),
            }

    before = torch.get_num_threads()
    one = grid([Dropout()], range(4), out=tmp_path / "one.csv", threads=1)
    two = grid([Dropout()], range(4), out=tmp_path / "two.csv.gz", n_jobs=2)
    pd.testing.assert_frame_equal(one.drop(columns=VARYING), two.drop(columns=VARYING))
    assert set(two[two.metric == "threads"].value) == {1}
    assert set(two.threads) == {1}
    assert torch.get_num_threads() == before
    assert one[one.metric == "torch"].value.nunique() == 4
    in_threads = grid([square()], range(4), out=None, n_jobs=2, backend="threading")
    in_turn = grid([square()], range(4), out=None)
    pd.testing.assert_frame_equal(in_threads.drop(columns=VARYING), in_turn.drop(columns=VARYING))
    assert torch.get_num_threads() == before


def test_a_worker_that_dies_is_an_error_and_finished_cells_stay(grid, tmp_path):
    @dataclass(frozen=True)
    class Dies:
        def run(self, seed):
            if seed == 3:
                os._exit(1)
            return {"a": 1.0}

    out = tmp_path / "out.csv.gz"
    grid([Dies()], [0, 1], out=out)
    with pytest.raises(joblib.externals.loky.process_executor.TerminatedWorkerError):
        grid([Dies()], [0, 1, 2, 3], out=out, n_jobs=2)
    assert {0, 1} <= set(pd.read_csv(out).seed)


def test_the_callers_generators_are_left_where_they_were(grid):
    @dataclass(frozen=True)
    class Draws:
        def run(self, seed):
            return {"a": float(torch.rand(())), "b": np.random.rand(), "c": random.random()}

    def seed_all():
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)

    seed_all()
    expected = torch.rand(()), np.random.rand(), random.random()
    seed_all()
    grid([Draws()], [0, 1], out=None)
    assert (torch.rand(()), np.random.rand(), random.random()) == expected


def test_the_bar_counts_cells_and_failures(square, capsys):
    with pytest.warns(UserWarning, match="1 of 3"):
        run_grid([square(fail_on=2)], range(3), out=None, progress=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "failed=1" in shown
