"""Verdicts and tables of causal pruning, on rows made up so that the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from full_rows import PROVENANCE

from causalprune_lib.causality.scores import CausalScores
from causalprune_studies.ch08_causal_pruning.tables import (
    NotMeasuredError,
    after_ten_rounds,
    agreement,
    amounts_of_alpha,
    by_setting,
    by_start,
    complete,
    coverage,
    curve_rows,
    difference,
    emptied_layers,
    gaps,
    in_words,
    iterated_rows,
    layer_counts,
    layer_densities,
    mean_over,
    overlap_grid,
    overlap_rows,
    published_lenets,
    ranking_by_allocation,
    two_steps,
    without_empty_layers,
)
from causalprune_studies.ch08_causal_pruning.verdicts import CLAIMS, verdicts
from causalprune_studies.tables import measured

COMMON = PROVENANCE | {"init": "fan_out", "subset": "[10000, 10000]", "post_epochs": 4}
COMMON |= {"prune_epochs": 10}
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
            where = {**COMMON, "dataset": dataset, "seed": seed}
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


def found(rows=None, **gains):
    """The verdicts by (claim, data set, cell)."""
    drawn = verdicts(made_up(**gains) if rows is None else rows)
    return {(name, v.dataset, v.cell): v for name, many in drawn.items() for v in many}


def words(claim, **gains) -> set[str]:
    """The words of a claim where something was measured."""
    rows = gains.pop("rows", None)
    drawn = found(rows, **gains)
    return {v.word for (name, *_), v in drawn.items() if name == claim and v.estimate}


def test_no_effect_is_contradicted_and_not_merely_missing():
    assert words("beats magnitude") == words("finds the causes") == {"contradicted"}
    assert words("phase shift") == {"contradicted"}
    assert list(verdicts(made_up())) == [claim.name for claim in CLAIMS]


def test_data_sets_are_never_pooled():
    """An effect on one data set and its opposite on the other stand side by side."""
    rows = made_up()
    causal = (rows.ranking == "causal") & (rows.metric == "accuracy")
    rows.loc[causal & (rows.dataset == "cifar10"), "value"] += 0.1
    rows.loc[causal & (rows.dataset == "fashion_mnist"), "value"] -= 0.1
    drawn = found(rows)
    for amount in ("80% pruned", "98% pruned"):
        assert drawn["beats magnitude", "cifar10", amount].word == "reproduced"
        assert drawn["beats magnitude", "fashion_mnist", amount].word == "contradicted"


def test_an_effect_of_allocation_alone_is_one_that_the_control_has_too():
    rows = made_up()
    better = (rows.allocation == "causal") & (rows.metric == "accuracy")
    rows.loc[better, "value"] += 0.1
    assert words("beats magnitude", rows=rows) == {"reproduced, and the control does it too"}
    assert words("finds the causes", rows=rows) == {"contradicted"}
    cell = found(rows)["beats magnitude", "cifar10", "95% pruned"]
    assert cell.estimate.effect == pytest.approx(10, abs=0.1)  # points
    assert (cell.estimate.n, cell.estimate.units) == (3, "networks")


def test_an_effect_of_the_ranking_is_reproduced():
    assert words("beats magnitude", causal=0.1) == {"reproduced"}
    assert words("finds the causes", causal=0.1) == {"reproduced"}
    assert words("finds the causes", causal=0.1, shuffled=0.1) == {"contradicted"}
    assert words("beats magnitude", causal=-0.1) == {"contradicted"}


def test_claims_about_final_accuracy_need_the_papers_epochs():
    """Four epochs of 200 decide nothing, whatever comes out."""
    for gain in (-0.1, 0.1):
        there = {"not tested at the paper's scale"}
        assert words("beats magnitude, iterated", iterated=gain) == there
        assert words("gains by pruning", causal=gain) == there
    long = made_up(iterated=0.2).assign(post_epochs=200, subset="[50000, 10000]")
    assert words("beats magnitude, iterated", rows=long) == {"reproduced"}


def test_every_cell_of_table_2_is_there_measured_or_not():
    cells = [key for key in found() if key[0] == "beats magnitude, iterated"]
    assert sum("as in table 2" in cell for *_, cell in cells) == 8
    both = made_up()
    fashion = found(both[both.dataset == "fashion_mnist"])
    assert ("beats magnitude, iterated", "cifar10", "lenet, as in table 2") in fashion
    drawn = found()
    for *_, cell in (("imagenet", "ResNet50, 80% at once"),):
        assert drawn["beats CHITA", "imagenet", cell].word == "not tested"


def test_phase_shift_is_the_allocations_if_random_weights_fall_too():
    assert words("phase shift", drop=0.3) == {"reproduced, and the control does it too"}
    rows = made_up()
    falls = (rows.ranking == "causal") & (rows.amount == 0.98) & (rows.metric == "accuracy")
    rows.loc[falls, "value"] -= 0.3
    assert words("phase shift", rows=rows) == {"reproduced"}
    assert found(rows)["phase shift", "cifar10", ""].estimate.effect == pytest.approx(30, abs=0.1)


def test_amounts_with_an_empty_layer_do_not_judge_a_ranking():
    rows = made_up(causal=0.1, empty=(0.98,))
    accuracy = curve_rows(rows)
    accuracy = accuracy[accuracy.amount > 0]
    assert 0.98 not in set(without_empty_layers(rows, accuracy).amount)
    cell = found(rows)["finds the causes", "cifar10", ""]
    assert cell.estimate.effect == pytest.approx(10, abs=0.1)
    assert "98%" not in cell.note


def test_overlap_is_held_against_independent_masks():
    assert words("masks overlap") == {"reproduced, and the control does it too"}
    rows = made_up(overlap=0.5)
    agreement = overlap_rows(rows)
    agreement = agreement[agreement.metric == "agreement"].value
    assert agreement.to_numpy() == pytest.approx(0.5, abs=0.001)


def test_robust_means_within_two_points_and_l1_must_rise_each_time():
    scale = {"post_epochs": 200, "subset": "[50000, 10000]"}
    alike, falls = (made_up(by_iteration=by).assign(**scale) for by in (0, -0.1))
    for name in ("robust to N_iter", "robust to N_prune"):
        assert words(name, rows=alike) == {"reproduced"}
        assert words(name) == {"not tested at the paper's scale"}
    assert words("robust to N_iter", rows=falls) == {"contradicted"}
    assert words("L1_coeff decides the amount") == {"reproduced"}
    assert words("L1_coeff decides the amount", alpha_step=-0.1) == {"contradicted"}


def test_quick_rows_are_refused():
    with pytest.raises(ValueError, match='profile "full"'):
        verdicts(made_up().assign(profile="quick"))


def test_claims_whose_rows_are_not_there_are_not_tested():
    """Cells arrive one by one: first the curve of one data set, with columns of its own only."""
    rows = made_up(causal=0.1)
    first = rows[(rows.spec == "CausalCurve") & (rows.dataset == "fashion_mnist")]
    first = first.dropna(axis=1, how="all")
    drawn = verdicts(first)
    untested = {name for name, many in drawn.items() if {v.word for v in many} == {"not tested"}}
    assert untested == {
        "beats magnitude, iterated",
        "robust to N_iter",
        "robust to N_prune",
        "L1_coeff decides the amount",
        "beats CHITA",
    }


def test_one_network_decides_nothing():
    rows = made_up(causal=0.1, iterated=0.1)
    one = rows[(rows.dataset == "cifar10") & (rows.seed == 0)]
    assert {v.word for v in found(one).values()} == {"not tested"}


def test_a_network_without_its_controls_is_left_out():
    rows = made_up()
    gone = (rows.dataset == "cifar10") & (rows.seed == 0) & (rows.ranking == "random")
    drawn = found(rows[~gone])
    assert drawn["beats magnitude", "cifar10", "80% pruned"].estimate.n == 2
    assert drawn["beats magnitude", "fashion_mnist", "80% pruned"].estimate.n == 3
    assert drawn["masks overlap", "cifar10", ""].estimate.n == 3
    accuracy = curve_rows(rows[~gone])
    accuracy = accuracy[accuracy.amount == 0.95]
    assert complete(accuracy, "causal", "random at causal").seed.size == 10
    with pytest.raises(NotMeasuredError, match="got 0 with all"):
        complete(accuracy, "causal", "frozen at causal")


def test_the_committed_rows_say_what_the_book_says():
    drawn = found(measured("causal-pruning"))
    does_too = "reproduced, and the control does it too"
    for amount in ("80% pruned", "90% pruned", "95% pruned"):
        assert drawn["beats magnitude", "cifar10", amount].word == does_too
    assert drawn["beats magnitude", "cifar10", "98% pruned"].word == "contradicted"
    shift = drawn["phase shift", "cifar10", ""]
    assert shift.word == does_too
    assert shift.estimate.effect == pytest.approx(18.6, abs=0.1)
    assert drawn["phase shift", "fashion_mnist", ""].word == "undecided"
    assert drawn["finds the causes", "cifar10", ""].word == "contradicted"
    assert drawn["finds the causes", "fashion_mnist", ""].word == "undecided"


def test_methods_are_named_by_ranking_and_allocation():
    rows = made_up(iterated=0.2)
    assert set(curve_rows(rows).method) >= {"causal", "magnitude at causal", "dense"}
    gap = difference(iterated_rows(rows).query("l1_coeff.isna()"), "causal", "causal, one shot")
    assert gap.mean == pytest.approx(0.2, abs=0.001)
    mean = mean_over(curve_rows(rows).query("amount > 0 and method == 'causal'"), "amount")
    assert len(mean) == 6


def test_gaps_are_differences_data_set_by_data_set():
    """First the controls at causal's counts, then the baseline with its own."""
    found = gaps(made_up(causal=0.1), 0.9)
    controls = [f"{name} at causal" for name in AT_CAUSAL]
    assert found.control.tolist() == [*controls, "magnitude"] * 2
    assert found.dataset.unique().tolist() == ["Fashion-MNIST", "CIFAR-10"]
    assert found["mean"].to_numpy() == pytest.approx(0.1, abs=0.001)
    assert (found.n == 3).all()


