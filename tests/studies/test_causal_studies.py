"""The studies of causal pruning compare like with like, and their placebo cuts only the link."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from causalprune_lib.causality.scores import released_sums, solver_step_sizes
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.evidence.grid import run_grid
from causalprune_lib.nets.training import train
from causalprune_lib.pruning.causal import CausalPruning
from causalprune_lib.pruning.masks import Masks, clone_model
from causalprune_studies.ch06_causal_model.study import frozen_steps
from causalprune_studies.ch08_causal_pruning.study import (
    MAIN,
    MORE,
    CausalCurve,
    CausalRecipe,
    IteratedRun,
    frozen_scores,
    overlap_metrics,
    rank_correlations,
    record,
    shuffled_losses,
    without_floor,
)

TINY = {"dataset": "iris", "model": "mlp", "hidden": (16, 8), "batch_size": 16, "lr": 0.01}
TINY |= {"epochs": 6, "prune_epochs": 3, "post_epochs": 1, "init": "default"}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    study = CausalCurve(**TINY, amounts=(0.5, 0.9), thorough=(0.9,), n_random=2)
    found = run_grid([study], seeds=[0], out=None, progress=False)
    assert not found.error.notna().any()
    return found


@pytest.fixture(scope="module")
def pruned(rows) -> pd.DataFrame:
    """One line per (ranking, allocation, amount), metrics as columns."""
    place = ["ranking", "allocation", "amount"]
    return rows[rows.ranking.notna()].pivot(index=place, columns="metric", values="value")


def test_every_pair_is_there_at_its_amounts(pruned):
    expected = {("dense", "none", 0.0)} | {(*pair, a) for pair in MAIN for a in (0.5, 0.9)}
    assert set(pruned.index) == expected | {(*pair, 0.9) for pair in MORE}


def test_pairs_of_one_allocation_keep_as_many_weights_in_every_layer(pruned):
    kept = [name for name in pruned if name.startswith("kept_")]
    masked = pruned.drop("dense", level="ranking")
    for (allocation, amount), group in masked.groupby(level=["allocation", "amount"]):
        assert (group[kept].nunique() == 1).all()
        per_layer = [n - round(n * amount) for n in (64, 128, 24)]
        own = sum(per_layer) if allocation == "uniform" else 216 - round(216 * amount)
        assert group[kept].sum(axis=1).iloc[0] == own
    assert masked.loc[("random", "uniform", 0.9)][kept].tolist() == [6, 13, 2]


def test_the_dense_reference_is_the_network_trained_as_long(pruned):
    recipe = CausalRecipe(**TINY)
    data, network = recipe.load(), recipe.build(seed=0)
    recipe.train(network, data, seed=0)
    expected = recipe.judged(network, None, data, seed=0)
    found = pruned.loc[("dense", "none", 0.0)]
    assert expected["accuracy"] == found.accuracy
    assert expected["accuracy_cut"] == found.accuracy_cut


def test_the_released_rule_is_what_its_alpha_keeps(pruned):
    """The mask at the reported alpha, from a recording of one's own, has the reported counts."""
    recipe = CausalRecipe(**TINY)
    data, network = recipe.load(), recipe.build(seed=0)
    recipe.train(network, data, seed=0)
    scores = record(recipe, clone_model(network), data, seed=10_000).two_batch
    row = pruned.loc[("causal", "causal", 0.5)]
    keep = scores.support(row.alpha * (1 + 1e-9), floor=1)
    counts = [int(keep[f"fc{k}.weight"].sum()) for k in (1, 2, 3)]
    assert counts == row[["kept_fc1", "kept_fc2", "kept_fc3"]].tolist()


