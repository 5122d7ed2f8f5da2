"""The study of chapter 9: its networks are those of chapter 8, its numbers those of the library."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy
from toys import exact_hessian

from causalprune_lib.diagnostics.landscape import loss_surface
from causalprune_lib.evidence.grid import run_grid
from causalprune_lib.nets.training import evaluate
from causalprune_lib.pruning.masks import clone_model, masks_of, remove_masks
from causalprune_studies.ch08_causal_pruning.study import CausalCurve
from causalprune_studies.ch09_flat_minima.study import (
    NETWORKS,
    PRUNED,
    FlatMinima,
)
from causalprune_studies.ch09_flat_minima.tables import measured_by

TINY = {"dataset": "iris", "model": "mlp", "hidden": (8, 6), "batch_size": 16, "lr": 0.01}
TINY |= {"epochs": 6, "prune_epochs": 3, "post_epochs": 2, "post_batch_size": 32}
WAY = {"early": (2,), "checkpoints": (0, 3), "twin": ("fc1", "fc2"), "scale": 4.0}
STUDY = FlatMinima(**TINY, **WAY, amount=0.5, examples=60, k=2, shakes=4, side=5)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    found = run_grid([STUDY], seeds=[0, 1], out=None, progress=False)
    assert not found.error.notna().any()
    return found


@pytest.fixture(scope="module")
def trained():
    return dict(STUDY.trained(STUDY.load(), seed=0))


def at(rows, metric, name, **where):
    found = measured_by(rows, metric, **where)
    return found[(found.network == name) & (found.seed == 0)].value.item()


def test_the_networks_are_those_of_the_curves_of_causal_pruning(rows):
    curve = run_grid([CausalCurve(**TINY, amounts=(0.5,))], seeds=[0], out=None, progress=False)
    for name, (ranking, allocation) in {"dense": ("dense", "none"), **PRUNED}.items():
        there = curve[(curve.ranking == ranking) & (curve.allocation == allocation)]
        there = there.set_index("metric").value
        assert at(rows, "accuracy", name) == there["accuracy"]
        assert at(rows, "train_loss", name) == there["train_loss"]


def test_eigenvalues_are_those_of_the_exact_hessian_in_both_spaces(rows, trained):
    batches = STUDY.batches(STUDY.load())
    for name in NETWORKS:
        network = trained[name].network
        for space in ("kept", "all") if name != "dense" else ("kept",):
            which = network if space == "kept" else remove_masks(clone_model(network))
            values = torch.linalg.eigvalsh(exact_hessian(which, cross_entropy, batches)).flip(0)
            found = [at(rows, f"top_{i}", name, space=space) for i in (1, 2)]
            assert found == pytest.approx(values[:2].tolist(), rel=1e-3, abs=1e-4)
            assert at(rows, "size", name, space=space) == len(values)
    sizes = {at(rows, "size", name, space="all") for name in PRUNED}
    assert sizes == {at(rows, "size", "dense", space="kept")}


def test_directions_that_are_pruned_can_only_add_sharpness(rows):
    """Interlacing: the top eigenvalue of a principal submatrix is at most that of the matrix."""
    for name in PRUNED:
        kept, everything = (at(rows, "top_1", name, space=s) for s in ("kept", "all"))
        assert kept <= everything * (1 + 1e-4)


def test_the_way_is_kept_step_by_step_and_ends_at_the_network(rows, trained):
    assert list(trained["dense"].on_the_way) == [-46, 0, 3, 8]  # 48 and 8 steps
    assert list(trained["causal"].on_the_way) == [0, 3, 8]
    x, y = STUDY.load().x_train[:60], STUDY.load().y_train[:60]
    for name in NETWORKS:
        for step, network in trained[name].on_the_way.items():
            loss = at(rows, "loss", name, step=step)
            assert loss == pytest.approx(evaluate(network, x, y).loss, rel=1e-5)
        last = at(rows, "top_1", name, step=8)
        assert last == pytest.approx(at(rows, "top_1", name, space="kept"), rel=1e-3)


def test_other_units_change_the_eigenvalue_and_not_what_is_shaken(rows):
    name, twin = "causal", "causal, rescaled"
    tops = measured_by(rows[rows.network == twin], "top_1")
    assert tops.value.iloc[0] > 2 * at(rows, "top_1", name, space="kept")
    for radius in STUDY.radii:
        there = at(rows, "increase", twin, radius=radius)
        assert there == pytest.approx(at(rows, "increase", name, radius=radius), abs=1e-5)


def test_only_the_first_seed_keeps_its_surfaces(rows, trained):
    drawn = rows[rows.alpha.notna()]
    assert set(drawn.seed) == {0}
    assert len(drawn) == 25 * len(NETWORKS)
    dense = drawn[drawn.network == "dense"].pivot(index="alpha", columns="beta", values="value")
    batches = STUDY.batches(STUDY.load())
    surface = loss_surface(
        trained["dense"].network, cross_entropy, batches, points=5, progress=False
    )
    np.testing.assert_allclose(dense.to_numpy(), surface.loss, rtol=1e-5)


def test_pruned_networks_keep_the_same_number_of_weights(rows, trained):
    assert len({at(rows, "kept", name) for name in PRUNED}) == 1
    like, random = (masks_of(trained[n].network) for n in ("causal", "random at causal"))
    assert like.counts().kept.tolist() == random.counts().kept.tolist()
    assert like != random
