"""Verdicts and tables of causal pruning, on rows made up so that the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalprune_lib.evidence.studies.causal_tables import (
    curve_rows,
    difference,
    iterated_rows,
    layer_densities,
    mean_over,
    overlap_rows,
    without_empty_layers,
)
from causalprune_lib.evidence.studies.causal_verdicts import CRITERIA, verdicts

PROVENANCE = {
    "commit": "abc",
    "dirty": "False",
    "causalprune_lib": "0",
    "torch": "2",
    "numpy": "2",
    "python": "3",
    "device": "cpu",
    "cpu": "x",
    "seconds": 1.0,
    "started": "now",
    "profile": "full",
    "init": "fan_out",
}
AMOUNTS = (0.8, 0.9, 0.95, 0.98)
AT_CAUSAL = ("random", "magnitude", "inverse", "shuffled loss")


def made_up(
    *,
    causal=0.0,
    magnitude=0.0,
    shuffled=0.0,
    drop=0.0,
    empty=(),
    overlap=0.0,
    iterated=0.0,
    by_iteration=0.0,
    alpha_step=0.1,
) -> pd.DataFrame:
    """Two data sets, three seeds; every accuracy is 0.7 but for the gains named here."""
    rows, rng = [], np.random.default_rng(0)
    for dataset in ("fashion_mnist", "cifar10"):
        for seed in range(3):
            where = {**PROVENANCE, "dataset": dataset, "seed": seed}
            level = 0.7 + 0.05 * rng.standard_normal()

            def add(metric, value, jitter=1e-4, where=where, **place):
                noise = jitter * rng.standard_normal()
                rows.append({**where, **place, "metric": metric, "value": value + noise})

            def pruned(ranking, allocation, amount, gain=0.0, level=level, add=add):
                at = {"ranking": ranking, "allocation": allocation, "amount": amount}
                last = drop * (amount == 0.98) * (allocation == "causal")
                accuracy = 0.1 if allocation == "causal" and amount in empty else level + gain
                add("accuracy", accuracy - last, spec="CausalCurve", **at)

            pruned("dense", "none", 0.0)
            for amount in AMOUNTS:
                pruned("causal", "causal", amount, causal)
                pruned("magnitude", "magnitude", amount, magnitude)
                for ranking in AT_CAUSAL:
                    gain = shuffled if ranking == "shuffled loss" else 0.0
                    pruned(ranking, "causal", amount, gain)
                place = {"ranking": "causal", "allocation": "causal", "amount": amount}
                add("emptied", float(amount in empty), 0, spec="CausalCurve", **place)
                pair = {"spec": "CausalCurve", "a": "causal", "b": "magnitude"}
                pair |= {"amount_a": amount, "amount_b": amount}
                add("expected", amount**2, 0, **pair)
                add("expected_by_layer", amount**2, 0, **pair)
                add("both_pruned", amount**2 + overlap * (amount - amount**2), 1e-6, **pair)
            pruned("movement", "causal", 0.95)

            run = {"spec": "IteratedRun", "n_iter": 10, "iteration": 10, "prune_epochs": 10}
            for ranking, allocation in (
                ("causal", "causal"),
                ("magnitude", "magnitude"),
                ("shuffled loss", "shuffled loss"),
                ("random", "causal"),
                ("causal, one shot", "causal"),
            ):
                gain = iterated * (ranking == "causal")
                add("accuracy", level + gain, **run, ranking=ranking, allocation=allocation)
            for k, (epochs, alpha) in enumerate(((2, 1e-15), (2, 1e-14), (2, 1e-13), (5, 1e-14))):
                for iteration in (1, 10):
                    at = {**run, "prune_epochs": epochs, "l1_coeff": alpha, "iteration": iteration}
                    at |= {"ranking": "causal", "allocation": "causal"}
                    add("accuracy", level + by_iteration * (iteration == 10), **at)
                    add("amount_pruned", 0.3 + alpha_step * k, **at)
    return pd.DataFrame(rows)


def words(**gains) -> dict[str, str]:
    return {name: found.verdict for name, found in verdicts(made_up(**gains)).items()}


def test_no_effect_is_not_called_one():
    found = words()
    assert found["beats magnitude"] == found["finds the causes"] == "not reproduced"
    assert found["phase shift"] == found["masks overlap"] == "not reproduced"
    assert found["beats magnitude, iterated"] == "not reproduced"
    assert found["gains by pruning"] == "partly"  # the interval holds zero
    assert list(found) == list(CRITERIA)


def test_an_effect_of_allocation_alone_is_partly():
    """All rankings at causal's counts gain as much: the paper's gap, without its reason."""
    rows = made_up()
    better = (rows.allocation == "causal") & (rows.metric == "accuracy")
    rows.loc[better, "value"] += 0.1
    found = verdicts(rows)
    assert found["beats magnitude"].verdict == "partly"
    assert found["beats magnitude"].effect == pytest.approx(0.1, abs=0.001)
    assert found["finds the causes"].verdict == "not reproduced"
    assert found["beats magnitude, iterated"].verdict == "partly"


def test_an_effect_of_the_ranking_is_reproduced():
    found = words(causal=0.1, iterated=0.1)
    assert found["beats magnitude"] == found["finds the causes"] == "reproduced"
    assert found["gains by pruning"] == found["beats magnitude, iterated"] == "reproduced"


def test_a_placebo_that_does_as_well_is_no_cause():
    found = words(causal=0.1, shuffled=0.1)
    assert found["beats magnitude"] == "reproduced"
    assert found["finds the causes"] == "partly"


def test_a_worse_ranking_is_not_saved_by_its_interval():
    found = words(causal=-0.1)
    assert found["beats magnitude"] == found["gains by pruning"] == "not reproduced"


def test_phase_shift_needs_more_than_an_allocation_that_collapses():
    assert words(drop=0.3)["phase shift"] == "partly"  # random falls alike
    rows = made_up()
    falls = (rows.ranking == "causal") & (rows.amount == 0.98) & (rows.metric == "accuracy")
    rows.loc[falls, "value"] -= 0.3
    above = (rows.ranking == "causal") & (rows.amount == 0.95) & (rows.metric == "accuracy")
    rows.loc[above, "value"] += 0.01
    found = verdicts(rows)["phase shift"]
    assert found.verdict == "reproduced"
    assert found.effect == pytest.approx(0.31, abs=0.001)


def test_amounts_with_an_empty_layer_do_not_judge_a_ranking():
    rows = made_up(causal=0.1, empty=(0.98,))
    accuracy = curve_rows(rows)
    accuracy = accuracy[accuracy.amount > 0]
    assert 0.98 not in set(without_empty_layers(rows, accuracy).amount)
    assert verdicts(rows)["finds the causes"].effect == pytest.approx(0.1, abs=0.001)


def test_overlap_counts_only_beyond_chance():
    assert words(overlap=0.1)["masks overlap"] == "partly"
    assert words(overlap=0.5)["masks overlap"] == "reproduced"
    rows = made_up(overlap=0.5)
    agreement = overlap_rows(rows)
    agreement = agreement[agreement.metric == "agreement"].value
    assert agreement.to_numpy() == pytest.approx(0.5, abs=0.001)


def test_robust_means_within_two_points_and_l1_must_rise_each_time():
    found = words()
    assert found["robust to N_iter and N_prune"] == "reproduced"
    assert found["L1_coeff decides the amount"] == "reproduced"
    assert words(by_iteration=-0.1)["robust to N_iter and N_prune"] == "partly"
    assert words(alpha_step=-0.1)["L1_coeff decides the amount"] == "not reproduced"


def test_quick_rows_are_refused():
    with pytest.raises(ValueError, match='profile "full"'):
        verdicts(made_up().assign(profile="quick"))


def test_methods_are_named_by_ranking_and_allocation():
    rows = made_up(iterated=0.2)
    assert set(curve_rows(rows).method) >= {"causal", "magnitude at causal", "dense"}
    gap = difference(iterated_rows(rows).query("l1_coeff.isna()"), "causal", "causal, one shot")
    assert gap.mean == pytest.approx(0.2, abs=0.001)
    mean = mean_over(curve_rows(rows).query("amount > 0 and method == 'causal'"), "amount")
    assert len(mean) == 6


def test_layer_densities_are_means_over_seeds():
    rows = made_up()
    place = {"spec": "CausalCurve", "init": "fan_out", "metric": "kept_fc1", "amount": 0.9}
    place |= {"ranking": "causal", "allocation": "causal", "dataset": "cifar10"}
    kept = pd.DataFrame([{**place, "seed": s, "value": v} for s, v in enumerate((10, 20, 30))])
    found = layer_densities(pd.concat([rows, kept]), {"fc1": 200}, dataset="cifar10")
    assert found.density.tolist() == pytest.approx([0.1])
