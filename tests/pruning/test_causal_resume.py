"""A run that is killed goes on from the last finished phase, to the same bits."""

import errno
import json
import os
import resource
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from toys import blobs, network

from causalprune_lib import _memory
from causalprune_lib._resume import Folder
from causalprune_lib.nets.tasks import TASKS
from causalprune_lib.nets.training import Training
from causalprune_lib.pruning.causal import CausalPruning, phase_seed

PHASES = ["pretrain", "round-001", "round-002", "posttrain"]
TRAININGS = {
    "pretrain": Training(epochs=1, batch_size=20, lr=5e-4, optimizer="adam"),
    "record": Training(epochs=2, batch_size=20, lr=0.05),
    "posttrain": Training(epochs=2, batch_size=20, lr=5e-4, optimizer="adam"),
}


class Fuse:
    """The loss function, until it has been called `budget` times."""

    def __init__(self, budget=10**9):
        self.left = budget

    def __call__(self, outputs, y):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return cross_entropy(outputs, y)


def run(path, budget=10**9, model=None, data=None, loss=None, validation=None, **options):
    task = replace(TASKS["classification"], loss=loss or Fuse(budget))
    options = {"amount": 0.6, "n_iter": 2, **TRAININGS} | options
    for name in TRAININGS:
        options[name] = replace(options[name], task=task)
    pruning = CausalPruning(**options)
    return pruning.fit(model or network(), data or blobs(), validation=validation, path=path)


def same(a, b):
    assert a.masks_by_round_ == b.masks_by_round_
    assert a.masks_ == b.masks_
    for mine, yours in (
        (a.scores_, b.scores_),
        (a.rewind_state_, b.rewind_state_),
        (a.model_.state_dict(), b.model_.state_dict()),
    ):
        assert mine.keys() == yours.keys()
        assert all(torch.equal(mine[name], yours[name]) for name in mine)
    assert a.rounds_.equals(b.rounds_)
    assert a.history_.drop(columns="seconds").equals(b.history_.drop(columns="seconds"))


def files(path):
    return sorted(p.stem for p in path.glob("*.pt"))


# An epoch has 6 batches: phases of 6, 12, 12 and 12 steps.
@pytest.mark.parametrize(
    ("budget", "finished"), [(3, 0), (6, 1), (11, 1), (18, 2), (25, 2), (30, 3), (41, 3)]
)
@pytest.mark.parametrize("rule", [{"amount": 0.6}, {"amount": None, "alpha": 1e-9}])
def test_killed_in_any_phase_it_goes_on_to_the_same_bits(tmp_path, budget, finished, rule):
    whole = run(None, **rule)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", budget, **rule)
    assert files(tmp_path / "run") == sorted(PHASES[:finished])
    torch.rand(7)  # another process would be at another place in the global sequence
    same(run(tmp_path / "run", **rule), whole)
    same(run(tmp_path / "run", budget=0, **rule), whole)  # finished: nothing is trained


# Pretraining calls the loss 7 times, validation included; a round 12 or 36 times.
@pytest.mark.parametrize(
    ("change", "budgets"), [("two_batch", (20, 14)), ("same_batch", (44, 38))], ids=["two", "same"]
)
def test_batch_norm_dropout_and_early_stopping_survive_too(tmp_path, change, budgets):
    def normed():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            layers = nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3)
            return nn.Sequential(*layers, nn.Linear(8, 3))

    post = replace(TRAININGS["posttrain"], epochs=5, patience=1)
    options = {"change": change, "posttrain": post, "score": "movement"}
    options["validation"] = blobs(30, seed=5)
    whole = run(None, model=normed(), **options)
    for budget in budgets:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, budget, model=normed(), **options)
    assert files(tmp_path) == PHASES[:3]
    same(run(tmp_path, model=normed(), **options), whole)


