"""Recordings on disk: killed, cut short, in the way, and without room."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from causalprune_lib import _memory as room
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.dynamics.trajectory import Trajectory

CHILD = """
import sys, torch
from torch import nn
from causalprune_lib.dynamics.recorder import TrajectoryRecorder

torch.manual_seed(0)
model = nn.Linear(300, 100)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with TrajectoryRecorder(model, path=sys.argv[1]) as recorder:
    for t in range(1, 1_000_000):
        loss = model(torch.randn(4, 300)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        recorder.log(loss=loss, error=t / 1e6)
        optimizer.step()
        print(t, float(model.weight[0, 0]), float(loss), flush=True)
"""
ROOT = Path(__file__).parents[2]


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
    assert "unfinished" in repr(trajectory)
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


@pytest.fixture
def recorded(loop, tmp_path) -> tuple[Path, np.ndarray]:
    model = loop.network()
    with TrajectoryRecorder(model, path=tmp_path / "run") as recorder:
        seen = loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1))
        recorder.log(error=0.25)
    return tmp_path / "run", seen


def forget_the_end(path: Path) -> None:
    """Make meta.json say what it says while a recording runs."""
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, "rows": None, "complete": False}))


@pytest.mark.parametrize("name", ["weights.npy", "columns.npy"])
def test_a_torn_last_row_is_left_out(recorded, name):
    path, seen = recorded
    forget_the_end(path)
    with (path / name).open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 5)
    assert np.array_equal(Trajectory.load(path).weights, seen[:-1])


def test_half_a_row_too_many_is_left_out(recorded):
    path, seen = recorded
    forget_the_end(path)
    with (path / "weights.npy").open("ab") as file:
        file.write(b"\x7f" * 90)
    trajectory = Trajectory.load(path)
    assert np.array_equal(trajectory.weights, seen)
    assert trajectory.error[-1] == 0.25


@pytest.mark.parametrize("name", ["weights.npy", "columns.npy"])
def test_a_truncated_file_of_a_finished_recording_is_named(recorded, name):
    path, _ = recorded
    with (path / name).open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 5)
    with pytest.raises(ValueError, match=rf"{name} must hold 8 rows; 7 are whole"):
        Trajectory.load(path)


def test_what_is_no_recording_is_named(tmp_path, recorded):
    with pytest.raises(FileNotFoundError, match=r"there is no meta\.json in .*nowhere"):
        Trajectory.load(tmp_path / "nowhere")
    path, _ = recorded
    meta = json.loads((path / "meta.json").read_text())
    for text, message in (
        ("{", "damaged"),
        ('{"format": "other"}', "must say 'causalprune trajectory', version 1"),
        (json.dumps({**meta, "layout": None}), "damaged"),
    ):
        (path / "meta.json").write_text(text)
        with pytest.raises(ValueError, match=rf"meta\.json.*{message}"):
            Trajectory.load(path)
    (path / "meta.json").write_text(json.dumps(meta))
    forget_the_end(path)
    (path / "columns.npy").unlink()
    with pytest.raises(ValueError, match=r"columns\.npy must hold at least 1 rows; 0 are whole"):
        Trajectory.load(path)


def test_something_in_the_way_is_never_replaced_unasked(loop, recorded, tmp_path):
    path, seen = recorded
    model = loop.network(1)
    with pytest.raises(FileExistsError, match="Pass overwrite=True"):
        TrajectoryRecorder(model, path=path).__enter__()
    assert np.array_equal(Trajectory.load(path).weights, seen)
    old = Trajectory.load(path)
    with TrajectoryRecorder(model, path=path, overwrite=True) as recorder:
        again = loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=2)
    assert np.array_equal(recorder.trajectory().weights, again)
    assert np.array_equal(old.weights, seen)  # a map of the old file still reads the old rows
    (path / "thesis.tex").write_text("years")
    for taken in (path, path / "thesis.tex"):
        with pytest.raises(FileExistsError, match="something else"):
            TrajectoryRecorder(model, path=taken, overwrite=True).__enter__()
    assert (path / "thesis.tex").read_text() == "years"
    (tmp_path / "empty").mkdir()
    with TrajectoryRecorder(model, path=tmp_path / "empty") as recorder:
        recorder.step()


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


def test_an_old_recording_counts_as_room_and_stays_when_that_is_not_enough(
    loop, recorded, monkeypatch
):
    path, seen = recorded
    usage = shutil.disk_usage(path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    options = {"path": path, "overwrite": True}
    with pytest.raises(OSError, match="available"):
        TrajectoryRecorder(loop.network(), steps=5000, **options).__enter__()
    assert np.array_equal(Trajectory.load(path).weights, seen)
    with TrajectoryRecorder(loop.network(), steps=5, **options) as recorder:
        recorder.step()
    assert len(Trajectory.load(path)) == 2


def test_a_memory_too_small_is_said(loop, monkeypatch):
    monkeypatch.setattr(room, "available_memory", lambda: room.Bytes(1_000_000))
    with pytest.raises(MemoryError, match=r"needs 2\.00 GB; memory has 1\.00 MB available.*path="):
        TrajectoryRecorder(loop.network(), steps=10_000_000).__enter__()
    with TrajectoryRecorder(loop.network(), steps=100) as recorder:
        recorder.step()


def test_a_disk_that_fills_up_keeps_the_rows_before(loop, tmp_path):
    model = loop.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []

    class Full:
        """A file on a disk with room for 400 more bytes."""

        def __init__(self, file):
            self.file, self.room = file, 400

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self.file.__enter__()

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def write(self, data):
            end = self.file.seek(0, os.SEEK_CUR) + len(data)
            if end > 256 + 42 * 4 + self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

    def run(recorder):
        with recorder:
            recorder._rows._weights._file = Full(recorder._rows._weights._file)
            seen.extend(loop.walk(model, optimizer, steps=1))
            seen.extend(loop.walk(model, optimizer, steps=1)[1:])
            loop.walk(model, optimizer)

    recorder = TrajectoryRecorder(model, path=tmp_path / "run")
    with pytest.raises(OSError, match=r"is full: a row needs 168 bytes.*3 rows written so far"):
        run(recorder)
    trajectory = recorder.trajectory()
    assert np.array_equal(trajectory.weights, seen)
    assert not trajectory.complete
