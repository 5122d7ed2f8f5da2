"""The LEGCNet study: what a cell gives, and the published rows of it."""

from __future__ import annotations

import dataclasses

import pytest

from causalprune_lib.evidence.grid import Cell
from causalprune_studies.ch05_legcnet.study import LEGCNET_STUDIES, LEGCNetTrial, published_amount
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS
from causalprune_studies.tables import published


@pytest.fixture(scope="module")
def cell() -> dict[tuple[str, str, str], dict[str, float]]:
    """Iris PT, the trial that table 2 prints, trained as far as its row needs."""
    settings = LEGCNET_SETTINGS["iris_csv"]
    short = dataclasses.replace(settings, extra_epochs=-15)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LEGCNET_SETTINGS, "iris_csv", short)
        points = list(LEGCNetTrial("iris_csv", "PT", n_random=3).run(4))
    places = [
        (p.coordinates["scaling"], p.coordinates["reading"], p.coordinates["mask"]) for p in points
    ]
    assert len(set(places)) == len(places)
    return {place: dict(p.metrics) for place, p in zip(places, points, strict=True)}


def test_cell_gives_the_row_that_table_2_prints(cell):
    table = published("legcnet_table2")
    row = table[table.row == "iris_csv"].set_index("column").value
    for reading in ("as released", "published"):
        found = cell["as released", reading, "legcnet"]
        assert found["n_pruned"] == 42 - row["Flops (SN) - LEGCNet-PT"]
        assert found["epochs"] == row["Epochs (SN) LEGCNet-PT"]
        assert found["accuracy"] == pytest.approx(row["Accuracy (SN) LEGCNet-PT"], abs=5e-5)
        assert found["f1"] == pytest.approx(row["F1-score (SN) LEGCNet-PT"], abs=5e-5)


def test_dense_gives_the_row_that_table_1_prints_and_scaling_changes_it(cell):
    table = published("legcnet_table1")
    row = table[table.row == "iris_csv"].set_index("column").value
    dense = cell["as released", "none", "dense"]
    assert dense["epochs"] == row["Epochs DN"]
    assert dense["f1"] == pytest.approx(row["F1-score DN"], abs=5e-5)
    standard = cell["standard", "none", "dense"]  # its test set alone is scaled otherwise
    assert standard["epochs"] == dense["epochs"]
    assert standard["accuracy"] > dense["accuracy"]


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
    assert LEGCNET_STUDIES["full"] == LEGCNET_STUDIES["paper"]  # the full size is the paper's
    for profile in ("quick", "full"):
        for study in LEGCNET_STUDIES[profile]:
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
    with pytest.raises(ValueError, match="Did you mean 'cancer'"):
        list(LEGCNetTrial("cancer1").run(0))


def test_published_amounts_are_those_of_the_tables():
    assert published_amount("cancer", variant="FT") == 6
    assert published_amount("cancer", variant="PT") == 18
    assert published_amount("iris3f", variant="FT") == 10