def test_rankings_and_allocations_make_a_table_and_two_steps():
    rows = made_up(magnitude=-0.2, causal=0.1)
    cross = [("causal", "magnitude"), ("random", "magnitude"), ("causal", "uniform")]
    more = [
        {**row, "ranking": ranking, "allocation": allocation, "value": 0.5}
        for row in rows[rows.ranking == "dense"].to_dict("records")
        for ranking, allocation in [*cross, ("random", "uniform"), ("magnitude", "uniform")]
    ]
    rows = pd.concat([rows, pd.DataFrame(more).assign(amount=0.95)])
    own = rows[rows.dataset == "cifar10"]
    level = curve_rows(own).query("method == 'dense'").value.mean()
    found = ranking_by_allocation(rows, 0.95)
    assert found.shape == (6, 3)
    assert found.loc["CIFAR-10", "causal"]["causal"] == pytest.approx(level + 0.1, abs=0.001)
    assert found.loc["CIFAR-10", "magnitude"]["magnitude"] == pytest.approx(level - 0.2, abs=0.001)
    assert found.loc["CIFAR-10", "random"]["uniform"] == 0.5
    steps = two_steps(rows, 0.95).map(lambda gap: gap.mean)
    assert steps.loc["CIFAR-10"].tolist() == pytest.approx([0.3, 0.2, 0.1], abs=0.001)


