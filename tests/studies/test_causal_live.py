"""The illustrations of the page "Causal pruning" hold the controls that they promise."""

from __future__ import annotations

import copy

import pandas as pd
import pytest
import torch

from causalprune_lib.evidence.grid import run_grid
from causalprune_studies.ch08_causal_pruning.study import (
    CROSSED,
    PAIRS,
    CausalSketch,
    amounts_of_alpha,
    record,
    smaller_networks,
)

TINY = {"dataset": "iris", "model": "mlp", "hidden": (16, 8), "batch_size": 16, "lr": 0.01}
TINY |= {"epochs": 3, "prune_epochs": 2, "post_epochs": 1, "init": "default"}
STUDY = CausalSketch(**TINY, amounts=(0.5, 0.9), thorough=(0.9,))


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    found = run_grid([STUDY], seeds=[0], out=None, progress=False)
    assert not found.error.notna().any()
    return found


@pytest.fixture(scope="module")
def trained():
    data, network = STUDY.load(), STUDY.build(seed=0)
    STUDY.train(network, data, seed=0)
    return data, network


def test_every_control_has_causals_counts_at_every_amount(rows):
    pruned = rows[rows.ranking.notna() & (rows.ranking != "dense")]
    table = pruned.pivot(
        index=["ranking", "allocation", "amount"], columns="metric", values="value"
    )
    expected = {(*pair, a) for pair in PAIRS for a in (0.5, 0.9)} | {(*p, 0.9) for p in CROSSED}
    assert set(table.index) == expected
    kept = [name for name in table if name.startswith("kept_")]
    for _, group in table.groupby(level=["allocation", "amount"]):
        assert (group[kept].nunique() == 1).all()


def test_alpha_keeps_what_the_released_rule_keeps(trained):
    data, network = trained
    scores = record(STUDY, copy.deepcopy(network), data, seed=0).two_batch
    alphas = torch.tensor([0.1, 0.5]) * min(scores.alpha_max.values())
    found = amounts_of_alpha(scores, alphas).set_index(["alpha", "layer"]).density
    for alpha in alphas:
        for name, keep in scores.support(float(alpha)).items():
            place = float(alpha), name.removesuffix(".weight")
            assert found[place] == pytest.approx(keep.double().mean().item(), abs=1e-12)


def test_smaller_networks_differ_in_which_filters_and_not_in_how_many(trained):
    data, network = trained
    found = smaller_networks(STUDY, network, data, 0.5, seed=0)
    assert set(found) == {"causal", "movement", "magnitude", "random"}
    shapes = {name: [tuple(p.shape) for p in model.parameters()] for name, model in found.items()}
    assert all(s == [(8, 4), (8,), (4, 8), (4,), (3, 4), (3,)] for s in shapes.values())
    weights = {name: next(model.parameters()) for name, model in found.items()}
    assert not torch.equal(weights["magnitude"], weights["random"])
