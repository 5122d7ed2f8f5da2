"""Tables and verdicts of chapter 9, on rows made up so that the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from full_rows import PROVENANCE

from causalprune_studies.ch09_flat_minima.study import NETWORKS
from causalprune_studies.ch09_flat_minima.tables import (
    MEASURES,
    at_equal_loss,
    mean_ranks,
    measure,
    rank_agreement,
    ratios,
)
from causalprune_studies.ch09_flat_minima.verdicts import CLAIMS, verdicts

PLAIN = dict.fromkeys(NETWORKS, 1.0)
LOSS = {"dense": 0.1, "causal": 0.2, "magnitude": 0.4} | {
    "magnitude at causal": 0.3,
    "random at causal": 0.2,
}


def made_up(sharp=None, *, equal=None, accuracy=None, everything=None) -> pd.DataFrame:
    """Rows of two data sets. `sharp`: every measure of each network at the end. `equal`: the top
    eigenvalue at any loss above the final one. Losses go from 3 down to `LOSS`."""
    sharp, equal = PLAIN | (sharp or {}), PLAIN | (equal or sharp or {})
    accuracy = {name: 0.8 for name in NETWORKS} | (accuracy or {})
    rows, rng = [], np.random.default_rng(0)
    for dataset in ("a", "b"):
        for seed in range(3):
            for name in NETWORKS:
                where = {**PROVENANCE, "dataset": dataset, "seed": seed, "network": name}
                where |= {"space": None, "step": np.nan, "radius": np.nan, "alpha": np.nan}

                def add(metric, value, where=where, **place):
                    value *= np.exp(1e-3 * rng.standard_normal())
                    rows.append(where | place | {"metric": metric, "value": value})

                for metric, place in MEASURES.values():
                    add(metric, sharp[name], **place)
                add("top_1", 1.0 if everything is None else everything[name], space="all")
                add("accuracy", accuracy[name])
                add("train_loss", LOSS[name])
                for step, loss in ((0, 3.0), (10, 1.01 * LOSS[name]), (20, LOSS[name])):
                    add("loss", loss, step=step)
                    add("top_1", sharp[name] if step == 20 else equal[name], step=step)
            add("increase", 7.0, **where | {"network": "causal, rescaled", "radius": 0.1})
    return pd.DataFrame(rows)


def words(claim, *, cell=None, **what) -> set[str]:
    """The words of a claim where something was measured."""
    many = verdicts(made_up(**what))[claim]
    return {v.word for v in many if v.estimate and cell in (None, v.cell)}


def test_ratios_are_geometric_means_over_networks():
    rows = made_up({"causal": 2.0, "magnitude": 8.0})
    gap = ratios(measure(rows, "trace"), "causal", "magnitude")
    assert (gap.n, 10**gap.mean) == (6, pytest.approx(0.25, rel=0.01))


def test_equal_loss_is_the_loss_of_the_network_that_ends_higher():
    rows = pd.DataFrame(
        [
            {"dataset": "a", "seed": 0, "network": name, "step": step, "metric": metric, "value": v}
            for name, curve in {
                "early": [(0, 4.0, 100.0), (5, 1.0, 50.0)],
                "late": [(0, 4.0, 80.0), (5, 0.5, 10.0), (9, 0.25, 2.0)],
            }.items()
            for step, loss, top in curve
            for metric, v in (("loss", loss), ("top_1", top))
        ]
    )
    found = at_equal_loss(rows, "early", "late").set_index("method")
    assert found.at_loss.tolist() == [1.0, 1.0]
    assert found.value["early"] == pytest.approx(50)
    # a third of the way from 0.5 to 4 in logarithms, so from 10 to 80
    assert found.value["late"] == pytest.approx(20)


def test_a_network_that_never_had_so_high_a_loss_has_no_number():
    rows = made_up()
    low = (rows.network == "dense") & (rows.metric == "loss") & (rows.dataset == "a")
    rows.loc[low, "value"] = 0.01
    found = at_equal_loss(rows, "causal", "dense")
    missing = found[found.value.isna()]
    assert len(found) == 12
    assert set(missing.dataset) == {"a"}
    assert set(missing.method) == {"dense"}
    rows.loc[(rows.network == "dense") & (rows.metric == "loss"), "value"] = 0.01
    found = [v for v in verdicts(rows)["as flat as the original"] if "equal" in v.cell]
    assert {v.word for v in found} == {"not tested"}


def test_rank_agreement_by_value():
    sharp = {name: 1.0 + i for i, name in enumerate(NETWORKS)}
    accuracy = {name: 0.9 - 0.1 * i for i, name in enumerate(NETWORKS)}
    found = rank_agreement(made_up(sharp, accuracy=accuracy))
    by = found.groupby("method").value.mean()
    assert mean_ranks(made_up(sharp)).T.to_numpy().tolist() == [[1, 2, 3, 4, 5]] * len(MEASURES)
    assert by[list(MEASURES)].tolist() == pytest.approx([1] * 4)  # the flattest is the best
    assert by["low training loss"] == pytest.approx(0.4, abs=0.2)
    fewer = rank_agreement(made_up(sharp, accuracy=accuracy), without=("dense",))
    assert fewer.value[fewer.method == "trace"].tolist() == pytest.approx([1] * 6)


def test_every_claim_is_reproduced_where_causal_is_flattest_and_flat_is_accurate():
    sharp = {"dense": 1.1, "causal": 1.0, "magnitude": 9.0}
    sharp |= {"magnitude at causal": 5.0, "random at causal": 3.0}
    accuracy = {name: 0.95 - 0.05 * value for name, value in sharp.items()}
    for claim in CLAIMS:
        where = "at the end" if "flat as" in claim.name or "than" in claim.name else None
        drawn = words(claim.name, cell=where, sharp=sharp, accuracy=accuracy)
        few = claim.name == "flatness explains accuracy"  # three sets of five, all in order
        assert drawn == {"undecided" if few else "reproduced"}


def test_sharper_and_less_accurate_is_contradicted():
    sharp, accuracy = {"causal": 5.0}, {"causal": 0.9, "magnitude": 0.7}
    for name in ("as flat as the original", "flatter than magnitude"):
        assert words(name, cell="at the end", sharp=sharp) == {"contradicted"}
    assert words("flatter landscape", sharp=sharp) == {"contradicted"}
    assert "reproduced" not in words("flatness explains accuracy", sharp=sharp, accuracy=accuracy)


def test_random_weights_at_the_same_counts_may_do_it_too():
    sharp = {"magnitude": 4.0, "magnitude at causal": 1.0, "random at causal": 0.8}
    too = {"reproduced, and the control does it too"}
    assert words("flatter than magnitude", cell="at the end", sharp=sharp) == too
    assert words("flatter landscape", sharp=sharp) == too
    sharp["random at causal"] = 4.0
    assert words("flatter landscape", sharp=sharp) == {"reproduced"}


def test_both_spaces_and_both_moments_are_judged_apart():
    sharp = {"causal": 5.0}
    everything = PLAIN | {"magnitude": 2.0, "random at causal": 2.0}
    kept, every = (
        words("flatter than magnitude", cell=c, sharp=sharp, everything=everything)
        for c in ("at the end", "at the end, all weights")
    )
    assert (kept, every) == ({"contradicted"}, {"reproduced"})
    sharp = {"magnitude": 4.0, "random at causal": 4.0}
    later = words(
        "flatter than magnitude",
        cell="at equal training loss",
        sharp=sharp,
        equal=sharp | {"causal": 12.0},  # flatter at the end only: it was the training loss
    )
    assert later == {"contradicted"}


def test_data_sets_are_judged_apart_and_ratios_count_networks():
    found = verdicts(made_up({"causal": 2.0}))["as flat as the original"]
    assert {v.dataset for v in found if v.estimate} == {"a", "b"}
    assert {(v.estimate.n, v.estimate.units) for v in found if v.estimate} == {(3, "networks")}
    one = next(v for v in found if v.cell == "at the end")
    assert one.estimate.effect == pytest.approx(2, rel=0.01)


def test_quick_rows_decide_nothing():
    with pytest.raises(ValueError, match="full"):
        verdicts(made_up().assign(profile="quick"))