def test_killed_while_a_file_is_written_it_does_that_phase_again(tmp_path, monkeypatch):
    whole = run(None)
    replace, calls = os.replace, []

    def dies(source, target):
        calls.append(target)
        if len(calls) in (1, 4):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    monkeypatch.setattr(os, "replace", replace)
    assert files(tmp_path) == ["pretrain"]
    (tmp_path / ".round-001.pt.part.xyz.pt").write_text("left by a process that was killed -9")
    same(run(tmp_path), whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["run.json", *(f"{name}.pt" for name in PHASES)]
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amount": 0.7}, "amount: 0.6 there, 0.7 here"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"n_iter": 3, "seed": 1}, r"(?s)n_iter: 2 there.*seed: 0 there"),
        ({"floor": 1.0}, "floor: 1 there, 1.0 here"),
        ({"record": Training(epochs=2, batch_size=20, lr=0.1)}, "record: .*'lr': 0.05"),
        ({"model": network(1)}, "model: 'Sequential"),
        ({"data": blobs(seed=1)}, "data: '120 examples"),
        ({"loss": cross_entropy}, "pretrain: .*Fuse"),
    ],
)
def test_a_folder_of_another_run_is_refused_and_the_difference_named(tmp_path, change, words):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 7, floor=1, scope="layer")
    with pytest.raises(ValueError, match=words):
        run(tmp_path, **{"floor": 1, "scope": "layer", **change})
    assert files(tmp_path) == ["pretrain"]


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="something else"):
        run(tmp_path)
    with pytest.raises(FileExistsError, match="is a file"):
        run(tmp_path / "thesis.tex")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "thesis.tex").rename(tmp_path / "run.json")
    with pytest.raises(ValueError, match="damaged"):
        run(tmp_path)


def test_a_damaged_file_is_named_and_the_phase_can_be_done_again(tmp_path):
    whole = run(tmp_path)
    file = tmp_path / "round-002.pt"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"round-002\.pt is damaged .*Delete it"):
        run(tmp_path)
    file.unlink()
    same(run(tmp_path), whole)


def test_a_full_disk_is_found_before_the_work_and_loses_nothing(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 18)
    free = _memory.Bytes(1000)
    monkeypatch.setattr(_memory, "available_disk", lambda path: free)
    with pytest.raises(OSError, match=r"'round-002' needs .*1\.00 kB available") as caught:
        run(tmp_path, budget=0)
    assert caught.value.errno == errno.ENOSPC
    assert "pretrain, round-001" in str(caught.value)
    monkeypatch.undo()
    same(run(tmp_path), run(None))


def test_a_write_that_fails_is_named_and_loses_nothing(tmp_path):
    folder = Folder(tmp_path, lambda: {"seed": 0})
    small = folder.get("one", lambda: {"a": torch.ones(10)}, n_bytes=40)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # no file beyond 50 kB
    try:
        with pytest.raises(OSError, match=r"'two' could not be written .*\(one\) are safe"):
            folder.get("two", lambda: {"a": torch.ones(100_000)}, n_bytes=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.pt", "run.json"]
    again = Folder(tmp_path, lambda: {"seed": 0}).get("one", pytest.fail, n_bytes=0)
    assert torch.equal(again["a"], small["a"])


def test_phases_have_seeds_of_their_own_and_the_folder_says_what_the_run_is(tmp_path):
    seeds = {phase_seed(seed, phase) for seed in range(30) for phase in range(12)}
    assert len(seeds) == 360
    run(tmp_path)
    described = json.loads((tmp_path / "run.json").read_text())
    assert described["n_iter"] == 2
    assert described["record"]["lr"] == 0.05
    assert "path" not in described


@pytest.mark.gpu
def test_on_a_gpu_it_goes_on_too(tmp_path):
    def on_gpu(path, budget=10**9):
        return run(path, budget, model=network().to("cuda"))

    whole = on_gpu(None)
    with pytest.raises(KeyboardInterrupt):
        on_gpu(tmp_path, 25)
    resumed = on_gpu(tmp_path)
    assert next(resumed.model_.parameters()).device.type == "cuda"
    same(resumed, whole)
