"""The studies compare like with like: same start, same counts, same training."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch

from causalprune_lib.evidence.grid import run_grid
from causalprune_lib.nets.training import evaluate
from causalprune_studies.ch01_pruning.study import LotteryCurve, PruningCurve
from causalprune_studies.chapters import (
    paper_size_of,
    profiles_of,
    rows_of_studies,
    studies_of,
)
from causalprune_studies.recipe import Recipe

TINY = {"dataset": "iris", "hidden": (8, 4), "epochs": 3, "lr": 0.1, "batch_size": 16}
CURVE = PruningCurve(**TINY, amounts=(0.5, 0.9), finetune_epochs=1)


@pytest.fixture(scope="module")
def curve() -> pd.DataFrame:
    return run_grid([CURVE], seeds=range(2), out=None, progress=False)


def test_every_combination_is_there_once(curve):
    assert not curve.error.notna().any()
    combinations = curve.groupby(["seed", "metric"]).size()
    assert (combinations == 1 + 2 * 2 * 3).all()  # dense, and amounts x allocations x rankings


def test_the_dense_row_is_the_recipe_trained_alone(curve):
    recipe = Recipe(**TINY)
    data = recipe.load()
    for seed in range(2):
        model = recipe.build(seed=seed)
        recipe.train(model, data, seed=seed)
        expected = evaluate(model, data.x_test, data.y_test).accuracy
        rows = curve[(curve.ranking == "dense") & (curve.metric == "accuracy")]
        assert rows[rows.seed == seed].value.item() == expected


def test_a_seed_gives_the_same_rows_again(curve):
    again = run_grid([CURVE], seeds=range(1), out=None, progress=False)
    pd.testing.assert_series_equal(again.value, curve[curve.seed == 0].value)


def test_the_ticket_at_amount_zero_is_the_dense_network():
    """With nothing pruned, ticket and random mask are the dense network; new values are not."""
    study = LotteryCurve(**TINY, amounts=(0.0,))
    rows = run_grid([study], seeds=[0], out=None, progress=False).set_index("network").value
    assert rows["ticket"] == rows["dense"] == rows["random mask"]
    start, fresh = study.build(seed=0), study.build(seed=20_000)
    assert not torch.equal(start.fc1.weight, fresh.fc1.weight)


def test_the_studies_are_filed_under_their_profile():
    for rows in rows_of_studies():
        for profile in profiles_of(rows):
            studies = studies_of(rows, profile, on="meta")
            taken = {"full"} if profile == "paper" and paper_size_of(rows) else set()
            assert {study.profile for study in studies} - taken <= {profile}
            assert {study.on for study in studies} == {"meta"}


def test_an_unknown_chapter_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="Did you mean 'what-a-network-can-lose'"):
        studies_of("what-a-network-can-loose", "quick")


def test_a_recipe_changes_only_what_it_is_told_to():
    plain, fan_out = Recipe(**TINY), dataclasses.replace(Recipe(**TINY), init="fan_out")
    assert not torch.equal(plain.build(seed=0).fc1.weight, fan_out.build(seed=0).fc1.weight)
    assert plain.build(seed=0).fc1.weight.shape == fan_out.build(seed=0).fc1.weight.shape
