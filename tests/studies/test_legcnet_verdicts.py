"""Verdicts and tables of the LEGCNet study, on rows made up so that the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from full_rows import PROVENANCE

import causalprune_studies as book
from causalprune_lib.evidence.verdict import Verdict
from causalprune_studies.ch05_legcnet.outcomes import outcomes
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
from causalprune_studies.ch05_legcnet.verdicts import CLAIMS, over_tables, printed_gap, verdicts
from causalprune_studies.judge import draw_verdicts

COMMON = PROVENANCE | {"scaling": "as released", "spec": "LEGCNetTrial"}
MASKS = ("random", "magnitude", "legcnet", "another trial", "shuffled", "noise")
TABLES = ("cancer", "titanic", "iris_csv", "iris3f")  # three, for iris counts once
ALL = "all tables"


def made_up(*, gain=0.0, placebo=0.0, epochs=40, own=0.9, other=0.9, ranked=False, reached=1.0):
    """Rows of four tables and five trials; what is not named has 0 gain and 50 epochs.

    `gain` is LEGCNet's accuracy above all others, but `placebo` that of another trial's exponents.
    """
    rows = []
    rng = np.random.default_rng(0)
    for dataset in TABLES:
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
                    more = gain * mine + placebo * (mask == "another trial")
                    add(
                        base,
                        mask,
                        accuracy=level + jitter + more,
                        f1=level + jitter,
                        epochs=epochs + jitter if mine else 50 + jitter,
                        reached=reached if mine else 1.0,
                    )
                    if mask in shares:
                        add(base, mask, causal=shares[mask] + jitter)
                sway = 1e-3 * (0, 1, -1, 1, -1)[seed] + 1e-4 * rng.standard_normal()
                shares_of_own = {"untestable": 0.0, "causal": own + sway}
                if ranked:
                    empty = {"n_pruned": 0, "accuracy": 0.1, "epochs": 1, "reached": 1.0}
                    add("as released", "legcnet", **shares_of_own, **empty)
                    add(base, "legcnet", n_pruned=6)
                else:
                    add(base, "legcnet", n_pruned=6, **shares_of_own)
                add(base, "legcnet", beats_accuracy=0.5 + gain, beats_epochs=0.75)
                add("corrected ranking", "legcnet", accuracy=level, epochs=50, reached=1.0)
    return pd.DataFrame(rows)


def drawn(rows: pd.DataFrame, name: str) -> tuple[Verdict, ...]:
    """The verdicts on one claim."""
    claims = [claim for claim in CLAIMS if claim.name == name]
    return draw_verdicts(claims, outcomes(rows))[name]


def words(rows: pd.DataFrame, name: str, cell: str = "FT") -> set[str]:
    """The words on one claim, in one cell, over tables and each of them."""
    return {verdict.word for verdict in drawn(rows, name) if verdict.cell in (cell, "")}


def over_all(rows: pd.DataFrame, name: str, cell: str = "FT") -> Verdict:
    """The verdict over all tables."""
    [found] = [v for v in drawn(rows, name) if (v.dataset, v.cell) == (ALL, cell)]
    return found


def test_no_effect_is_not_called_one():
    rows = made_up(epochs=50)
    also = "reproduced, and the control does it too"
    for name in ("keeps accuracy", "keeps F1", "partial training suffices"):
        assert words(rows, name) <= {also, "partly"}, name  # partly: where the paper gains more
    for name in ("beats random masks", "beats magnitude"):
        drawn = words(rows, name)  # undecided: where the paper itself prints no gain
        assert {"contradicted"} <= drawn <= {"contradicted", "undecided"}, name
    assert words(rows, "converges faster") == {"contradicted"}
    assert words(rows, "causes are told from noise") == {also}
    assert words(rows, "lottery ticket") == {"not tested"}


def test_effects_are_found_where_they_were_made():
    rows = made_up(gain=0.05, own=0.9, other=0.5)
    for name in ("beats random masks", "beats magnitude", "causes are told from noise"):
        assert words(rows, name) == {"reproduced"}, name
    faster = over_all(rows, "converges faster")
    assert faster.estimate.effect == pytest.approx((-10 - 10 - 4) / 3, abs=0.1)  # % of 100 and 250
    assert over_all(rows, "beats random masks").estimate.effect == pytest.approx(5, abs=0.1)


def test_a_gain_that_another_networks_masks_have_is_not_the_methods():
    found = words(made_up(gain=0.05, placebo=0.05), "beats random masks")
    assert found == {"reproduced, and the control does it too"}
    assert words(made_up(gain=0.05, placebo=0.0), "beats random masks") == {"reproduced"}


def test_a_loss_of_two_points_is_not_keeping_accuracy():
    assert words(made_up(gain=-0.02), "keeps accuracy") == {"contradicted"}


def test_units_are_starts_of_a_table_and_tables_of_which_iris_is_one():
    found = drawn(made_up(), "keeps accuracy")
    units = {v.dataset: (v.estimate.n, v.estimate.units) for v in found if v.cell == "PT"}
    assert units == dict.fromkeys(TABLES, (5, "starts")) | {ALL: (3, "tables")}


def test_the_papers_own_effect_stands_beside_ours():
    found = {v.dataset: v.paper_effect for v in drawn(made_up(), "beats magnitude")}
    assert found["cancer"] == pytest.approx(100 * (0.8759 - 0.8905))  # PT, the last
    all_tables = over_all(made_up(), "beats magnitude")
    assert all_tables.paper_effect < 0
    assert "above magnitude pruning on 2 of 7 tables, equal on 1 and below on 4" in all_tables.note


def test_the_papers_mean_is_over_the_tables_of_ours():
    paper = printed_gap("accuracy", "PT", "dense")
    some = over_tables(paper, "PT", ["cancer", "iris_csv", "iris3f"])
    both = (paper("iris_csv", "PT") + paper("iris3f", "PT")) / 2
    assert some == pytest.approx((paper("cancer", "PT") + both) / 2, abs=1e-6)
    found = over_all(made_up(), "keeps accuracy", "PT")
    assert found.paper_effect == over_tables(paper, "PT", TABLES) != over_tables(paper, "PT")


def test_never_reaching_the_benchmark_counts_as_all_epochs():
    rows = made_up(epochs=np.nan, reached=0.0)
    share = as_tested(rows)
    mine = share[(share["mask"] == "legcnet") & (share.metric == "epochs")]
    assert (mine.value == 1).all()
    found = {v.dataset: v.estimate for v in drawn(rows, "converges faster")}
    assert found["cancer"].effect == pytest.approx(49, abs=0.1)  # 51 of 100 epochs otherwise


def test_a_test_that_calls_nearly_all_noise_causal_tests_nothing():
    rows = made_up(own=1.0)
    rows.loc[(rows["mask"] == "noise") & (rows.metric == "causal"), "value"] = 0.97
    assert words(rows[rows.dataset != "cancer"], "causes are told from noise") == {"not tested"}


def test_an_empty_mask_is_replaced_by_its_ranking():
    rows = made_up(ranked=True)
    tested = as_tested(rows)
    accuracy = tested[(tested["mask"] == "legcnet") & (tested.metric == "accuracy")]
    assert (accuracy.value > 0.8).all()
    assert paper_table(rows, "FT").loc[("cancer", "n_kept"), "released"] == 54
    assert empty_masks(rows)["empty masks", "FT"].tolist() == [5] * len(TABLES)


def test_a_table_with_too_few_windows_for_the_test_is_left_out_of_all_tables():
    rows = made_up()
    rows["dataset"] = rows.dataset.replace({"cancer": "vowel"})
    found = {cell: over_all(rows, "keeps accuracy", cell) for cell in ("FT", "PT")}
    assert [found[cell].estimate.n for cell in ("FT", "PT")] == [3, 2]
    assert found["PT"].note == "all tables, PT, leaves out vowel"
    one = over_all(rows[rows.dataset == "titanic"], "keeps accuracy")
    assert one.word == "not tested"  # one table is no sample of tables
    assert words(rows[rows.dataset == "titanic"], "keeps accuracy") > {"not tested"}


def test_all_claims_are_judged_and_quick_or_dirty_rows_refused():
    rows = made_up()
    assert [*verdicts(rows)] == [claim.name for claim in CLAIMS]
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
    assert rates.masks["FT", "accuracy"] == 20
    drawn = rates_by_mask(made_up())
    assert set(drawn.masks) == {"as released, FT", "as released, PT"}
    assert set(drawn.metric) == {"accuracy", "epochs"}


def test_the_gain_is_set_against_that_of_another_network():
    gaps = whose_gain(made_up(gain=0.05))
    assert gaps["legcnet", "random"].mean == pytest.approx(0.05, abs=0.001)
    assert gaps["another trial", "random"].mean == pytest.approx(0, abs=0.001)
    assert gaps["legcnet", "another trial"].n == 20  # FT and PT of a network are one
    over_tables = whose_gain(made_up(gain=0.05), units="tables")
    assert over_tables["legcnet", "random"].n == 3  # the two tables of irises are one
    shown = gains_shown({"networks": gaps, "tables": over_tables}, names=("accuracy of", "minus"))
    assert shown.columns.tolist() == ["over 20 networks", "over 3 tables"]
    assert shown.loc[("LEGCNet", "random"), "over 20 networks"] == book.say(
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
