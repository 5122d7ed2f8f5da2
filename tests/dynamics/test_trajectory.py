"""The trajectory itself: its arithmetic, its files as they are read, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from causalprune_lib._memory import Bytes
from causalprune_lib.dynamics import trajectory
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout

LAYOUT = ParameterLayout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)))  # P = 8
STORED = ("steps", "weights", "loss_before", "loss_after", "error", "index")


def random_walk(length: int, seed: int = 0) -> Trajectory:
    noise = np.random.default_rng(seed)
    weights = noise.normal(size=(length, LAYOUT.size)).cumsum(axis=0).astype(np.float32)
    return Trajectory(np.arange(length), weights, LAYOUT)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 12),
    seed=st.integers(0, 99),
    chunk=st.sampled_from([1, 64, 100, 300, 10**6]),
)
def test_movement_is_the_sum_of_squared_increments_for_any_chunk(length, seed, chunk):
    walk = random_walk(length, seed)
    exact = np.zeros(LAYOUT.size)
    for before, after in zip(walk.weights[:-1], walk.weights[1:], strict=True):
        exact += (after.astype(np.float64) - before.astype(np.float64)) ** 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectory, "CHUNK_BYTES", chunk)
        movement = walk.movement()
    assert movement.dtype == torch.float64
    # rounding of a sum of T non-negative terms: at most T units in the last place
    np.testing.assert_allclose(movement, exact, rtol=12 * np.finfo(float).eps)


def test_movement_keeps_steps_that_float32_sums_would_lose():
    weights = np.zeros((10_001, LAYOUT.size), np.float32)
    weights[1:] = 4096.0  # one square of 2^24, after which float32 cannot count by ones
    weights[2::2] += 1.0
    movement = Trajectory(np.arange(10_001), weights, LAYOUT).movement()
    assert movement.tolist() == [4096.0**2 + 9_999.0] * LAYOUT.size


def test_increments_are_differences_in_the_type_of_the_weights():
    walk = random_walk(6)
    whole = torch.from_numpy(np.array(walk.weights))
    assert torch.equal(walk.increments(), whole[1:] - whole[:-1])
    assert walk.increments().dtype == torch.float32


def test_rewinding_restores_the_bits():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    walk = random_walk(5)
    LAYOUT.load(model, walk.at(2))
    assert torch.equal(LAYOUT.flatten(model), torch.from_numpy(np.array(walk.weights[2])))
    walk.at(2).zero_()  # a copy: the trajectory does not change
    assert walk.weights[2].any()


def test_a_diverged_walk_is_kept_and_its_movement_names_the_first_bad_step():
    weights = np.array(random_walk(6).weights)
    weights[3, 7], weights[4, 1] = np.inf, np.nan
    walk = Trajectory([0, 10, 20, 30, 40, 50], weights, LAYOUT)
    assert walk.finite.tolist() == [True, True, True, False, False, True]
    with pytest.raises(ValueError, match=r"in 1\.weight\[0, 1\] after step 30"):
        walk.movement()


@pytest.fixture
def recorded(loop, tmp_path) -> tuple[Path, np.ndarray]:
    """A recording of eight rows in a folder, and its weights."""
    model = loop.network()
    with TrajectoryRecorder(model, path=tmp_path / "run") as recorder:
        seen = loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1))
        recorder.log(error=0.25)
    return tmp_path / "run", seen


def forget_the_end(path: Path) -> None:
    """Make meta.json say what it says while a recording runs."""
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, "rows": None, "complete": False}))


def test_a_loaded_walk_stays_on_disk_and_no_array_can_be_written_to(recorded):
    loaded = Trajectory.load(recorded[0])
    base = loaded.weights
    while not isinstance(base, np.memmap):
        base = base.base
    assert base.filename.name == "weights.npy"
    for walk in (loaded, random_walk(4)):
        for name in STORED:
            with pytest.raises(ValueError, match="read-only"):
                getattr(walk, name)[0] = 0
        with pytest.raises(AttributeError):
            walk.weights = None


@pytest.mark.parametrize("name", ["weights.npy", "columns.npy"])
def test_a_torn_last_row_is_left_out_of_a_killed_recording_and_named_in_a_finished_one(
    recorded, name
):
    path, seen = recorded
    with (path / name).open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 5)
    with pytest.raises(ValueError, match=rf"{name} must hold 8 rows; 7 are whole"):
        Trajectory.load(path)
    forget_the_end(path)
    loaded = Trajectory.load(path)
    assert np.array_equal(loaded.weights, seen[:-1])
    assert not loaded.complete
    assert "unfinished" in repr(loaded)


def test_half_a_row_too_many_is_left_out(recorded):
    path, seen = recorded
    forget_the_end(path)
    with (path / "weights.npy").open("ab") as file:
        file.write(b"\x7f" * 90)
    loaded = Trajectory.load(path)
    assert np.array_equal(loaded.weights, seen)
    assert loaded.error[-1] == 0.25


def test_what_is_no_recording_is_named(tmp_path, recorded):
    with pytest.raises(FileNotFoundError, match=r"there is no meta\.json in .*nowhere"):
        Trajectory.load(tmp_path / "nowhere")
    path, _ = recorded
    meta = json.loads((path / "meta.json").read_text())
    for text in ("{", '{"format": "other"}', "[]", json.dumps({**meta, "layout": None})):
        (path / "meta.json").write_text(text)
        message = r"meta\.json is damaged.*say 'causalprune trajectory', version 1; got"
        with pytest.raises(ValueError, match=message):
            Trajectory.load(path)
    (path / "meta.json").write_text(json.dumps(meta))
    forget_the_end(path)
    (path / "columns.npy").unlink()
    with pytest.raises(ValueError, match=r"columns\.npy must hold at least 1 rows; 0 are whole"):
        Trajectory.load(path)


def test_wrong_trajectories_are_named():
    weights = np.zeros((3, 8), np.float32)
    for arguments, message in (
        (([0, 1, 2], np.zeros((3, 7), np.float32)), r"weights must have shape \(any, 8\)"),
        (([0, 1], weights), r"steps must have shape \(3\); got \(2,\)"),
        (([0, 2, 2], weights), "steps must be one or more increasing"),
        (([0, 0.5, 1], weights), "steps must be one or more increasing whole"),
        (([], weights[:0]), "steps must be one or more"),
    ):
        with pytest.raises(ValueError, match=message):
            Trajectory(*arguments, LAYOUT)
    with pytest.raises(TypeError, match="weights must be float32 or float64; got int64"):
        Trajectory([0, 1, 2], weights.astype(int), LAYOUT)
    with pytest.raises(ValueError, match=r"error must have shape \(3\); got \(4,\)"):
        Trajectory([0, 1, 2], weights, LAYOUT, error=np.zeros(4))
    with pytest.raises(ValueError, match=r"index must lie in 0\.\.7"):
        Trajectory([0, 1, 2], weights[:, :2], LAYOUT, index=[0, 8])
    walk = Trajectory([0, 4, 8], weights, LAYOUT)
    with pytest.raises(ValueError, match="step must be a recorded one; got 5, the nearest is 4"):
        walk.at(5)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.50 kB"), (224 * 10**9, "224.00 GB")],
)
def test_bytes_print_for_people(size, text):
    assert str(Bytes(size)) == text
