"""Each surrogate keeps exactly what it promises, and nothing that it promises to destroy."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.dynamics.systems import ar1, logistic, random_walk
from causalprune_studies.ch03_exponents.surrogates import (
    aaft,
    increment_shuffled,
    phase_randomised,
    shuffled,
)

EVERY = [shuffled, phase_randomised, aaft, increment_shuffled]


def lag_one(x: torch.Tensor) -> float:
    """Mean lag-1 autocorrelation of series (B, n)."""
    x = x - x.mean(-1, keepdim=True)
    return float(((x[:, 1:] * x[:, :-1]).sum(-1) / (x * x).sum(-1)).mean())


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_phase_randomised_keeps_the_spectrum(n, seed):
    x = torch.randn(3, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y = phase_randomised(x, seed=seed)
    here, there = torch.fft.rfft(x), torch.fft.rfft(y)
    torch.testing.assert_close(there.abs(), here.abs(), rtol=0, atol=1e-8)
    torch.testing.assert_close(y.mean(-1), x.mean(-1), rtol=0, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 40), levels=st.integers(1, 50), seed=st.integers(0, 10**6))
def test_shuffled_and_aaft_keep_exactly_the_values(n, levels, seed):
    random = torch.Generator().manual_seed(seed)
    x = torch.randint(levels, (2, 2, n), generator=random).double() / 3
    for make in (shuffled, aaft):
        y = make(x, seed=seed)
        assert torch.equal(y.sort(-1).values, x.sort(-1).values)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 40), seed=st.integers(0, 10**6))
def test_increment_shuffled_keeps_increments_and_ends(n, seed):
    x = torch.randint(-9, 9, (3, n), generator=torch.Generator().manual_seed(seed)).double()
    y = increment_shuffled(x, seed=seed)
    assert torch.equal(y.diff(dim=-1).sort(-1).values, x.diff(dim=-1).sort(-1).values)
    assert torch.equal(y[:, [0, -1]], x[:, [0, -1]])


def test_what_they_destroy_and_what_survives():
    x = ar1(400, phi=0.9, batch=(200,), seed=0).series
    original = lag_one(x)
    error = 5 * math.sqrt(1 / x.numel())
    assert lag_one(shuffled(x, seed=1)) == pytest.approx(-1 / 400, abs=error)
    # FT keeps the circular autocorrelation, which differs by one product in 400
    assert lag_one(phase_randomised(x, seed=1)) == pytest.approx(original, abs=0.01)
    assert lag_one(aaft(x, seed=1)) == pytest.approx(original, abs=0.05)
    chaos = logistic(400, batch=(20,), seed=0).series
    for make in EVERY:
        y = make(chaos, seed=2)
        misfit = (y[:, 1:] - 4 * y[:, :-1] * (1 - y[:, :-1])).abs().mean(-1)
        assert bool((misfit > 0.1).all()), make.__name__  # the map is gone


def test_increments_in_random_order_are_uncorrelated():
    smooth = ar1(300, phi=0.9, batch=(100,), seed=0).series.cumsum(-1)
    assert lag_one(smooth.diff(dim=-1)) > 0.8
    steps = increment_shuffled(smooth, seed=1).diff(dim=-1)
    assert lag_one(steps) == pytest.approx(-1 / 299, abs=5 / math.sqrt(steps.numel()))


@pytest.mark.parametrize("make", EVERY)
def test_series_get_different_draws_and_a_seed_repeats_them(make):
    x = random_walk(50, seed=0).series.expand(2, 50)
    y = make(x, seed=3)
    assert not torch.equal(y[0], y[1])
    assert torch.equal(y, make(x, seed=3))
    before = torch.get_rng_state()
    random = torch.Generator().manual_seed(3)
    assert torch.equal(y, make(x, generator=random))
    assert not torch.equal(y, make(x, generator=random))
    assert torch.equal(before, torch.get_rng_state())
    assert make(x.float(), seed=3).dtype == torch.float32
    assert make(x.float(), seed=3).shape == x.shape


def test_every_order_is_equally_likely():
    n = 6000
    y = shuffled(torch.tensor([0.0, 1.0, 2.0]).expand(n, 3), seed=0)
    counts = torch.bincount((9 * y[:, 0] + 3 * y[:, 1] + y[:, 2]).long())
    counts = counts[counts > 0].double()
    assert len(counts) == 6
    chi_squared = float(((counts - n / 6) ** 2 / (n / 6)).sum())
    assert chi_squared < 20.5  # the 99.9% quantile with 5 degrees of freedom


@pytest.mark.parametrize("make", EVERY)
def test_wrong_input_is_named(make):
    with pytest.raises(ValueError, match="exactly one of seed and generator"):
        make(torch.rand(5))
    with pytest.raises(TypeError, match="x must be a floating-point"):
        make(torch.arange(5), seed=0)
    with pytest.raises(ValueError, match="x must have shape"):
        make(torch.tensor(1.0), seed=0)
    if make is not shuffled:
        with pytest.raises(ValueError, match="x must be finite"):
            make(torch.tensor([1.0, math.nan, 2.0]), seed=0)
