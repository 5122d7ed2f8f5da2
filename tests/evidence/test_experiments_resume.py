"""run_grid stopped and started again: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalprune_lib.evidence.grid import Point, run_grid
from causalprune_lib.evidence.ledger import read_rows, to_frame


@dataclass(frozen=True)
class Square:
    """Notes each of its runs in a file and fails where it is told to."""

    log: str = ""
    scale: float = 2.0
    fail_on: int = -1

    def run(self, seed):
        if self.log:
            with open(self.log, "a") as stream:
                stream.write(f"{seed}\n")
        if seed == self.fail_on:
            raise ZeroDivisionError("no square\n  today")
        return {"square": self.scale * seed**2, "seed_again": seed}


def quiet(*args, **options):
    return run_grid(*args, progress=False, **options)


def test_finished_cells_are_not_run_again_and_new_ones_are_added(tmp_path):
    log, out = tmp_path / "log", tmp_path / "out.csv"
    first = quiet([Square(log=str(log))], [0, 1], out=out)
    both = quiet([Square(log=str(log))], [0, 1, 2], out=out)
    assert log.read_text().split() == ["0", "1", "2"]
    pd.testing.assert_frame_equal(both[both.seed < 2].reset_index(drop=True), first)
    other = quiet([Square(log=str(log), scale=7)], [0], out=out)
    assert set(other.scale) == {7}  # the caller sees the cells asked for
    assert set(pd.read_csv(out).scale) == {2, 7}  # the file keeps them all


def test_two_kinds_of_spec_share_a_file_and_do_not_mix(tmp_path):
    @dataclass(frozen=True)
    class Curve:
        subset: int | None = None

        def run(self, seed):
            return [Point({"accuracy": 0.5}, amount=amount) for amount in (0.1, 0.2)]

    out, varying = tmp_path / "out.csv", ["seconds", "started"]
    quiet([Curve()], [0], out=out)
    quiet([Square()], [0, 1], out=out)
    again = quiet([Curve()], [0], out=out)
    assert {"subset", "amount"} <= set(again)  # a field stays a column when it is None everywhere
    assert not {"log", "scale"} & set(again)
    alone = quiet([Curve()], [0], out=None)
    pd.testing.assert_frame_equal(again.drop(columns=varying), alone.drop(columns=varying))
    assert {"subset", "amount", "log", "scale"} <= set(pd.read_csv(out))


def test_a_failed_cell_is_a_recorded_error_and_is_not_silently_retried(tmp_path):
    log, out = tmp_path / "log", tmp_path / "out.csv"
    spec = Square(log=str(log), fail_on=1)
    with pytest.warns(UserWarning, match=r"1 of 3 cells .* ZeroDivisionError: no square today"):
        frame = quiet([spec], [0, 1, 2], out=out)
    [bad] = frame[frame.seed == 1].to_dict("records")
    assert bad["metric"] == "error"
    assert np.isnan(bad["value"])
    assert bad["error"] == "ZeroDivisionError: no square today"
    assert len(frame) == 2 + 1 + 2
    with pytest.warns(UserWarning, match="1 of 3"):
        quiet([spec], [0, 1, 2], out=out)
    assert log.read_text().split() == ["0", "1", "2"]
    with pytest.warns(UserWarning, match="1 of 3"):
        quiet([spec], [0, 1, 2], out=out, retry_errors=True)
    assert log.read_text().split() == ["0", "1", "2", "1"]


def test_an_error_that_is_gone_is_replaced_by_the_result(tmp_path):
    flag, out = tmp_path / "flag", tmp_path / "out.csv"

    @dataclass(frozen=True)
    class Needs:
        path: str

        def run(self, seed):
            return {"length": len(Path(self.path).read_text())}

    with pytest.warns(UserWarning, match="FileNotFoundError"):
        quiet([Needs(str(flag))], [0], out=out)
    flag.write_text("four")
    frame = quiet([Needs(str(flag))], [0], out=out, retry_errors=True)
    assert list(frame.value) == [4]
    assert list(pd.read_csv(out).metric) == ["length"]


def test_rows_added_by_another_process_meanwhile_are_kept(tmp_path):
    out = tmp_path / "out.csv"

    @dataclass(frozen=True)
    class Nested:
        def run(self, seed):
            quiet([Square()], [seed], out=out)
            return {"a": 1.0}

    quiet([Nested()], [0, 1], out=out)
    assert sorted(pd.read_csv(out).spec.unique()) == ["Nested", "Square"]
    assert len(pd.read_csv(out)) == 2 + 4


SCRIPT = """
    import sys, time
    from dataclasses import dataclass
    from causalprune_lib.evidence.grid import Point, run_grid

    @dataclass(frozen=True)
    class Slow:
        def run(self, seed):
            with open(sys.argv[2], "a") as log:
                log.write(f"{seed}\\n")
            time.sleep(0.1)
            return {"double": 2 * seed, "half": seed / 2}

    if __name__ == "__main__":
        run_grid([Slow()], range(15), out=sys.argv[1], n_jobs=int(sys.argv[3]), progress=False)
"""


def test_kill_9_and_a_new_start_do_only_what_is_missing(tmp_path, monkeypatch):
    script, out = tmp_path / "grid.py", tmp_path / "grid.csv"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    kept = pd.DataFrame({"seed": []})
    for n_jobs in (2, 1):
        before, log = set(kept.seed), tmp_path / f"{n_jobs} jobs"
        process = subprocess.Popen(
            [sys.executable, script, out, log, str(n_jobs)], env=environment, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if out.exists() and len(read_rows(out)) >= 2 * (len(before) + 3):
                break
            assert process.poll() is None, "the grid ended before it was killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        with suppress(ProcessLookupError):  # its orphaned workers would wait five minutes for work
            os.killpg(process.pid, signal.SIGKILL)
        kept = to_frame(read_rows(out))  # readable, with whole cells only
        assert len(before) + 3 <= kept.seed.nunique() < 15
        assert (kept.groupby("seed").size() == 2).all()
        assert before <= set(kept.seed)
        assert before.isdisjoint(map(int, log.read_text().split()))
    missing = sorted(set(range(15)) - set(kept.seed))
    monkeypatch.setattr(sys, "argv", ["", str(out), str(tmp_path / "last")])
    final = quiet([runpy.run_path(str(script))["Slow"]()], range(15), out=out)
    assert list(map(int, (tmp_path / "last").read_text().split())) == missing
    assert list(final[final.metric == "double"].value) == [2 * seed for seed in range(15)]
    pd.testing.assert_frame_equal(final[final.seed.isin(kept.seed)].reset_index(drop=True), kept)
