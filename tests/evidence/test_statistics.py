"""Means and paired differences: equal to SciPy's, and right as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from causalprune_lib.evidence.statistics import paired_difference, summarise


def runs(values, **columns):
    """One row per seed with the given values (seeds,)."""
    return pd.DataFrame({"seed": range(len(values)), "value": values, **columns})


def two_sides(a, b):
    """Rows of methods "a" and "b", one per seed."""
    return pd.concat([runs(a, method="a"), runs(b, method="b")], ignore_index=True)


def difference(frame, **options):
    return paired_difference(frame, between="method", a="a", b="b", **options)


def test_the_t_interval_is_scipys():
    values = np.random.default_rng(0).normal(size=7)
    for level in (0.5, 0.9, 0.99):
        [row] = summarise(runs(values, method="a"), "method", level=level).to_dict("records")
        expected = stats.t.interval(level, 6, values.mean(), stats.sem(values))
        assert (row["low"], row["high"]) == pytest.approx(expected, rel=1e-12)
        assert row["n"] == 7
        assert row["mean"] == pytest.approx(values.mean())
        assert row["median"] == pytest.approx(np.median(values))


@pytest.mark.parametrize("seeds", [2, 5])
def test_the_t_interval_holds_the_mean_as_often_as_it_says(seeds):
    groups, level = 400, 0.9
    frame = pd.DataFrame(
        {
            "group": np.repeat(np.arange(groups), seeds),
            "seed": np.tile(np.arange(seeds), groups),
            "value": np.random.default_rng(1).standard_normal(groups * seeds),  # true mean 0
        }
    )
    table = summarise(frame, "group", level=level)
    covered = ((table.low <= 0) & (table.high >= 0)).mean()
    four_sigma = 4 * math.sqrt(level * (1 - level) / groups)  # of a binomial share
    assert covered == pytest.approx(level, abs=four_sigma)


def test_one_seed_has_a_mean_and_no_interval():
    [row] = summarise(runs([0.5], method="a"), "method").to_dict("records")
    assert (row["n"], row["mean"], row["median"]) == (1, 0.5, 0.5)
    assert math.isnan(row["low"])
    assert math.isnan(row["high"])


def test_nan_is_counted_and_left_out():
    frame = pd.concat([runs([1.0, np.nan, 3.0], method="a"), runs([np.nan], method="b")])
    table = summarise(frame, ["method"])
    assert list(table.n) == [2, 0]
    assert list(table.missing) == [1, 1]
    assert table["mean"][0] == 2
    assert table.loc[1, ["mean", "median", "low", "high"]].isna().all()


def test_groups_keep_the_order_in_which_they_appear_and_a_missing_key_is_kept():
    frame = pd.concat(
        [runs([1, 2], method="z", amount=0.5), runs([3, 4], method="a", amount=np.nan)]
    )
    table = summarise(frame, ["method", "amount"])
    assert list(table.method) == ["z", "a"]
    assert list(table["mean"]) == [1.5, 3.5]


def test_a_seed_counted_twice_is_refused_with_the_column_that_was_forgotten():
    frame = pd.concat([runs([1, 2], method="a", amount=0.5), runs([3, 4], method="a", amount=0.9)])
    with pytest.raises(ValueError, match=r"one row for each \['method', 'seed'\].*'amount'"):
        summarise(frame, "method")


def test_metrics_are_not_mixed_and_errors_are_not_averaged_away():
    frame = pd.concat([runs([1, 2], metric="accuracy"), runs([np.nan], metric="error")])
    with pytest.raises(ValueError, match="one metric"):
        summarise(frame.assign(method="a"), "method")
    assert list(summarise(frame, "metric").n) == [2, 0]


def test_a_paired_difference_is_scipys_paired_t_test():
    generator = np.random.default_rng(0)
    a, b = generator.normal(0.3, 1, 12), generator.normal(0, 1, 12)
    found = difference(two_sides(a, b), level=0.9)
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.9)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-10)
    assert found.mean == pytest.approx((a - b).mean())
    assert (found.n, found.unpaired) == (12, 0)


def test_what_two_sides_share_cancels():
    generator = np.random.default_rng(1)
    network = generator.normal(0, 10, 20)  # a large effect of the seed on both methods
    a, b = network + 1 + generator.normal(0, 0.1, 20), network + generator.normal(0, 0.1, 20)
    found = difference(two_sides(a, b))
    assert 0.8 < found.low < 1 < found.high < 1.2
    separate = summarise(two_sides(a, b), "method")
    assert (separate.high - separate.low).min() > 5  # would show nothing


def test_under_no_difference_the_p_value_is_uniform():
    generator = np.random.default_rng(2)
    p = [difference(two_sides(*generator.normal(size=(2, 4)))).p for _ in range(80)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


@settings(max_examples=15, deadline=None)
@given(gaps=st.lists(st.integers(-3, 3), min_size=2, max_size=8))
def test_swapping_the_sides_changes_signs_and_nothing_else(gaps):
    frame = two_sides(gaps, [0] * len(gaps))
    forth = difference(frame)
    back = paired_difference(frame, between="method", a="b", b="a")
    assert (forth.wins, forth.ties, forth.losses) == (back.losses, back.ties, back.wins)
    assert forth.wins == sum(gap > 0 for gap in gaps)
    assert forth.ties == sum(gap == 0 for gap in gaps)
    assert forth.improvement + back.improvement == pytest.approx(1)
    assert forth.mean == -back.mean
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))


def test_rows_without_a_partner_are_counted_and_left_out():
    found = difference(two_sides([1.0, 2.0, 3.0, np.nan], [0.0, 0.0]))
    assert (found.n, found.unpaired, found.mean) == (2, 2, 1.5)


def test_one_pair_has_no_interval_and_no_pair_no_mean():
    one = difference(two_sides([1.0], [0.5]))
    assert (one.n, one.mean) == (1, 0.5)
    assert math.isnan(one.low)
    assert math.isnan(one.p)
    none = difference(two_sides([np.nan], [0.5]))
    assert none.n == 0
    assert math.isnan(none.mean)
    assert math.isnan(none.improvement)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e9])
def test_differences_that_only_rounding_parts_have_no_p_value(offset):
    b = offset + np.array([0.2, 0.6, 1.0])
    found = difference(two_sides(b + 0.1, b))  # all 0.1, but for the rounding of `b`
    assert math.isnan(found.p)
    assert found.mean == pytest.approx(0.1, abs=4 * np.finfo(float).eps * (1 + offset))


def test_pairs_can_be_made_on_several_columns():
    frame = pd.concat(
        two_sides([1.0, 2.0], [0.0, 0.0]).assign(dataset=name, value=lambda f, k=k: f.value * k)
        for k, name in enumerate(("iris", "wine"), start=1)
    )
    assert difference(frame, pair_on=["seed", "dataset"]).n == 4
    with pytest.raises(ValueError, match=r"'dataset'"):
        difference(frame)


def test_bad_input_is_named():
    frame = two_sides([1.0, 2.0], [0.0, 1.0])
    for draw in (lambda frame, **options: summarise(frame, "method", **options), difference):
        with pytest.raises(ValueError, match=r"must be one of .*; got 'method'"):
            draw(frame.rename(columns={"method": "metod"}))
        with pytest.raises(ValueError, match=r"level must be in \(0, 1\); got 95"):
            draw(frame, level=95)
        with pytest.raises(TypeError, match="frame must be a DataFrame"):
            draw([1, 2])
    with pytest.raises(ValueError, match="at least one column"):
        summarise(frame, [])
    with pytest.raises(ValueError, match=r"b must be a value of column 'method', \['a', 'b'\]"):
        paired_difference(frame, between="method", a="a", b="c")
    with pytest.raises(ValueError, match="one metric"):
        difference(frame.assign(metric=["accuracy", "loss", "accuracy", "loss"]))
