"""The tables of chapter 1 change one decision at a time, on rows made up so that it is known."""

from __future__ import annotations

import itertools

import pandas as pd
import pytest

from causalprune_studies.ch01_pruning import tables

WORTH = {"magnitude": 0.3, "random": 0.0, "inverse": -0.3, "global": 0.1, "layer": 0.0}


def curve():
    """Accuracies that are a sum of what the ranking and the allocation are worth, and the seed."""
    cells = itertools.product(
        ["magnitude", "random", "inverse"], ["global", "layer"], [0.8, 0.9], range(3)
    )
    rows = pd.DataFrame(cells, columns=["ranking", "allocation", "amount", "seed"])
    worth = rows.ranking.map(WORTH) + rows.allocation.map(WORTH)
    rows = rows.assign(value=0.5 + worth + 0.01 * rows.seed)
    dense = pd.DataFrame(
        {"ranking": "dense", "allocation": "none", "amount": 0.0, "seed": range(3)}
    )
    rows = pd.concat([rows, dense.assign(value=0.95)])
    other = rows.assign(metric="accuracy", value=rows.value / 2)
    return pd.concat([rows.assign(metric="accuracy_finetuned"), other], ignore_index=True)


def test_two_by_two_finds_what_each_decision_is_worth_with_the_other_fixed():
    effects = tables.two_by_two(tables.four_networks(curve()), amount=0.9)
    assert {name.partition(",")[0] for name in effects} == {"allocation", "ranking"}
    for name, gap in effects.items():
        assert gap.n == 3
        assert gap.mean == pytest.approx(0.1 if name.startswith("allocation") else 0.3)


def test_four_networks_have_names_and_the_others_are_left_out():
    four = tables.four_networks(curve())
    assert set(four.metric) == {"accuracy_finetuned"}
    assert set(four.method) == {
        f"{ranking}, {counts}"
        for ranking in ("magnitude", "random")
        for counts in ("global counts", "equal fractions")
    }


def test_rankings_are_compared_at_the_counts_of_the_global_threshold():
    means = tables.by_ranking(curve(), "accuracy").set_index(["ranking", "amount"])["mean"]
    assert means["magnitude", 0.8] == pytest.approx((0.5 + 0.3 + 0.1 + 0.01) / 2)
    assert len(means) == 6
    assert tables.dense_network(curve())["mean"].item() == pytest.approx(0.95)


def test_a_ticket_is_compared_with_both_controls_seed_by_seed():
    rows = pd.DataFrame(
        [
            {"network": network, "amount": 0.9, "seed": seed, "value": value + 0.1 * seed}
            for network, value in (("ticket", 0.9), ("new values", 0.7), ("random mask", 0.4))
            for seed in range(3)
        ]
    )
    gains = tables.ticket_gains(rows, amount=0.9)
    assert [gap.mean for gap in gains.values()] == pytest.approx([0.2, 0.5])
    shown = tables.in_points(gains, "tickets")
    assert shown["points of accuracy"].tolist() == ["+20.0", "+50.0"]
    assert shown.seeds.tolist() == [3, 3]
