"""What the recorder hears and writes: rows against clones taken by hand, whatever the loop does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from causalprune_lib import _memory as room
from causalprune_lib.dynamics import trajectory as rows
from causalprune_lib.dynamics.recorder import TrajectoryRecorder


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Equality that tells -0 from 0."""
    return one.shape == other.shape and one.tobytes() == other.tobytes()


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
    assert same_bits(trajectory.weights, seen)
    assert trajectory.steps.tolist() == list(range(loop.steps + 1))
    assert trajectory.complete


def test_two_optimizers_over_one_model_make_two_steps_or_one_on_request(loop):
    def optimizers(model):
        return [
            torch.optim.SGD(model[0].parameters(), lr=0.1),
            torch.optim.Adam(model[3].parameters(), lr=0.01),
        ]

    model = loop.network()
    with TrajectoryRecorder(model) as recorder:
        seen = loop.walk(model, *optimizers(model))
    assert same_bits(recorder.trajectory().weights, seen)
    model = loop.network()
    pair = optimizers(model)
    with TrajectoryRecorder(model, optimizer=pair[1]) as recorder:
        again = loop.walk(model, *pair)
    assert same_bits(again, seen)
    assert same_bits(recorder.trajectory().weights, seen[::2])


@pytest.mark.parametrize(("every", "kept"), [(1, range(8)), (3, (0, 3, 6)), (9, (0,))])
def test_every_kth_step(loop, every, kept):
    model = loop.network()
    with TrajectoryRecorder(model, every=every, steps=loop.steps) as recorder:
        seen = loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1))
    trajectory = recorder.trajectory()
    assert trajectory.steps.tolist() == list(kept)
    assert same_bits(trajectory.weights, seen[list(kept)])


@pytest.mark.parametrize("index", [[0], [3, 17, 18, 41], [20, 25], list(range(42))])
def test_a_subset_of_the_weights(loop, index, tmp_path):
    model = loop.network()
    with TrajectoryRecorder(model, indices=index, path=tmp_path / "run") as recorder:
        seen = loop.walk(model, torch.optim.SGD(model.parameters(), lr=0.1))
    trajectory = recorder.trajectory()
    assert same_bits(trajectory.weights, seen[:, index])
    assert trajectory.index.tolist() == index


def test_an_optimizer_that_holds_none_of_the_chosen_weights_makes_no_step(loop):
    model = loop.network()
    first, last = (torch.optim.SGD(model[k].parameters(), lr=0.1) for k in (0, 3))
    with TrajectoryRecorder(model, indices=[0, 1]) as recorder:
        loop.walk(model, first, last)
    assert len(recorder.trajectory()) == loop.steps + 1


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
    assert same_bits(weights, expected)
    assert (weights[:, 8:] == 0).all(axis=0).sum() == 12  # half of the 24 weights of the last layer


def test_parameters_of_any_kind_and_precision(loop):
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    with TrajectoryRecorder(model, which="all") as recorder:
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
    assert same_bits(first.trajectory().weights, seen_one)
    assert same_bits(second.trajectory().weights, seen_two)


def test_more_steps_than_announced_and_a_look_in_mid_run(loop, monkeypatch):
    monkeypatch.setattr(rows, "BLOCK_BYTES", 3 * 42 * 4)  # three rows to a block
    model = loop.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, steps=2) as recorder:
        seen = loop.walk(model, optimizer)
        halfway = recorder.trajectory()
        seen = np.concatenate([seen, loop.walk(model, optimizer)[1:]])
    assert same_bits(recorder.trajectory().weights, seen)
    assert same_bits(halfway.weights, seen[: loop.steps + 1])


def test_memory_that_runs_out_in_mid_run_keeps_the_rows_before(loop, monkeypatch):
    monkeypatch.setattr(rows, "BLOCK_BYTES", 20 * 42 * 4)
    monkeypatch.setattr(room, "available_memory", lambda: room.Bytes(2000))
    model = loop.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, steps=2) as recorder:
        seen = loop.walk(model, optimizer, steps=2)
        with pytest.raises(MemoryError, match=r"more steps than announced needs 3\.36 kB; memory"):
            optimizer.step()
    assert same_bits(recorder.trajectory().weights, seen)


def test_a_loop_without_an_optimizer_counts_its_own_steps(loop):
    model = loop.network()
    with TrajectoryRecorder(model) as recorder:
        model[0].weight.data.add_(1.0)
        recorder.log(loss=2.0)
        recorder.step()
    trajectory = recorder.trajectory()
    assert torch.equal(trajectory.at(1), loop.weights(model))
    assert trajectory.loss_before.tolist()[1:] == [2.0]


def test_no_step_at_all_is_said(loop):
    with pytest.warns(UserWarning, match="No optimizer step"), TrajectoryRecorder(loop.network()):
        pass
