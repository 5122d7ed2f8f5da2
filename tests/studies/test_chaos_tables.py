"""The tables of chapter 2 average the rows they are given and lose none of the orders."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import pytest

from causalprune_studies.ch02_chaos import tables

ORDERS = ["full batch", "reshuffled"]


def sweep():
    cells = itertools.product(ORDERS, [0.1, 1.0], range(3))
    rows = pd.DataFrame(cells, columns=["order", "lr", "seed"]).assign(steps=100)
    late = 0.01 * rows.lr * (rows.order == "full batch") + 0.001 * rows.seed
    both = [rows.assign(metric="late_exponent", value=late)]
    both.append(rows.assign(metric="exponent", value=(late + 0.05) / 2))
    return pd.concat(both, ignore_index=True).assign(spec="LearningRateSweep")


def test_the_second_half_multiplies_by_e_to_its_exponent_times_half_the_steps():
    factors = tables.late_factors(sweep(), 1.0)
    assert factors["full batch"] == pytest.approx(math.exp(50 * 0.011))
    assert factors["reshuffled"] == pytest.approx(math.exp(50 * 0.001))


def test_halves_are_those_of_the_whole_exponent():
    halves = tables.halves_by_order(sweep())
    assert halves.early.to_numpy() == pytest.approx(0.05)
    shown = tables.halves_for_reading(halves)
    assert shown.index.tolist() == ORDERS
    assert shown.loc["full batch"].tolist()[0] == "0.0500\xa0±\xa00.0000"


def test_tables_of_the_paper_keep_their_order_and_their_readings():
    names = [*tables.READINGS, "growth_median", "growth_max"]
    cells = itertools.product(["titanic", "cancer"], names, range(3))
    rows = pd.DataFrame(cells, columns=["dataset", "metric", "seed"])
    rows = rows.assign(spec="PerturbedWeights", epochs=5, value=1.0 + rows.seed)
    shown = tables.readings_by_table(rows)
    assert shown.index.tolist() == ["titanic", "cancer"]
    assert shown.columns.tolist() == list(tables.READINGS.values())
    ratios = tables.reading_over_growth(
        rows.assign(value=rows.value * (rows.metric == "released") + 1)
    )
    assert ratios.to_dict() == {"titanic": 3.0, "cancer": 3.0}
    growth = tables.growth_by_table(rows)
    assert growth.loc["titanic"].tolist() == ["2", "2", 5]


def test_numbers_in_words():
    assert tables.about(41_234.5) == "40,000"
    assert tables.in_words(math.log(1234.5)) == "1234.5"
    assert tables.in_words(1000.0) == "1 and 434 zeros"
    shown = tables.readings_for_reading(pd.DataFrame({"twins": [0.1, 0.3]}), 10)
    assert shown.loc["twins"].tolist() == ["0.2000", "0.1000", "0.3000", "7.4"]
