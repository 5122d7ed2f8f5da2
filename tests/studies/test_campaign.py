"""The command that measures: what it lists, foretells, refuses, runs and leaves in its file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from slow_cells import SlowCell, runs

from causalprune_lib._files import holding
from causalprune_lib.evidence.grid import Cell, run_grid
from causalprune_lib.evidence.ledger import DiskFullError
from causalprune_studies import __main__ as command
from causalprune_studies import campaign, tables, workers
from causalprune_studies.ch01_pruning.study import PruningCurve
from causalprune_studies.ch08_causal_pruning.study import CausalCurve
from causalprune_studies.chapters import profiles_of, rows_of_studies, studies_of

TINY = {"dataset": "iris", "hidden": (4,), "epochs": 1, "amounts": (0.5,), "finetune_epochs": 1}


def told(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit status, and what the command says to the two streams."""
    status = command.main(arguments)
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.fixture
def slow(tmp_path, monkeypatch) -> Path:
    """One study, "legcnet", of cells that are seen when they run; its files go to `rows`."""
    specs = (SlowCell(str(tmp_path / "log")),)
    monkeypatch.setattr(campaign, "studies_of", lambda *_, **__: specs)
    monkeypatch.setattr(tables, "MEASURED", tmp_path / "rows")
    return tmp_path / "log"


def test_help_lists_the_names_their_chapter_and_their_specs(capsys):
    with pytest.raises(SystemExit):
        command.main(["run", "--help"])
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert set(rows_of_studies()) <= set(lines)
    assert " ".join(lines["causal-pruning"])[:32] == "causal-pruning 08 Causal pruning"
    assert "CausalCurve," in lines["causal-pruning"]


def test_the_list_counts_measured_cells_of_every_study(capsys):
    status, out, _ = told(capsys, "run", "--list", "--seeds", "2")
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert status == 0
    for rows, chapter in rows_of_studies().items():
        number, *counts = lines[rows][1:]
        assert number == chapter.PAGE[:2]
        for profile, count in zip(campaign.PROFILES, counts, strict=True):
            if profile not in profiles_of(rows):
                assert count == "-"
            else:
                assert int(count.split("/")[-1]) == 2 * len(studies_of(rows, profile))
    assert lines["what-a-network-can-lose"][3] == "4/4"  # its committed rows have seeds 0 to 2