def test_overlaps_are_shares_of_all_weights(rows):
    overlaps = rows[rows.amount_a.notna()]
    place = ["a", "b", "amount_a", "amount_b"]
    table = overlaps.pivot(index=place, columns="metric", values="value")
    assert np.allclose(table[["both_pruned", "only_a", "only_b", "neither_pruned"]].sum(axis=1), 1)
    first = table.loc[("causal", "magnitude", 0.5, 0.9)]
    assert first.both_pruned + first.only_b == pytest.approx(1 - round(216 * 0.1) / 216, abs=0.005)
    assert {"causal, other order", "causal, other seed"} <= set(overlaps.b)
    correlations = rows[rows.metric.str.startswith("spearman_")]
    assert correlations.value.between(-1, 1).all()
    same = correlations[(correlations.b == "same batch") & (correlations.metric == "spearman_fc3")]
    other = correlations[correlations.b == "causal, other seed"]
    assert same.value.item() > other.value.max()


def test_overlap_of_independent_masks_is_the_expected_one():
    generator = torch.Generator().manual_seed(0)
    draw = [{"x": torch.rand(20_000, generator=generator), "y": torch.rand(50, 400)} for _ in "ab"]
    a, b = (
        Masks({"x": scores["x"] < p, "y": scores["y"] < 0.5 + p})
        for scores, p in zip(draw, (0.1, 0.3), strict=True)
    )
    found = overlap_metrics(a, b)
    assert found["both_pruned"] == pytest.approx(found["expected_by_layer"], abs=0.01)
    assert found["jaccard"] == pytest.approx(found["jaccard_by_layer"], abs=0.01)
    assert found["expected"] < found["both_pruned"] - 0.03  # the layers differ alike in both
    mine = overlap_metrics(a, a)
    assert mine["both_pruned"] == pytest.approx(a.amount)
    assert mine["jaccard"] == 1.0


def test_rank_correlation_sees_order_only():
    scores = {"fc.weight": torch.tensor([[3.0, 1.0], [2.0, 5.0]])}
    exps = {"fc.weight": scores["fc.weight"].exp()}
    assert rank_correlations(scores, exps) == {"spearman_fc": pytest.approx(1.0)}


def test_a_threshold_without_a_floor_says_what_it_empties():
    scores = {"small": torch.tensor([0.1, 0.2]), "large": torch.arange(1.0, 9.0)}
    assert without_floor(scores, 0.5) == (1, 3.0)


def test_shuffled_losses_have_the_same_changes_in_another_order():
    losses = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=float).tolist()
    mixed = shuffled_losses(losses, seed=1)
    assert np.allclose(np.sort(np.diff(mixed)), np.sort(np.diff(losses)))
    assert not np.allclose(np.diff(mixed), np.diff(losses))
    assert mixed[0] == losses[0]
    assert mixed[-1] == pytest.approx(losses[-1])


def test_the_placebo_is_the_released_sum_of_the_same_steps_with_the_changes_moved():
    """Against checkpoints of every step: the movements are the same, the loss changes shuffled."""
    recipe = CausalRecipe(**TINY)
    data, network = recipe.load(), recipe.build(seed=0)
    twin = clone_model(network)
    with TrajectoryRecorder(twin) as recorder:
        options = {"epochs": 3, "batch_size": 16, "lr": recipe.prune_lr, "seed": 7}
        log = lambda x, y, loss: recorder.log(loss=loss)  # noqa: E731
        train(twin, data.x_train, data.y_train, progress=False, on_batch=log, **options)
    path = recorder.trajectory()
    squares = torch.tensor(path.weights).diff(dim=0).double().square()  # (T, P)

    real = record(recipe, clone_model(network), data, seed=7, same_batch=True)
    mixed = shuffled_losses(real.losses, seed=1)
    placebo = record(recipe, clone_model(network), data, seed=7, losses=mixed)
    sizes = solver_step_sizes(len(real.losses) - 1)
    for found, losses in ((real, real.losses), (placebo, mixed)):
        changes = torch.tensor(losses, dtype=torch.float64).diff()  # (T-1,)
        sums = released_sums(squares[:-1], changes, step_sizes=sizes).float()
        ours = path.layout.flatten(found.two_batch.sums)
        assert torch.allclose(ours, sums, rtol=1e-3, atol=float(sums.abs().max()) * 1e-5)
    same = torch.equal(
        path.layout.flatten(real.two_batch.movement),
        path.layout.flatten(placebo.two_batch.movement),
    )
    assert same
    assert real.same_batch.n_recorded == len(real.losses)