def test_layers_are_means_over_seeds():
    place = {"spec": "CausalCurve", "init": "fan_out", "amount": 0.9}
    place |= {"ranking": "causal", "allocation": "causal", "dataset": "cifar10"}
    rows = pd.DataFrame(
        {**place, "seed": s, "metric": f"kept_{layer}", "value": k * v}
        for s, v in enumerate((10, 20, 30))
        for k, layer in enumerate(("conv1", "conv2", "fc1", "fc2"))
    )
    found = layer_densities(rows, {"fc1": 200}, 0.9)
    assert found.kept.tolist() == [40.0]
    assert found.density.tolist() == pytest.approx([0.2])
    assert layer_counts(rows, "cifar10", ["causal"]).loc[(0.9, "causal")].tolist() == [
        0,
        20,
        40,
        60,
    ]


def test_both_starts_are_told_apart_and_said_with_their_intervals():
    rows = made_up()
    other = rows[(rows.spec == "CausalCurve") & (rows.metric == "accuracy")]
    other = other.assign(init="default", value=other.value + 0.1)
    found = by_start(pd.concat([rows, other]), "cifar10", [0.95])
    assert len(found) == 8
    mean = found.set_index(["start", "method"])["mean"]
    assert (mean["default"] - mean["fan_out"]).to_numpy() == pytest.approx(0.1, abs=1e-9)
    shown = in_words(found, index="method", columns=["amount", "start"])
    assert list(shown.columns) == [(0.95, "default"), (0.95, "fan_out")]
    assert shown.loc["causal", (0.95, "default")].startswith(f"{mean['default', 'causal']:.3f} (")


