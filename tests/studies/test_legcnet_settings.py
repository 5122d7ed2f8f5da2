"""LEGCNet with something changed: one recording read many ways, placebos, scaling and twins."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.legcnet import legcnet_decision
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.windows import cut_windows
from causalprune_studies.ch05_legcnet.controls import jaccard_pruned
from causalprune_studies.ch05_legcnet.placebos import LEGCNetPlacebos, order_of, train_in_order
from causalprune_studies.ch05_legcnet.settings import (
    ABLATION_STUDIES,
    BASES,
    ORIENTATIONS,
    LEGCNetAblation,
    Setting,
    decide,
    settings_of,
)
from causalprune_studies.ch05_legcnet.study import LEGCNetScaled
from causalprune_studies.ch05_legcnet.twins import ROUTES, LEGCNetTwins, routes
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS
from causalprune_studies.paper_networks.training import (
    legcnet_data,
    legcnet_networks,
    read_trials,
    run_to_benchmark,
    train_as_released,
)

pytestmark = pytest.mark.usefixtures("small_iris")


def points_of(spec, seed):
    """Metrics by coordinates, each place once."""
    found = list(spec.run(seed))
    by_place = {tuple(p.coordinates.values()): dict(p.metrics) for p in found}
    assert len(by_place) == len(found)
    return by_place


@pytest.fixture(scope="module")
def ablation(small_iris):
    return points_of(LEGCNetAblation("iris_csv", n_random=2), 4)


def place(setting, orientation="prune non-causal", mask="legcnet"):
    values = [getattr(setting, name) for name in Setting.__dataclass_fields__]
    return (*values, orientation, mask)


def test_every_setting_is_there_for_both_orientations_with_its_random_masks(ablation):
    settings = [s for rule in BASES for s in settings_of(rule)]
    assert len(settings) == len(set(settings)) == 18
    wanted = {place(s, o, m) for s in settings for o in ORIENTATIONS for m in ("legcnet", "random")}
    assert set(ablation) == wanted


def test_the_base_is_the_released_reading_and_its_training(ablation):
    found = ablation[place(Setting())]
    network = legcnet_networks("iris_csv").select([4])
    trial = read_trials("iris_csv", networks=network)[0]
    assert found["n_pruned"] == trial.decision_.n_pruned > 0
    assert found["causal"] == trial.decision_.causal.double().mean()
    assert found["jaccard"] == 1
    run = run_to_benchmark("iris_csv", [trial.masks_], networks=network)
    [expected] = run.outcomes()
    for name in ("accuracy", "epochs", "reached"):
        assert found[name] == pytest.approx(expected[name], nan_ok=True)


def test_orientations_share_the_weights_among_them(ablation):
    for rule in BASES:
        for setting in settings_of(rule):
            one, other = (ablation[place(setting, o)] for o in ORIENTATIONS)
            untested = one["untestable"] * 42
            assert one["n_pruned"] + other["n_pruned"] + untested == pytest.approx(42)
            assert "causal" not in other


def test_decisions_are_those_of_the_library_where_it_has_them():
    draws = torch.Generator().manual_seed(0)
    error = torch.randn(70, generator=draws).double()
    exponents = torch.randn(70, 30, generator=draws).double()
    exponents[1:, :5] += 0.7 * exponents[:-1, :5]
    error[1:] += exponents[:-1, 0]
    errors = {"test": error, "train": error.flip(0)}
    for setting, rule in ((BASES["as released"], "as_released"), (BASES["corrected"], "corrected")):
        for on, series in errors.items():
            said = legcnet_decision(exponents, series, rule=rule, max_lag=14)
            there = replace(setting, error_on=on)
            found = decide(exponents, errors, there, max_lag=14)
            assert torch.equal(found.causal, said.causal)
            assert torch.equal(found.missing, said.missing)


def test_more_lags_find_more_in_noise_and_a_correction_finds_none():
    draws = torch.Generator().manual_seed(1)
    errors = {"test": torch.randn(100, generator=draws).double()}
    noise = torch.randn(100, 200, generator=draws).double()
    share = {}
    for rule in BASES:
        for lag in ("one", "5", "10", "all"):
            found = decide(noise, errors, Setting(lag=lag, rule=rule), max_lag=20)
            share[rule, lag] = found.causal.double().mean().item()
    released = [share["as released", lag] for lag in ("one", "5", "10", "all")]
    assert released == sorted(released)
    assert released[0] < 0.15 < 0.6 < released[-1]
    assert all(share["corrected", lag] < 0.02 for lag in ("one", "5", "10", "all"))


def test_a_series_that_cannot_be_tested_is_causal_as_released_and_kept_either_way():
    errors = {"test": torch.randn(40, generator=torch.Generator().manual_seed(0)).double()}
    exponents = torch.full((40, 1), math.nan).double()
    for lag in ("one", "5"):
        found = decide(exponents, errors, Setting(lag=lag), max_lag=5)
        assert found.causal.item()
        assert found.missing.item()
    found = decide(exponents, errors, Setting(lag="one", rule="corrected"), max_lag=5)
    assert (found.causal.item(), found.missing.item()) == (False, True)


def test_jaccard_of_random_masks_is_that_of_chance_and_nan_where_nothing_is_pruned():
    layout = ParameterLayout(("fc1.weight",), ((40, 100),))
    draws = torch.Generator().manual_seed(0)
    a, b = (Masks.from_flat(layout, torch.rand(4000, generator=draws) > 0.2) for _ in range(2))
    chance = 0.04 / 0.36  # both, over either
    assert jaccard_pruned(a, b) == pytest.approx(chance, abs=0.03)
    assert jaccard_pruned(a, a) == 1
    assert jaccard_pruned(a, Masks.from_flat(layout, ~a.flat())) == 0
    whole = Masks.from_indices(layout, [])
    assert math.isnan(jaccard_pruned(whole, whole))


def test_every_epoch_of_every_order_holds_every_example_once():
    draws = torch.Generator().manual_seed(0)
    for order in ("released", "another", "reshuffled"):
        epochs = order_of(order, 30, 5, draws).view(5, 30)
        assert torch.equal(epochs.sort(1).values, torch.arange(30).expand(5, 30))
        assert torch.equal(epochs[0], epochs[1]) == (order != "reshuffled")
        assert torch.equal(epochs[0], torch.arange(30)) == (order == "released")


def test_the_released_order_is_the_released_training_and_another_is_not(small_iris):
    data, networks = legcnet_data("iris_csv"), legcnet_networks("iris_csv").select([0, 1])
    ends = cut_windows(3 * 120 + 1, window=60).ends.tolist()
    plain = train_as_released(small_iris[0], networks, data, epochs=3, record=[0, 1], judge_at=ends)
    draws = torch.Generator().manual_seed(0)
    order = order_of("released", 120, 3, draws)
    run = train_in_order("iris_csv", networks, data, order, judge_at=ends)
    assert torch.equal(run.weights, plain.weights)
    assert torch.equal(run.train_accuracy_at, plain.train_accuracy_at)
    order = order_of("another", 120, 3, draws)
    run = train_in_order("iris_csv", networks, data, order, judge_at=None)
    assert not torch.equal(run.weights[:, -1], plain.weights[:, -1])


def test_placebo_cell_has_each_pair_of_series_once_and_own_is_the_mask_s_own():
    found = points_of(LEGCNetPlacebos("iris_csv"), 2)
    assert len(found) == 2 * (8 + 7)
    trial = read_trials("iris_csv", networks=legcnet_networks("iris_csv").select([2]))[0]
    expected = trial.decision_.causal.double().mean().item()
    assert found["released", "own", "as released"]["causal"] == expected


def test_scaled_masks_have_equal_counts_and_the_dense_rows_differ_in_their_data_only():
    by = points_of(LEGCNetScaled("iris_csv", "PT", n_random=2), 0)
    assert len(by) == 8
    masks = ("legcnet", "corrected ranking", "magnitude", "inverse")
    assert len({by["standard", mask]["n_pruned"] for mask in masks}) == 1
    network = legcnet_networks("iris_csv").select([0])
    standard = legcnet_data("iris_csv", preprocessing="standard")
    [dense] = run_to_benchmark("iris_csv", networks=network, data=standard).outcomes()
    assert by["standard", "dense"]["epochs"] == pytest.approx(dense["epochs"], nan_ok=True)
    assert by["standard", "dense"]["accuracy"] == dense["accuracy"]
    assert by["as released", "dense"] != by["standard", "dense"]
    assert 0 <= by["standard", "another trial"]["causal"] <= 1


def test_twin_cell_trains_the_masks_of_every_route(small_iris):
    spec, reading = LEGCNetTwins("iris_csv", n_random=2), small_iris[1]
    by = points_of(spec, 1)
    assert len(by) == 4 * 2 * 3 + 5
    data, network = legcnet_data("iris_csv"), legcnet_networks("iris_csv").select([1])
    read = routes(spec.twins(network, data, reading), reading)
    assert tuple(read) == ROUTES
    trial = read_trials("iris_csv", networks=network)[0]
    torch.testing.assert_close(read["raw"], trial.exponents_, rtol=0, atol=2e-6)
    said = legcnet_decision(read["own twin"], trial.error_, rule="as_released", max_lag=3)
    assert by["own twin", "as released", "legcnet"]["n_pruned"] == said.n_pruned
    assert by["raw", "corrected", "legcnet"]["jaccard_raw"] == 1
    whole = by["whole training", "none", "dense"]
    assert whole["ratio"] > 0
    assert abs(whole["exponent"]) < 0.1 < by["own twin", "none", "dense"]["exponent"]


def test_the_full_studies_cover_the_six_tables():
    for profile in ("quick", "full"):
        assert {study.profile for study in ABLATION_STUDIES[profile]} == {profile}
    full = ABLATION_STUDIES["full"]
    assert full == ABLATION_STUDIES["paper"]  # the full size is the paper's
    assert len(set(full)) == len(full) == 5 * len(LEGCNET_SETTINGS)
    for kind in {type(study) for study in full}:
        assert {s.dataset for s in full if type(s) is kind} == set(LEGCNET_SETTINGS)
