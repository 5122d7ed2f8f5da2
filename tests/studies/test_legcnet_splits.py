"""LEGCNet on several splits of a table: the splits, the starts, one small cell, and its units."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from causalprune_studies.ch05_legcnet.outcomes import front_table, outcomes
from causalprune_studies.ch05_legcnet.splits import (
    AMOUNTS,
    SPLITS,
    SPLITS_STUDIES,
    THRESHOLDS,
    LEGCNetSplits,
    initial_networks,
    split_data,
)
from causalprune_studies.ch05_legcnet.tables import as_tested
from causalprune_studies.paper_networks.initial import PUBLISHED_TRIALS
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS
from causalprune_studies.paper_networks.training import legcnet_data, legcnet_networks
from causalprune_studies.tables import measured


def row_counts(*parts: torch.Tensor) -> pd.Series:
    """How often each example occurs."""
    return pd.Series([tuple(row) for part in parts for row in part.tolist()]).value_counts()


@pytest.mark.parametrize("dataset", ["cancer", pytest.param("vowel", marks=pytest.mark.data)])
def test_no_row_is_tested_on_twice_and_none_is_lost(dataset):
    raw = legcnet_data(dataset)
    labels = torch.cat([raw.y_train, raw.y_test]).bincount()
    tested = torch.zeros_like(labels)
    for split in range(SPLITS):
        data = split_data(dataset, split)
        parts = data.y_train.bincount(minlength=len(labels)), data.y_test.bincount()
        assert torch.equal(parts[0] + parts[1], labels)
        tested += parts[1]
    assert torch.equal(tested, labels)


def test_a_table_that_is_scaled_example_by_example_keeps_its_examples_whatever_the_split():
    whole = split_data("banknote", 0)
    for split in (1, 4):
        data = split_data("banknote", split)
        before, after = (row_counts(d.x_train, d.x_test) for d in (whole, data))
        pd.testing.assert_series_equal(before.sort_index(), after.sort_index())


def test_standard_features_are_scaled_by_the_training_rows_alone():
    data = split_data("iris_csv", 2, scaling="standard")
    assert data.x_train.mean(0).abs().max() < 1e-12
    assert (data.x_train.std(0, correction=0) - 1).abs().max() < 1e-12
    assert data.x_test.mean(0).abs().max() > 0.01


def test_starts_are_the_published_ones_and_then_others_of_their_spread():
    published, more = legcnet_networks("vowel", trials=10), initial_networks("vowel", 20)
    assert len(more) == 20
    assert torch.equal(more.flat()[:10], published.flat())
    spread = (more.flat()[10:].std() / published.flat().std()).item()
    assert abs(np.log(spread)) < 4 / np.sqrt(2 * 360)  # four standard errors of a deviation
    with pytest.raises(ValueError, match="starts"):
        initial_networks("vowel", 1)


@pytest.mark.parametrize("split", [-1, SPLITS])
def test_a_seed_is_the_number_of_a_split(split):
    with pytest.raises(ValueError, match="seed"):
        split_data("iris_csv", split)


@pytest.fixture(scope="module")
def cell() -> pd.DataFrame:
    """Iris on its second split, from two starts."""
    points = LEGCNetSplits("iris_csv", starts=2, n_random=2).run(1)
    rows = [
        {**point.coordinates, "metric": metric, "value": value}
        for point in points
        for metric, value in point.metrics.items()
    ]
    return pd.DataFrame(rows).assign(
        spec="LEGCNetSplits", scaling="as_released", dataset="iris_csv", seed=1
    )


def test_masks_of_the_front_prune_what_is_asked_for_and_more_the_stricter_the_test(cell):
    pruned = cell[(cell.metric == "n_pruned") & (cell["mask"] == "legcnet")].set_index("cut").value
    for amount in AMOUNTS:
        assert pruned[f"prune {amount:.0%}"] == round(42 * amount)
    by_threshold = [pruned[f"p < {alpha:g}"] for alpha in THRESHOLDS]
    assert by_threshold == sorted(by_threshold)
    counts = cell[(cell.metric == "n_pruned") & cell.start.isna()].groupby("cut").value
    assert (counts.nunique() == 1).all()  # controls prune as much


def test_a_released_mask_is_the_threshold_of_the_front_unless_it_is_empty(cell):
    released = cell[(cell.cut == "released") & (cell["mask"] == "legcnet") & (cell.variant == "FT")]
    found = released.pivot(index="start", columns="metric", values="value")
    decided = found.n_pruned.where(found["empty"] == 0, 0.0)
    same = cell[(cell.cut == "p < 0.05") & (cell["mask"] == "legcnet")].set_index("metric").value
    assert same["n_pruned"] == decided.mean()
    assert ((1 - found.causal) * 42).round(6).tolist() == decided.tolist()


def test_a_table_is_judged_over_its_splits_once_all_were_run(cell):
    some = pd.concat([cell.assign(seed=split) for split in range(SPLITS)], ignore_index=True)
    found = outcomes(some)
    assert set(found.units) == {"splits"}
    assert found.groupby(["who", "metric"]).size().eq(SPLITS).all()  # starts are averaged
    dense = cell[(cell["mask"] == "dense") & (cell.metric == "accuracy")].value.mean()
    ours = found[(found.who == "dense") & (found.metric == "accuracy")].value
    assert ours.tolist() == pytest.approx([dense] * SPLITS)
    with pytest.raises(ValueError, match="as_released"):
        outcomes(some[some.seed < SPLITS - 1])


def test_the_papers_own_split_gives_again_what_single_trials_gave():
    """Committed rows of two routes: networks trained forty at a time, and trial by trial."""
    split = measured("legcnet-splits")
    split = split[(split.scaling == "as_released") & (split.seed == 0)]
    split = split[split.cut.isin(["none", "released"]) & (split.start < PUBLISHED_TRIALS)]
    trials = as_tested(measured("legcnet"))
    trials = trials.assign(start=trials.seed, metric=trials.metric.replace("epochs", "epochs_used"))
    dense = trials["mask"] == "dense"
    trials["variant"] = trials.variant.where(~dense, "none")
    place = ["dataset", "variant", "start", "mask", "metric"]
    trials = trials.drop_duplicates(place)  # the dense network stands in FT and in PT
    both = split.merge(trials, on=place, suffixes=("", "_before"))
    both = both[both["mask"].isin(["dense", "legcnet", "magnitude", "inverse"])]
    assert len(both) >= 25 * PUBLISHED_TRIALS * split.dataset.nunique()
    assert (both.value - both.value_before).abs().max() < 1e-9


def test_the_front_is_measured_from_the_dense_network(cell):
    table = front_table(cell)
    assert len(table) == 3 * (len(THRESHOLDS) + len(AMOUNTS))
    accuracy = cell[cell.metric == "accuracy"]
    dense = accuracy[accuracy["mask"] == "dense"].value.mean()
    at = accuracy[(accuracy["mask"] == "random") & (accuracy.cut == "prune 30%")].value.item()
    [found] = table[(table["mask"] == "random") & (table.cut == "prune 30%")].lost
    assert found == pytest.approx(dense - at)


def test_the_papers_profile_has_all_tables_and_twenty_starts_on_both_scalings():
    for profile, studies in SPLITS_STUDIES.items():
        assert {study.profile for study in studies} == {profile}
    paper = SPLITS_STUDIES["paper"]
    assert {study.starts for study in paper} == {20}
    places = {(study.dataset, study.scaling) for study in paper}
    assert places == {(d, s) for d in LEGCNET_SETTINGS for s in ("as_released", "standard")}