@pytest.fixture(scope="module")
def iterated() -> pd.DataFrame:
    study = IteratedRun(**TINY, n_iter=3, fraction=0.3, report=(1, 3), controls=True)
    found = run_grid([study], seeds=[0], out=None, progress=False)
    assert not found.error.notna().any()
    place = ["ranking", "allocation", "iteration"]
    return found.pivot(index=place, columns="metric", values="value")


def test_iterated_controls_prune_as_much_as_the_causal_run(iterated):
    last = iterated.xs(3, level="iteration")
    assert last.amount_pruned.nunique() == 1
    assert last.amount_pruned.iloc[0] == pytest.approx(1 - 0.7**3, abs=0.003)
    kept = [name for name in last if name.startswith("kept_")]
    at_counts = last.xs("causal", level="allocation")[kept]
    same = at_counts.loc[["causal", "random", "magnitude"]]
    assert (same.nunique() == 1).all()


def test_iterated_by_alpha_is_algorithm_1_of_the_library(pruned):
    """`CausalPruning` on the same phases prunes the same amount in every iteration."""
    alpha = float(pruned.loc[("causal", "causal", 0.5)].alpha)
    study = IteratedRun(**TINY, n_iter=2, l1_coeff=alpha, report=(1, 2))
    found = run_grid([study], seeds=[0], out=None, progress=False)
    found = found[found.ranking == "causal"]
    found = found.pivot(index="iteration", columns="metric", values="value")
    assert 0 < found.amount_pruned[1] < found.amount_pruned[2] < 1

    recipe = CausalRecipe(**TINY)
    data = recipe.load()

    def phases(model, phase):
        if phase.kind == "pretrain":
            return recipe.train(model, data, seed=0)
        options = {"batch_size": recipe.batch_size, "lr": recipe.prune_lr, "epochs": phase.epochs}
        log = lambda x, y, loss: phase.scores.log(loss=loss)  # noqa: E731
        seed = 10_000 + 100 * (phase.number - 1)
        return train(
            model, data.x_train, data.y_train, seed=seed, on_batch=log, progress=False, **options
        )

    pruning = CausalPruning(
        alpha=alpha,
        n_pre=6,
        n_iter=2,
        n_prune=3,
        n_post=0,
        batch_size=16,
        floor=1,
        train_fn=phases,
        n_steps=3 * -(-len(data.x_train) // 16),
        progress=False,
    ).fit(recipe.build(seed=0), data)
    for number, masks in enumerate(pruning.masks_by_round_, start=1):
        kept = found.loc[number][["kept_fc1", "kept_fc2", "kept_fc3"]]
        assert kept.tolist() == masks.counts().kept.tolist()


def test_frozen_scores_are_the_released_sums_of_gradients_at_fixed_weights():
    spec = CausalCurve(**TINY)
    data, network = spec.load(), spec.build(seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    scores = frozen_scores(spec, network, data, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    n_steps = spec.prune_epochs * math.ceil(len(data.x_train) / spec.batch_size)
    steps = frozen_steps(
        network, data, steps=n_steps, batch_size=spec.batch_size, lr=spec.prune_lr, seed=3
    )
    name = next(iter(scores))
    x = torch.from_numpy(steps.squares[:-1, steps.layout.span(name)])
    y = torch.from_numpy(np.diff(steps.loss_before))
    sums = (solver_step_sizes(n_steps)[:-1] * y) @ x.double()
    torch.testing.assert_close(scores[name].flatten().double(), sums.abs(), rtol=1e-3, atol=1e-20)
