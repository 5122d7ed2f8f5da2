"""The trainer of the paper's tables: how it judges, records and stops, and what it is asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from causalprune_lib.nets.tasks import class_targets
from causalprune_studies.paper_networks.masks import draw_masks_like
from causalprune_studies.paper_networks.settings import (
    LEGCNET_SETTINGS,
    legcnet_settings,
    published_reading,
    released_reading,
)
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import train_networks

SIZES = (4, 3, 3)


def examples(sizes=SIZES, n=25, seed=0):
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(n, sizes[0], generator=noise, dtype=torch.float64)
    return x, torch.randint(max(2, sizes[2]), (n,), generator=noise)


@pytest.mark.parametrize("sizes", [(5, 4, 1), SIZES])
def test_accuracy_counts_examples_whose_rounded_outputs_are_all_right(sizes):
    networks = SigmoidNetworks.random(sizes, 4, seed=3, scale=2.0)
    x, y = examples(sizes, n=60)
    accuracy, _ = networks.judge(x, y)
    goals = class_targets(y, sizes[2]).numpy()
    for i, outputs in enumerate(networks.outputs(x).numpy()):
        hits = (np.floor(outputs + 0.5) == goals).all(1)
        assert accuracy[i] == pytest.approx(hits.mean(), abs=1e-15)


def test_some_networks_are_recorded_and_judged_at_some_steps():
    networks, (x, y) = SigmoidNetworks.random(SIZES, 3, seed=0, scale=1.0), examples()
    test, n = examples(n=40, seed=5), 25
    options = {"lr": 0.5, "epochs": 2, "test": test}
    run = train_networks(networks, x, y, judge_at=[n, 0, 2 * n], record=[2], **options)
    whole = train_networks(networks, x, y, record=range(3), **options)
    assert torch.equal(run.weights, whole.weights[2:])
    assert torch.equal(whole.weights[:, 0], networks.flat())
    assert torch.equal(whole.weights[:, -1], run.networks.flat())
    assert whole.train_accuracy_at.shape == (3, 0)
    for at, after, before in (
        (run.test_accuracy_at, run.test_accuracy, networks.judge(*test)[0]),
        (run.train_accuracy_at, run.train_accuracy, networks.judge(x, y)[0]),
    ):
        assert torch.equal(at, torch.stack([after[:, 0], before, after[:, 1]], 1))


def test_waiting_for_the_benchmark_stops_when_the_last_network_is_there():
    networks, x = SigmoidNetworks.random((5, 4, 1), 6, seed=0, scale=1.0), examples((5, 4, 1))[0]
    options = {"lr": 1.0, "benchmark": 0.9, "epochs": 60, "judge_at": [0, 25 * 60]}
    y = (x[:, 0] > 0).long()
    short = train_networks(networks, x, y, until_benchmark=True, record=[0], **options)
    full = train_networks(networks, x, y, **options)
    n = int(short.epochs_to_benchmark.max()) + 1
    assert short.train_accuracy.shape[1] == n < 60
    assert torch.equal(short.epochs_to_benchmark, full.epochs_to_benchmark)
    assert short.weights.shape[1] == 25 * n + 1
    assert short.train_accuracy_at.shape == (6, 1)  # the other step was never reached


def test_random_networks_follow_their_seed_and_leave_the_global_generator_alone():
    state = torch.random.get_rng_state()
    one, two = (SigmoidNetworks.random(SIZES, 2, seed=7).flat() for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(one, SigmoidNetworks.random(SIZES, 2, seed=8).flat())


def test_random_masks_prune_as_many_weights_of_each_layer_and_all_alike():
    keep = torch.ones(2, 20, dtype=torch.bool)
    keep[0, [0, 1, 15]] = False
    keep[1, [12, 13, 14]] = False
    masks = draw_masks_like(keep, 2000, seed=0, split=12)
    of_first, of_second = masks[:2000], masks[2000:]
    assert (of_first[:, :12].sum(1) == 10).all()
    assert (of_first[:, 12:].sum(1) == 7).all()
    assert of_second[:, :12].all()
    assert (of_second[:, 12:].sum(1) == 5).all()
    share = (~of_first[:, :12]).double().mean(0)  # each weight: 2 of 12
    assert ((share - 2 / 12).abs() < 4 * math.sqrt(2 / 12 * 10 / 12 / 2000)).all()


def test_settings_count_the_weights_of_the_papers_tables():
    counted = {name: settings.n_weights for name, settings in LEGCNET_SETTINGS.items()}
    assert counted == {
        "cancer": 60,
        "titanic": 56,
        "banknote": 40,
        "vowel": 36,
        "iris_csv": 42,
        "iris3f": 36,
    }
    with pytest.raises(ValueError, match="Did you mean 'banknote'"):
        legcnet_settings("bank_note")


def test_the_reading_is_that_of_the_published_masks_where_there_are_any():
    assert published_reading("cancer").max_lag == 20
    assert published_reading("vowel", variant="PT") == released_reading("vowel", variant="PT")
