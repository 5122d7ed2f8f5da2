"""Figures 1 to 3 on the networks of table 2: the same networks, the same rounds."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from causalprune_lib.diagnostics.landscape import loss_surface
from causalprune_lib.evidence.grid import run_grid
from causalprune_lib.nets.training import evaluate
from causalprune_lib.pruning.masks import clone_model, masks_of, remove_masks
from causalprune_studies.ch08_causal_pruning.paper import PaperTable2, restored, stored
from causalprune_studies.ch08_causal_pruning.paper_figures import MaskOverlap
from causalprune_studies.ch08_causal_pruning.steps import StepTime
from causalprune_studies.ch09_flat_minima.sharpness import landscape_summary
from causalprune_studies.ch09_flat_minima.study import NETWORKS
from causalprune_studies.ch09_flat_minima.table2 import METHODS, Table2Minima

TINY = {"dataset": "iris", "model": "mlp", "hidden": (8, 6), "batch_size": 16, "lr": 0.01}
TINY |= {"epochs": 4, "prune_epochs": 2, "n_iter": 3, "fraction": 0.3, "init": "default"}
POST = {"post_epochs": 3, "post_batch_size": 16, "precision": "full"}
MINIMA = Table2Minima(
    **TINY, **POST, examples=60, k=2, trace_probes=2, shakes=3, side=3, twin=("fc1", "fc2")
)


def measure(spec: object) -> pd.DataFrame:
    found = run_grid([spec], [0], out=None, progress=False)
    assert not found.error.notna().any(), found.error.dropna().iloc[0]
    return found


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return measure(MINIMA)


def test_the_networks_are_those_of_table_2(rows):
    for name, (ranking, allocation) in zip(NETWORKS, METHODS, strict=True):
        there = PaperTable2(**TINY, **POST, ranking=ranking, allocation=allocation)
        theirs = measure(there).set_index("metric").value
        own = rows[(rows.network == name) & rows.metric.isin(["accuracy", "train_loss"])]
        own = own.set_index("metric").value
        assert own["accuracy"] == theirs["accuracy_in_full"]
        assert own["train_loss"] == theirs["train_loss"]


def test_a_landscape_stands_in_both_spaces_and_they_differ_for_pruned_networks(rows):
    rise = rows[rows.metric == "rise"]
    where = {(row.network, row.space) for row in rise.fillna({"space": ""}).itertuples()}
    pruned = [name for name in NETWORKS if name != "dense"]
    assert where == {(name, "") for name in NETWORKS} | {(name, "all") for name in pruned}
    network, _ = MINIMA.table2("causal", "causal").finished(0)
    free = remove_masks(clone_model(network))
    surface = loss_surface(
        free, torch.nn.functional.cross_entropy, MINIMA.batches(MINIMA.load()), points=3,
        progress=False,
    )  # fmt: skip
    own = rise[(rise.network == "causal") & (rise.space == "all")].value.item()
    assert own == pytest.approx(landscape_summary(surface)["rise"], rel=1e-5)
    kept = rise[(rise.network == "causal") & rise.space.isna()].value.item()
    assert own != kept


def test_what_is_measured_on_was_trained_on():
    data, _ = MINIMA.table2("dense", "none").split()
    batches = MINIMA.batches(MINIMA.load())
    assert torch.equal(torch.cat([x for x, _ in batches]), data.x_train[:60])


def test_a_network_that_is_kept_comes_back_under_its_masks():
    spec = PaperTable2(**TINY, **POST)
    network, metrics = spec.finished(0)
    twin = restored(spec.build(seed=1), stored(network))
    data = spec.load()
    assert evaluate(twin, data.x_test, data.y_test) == evaluate(network, data.x_test, data.y_test)
    assert masks_of(twin).amount == masks_of(network).amount == metrics["amount_pruned"]


def test_overlaps_are_those_of_the_rounds_at_every_pair_of_amounts():
    spec = MaskOverlap(**TINY, precision="full", report=(1, 3))
    found = measure(spec)
    pairs = found.groupby(["b", "amount_a", "amount_b"]).size()
    assert len(pairs) == 2 * 2 * 2
    data, _ = spec.split()
    network, _ = spec.started(data, seed=0)
    a, b = (spec.rounds(network, data, r, None, seed=0).masks_ for r in ("causal", "magnitude"))
    both = sum(int((~a[name] & ~b[name]).sum()) for name in a) / a.n
    last = found[(found.b == "magnitude") & (found.metric == "both_pruned")]
    last = last[(last.amount_a == last.amount_a.max()) & (last.amount_b == last.amount_b.max())]
    assert last.value.item() == pytest.approx(both)


def test_a_step_takes_time_for_each_image():
    few = {"dataset": "digits", "model": "mlp", "batch_size": 8, "precision": "full"}
    assert 0 < StepTime(**few).run(0)["seconds_per_image"] < 1
