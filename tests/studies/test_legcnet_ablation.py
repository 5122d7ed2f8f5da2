"""The further LEGCNet studies: one recording read many ways, with what must stay equal."""

from __future__ import annotations

import math

import pytest
import torch

from causalprune_lib.pruning.legcnet import legcnet_decision
from causalprune_studies.ch05_legcnet.contest import Contest, study_data
from causalprune_studies.ch05_legcnet.settings import (
    BASES,
    FURTHER_STUDIES,
    ORIENTATIONS,
    LEGCNetAblation,
    LEGCNetScaled,
    Setting,
    decide,
    jaccard_pruned,
    settings_of,
)
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS, MaskReading
from causalprune_studies.paper_networks.training import (
    legcnet_networks,
    read_trials,
    run_to_benchmark,
)

SHORT = MaskReading(20, 50, max_lag=5)


@pytest.fixture(scope="module")
def points():
    """The fifth trial of iris; twenty epochs are recorded in place of two hundred."""
    name = "causalprune_studies.ch05_legcnet.settings.published_reading"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(name, lambda dataset: SHORT)
        found = list(LEGCNetAblation("iris_csv", n_random=2).run(4))
    by_place = {tuple(p.coordinates.values()): dict(p.metrics) for p in found}
    assert len(by_place) == len(found)
    return by_place


def place(setting, orientation="prune non-causal", mask="legcnet"):
    values = [getattr(setting, name) for name in Setting.__dataclass_fields__]
    return (*values, orientation, mask)


@pytest.mark.data
def test_every_setting_is_there_for_both_orientations_with_its_random_masks(points):
    settings = [s for rule in BASES for s in settings_of(rule)]
    assert len(settings) == len(set(settings)) == 18
    wanted = {place(s, o, m) for s in settings for o in ORIENTATIONS for m in ("legcnet", "random")}
    assert set(points) == wanted


@pytest.mark.data
def test_the_base_is_the_released_reading_and_its_training(points):
    found = points[place(Setting())]
    network = legcnet_networks("iris_csv").select([4])
    trial = read_trials("iris_csv", reading=SHORT, networks=network)[0]
    assert found["n_pruned"] == trial.decision_.n_pruned
    assert found["causal"] == pytest.approx(trial.decision_.causal.double().mean().item())
    assert found["n_pruned"] > 0
    assert found["jaccard"] == 1
    run = run_to_benchmark("iris_csv", [trial.masks_], networks=network)
    assert found["epochs"] == pytest.approx(run.epochs_to_benchmark[0].item(), nan_ok=True)
    reached = found["reached"] == 1
    last = run.at_benchmark("test_accuracy") if reached else run.test_accuracy[:, -1]
    assert found["accuracy"] == pytest.approx(last[0].item())


@pytest.mark.data
def test_orientations_share_the_weights_among_them(points):
    for rule in BASES:
        for setting in settings_of(rule):
            one, other = (points[place(setting, o)] for o in ORIENTATIONS)
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
            there = Setting(lag=setting.lag, rule=setting.rule, error_on=on)
            causal, missing = decide(exponents, errors, setting=there, max_lag=14)
            assert torch.equal(causal, said.causal)
            assert torch.equal(missing, said.missing)


def test_more_lags_find_more_in_noise_and_a_correction_finds_none():
    draws = torch.Generator().manual_seed(1)
    errors = {"test": torch.randn(100, generator=draws).double()}
    noise = torch.randn(100, 200, generator=draws).double()
    share = {}
    for rule in BASES:
        for lag in ("one", "5", "10", "all"):
            setting = Setting(lag=lag, rule=rule)
            causal, _ = decide(noise, errors, setting=setting, max_lag=20)
            share[rule, lag] = causal.double().mean().item()
    released = [share["as released", lag] for lag in ("one", "5", "10", "all")]
    assert released == sorted(released)
    assert released[0] < 0.15 < 0.6 < released[-1]
    assert all(share["corrected", lag] < 0.02 for lag in ("one", "5", "10", "all"))


def test_a_series_that_cannot_be_tested_is_causal_as_released_and_kept_either_way():
    errors = {"test": torch.randn(40, generator=torch.Generator().manual_seed(0)).double()}
    exponents = torch.full((40, 1), math.nan).double()
    for lag in ("one", "5"):
        causal, missing = decide(exponents, errors, setting=Setting(lag=lag), max_lag=5)
        assert causal.item()
        assert missing.item()
    corrected = Setting(lag="one", rule="corrected")
    causal, missing = decide(exponents, errors, setting=corrected, max_lag=5)
    assert (causal.item(), missing.item()) == (False, True)


def test_jaccard_of_random_masks_is_that_of_chance():
    draws = torch.Generator().manual_seed(0)
    a = torch.rand(4000, generator=draws) > 0.2
    b = torch.rand(4000, generator=draws) > 0.2
    chance = 0.04 / 0.36  # both, over either
    assert jaccard_pruned(a, b) == pytest.approx(chance, abs=0.03)
    assert jaccard_pruned(a, a) == 1
    assert jaccard_pruned(a, ~a) == 0


@pytest.mark.data
def test_equal_masks_are_trained_once_and_equal_counts_share_their_random_masks():
    contest = Contest("iris_csv", n_random=3, seed=0)
    keep = torch.ones(42, dtype=torch.bool)
    other = keep.clone()
    keep[[0, 30]], other[[5, 40]] = False, False
    entries = [contest.enter(mask) for mask in (keep, other, keep.clone(), torch.ones(42) > 0)]
    assert entries[0] == entries[2]
    assert entries[0].randoms == entries[1].randoms
    assert len(set(entries[0].randoms)) == 3
    for row in entries[0].randoms:
        cut = ~contest.keep[row]
        assert (int(cut[:24].sum()), int(cut[24:].sum())) == (1, 1)
    assert not entries[3].free
    with pytest.raises(RuntimeError, match="train first"):
        contest.result(entries[0])
    network = legcnet_networks("iris_csv").select([0])
    contest.train(network, study_data("iris_csv"))
    alone = run_to_benchmark("iris_csv", other[None], networks=network)
    assert contest.result(entries[1])["epochs"] == alone.epochs_to_benchmark[0]
    assert math.isnan(contest.result(entries[3])["beats_accuracy"])


@pytest.mark.data
def test_scaled_masks_have_equal_counts_and_the_dense_rows_differ_in_their_data_only():
    found = list(LEGCNetScaled("iris_csv", "PT", n_random=2).run(0))
    by = {(p.coordinates["scaling"], p.coordinates["mask"]): p.metrics for p in found}
    assert len(by) == len(found) == 8
    masks = ("legcnet", "corrected ranking", "magnitude", "inverse")
    assert len({by["standard", mask]["n_pruned"] for mask in masks}) == 1
    network = legcnet_networks("iris_csv").select([0])
    run = run_to_benchmark("iris_csv", networks=network, data=study_data("iris_csv", "standard"))
    assert by["standard", "dense"]["epochs"] == run.epochs_to_benchmark[0]
    assert by["as released", "dense"] != by["standard", "dense"]
    assert 0 <= by["standard", "another trial"]["causal"] <= 1


def test_the_full_studies_cover_the_six_tables():
    for profile, studies in FURTHER_STUDIES.items():
        assert {study.profile for study in studies} == {profile}
    full = FURTHER_STUDIES["full"]
    assert len(set(full)) == len(full) == 5 * len(LEGCNET_SETTINGS)
    kinds = {type(study) for study in full}
    for kind in kinds:
        assert {s.dataset for s in full if type(s) is kind} == set(LEGCNET_SETTINGS)
