"""Differences and the scale that the page on causal pruning states, on rows with known answers."""

from __future__ import annotations

import pandas as pd
import pytest

from causalprune_studies.ch08_causal_pruning.tables import (
    after_ten_rounds_against_causal,
    curves,
    in_words,
    scale,
    steeper_than,
    ten_rounds_against_one,
)

SIZES = {"subset": "[10000, 10000]", "batch_size": 512, "prune_epochs": 10, "post_epochs": 4}
COMMON = {"init": "fan_out", "metric": "accuracy", **SIZES}


def point(dataset, seed, ranking, value, **where):
    allocation = where.pop("allocation", ranking.split(",")[0])
    place = {"dataset": dataset, "seed": seed, "ranking": ranking, "allocation": allocation}
    return {**COMMON, "spec": "CausalCurve", "n_iter": None, **place, "value": value, **where}


def rounds(seed, ranking, value, **where):
    at = {"spec": "IteratedRun", "n_iter": 10, "iteration": 10, "l1_coeff": None, "amount": None}
    return point("fashion_mnist", seed, ranking, value, **(at | where))


@pytest.fixture
def rows() -> pd.DataFrame:
    """Causal loses 30 points more than magnitude, and as much as random weights at its counts."""
    curve = [
        point(dataset, seed, ranking, level - 0.01 * seed, amount=amount, allocation=allocation)
        for dataset in ("fashion_mnist", "cifar10")
        for seed in range(3)
        for ranking, allocation, levels in (
            ("causal", "causal", (0.8, 0.4)),
            ("random", "causal", (0.7, 0.3)),
            ("magnitude", "magnitude", (0.6, 0.5)),
            ("obd", "obd", (0.9, 0.9)),
        )
        for amount, level in zip((0.95, 0.98), levels, strict=True)
    ]
    iterated = [
        rounds(seed, ranking, value + 0.01 * seed)
        for seed in range(3)
        for ranking, value in (("causal", 0.7), ("magnitude", 0.5), ("causal, one shot", 0.4))
    ]
    by_alpha = [
        rounds(seed, "causal", value, l1_coeff=alpha, prune_epochs=2, iteration=iteration)
        for seed in range(3)
        for alpha in (1e-14, 1e-13)
        for iteration, value in ((1, 0.8), (10, 0.8 if alpha < 1e-13 else 0.3))
    ]
    return pd.DataFrame([*curve, *iterated, *by_alpha])


def test_a_fall_is_compared_network_by_network(rows):
    own = rows[rows.dataset == "cifar10"]
    assert steeper_than(own, "magnitude").mean == pytest.approx(0.3)
    assert steeper_than(own, "random at causal").mean == pytest.approx(0.0)
    assert steeper_than(own, "magnitude").n == 3


def test_rounds_are_compared_with_one_round_and_with_other_methods(rows):
    found = after_ten_rounds_against_causal(rows)
    assert {name: round(gap.mean, 6) for name, gap in found.items()} == {
        "magnitude": 0.2,
        "causal, one shot": 0.3,
    }
    by_setting = ten_rounds_against_one(rows)
    assert by_setting[1e-14, 2].mean == pytest.approx(0.0)
    assert by_setting[1e-13, 2].mean == pytest.approx(-0.5)


def test_the_scale_stands_beside_the_papers(rows):
    found = scale(rows)
    cifar, fashion = found["CIFAR-10"], found["Fashion-MNIST"]
    assert cifar.loc["recorded steps in a round"].tolist() == [200, 980]
    assert fashion.loc["recorded steps in a round"].tolist() == [200, 1180]
    assert cifar.loc["rounds"].tolist() == [1, 10]
    assert fashion.loc["rounds", "here"] == 10
    assert cifar.loc["epochs after pruning"].tolist() == [4, 200]
    assert cifar.loc["networks", "here"] == 3


def test_the_older_name_of_the_rows_is_not_shown(rows):
    assert "Fisher" in set(curves(rows, ["causal", "obd"]).method)


def test_an_interval_of_a_share_ends_at_0_and_1():
    table = pd.DataFrame({"m": ["a"], "d": ["x"], "mean": [0.7], "low": [-0.2], "high": [1.4]})
    assert in_words(table, index="m", columns="d").loc["a", "x"] == "0.700 (0.000 to 1.000)"
