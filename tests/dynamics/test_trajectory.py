"""The trajectory itself: its arithmetic, its views, its files, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from causalprune_lib._memory import Bytes
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout

LAYOUT = ParameterLayout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)))  # P = 8


def random_walk(rows: int, seed: int = 0, *, dtype=np.float32, **columns) -> Trajectory:
    noise = np.random.default_rng(seed)
    weights = noise.normal(size=(rows, LAYOUT.size)).cumsum(axis=0).astype(dtype)
    return Trajectory(np.arange(rows), weights, LAYOUT, **columns)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 12), seed=st.integers(0, 99), max_bytes=st.sampled_from([1, 40, 100, 10**6])
)
def test_movement_is_the_sum_of_squared_increments_for_any_chunk(rows, seed, max_bytes):
    walk = random_walk(rows, seed)
    exact = np.zeros(LAYOUT.size)
    for before, after in zip(walk.weights[:-1], walk.weights[1:], strict=True):
        exact += (after.astype(np.float64) - before.astype(np.float64)) ** 2
    movement = walk.movement(max_bytes=max_bytes)
    assert movement.dtype == torch.float64
    # rounding of a sum of T non-negative terms: at most T units in the last place
    np.testing.assert_allclose(movement, exact, rtol=12 * np.finfo(float).eps)


def test_movement_keeps_steps_that_float32_sums_would_lose():
    weights = np.zeros((10_001, LAYOUT.size), np.float32)
    weights[1:] = 4096.0  # one square of 2^24, after which float32 cannot count by ones
    weights[2::2] += 1.0
    movement = Trajectory(np.arange(10_001), weights, LAYOUT).movement()
    assert movement.tolist() == [4096.0**2 + 9_999.0] * LAYOUT.size


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 12), max_bytes=st.sampled_from([1, 40, 100, 10**6]))
def test_chunks_put_together_are_the_whole(rows, max_bytes):
    walk = random_walk(rows)
    whole = torch.from_numpy(np.array(walk.weights))
    parts = list(walk.iter_weights(max_bytes=max_bytes))
    assert torch.equal(torch.cat([part for _, part in parts], dim=1), whole)
    assert all(torch.equal(whole[:, where], part) for where, part in parts)
    assert all(part.nbytes <= max_bytes or part.shape[1] == 1 for _, part in parts)
    increments = walk.increments()
    assert torch.equal(increments, whole[1:] - whole[:-1])
    for where, part in walk.iter_increments(max_bytes=max_bytes):
        assert torch.equal(increments[where], part)
        assert part.nbytes <= max_bytes or len(part) == 1


def test_windows_hold_the_rows_that_they_say():
    walk = random_walk(10, loss_before=np.arange(10.0), error=np.full(10, 0.5))
    part = walk.window(3, 6)
    assert part.steps.tolist() == [3, 4, 5, 6]
    assert part.loss_before.tolist() == [3.0, 4.0, 5.0, 6.0]
    assert np.shares_memory(part.weights, walk.weights)
    windows = walk.sliding_windows(4, stride=3)
    assert windows.shape == (3, LAYOUT.size, 4)
    for w in range(3):
        assert np.array_equal(windows[w], walk.weights[3 * w : 3 * w + 4].T)
    assert walk.sliding_windows(10).shape == (1, LAYOUT.size, 10)
    assert np.shares_memory(windows, walk.weights)


def test_rewinding_restores_the_bits():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    walk = random_walk(5)
    LAYOUT.load(model, walk.at(2))
    assert torch.equal(LAYOUT.flatten(model), torch.from_numpy(np.array(walk.weights[2])))
    walk.at(2).zero_()  # a copy: the trajectory does not change
    assert walk.weights[2].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [None, [1, 2, 6]])
@pytest.mark.parametrize("complete", [True, False])
def test_saved_and_loaded_is_the_same(dtype, index, complete, tmp_path):
    whole = random_walk(6, dtype=dtype)
    walk = Trajectory(
        whole.steps * 3,
        whole.weights if index is None else whole.weights[:, index],
        LAYOUT,
        loss_before=np.arange(6.0),
        loss_after=[np.nan, 1, np.inf, 3, 4, 5],
        error=np.linspace(0, 1, 6),
        index=index,
        complete=complete,
    )
    walk.save(tmp_path / "walk")
    again = Trajectory.load(tmp_path / "walk")
    for name in ("steps", "weights", "loss_before", "loss_after", "error", "index"):
        np.testing.assert_array_equal(getattr(again, name), getattr(walk, name))
    assert again.weights.dtype == dtype
    assert again.layout == LAYOUT
    assert again.complete is complete
    assert (tmp_path / "walk" / "index.npy").exists() is (index is not None)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        walk.save(tmp_path / "walk")
    again.save(tmp_path / "walk", overwrite=True)  # onto the very files that it maps
    np.testing.assert_array_equal(Trajectory.load(tmp_path / "walk").weights, walk.weights)


def test_a_walk_of_millions_of_weights_stays_on_disk(tmp_path):
    layout = ParameterLayout(("wide.weight",), (torch.Size((1000, 1000)),))
    weights = np.zeros((3, 10**6), np.float32)
    weights[1] = 1.0
    Trajectory([0, 1, 2], weights, layout).save(tmp_path / "walk")
    loaded = Trajectory.load(tmp_path / "walk")
    base = loaded.weights
    while not isinstance(base, np.memmap):
        base = base.base
    assert base.filename.name == "weights.npy"
    assert torch.equal(loaded.movement(), torch.full((10**6,), 2.0, dtype=torch.float64))


def test_a_diverged_walk_is_kept_and_its_movement_names_the_first_bad_step():
    weights = np.array(random_walk(6).weights)
    weights[3, 7], weights[4, 1] = np.inf, np.nan
    walk = Trajectory([0, 10, 20, 30, 40, 50], weights, LAYOUT)
    assert walk.finite.tolist() == [True, True, True, False, False, True]
    with pytest.raises(ValueError, match=r"in 1\.weight\[0, 1\] after step 30"):
        walk.movement()
    assert torch.isfinite(walk.window(0, 20).movement()).all()


def test_stored_arrays_cannot_be_written_to(tmp_path):
    walk = random_walk(4)
    walk.save(tmp_path / "walk")
    for trajectory in (walk, Trajectory.load(tmp_path / "walk")):
        for name in ("steps", "weights", "loss_before", "loss_after", "error", "index"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(trajectory, name)[0] = 0
        with pytest.raises(AttributeError):
            trajectory.weights = None


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
    with pytest.raises(ValueError, match=r"must hold a recorded step in 0\.\.8; got 5\.\.7"):
        walk.window(5, 7)
    with pytest.raises(ValueError, match="size must be at most T = 3 rows; got 4"):
        walk.sliding_windows(4)
    with pytest.raises(ValueError, match="max_bytes must be >= 1; got 0"):
        walk.movement(max_bytes=0)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.50 kB"), (224 * 10**9, "224.00 GB")],
)
def test_bytes_print_for_people(size, text):
    assert str(Bytes(size)) == text
