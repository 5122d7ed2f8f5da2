"""The study of chapter 12: its networks, its distances, its yardsticks and its criteria."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from causalprune_studies.ch10_spectra.networks import judged_networks
from causalprune_studies.ch12_closeness import (
    study as closeness,
)
from causalprune_studies.ch12_closeness import (
    study as closeness_points,
)
from causalprune_studies.ch12_closeness import (
    verdicts as closeness_verdicts,
)
from causalprune_studies.ch12_closeness.study import (
    RANKINGS,
    SHRINKING,
    ClosenessByWidth,
    UniformNetworks,
)
from causalprune_studies.paper_networks.deep import DeepNetworks
from causalprune_studies.paper_networks.mnist import mnist_data, mnist_settings, record_dense

SMALL = replace(mnist_settings("digits"), sizes=(64, 6, 5, 10), epochs=5)


@pytest.fixture(scope="module")
def judged():
    return judged_networks(SMALL, seed=0, amounts=(0.5,))


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
        probes = torch.nn.functional.normalize(torch.randn(500, 64), dim=1)
        most = dense(probes).norm(dim=1).max().item()
    for ranking in ("random", "magnitude"):
        assert found[ranking, 1.0]["ball"] >= max(at_zero, most) - 1e-6
    assert found["random", 1.0] == found["magnitude", 1.0]
    assert found["magnitude", 0.5]["ball"] < found["random", 0.5]["ball"]
    assert all(m["ball"] <= m["bound"] for m in found.values())
    assert {amount for _, amount in found} == {0.5, 1.0, SHRINKING}


def test_distances_of_a_network_from_itself_are_zero(judged):
    found = closeness_points.distances(judged.dense, judged.dense, judged.data, top=16, steps=3)
    assert set(found.values()) == {0.0}


def test_distances_are_what_they_say(judged):
    other = judged.cut["random", 0.5]
    found = closeness_points.distances(judged.dense, other, judged.data, top=16)
    x = judged.data.x_test[: closeness_points.IMAGES]
    with torch.no_grad():
        a, b = judged.dense(x), other(x)
    gap = (a - b).norm(dim=1)
    assert found["images"] == pytest.approx(gap.max().item())
    assert found["mean"] == pytest.approx(gap.mean().item())
    outputs = (a.softmax(1) - b.softmax(1)).norm(dim=1)
    assert found["outputs"] == pytest.approx(outputs.mean().item())
    assert found["disagree"] == pytest.approx((a.argmax(1) != b.argmax(1)).float().mean().item())
    assert found["images"] <= found["box"]
    assert outputs.max() <= found["outputs_box"] + 1e-6 <= math.sqrt(2) + 1e-6
    assert found["ball"] <= found["bound"]


def test_training_again_gives_the_dense_network_and_a_hair_is_one_weight(judged):
    one = closeness_points._one(judged.initial)
    again = closeness_points.retrain(one, SMALL, judged.data, seed=0).model(0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.parameters(), judged.dense.parameters(), strict=True)
    )
    moved = closeness_points.moved_a_hair(one)
    change = moved.flat() - one.flat()
    assert change.count_nonzero() == 1
    assert change.max().item() == pytest.approx(closeness_points.HAIR, rel=0.1)
    assert all(map(torch.equal, moved.biases, one.biases))


def test_every_judged_network_has_its_point(judged):
    found = list(closeness_points.closeness_points(judged, seed=0, settings=SMALL))
    places = [
        (p.coordinates["network"], p.coordinates["amount"], p.coordinates["state"]) for p in found
    ]
    expected = {(name, str(amount), s) for name, amount in judged.cut for s in ("cut", "retrained")}
    expected |= {(name, "none", "dense") for name in ("other", "twin", "initial")}
    assert len(places) == len(set(places))
    assert set(places) == expected
    assert all(p.coordinates["judge"] == "closeness" for p in found)


def test_masks_compared_at_one_amount_have_the_same_counts_in_every_layer():
    spec = ClosenessByWidth(widths=(8,), amounts=(0.5,))
    settings = spec.settings(8)
    data = mnist_data(settings)
    recording = record_dense(settings, data, seed=0)
    masks = spec.masks(recording, data, seed=0)
    for amount in (closeness.RULE, 0.5, SHRINKING):
        kept = [masks[name, amount].counts().kept.tolist() for name in RANKINGS]
        assert all(counts == kept[0] for counts in kept)
    decision = recording.decide("FT", rule="as_released")
    assert torch.equal(masks["LEGCNet", closeness.RULE].flat(), decision.keep)
    assert masks["LEGCNet", SHRINKING].amount == pytest.approx(8**-0.5, abs=0.01)
    assert masks["LEGCNet", 0.5] != masks["shuffled", 0.5]


def test_one_width_gives_every_ranking_and_yardstick(points):
    expected = {("dense", "none", "dense")}
    expected |= {(name, "none", "dense") for name in ("stranger", "order", "twin", "initial")}
    expected |= {
        (name, amount, state)
        for name in RANKINGS
        for amount in (closeness.RULE, 0.5, SHRINKING)
        for state in ("cut", "retrained")
    }
    assert set(points) == expected
    assert points["magnitude", 0.5, "cut"]["pruned"] == 0.5
    assert points["twin", "none", "dense"]["mean"] < points["stranger", "none", "dense"]["mean"]


def test_causal_scores_leave_the_dense_network_as_it_is():
    spec = ClosenessByWidth(widths=(8,))
    settings = spec.settings(8)
    model = DeepNetworks.initial(settings.sizes, seed=0).model(0)
    before = [p.detach().clone() for p in model.parameters()]
    scores = spec.causal_scores(model, settings, mnist_data(settings), seed=0)
    assert all(map(torch.equal, before, model.parameters()))
    assert (scores["fc1.weight"][:, 0] == 0).all()  # a pixel that is always dark moves nothing
    assert (scores["fc2.weight"] > 0).all()


COMMON = {"profile": "full", "commit": "abc", "dirty": False, "causalprune_lib": "0",
          "torch": "2", "numpy": "2", "python": "3", "device": "cpu", "cpu": "x",
          "seconds": 1.0, "started": "2026"}  # fmt: skip


def width_rows(fixed, trained, cut, retrained):
    """Rows in which distances are powers of the width, and LEGCNet a multiple of random."""
    rows = []
    for seed in range(3):
        off = 1 + 0.02 * seed
        for width in (25, 100, 400):
            at = {**COMMON, "seed": seed, "hidden_layers": 1, "width": width}
            kink = 9.0 if width == 25 else 1.0  # narrower than the input: must not count
            for amount, slope in (("0.5", fixed), (SHRINKING, -0.25), ("1", 7.0)):
                value = kink * width ** (slope + 0.01 * seed)
                place = {"spec": "UniformNetworks", "state": "untrained", "network": "random"}
                rows.append({**at, **place, "amount": amount, "metric": "ball", "value": value})
            for state, factor in (("cut", cut), ("retrained", retrained)):
                for name, times in (("LEGCNet", factor * off), ("random", 1), ("shuffled", 0.9)):
                    place = {"spec": "ClosenessByWidth", "state": state, "network": name}
                    ball = kink * width ** (trained + 0.01 * seed)
                    for metric, value in (("outputs", 0.3 * times), ("ball", ball)):
                        row = {**place, "amount": "rule", "metric": metric, "value": value}
                        rows.append({**at, **row})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((-0.3, -0.2, 0.5, 0.5), ("reproduced", "reproduced")),
        ((0.0, -0.2, 0.5, 1.5), ("partly", "partly")),
        ((0.0, 0.1, 1.5, 1.5), ("not reproduced", "not reproduced")),
    ],
)
def test_the_criteria_on_widths_grade_by_value(values, expected):
    found = closeness_verdicts.verdicts(width_rows(*values))
    assert tuple(v.verdict for v in found.values()) == expected
    assert found["wider is closer"].effect == pytest.approx(values[1] + 0.01)
    assert found["closer than random"].effect == pytest.approx(values[2] * 1.02, rel=1e-3)
    assert "-0.24 when" in found["wider is closer"].control


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.3, "reproduced"), (0.8, "partly"), (1.0, "not reproduced")]
)
def test_the_criterion_on_mnist_grades_by_value(ratio, expected):
    rows = []
    for seed in range(3):
        for name, amount, state, value in (
            ("other", "none", "dense", 0.2),
            ("twin", "none", "dense", 0.1),
            ("LEGCNet-FT", "published", "retrained", 0.2 * (ratio + 0.01 * seed)),
            ("random", "published", "retrained", 0.15),
        ):
            place = {"network": name, "amount": amount, "state": state, "judge": "closeness"}
            rows.append({**COMMON, **place, "seed": seed, "metric": "outputs", "value": value})
    verdict = closeness_verdicts.verdict_on_mnist(pd.DataFrame(rows))["retrained and still close"]
    assert verdict.verdict == expected
    assert verdict.effect == pytest.approx(ratio + 0.01)
    assert "0.50; random masks: 0.75" in verdict.control
    with pytest.raises(ValueError, match="full"):
        closeness_verdicts.verdict_on_mnist(pd.DataFrame(rows).assign(profile="quick"))


def test_every_verdict_has_a_criterion_and_quick_rows_decide_nothing():
    names = {*closeness_verdicts.verdicts(width_rows(0, 0, 1, 1)), "retrained and still close"}
    assert names == closeness_verdicts.CRITERIA.keys()
    with pytest.raises(ValueError, match="full"):
        closeness_verdicts.verdicts(width_rows(0, 0, 1, 1).assign(profile="quick"))