def test_agreement_and_the_grid_of_overlaps_are_beside_chance():
    rows = made_up(overlap=0.5)
    grid = overlap_grid(rows[rows.dataset == "cifar10"])
    assert grid.amount_a.tolist() == grid.amount_b.tolist() == list(AMOUNTS)
    assert grid.expected.to_numpy() == pytest.approx(np.square(AMOUNTS))
    both = rows[rows.metric == "both_pruned"]
    more = pd.concat(
        [
            both.assign(metric=m, value=v)
            for m, v in {"jaccard": 0.4, "jaccard_by_layer": 0.2}.items()
        ]
    )
    found = agreement(pd.concat([rows, more]), 0.95).set_index("dataset")
    assert found.partner.unique().tolist() == ["magnitude"]
    assert found.loc["CIFAR-10"].tolist()[1:] == pytest.approx([0.5, 0.4, 0.2, 3], abs=0.001)


def test_layers_that_a_threshold_empties_are_counted():
    found = emptied_layers(made_up(empty=(0.98,)))
    assert found.loc[("CIFAR-10", "causal")].tolist() == [0, 0, 0, 1]


def test_runs_by_setting_and_after_ten_rounds():
    rows = made_up(iterated=0.2, by_iteration=-0.1)
    rows = rows[rows.dataset == "cifar10"]
    found = by_setting(rows, "accuracy").set_index(["setting", "iteration"])["mean"]
    assert found["1e-14, N_prune 5", 10] - found["1e-14, N_prune 5", 1] == pytest.approx(
        -0.1, abs=0.001
    )
    last = after_ten_rounds(rows)  # of the runs without L1_coeff
    means = last.groupby("method")["mean"].mean()
    assert means["causal"] - means["magnitude"] == pytest.approx(0.2, abs=0.001)
    assert (last.n == 3).all()
    assert coverage(rows).networks.tolist() == [3] * 6


def test_published_lenets_are_those_of_table_2():
    found = published_lenets().set_index(["dataset", "method"])
    assert len(found) == 9
    assert found.loc[("CIFAR-10", "causal")].tolist() == pytest.approx([0.9630, 0.6722])
    assert found.loc[("Fashion-MNIST", "magnitude")].tolist() == pytest.approx([0.6513, 0.9031])


def test_alpha_keeps_what_the_released_rule_keeps():
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with CausalScores(model, n_steps=6) as scores:
        for x in torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0)):
            loss = model(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            scores.log(loss=loss)
            optimizer.step()
    found = amounts_of_alpha(scores, n=7).set_index(["alpha", "layer"]).density
    for alpha in found.index.levels[0][:-1]:  # at the last one, rounding decides about the top
        for name, keep in scores.support(float(alpha), empty="allow").items():
            place = alpha, name.removesuffix(".weight")
            assert found[place] == pytest.approx(keep.double().mean().item(), abs=1e-12)
