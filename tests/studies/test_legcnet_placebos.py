"""The placebos of LEGCNet: what each leaves of a series, and the twins' study end to end."""

from __future__ import annotations

import pytest
import torch

from causalprune_lib.pruning.legcnet import legcnet_decision
from causalprune_lib.pruning.windows import cut_windows
from causalprune_studies.ch05_legcnet.contest import all_networks, published_reading, study_data
from causalprune_studies.ch05_legcnet.settings import (
    ROUTES,
    LEGCNetPlacebos,
    LEGCNetTwins,
    half_shifted,
    order_of,
    placebo_series,
    routes,
    train_in_order,
)
from causalprune_studies.paper_networks.settings import MaskReading, legcnet_settings
from causalprune_studies.paper_networks.training import read_trials, train_as_released

SHORT = MaskReading(12, 60, max_lag=3)


@pytest.fixture
def short(monkeypatch):
    """Twelve epochs of iris in place of two hundred."""
    name = "causalprune_studies.ch05_legcnet.settings.published_reading"
    monkeypatch.setattr(name, lambda dataset: SHORT)


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


def test_every_epoch_of_every_order_holds_every_example_once():
    draws = torch.Generator().manual_seed(0)
    for order in ("released", "another", "reshuffled"):
        epochs = order_of(order, 30, 5, draws).view(5, 30)
        assert torch.equal(epochs.sort(1).values, torch.arange(30).expand(5, 30))
        assert torch.equal(epochs[0], epochs[1]) == (order != "reshuffled")
        assert torch.equal(epochs[0], torch.arange(30)) == (order == "released")


@pytest.mark.data
def test_the_released_order_is_the_released_training_and_another_is_not():
    data, networks = study_data("iris_csv"), all_networks("iris_csv").select([0, 1])
    windows = cut_windows(3 * 120 + 1, window=60)
    plain = train_as_released(
        legcnet_settings("iris_csv"),
        networks,
        data,
        epochs=3,
        record=[0, 1],
        judge_at=windows.ends.tolist(),
    )
    draws = torch.Generator().manual_seed(0)
    rows = order_of("released", 120, 3, draws)
    run = train_in_order("iris_csv", networks, data, rows, windows=windows)
    assert torch.equal(run.weights, plain.weights)
    assert torch.equal(run.train_accuracy_at, plain.train_accuracy_at)
    rows = order_of("another", 120, 3, draws)
    run = train_in_order("iris_csv", networks, data, rows, windows=None)
    assert not torch.equal(run.weights[:, -1], plain.weights[:, -1])


@pytest.mark.data
def test_placebo_cell_has_each_pair_of_series_once_and_own_is_the_mask_s_own(short):
    found = list(LEGCNetPlacebos("iris_csv").run(2))
    shares = {tuple(p.coordinates.values()): p.metrics["causal"] for p in found}
    assert len(shares) == len(found) == 2 * (8 + 7)
    trial = read_trials(
        "iris_csv", reading=SHORT, networks=all_networks("iris_csv").select([2]), rule="as_released"
    )[0]
    expected = trial.decision_.causal.double().mean().item()
    assert shares["released", "own", "as released"] == pytest.approx(expected)


@pytest.mark.data
def test_twin_cell_trains_the_masks_of_every_route(short):
    spec = LEGCNetTwins("iris_csv", n_random=2)
    found = list(spec.run(1))
    by = {tuple(p.coordinates.values()): p.metrics for p in found}
    assert len(by) == len(found) == 4 * 2 * 3 + 5
    data, network = study_data("iris_csv"), all_networks("iris_csv").select([1])
    read = routes(spec.twins(network, data, SHORT), SHORT)
    assert tuple(read) == ROUTES
    trial = read_trials("iris_csv", reading=SHORT, networks=network)[0]
    torch.testing.assert_close(read["raw"], trial.exponents_, rtol=0, atol=2e-6)
    said = legcnet_decision(read["own twin"], trial.error_, rule="as_released", max_lag=3)
    assert by["own twin", "as released", "legcnet"]["n_pruned"] == said.n_pruned
    assert by["raw", "corrected", "legcnet"]["jaccard_raw"] == 1
    whole = by["whole training", "none", "dense"]
    assert whole["ratio"] > 0
    assert abs(whole["exponent"]) < 0.1 < by["own twin", "none", "dense"]["exponent"]


def test_readings_of_the_studies_are_the_published_ones():
    assert published_reading("cancer").max_lag == 20
    assert published_reading("vowel").max_lag == 14
