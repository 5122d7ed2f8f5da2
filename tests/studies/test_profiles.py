"""Every study has the papers' size beside the small ones, and what is compared there is alike."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from causalprune_lib.nets.data import dataset_info
from causalprune_studies import campaign
from causalprune_studies.ch08_causal_pruning.large import LARGE_STUDIES
from causalprune_studies.ch08_causal_pruning.paper import TABLE2_STUDIES, PaperTable2
from causalprune_studies.ch08_causal_pruning.paper_figures import FIGURE_STUDIES
from causalprune_studies.ch09_flat_minima.table2 import TABLE2_MINIMA_STUDIES
from causalprune_studies.chapters import (
    chapters,
    paper_size_of,
    profiles_of,
    rows_of_studies,
    studies_of,
)
from causalprune_studies.tables import published

ONLY_PAPER = {"causal-pruning-imagenet"}  # there is no smaller ImageNet, and no page runs it


@pytest.mark.parametrize("rows", list(rows_of_studies()))
def test_every_study_has_three_profiles_and_specs_in_each(rows):
    expected = ("paper",) if rows in ONLY_PAPER else campaign.PROFILES
    assert profiles_of(rows) == expected
    for profile in expected:
        specs = studies_of(rows, profile)
        assert specs
        assert len(set(specs)) == len(specs)


@pytest.mark.parametrize("rows", sorted(set(rows_of_studies()) - ONLY_PAPER))
def test_a_spec_of_the_papers_size_differs_from_the_full_ones_or_says_what_it_has(rows):
    """It may be a full one; it may not be a full one under another name, to be run twice."""
    full, paper = studies_of(rows, "full"), studies_of(rows, "paper")
    taken = [spec for spec in paper if spec in full]
    assert bool(taken) == bool(paper_size_of(rows))
    for spec in set(paper) - set(taken):
        assert replace(spec, profile="full") not in full


def test_what_is_said_of_the_papers_size_names_files_of_that_chapter():
    for chapter in chapters():
        assert set(getattr(chapter, "PAPER_SIZE", ())) <= set(getattr(chapter, "STUDIES", ()))


def networks_of(specs: list[PaperTable2]) -> dict[tuple[str, str], list[PaperTable2]]:
    found = defaultdict(list)
    for spec in specs:
        found[spec.model, spec.dataset].append(spec)
    return found


def test_the_papers_specs_have_every_cell_of_table_2_with_the_settings_of_table_3():
    specs = networks_of([*TABLE2_STUDIES["paper"], *LARGE_STUDIES["paper"]])
    set_to = published("causal_table3").set_index(["row", "column"]).value
    came_to = published("causal_table2").set_index(["row", "column"]).value
    rows = {tuple(row.split("/")) for row in published("causal_table2").row}
    assert set(specs) == rows
    for place, own in specs.items():
        row = "/".join(place)
        fraction, penalty = (set_to[row, name] for name in ("mag_prune_frac", "L1_coeff"))
        named = {(s.ranking, s.fraction) for s in own if s.amount is None and s.l1_coeff is None}
        assert {("dense", fraction), ("causal", fraction), ("magnitude", fraction)} <= named
        assert {s.l1_coeff for s in own} == {None, penalty}
        amount = came_to[row, "Causal Pruning: percent pruned"] / 100
        assert amount == pytest.approx(min(abs(s.amount or 9) for s in own), abs=1e-6)


def test_at_the_papers_size_images_rounds_epochs_and_batches_are_the_papers():
    for spec in (*LARGE_STUDIES["paper"], *TABLE2_MINIMA_STUDIES["paper"]):
        assert spec.subset is None
        assert (spec.epochs, spec.n_iter, spec.prune_epochs, spec.post_epochs) == (10, 10, 10, 200)
        assert spec.batch_size == spec.post_batch_size == 512


def test_the_larger_networks_prune_as_much_in_few_rounds_as_the_paper_in_ten():
    fractions = {(s.model, s.dataset): s.fraction for s in LARGE_STUDIES["paper"]}
    for spec in LARGE_STUDIES["full"]:
        left = (1 - spec.fraction) ** spec.n_iter
        assert left == pytest.approx((1 - fractions[spec.model, spec.dataset]) ** 10, abs=1e-5)
        assert spec.n_iter == 3
        assert spec.subset[0] >= 10_000


def test_figure_2_changes_one_setting_at_a_time_from_the_suggested_ones():
    suggested = {"n_iter": 10, "prune_epochs": 10, "l1_coeff": 1e-14}
    varied = defaultdict(set)
    for spec in FIGURE_STUDIES["paper"]:
        if spec.l1_coeff is None:
            continue
        changed = {name for name, value in suggested.items() if getattr(spec, name) != value}
        assert len(changed) == 1
        varied[changed.pop()].add(spec)
    assert {max(s.n_iter for s in varied["n_iter"])} == {20}
    assert {max(s.prune_epochs for s in varied["prune_epochs"])} == {20}
    penalties = {s.l1_coeff for s in varied["l1_coeff"]}
    assert (min(penalties), max(penalties)) == (1e-18, 1e-11)
    for specs in varied.values():  # each with random weights at the same counts
        assert {s.ranking for s in specs} == {"causal", "random"}
        assert len([s for s in specs if s.ranking == "causal"]) == len(specs) / 2


def test_figure_1a_prunes_the_amounts_that_it_says_in_rounds():
    (first, *_), curve = FIGURE_STUDIES["paper"], defaultdict(set)
    assert round(1 - (1 - first.fraction) ** first.n_iter, 3) == 0.971  # as the paper prints
    for spec in FIGURE_STUDIES["paper"][1:]:
        if spec.l1_coeff is None:
            curve[round(1 - (1 - spec.fraction) ** spec.n_iter, 4)].add(spec.ranking)
    assert set(curve) == {0.5, 0.8, 0.9, 0.98, 0.99}
    assert all(methods == {"causal", "magnitude", "random"} for methods in curve.values())


def test_hours_of_what_nobody_ran_are_those_of_its_epochs(monkeypatch):
    spec = PaperTable2(model="resnet18", dataset="cifar10", ranking="dense", allocation="none")
    row = {"model": "resnet18", "dataset": "cifar10", "precision": "bfloat16", "value": "0.01"}
    monkeypatch.setattr(campaign, "_measured_cells", lambda: {"StepTime": [row]})
    images = dataset_info("cifar10").n_train
    assert campaign.seconds_of(spec) == pytest.approx(0.01 * images * (10 + 200))
    causal = replace(spec, ranking="causal", allocation="causal")
    assert campaign.seconds_of(causal) == pytest.approx(0.01 * images * (10 + 100 + 200))
    assert campaign.seconds_of(replace(spec, model="alexnet")) is None
    row["precision"] = "full"
    assert campaign.seconds_of(spec) is None
