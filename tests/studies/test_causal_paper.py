"""Table 2 at the paper's scale: what is shared changes nothing, and what is compared is alike."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

import causalprune_lib as cp
import causalprune_lib.pruning.causal as causal
from causalprune_lib.evidence.grid import Cell, run_grid
from causalprune_lib.nets.training import Training
from causalprune_studies.ch08_causal_pruning import paper
from causalprune_studies.ch08_causal_pruning.paper import TABLE2_STUDIES, PaperTable2
from causalprune_studies.ch08_causal_pruning.study import IteratedRun

TINY = {"dataset": "iris", "model": "mlp", "hidden": (16, 8), "batch_size": 16, "lr": 0.01}
TINY |= {"epochs": 4, "prune_epochs": 3, "init": "default", "n_iter": 3, "fraction": 0.3}
TINY |= {"post_epochs": 12, "post_batch_size": 16, "tolerance": 0.05, "patience": 2}
TINY |= {"precision": "full"}
LAYERS = ["kept_fc1", "kept_fc2", "kept_fc3"]
N = 216  # weights
METHODS = (
    ("dense", "none"),
    ("causal", "causal"),
    ("shuffled loss", "shuffled loss"),
    ("random", "causal"),
    ("magnitude", "causal"),
    ("magnitude", "magnitude"),
    ("fisher", "fisher"),
    ("fisher, one shot", "fisher, one shot"),
)
CLEAN = {"causalprune_lib": "0", "commit": "a" * 40, "dirty": "False"}


def cells(**options: object) -> list[PaperTable2]:
    return [PaperTable2(**TINY, ranking=r, allocation=a, **options) for r, a in METHODS]


def measure(specs: list[PaperTable2]) -> pd.DataFrame:
    found = run_grid(specs, [0], out=None, progress=False)
    assert not found.error.notna().any(), found.error.dropna().iloc[0]
    found = found[~found.metric.str.startswith("seconds_")]
    return found.pivot(index=["ranking", "allocation"], columns="metric", values="value")


def code_is(monkeypatch, **changes: str) -> None:
    monkeypatch.setattr(paper, "code_provenance", lambda: CLEAN | changes)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Every method by itself, with nothing shared."""
    with pytest.MonkeyPatch.context() as patch:
        code_is(patch, dirty="True")
        return measure(cells())


def test_what_is_shared_changes_no_number(table, tmp_path, monkeypatch):
    monkeypatch.setenv("CAUSALPRUNE_CACHE", str(tmp_path))
    code_is(monkeypatch)
    first = measure(cells())
    (folder,) = (tmp_path / "phases").iterdir()
    rounds = {path.name for path in folder.iterdir() if path.is_dir()}
    assert len(rounds) == 4  # causal, shuffled loss, magnitude, fisher: each once
    pd.testing.assert_frame_equal(first, table)
    pd.testing.assert_frame_equal(measure(cells()), table)  # all from files
    for path in folder.glob("*at*.pt"):
        path.unlink()
    monkeypatch.setattr(causal, "record", None)  # no round is done again
    again = measure([cell for cell in cells() if cell.ranking != "fisher, one shot"])
    pd.testing.assert_frame_equal(again, table.loc[again.index], check_freq=False)


def test_changed_code_shares_nothing_and_another_commit_not_with_this_one(tmp_path, monkeypatch):
    monkeypatch.setenv("CAUSALPRUNE_CACHE", str(tmp_path))
    spec = cells()[1]
    code_is(monkeypatch, dirty="True")
    assert paper.phases_folder(spec, 0) is None
    code_is(monkeypatch)
    here = paper.phases_folder(spec, 0)
    assert here == paper.phases_folder(replace(spec, ranking="random", fraction=0.5), 0)
    assert here != paper.phases_folder(spec, 1)
    assert here != paper.phases_folder(replace(spec, precision="bfloat16"), 0)
    code_is(monkeypatch, commit="b" * 40)
    assert here != paper.phases_folder(spec, 0)


def test_methods_are_compared_at_one_amount_and_controls_at_the_counts_of_every_layer(table):
    pruned = table.drop("dense")
    assert pruned.amount_pruned.nunique() == 1
    assert pruned.amount_pruned.iloc[0] == pytest.approx(1 - 0.7**3, abs=1 / N)
    alike = pruned.xs("causal", level="allocation")[LAYERS]
    assert len(alike) == 3
    assert (alike.nunique() == 1).all()
    assert table.loc["dense", LAYERS].isna().all(axis=None)


