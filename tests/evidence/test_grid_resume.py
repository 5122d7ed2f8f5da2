"""run_grid stopped and started again: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalprune_lib.evidence.grid import Point
from causalprune_lib.evidence.ledger import read_rows, to_frame


def test_finished_cells_are_not_run_again_and_new_ones_are_added(grid, square, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out.csv.gz"
    first = grid([square(log=str(log))], [0, 1], out=out)
    both = grid([square(log=str(log))], [0, 1, 2], out=out)
    assert log.read_text().split() == ["0", "1", "2"]
    pd.testing.assert_frame_equal(both[both.seed < 2].reset_index(drop=True), first)
    other = grid([square(log=str(log), scale=7)], [0], out=out)
    assert set(other.scale) == {7}  # the caller sees the cells asked for
    assert set(pd.read_csv(out).scale) == {2, 7}  # the file keeps them all


def test_two_kinds_of_spec_share_a_file_and_do_not_mix(grid, square, tmp_path):
    @dataclass(frozen=True)
    class Curve:
        subset: int | None = None

        def run(self, seed):
            return [Point({"accuracy": 0.5}, amount=amount) for amount in (0.1, 0.2)]

    out, varying = tmp_path / "out.csv", ["seconds", "started"]
    grid([Curve()], [0], out=out)
    grid([square()], [0, 1], out=out)
    again = grid([Curve()], [0], out=out)
    assert {"subset", "amount"} <= set(again)  # a field stays a column when it is None everywhere
    assert not {"log", "scale"} & set(again)
    alone = grid([Curve()], [0], out=None)
    pd.testing.assert_frame_equal(again.drop(columns=varying), alone.drop(columns=varying))
    assert {"subset", "amount", "log", "scale"} <= set(pd.read_csv(out))


def test_a_failed_cell_is_a_recorded_error_and_is_not_silently_retried(grid, square, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out.csv"
    spec = square(log=str(log), fail_on=1)
    with pytest.warns(UserWarning, match=r"1 of 3 cells .* ZeroDivisionError: no square today"):
        frame = grid([spec], [0, 1, 2], out=out)
    [bad] = frame[frame.seed == 1].to_dict("records")
    assert bad["metric"] == "error"
    assert np.isnan(bad["value"])
    assert bad["error"] == "ZeroDivisionError: no square today"
    assert len(frame) == 2 + 1 + 2
    with pytest.warns(UserWarning, match="1 of 3"):
        grid([spec], [0, 1, 2], out=out)
    assert log.read_text().split() == ["0", "1", "2"]
    with pytest.warns(UserWarning, match="1 of 3"):
        grid([spec], [0, 1, 2], out=out, retry_errors=True)
    assert log.read_text().split() == ["0", "1", "2", "1"]


def test_an_error_that_is_gone_is_replaced_by_the_result(grid, tmp_path):
    flag, out = tmp_path / "flag", tmp_path / "out.csv"

    @dataclass(frozen=True)
    class Needs:
        path: str

        def run(self, seed):
            return {"length": len(Path(self.path).read_text())}

    with pytest.warns(UserWarning, match="FileNotFoundError"):
        grid([Needs(str(flag))], [0], out=out)
    flag.write_text("four")
    frame = grid([Needs(str(flag))], [0], out=out, retry_errors=True)
    assert list(frame.value) == [4]
    assert list(pd.read_csv(out).metric) == ["length"]


SCRIPT = """
    import sys, threading, time
    from dataclasses import dataclass
    from causalprune_lib.evidence.grid import run_grid

    @dataclass(frozen=True)
    class Slow:
        log: str

        def run(self, seed):
            with open(self.log, "a") as log:
                log.write(f"{seed}\\n")
            time.sleep(0.1)
            return {"double": 2 * seed, "half": seed / 2}

    def write(out, n_jobs):
        options = {"n_jobs": n_jobs, "backend": "threading", "progress": False}
        run_grid([Slow(out + ".log")], range(12), out=out, **options)

    if __name__ == "__main__":
        for n_jobs, out in enumerate(sys.argv[1:], start=1):
            threading.Thread(target=write, args=(out, n_jobs)).start()
"""


def test_kill_9_and_a_new_start_do_only_what_is_missing(grid, tmp_path):
    script, outs = tmp_path / "grid.py", [tmp_path / "one.csv", tmp_path / "two.csv.gz"]
    script.write_text(textwrap.dedent(SCRIPT))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, script, *outs], env=environment)
    deadline = time.monotonic() + 120
    while not all(out.exists() and len(read_rows(out)) >= 2 * 3 for out in outs):
        assert process.poll() is None, "the grids ended before they were killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    slow = runpy.run_path(str(script))["Slow"]
    for out in outs:
        kept = to_frame(read_rows(out))  # readable, with whole cells only
        assert 3 <= kept.seed.nunique() < 12
        assert (kept.groupby("seed").size() == 2).all()
        log = Path(f"{out}.log")
        before = log.read_text().split()
        with pytest.warns(UserWarning, match="taken over from process"):
            final = grid([slow(str(log))], range(12), out=out)
        missing = sorted(set(range(12)) - set(kept.seed))
        assert list(map(int, log.read_text().split()[len(before) :])) == missing
        assert list(final[final.metric == "double"].value) == [2 * seed for seed in range(12)]
        old = final[final.seed.isin(kept.seed)].reset_index(drop=True)
        pd.testing.assert_frame_equal(old, kept)
