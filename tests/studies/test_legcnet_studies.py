"""The LEGCNet study: what a cell gives, and the published rows of it."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from causalprune_lib.evidence.grid import Cell
from causalprune_studies.ch05_legcnet.contest import Outcome, has_choice, lowest_at_counts
from causalprune_studies.ch05_legcnet.study import LEGCNET_STUDIES, LEGCNetTrial, published_amount
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS
from causalprune_studies.tables import published


@pytest.fixture(scope="module")
def cell() -> dict[tuple[str, str, str], dict[str, float]]:
    """Iris PT, the trial that table 2 prints."""
    spec = LEGCNetTrial("iris_csv", "PT", n_random=3)
    points = list(spec.run(4))
    places = [
        (p.coordinates["scaling"], p.coordinates["reading"], p.coordinates["mask"]) for p in points
    ]
    assert len(set(places)) == len(places)
    return {place: dict(p.metrics) for place, p in zip(places, points, strict=True)}


@pytest.mark.data
def test_cell_gives_the_row_that_table_2_prints(cell):
    table = published("legcnet_table2")
    row = table[table.row == "iris_csv"].set_index("column").value
    for reading in ("as released", "published"):
        found = cell["as released", reading, "legcnet"]
        assert found["n_pruned"] == 42 - row["Flops (SN) - LEGCNet-PT"]
        assert found["epochs"] == row["Epochs (SN) LEGCNet-PT"]
        assert found["accuracy"] == pytest.approx(row["Accuracy (SN) LEGCNet-PT"], abs=5e-5)
        assert found["f1"] == pytest.approx(row["F1-score (SN) LEGCNet-PT"], abs=5e-5)


@pytest.mark.data
def test_dense_gives_the_row_that_table_1_prints_and_scaling_changes_it(cell):
    table = published("legcnet_table1")
    row = table[table.row == "iris_csv"].set_index("column").value
    dense = cell["as released", "none", "dense"]
    assert dense["epochs"] == row["Epochs DN"]
    assert dense["f1"] == pytest.approx(row["F1-score DN"], abs=5e-5)
    assert cell["standard", "none", "dense"]["final_accuracy"] == 1.0


@pytest.mark.data
def test_placebos_and_controls_are_there_and_rates_are_fractions(cell):
    for mask in ("random", "magnitude", "inverse", "another trial", "shuffled", "noise"):
        assert 0 <= cell["as released", "as released", mask]["accuracy"] <= 1
    for mask in ("another trial", "shuffled", "noise"):
        assert cell["as released", "as released", mask]["causal"] > 0.5  # smallest of 14 p-values
        assert cell["as released", "corrected", mask].keys() == {"causal", "untestable"}
        assert cell["as released", "corrected", mask]["causal"] < 0.2
    ranked = cell["as released", "corrected ranking", "legcnet"]
    assert ranked["n_pruned"] == cell["as released", "as released", "legcnet"]["n_pruned"]
    assert 0 <= ranked["beats_accuracy"] <= 1


def test_studies_are_specs_with_a_device_and_a_profile():
    for profile, studies in LEGCNET_STUDIES.items():
        for study in studies:
            moved = dataclasses.replace(study, on="cuda")
            assert moved.on == "cuda"
            assert moved.profile == profile
            assert len(Cell(moved, 0).key) == 16
    full = {(s.dataset, s.variant) for s in LEGCNET_STUDIES["full"]}
    assert full == {(d, v) for d in LEGCNET_SETTINGS for v in ("FT", "PT")}
    assert all(s.n_random == 30 for s in LEGCNET_STUDIES["full"])


def test_a_trial_that_was_not_published_is_refused():
    with pytest.raises(ValueError, match=r"0\.\.9; got 10"):
        list(LEGCNetTrial().run(10))


def test_lowest_at_counts_keeps_the_counts_of_each_layer_and_spares_nan():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        keep = torch.rand(12, generator=generator) > 0.4
        scores = torch.randn(12, generator=generator)
        missing = torch.rand(12, generator=generator) > 0.8
        found = lowest_at_counts(scores.masked_fill(missing, math.nan), keep, split=8)
        for part in (slice(0, 8), slice(8, 12)):
            assert found[part].sum() == keep[part].sum()
            pruned, kept = (
                scores[part][~found[part] & ~missing[part]],
                scores[part][found[part] & ~missing[part]],
            )
            if (~found[part] & missing[part]).any():
                assert not len(kept)  # only when none with a score is left
            elif len(pruned) and len(kept):
                assert pruned.max() < kept.min()


def test_a_mask_has_a_choice_only_if_a_layer_is_partly_pruned():
    keep = torch.tensor([True, True, True, False])
    assert not has_choice(keep, split=3)
    assert has_choice(keep, split=2)


def test_published_amounts_are_those_of_the_tables():
    assert published_amount("cancer", variant="FT") == 6
    assert published_amount("cancer", variant="PT") == 18
    assert published_amount("iris3f", variant="FT") == 10


class _Run:
    epochs_to_benchmark = torch.tensor([5.0, 9.0, math.nan, math.nan, 5.0])
    test_accuracy = torch.tensor([[0.8], [0.7], [0.9], [0.6], [0.8]])
    test_f1 = test_accuracy / 2

    def at_benchmark(self, name):
        series = getattr(self, name)[:, 0]
        return torch.where(self.epochs_to_benchmark.isnan(), math.nan, series)


def test_never_reaching_the_benchmark_is_last_and_two_that_never_do_are_tied():
    outcome = Outcome(_Run())
    assert outcome.beats(0, [1, 2, 3, 4], free=True)["beats_epochs"] == 3.5 / 4
    assert outcome.beats(2, [0, 1, 3], free=True)["beats_epochs"] == 0.5 / 3
    assert outcome.beats(2, [0, 1, 3], free=True)["beats_accuracy"] == 1
    assert math.isnan(outcome.beats(0, [1], free=False)["beats_accuracy"])
    assert outcome.take([2])["reached"] == 0
    assert math.isnan(outcome.take([2])["epochs"])
    assert outcome.take([2])["accuracy"] == pytest.approx(0.9)
