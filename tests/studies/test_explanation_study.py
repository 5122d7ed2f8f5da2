"""The study of chapter 11: where networks are taken, which masks compete, what is compared."""

from __future__ import annotations

import dataclasses
import math
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import load_dataset
from causalprune_lib.pruning.contest import Contest
from causalprune_lib.pruning.masks import Masks
from causalprune_studies.ch05_legcnet.study import published_amount
from causalprune_studies.ch10_spectra.networks import PUBLISHED, mnist_networks
from causalprune_studies.ch11_explanations import study
from causalprune_studies.ch11_explanations.images import image_agreement
from causalprune_studies.ch11_explanations.study import (
    COUNTS,
    DENSE,
    ExplanationAgreement,
    agreement,
    compared,
    explain,
    importance_shares,
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
        mixed[:, list(players)] = x[1, list(players)]
        return torch.logit(networks.select([2]).outputs(mixed)[0]).mean(0).numpy()

    orders = list(permutations(range(4)))  # Shapley's mean over the orders of arrival
    expected = np.zeros((4, 3))
    for order in orders:
        for place, player in enumerate(order):
            expected[player] += worth(order[: place + 1]) - worth(order[:place])
    found = explain(networks, x, background)[2, 1]
    np.testing.assert_allclose(found, expected / len(orders), atol=1e-9)


def test_importance_shares_by_hand():
    values = np.array([[[1, 0], [-2, 4]], [[-3, 0], [0, 0]]], dtype=float)  # (2, 2, 2)
    np.testing.assert_allclose(importance_shares(values), [0.4, 0.6])
    assert importance_shares(0 * values).tolist() == [0, 0]


def test_groups_are_compared_with_the_dense_network(iris, networks, stops):
    dense = stops["end"].select([0])
    groups = {
        DENSE: [dense],
        ("other seed", "none"): [stops["end"].select([0, 1])],
        ("LEGCNet", "FT"): [dense],
        ("random", "FT"): [stops["end"].select([i]) for i in range(3)],
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


def decision(seed, pruned):
    scores = torch.rand(40, generator=torch.Generator().manual_seed(seed)).double()
    keep = torch.ones(40, dtype=torch.bool)
    keep[scores.argsort()[:pruned]] = False
    said = SimpleNamespace(scores=scores, keep=keep, n_pruned=pruned)
    return SimpleNamespace(decision_=said)


def test_masks_are_matched_in_counts(monkeypatch):
    read = {"FT": [decision(0, 5), decision(1, 7)], "PT": [decision(2, 0), decision(3, 9)]}
    monkeypatch.setattr(study, "read_trials", lambda *_, variant, **__: read[variant])
    spec = ExplanationAgreement("banknote", n_random=3)
    sizes = torch.rand(40, generator=torch.Generator().manual_seed(9))
    entries = spec.contest(0, sizes, play=None).entries
    masks = {(e.ranking, e.allocation): ~e.masks.flat() for e in entries}  # True = pruned
    for counts in COUNTS:
        kept = [e.masks.counts().kept.tolist() for e in entries if e.allocation == counts]
        assert len(kept) == 3 + 4
        assert all(one == kept[0] for one in kept)
    ft, pt = (read[variant][0].decision_ for variant in ("FT", "PT"))
    assert torch.equal(masks["LEGCNet", "FT"], ~ft.keep)
    amount = published_amount("banknote", variant="PT")  # LEGCNet prunes none here
    assert masks["LEGCNet", "PT"].nonzero().flatten().tolist() == sorted(
        pt.scores.argsort()[:amount].tolist()
    )
    for name, scores in (
        ("LEGCNet", ft.scores),
        ("inverse", -ft.scores),
        ("another trial", read["FT"][1].decision_.scores),
        ("magnitude", sizes),
    ):
        cut = masks[name, "half"]
        assert cut.sum() == 20
        assert scores[:32][cut[:32]].max() < scores[:32][~cut[:32]].min()


def test_a_cell_gives_every_network_at_both_stops(monkeypatch):
    short = dataclasses.replace(legcnet_settings("banknote"), epochs=1, extra_epochs=1)
    monkeypatch.setattr(study, "legcnet_settings", lambda _: short)
    layout = SigmoidNetworks.random(short.sizes, 1, seed=0).layout
    keep = torch.rand(40, generator=torch.Generator().manual_seed(0)) > 0.3
    names = ("LEGCNet", "random", "magnitude", "inverse", "another trial")

    def entered(self, trial, sizes, play):
        contest = Contest({}, play)
        for counts in COUNTS:
            for name in names:
                contest.enter_masks(Masks.from_flat(layout, keep), name, counts, 0.3)
        return contest

    monkeypatch.setattr(ExplanationAgreement, "contest", entered)
    spec = ExplanationAgreement("banknote", n_random=1, examples=6, background=4)
    rows = pd.DataFrame([p.coordinates | dict(p.metrics) for p in spec.run(3)])
    assert rows.spearman.notna().sum() == 2 * (3 + 3 * len(names))
    assert set(rows.network) == {*names, "dense", "other seed", "other order", "untrained"}
    own = rows[(rows.network == "LEGCNet") & rows.n_pruned.notna()]
    assert own.counts.tolist() == list(COUNTS)
    assert own.n_pruned.eq(int((~keep).sum())).all()
    with pytest.raises(ValueError, match="seed must be a trial"):
        list(spec.run(10))


def test_attributions_of_images():
    settings = dataclasses.replace(mnist_settings("digits"), sizes=(64, 6, 5, 10), epochs=3)
    networks = mnist_networks(settings, seed=0)
    same = dataclasses.replace(networks, other=networks.dense)
    points: list[Point] = list(image_agreement(same, seed=0, examples=3, background=4))
    found = {
        tuple(p.coordinates[k] for k in ("network", "amount", "state")): p.metrics for p in points
    }
    assert len(found) == 2 + 2 * len(networks.masks)
    assert found["other", PUBLISHED, "kept"]["attributions"] == pytest.approx(1)
    assert found["other", PUBLISHED, "kept"]["spearman"] == pytest.approx(1)
    assert found["initial", PUBLISHED, "kept"]["attributions"] < 0.9
    assert all(0 < m["pixels"] < 64 for m in found.values())  # the corners of digits are empty
    assert {p.coordinates["judge"] for p in points} == {"explanations"}
