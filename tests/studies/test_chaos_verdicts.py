"""Verdicts of chapters 2 and 3, on rows made up so that the answer is known."""

from __future__ import annotations

import itertools

import pytest
from full_rows import frame

from causalprune_studies.ch02_chaos import verdicts as ch02
from causalprune_studies.ch02_chaos.tables import halves_by_order
from causalprune_studies.ch03_exponents import verdicts as ch03
from causalprune_studies.ch03_exponents.study import CHAOTIC, ITSELF, NOT_CHAOTIC


def training(*, released=1.2, twin=1e-4, early=0.02, late=0.002):
    """Three tables and a sweep, five seeds."""
    rows = []
    for dataset, seed in itertools.product(("cancer", "titanic", "banknote"), range(5)):
        at = {"spec": "PerturbedWeights", "dataset": dataset, "seed": seed}
        found = {
            "released": released,
            "described": released,
            "twin_growth": twin,
            "exponent": twin,
            "growth_median": 3.0,
        }
        rows += [at | {"metric": m, "value": v} for m, v in found.items()]
    orders = ("full batch", "fixed order", "reshuffled")
    for order, seed, lr in itertools.product(orders, range(5), (0.1, 1.0, 9.0)):
        at = {"spec": "LearningRateSweep", "order": order, "seed": seed, "lr": lr}
        whole = float("inf") if lr > 1 and seed == 3 else (early + late) / 2
        rows += [
            at | {"metric": "exponent", "value": whole},
            at | {"metric": "late_exponent", "value": late},
        ]
    return frame(rows)


def words(verdicts):
    return [verdict.verdict for verdict in verdicts.values()]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["reproduced", "not reproduced", "partly"]),
        ({"twin": 0.9, "late": 0.015}, ["reproduced", "reproduced", "reproduced"]),
        ({"twin": 0.2, "late": -0.001}, ["reproduced", "partly", "not reproduced"]),
        ({"released": -1.0}, ["not reproduced", "not reproduced", "partly"]),
    ],
)
def test_training_is_judged_by_its_twins_and_its_second_half(changes, expected):
    found = ch02.verdicts(training(**changes))
    assert [*found] == [claim.name for claim in ch02.CLAIMS]
    assert words(found) == expected
    assert [v.n_seeds for v in found.values()] == [15, 15, 5]


def test_the_effect_is_the_reading_minus_the_growth_of_the_twins():
    effect = ch02.verdicts(training(released=1.2, twin=0.2))["exponents tell how twins part"].effect
    assert effect == pytest.approx(1.0, abs=1e-5)


def test_a_learning_rate_at_which_a_seed_diverged_is_left_out_for_all():
    halves = halves_by_order(training())
    assert set(halves.n_lrs) == {2}
    assert halves.early.to_numpy() == pytest.approx(0.02, rel=1e-4)
    assert halves.late.to_numpy() == pytest.approx(0.002, rel=1e-4)


def exponents(*, weights=1.0, nulls=1.0, told=0.1, ar1=0.8):
    """Share of positive windows of weights and of null processes; shares told from their steps."""
    rows = []
    sources = [("dataset", d) for d in ("cancer", "iris_csv")]
    sources += [("series", s) for s in (*CHAOTIC, *NOT_CHAOTIC)]
    for (column, name), seed in itertools.product(sources, range(5)):
        for reading, samples in itertools.product(("as released", "fitted slope"), (50, 200)):
            at = {column: name, "seed": seed, "reading": reading, "samples": samples}
            mine = weights if column == "dataset" else nulls if name in NOT_CHAOTIC else 1.0
            mine = mine if samples == 200 else 0.0
            rejected = told if column == "dataset" else ar1
            rows.append(at | {"surrogate": ITSELF, "metric": "positive", "value": mine})
            for kind in ("shuffled", "increments shuffled"):
                rows.append(at | {"surrogate": kind, "metric": "positive", "value": mine})
                rows.append(at | {"surrogate": kind, "metric": "rejected", "value": rejected})
    return frame(rows)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["reproduced", "not reproduced", "not reproduced"]),
        ({"nulls": 0.03, "told": 0.9}, ["reproduced", "reproduced", "reproduced"]),
        ({"weights": 0.7, "nulls": 0.4, "told": 0.3, "ar1": 0.1}, ["partly"] * 3),
        ({"weights": 0.3, "told": 0.7, "ar1": 0.9}, ["not reproduced"] * 2 + ["reproduced"]),
    ],
)
def test_positive_values_are_judged_by_what_is_not_chaotic(changes, expected):
    found = ch03.verdicts(exponents(**changes))
    assert [*found] == [claim.name for claim in ch03.CLAIMS]
    assert words(found) == expected
    assert [v.n_seeds for v in found.values()] == [10, 5, 5]


@pytest.mark.parametrize(
    ("judge", "rows"),
    [(ch02.verdicts, training), (ch03.verdicts, exponents)],
)
def test_quick_and_dirty_rows_are_refused(judge, rows):
    with pytest.raises(ValueError, match='profile "full"'):
        judge(rows().assign(profile="quick"))
    with pytest.raises(ValueError, match='dirty "False"'):
        judge(rows().assign(dirty="True"))
