"""The studies of causal pruning compare like with like, and run the algorithm that is offered."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import causalprune_lib as cp
from causalprune_lib.evidence.grid import run_grid
from causalprune_studies.ch08_causal_pruning.study import (
    CONTROLS,
    MAIN,
    MORE,
    SKETCHED,
    CausalCurve,
    CausalRecipe,
    CausalSketch,
    IteratedRun,
    smaller_networks,
)

TINY = {"dataset": "iris", "model": "mlp", "hidden": (16, 8), "batch_size": 16, "lr": 0.01}
TINY |= {"epochs": 4, "prune_epochs": 3, "post_epochs": 1, "init": "default"}
RECIPE = CausalRecipe(**TINY)
LAYERS = ["kept_fc1", "kept_fc2", "kept_fc3"]


@pytest.fixture(scope="module")
def trained():
    data = RECIPE.load()
    return data, RECIPE.pretrained(data, seed=0)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    spec = CausalCurve(**TINY, amounts=(0.5, 0.9), thorough=(0.9,), n_random=2)
    found = run_grid([spec], seeds=[0], out=None, progress=False)
    assert not found.error.notna().any()
    return found


def by(rows: pd.DataFrame, *place: str) -> pd.DataFrame:
    """One line per place, metrics as columns."""
    rows = rows[rows.ranking.notna()]
    return rows.pivot(index=list(place), columns="metric", values="value")


@pytest.fixture(scope="module")
def pruned(rows) -> pd.DataFrame:
    return by(rows, "ranking", "allocation", "amount")


def test_every_pair_is_there_at_its_amounts(pruned):
    expected = {("dense", "none", 0.0)} | {(*pair, a) for pair in MAIN for a in (0.5, 0.9)}
    assert set(pruned.index) == expected | {(*pair, 0.9) for pair in MORE}
    sketch = CausalSketch(thorough=(0.9,))
    assert sketch.pairs(0.5) == SKETCHED
    assert set(sketch.pairs(0.9)) == {*SKETCHED, *CONTROLS} < {*MAIN, *MORE}


def test_pairs_of_one_allocation_keep_as_many_weights_in_every_layer(pruned):
    masked = pruned.drop("dense", level="ranking")
    for (allocation, amount), group in masked.groupby(level=["allocation", "amount"]):
        assert (group[LAYERS].nunique() == 1).all()
        per_layer = [n - round(n * amount) for n in (64, 128, 24)]
        own = sum(per_layer) if allocation == "uniform" else 216 - round(216 * amount)
        assert group[LAYERS].sum(axis=1).iloc[0] == own
    assert masked.loc[("random", "uniform", 0.9)][LAYERS].tolist() == [6, 13, 2]


def test_the_dense_reference_is_the_network_trained_as_long(pruned, trained):
    data, network = trained
    found, network = pruned.loc[("dense", "none", 0.0)], copy.deepcopy(network)
    assert cp.evaluate(network, data.x_test, data.y_test).accuracy == found.accuracy_cut
    training = replace(RECIPE.training, epochs=1, batch_size=RECIPE.post_batch_size)
    training.train(network, data.x_train, data.y_train, seed=20_000)
    assert cp.evaluate(network, data.x_test, data.y_test).accuracy == found.accuracy


def test_the_released_rule_is_what_its_alpha_keeps(pruned, trained):
    """The mask at the reported alpha, from a recording of one's own, has the reported counts."""
    data, network = trained
    scores = cp.record_scores(network, data, RECIPE.recording, seed=10_000)
    row = pruned.loc[("causal", "causal", 0.5)]
    keep = scores.support(row.alpha * (1 + 1e-9), floor=1)
    assert [int(kept.sum()) for kept in keep.values()] == row[LAYERS].tolist()


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


def test_iterated_controls_prune_as_much_as_the_causal_run():
    spec = IteratedRun(**TINY, n_iter=3, fraction=0.3, report=(1, 3), controls=True)
    found = run_grid([spec], seeds=[0], out=None, progress=False)
    assert not found.error.notna().any()
    last = by(found, "ranking", "allocation", "iteration").xs(3, level="iteration")
    assert last.amount_pruned.nunique() == 1
    assert last.amount_pruned.iloc[0] == pytest.approx(1 - 0.7**3, abs=0.003)
    at_counts = last.xs("causal", level="allocation").loc[["causal", "random", "magnitude"]]
    assert (at_counts[LAYERS].nunique() == 1).all()


