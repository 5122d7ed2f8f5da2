"""A campaign on a real Dask cluster of this machine: its rows, its deaths, its refusals."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from distributed import LocalCluster
from slow_cells import SlowCell, runs

from causalprune_lib.evidence.grid import run_grid
from causalprune_lib.evidence.ledger import read_rows
from causalprune_studies import __main__ as command
from causalprune_studies import campaign, tables, workers

OPTIONS = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
WHAT = ["seed", "metric", "value"]


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, **OPTIONS) as cluster:
        yield cluster


@pytest.fixture
def slow(tmp_path, monkeypatch) -> Path:
    specs = (SlowCell(str(tmp_path / "log"), rest=0.2),)
    monkeypatch.setattr(campaign, "studies_of", lambda *_, **__: specs)
    monkeypatch.setattr(tables, "MEASURED", tmp_path / "rows")
    return tmp_path / "log"


def run(cluster, *more: str) -> int:
    address = ("--backend", "dask", "--scheduler", cluster.scheduler_address)
    return command.main(["run", "legcnet", *address, "--on", "cpu", *more])


def test_a_worker_killed_in_mid_run_costs_no_row_and_doubles_none(cluster, slow):
    def kill_one():
        while len(runs(slow)) < 3:
            time.sleep(0.02)
        os.kill(runs(slow)[-1][1], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert run(cluster, "--seeds", "10") == 0
    killer.join()
    at_work = runs(slow)
    assert len({process for _, process in at_work} - {os.getpid()}) >= 2  # and none of it here
    assert len(at_work) > 10  # what the dead one had in hand was run again
    found = tables.measured("legcnet")
    alone = run_grid([SlowCell(str(slow))], range(10), out=None, threads=1, progress=False)
    found = found.sort_values(["seed", "metric"], ascending=[True, False]).reset_index(drop=True)
    assert found[WHAT].equals(alone[WHAT])


def test_a_cell_that_kills_its_workers_ends_the_run_by_name_and_keeps_the_others(
    cluster, slow, monkeypatch, capsys
):
    assert run(cluster, "--seeds", "2") == 0
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)  # to be quick: it is 3
    deadly = (SlowCell(str(slow), dies_at=3),)
    monkeypatch.setattr(campaign, "studies_of", lambda *_, **__: deadly)
    assert run(cluster, "--seeds", "3,") == 2
    assert "WorkerDiedError: a worker died" in capsys.readouterr().err
    assert {row["seed"] for row in read_rows(tables.MEASURED / "legcnet.csv.gz")} == {"0", "1"}


def test_a_scheduler_that_is_lost_in_mid_run_ends_the_run_by_name_and_loses_no_row(slow, capsys):
    own = LocalCluster(n_workers=1, **OPTIONS)

    def close_it():
        while len(runs(slow)) < 3:
            time.sleep(0.02)
        own.close()

    closer = threading.Thread(target=close_it)
    closer.start()
    assert run(own, "--seeds", "100") == 2
    closer.join()
    assert "SchedulerUnreachableError: the scheduler was lost" in capsys.readouterr().err
    kept = tables.measured("legcnet")
    assert not kept.duplicated(["seed", "metric"]).any()
    assert {0, 1} <= set(kept.seed)
    assert os.getpid() not in {process for _, process in runs(slow)}  # one worker is no reason


def test_a_scheduler_that_does_not_answer_is_told_in_time(slow, monkeypatch, capsys):
    assert workers.PATIENCE <= 10
    monkeypatch.setattr(workers, "PATIENCE", 1)
    began = time.monotonic()
    arguments = ["--backend", "dask", "--scheduler", "tcp://127.0.0.1:9"]
    assert command.main(["run", "legcnet", *arguments]) == 2
    assert time.monotonic() - began < 8
    assert "SchedulerUnreachableError: scheduler 'tcp://127.0.0.1:9'" in capsys.readouterr().err
    assert runs(slow) == []


def test_workers_must_run_one_cell_at_a_time_and_the_same_code():
    ours = workers.code_provenance()
    workers.check_fit({"tcp://a": 1}, {"tcp://a": ours})
    with pytest.raises(workers.UnfitWorkersError, match=r"tcp://b must have one thread.*got 4"):
        workers.check_fit({"tcp://a": 1, "tcp://b": 4}, {"tcp://a": ours, "tcp://b": ours})
    with pytest.raises(workers.UnfitWorkersError, match=r"tcp://a must run .* it runs"):
        workers.check_fit({"tcp://a": 1}, {"tcp://a": ours | {"commit": "0" * 40}})


def test_without_the_package_the_command_says_what_to_install(slow, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert command.main(["run", "legcnet", "--backend", "dask"]) == 2
    assert "MissingPackageError: backend 'dask' needs" in (err := capsys.readouterr().err)
    assert "pip install 'causalprune-lib[cluster]'" in err
