"""The study of chapter 12: its networks, its distances, its yardsticks and its masks."""

import math
from dataclasses import replace

import pytest
import torch

from causalprune_lib.pruning.contest import UNIFORM
from causalprune_studies.ch10_spectra.networks import mnist_networks
from causalprune_studies.ch12_closeness import distances as closeness
from causalprune_studies.ch12_closeness.study import (
    RANKINGS,
    RULE,
    SHRINKING,
    ClosenessByWidth,
    UniformNetworks,
)
from causalprune_studies.paper_networks.mnist import (
    mnist_data,
    mnist_settings,
    record_dense,
    train_on_images,
)

SMALL = replace(mnist_settings("digits"), sizes=(64, 6, 5, 10), epochs=5)


@pytest.fixture(scope="module")
def networks():
    return mnist_networks(SMALL, seed=0, amounts=(0.5,))


@pytest.fixture(scope="module")
def points():
    spec = ClosenessByWidth(widths=(8,), amounts=(0.5,))
    return {
        tuple(p.coordinates.get(k) for k in ("network", "amount", "state")): p.metrics
        for p in spec.run(0)
    }


def test_random_networks_are_as_the_theorem_assumes_them():
    model = UniformNetworks(hidden_layers=2).build(300, seed=1)
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            assert (value == 0).all()
        else:
            most = 1 / math.sqrt(300)  # every layer has 300 neurons on one side
            assert value.abs().max() <= most
            assert value.std().item() == pytest.approx(most / math.sqrt(3), rel=0.05)


def test_pruning_everything_leaves_the_size_of_the_dense_network():
    spec = UniformNetworks(widths=(80,), amounts=(0.5, 1.0), steps=10)
    found = {(p.coordinates["network"], p.coordinates["amount"]): p.metrics for p in spec.run(3)}
    dense = spec.build(80, seed=3)
    with torch.no_grad():
        at_zero = dense(torch.zeros(1, 64)).norm().item()
        directions = torch.nn.functional.normalize(torch.randn(500, 64), dim=1)
        most = dense(directions).norm(dim=1).max().item()
    for ranking in ("random", "magnitude"):
        assert found[ranking, 1.0]["ball"] >= max(at_zero, most) - 1e-6
    assert found["random", 1.0] == found["magnitude", 1.0]
    assert found["magnitude", 0.5]["ball"] < found["random", 0.5]["ball"]
    assert all(m["ball"] <= m["bound"] for m in found.values())
    assert {amount for _, amount in found} == {0.5, 1.0, SHRINKING}


def test_distances_of_a_network_from_itself_are_zero(networks):
    found = closeness.distances(networks.dense, networks.dense, networks.data, top=16)
    assert found.pop("accuracy") == closeness.accuracy(networks.dense, networks.data)
    assert set(found.values()) == {0.0}


def test_distances_are_what_they_say(networks):
    other = networks.cut["random", 0.5]
    found = closeness.distances(networks.dense, other, networks.data, top=16)
    x = networks.data.x_test[: closeness.IMAGES]
    with torch.no_grad():
        a, b = networks.dense(x), other(x)
    gap = (a - b).norm(dim=1)
    assert found["images"] == pytest.approx(gap.max().item())
    assert found["mean"] == pytest.approx(gap.mean().item())
    outputs = (a.softmax(1) - b.softmax(1)).norm(dim=1)
    assert found["outputs"] == pytest.approx(outputs.mean().item())
    assert found["disagree"] == pytest.approx((a.argmax(1) != b.argmax(1)).float().mean().item())
    assert found["images"] <= found["box"]
    assert outputs.max() <= found["outputs_box"] + 1e-6 <= math.sqrt(2) + 1e-6
    assert found["ball"] <= found["bound"]


def test_training_again_gives_the_dense_network_and_a_hair_is_one_weight(networks):
    one = closeness.batch_of_one(networks.initial)
    again = train_on_images(one, SMALL, networks.data, seed=0).networks.model(0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.parameters(), networks.dense.parameters(), strict=True)
    )
    moved = closeness.moved_a_hair(one)
    change = moved.flat() - one.flat()
    assert change.count_nonzero() == 1
    assert change.max().item() == pytest.approx(closeness.HAIR, rel=0.1)
    assert all(map(torch.equal, moved.biases, one.biases))


def test_every_network_has_its_point(networks):
    found = list(closeness.image_distances(networks, seed=0, settings=SMALL))
    places = [
        (p.coordinates["network"], p.coordinates["amount"], p.coordinates["state"]) for p in found
    ]
    expected = {
        (name, str(amount), s) for name, amount in networks.cut for s in ("cut", "retrained")
    }
    expected |= {(name, "none", "dense") for name in ("other", "twin", "initial")}
    assert len(places) == len(set(places))
    assert set(places) == expected
    assert all(p.coordinates["judge"] == "closeness" for p in found)


@pytest.fixture(scope="module")
def narrow():
    """A recording of a narrow network, and the contest of its masks."""
    spec = ClosenessByWidth(widths=(8,), amounts=(0.5,))
    settings = spec.settings(8)
    data = mnist_data(settings)
    recording = record_dense(settings, data, seed=0)
    return recording, data, spec.contest(recording, data, seed=0, play=None).entries


def test_masks_compared_at_one_amount_have_the_same_counts_in_every_layer(narrow):
    recording, _, entries = narrow
    for at in (RULE, UNIFORM, SHRINKING):
        here = [entry for entry in entries if entry.allocation == at]
        assert [entry.ranking for entry in here] == list(RANKINGS)
        kept = [entry.masks.counts().kept.tolist() for entry in here]
        assert all(counts == kept[0] for counts in kept)
    masks = {(entry.ranking, entry.allocation): entry.masks for entry in entries}
    decision = recording.decide("FT", rule="as_released")
    assert torch.equal(masks["LEGCNet", RULE].flat(), decision.keep)
    assert masks["LEGCNet", UNIFORM].amount == 0.5
    assert masks["LEGCNet", SHRINKING].amount == pytest.approx(8**-0.5, abs=0.01)
    assert masks["LEGCNet", UNIFORM] != masks["shuffled", UNIFORM]


def test_one_width_gives_every_ranking_and_yardstick(points):
    expected = {("dense", "none", "dense")}
    expected |= {(name, "none", "dense") for name in ("stranger", "order", "twin", "initial")}
    expected |= {
        (name, amount, state)
        for name in RANKINGS
        for amount in (RULE, 0.5, SHRINKING)
        for state in ("cut", "retrained")
    }
    assert set(points) == expected
    assert points["magnitude", 0.5, "cut"]["pruned"] == 0.5
    assert points["twin", "none", "dense"]["mean"] < points["stranger", "none", "dense"]["mean"]


def test_causal_scores_leave_the_dense_network_as_it_is(narrow):
    recording, data, _ = narrow
    model = recording.run.networks.model(0)
    before = [p.detach().clone() for p in model.parameters()]
    scores = ClosenessByWidth().causal_scores(model, recording.settings, data, seed=0)
    assert all(map(torch.equal, before, model.parameters()))
    assert (scores["fc1.weight"][:, 0] == 0).all()  # a pixel that is always dark moves nothing
    assert (scores["fc2.weight"] > 0).all()
