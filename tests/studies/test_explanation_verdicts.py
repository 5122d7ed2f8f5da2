"""The claims of chapter 11 are graded by what the rows say."""

from __future__ import annotations

import pandas as pd
import pytest
from full_rows import PROVENANCE

from causalprune_studies.ch11_explanations import verdicts


def full_rows(own, yardstick, random, magnitude):
    common = PROVENANCE | {"stop": "benchmark", "metric": "spearman"}
    values = {
        "LEGCNet": own,
        "random": random,
        "magnitude": magnitude,
        "another trial": own,
        "other seed": yardstick,
    }
    rows = []
    for dataset in ("cancer", "titanic", "banknote", "vowel"):
        for seed in range(4):
            for network, value in values.items():
                for counts in ("none",) if network == "other seed" else ("FT", "PT", "half"):
                    off = 0.01 * (seed % 2) * (network == "LEGCNet")
                    off -= 1.0 * (counts == "half")  # must not count
                    where = {"dataset": dataset, "seed": seed, "network": network, "counts": counts}
                    rows.append({**common, **where, "value": value + off})
    return pd.DataFrame(rows)


def words(rows, claim):
    return {(v.dataset, v.cell): v.word for v in verdicts.verdicts(rows)[claim]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.9, 0.9, 0.5, 0.6), ("reproduced", "reproduced", "reproduced")),
        ((0.85, 0.99, 0.84, 0.9), ("contradicted", "contradicted", "contradicted")),
        ((0.9, 0.9, 0.9, 0.6), ("reproduced, and the control does it too", "contradicted", None)),
    ],
)
def test_words_follow_from_planted_values(values, expected):
    rows = full_rows(*values)
    rows.loc[rows.network == "another trial", "value"] = 0.3  # another's mask keeps nothing
    found = verdicts.verdicts(rows)
    assert found.keys() == {claim.name for claim in verdicts.CLAIMS}
    for many, word in zip(found.values(), expected, strict=True):
        one = {v.word for v in many if v.dataset != "all tables"}
        assert word is None or one == {word}
    assert {v.dataset for v in found["importance is kept"]} == {*verdicts.FIGURES, "all tables"}


def test_tables_ft_and_pt_are_judged_apart_and_a_table_is_one_unit():
    rows = full_rows(0.9, 0.9, 0.5, 0.6)
    rows.loc[(rows.dataset == "cancer") & (rows.counts == "PT"), "value"] = 0.1
    cells = words(rows, "random masks do not keep it")
    assert cells["cancer", "PT"] == "contradicted"
    assert cells["cancer", "FT"] == cells["vowel", "PT"] != "contradicted"
    units = {
        (v.dataset == "all tables", v.estimate.n, v.estimate.units)
        for v in verdicts.verdicts(rows)["random masks do not keep it"]
    }
    assert units == {(False, 4, "networks"), (True, 4, "tables")}


def test_quick_rows_decide_nothing():
    with pytest.raises(ValueError, match="full"):
        verdicts.verdicts(full_rows(0.9, 0.9, 0.5, 0.6).assign(profile="quick"))
