"""Paired differences: equal to SciPy's paired t-test, sharper than two separate intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from causalprune_lib.evidence.statistics import paired_difference, summarise


def two_sides(a, b):
    """Rows of methods "a" and "b", one per seed."""
    method = ["a"] * len(a) + ["b"] * len(b)
    seed = [*range(len(a)), *range(len(b))]
    return pd.DataFrame({"method": method, "seed": seed, "value": [*a, *b]})


def difference(frame, **options):
    return paired_difference(frame, between="method", a="a", b="b", **options)


def test_it_is_scipys_paired_t_test():
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
    p = [difference(two_sides(*generator.normal(size=(2, 4)))).p for _ in range(300)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


values = st.lists(st.integers(-3, 3), min_size=2, max_size=8)


@settings(max_examples=40, deadline=None)
@given(gaps=values)
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
    frame = two_sides([1.0, 2.0, 3.0, np.nan], [0.0, 0.0])
    found = difference(frame)
    assert (found.n, found.unpaired, found.mean) == (2, 2, 1.5)


def test_one_pair_or_equal_differences_have_no_p_value():
    one = difference(two_sides([1.0], [0.5]))
    assert (one.n, one.mean) == (1, 0.5)
    assert math.isnan(one.low)
    assert math.isnan(one.p)
    equal = difference(two_sides([0.3, 0.7, 1.1], [0.2, 0.6, 1.0]))  # equal but for rounding
    assert math.isnan(equal.p)
    none = difference(two_sides([np.nan], [0.5]))
    assert none.n == 0
    assert math.isnan(none.mean)
    assert math.isnan(none.improvement)


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
    with pytest.raises(ValueError, match=r"b must be a value of column 'method', \['a', 'b'\]"):
        paired_difference(frame, between="method", a="a", b="c")
    with pytest.raises(ValueError, match="Did you mean 'method'"):
        paired_difference(frame, between="metod", a="a", b="b")
    with pytest.raises(ValueError, match="one metric"):
        difference(frame.assign(metric=["accuracy", "loss", "accuracy", "loss"]))
