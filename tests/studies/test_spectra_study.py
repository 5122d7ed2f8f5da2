"""The networks of chapters 10 to 12 on digits, and what chapter 10 measures of them."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch

from causalprune_lib.diagnostics.spectra import esd, layer_spectra
from causalprune_studies.ch10_spectra import study
from causalprune_studies.ch10_spectra.networks import PRUNED, PUBLISHED, mnist_networks
from causalprune_studies.ch10_spectra.study import JudgedMNIST, beside, judge_spectra, layer_metrics
from causalprune_studies.paper_networks.mnist import mnist_settings

LAYERS = ("fc1", "fc2", "fc3")
STAGES = ("masks", "cut", "retrained")
SETTINGS = replace(mnist_settings("digits"), sizes=(64, 12, 11, 10), epochs=4)


@pytest.fixture(scope="module")
def networks():
    return mnist_networks(SETTINGS, seed=0, amounts=(0.9,))


@pytest.fixture(scope="module")
def points(networks):
    return list(judge_spectra(networks, seed=0, exponents_only=True))


@pytest.fixture
def no_metrics(monkeypatch):
    """WeightWatcher's traps take seconds."""
    none = {layer: {"pl_alpha": 2.0} for layer in LAYERS}
    monkeypatch.setattr(study, "layer_metrics", lambda model, seed: none)


def test_controls_prune_as_many_in_each_layer_and_all_prune_the_amount(networks):
    for amount, pruned in ((PUBLISHED, 17), (0.9, None)):
        ft, pt, *controls = (networks.masks[name, amount] for name in PRUNED)
        counts = ft.counts().kept.tolist()
        assert all(control.counts().kept.tolist() == counts for control in controls)
        assert all(a != b for a, b in combinations((ft, *controls), 2))
        if pruned:
            assert ft.n - ft.n_kept == pruned
            assert pt.n - pt.n_kept == pruned - 1
        else:
            pruned_shares = [1 - keep.double().mean().item() for keep in ft.values()]
            assert pruned_shares == pytest.approx([0.9] * 3, abs=0.01)


def test_the_magnitude_mask_keeps_the_largest_of_the_dense_network(networks):
    mask = networks.masks["magnitude", 0.9]
    for name, keep in mask.items():
        sizes = networks.dense.get_parameter(name).detach().abs()
        assert sizes[keep].min() >= sizes[~keep].max()


def test_pruned_weights_are_zero_and_the_others_of_a_cut_network_the_dense_ones(networks):
    for place, mask in networks.masks.items():
        for name, keep in mask.items():
            assert not networks.retrained[place].get_parameter(name)[~keep].any()
            cut, dense = (net.get_parameter(name) for net in (networks.cut[place], networks.dense))
            assert torch.equal(cut, dense * keep)


def test_every_layer_of_every_network_has_its_points(points):
    found = pd.DataFrame([point.coordinates for point in points])
    assert not found.duplicated().any()
    assert set(found.judge) == {"spectra"}
    assert set(found.layer) == set(LAYERS)
    per_state = found.groupby("state").size() / 3
    # dense, other and 4 masks at 2 amounts; 8 masks cut; initial, whole and under a random mask
    assert per_state.to_dict() == {"trained": 10, "cut": 8, "untrained": 2}
    assert set(found.network) == {"initial", "other", "dense", *PRUNED}


def test_points_say_what_weightwatcher_says_of_the_network(networks, points):
    for state, network, amount, model in (
        ("trained", "magnitude", 0.9, networks.retrained["magnitude", 0.9]),
        ("cut", "random", PUBLISHED, networks.cut["random", PUBLISHED]),
    ):
        frame = layer_spectra(model).set_index("layer")
        for point in points:
            where = point.coordinates
            if (where["state"], where["network"], where["amount"]) == (state, network, str(amount)):
                np.testing.assert_equal(point.metrics["pl_alpha"], frame.pl_alpha[where["layer"]])


def test_a_quick_look_has_the_same_exponents(networks, points):
    found = layer_metrics(networks.initial, seed=0)
    assert [layer["num_traps"] for layer in found.values()] == [0, 0, 0]
    quick = [
        p
        for p in points
        if (p.coordinates["network"], p.coordinates["amount"]) == ("initial", PUBLISHED)
    ]
    for point in quick:
        full = found[point.coordinates["layer"]]
        assert point.metrics == {name: full[name] for name in study.EXPONENTS}


def test_spectra_of_the_first_seed_are_those_of_its_networks(networks, no_metrics):
    where = {"network": "dense", "state": "trained", "layer": "fc2"}
    found = [
        p
        for p in judge_spectra(networks, seed=0)
        if "place" in p.coordinates and where.items() <= p.coordinates.items()
    ]
    assert [p.coordinates["place"] for p in found] == list(range(11))
    eigenvalues = [p.metrics["eigenvalue"] for p in found]
    np.testing.assert_allclose(eigenvalues, esd(networks.dense.fc2.weight))
    assert sum(p.metrics["shuffled"] for p in found) == pytest.approx(sum(eigenvalues))
    assert not any("place" in p.coordinates for p in judge_spectra(networks, seed=1))


def test_spikes_and_traps_are_told_apart():
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(200, 50, generator=random)
    learned = noise + torch.outer(
        torch.randn(200, generator=random), torch.randn(50, generator=random)
    )
    found = beside(learned, seed=0)
    assert found["spikes"] == 1  # a direction that was learned
    assert found["trap_share"] <= 0.1  # and that no shuffle keeps
    edge = learned.var().item() * (1 + 0.25**0.5) ** 2
    assert found["reach"] == pytest.approx(esd(learned)[-1] / edge, rel=1e-3)
    shifted = beside(noise + 0.5, seed=0)
    assert (shifted["trap_share"], shifted["trap_share_centred"]) == (1, 0)
    assert shifted["orange"] > 2
    assert study.weightwatcher_traps([noise, noise + 0.5])[0] == 0


def test_every_judge_speaks_of_every_network_and_no_place_twice(networks, no_metrics, monkeypatch):
    pruned = {("LEGCNet-FT", PUBLISHED), ("random", 0.9)}
    few = {name: {at: getattr(networks, name)[at] for at in pruned} for name in STAGES}
    data = replace(networks.data, x_test=networks.data.x_test[:9], y_test=networks.data.y_test[:9])
    few = replace(networks, data=data, **few)
    monkeypatch.setattr(study, "mnist_networks", lambda *_, **__: few)
    places = pd.DataFrame([point.coordinates for point in JudgedMNIST("digits").run(0)])
    assert set(places.judge) == {"accuracy", "spectra", "explanations", "closeness"}
    assert not places.duplicated().any()
    accuracy = places[places.judge == "accuracy"].groupby("state")
    found = {state: set(zip(part.network, part.amount, strict=True)) for state, part in accuracy}
    assert found["cut"] == {(name, str(amount)) for name, amount in pruned}
    alone = {("dense", PUBLISHED), ("initial", "none"), ("other", "none")}
    assert found["trained"] == found["cut"] | alone


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="dataset"):
        next(JudgedMNIST("mnits").run(0))
