"""The placebos of causal pruning cut one link only; overlaps are measured against chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from causalprune_lib.causality.scores import released_sums, solver_step_sizes
from causalprune_lib.dynamics.recorder import TrajectoryRecorder
from causalprune_lib.nets.training import train
from causalprune_lib.pruning.iterative import amount_schedule
from causalprune_lib.pruning.masks import Masks, clone_model, jaccard
from causalprune_studies.ch06_causal_model.study import frozen_steps
from causalprune_studies.ch08_causal_pruning.controls import (
    frozen_scores,
    overlap_metrics,
    overlap_table,
    rank_correlations,
    repeated_amounts,
    shuffled_losses,
    without_floor,
)
from causalprune_studies.ch08_causal_pruning.study import CausalRecipe

RECIPE = CausalRecipe(
    dataset="iris", model="mlp", hidden=(16, 8), init="default", batch_size=16, prune_epochs=3
)


@pytest.mark.parametrize(("fraction", "percent"), [(0.275, 95.99), (0.1, 65.13)])
def test_ten_rounds_of_the_released_baseline_end_where_table_2_says(fraction, percent):
    amounts = repeated_amounts(fraction, 10)
    assert round(100 * amounts[-1], 2) == percent
    # The same in whole weights of LeNet on CIFAR-10, a fraction of what remains in each round.
    left = 656_500
    for _ in range(10):
        left -= round(fraction * left)
    assert round(100 * (1 - left / 656_500), 2) == percent
    assert amount_schedule(amounts[-1], 10) == pytest.approx(amounts, rel=1e-6)
    with pytest.raises(ValueError, match="rounds"):
        repeated_amounts(fraction, 0)


def test_shuffled_losses_have_the_same_changes_in_another_order():
    losses = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=float).tolist()
    mixed = shuffled_losses(losses, seed=1)
    assert np.allclose(np.sort(np.diff(mixed)), np.sort(np.diff(losses)))
    assert not np.allclose(np.diff(mixed), np.diff(losses))
    assert mixed[0] == losses[0]
    assert mixed[-1] == pytest.approx(losses[-1])


def test_the_placebo_is_the_released_sum_of_the_same_steps_with_the_changes_moved():
    """Against checkpoints of every step: the movements are the same, the loss changes shuffled."""
    data, network = RECIPE.load(), RECIPE.build(seed=0)
    twin = clone_model(network)
    with TrajectoryRecorder(twin) as recorder:
        options = {"epochs": 3, "batch_size": 16, "lr": RECIPE.prune_lr, "seed": 7}
        log = lambda x, y, loss: recorder.log(loss=loss)  # noqa: E731
        train(twin, data.x_train, data.y_train, progress=False, on_batch=log, **options)
    path = recorder.trajectory()
    squares = torch.tensor(path.weights).diff(dim=0).double().square()  # (T, P)

    real = RECIPE.record(network, data, order=7, changes=["two_batch", "same_batch"])
    mixed = shuffled_losses(real.losses, seed=1)
    placebo = RECIPE.record(network, data, order=7, losses=mixed)
    sizes = solver_step_sizes(len(real.losses) - 1)
    for found, losses in ((real, real.losses), (placebo, mixed)):
        changes = torch.tensor(losses, dtype=torch.float64).diff()  # (T-1,)
        sums = released_sums(squares[:-1], changes, step_sizes=sizes).float()
        ours = path.layout.flatten(found.scores["two_batch"].sums)
        assert torch.allclose(ours, sums, rtol=1e-3, atol=float(sums.abs().max()) * 1e-5)
    moved, again = (path.layout.flatten(r.scores["two_batch"].movement) for r in (real, placebo))
    assert torch.equal(moved, again)
    assert real.scores["same_batch"].n_recorded == len(real.losses)


def test_frozen_scores_are_the_released_sums_of_gradients_at_fixed_weights():
    data, network = RECIPE.load(), RECIPE.build(seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    scores = frozen_scores(network, data, RECIPE.recording, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    n_steps = RECIPE.recording.n_steps(len(data.x_train))
    steps = frozen_steps(network, data, steps=n_steps, batch_size=16, lr=RECIPE.prune_lr, seed=3)
    name = next(iter(scores))
    x = torch.from_numpy(steps.squares[:-1, steps.layout.span(name)])
    y = torch.from_numpy(np.diff(steps.loss_before))
    sums = (solver_step_sizes(n_steps)[:-1] * y) @ x.double()
    torch.testing.assert_close(scores[name].flatten().double(), sums.abs(), rtol=1e-3, atol=1e-20)


def test_the_pair_of_figure_1b_that_the_paper_discusses():
    # Both prune 97.1%; 94.4% is pruned by both; each prunes 2.7% that the other keeps.
    causal, magnitude = torch.ones(1000), torch.ones(1000)
    causal[:971] = 0
    magnitude[27:998] = 0
    a, b = Masks({"w": causal != 0}), Masks({"w": magnitude != 0})
    table = overlap_table(a, b)
    assert table.loc["pruned", "pruned"] == pytest.approx(94.4)
    assert table.loc["pruned", "kept"] == pytest.approx(2.7)  # (0, 1): causal but not magnitude
    assert table.loc["kept", "pruned"] == pytest.approx(2.7)
    assert table.loc["kept", "kept"] == pytest.approx(0.2)
    assert jaccard(a, b) == pytest.approx(2 / (29 + 29 - 2))
    everything = Masks({"w": torch.ones(1000) != 0})  # the first mask gives the rows
    assert np.allclose(overlap_table(a, everything), [[0, 97.1], [0, 2.9]])


def test_independent_masks_overlap_by_the_product_of_their_amounts_and_tables_are_symmetric():
    generator = torch.Generator().manual_seed(0)
    a, b = (Masks({"w": torch.rand(200_000, generator=generator) > p}) for p in (0.9, 0.6))
    # Standard deviation of a binomial share of 0.54 at this n: 0.11 percentage points.
    assert overlap_table(a, b).iloc[0, 0] == pytest.approx(54, abs=5 * 0.11)
    table = overlap_table(a, b)
    assert table.to_numpy().sum() == pytest.approx(100, abs=1e-9)
    assert table.loc["pruned"].sum() == pytest.approx(100 * a.amount, abs=1e-9)
    assert table["pruned"].sum() == pytest.approx(100 * b.amount, abs=1e-9)
    assert np.allclose(overlap_table(b, a), table.T)
    assert np.allclose(np.diag(overlap_table(a, a)), [100 * a.amount, 100 * (1 - a.amount)])


def test_overlap_of_independent_masks_is_the_expected_one():
    generator = torch.Generator().manual_seed(0)
    draw = [{n: torch.rand(20_000, generator=generator) for n in "xy"} for _ in "ab"]
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
