"""Which features masks take from a network: shares, paths, and how alike the exponents are."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from causalprune_studies.ch11_explanations.crowding import crowding, cut_by_feature, kinship

SIZES = (3, 4, 1)


def test_a_mask_that_takes_one_feature_crowds():
    keep = torch.ones(16, dtype=torch.bool)
    keep[[0, 3, 6, 9]] = False  # all weights of the first feature; layer one is (4, 3)
    even = torch.ones(16, dtype=torch.bool)
    even[[0, 4, 8, 9]] = False
    assert cut_by_feature(torch.stack([keep, even]), SIZES).tolist() == [
        [1, 0, 0],
        [0.5, 0.25, 0.25],
    ]
    found = crowding(keep, even, np.array([0.5, 0.3, 0.2]), SIZES, draws=2000, seed=1)
    assert found["most"] == found["cut off"] == 1
    assert found["chance"] == pytest.approx(3 / 495, abs=0.01)  # 3 of binomial(12, 4) masks
    assert found["hit"] == pytest.approx(0.5)
    assert found["hit by magnitude"] == pytest.approx(0.25 + 0.075 + 0.05)
    assert found["hit by lot"] == pytest.approx(1 / 3, abs=0.02)
    assert found["cut off by lot"] == found["chance"]


def test_weights_of_one_feature_that_move_alike_are_found():
    rng = np.random.default_rng(0)
    by_feature = rng.normal(size=(500, 1, 3)).repeat(4, 1)  # (W, H, D)
    scores = torch.arange(3.0).repeat(4)
    exponents = torch.from_numpy(by_feature.reshape(500, 12))
    reading = SimpleNamespace(exponents_=exponents, decision_=SimpleNamespace(scores=scores))
    row = kinship([reading], SIZES).iloc[0]
    assert row["same feature"] == pytest.approx(1)
    assert abs(row["same neuron"]) < 0.1
    assert abs(row["neither"]) < 0.1
    assert row["ranks, between features"] > 0.8
    assert row["by chance"] == pytest.approx(2 / 11)
