"""Means over seeds and their intervals: equal to SciPy's, and right as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from causalprune_lib.evidence.statistics import summarise


def runs(values, **columns):
    """One row per seed with the given values (seeds,)."""
    return pd.DataFrame({"seed": range(len(values)), "value": values, **columns})


def simulated(groups, seeds, draw):
    """A long frame of `groups` groups of `seeds` draws each, true mean 0."""
    return pd.DataFrame(
        {
            "group": np.repeat(np.arange(groups), seeds),
            "seed": np.tile(np.arange(seeds), groups),
            "value": draw((groups, seeds)).ravel(),
        }
    )


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
    groups, level = 1500, 0.9
    frame = simulated(groups, seeds, np.random.default_rng(1).standard_normal)
    table = summarise(frame, "group", level=level)
    covered = ((table.low <= 0) & (table.high >= 0)).mean()
    four_sigma = 4 * math.sqrt(level * (1 - level) / groups)  # of a binomial share
    assert covered == pytest.approx(level, abs=four_sigma)


def test_the_bootstrap_is_too_narrow_at_five_seeds_by_what_theory_says():
    # Its half width is about z sqrt((n-1)/n) s / sqrt(n), where t would be exact in place of z.
    groups, seeds, level = 1500, 5, 0.95
    frame = simulated(groups, seeds, np.random.default_rng(2).standard_normal)
    table = summarise(frame, "group", level=level, method="bootstrap", resamples=1000)
    covered = ((table.low <= 0) & (table.high >= 0)).mean()
    z = stats.norm.ppf((1 + level) / 2) * math.sqrt((seeds - 1) / seeds)
    expected = 1 - 2 * stats.t.sf(z, seeds - 1)
    assert expected == pytest.approx(0.846, abs=0.001)  # the "about 85%" of the docstring
    four_sigma = 4 * math.sqrt(expected * (1 - expected) / groups)
    assert covered == pytest.approx(expected, abs=four_sigma + 0.01)  # quantiles are not normal's


def test_the_bootstrap_repeats_with_its_seed_and_agrees_with_t_for_many_seeds():
    frame = runs(np.random.default_rng(3).exponential(size=400), method="a")
    options = {"method": "bootstrap", "resamples": 4000}
    first, again, other = (summarise(frame, "method", seed=k, **options) for k in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    t = summarise(frame, "method")
    width = float(t.high[0] - t.low[0])
    assert first.low[0] == pytest.approx(t.low[0], abs=0.1 * width)
    assert first.high[0] == pytest.approx(t.high[0], abs=0.1 * width)


@pytest.mark.parametrize("method", ["t", "bootstrap"])
def test_one_seed_has_a_mean_and_no_interval(method):
    [row] = summarise(runs([0.5], method="a"), "method", method=method).to_dict("records")
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


def test_bad_input_is_named():
    frame = runs([1.0, 2.0], method="a")
    with pytest.raises(ValueError, match="Did you mean 'method'"):
        summarise(frame, "methd")
    with pytest.raises(ValueError, match=r"level must be in \(0, 1\); got 95"):
        summarise(frame, "method", level=95)
    with pytest.raises(ValueError, match="method must be one of"):
        summarise(frame, "method", method="normal")
    with pytest.raises(ValueError, match="at least one column"):
        summarise(frame, [])
    with pytest.raises(TypeError, match="frame must be a DataFrame"):
        summarise([1, 2], "method")
