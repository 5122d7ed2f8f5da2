"""The systems are what they say: their equations, their exponents, their arrows."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from causalprune_lib.dynamics.systems import (
    DEFAULT_VAR,
    ar1,
    coupled_var,
    henon,
    logistic,
    lorenz,
    random_walk,
    white_noise,
)

EVERY = [
    logistic,
    henon,
    partial(lorenz, transient=10),
    white_noise,
    ar1,
    random_walk,
    coupled_var,
]


@pytest.mark.parametrize("make", EVERY)
def test_shapes_seeds_and_generators(make):
    system = make(20, batch=(2, 3), seed=4)
    assert system.series.shape[:3] == (2, 3, 20)
    assert system.series.dtype == torch.float64
    assert torch.isfinite(system.series).all()
    assert not torch.equal(system.series, make(20, batch=(2, 3), seed=5).series)
    random = torch.Generator().manual_seed(4)
    first = make(20, batch=(2, 3), generator=random).series
    assert torch.equal(first, system.series)
    assert not torch.equal(first, make(20, batch=(2, 3), generator=random).series)


@pytest.mark.parametrize("make", EVERY)
def test_the_global_generator_is_left_alone_and_a_seed_is_asked_for(make):
    before = torch.get_rng_state()
    make(10, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="exactly one of seed and generator"):
        make(10)
    with pytest.raises(ValueError, match="exactly one of seed and generator"):
        make(10, seed=0, generator=torch.Generator())
    with pytest.raises(ValueError, match="n must be >= 1"):
        make(0, seed=0)


def test_maps_obey_their_equations():
    x = logistic(50, seed=0).series
    torch.testing.assert_close(x[1:], 4 * x[:-1] * (1 - x[:-1]), rtol=0, atol=1e-15)
    state = henon(50, seed=0).state
    x, y = state.unbind(-1)
    torch.testing.assert_close(x[1:], 1 - 1.4 * x[:-1] ** 2 + y[:-1], rtol=0, atol=1e-15)
    torch.testing.assert_close(y[1:], 0.3 * x[:-1], rtol=0, atol=1e-15)


def test_lorenz_flow_agrees_with_another_integrator():
    def flow(_, s):
        x, y, z = s
        return 10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z

    errors = []
    for dt, every in [(0.01, 10), (0.005, 20)]:
        state = lorenz(11, dt=dt, every=every, transient=0, seed=0).state.numpy()
        times = 0.1 * np.arange(11)
        peer = solve_ivp(flow, (0, 1), state[0], t_eval=times, rtol=1e-12, atol=1e-12)
        errors.append(np.abs(state - peer.y.T).max())
    assert errors[1] < 1e-3
    assert 10 < errors[0] / errors[1] < 25  # fourth order: half the step, a sixteenth of the error


def test_the_logistic_exponent_is_the_mean_log_slope_along_its_orbit():
    system = logistic(2000, batch=(20,), seed=0)
    slope = (4 - 8 * system.series).abs().log().mean(1)  # ln 2, but for the ends
    assert slope.mean().item() == pytest.approx(system.exponent, abs=0.01)


def test_exponents_of_flows_are_per_sample():
    sparse = lorenz(5, dt=0.02, every=3, transient=0, seed=0)
    assert sparse.exponent == pytest.approx(0.9056 * 0.06)


def test_ar1_is_stationary_from_its_first_sample():
    system = ar1(20, phi=0.8, batch=(20_000,), seed=0)
    variance = system.series.var(0)
    # the variance of a variance from n normal values is 2/n; 5 standard errors
    assert torch.allclose(variance, torch.tensor(1 / 0.36).double(), rtol=5 * math.sqrt(2 / 20_000))
    before, after = system.series[:, :-1].flatten(), system.series[:, 1:].flatten()
    assert float((before * after).mean() / (before**2).mean()) == pytest.approx(0.8, abs=0.005)
    assert system.exponent == math.log(0.8)


def test_a_random_walk_has_independent_unit_steps():
    system = random_walk(101, batch=(500,), seed=0)
    steps = system.series.diff(dim=-1)
    n = steps.numel()
    assert float(steps.mean()) == pytest.approx(0, abs=4 / math.sqrt(n))
    assert float(steps.var()) == pytest.approx(1, abs=4 * math.sqrt(2 / n))
    assert float((steps[:, 1:] * steps[:, :-1]).mean()) == pytest.approx(0, abs=4 / math.sqrt(n))
    assert system.exponent == 0.0
    assert white_noise(3, seed=0).exponent == -math.inf


def test_least_squares_recovers_the_coefficients_of_the_var():
    n = 5_000
    system = coupled_var(n, seed=0)
    x = system.series.numpy()
    past = np.hstack([x[1:-1], x[:-2]])  # lag 1, lag 2
    fitted, *_ = np.linalg.lstsq(past, x[2:], rcond=None)
    truth = np.hstack(np.asarray(DEFAULT_VAR)).T  # (cause at a lag, effect)
    # residuals of variance 1 and causes of variance >= 1: a standard error below 1/sqrt(n)
    np.testing.assert_allclose(fitted, truth, rtol=0, atol=5 / math.sqrt(n))
    arrows = {(c % 3, e, c // 3 + 1) for c, e in np.argwhere(np.abs(fitted) > 0.1) if c % 3 != e}
    assert arrows == set(system.links) == {(0, 1, 1), (1, 2, 2)}


def test_the_exponent_of_the_var_is_how_fast_twins_meet():
    one = coupled_var(60, coefficients=[[[0.9, 0.0], [0.5, 0.4]]], seed=0)
    assert one.exponent == pytest.approx(math.log(0.9))
    assert one.links == ((0, 1, 1),)


def test_a_process_without_memory_of_itself_has_the_exponent_minus_infinity():
    chain = [[[0.0, 0.0, 0.0], [0.9, 0.0, 0.0], [0.3, -0.7, 0.0]]] * 2  # nilpotent, lags 1 and 2
    assert coupled_var(10, coefficients=chain, seed=0).exponent == -math.inf


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lorenz, {"dt": -1.0}, "dt must be"),
        (lorenz, {"every": 0}, "every must be >= 1"),
        (ar1, {"phi": 1.0}, "phi must be in"),
        (coupled_var, {"coefficients": [[[1.1]]]}, "stationary"),
        (coupled_var, {"coefficients": [[[0.2]], [[0.2]], [[0.6]]]}, "stationary"),  # a unit root
        (coupled_var, {"coefficients": [[0.5]]}, "shape"),
        (henon, {"transient": -1}, "transient must be >= 0"),
    ],
)
def test_wrong_options_are_named(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(10, seed=0, **options)
