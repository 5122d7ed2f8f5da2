"""Verdicts and tables of the LEGCNet study, on rows made up so that the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from full_rows import PROVENANCE

import causalprune_studies as book
from causalprune_studies.ch05_legcnet.tables import (
    as_tested,
    empty_masks,
    gains_shown,
    paper_shown,
    paper_table,
    printed,
    rates_by_mask,
    third_table,
    whose_gain,
    win_rates,
)
from causalprune_studies.ch05_legcnet.verdicts import CLAIMS, verdicts

COMMON = PROVENANCE | {"scaling": "as released"}
MASKS = ("random", "magnitude", "legcnet", "another trial", "shuffled", "noise")


def made_up(*, gain=0.0, epochs=40, own=0.9, other=0.9, ranked=False, reached=1.0):
    """Rows of two datasets and five trials; others have 0 gain, 50 epochs."""
    rows = []
    rng = np.random.default_rng(0)
    for dataset in ("cancer", "titanic"):
        for variant in ("FT", "PT"):
            for seed in range(5):
                level = 0.9 + 0.001 * rng.standard_normal()
                where = {"dataset": dataset, "variant": variant, "seed": seed, **COMMON}

                def add(reading, mask, where=where, **metrics):
                    at = {**where, "reading": reading, "mask": mask}
                    rows.extend({**at, "metric": m, "value": v} for m, v in metrics.items())

                add("none", "dense", accuracy=level, f1=level, epochs=50, reached=1.0)
                base = "ranked" if ranked else "as released"
                shares = {"another trial": other, "shuffled": 0.5, "noise": 0.5}
                for mask in MASKS:
                    mine = mask == "legcnet"
                    jitter = 1e-4 * rng.standard_normal()
                    add(
                        base,
                        mask,
                        accuracy=level + jitter + gain * mine,
                        f1=level,
                        epochs=epochs + jitter if mine else 50 + jitter,
                        reached=reached if mine else 1.0,
                    )
                    if mask in shares:
                        add(base, mask, causal=shares[mask] + jitter)
                if ranked:
                    empty = {"n_pruned": 0, "accuracy": 0.1, "epochs": 1, "reached": 1.0}
                    add("as released", "legcnet", causal=own, **empty)
                    add(base, "legcnet", n_pruned=6)
                else:
                    add(base, "legcnet", causal=own, n_pruned=6)
                add(base, "legcnet", beats_accuracy=0.5 + gain, beats_epochs=0.75)
                add("corrected ranking", "legcnet", accuracy=level, epochs=50, reached=1.0)
    return pd.DataFrame(rows)


def test_no_effect_is_not_called_one():
    found = verdicts(made_up(epochs=50))
    assert [*found] == [claim.name for claim in CLAIMS]
    assert found["keeps accuracy"].verdict == "reproduced"
    assert found["converges faster"].verdict == "not reproduced"
    assert found["beats the baselines"].verdict == "not reproduced"
    assert found["partial training suffices"].verdict == "reproduced"
    assert found["causes are the network's own"].verdict == "partly"
    assert found["keeps accuracy"].n_seeds == 10
    assert found["beats the baselines"].n_seeds == 20


def test_effects_are_found_where_they_were_made():
    found = verdicts(made_up(gain=0.05, own=0.9, other=0.6))
    assert {verdict.verdict for verdict in found.values()} == {"reproduced"}
    assert found["converges faster"].effect == pytest.approx(-0.1, abs=0.001)  # 10 of 100 epochs
    assert found["beats the baselines"].effect == pytest.approx(0.05, abs=0.001)


def test_a_loss_of_two_points_is_not_keeping_accuracy():
    assert verdicts(made_up(gain=-0.02))["keeps accuracy"].verdict == "not reproduced"


def test_never_reaching_the_benchmark_counts_as_all_epochs():
    rows = made_up(epochs=np.nan, reached=0.0)
    share = as_tested(rows)
    mine = share[(share["mask"] == "legcnet") & (share.metric == "epochs")]
    assert (mine.value == 1).all()
    assert verdicts(rows)["converges faster"].effect > 0.45


def test_an_empty_mask_is_replaced_by_its_ranking():
    rows = made_up(ranked=True)
    tested = as_tested(rows)
    accuracy = tested[(tested["mask"] == "legcnet") & (tested.metric == "accuracy")]
    assert (accuracy.value > 0.8).all()
    assert verdicts(rows)["causes are the network's own"].n_seeds == 10
    assert paper_table(rows, "FT").loc[("cancer", "n_kept"), "released"] == 54
    assert empty_masks(rows)["empty masks", "FT"].tolist() == [5, 5]


def test_quick_or_dirty_rows_are_refused():
    rows = made_up()
    with pytest.raises(ValueError, match='profile "full"'):
        verdicts(rows.assign(profile="quick"))
    with pytest.raises(ValueError, match='dirty "False"'):
        verdicts(rows.assign(dirty="True"))


def test_the_same_trial_is_the_one_that_the_paper_prints():
    rows = made_up()
    chosen = (rows["mask"] == "legcnet") & (rows.metric == "epochs") & (rows.seed == 1)
    rows.loc[chosen & (rows.dataset == "cancer"), "value"] = 38.0
    table = paper_table(rows, "FT")
    assert table.loc[("cancer", "epochs"), ["published", "same"]].tolist() == [38, 38]
    assert table.loc[("cancer", "n_kept"), "dense"] == 60


def test_rates_are_means_over_trials():
    rates = win_rates(made_up(gain=0.1)).set_index(["variant", "metric"])
    assert rates["mean"]["FT", "accuracy"] == pytest.approx(0.6)
    assert rates.n["FT", "accuracy"] == 5
    assert rates.masks["FT", "accuracy"] == 10
    drawn = rates_by_mask(made_up())
    assert set(drawn.masks) == {"as released, FT", "as released, PT"}
    assert set(drawn.metric) == {"accuracy", "epochs"}


def test_the_gain_is_set_against_that_of_another_network():
    gaps = whose_gain(made_up(gain=0.05))
    assert gaps["legcnet", "random"].mean == pytest.approx(0.05, abs=0.001)
    assert gaps["another trial", "random"].mean == pytest.approx(0, abs=0.001)
    assert gaps["legcnet", "another trial"].n == 10  # FT and PT of a network are one
    over_tables = whose_gain(made_up(gain=0.05), units="tables")
    assert over_tables["legcnet", "random"].n == 2
    shown = gains_shown({"networks": gaps, "tables": over_tables}, names=("accuracy of", "minus"))
    assert shown.columns.tolist() == ["over 10 networks", "over 2 tables"]
    assert shown.loc[("LEGCNet", "random"), "over 10 networks"] == book.say(
        gaps["legcnet", "random"], "points"
    )


def test_two_tables_of_the_same_flowers_count_once():
    rows = made_up(gain=0.05)
    cancer = rows[rows.dataset == "cancer"]
    copies = [cancer.assign(dataset=name) for name in ("iris_csv", "iris3f", "cancer")]
    found = whose_gain(pd.concat(copies, ignore_index=True), units="tables")
    assert found["legcnet", "random"].n == 2


def test_units_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="units"):
        whose_gain(made_up(), units="seeds")


def test_printed_numbers_stand_beside_ours():
    rows = made_up()
    assert printed("PT", "cancer") == pytest.approx(
        {"n_kept": 42, "epochs": 24, "accuracy": 0.876, "f1": 0.864}, abs=1e-3
    )
    assert np.isnan(printed("magnitude", "cancer")["epochs"])
    assert (
        third_table(rows).loc["cancer", "random, published"]
        == printed("random", "cancer")["accuracy"]
    )
    shown = paper_shown(rows, "FT")
    assert shown.loc[("cancer", "n_kept"), "dense"] == "60"
    assert shown.loc[("cancer", "epochs"), "corrected"] == "50"