def test_the_causal_rounds_are_those_of_the_iterated_run():
    """On all training images the spec of the reduced size has the same masks."""
    own = PaperTable2(**TINY)
    options = {name: TINY[name] for name in TINY if name in IteratedRun.__dataclass_fields__}
    other = IteratedRun(**options, report=(3,))
    data, _ = own.split()
    network = own.pretrained(data, seed=0)
    how = {"amount": [0.3, 1 - 0.7**2, 1 - 0.7**3]}
    theirs = other.iterate(network, data, seed=0, **how).masks_
    ours = own.rounds(network, data, "causal", None, seed=0).masks_
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_epochs_that_are_reported_are_those_of_the_training_itself(table):
    spec = PaperTable2(**TINY, ranking="dense", allocation="none")
    data, (x, y) = spec.split()
    network, accuracies, chosen = spec.pretrained(data, seed=0), [], []
    while not accuracies or len(accuracies) < table.loc["dense", "post_epochs_run"].item():
        twin = cp.clone_model(network)
        epochs = len(accuracies) + 1
        training = Training(epochs, 16, lr=0.01, optimizer="adam")
        history = training.train(twin, data.x_train, data.y_train, seed=20_000)
        accuracies.append(cp.evaluate(twin, data.x_test, data.y_test).accuracy)
        chosen.append(cp.evaluate(twin, x, y).accuracy)
    row = table.loc["dense"].iloc[0]
    assert row.accuracy == row.accuracy_in_full == accuracies[-1]
    assert row.accuracy_best_on_test == max(accuracies)
    assert row.validation_epoch == chosen.index(max(chosen)) + 1
    assert row.accuracy_validation_epoch == accuracies[int(row.validation_epoch) - 1]
    losses = history.frame.train_loss
    assert row.train_loss == losses.iloc[-1]
    assert row.stopped == 1
    lowest, since = float("inf"), []
    for loss in losses:
        since.append(0 if loss < lowest - 0.05 else since[-1] + 1)
        lowest = min(lowest, loss) if since[-1] == 0 else lowest
    assert since.index(2) == len(losses) - 1


def test_no_validation_image_is_trained_on_and_all_seeds_have_the_same():
    spec = PaperTable2(**TINY)
    whole = spec.load()
    data, (x, y) = spec.split()
    assert len(data.x_train) + len(x) == len(whole.x_train)
    assert len(y) == round(0.1 * len(whole.y_train))
    rows = torch.cat([data.x_train, x])
    assert torch.equal(rows.sort(dim=0).values, whole.x_train.sort(dim=0).values)
    assert torch.equal(spec.split()[1][0], x)


def test_another_last_amount_changes_the_last_round_alone():
    data, _ = PaperTable2(**TINY).split()
    network = PaperTable2(**TINY).pretrained(data, seed=0)
    plain, more = (
        PaperTable2(**TINY, amount=amount).masks(network, data, None, seed=0)[0]
        for amount in (None, 0.75)
    )
    assert more.n_kept == N - round(0.75 * N)
    assert all(bool((plain[name] | ~more[name]).all()) for name in plain)  # within it


def test_with_l1_coeff_the_released_rule_decides_and_others_prune_as_much():
    found = measure(
        [
            PaperTable2(**TINY, l1_coeff=1e-6, ranking=r, allocation=a)
            for r, a in (("causal", "causal"), ("magnitude", "magnitude"), ("random", "causal"))
        ]
    )
    assert 0 < found.amount_pruned.iloc[0] < 1
    assert found.amount_pruned.nunique() == 1
    with pytest.raises(ValueError, match="l1_coeff decides"):
        PaperTable2(l1_coeff=1e-14, amount=0.9)


def test_an_unknown_method_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'random at causal'"):
        PaperTable2(ranking="randon")


def test_the_papers_cells_are_there_at_the_papers_phases():
    specs = TABLE2_STUDIES["paper"]
    assert len({Cell(spec, 0).key for spec in specs}) == len(specs)
    for spec in specs:
        phases = (
            spec.training.epochs,
            spec.n_iter,
            spec.recording.epochs,
            spec.posttraining.epochs,
        )
        assert phases == (10, 10, 10, 200)
        assert {t.batch_size for t in (spec.training, spec.recording, spec.posttraining)} == {512}
        assert (spec.training.lr, spec.recording.lr, spec.posttraining.lr) == (5e-4, 1e-3, 5e-4)
        assert (spec.posttraining.patience, spec.posttraining.tolerance) == (5, 1e-4)
        assert (spec.subset, spec.init, spec.precision) == (None, "fan_out", "bfloat16")
    printed = {(s.dataset, s.amount) for s in specs if s.ranking == "causal" and s.amount}
    assert {("cifar10", 0.963), ("fashion_mnist", 0.6872), ("fashion_mnist", 0.95)} <= printed
