"""The claims of chapter 12 are graded by what the rows say."""

import pandas as pd
import pytest
from full_rows import PROVENANCE

from causalprune_studies.ch12_closeness import verdicts
from causalprune_studies.ch12_closeness.study import SHRINKING


def width_rows(fixed, trained, cut, retrained):
    """Rows in which distances are powers of the width, and LEGCNet a multiple of random."""
    rows = []
    for seed in range(3):
        off = 1 + 0.02 * seed
        for width in (25, 100, 400):
            at = {**PROVENANCE, "seed": seed, "hidden_layers": 1, "width": width}
            kink = 9.0 if width == 25 else 1.0  # narrower than the input: must not count
            for amount, slope in (("0.5", fixed), (SHRINKING, -0.25), ("1", 7.0)):
                value = kink * width ** (slope + 0.01 * seed)
                place = {"spec": "UniformNetworks", "state": "untrained", "network": "random"}
                rows.append({**at, **place, "amount": amount, "metric": "ball", "value": value})
            for state, factor in (("cut", cut), ("retrained", retrained)):
                for name, times in (("LEGCNet", factor * off), ("random", 1), ("shuffled", 0.9)):
                    place = {"spec": "ClosenessByWidth", "state": state, "network": name}
                    ball = kink * width ** (trained + 0.01 * seed)
                    for metric, value in (("outputs", 0.3 * times), ("ball", ball)):
                        row = {**place, "amount": "rule", "metric": metric, "value": value}
                        rows.append({**at, **row})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((-0.3, -0.2, 0.5, 0.5), ("reproduced", "reproduced")),
        ((0.0, -0.2, 0.5, 1.5), ("partly", "partly")),
        ((0.0, 0.1, 1.5, 1.5), ("not reproduced", "not reproduced")),
    ],
)
def test_the_criteria_on_widths_grade_by_value(values, expected):
    found = verdicts.verdicts(width_rows(*values))
    assert tuple(v.verdict for v in found.values()) == expected
    assert found["wider is closer"].effect == pytest.approx(values[1] + 0.01)
    assert found["closer than random"].effect == pytest.approx(values[2] * 1.02, rel=1e-3)
    assert "-0.24 when" in found["wider is closer"].control


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.3, "reproduced"), (0.8, "partly"), (1.0, "not reproduced")]
)
def test_the_criterion_on_mnist_grades_by_value(ratio, expected):
    rows = []
    for seed in range(3):
        for name, amount, state, value in (
            ("other", "none", "dense", 0.2),
            ("twin", "none", "dense", 0.1),
            ("LEGCNet-FT", "published", "retrained", 0.2 * (ratio + 0.01 * seed)),
            ("random", "published", "retrained", 0.15),
        ):
            place = {"network": name, "amount": amount, "state": state, "judge": "closeness"}
            rows.append({**PROVENANCE, **place, "seed": seed, "metric": "outputs", "value": value})
    verdict = verdicts.verdict_on_mnist(pd.DataFrame(rows))["retrained and still close"]
    assert verdict.verdict == expected
    assert verdict.effect == pytest.approx(ratio + 0.01)
    assert "0.50; random masks: 0.75" in verdict.control
    with pytest.raises(ValueError, match="full"):
        verdicts.verdict_on_mnist(pd.DataFrame(rows).assign(profile="quick"))


def test_quick_rows_decide_nothing():
    with pytest.raises(ValueError, match="full"):
        verdicts.verdicts(width_rows(0, 0, 1, 1).assign(profile="quick"))
