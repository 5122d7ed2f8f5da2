"""An interval is over what was drawn independently, stays in its range, and is never a point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from causalprune_lib.evidence.estimate import MOST, Estimate

RNG = np.random.default_rng(0)
SAMPLES = [RNG.binomial(20, p, n) / 20 for p in (0, 0.02, 0.5, 0.98, 1) for n in (2, 3, 12)]


@pytest.mark.parametrize("values", SAMPLES, ids=str)
def test_an_interval_of_bounded_values_stays_in_bounds_and_is_no_point(values):
    found = Estimate.of_mean(values, units="networks", bounds=(0, 1))
    assert 0 <= found.low <= found.effect <= found.high <= 1
    assert found.low < found.high
    assert found.effect == pytest.approx(np.mean(values))


@pytest.mark.parametrize("values", [v for v in SAMPLES if np.ptp(v) > 0], ids=str)
def test_bounds_only_cut_students_interval(values):
    free = Estimate.of_mean(values, units="networks")
    student = stats.ttest_1samp(values, 0).confidence_interval()
    assert (free.low, free.high) == pytest.approx(tuple(student))
    cut = Estimate.of_mean(values, units="networks", bounds=(0, 1))
    assert (cut.low, cut.high) == (max(free.low, 0), min(free.high, 1))


@pytest.mark.parametrize("n", [2, 5, 30])
@pytest.mark.parametrize("value", [-1.0, 0.0, 0.3, 1.0])
def test_equal_values_exclude_no_mean_under_which_they_are_likely(n, value):
    """Each lies at `value` with chance q and at a bound otherwise; all n do with q**n."""
    found = Estimate.of_mean([value] * n, units="networks", bounds=(-1, 1))
    for q in np.linspace(0, 1, 201):
        for bound in (-1, 1):
            mean = q * value + (1 - q) * bound
            assert found.low - 1e-12 <= mean <= found.high + 1e-12 or q**n < 0.025


def test_ones_have_the_interval_of_clopper_and_pearson():
    ones = Estimate.of_mean([1.0] * 10, units="networks", bounds=(0, 1))
    share = Estimate.of_share(10, 10, units="networks")
    assert (ones.low, ones.high) == pytest.approx((share.low, share.high))


@pytest.mark.parametrize("p", [0.3, 0.5, 0.8])
def test_the_mean_of_bounded_values_is_covered_as_often_as_promised(p):
    draws = np.random.default_rng(0).binomial(20, p, (1000, 8)) / 20
    found = [Estimate.of_mean(draw, units="networks", bounds=(0, 1)) for draw in draws]
    covered = np.mean([one.low <= p <= one.high for one in found])
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 1000))


def test_starts_of_one_table_are_no_networks_of_their_own():
    tables = np.repeat(np.arange(6), 10)
    by_table = np.random.default_rng(1).normal(size=6)
    found = Estimate.of_mean(by_table[tables], units="tables", clusters=tables)
    assert (found.n, found.units) == (6, "tables")
    alone = Estimate.of_mean(by_table, units="tables")
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))
    assert Estimate.of_mean(by_table[tables], units="starts").n == 60


def test_intervals_over_clusters_cover_the_mean_where_those_over_their_members_do_not():
    rng = np.random.default_rng(2)
    tables = np.repeat(np.arange(6), 10)

    def covered(clusters):
        hits = 0
        for _ in range(200):
            values = rng.normal(size=6)[tables] + 0.2 * rng.normal(size=60)
            found = Estimate.of_mean(values, units="units", clusters=clusters)
            hits += found.low <= 0 <= found.high
        return hits / 200

    assert covered(tables) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 200))
    assert covered(None) < 0.7


def test_each_cluster_counts_once_whatever_its_size():
    found = Estimate.of_mean([0, 0, 0, 9, 6], units="tables", clusters=[*"aaabc"])
    assert (found.effect, found.n) == (5, 3)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_a_share_has_the_exact_interval_of_scipy(n):
    for k in range(n + 1):
        found = Estimate.of_share(k, n, units="networks")
        exact = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
        assert (found.low, found.high) == pytest.approx(tuple(exact), abs=1e-9)
        assert found.effect == k / n


def test_a_ratio_turned_over_has_its_interval_turned_over():
    values = np.array([0.02, 0.7, 1.0, 45.0])
    found = Estimate.of_ratio(values, units="networks")
    other = Estimate.of_ratio(1 / values, units="networks")
    ends = (found.low, found.effect, found.high)
    assert ends == pytest.approx((1 / other.high, 1 / other.effect, 1 / other.low))
    assert found.effect == pytest.approx(stats.gmean(values))


def test_another_unit_scales_all_and_another_direction_turns_the_ends():
    found = Estimate.of_mean([0.1, 0.2, 0.4], units="networks")
    turned = found.times(-100)
    assert (turned.low, turned.high) == pytest.approx((-100 * found.high, -100 * found.low))
    assert (turned.effect, turned.sd) == pytest.approx((-100 * found.effect, 100 * found.sd))


@pytest.mark.parametrize("distance", [0.3, 0.5, 1.0, 2.0])
def test_the_units_needed_are_those_of_statsmodels(distance):
    found = Estimate(0.0, -1.0, 1.0, 4, "networks", sd=1.0)
    exact = TTestPower().solve_power(effect_size=distance, alpha=0.05, power=0.8)
    needed = found.units_needed(distance)
    assert math.ceil(exact) <= needed <= 1.03 * math.ceil(exact) + 1
    assert found.units_needed(-distance) == needed


@pytest.mark.parametrize("n", [3, 10, 40])
def test_power_is_that_of_the_noncentral_t_distribution(n):
    found = Estimate(0.0, -1.0, 1.0, n, "networks", sd=2.0)
    critical, shift = stats.t.ppf(0.975, n - 1), 0.5 * math.sqrt(n)
    exact = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    assert found.power(1.0) == pytest.approx(exact, abs=1e-6)


def test_the_units_of_a_ratio_are_counted_on_its_logarithm():
    ratio = Estimate(1.0, 0.5, 2.0, 4, "networks", sd=math.log(2), ratio=True)
    plain = Estimate(0.0, -1.0, 1.0, 4, "networks", sd=1.0)
    assert ratio.units_needed(2) == ratio.units_needed(0.5) == plain.units_needed(1)


def test_no_number_of_units_is_given_without_a_spread_or_beyond_all_reason():
    assert Estimate(0.0, -1.0, 1.0, 4, "networks").units_needed(1) is None
    assert Estimate(0.0, -1.0, 1.0, 4, "networks", sd=1.0).units_needed(0) is None
    tiny = 1 / math.sqrt(10 * MOST)
    assert Estimate(0.0, -1.0, 1.0, 4, "networks", sd=1.0).units_needed(tiny) is None


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([0.1, math.nan], {}, "values must be finite"),
        ([0.1, 1.2], {"bounds": (0, 1)}, r"values must be finite and in \(0, 1\); got .*1.2"),
        ([0.1], {}, "n must be .*2"),
        ([0.1, 0.2], {"clusters": ["a", "a"]}, "n must be .*2"),
        ([], {}, "n must be .*2"),
        ([0.1, 0.2, 0.3], {"clusters": ["a", "b"]}, "clusters must name one for each of 3 values"),
        ([0.1, 0.2, 0.3], {"clusters": ["a", None, "b"]}, "clusters must name .*None"),
        ([[0.1, 0.2], [0.3, 0.4]], {}, r"values must have one axis .*\(2, 2\)"),
    ],
)
def test_values_that_give_no_interval_are_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        Estimate.of_mean(values, units="networks", **options)


def test_what_is_no_share_and_no_ratio_is_refused():
    with pytest.raises(ValueError, match="k must be at most n = 10; got 11"):
        Estimate.of_share(11, 10, units="networks")
    with pytest.raises(ValueError, match="n must be >= 2; got 0"):
        Estimate.of_share(0, 0, units="networks")
    with pytest.raises(ValueError, match=r"values must be positive; got \[0.0, 2.0\]"):
        Estimate.of_ratio([0, 2], units="networks")


@pytest.mark.parametrize("ends", [(0.2, 0.1, 0.3), (0.0, math.nan, 1.0), (0.0, 0.5, math.inf)])
def test_an_effect_outside_its_interval_is_refused(ends):
    low, effect, high = ends
    with pytest.raises(ValueError, match="effect must be a number inside a finite interval"):
        Estimate(effect, low, high, 3, "networks")
