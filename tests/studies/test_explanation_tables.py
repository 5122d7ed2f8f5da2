"""The tables of chapter 11, and what the page says of the committed rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalprune_studies.ch11_explanations import tables
from causalprune_studies.ch11_explanations.tables import NETWORKS, gap_to
from causalprune_studies.page import chapter_rows
from causalprune_studies.paper_networks.settings import legcnet_settings


@pytest.fixture(scope="module")
def full():
    return chapter_rows("do-the-explanations-survive")


def test_importances_are_named_and_averaged_over_trials():
    common = {"metric": "importance", "dataset": "banknote", "counts": "none", "network": "dense"}
    rows = [
        {**common, "feature": f, "seed": seed, "value": v}
        for seed, values in enumerate(([0.4, 0.3, 0.2, 0.1], [0.2, 0.3, 0.2, 0.3]))
        for f, v in enumerate(values)
    ]
    rows += [{**row, "network": "LEGCNet", "counts": "PT"} for row in rows]
    rows += [{**rows[0], "network": "LEGCNet", "counts": "half", "value": 9.0}]
    rows += [{**rows[0], "dataset": "vowel", "value": 9.0}]
    table = tables.importance_table(pd.DataFrame(rows), dataset="banknote")
    assert list(table) == ["dense", "LEGCNet, PT"]
    assert table.index.tolist() == ["variance", "skewness", "kurtosis", "entropy"]
    np.testing.assert_allclose(table["dense"], [0.3, 0.3, 0.2, 0.2])
    with pytest.raises(ValueError, match="banknote"):
        tables.importance_table(pd.DataFrame(rows), dataset="banknotes")


def test_agreement_is_a_mean_over_trials_at_one_stop_and_its_interval_ends_at_one():
    rows = pd.DataFrame(
        [
            {"metric": m, "stop": stop, "dataset": "vowel", "counts": "FT", "network": "LEGCNet",
             "seed": seed, "value": value + seed * 0.1}
            for m, stop, value in (
                ("spearman", "benchmark", 0.5), ("spearman", "end", 0.1), ("shares", "end", 0.2)
            )
            for seed in (0, 1)
        ]
    )  # fmt: skip
    found = tables.agreement_table(rows)
    assert found["mean"].tolist() == pytest.approx([0.55])
    assert found.network.tolist() == ["LEGCNet"]
    assert found.n.tolist() == [2]
    assert found.high.tolist() == [1.0]


def test_the_claims_about_masks_hold_in_the_rows(full):
    assert gap_to(full, "random").high < 0
    for other in ("random", "another trial", "inverse"):
        assert gap_to(full, other).mean < 0
        for metric in ("shares", "attributions"):
            gap = gap_to(full, other, metric=metric)
            assert gap.low < 0 < gap.high
            assert abs(gap.mean) < 0.02
    for stop in ("benchmark", "end"):
        assert gap_to(full, "magnitude", stop=stop).high < 0
        assert gap_to(full, "other seed", stop=stop).high < 0
    lost = tables.accuracy_lost(full)
    assert lost[["LEGCNet", "random", "magnitude"]].between(0, 0.02).all()
    assert lost["LEGCNet"] < lost["random"]


def test_magnitude_keeps_most_on_every_table_and_as_much_as_another_seed(full):
    found = tables.agreement_table(full)
    by_network = found[found.counts.isin(tables.VARIANTS)].pivot_table(
        index="network", columns="dataset", values="mean"
    )
    assert (by_network.idxmax() == NETWORKS["magnitude"]).all()
    by_counts = tables.counts_table(full)
    kept = by_counts[NETWORKS["magnitude"]].mean() - by_counts[NETWORKS["other seed"]].mean()
    assert abs(kept) < 0.02
    assert (by_counts.loc["FT"].drop("weights pruned") > 0.85).all()
    assert by_counts.loc["PT", "LEGCNet"] < 0.75


def test_what_half_of_the_weights_and_the_printed_trials_show(full):
    found = tables.agreement_table(full).set_index(["dataset", "counts", "network"]).sort_index()
    halves = found.loc["cancer", "half"]
    assert halves.high["LEGCNet"] < 0.2
    assert halves.low[[NETWORKS["random"], NETWORKS["magnitude"]]].min() > 0.4
    assert found["mean"]["titanic", "PT", "LEGCNet"] < 0.35
    yardstick = found["mean"].xs((NETWORKS["other seed"], "none"), level=("network", "counts"))
    assert yardstick.drop("vowel").min() > 0.95
    one = tables.printed_trials(full).loc[("titanic", "PT")]
    assert one["its correlation"] > 0.9
    assert one["mean of the others"] < 0.3
    assert one["lowest"] < -0.4
    assert one["highest"] > 0.9
    bars = tables.printed_importances(full)
    assert bars["cancer"].loc["clump thickness", "LEGCNet, PT"] < 1e-12
    assert bars["titanic"].loc["fare", "magnitude, PT"] < 1e-12
    assert 0 < bars["titanic"].loc["fare", "dense"] < 0.05
    pruned = full[(full.metric == "n_pruned") & (full.counts == "PT") & (full.dataset == "titanic")]
    assert pruned.value.mean() / legcnet_settings("titanic").n_weights == pytest.approx(
        0.5, abs=0.06
    )


def test_pixels_are_ranked_alike_by_networks_that_learned_nothing():
    found = tables.pixel_table(chapter_rows("judged-networks"))
    alone, few = found.loc[""], found.loc["the paper's number"]
    assert alone.spearman["untrained"] > 0.85
    assert abs(alone.attributions["untrained"]) < 0.1
    assert few.attributions.min() > alone.attributions["dense, other seed"]
    assert set(found.index.get_level_values("amount")) == {"", "the paper's number", "0.5"}


def test_ft_and_pt_are_told_apart_and_their_mean_is_the_mean_of_both(full):
    table = tables.gap_table(full)
    assert set(table.index.levels[0]) == {"FT", "PT"}
    for name in tables.OTHERS:
        both = gap_to(full, name)
        apart = [table.spearman[v, NETWORKS[name]] for v in ("FT", "PT")]
        assert both.mean == pytest.approx(sum(gap.mean for gap in apart) / 2)
        assert all(gap.n == both.n for gap in apart)
    other = gap_to(full, "other seed", network="magnitude", counts=["FT"])
    own, seed = (gap_to(full, n, counts=["FT"]).mean for n in ("magnitude", "other seed"))
    assert other.mean == pytest.approx(seed - own)


def test_no_number_of_legcnet_is_far_above_its_controls(full):
    table = tables.gap_table(full).drop([NETWORKS["magnitude"], NETWORKS["other seed"]], level=1)
    assert table.map(lambda gap: gap.low < 0.01 and gap.high < 0.2).all(axis=None)
    at_end = tables.gap_table(full, stop="end")
    assert (at_end.map(lambda gap: gap.high)["shares"].xs(NETWORKS["magnitude"], level=1) < 0).all()
