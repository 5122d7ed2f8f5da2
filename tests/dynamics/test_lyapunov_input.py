"""Series too short, constant or broken, and wrong options: NaN with a reason, or a named error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalprune_lib.dynamics.lyapunov import largest_lyapunov, min_length
from causalprune_lib.dynamics.systems import white_noise


@settings(max_examples=25, deadline=None)
@given(
    dim=st.integers(1, 4),
    lag=st.integers(1, 4),
    theiler=st.integers(0, 6),
    horizon=st.integers(1, 8),
    convention=st.sampled_from(["embedded", "tisean"]),
)
def test_a_number_at_min_length_and_nan_one_sample_before(dim, lag, theiler, horizon, convention):
    options = {"dim": dim, "lag": lag, "theiler": theiler, "horizon": horizon}
    n = min_length(**options)
    grid = torch.arange(n, dtype=torch.float64)
    x = torch.sin(0.01 * grid) + 1e-3 * torch.cos(2.7 * grid**2)  # no two alike ...
    x[-1] = 100.0  # ... and all close together in units of the range
    enough = largest_lyapunov(x, **options, convention=convention)
    short = largest_lyapunov(x[:-1], **options, convention=convention)
    assert short.exponent.isnan()
    assert short.reason == "too short"
    assert short.divergence.shape == (horizon + 1,)
    assert torch.isfinite(enough.exponent)
    assert enough.reason == ""


def test_each_bad_window_is_nan_with_its_reason_and_no_other():
    x = white_noise(50, batch=(6,), seed=0).series
    good = largest_lyapunov(x).exponent
    x[1] = 3.0
    x[2, 10] = math.nan
    x[3, 49] = -math.inf
    x[4] = 0.0
    x[4, 49] = 1.0  # constant but for a sample that only the horizon reaches
    result = largest_lyapunov(x)
    assert result.reason.tolist() == [
        "",
        "constant",
        "not finite",
        "not finite",
        "no neighbour",
        "",
    ]
    assert result.n_missing == 4
    assert torch.equal(result.exponent.isnan(), torch.tensor([0, 1, 1, 1, 1, 0]).bool())
    torch.testing.assert_close(result.exponent[[0, 5]], good[[0, 5]], rtol=0, atol=1e-12)


def test_a_step_has_a_value_by_definition_in_the_embedded_convention():
    step = torch.cat([torch.zeros(30), torch.ones(30)])
    assert torch.isfinite(largest_lyapunov(step).exponent)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim must be >= 1"),
        ({"horizon": 0}, "horizon must be >= 1"),
        ({"theiler": -1}, "theiler must be >= 0"),
        ({"convention": "tizean"}, "Did you mean 'tisean'"),
        ({"fit": "slop"}, "Did you mean 'slope'"),
        ({"fit_range": (2, 9)}, "horizon = 5"),
        ({"fit_range": (3, 3)}, r"fit_range\[1\] must be >= 4"),
        ({"fit": "first_step", "fit_range": (0, 1)}, "fit_range must be None"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        largest_lyapunov(torch.rand(50), **options)


def test_wrong_series_are_named():
    with pytest.raises(ValueError, match="x must have at least one axis"):
        largest_lyapunov(torch.tensor(1.0))
    with pytest.raises(TypeError, match="x must hold real numbers"):
        largest_lyapunov(torch.zeros(50, dtype=torch.complex64))
    with pytest.raises(TypeError, match="x must hold real numbers"):
        largest_lyapunov(np.array(["a"] * 50))


def test_no_series_at_all_have_no_exponents():
    empty = largest_lyapunov(torch.zeros(0, 50))
    assert empty.exponent.shape == (0,)
    assert empty.n_missing == 0