def test_the_command_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "causalprune_studies", "run", "nothing-of-that-name"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "ValueError: NAME must be one of" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["legcnett"], "NAME must be one of .* Did you mean 'legcnet'"),
        (["legcnet", "--profile", "papre"], "profile must be .* Did you mean 'paper'"),
        (["legcnet", "--seeds", "0"], "seeds must be"),
        (["legcnet", "--seeds", "3,3"], "seeds must be"),
        (["legcnet", "--seeds", "many"], "seeds must be"),
        ([], "NAME must be given"),
        (["legcnet", "--backend", "lokey"], "backend must be .* Did you mean 'loky'"),
        (["legcnet", "--scheduler", "tcp://a:1"], "scheduler must be left out"),
        (["legcnet", "--jobs", "0"], "jobs must be >= 1; got 0"),
        (["legcnet", "--on", "cudda"], "on must be .* Did you mean 'cuda'"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(arguments, complaint, capsys):
    status, _, err = told(capsys, "run", *arguments)
    assert status == 2
    assert re.search(complaint, err), err


def test_a_profile_that_a_study_lacks_is_refused_and_left_out_of_all(capsys, monkeypatch):
    lacking = [rows for rows in rows_of_studies() if "full" not in profiles_of(rows)]
    status, _, err = told(capsys, "run", lacking[0], "--profile", "full", "--dry-run")
    assert status == 2
    assert f"profile of {lacking[0]!r} must be one of" in err
    named = [plan.rows for plan in campaign.plans_of(["all"], profile="full", seeds=[0])]
    assert set(named) == set(rows_of_studies()) - set(lacking)


def test_rows_are_written_compressed_under_their_name_and_only_the_missing_ones(slow, capsys):
    status, out, _ = told(capsys, "run", "legcnet", "--seeds", "2", "--on", "cpu")
    assert status == 0
    path = tables.MEASURED / "legcnet.csv.gz"
    assert list(path.parent.iterdir()) == [path]
    assert f"wrote {path}" in out
    _, out, _ = told(capsys, "run", "legcnet", "--seeds", "1,2", "--on", "cpu")
    assert "1 of 2 cells to do" in out
    assert [seed for seed, _ in runs(slow)] == [0, 1, 2]
    assert sorted(set(tables.measured("legcnet").seed)) == [0, 1, 2]


def test_quick_rows_do_not_stand_among_the_measured_ones(slow, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told(capsys, "run", "legcnet", "--seeds", "1", "--profile", "quick")
    assert not tables.MEASURED.exists()
    assert (tmp_path / campaign.QUICK_ROWS / "legcnet.csv.gz").exists()
    told(capsys, "run", "legcnet", "--seeds", "1", "--profile", "quick", "--out", "here")
    assert (tmp_path / "here" / "legcnet.csv.gz").exists()


def test_a_dry_run_does_nothing_and_names_cells_time_memory_and_downloads(
    capsys, monkeypatch, tmp_path
):
    monkeypatch.delenv("CAUSALPRUNE_DATA", raising=False)
    monkeypatch.setenv("CAUSALPRUNE_CACHE", str(tmp_path))
    few = str(tmp_path / "rows")
    arguments = ("causal-pruning", "--dry-run", "--seeds", "2", "--jobs", "2", "--out", few)
    status, out, _ = told(capsys, "run", *arguments, "--on", "cpu")
    assert status == 0
    assert not Path(few).exists()
    n = 2 * len(studies_of("causal-pruning", "full"))
    assert f"to do     {n} of {n} cells: CausalCurve" in out
    assert "hours of one worker" in out
    assert "with 2 workers" in out
    assert "MB of data for each worker" in out
    assert "download  cifar10: about 143.60 MB" in out


def test_measured_cells_foretell_their_own_time():
    frame = tables.measured("causal-pruning").drop_duplicates("cell").set_index("cell")
    for spec in studies_of("causal-pruning", "full"):
        own = frame.seconds.reindex([Cell(spec, seed).key for seed in range(3)]).dropna()
        if len(own):
            assert campaign.seconds_of(spec) == pytest.approx(own.mean())


def test_another_size_is_foretold_in_proportion_and_the_unlike_not_at_all():
    specs = studies_of("causal-pruning", "full")
    measured = next(spec for spec in specs if isinstance(spec, CausalCurve))
    once = replace(measured, epochs=100, subset=(10_000, 10_000))
    assert campaign.seconds_of(once) > campaign.seconds_of(measured)
    twice = campaign.seconds_of(replace(once, subset=(20_000, 10_000)))
    assert twice == pytest.approx(2 * campaign.seconds_of(once))
    assert campaign.seconds_of(replace(once, model="resnet18")) is None
    assert campaign.seconds_of(SlowCell("log")) is None


def test_what_a_dry_run_does_not_know_it_says(slow, capsys):
    _, out, _ = told(capsys, "run", "legcnet", "--dry-run")
    assert "time      unknown for SlowCell (3 cells)" in out
    assert "download  nothing" in out


def test_several_plans_are_summed(capsys, tmp_path):
    arguments = ("what-a-network-can-lose", "causal-pruning", "--seeds", "2", "--dry-run")
    _, out, _ = told(capsys, "run", *arguments, "--on", "cpu", "--out", str(tmp_path))
    n = sum(2 * len(studies_of(name, "full")) for name in arguments[:2])
    assert re.search(rf"in all: {n} cells, about [0-9.]+ hours of one worker", out)


def test_the_end_of_a_name_is_enough_where_only_one_ends_so():
    known = ["legcnet", "legcnet-mnist", "other-mnist", "causal-pruning-table2"]
    assert campaign.named("table2", known) == "causal-pruning-table2"
    assert campaign.named("legcnet", known) == "legcnet"
    with pytest.raises(ValueError, match="NAME must be one of"):
        campaign.named("mnist", known)


def test_data_are_foretold_until_they_are_at_hand(tmp_path, monkeypatch):
    monkeypatch.delenv("CAUSALPRUNE_DATA", raising=False)
    monkeypatch.setenv("CAUSALPRUNE_CACHE", str(tmp_path / "cache"))
    assert campaign.to_download("digits") == campaign.to_download("cancer") == 0
    assert campaign.to_download("mnist") > 10_000_000
    (tmp_path / "cache" / "images" / "mnist-train-hub").mkdir(parents=True)
    assert campaign.to_download("mnist") == 0
    assert campaign.to_download("vowel") > 0
    (tmp_path / "mirror" / "tabular").mkdir(parents=True)
    (tmp_path / "mirror" / "tabular" / "vowel.csv").touch()
    monkeypatch.setenv("CAUSALPRUNE_DATA", str(tmp_path / "mirror"))
    assert campaign.to_download("vowel") == 0


def test_a_file_of_another_schema_is_refused_before_any_work_and_left_as_it_is(slow, capsys):
    path = tables.MEASURED / "legcnet.csv.gz"
    path.parent.mkdir()
    path.write_bytes(b"seed,accuracy\n0,0.9\n")
    status, _, err = told(capsys, "run", "legcnet")
    assert status == 2
    assert "ValueError: out must be a new file or one that run_grid wrote" in err
    assert path.read_bytes() == b"seed,accuracy\n0,0.9\n"
    assert runs(slow) == []


def test_a_second_campaign_on_one_file_is_told_who_holds_it(slow, capsys):
    with holding(tables.MEASURED / "legcnet.csv.gz"):
        status, _, err = told(capsys, "run", "legcnet")
    assert status == 2
    assert f"FileHeldError: {tables.MEASURED / 'legcnet.csv.gz'} is held by process" in err
    assert f"process {os.getpid()} on" in err
    assert runs(slow) == []


def test_a_full_disk_is_told_in_a_line(slow, capsys, monkeypatch):
    def full(*_, **__):
        raise DiskFullError(28, "the disk of rows is full")

    monkeypatch.setattr(command, "run_grid", full)
    status, _, err = told(capsys, "run", "legcnet")
    assert status == 2
    assert "DiskFullError" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_folder_that_cannot_be_is_told_in_a_line_before_any_work(slow, capsys, tmp_path, out):
    (tmp_path / "file").touch()
    status, _, err = told(capsys, "run", "legcnet", "--on", "cpu", "--out", str(tmp_path / out))
    assert status == 2
    assert str(tmp_path / out) in err
    assert runs(slow) == []


def test_a_card_that_is_not_there_is_refused_before_cells_fail_on_it(slow, capsys, monkeypatch):
    monkeypatch.setattr(command.torch.cuda, "is_available", lambda: False)
    status, _, err = told(capsys, "run", "legcnet", "--on", "cuda")
    assert status == 2
    assert "on must be 'cpu' where PyTorch sees no GPU; got 'cuda'" in err
    assert not tables.MEASURED.exists()
    assert told(capsys, "run", "legcnet", "--on", "cuda", "--dry-run")[0] == 0
    command.check_card("cuda", "tcp://a:1")  # the workers of a cluster have their own


def test_a_reader_who_stops_reading_sees_no_traceback():
    arguments = [sys.executable, "-m", "causalprune_studies", "run", "legcnet", "--dry-run"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": buffered}
    with subprocess.Popen(arguments, **pipes) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
    assert process.returncode == 0


def test_cells_that_failed_are_said_and_run_again_when_asked(tmp_path, monkeypatch, capsys):
    bad = PruningCurve(**TINY | {"amounts": (7.5,)})
    monkeypatch.setattr(campaign, "studies_of", lambda *_, **__: (bad,))
    arguments = ("run", "legcnet", "--seeds", "1", "--out", str(tmp_path))
    status, _, err = told(capsys, *arguments)
    assert status == 1
    assert "note: 1 of 1 cells hold an error" in err
    assert "--retry-errors runs them again" in err
    assert "0 of 1 cells to do" in told(capsys, *arguments)[1]
    assert "1 of 1 cells to do" in told(capsys, *arguments, "--retry-errors")[1]


def test_several_processes_give_the_rows_of_one(tmp_path, slow, capsys):
    specs = campaign.studies_of("legcnet", "full")
    alone = run_grid(specs, range(4), out=None, threads=1, progress=False)
    told(capsys, "run", "legcnet", "--seeds", "4", "--jobs", "2", "--on", "cpu")
    both = tables.measured("legcnet")
    assert both[["seed", "metric", "value"]].equals(alone[["seed", "metric", "value"]])
    assert len({process for _, process in runs(slow)} - {os.getpid()}) >= 1


def test_a_process_that_dies_ends_the_run_by_name_and_leaves_what_was_done(
    slow, capsys, monkeypatch
):
    told(capsys, "run", "legcnet", "--seeds", "2", "--on", "cpu")
    deadly = (SlowCell(str(slow)), SlowCell(str(slow), dies_at=3))
    monkeypatch.setattr(campaign, "studies_of", lambda *_, **__: deadly)
    status, _, err = told(capsys, "run", "legcnet", "--seeds", "3,", "--jobs", "2", "--on", "cpu")
    assert status == 2
    assert "WorkerDiedError: a worker died" in err
    kept = tables.measured("legcnet")
    assert {0, 1} <= set(kept.seed)
    assert not kept.duplicated(["cell", "metric"]).any()


def claims(n: int) -> list[tuple[BaseProcess, str]]:
    """Processes that hold a card until they are ended, and which."""
    context, found = get_context("fork"), []
    for _ in range(n):
        here, there = context.Pipe()
        process = context.Process(target=claim_and_stay, args=(there,))
        process.start()
        found.append((process, here.recv()))
    return found


def claim_and_stay(pipe: Connection) -> None:
    workers.claim_card(workers.cards_here())
    pipe.send(os.environ["CUDA_VISIBLE_DEVICES"])
    time.sleep(600)


def test_each_process_has_a_card_for_itself_and_a_killed_one_gives_it_back(tmp_path, monkeypatch):
    monkeypatch.setattr(workers.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-a,7")
    first = claims(3)
    assert sorted(card for _, card in first) == ["4", "7", "GPU-a"]
    killed, card = first[1]
    killed.kill()
    killed.join()
    after = claims(2)
    assert after[0][1] == card  # the free one
    assert after[1][1] == "4"  # shared, as there is none left
    for process, _ in (*first, *after):
        process.kill()
        process.join()


def test_cards_have_room_for_so_many(tmp_path, monkeypatch):
    monkeypatch.setattr(workers.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(workers, "SHARES", 2)
    monkeypatch.setattr(workers, "_claimed", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    seen = []
    for _ in range(4):
        workers.claim_card(("0", "1"))
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["0", "1", "0", "1"]
    with pytest.raises(workers.NoFreeCardError, match="2 workers each"):
        workers.claim_card(("0", "1"))
    for lock in workers._claimed:
        lock.release()


def test_energy_is_what_the_counters_say_even_when_they_run_over(tmp_path):
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    (package / "max_energy_range_uj").write_text("10000000")
    (package / "energy_uj").write_text("9000000")
    with workers.EnergyMeter(tmp_path, every=60) as meter:
        (package / "energy_uj").write_text("2000000")
    assert meter.joules == pytest.approx(3.0)  # 1 J to the end of the range, 2 J after it
    assert "kWh" in str(meter)


def test_energy_that_cannot_be_read_is_not_made_up(tmp_path):
    with workers.EnergyMeter(tmp_path) as meter:
        pass
    assert meter.joules is None
    assert str(meter) == "energy: not readable on this machine"
