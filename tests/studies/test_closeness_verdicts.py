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


def words(rows, claim):
    return {v.cell: v.word for v in verdicts.verdicts(rows)[claim]}


def test_slopes_are_read_apart_in_trained_and_in_random_networks():
    rows = width_rows(0.0, -0.2, 0.5, 0.5)
    found = {v.cell: v for v in verdicts.verdicts(rows)["wider is closer"]}
    trained = found["trained, cut by LEGCNet's rule"]
    assert trained.estimate.effect == pytest.approx(-0.19)
    assert trained.word == "reproduced, and the control does it too"  # random masks fall alike
    shrinking = found["a fraction like 1/sqrt(width) pruned"]
    assert (shrinking.word, shrinking.estimate.effect) == ("reproduced", pytest.approx(-0.24))
    assert set(words(rows, "wider is closer, whatever part is pruned").values()) == {"contradicted"}
    falling = words(width_rows(-0.3, 0.1, 1, 1), "wider is closer, whatever part is pruned")
    assert set(falling.values()) == {"reproduced"}


def test_closer_than_random_counts_only_beyond_the_shuffled_exponents():
    cells = words(width_rows(0, 0, 0.5, 1.5), "closer than random")
    assert cells == {"after the cut": "reproduced", "retrained": "contradicted"}
    rows = width_rows(0, 0, 0.5, 0.5)
    rows.loc[rows.network == "shuffled", "value"] *= 0.5
    too = {"reproduced, and the control does it too"}
    assert set(words(rows, "closer than random").values()) == too


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.3, "reproduced"), (0.45, "reproduced, and the control does it too"), (0.8, "contradicted")],
)
def test_the_distance_of_retrained_networks_is_held_against_a_twin(ratio, expected):
    rows = []
    for seed in range(3):
        twin = 0.1 if ratio < 0.4 else 0.08
        for name, amount, state, value in (
            ("other", "none", "dense", 0.2),
            ("twin", "none", "dense", twin),
            ("LEGCNet-FT", "published", "retrained", 0.2 * (ratio + 0.01 * seed)),
        ):
            place = {"network": name, "amount": amount, "state": state, "judge": "closeness"}
            rows.append({**PROVENANCE, **place, "seed": seed, "metric": "outputs", "value": value})
    (verdict,) = verdicts.verdict_on_mnist(pd.DataFrame(rows))["retrained and still close"]
    assert verdict.word == expected
    assert verdict.estimate.effect == pytest.approx(ratio + 0.01, abs=1e-3)
    with pytest.raises(ValueError, match="full"):
        verdicts.verdict_on_mnist(pd.DataFrame(rows).assign(profile="quick"))


def test_quick_rows_decide_nothing():
    with pytest.raises(ValueError, match="full"):
        verdicts.verdicts(width_rows(0, 0, 1, 1).assign(profile="quick"))
