"""Chapter 7: masks are compared at equal counts, and tables say what an exact lasso can keep."""

from __future__ import annotations

import numpy as np
import pytest

from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_studies.ch06_causal_model.study import Steps
from causalprune_studies.ch07_lasso import study, tables


@pytest.fixture(scope="module")
def steps():
    """Made-up steps of the chapter's small network; frozen ones with a loss of their own."""
    layout = ParameterLayout.of(study.SMALL.build(seed=0), which="all")
    random = np.random.default_rng(0)
    squares = random.normal(size=(9, layout.size)).astype(np.float32) ** 2
    losses = random.normal(size=(3, 9))
    return {
        "moving": Steps(squares, losses[0], losses[1], 1e-3, layout),
        "frozen": Steps(squares, losses[2], losses[2], 1e-3, layout),
    }


@pytest.fixture(scope="module")
def masks(steps):
    return study.equal_masks(steps, seed=0)


def test_all_masks_keep_equally_many_in_every_layer(masks):
    counts = {tuple(int(keep.sum()) for keep in mask.values()) for mask in masks.values()}
    (count,) = counts
    assert all(0 < n <= 8 for n in count)  # exact lassos keep at most T, and it is the fewest
    assert {pair for pairs in study.PAIRS.values() for pair in pairs} <= masks.keys()


def test_the_released_rule_keeps_the_largest_sums_and_movement_the_largest_moves(steps, masks):
    x, y = steps["moving"].fitted("two_batch")
    i = np.arange(1, 25)
    weights = (0.01 / i**0.25).reshape(3, 8).sum(0)
    for name in study.SMALL.layers:
        part = x[:, steps["moving"].layout.span(name)].astype(float)
        by_hand = {"released": np.abs((weights * y) @ part), "movement": part.sum(0)}
        for rule, scores in by_hand.items():
            kept = masks[rule, "two-batch"][name].numpy()
            assert scores[kept].min() > scores[~kept].max()


def test_shared_weights_are_one_row_for_each_network_and_pair(steps):
    rows = study.shared_weights([steps, steps])
    assert len(rows) == 2 * len(study.PAIRS)
    assert rows.value.between(0, 1).all()
    same = rows.pivot(index="pair", columns="seed", values="value")
    unshuffled = same.loc[["exact and released", "released and movement"]]
    assert (unshuffled[0] > 0).any()
    assert same.loc["chance"].max() < 0.1


def test_an_exact_lasso_prunes_more_than_the_paper_reports():
    assert tables.most_kept([500, 25_000], samples=1179) == 500 + 1179
    found = tables.published_amounts()
    assert found.loc["fashion_mnist", ["T", "weights"]].tolist() == [1179, 430_500]
    assert found["so it prunes at least (%)"].round(2).tolist() == [99.06, 99.40]
    assert found["published, after all rounds (%)"].tolist() == [68.72, 96.3]
