"""The rates of the chapter "Granger causality": shares, intervals, and what the full rows say."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from causalprune_lib.causality.granger import granger_test
from causalprune_studies.ch04_granger import tables


def test_a_rate_is_a_share_with_wilsons_interval():
    found = tables.rate([True] * 9 + [False], test="F")
    assert (found["test"], found["n"], found["mean"]) == ("F", 10, 0.9)
    # Wilson 1927: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    assert (found["low"], found["high"]) == pytest.approx((0.59585, 0.98212), abs=1e-5)


def test_a_unit_is_an_effect_and_not_one_of_its_candidates():
    random = np.random.default_rng(0)
    results = [
        granger_test(random.normal(size=40), random.normal(size=(40, n)), max_lag=2)
        for n in (4, 8, 8)
    ]
    rules = {"all": lambda r: r.f_pvalue[0] >= 0, "half": lambda r: r.f_pvalue[0].argsort() < 4}
    found = tables.rates_of(results, rules, samples=40).set_index("rule")
    assert found.n.tolist() == [3, 3]
    assert found["mean"].tolist() == [1, pytest.approx((1 + 0.5 + 0.5) / 3)]
    assert (found.samples == 40).all()
    together = tables.lag_correlation(results)
    assert together.shape == (2, 2)
    assert 0 < together[0, 1] < 1


def test_percent_is_for_reading():
    table = pd.DataFrame([{"what": "x", "n": 4, "mean": 0.25, "low": -0.1, "high": 0.6}])
    assert tables.in_percent(table).to_dict("records") == [
        {"what": "x", "n": 4, "rate (%)": "25", "95% interval": "0 to 60"}
    ]


def test_a_mean_is_said_with_half_the_width_of_its_interval():
    table = pd.DataFrame([{"w": "a", "rule": "F", "mean": 0.25, "low": 0.2, "high": 0.3}])
    shown = tables.plus_minus(table, index="w", columns="rule", scale=100)
    assert shown.loc["a", "F"] == "25\xa0±\xa05"


def full_rows():
    rows = [
        {"world": w, "series": s, "rule": r, "samples": n, "metric": m, "seed": seed, "value": v}
        for (w, m, v), s, r, n, seed in itertools.product(
            [
                ("independent noise", "false", 0.3),
                ("true arrows", "false", 0.2),
                ("true arrows", "found", 0.9),
                ("true arrows", "share_false", 0.7),
            ],
            ["as they are", "steps"],
            ["as released", "corrected", "one lag, F"],
            [60, 151],
            range(3),
        )
        if s == "as they are" or w == "independent noise"
    ]
    return pd.DataFrame(rows)


def test_both_rules_are_shown_by_world_and_by_length():
    wrongly = tables.wrongly_called(full_rows(), 151)
    assert wrongly.candidates.unique().tolist() == [
        *("independent noise", "independent noise, steps", "idle, beside true arrows")
    ]
    assert set(wrongly.rule) == {"as released", "corrected"}
    assert set(wrongly.n) == {3}
    rows = full_rows()
    found = tables.by_length(rows[rows.series == "as they are"])
    means = found.set_index(["metric", "rule", "samples"])["mean"]
    assert means["true arrows found", "corrected", 60] == pytest.approx(0.9)
    assert means["noise called causal", "as released", 151] == pytest.approx(0.3)
    assert len(means) == 3 * 2 * 2
