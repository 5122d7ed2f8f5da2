"""The studies of chapter 11: where networks are taken, what is compared, what decides."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch

from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import load_dataset
from causalprune_studies.ch10_spectra.networks import PUBLISHED, judged_networks
from causalprune_studies.ch11_explanations import verdicts as explanation_verdicts
from causalprune_studies.ch11_explanations.shapley import exact_shapley
from causalprune_studies.ch11_explanations.study import (
    DENSE,
    ExplanationAgreement,
    agreement,
    compared,
    explain,
    explanation_points,
    train_to_stops,
)
from causalprune_studies.paper_networks.mnist import mnist_settings
from causalprune_studies.paper_networks.settings import legcnet_settings
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import train_networks

SETTINGS = dataclasses.replace(
    legcnet_settings("iris_csv"), lr=0.2, benchmark=0.8, epochs=30, extra_epochs=5
)


@pytest.fixture(scope="module")
def iris():
    data = load_dataset("iris", dtype=torch.float64, progress=False)
    order = torch.randperm(len(data.x_train), generator=torch.Generator().manual_seed(0))
    return dataclasses.replace(data, x_train=data.x_train[order], y_train=data.y_train[order])


@pytest.fixture(scope="module")
def networks():
    return SigmoidNetworks.random((4, 6, 3), 4, seed=1)


@pytest.fixture(scope="module")
def stops(iris, networks):
    return train_to_stops(SETTINGS, networks, iris)


def test_networks_are_taken_in_the_epoch_that_reaches_the_benchmark(iris, networks, stops):
    options = {"lr": SETTINGS.lr, "label_size": SETTINGS.label_size}
    run = train_networks(
        networks, iris.x_train, iris.y_train, epochs=35, benchmark=SETTINGS.benchmark, **options
    )
    epochs = run.epochs_to_benchmark
    assert epochs.min() < epochs.nan_to_num(nan=99).max()  # not all in one epoch
    torch.testing.assert_close(stops["end"].flat(), run.networks.flat(), rtol=0, atol=0)
    for i, epoch in enumerate(epochs.tolist()):
        n = 35 if math.isnan(epoch) else int(epoch) + 1
        one = networks.select([i])
        alone = train_networks(one, iris.x_train, iris.y_train, epochs=n, **options).networks
        torch.testing.assert_close(stops["benchmark"].weights[0][i], alone.weights[0][0])
        torch.testing.assert_close(stops["benchmark"].biases[1][i], alone.biases[1][0])


def test_masked_weights_stay_zero_and_another_order_gives_another_network(iris, networks, stops):
    keep = torch.ones(4, networks.layout.size, dtype=torch.bool)
    keep[:, ::3] = False
    masked = train_to_stops(SETTINGS, networks, iris, keep=keep)
    for found in masked.values():
        assert (found.flat()[~keep] == 0).all()
        assert (found.flat()[keep] != 0).all()
    other = train_to_stops(SETTINGS, networks, iris, order=torch.arange(len(iris.x_train)).flip(0))
    assert not torch.allclose(other["end"].flat(), stops["end"].flat())


def test_what_is_explained_goes_into_the_last_sigmoid(iris, networks):
    x, background = iris.x_test[:2], iris.x_train[:3]

    def worth(players):
        mixed = background.clone()
        mixed[:, sorted(players)] = x[1, sorted(players)]
        return torch.logit(networks.select([2]).outputs(mixed)[0]).mean(0).numpy()

    np.testing.assert_allclose(
        explain(networks, x, background)[2, 1], exact_shapley(worth, 4), atol=1e-9
    )


def test_groups_are_compared_with_the_dense_network(iris, networks, stops):
    dense = stops["end"].select([0])
    groups = {
        DENSE: dense,
        ("other seed", "none"): stops["end"].select([0, 1]),
        ("LEGCNet", "FT"): dense,
        ("random", "FT"): stops["end"].select([0, 1, 2]),
    }
    x, background = iris.x_test[:12], iris.x_train[:6]
    points = list(compared(groups, iris, x, background))
    found: dict[tuple, dict[str, float]] = {}
    for p in points:
        where = tuple(p.coordinates.get(name) for name in ("network", "counts", "feature"))
        found.setdefault(where, {}).update(p.metrics)
    same = found["LEGCNet", "FT", None]
    assert all(same[name] == pytest.approx(1) for name in ("spearman", "shares", "attributions"))
    assert same["same_order"] == 1
    assert same["beats_attributions"] == pytest.approx((0.5 + 2) / 3)  # one tie, two beaten
    values = explain(stops["end"], x, background)
    two = agreement(values[0], values[1])["shares"]
    assert found["other seed", "none", None]["shares"] == pytest.approx((1 + two) / 2)
    assert set(found["dense", "none", None]) == {"accuracy"}
    shares = [found["random", "FT", f]["importance"] for f in range(4)]
    assert sum(shares) == pytest.approx(1)


@pytest.mark.data
def test_masks_are_matched_in_counts():
    spec = ExplanationAgreement("vowel", n_random=3)
    sizes = torch.rand(36, generator=torch.Generator().manual_seed(0))
    masks = spec.masks(7, sizes)
    for counts in ("FT", "PT", "half"):
        layers = {
            (int((~m[:12]).sum()), int((~m[12:]).sum()))
            for (_, at), same in masks.items()
            if at == counts
            for m in same
        }
        assert len(layers) == 1
    assert (~masks["LEGCNet", "half"]).sum() == 18
    assert (~masks["LEGCNet", "PT"]).sum() == 8  # LEGCNet prunes none here: the published number
    assert len(masks["random", "FT"]) == 3
    cut = ~masks["magnitude", "half"][0]
    assert sizes[:12][cut[:12]].max() < sizes[:12][~cut[:12]].min()
    one_feature = torch.ones(1, 36, dtype=torch.bool)
    one_feature[0, [0, 3, 6]] = False  # W1 is (4, 3): three of the first feature's four weights
    assert spec.most_cut(one_feature) == 0.75


@pytest.mark.data
def test_a_cell_gives_every_network_at_both_stops(monkeypatch):
    short = dataclasses.replace(legcnet_settings("vowel"), epochs=3, extra_epochs=1)
    monkeypatch.setattr(
        "causalprune_studies.ch11_explanations.study.legcnet_settings", lambda _: short
    )
    spec = ExplanationAgreement("vowel", n_random=2, examples=6, background=4)
    keep = torch.rand(1, 36, generator=torch.Generator().manual_seed(0)) > 0.3
    names = ("LEGCNet", "random", "magnitude", "inverse", "another trial")
    masks = {(n, c): keep for n in names for c in ("FT", "PT", "half")}
    monkeypatch.setattr(ExplanationAgreement, "masks", lambda *_: masks)
    rows = pd.DataFrame([p.coordinates | dict(p.metrics) for p in spec.run(3)])
    compared_rows = rows[rows.spearman.notna()]
    assert len(compared_rows) == 2 * (3 + len(masks))
    assert set(rows.network) == {*names, "dense", "other seed", "other order", "untrained"}
    assert (
        rows[rows.network == "LEGCNet"]
        .groupby("counts")
        .n_pruned.max()
        .eq(int((~keep).sum()))
        .all()
    )
    with pytest.raises(ValueError, match="seed must be a trial"):
        list(spec.run(10))


def test_points_of_images():
    settings = dataclasses.replace(mnist_settings("digits"), sizes=(64, 6, 5, 10), epochs=3)
    judged = judged_networks(settings, seed=0)
    same = dataclasses.replace(judged, other=judged.dense)
    points: list[Point] = list(explanation_points(same, seed=0, examples=3, background=4))
    found = {
        tuple(p.coordinates[k] for k in ("network", "amount", "state")): p.metrics for p in points
    }
    assert len(found) == 2 + 2 * len(judged.masks)
    assert found["other", PUBLISHED, "kept"]["attributions"] == pytest.approx(1)
    assert found["other", PUBLISHED, "kept"]["spearman"] == pytest.approx(1)
    assert found["initial", PUBLISHED, "kept"]["attributions"] < 0.9
    assert all(0 < m["pixels"] < 64 for m in found.values())  # the corners of digits are empty
    assert {p.coordinates["judge"] for p in points} == {"explanations"}


def full_rows(own, yardstick, random, magnitude):
    common = {"profile": "full", "commit": "abc", "dirty": False, "causalprune_lib": "0",
              "torch": "2", "numpy": "2", "python": "3", "device": "cpu", "cpu": "x",
              "seconds": 1.0, "started": "2026", "stop": "benchmark",
              "metric": "spearman"}  # fmt: skip
    values = {
        "LEGCNet": own,
        "random": random,
        "magnitude": magnitude,
        "another trial": own,
        "other seed": yardstick,
    }
    rows = []
    for dataset in ("cancer", "titanic", "banknote", "vowel"):
        for seed in range(4):
            for network, value in values.items():
                for counts in ("none",) if network == "other seed" else ("FT", "PT", "half"):
                    off = 0.01 * (seed % 2) * (network == "LEGCNet")
                    off -= 1.0 * (counts == "half")  # must not count
                    where = {"dataset": dataset, "seed": seed, "network": network, "counts": counts}
                    rows.append({**common, **where, "value": value + off})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.9, 0.9, 0.5, 0.6), ("reproduced", "reproduced", "reproduced")),
        ((0.85, 0.99, 0.84, 0.9), ("partly", "reproduced", "not reproduced")),
        ((0.7, 0.99, 0.8, 0.9), ("not reproduced", "not reproduced", "not reproduced")),
    ],
)
def test_the_criteria_grade_by_value(values, expected):
    found = explanation_verdicts.verdicts(full_rows(*values))
    assert tuple(v.verdict for v in found.values()) == expected
    assert found.keys() == explanation_verdicts.CRITERIA.keys()
    assert found["importance is kept"].effect == pytest.approx(values[0] + 0.005 - values[1])


def test_a_wide_interval_with_a_gap_is_partly():
    rows = full_rows(0.9, 0.9, 0.8, 0.8)
    rows.loc[(rows.network == "LEGCNet") & (rows.seed == 0), "value"] -= 0.5
    rows.loc[(rows.network == "LEGCNet") & (rows.seed == 1), "value"] += 0.5
    found = explanation_verdicts.verdicts(rows)
    assert found["random masks do not keep it"].verdict == "partly"


def test_quick_rows_decide_nothing():
    with pytest.raises(ValueError, match="full"):
        explanation_verdicts.verdicts(full_rows(0.9, 0.9, 0.5, 0.6).assign(profile="quick"))
