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


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.9, 0.9, 0.5, 0.6), ("reproduced", "reproduced", "reproduced")),
        ((0.85, 0.99, 0.84, 0.9), ("partly", "reproduced", "not reproduced")),
        ((0.7, 0.99, 0.8, 0.9), ("not reproduced", "not reproduced", "not reproduced")),
    ],
)
def test_the_criteria_grade_by_value(values, expected):
    found = verdicts.verdicts(full_rows(*values))
    assert tuple(v.verdict for v in found.values()) == expected
    assert found.keys() == {claim.name for claim in verdicts.CLAIMS}
    assert found["importance is kept"].effect == pytest.approx(values[0] + 0.005 - values[1])


def test_a_wide_interval_with_a_gap_is_partly():
    rows = full_rows(0.9, 0.9, 0.8, 0.8)
    rows.loc[(rows.network == "LEGCNet") & (rows.seed == 0), "value"] -= 0.5
    rows.loc[(rows.network == "LEGCNet") & (rows.seed == 1), "value"] += 0.5
    found = verdicts.verdicts(rows)
    assert found["random masks do not keep it"].verdict == "partly"


def test_quick_rows_decide_nothing():
    with pytest.raises(ValueError, match="full"):
        verdicts.verdicts(full_rows(0.9, 0.9, 0.5, 0.6).assign(profile="quick"))
