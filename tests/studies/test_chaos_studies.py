"""The studies of sensitivity: seeds side by side are seeds alone, and orders are what they say."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from causalprune_lib.dynamics.tangent import SGDMap
from causalprune_lib.evidence.grid import run_grid
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.windows import first_step_estimator
from causalprune_studies.ch02_chaos.study import (
    ORDERS,
    LearningRateSweep,
    PerturbedWeights,
    half_squared_error,
    squared_error,
)

TINY = LearningRateSweep(subset=20, hidden=(4, 3), lrs=(0.1, 0.8), steps=12, batch_size=5)
SMALL = PerturbedWeights(subset=30, hidden=2, lr=0.5, epochs=2, window=20)


@pytest.fixture(scope="module")
def rows():
    return run_grid([TINY], seeds=[3, 4], out=None, progress=False)


def test_every_order_rate_and_seed_is_there_once(rows):
    assert not rows.error.notna().any()
    assert (rows.groupby(["order", "lr", "seed", "metric"]).size() == 1).all()
    assert len(rows) == len(ORDERS) * 2 * 2 * 6


@pytest.mark.parametrize("order", ORDERS)
def test_seeds_side_by_side_give_the_rows_of_seeds_alone(rows, order):
    table = TINY.table(TINY.paths(order, [3, 4]), order, [3, 4])
    keys = ["order", "lr", "seed", "metric"]
    alone = rows[rows.order == order].set_index(keys).value
    together = table.set_index(keys).value
    assert together.to_numpy() == pytest.approx(alone[together.index].to_numpy(), rel=1e-6)


def test_the_edge_is_rate_times_the_top_eigenvalue(rows):
    paths = TINY.paths("full batch", [3])
    step = SGDMap(TINY.build(seed=3), half_squared_error, lr=1.0)
    theta, batch = paths.weights[0, 1], TINY.load()
    hessian = torch.func.hessian(lambda t: step.loss_at(t, batch))(theta)
    top = torch.linalg.eigvalsh(hessian)[-1].item()
    at = rows[(rows.order == "full batch") & (rows.seed == 3) & (rows.lr == 0.8)]
    at = at.set_index("metric").value
    assert at.edge == pytest.approx(0.8 * top, rel=1e-3)
    assert at.loss == pytest.approx(step.loss_at(theta, batch).item())


def epochs_of(order, seeds=(3,)):
    """Pixels of the examples seen by the first seed, epoch by epoch: three lists of 20 rows."""
    seen = [x[0] for x, _ in TINY.batches(order, seeds)]
    return [torch.cat(seen[i : i + 4]) for i in (0, 4, 8)]


@pytest.mark.parametrize("order", ["fixed order", "reshuffled"])
def test_every_epoch_shows_every_example_once(order):
    x = TINY.load()[0]
    for epoch in epochs_of(order):
        assert sorted(map(tuple, epoch.tolist())) == sorted(map(tuple, x.tolist()))


def test_a_fixed_order_repeats_and_a_reshuffled_one_does_not():
    first, second, third = epochs_of("fixed order")
    assert torch.equal(first, second)
    assert torch.equal(second, third)
    other_first, other_second, _ = epochs_of("reshuffled")
    assert torch.equal(first, other_first)  # the same seed begins alike
    assert not torch.equal(other_first, other_second)


def test_labels_stay_with_their_examples_and_seeds_differ():
    x, y = TINY.load()
    label = {tuple(row.tolist()): tuple(one.tolist()) for row, one in zip(x, y, strict=True)}
    for batch, goals in TINY.batches("reshuffled", [3, 4]):
        assert batch.shape == (2, 5, 64)
        for row, goal in zip(batch.flatten(0, 1), goals.flatten(0, 1), strict=True):
            assert label[tuple(row.tolist())] == tuple(goal.tolist())
    first = next(iter(TINY.batches("reshuffled", [3, 4])))[0]
    assert not torch.equal(first[0], first[1])


def test_the_perturbed_weight_lies_in_the_second_layer():
    layout = ParameterLayout.of(TINY.build(seed=0))
    chosen = {TINY.perturbed(seed=seed) for seed in range(20)}
    assert {layout.locate(index)[0] for index in chosen} == {"fc2.weight"}
    assert len(chosen) > 3


def test_a_batch_that_does_not_divide_and_an_unknown_order_are_refused():
    uneven = dataclasses.replace(TINY, batch_size=7)
    with pytest.raises(ValueError, match="batch_size must divide subset = 20; got 7"):
        uneven.paths("fixed order", [0])
    with pytest.raises(ValueError, match="Did you mean 'reshuffled'"):
        TINY.paths("shuffled", [0])


def test_a_diverged_training_is_missing_and_not_a_number_to_average():
    wild = dataclasses.replace(TINY, lrs=(0.1, 500.0), steps=100, orders=("full batch",))
    rows = run_grid([wild], seeds=[0], out=None, progress=False)
    value = rows.set_index(["lr", "metric"]).value
    assert value[500.0][["edge", "loss"]].isna().all()
    assert value[0.1].notna().all()


@pytest.fixture(scope="module")
def record():
    return SMALL.record(0)


def test_the_recorded_weights_are_those_of_plain_sgd(record):
    model, optimiser_lr = SMALL.build(seed=0), SMALL.lr
    optimiser = torch.optim.SGD(model.parameters(), lr=optimiser_lr)
    layout = ParameterLayout.of(model)
    for x, y in SMALL.batches():
        optimiser.zero_grad()
        squared_error(model(x), y).backward()
        optimiser.step()
    assert record.weights.shape == (61, layout.size)
    torch.testing.assert_close(record.weights[-1], layout.flatten(layout.tensors(model)))


def test_there_is_a_twin_for_every_weight(record):
    assert record.twins.index.tolist() == list(range(record.weights.shape[1]))
    torch.testing.assert_close(
        record.twins.difference[0],
        torch.full_like(record.twins.difference[0], 1e-8),
        rtol=1e-6,
        atol=0,
    )


def test_the_metrics_are_read_from_the_record(record):
    found = SMALL.run(0)
    growth = record.twins.distance[-1] / record.twins.distance[0]
    assert found["growth_max"] == pytest.approx(growth.max().item())
    assert found["exponent"] == pytest.approx(record.exponent)
    estimate = first_step_estimator()
    windows = record.weights.round(decimals=6).T.unfold(1, 20, 18)
    assert found["released"] == pytest.approx(estimate(windows).nanmean().item())
    windows = record.twins.difference.T.unfold(1, 20, 18)
    assert found["described"] == pytest.approx(estimate(windows).nanmean().item())
