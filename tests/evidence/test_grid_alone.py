"""One file of results has one writer: a second is told who that is, a dead one is followed."""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from causalprune_lib import _files
from causalprune_lib._files import FileHeldError, holding
from causalprune_lib.evidence import ledger
from causalprune_lib.evidence.ledger import DiskFullError, read_rows
from causalprune_lib.evidence.provenance import RESULTS

HOLDER = """
    import sys, time
    from dataclasses import dataclass
    from causalprune_lib.evidence.grid import run_grid

    @dataclass(frozen=True)
    class Slow:
        def run(self, seed):
            time.sleep(600 * seed)
            return {"seed_again": seed}

    run_grid([Slow()], [0, 1], out=sys.argv[1], progress=False)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has written one cell of a file and is at work on a second; and the file."""
    script, out = tmp_path / "holder.py", tmp_path / "rows" / "out.csv.gz"
    script.write_text(textwrap.dedent(HOLDER))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, script, out], env=environment) as process:
        deadline = time.monotonic() + 60
        while not (out.exists() and read_rows(out)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process, out
        process.kill()


def test_a_second_writer_is_refused_and_told_who_holds_the_file(holder, grid, square):
    process, out = holder
    before = out.read_bytes()
    with pytest.raises(FileHeldError) as caught:
        grid([square()], [0], out=out)
    told = str(caught.value)
    assert f"{out} is held by process {process.pid} on {platform.node()} since 20" in told
    assert out.read_bytes() == before
    slow = {row["seed"] for row in read_rows(out)}  # to read it is no offence
    assert slow == {"0"}


def test_after_kill_9_the_file_is_taken_over_with_a_word_and_nothing_is_lost(holder, grid, square):
    process, out = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.warns(UserWarning, match=rf"taken over from process {process.pid} on .* is dead"):
        grid([square()], [0, 1], out=out)
    assert sorted(pd.read_csv(out).spec) == ["Slow", *["Square"] * 4]
    assert list(out.parent.iterdir()) == [out]  # neither lock nor note stays behind
    grid(
        [square()], [0, 1, 2], out=out
    )  # and no word the second time: warnings are looked at below


def test_a_file_that_was_let_go_is_taken_without_a_word(tmp_path, recwarn):
    path = tmp_path / "a.csv"
    for _ in range(2):
        with holding(path):
            pass
    assert not recwarn.list
    assert list(tmp_path.iterdir()) == []


def test_a_holder_that_has_not_yet_said_its_name_holds_all_the_same(tmp_path):
    path = tmp_path / "a.csv"
    with holding(path):
        (tmp_path / ".a.csv.holder").unlink()
        with pytest.raises(FileHeldError, match="held by another process"), holding(path):
            pass


def test_who_finds_everything_done_writes_nothing_and_may_read_beside_a_writer(
    grid, square, tmp_path
):
    out = tmp_path / "out.csv"
    first = grid([square()], [0, 1], out=out)
    with holding(out):
        again = grid([square()], [0, 1], out=out)
        with pytest.raises(FileHeldError):
            grid([square()], [2], out=out)
    pd.testing.assert_frame_equal(first, again)


def test_cells_that_another_writer_finished_meanwhile_are_not_run_again(
    grid, square, tmp_path, monkeypatch
):
    """The second one has read the file before it is alone with it, and reads it anew after."""
    log, out = tmp_path / "log", tmp_path / "out.csv"
    spec, hold = square(log=str(log)), _files.holding

    def late(path):
        monkeypatch.setattr(ledger, "holding", hold)
        grid([spec], [0, 1], out=out)
        return hold(path)

    monkeypatch.setattr(ledger, "holding", late)
    frame = grid([spec], [0, 1, 2], out=out)
    assert log.read_text().split() == ["0", "1", "2"]
    assert len(frame) == len(read_rows(out)) == 6


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_keeps_what_was_written_and_says_what_to_do(
    number, grid, square, tmp_path, monkeypatch
):
    out = tmp_path / "out.csv"
    writes = []

    def full_at_the_fourth(path):
        writes.append(path)
        if len(writes) == 4:  # one to try, then one a cell
            raise OSError(number, os.strerror(number))
        return _files.replacing(path)

    monkeypatch.setattr(ledger, "replacing", full_at_the_fourth)
    with pytest.raises(DiskFullError, match="make room and start again") as caught:
        grid([square()], range(5), out=out)
    assert caught.value.errno == number
    assert [row["seed"] for row in read_rows(out)] == ["0", "0", "1", "1"]
    assert list(tmp_path.iterdir()) == [out]
    assert grid([square()], range(5), out=out).seed.nunique() == 5  # there is room again


def test_any_other_trouble_with_the_disk_keeps_its_name(grid, square, tmp_path, monkeypatch):
    def broken(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(ledger, "replacing", broken)
    with pytest.raises(OSError, match="Input/output") as caught:
        grid([square()], [0], out=tmp_path / "out.csv")
    assert not isinstance(caught.value, DiskFullError)


def test_the_lock_is_not_seen_as_a_change_of_the_code(tmp_path):
    """A run begins with its lock beside its rows, inside the checkout."""
    run = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*run, "init", "-q"], check=True)
    (tmp_path / "rows").mkdir()
    with holding(tmp_path / "rows" / "a.csv.gz"), holding(tmp_path / "rows" / "a.csv"):
        left = {path.name for path in (tmp_path / "rows").iterdir()}
        assert left == {f".a.csv{gz}.{what}" for gz in ("", ".gz") for what in ("holder", "lock")}
        command = [*run, "status", "--porcelain", "--", ":/", *RESULTS]
        assert subprocess.run(command, capture_output=True, check=True).stdout == b""


def test_workers_do_not_keep_the_lock_of_a_dead_master(tmp_path):
    """A worker that outlives `kill -9` of the process that started it holds nothing."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from causalprune_lib._files import holding\n"
        "with holding(Path(sys.argv[1])):\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "    print(child.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    out = tmp_path / "a.csv"
    command = [sys.executable, script, out]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as parent:
        child = json.loads(parent.stdout.readline())
        parent.kill()
        parent.wait()
        try:
            os.kill(child, 0)  # it lives
            with pytest.warns(UserWarning, match="taken over"), holding(out):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


@dataclass(frozen=True)
class Nested:
    """A grid inside a grid on one file: it would overwrite the outer one's rows."""

    out: str

    def run(self, seed):
        with holding(Path(self.out)):
            return {"a": 1.0}


def test_a_grid_inside_a_grid_on_the_same_file_is_refused_too(grid, tmp_path):
    out = tmp_path / "out.csv"
    with pytest.warns(UserWarning, match="FileHeldError: .* is held by process"):
        frame = grid([Nested(str(out))], [0], out=out)
    assert frame.metric.tolist() == ["error"]