def test_iterated_by_alpha_is_algorithm_1_of_the_library(pruned, trained):
    """`CausalPruning` on the same phases keeps as many weights in every round."""
    alpha = float(pruned.loc[("causal", "causal", 0.5)].alpha)
    spec = IteratedRun(**TINY, n_iter=2, l1_coeff=alpha, report=(1, 2))
    rows = run_grid([spec], seeds=[0], out=None, progress=False)
    found = by(rows[rows.ranking == "causal"], "iteration")
    assert 0 < found.amount_pruned[1] < found.amount_pruned[2] < 1
    pruning = cp.CausalPruning(
        alpha=alpha,
        n_iter=2,
        floor=1,
        pretrain=spec.training,
        record=spec.recording,
        posttrain=replace(spec.training, epochs=0),
        seed=lambda phase: 10_000 + 100 * (phase - 1) if phase else 0,
    ).fit(spec.build(seed=0), trained[0])
    for number, masks in enumerate(pruning.masks_by_round_, start=1):
        assert found.loc[number][LAYERS].tolist() == masks.counts().kept.tolist()


def plain_algorithm_1(model, x, y, rule, *, n_iter):
    """Pretrain, `n_iter` times record, prune and rewind, train on: with torch alone.

    `rule(number, sums, step sizes)` says what is kept. Gives the masks after each round, and the
    network. Batches of 8 in the order of a generator with the number of the phase as its seed;
    three epochs of Adam before, two recorded ones of SGD in each round, one of Adam at the end.
    """
    names = [name for name, p in model.named_parameters() if p.dim() > 1]
    masks = {name: torch.ones_like(model.get_parameter(name)) for name in names}

    def run(model, optimizer, epochs, seed, seen=None):
        order = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            for batch in torch.randperm(len(x), generator=order).split(8):
                loss = cross_entropy(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                if seen is not None:
                    seen.append((loss.item(), copy.deepcopy(model.state_dict())))
                optimizer.step()
                apply(model)

    def apply(model):
        for name in names:
            model.get_parameter(name).data.mul_(masks[name])

    run(model, torch.optim.Adam(model.parameters(), lr=0.01), 3, seed=0)
    rounds = []
    for number in range(1, n_iter + 1):
        twin, seen = copy.deepcopy(model), []
        apply(twin)
        run(twin, torch.optim.SGD(twin.parameters(), lr=0.05), 2, seed=number, seen=seen)
        n = len(seen) - 1
        w = [sum(0.01 / (q * n + t) ** 0.25 for q in range(3)) for t in range(1, n + 1)]
        sums = {
            name: sum(
                w[t]
                * (seen[t + 1][0] - seen[t][0])
                * (seen[t + 1][1][name] - seen[t][1][name]) ** 2
                for t in range(n)
            ).abs()
            for name in names
        }
        masks = {name: keep.double() for name, keep in rule(number, sums, sum(w)).items()}
        rounds.append(masks)
    apply(model)
    run(model, torch.optim.Adam(model.parameters(), lr=0.01), 1, seed=n_iter + 1)
    return rounds, model


def by_amount(number, sums, total):
    """Of 96 weights 48, 72 and 84 go."""
    line = torch.cat([s.flatten() for s in sums.values()]).sort().values[96 - 96 // 2**number - 1]
    return {name: s > line for name, s in sums.items()}


def by_alpha(number, sums, total):
    return {name: s > 1e-7 * total for name, s in sums.items()}


@pytest.mark.parametrize(
    ("how", "rule"), [({"amount": 0.875}, by_amount), ({"alpha": 1e-7}, by_alpha)]
)
def test_the_public_class_is_algorithm_1_round_by_round(how, rule):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 4)).double()
    adam = {"batch_size": 8, "lr": 0.01, "optimizer": "adam"}
    pruning = cp.CausalPruning(
        **how,
        n_iter=3,
        pretrain=cp.Training(epochs=3, **adam),
        record=cp.Training(epochs=2, batch_size=8, lr=0.05),
        posttrain=cp.Training(epochs=1, **adam),
        seed=lambda phase: phase,
    ).fit(model, (x, y))
    rounds, expected = plain_algorithm_1(copy.deepcopy(model), x, y, rule, n_iter=3)
    kept = [int(sum(keep.sum() for keep in masks.values())) for masks in rounds]
    assert 96 > kept[0] > kept[1] > kept[2] > 0
    for found, masks in zip(pruning.masks_by_round_, rounds, strict=True):
        assert all(torch.equal(found[name], keep.bool()) for name, keep in masks.items())
    for name, weight in cp.remove_masks(pruning.model_).named_parameters():
        torch.testing.assert_close(weight, expected.get_parameter(name), rtol=1e-9, atol=1e-12)


def test_smaller_networks_differ_in_which_filters_and_not_in_how_many(trained):
    data, network = trained
    found = smaller_networks(RECIPE, network, data, 0.5, seed=0)
    assert set(found) == {"causal", "movement", "magnitude", "random"}
    shapes = {name: [tuple(p.shape) for p in model.parameters()] for name, model in found.items()}
    assert all(s == [(8, 4), (8,), (4, 8), (4,), (3, 4), (3,)] for s in shapes.values())
    weights = {name: next(model.parameters()) for name, model in found.items()}
    assert not torch.equal(weights["magnitude"], weights["random"])
