"""What LEGCNet's masks are compared with: counts, outcomes, shares beaten, placebos."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.contest import RANDOM, Contest, Entry
from causalprune_lib.pruning.masks import Masks
from causalprune_studies.ch05_legcnet.controls import (
    beats,
    controls_shown,
    each_once,
    enter_random,
    half_shifted,
    means,
    placebo_series,
    placebo_shares,
    share_beaten,
    side_by_side,
    train_with_controls,
    wins_by_trial,
)
from causalprune_studies.paper_networks.training import (
    legcnet_data,
    legcnet_networks,
    read_trials,
    run_to_benchmark,
)

LAYOUT = ParameterLayout(("fc1.weight", "fc2.weight"), ((6, 4), (3, 6)))


def without(*pruned: int) -> Masks:
    return Masks.from_indices(LAYOUT, pruned)


def outcome(accuracy, epochs):
    return {"accuracy": accuracy, "epochs": epochs}


def test_never_to_reach_the_benchmark_is_last_and_two_that_never_do_are_tied():
    found = [outcome(a, e) for a, e in ((0.8, 5), (0.7, 9), (0.9, math.nan), (0.6, math.nan))]
    found.append(found[0])
    assert share_beaten(found[0], found[1:])["epochs"] == 3.5 / 4
    beaten = share_beaten(found[2], [found[0], found[1], found[3]])
    assert beaten == {"accuracy": 1, "epochs": 0.5 / 3}


def test_accuracies_that_differ_by_rounding_are_tied():
    assert share_beaten(outcome(0.1 + 0.2, 1), [outcome(0.3, 1)])["accuracy"] == 0.5


def test_means_of_epochs_are_over_those_that_reached_the_benchmark():
    entries = [Entry(RANDOM, "x", 1, draw, without(draw)) for draw in range(2)]
    found = dict(zip(entries, [outcome(0.2, math.nan), outcome(0.4, 10)], strict=True))
    assert means(entries, found) == pytest.approx({"accuracy": 0.3, "epochs": 10})
    assert math.isnan(means(entries[:1], found)["epochs"])


def test_a_mask_has_rivals_only_if_a_layer_is_partly_pruned():
    some = Entry("legcnet", "x", 1, 0, without(0))
    first = Entry("legcnet", "x", 1, 0, without(*range(24)))  # all of the first layer
    found = {some: outcome(0.5, 1), first: outcome(0.5, 1)}
    assert beats(some, [first], found) == {"beats_accuracy": 0.5, "beats_epochs": 0.5}
    assert all(math.isnan(share) for share in beats(first, [some], found).values())


def test_equal_masks_are_trained_once_and_random_ones_have_the_counts_of_each_layer(small_iris):
    network, data = legcnet_networks("iris_csv").select([0]), legcnet_data("iris_csv")
    trained = []

    def play(masks):
        trained.extend(masks)
        return [{"kept": mask.n_kept} for mask in masks]

    contest = Contest({}, each_once(play))
    keep, other = without(0, 30), without(5, 40)
    entries = [contest.enter_masks(m, "legcnet", "x", 2) for m in (keep, other, without(0, 30))]
    randoms = enter_random(contest, keep, "x", 3, seed=0)
    again = enter_random(contest, other, "x", 3, seed=0)
    assert [e.masks for e in randoms] == [e.masks for e in again]
    assert len({tuple(e.masks.flat().tolist()) for e in randoms}) == 3
    for entry in randoms:
        assert [int((~layer).sum()) for layer in entry.masks.values()] == [1, 1]
    found = dict(contest.run())
    assert found[entries[0]] == found[entries[2]]
    assert trained == [keep, other, *(entry.masks for entry in randoms)]
    play = side_by_side("iris_csv", network, data, metrics=("epochs",))
    alone = run_to_benchmark("iris_csv", [other], networks=network)
    epochs = float(alone.epochs_to_benchmark[0])
    assert play([keep, other])[1] == pytest.approx({"epochs": epochs}, nan_ok=True)


@pytest.fixture(scope="module")
def trials(small_iris):
    """Two networks, and their masks."""
    networks = legcnet_networks("iris_csv").select([0, 1])
    return networks, read_trials("iris_csv", networks=networks)


def test_controls_of_a_trial_start_from_its_network_and_prune_as_many_weights(trials):
    networks, read = trials
    found = train_with_controls(
        "iris_csv", read, networks=networks, data=legcnet_data("iris_csv"), n_random=2
    )
    counts = found.groupby(["seed", "mask"]).size().unstack()
    assert counts.loc[0].to_dict() == counts.loc[1].to_dict()
    assert counts.loc[0].to_dict() == {
        "LEGCNet": 1, "dense": 1, "inverse": 1, "magnitude": 1, "random": 2,
    }  # fmt: skip
    dense = run_to_benchmark("iris_csv", networks=networks).outcomes()
    masked = run_to_benchmark("iris_csv", [t.masks_ for t in read], networks=networks).outcomes()
    for mask, expected in (("dense", dense), ("LEGCNet", masked)):
        rows = found[found["mask"] == mask]
        for name in ("epochs", "accuracy", "reached"):
            values = [row[name] for row in expected]
            assert rows[name].tolist() == pytest.approx(values, nan_ok=True)
    assert set(wins_by_trial(found).value) <= {0, 0.25, 0.5, 0.75, 1}
    shown, reached = controls_shown(found), sum(row["reached"] for row in dense) / 2
    assert list(shown.index) == ["dense", "LEGCNet", "random", "magnitude", "inverse"]
    assert shown.reached["dense"] == f"{reached:.0%}"


def test_wins_are_those_over_the_random_masks_of_the_same_trial():
    table = pd.DataFrame(
        {
            "mask": ["LEGCNet", "random", "random", "random", "random", "LEGCNet", "random"],
            "seed": [0, 0, 0, 0, 0, 1, 1],
            "accuracy": [0.9, 0.9, 0.8, 0.8, 0.95, 0.1, 0.2],
            "epochs": [5, 9, 9, 5, 1, 3, 3],
        }
    )
    beaten = wins_by_trial(table).set_index(["metric", "seed"]).value
    assert beaten["accuracy", 0] == beaten["epochs", 0] == 2.5 / 4
    assert (beaten["accuracy", 1], beaten["epochs", 1]) == (0, 0.5)


def test_half_shift_keeps_every_value_and_twice_is_the_identity_for_even_lengths():
    series = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(half_shifted(series)[10:], series[:10])
    assert torch.equal(half_shifted(half_shifted(series)), series)


def test_stand_ins_keep_the_values_of_each_weight_and_noise_does_not():
    series = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()
    found = placebo_series(series, generator=torch.Generator().manual_seed(1))
    for name in ("own, half-shifted", "own, shuffled"):
        assert not torch.equal(found[name], series)
        assert torch.equal(found[name].sort(0).values, series.sort(0).values)
    assert not torch.equal(found["noise"].sort(0).values, series.sort(0).values)


def test_placebo_shares_begin_with_the_networks_own(trials):
    _, read = trials
    found = placebo_shares(read)
    assert list(found.exponents.unique()) == [
        "its own", "another trial", "half-shifted", "shuffled", "noise",
    ]  # fmt: skip
    own = found[found.exponents == "its own"].set_index("seed").value
    for i, trial in enumerate(read):
        assert own[i] == trial.decision_.causal.double().mean().item()
