"""What the recorder writes: rows against clones taken by hand; killed, in the way, without room."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from causalprune_lib import _memory
from causalprune_lib.dynamics import recorder as recording
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.dynamics.trajectory import Trajectory

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("place", ["memory", "disk"])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.Adam(p, lr=0.01),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_rows_equal_clones_bit_by_bit(loop, make, place, tmp_path):
    model = loop.network()
    with TrajectoryRecorder(model, path=tmp_path / "run" if place == "disk" else None) as recorder:
        seen = loop.walk(model, make(model.parameters()))
    trajectory = recorder.trajectory()
    assert loop.same_bits(trajectory.weights, seen)
    assert trajectory.steps.tolist() == list(range(loop.steps + 1))
    assert trajectory.complete


@pytest.mark.parametrize(("every", "kept"), [(1, range(8)), (3, (0, 3, 6)), (9, (0,))])
def test_every_kth_step(loop, every, kept):
    model = loop.network()
    with TrajectoryRecorder(model, every=every, steps=loop.steps) as recorder:
        seen = loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1))
    trajectory = recorder.trajectory()
    assert trajectory.steps.tolist() == list(kept)
    assert loop.same_bits(trajectory.weights, seen[list(kept)])


@pytest.mark.parametrize("index", [[0], [3, 17, 18, 41], [20, 25], list(range(42))])
def test_a_subset_of_the_weights(loop, index, tmp_path):
    model = loop.network()
    with TrajectoryRecorder(model, indices=index, path=tmp_path / "run") as recorder:
        seen = loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1))
    trajectory = recorder.trajectory()
    assert loop.same_bits(trajectory.weights, seen[:, index])
    assert trajectory.index.tolist() == index
    assert trajectory.layout == recorder.layout


def test_pruned_weights_are_recorded_as_the_network_uses_them(loop):
    model = loop.network()
    prune.random_unstructured(model[3], "weight", amount=0.5)
    with TrajectoryRecorder(model, indices=range(10, 42)) as recorder:
        seen = loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
        prune.l1_unstructured(model[0], "weight", amount=0.5)
        masked = loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1))
        prune.remove(model[0], "weight")
        removed = loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1))
    weights = recorder.trajectory().weights
    expected = np.concatenate([seen, masked[1:], removed[1:]])[:, 10:]
    assert loop.same_bits(weights, expected)
    assert (weights[:, 8:] == 0).all(axis=0).sum() == 12  # half of the 24 weights of the last layer


def test_parameters_of_any_kind_and_precision(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    with TrajectoryRecorder(model, which="all", path=tmp_path / "run") as recorder:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.ones(6, 4, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    trajectory = recorder.trajectory()
    assert trajectory.weights.dtype == np.float64
    assert torch.equal(trajectory.at(1), trajectory.layout.flatten(model))
    half = nn.Linear(4, 3).bfloat16()
    with TrajectoryRecorder(half) as recorder:
        recorder.step()
    assert torch.equal(recorder.trajectory().at(0).bfloat16(), half.weight.flatten())


def test_two_recorders_of_two_models_do_not_mix(loop):
    one, two = loop.network(1), loop.network(2)
    with TrajectoryRecorder(one) as first, TrajectoryRecorder(two) as second:
        seen_one = loop.walk(one, torch.optim.SGD(one.parameters(), lr=0.1))
        seen_two = loop.walk(two, torch.optim.SGD(two.parameters(), lr=0.2), steps=3)
    assert loop.same_bits(first.trajectory().weights, seen_one)
    assert loop.same_bits(second.trajectory().weights, seen_two)


def test_more_steps_than_announced_and_a_look_in_mid_run(loop, monkeypatch):
    monkeypatch.setattr(recording, "CHUNK_BYTES", 3 * 42 * 4)  # three rows to a further piece
    model = loop.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, steps=2) as recorder:
        seen = loop.walk(model, optimizer)
        halfway = recorder.trajectory()
        seen = np.concatenate([seen, loop.walk(model, optimizer)[1:]])
    assert loop.same_bits(recorder.trajectory().weights, seen)
    assert loop.same_bits(halfway.weights, seen[: loop.steps + 1])


@pytest.mark.parametrize("on_disk", [False, True])
def test_what_is_logged_now_and_then_is_nan_elsewhere(on_disk, tmp_path):
    model = nn.Linear(2, 1)
    with TrajectoryRecorder(model, every=2, path=tmp_path / "run" if on_disk else None) as recorder:
        recorder.log(error=0.9)
        for t in range(1, 7):
            if t in (2, 3):
                recorder.log(loss=float(t))
            recorder.step()
            recorder.log(error=t / 10)
    trajectory = recorder.trajectory()
    nan = np.nan
    np.testing.assert_equal(trajectory.loss_before, [nan, 2.0, nan, nan])  # step 3 has no row
    np.testing.assert_equal(trajectory.loss_after, [nan] * 4)
    np.testing.assert_equal(trajectory.error, [0.9, 0.2, 0.4, 0.6])


CHILD = """
import sys, torch
from torch import nn
from causalprune_lib.dynamics.recorder import TrajectoryRecorder

torch.manual_seed(0)
model = nn.Linear(300, 100)
with TrajectoryRecorder(model, path=sys.argv[1]) as recorder, torch.no_grad():
    for t in range(1, 1_000_000):
        loss = model(torch.randn(4, 300)).square().mean()
        recorder.log(loss=loss, error=t / 1e6)
        model.weight += torch.randn(100, 300)
        recorder.step()
        print(t, float(model.weight[0, 0]), float(loss), flush=True)
"""


def test_a_recording_killed_in_mid_run_is_readable_to_its_last_whole_step(tmp_path):
    path = tmp_path / "run"
    command = [sys.executable, "-c", CHILD, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        heard = [child.stdout.readline() for _ in range(40)]
    finally:
        child.send_signal(signal.SIGKILL)
        heard += child.stdout.read().splitlines()
        child.stdout.close()
    assert child.wait(timeout=60) == -signal.SIGKILL
    said = [line.split() for line in heard if len(line.split()) == 3]

    trajectory = Trajectory.load(path)
    assert not trajectory.complete
    # The kill may fall between a row and its line, or cut the last line short.
    assert len(said) <= len(trajectory) - 1 <= len(said) + 2
    assert trajectory.steps.tolist() == list(range(len(trajectory)))
    assert trajectory.finite.all()
    for t, first, loss in said[:-1]:
        assert trajectory.weights[int(t), 0] == np.float32(first)
        assert trajectory.loss_before[int(t)] == float(loss)
    by_numpy = np.load(path / "weights.npy", mmap_mode="r")  # without this library
    assert len(by_numpy) - len(trajectory) in (0, 1)
    assert np.array_equal(by_numpy[: len(trajectory)], trajectory.weights)


def test_something_in_the_way_is_never_replaced(loop, tmp_path):
    model, path = loop.network(), tmp_path / "run"
    with TrajectoryRecorder(model, path=path) as recorder:
        seen = loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years")
    for taken, held in (
        (path, "a recording"),
        (tmp_path / "thesis", "something else"),
        (tmp_path / "thesis" / "thesis.tex", "something else"),
    ):
        with pytest.raises(FileExistsError, match=f"must be new or an empty folder.*holds {held}"):
            TrajectoryRecorder(model, path=taken).__enter__()
    assert np.array_equal(Trajectory.load(path).weights, seen)
    assert (tmp_path / "thesis" / "thesis.tex").read_text() == "years"
    (tmp_path / "empty").mkdir()
    with TrajectoryRecorder(model, path=tmp_path / "empty") as recorder:
        recorder.step()
    assert len(recorder.trajectory()) == 2


def test_a_disk_too_small_is_said_before_anything_is_written(loop, tmp_path, monkeypatch):
    recorder = TrajectoryRecorder(loop.network(), path=tmp_path / "a" / "b", steps=980)
    needed = recorder.estimate(980)
    assert needed == 981 * (42 * 4 + 32) + 512
    assert str(needed) == "196.71 kB"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=int(needed) - 1))
    with pytest.raises(OSError, match=r"980 steps of 42 weights needs 196\.71 kB; .*available"):
        recorder.__enter__()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=int(needed)))
    with recorder:
        recorder.step()
    assert len(recorder.trajectory()) == 2


def test_a_memory_too_small_is_said(loop, monkeypatch):
    monkeypatch.setattr(_memory, "available_memory", lambda: _memory.Bytes(1_000_000))
    with pytest.raises(MemoryError, match=r"needs 2\.00 GB; memory has 1\.00 MB available.*path="):
        TrajectoryRecorder(loop.network(), steps=10_000_000).__enter__()
    with TrajectoryRecorder(loop.network(), steps=100) as recorder:
        recorder.step()


def test_memory_that_runs_out_in_mid_run_keeps_the_rows_before(loop, monkeypatch):
    monkeypatch.setattr(recording, "CHUNK_BYTES", 20 * 42 * 4)
    monkeypatch.setattr(_memory, "available_memory", lambda: _memory.Bytes(2000))
    model = loop.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, steps=2) as recorder:
        seen = loop.walk(model, optimizer, steps=2)
        with pytest.raises(MemoryError, match=r"more steps than announced needs 3\.36 kB; memory"):
            optimizer.step()
    assert loop.same_bits(recorder.trajectory().weights, seen)


def test_a_disk_that_fills_up_keeps_the_rows_before(loop, tmp_path):
    model = loop.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []

    class Full:
        """A file on a disk that has space for 400 more bytes."""

        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self.file.__enter__()

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def write(self, data):
            end = self.file.seek(0, os.SEEK_CUR) + len(data)
            if end > 256 + 42 * 4 + 400:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

    def run(recorder):
        with recorder:
            recorder._store._weights._file = Full(recorder._store._weights._file)
            seen.extend(loop.walk(model, optimizer, steps=1))
            seen.extend(loop.walk(model, optimizer, steps=1)[1:])
            loop.walk(model, optimizer)

    recorder = TrajectoryRecorder(model, path=tmp_path / "run")
    with pytest.raises(OSError, match=r"is full: a row needs 168 bytes.*3 rows written so far"):
        run(recorder)
    trajectory = recorder.trajectory()
    assert np.array_equal(trajectory.weights, seen)
    assert not trajectory.complete


def test_no_step_at_all_is_said(loop):
    with pytest.warns(UserWarning, match="No optimizer step"), TrajectoryRecorder(loop.network()):
        pass


def test_wrong_use_is_named():
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"which must be one of.*'prunable'"):
        TrajectoryRecorder(model, which="prunabel")
    with pytest.raises(ValueError, match="reuse_loss needs a probe"):
        TrajectoryRecorder(model, reuse_loss=True)
    with pytest.raises(ValueError, match="every must be >= 1; got 0"):
        TrajectoryRecorder(model, every=0)
    with pytest.raises(ValueError, match=r"indices must lie in 0\.\.1"):
        TrajectoryRecorder(model, indices=[0, 2])
    with pytest.raises(ValueError, match="indices must increase"):
        TrajectoryRecorder(model, indices=[1, 0])
    with pytest.raises(TypeError, match=r"indices must be .* whole numbers"):
        TrajectoryRecorder(model, indices=[True, False])
    with pytest.raises(RuntimeError, match="inside its with block"):
        TrajectoryRecorder(model).log(loss=1.0)
    with pytest.raises(RuntimeError, match="Nothing is recorded yet"):
        TrajectoryRecorder(model).trajectory()
    with TrajectoryRecorder(model, probe=lambda m, x: m(x).sum()) as recorder:
        with pytest.raises(ValueError, match="loss must not be logged where a probe"):
            recorder.log(loss=1.0)
        with pytest.raises(RuntimeError, match=r"probe needs recorder.batch"):
            recorder.step()
    with TrajectoryRecorder(model) as recorder:
        recorder.step()
        with pytest.raises(RuntimeError, match="needs a probe"):
            recorder.batch(1)
        with pytest.raises(TypeError, match=r"loss must give one number; got tensor"):
            recorder.log(loss=torch.ones(2))
        with pytest.raises(ValueError, match=r"error must be in \[0, 1\]; got 31"):
            recorder.log(error=31)
    with pytest.raises(RuntimeError, match="records once"), recorder:
        pass
