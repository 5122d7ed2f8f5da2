"""The convention "tisean" against TISEAN's `lyap_r`, and what that reading gives on known series.

The reference curves are what `lyap_r -m<dim> -d<lag> -t<theiler> -r20 -s<horizon>` prints for the
series below, written with six decimals, one per line. They come from the search and the averaging
of TISEAN's lyap_r.c (last changed in 2002, the same in releases 3.0.0 to 3.0.2), compiled with gcc
for x86-64 without fused multiply-add. Besides, 400 random series of four kinds were compared.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from causalprune_lib.dynamics.lyapunov import largest_lyapunov
from causalprune_lib.dynamics.systems import ar1, logistic, random_walk, white_noise


def congruential(n: int, seed: int) -> list[int]:
    """Integers below 2^31 that every machine computes alike."""
    numbers, state = [], seed
    for _ in range(n):
        state = (1103515245 * state + 12345) % 2**31
        numbers.append(state)
    return numbers


def orbit(n: int) -> list[float]:
    x, points = 0.3, []
    for _ in range(n):
        points.append(x)
        x = 4 * x * (1 - x)
    return points


SERIES = {
    "logistic": orbit(200),
    "noise": [(number >> 8) / 2**23 for number in congruential(200, 1)],
    # A weight that moves by a few millionths: full of repeated vectors and of equal distances.
    "walk": list(
        np.cumsum([250_000] + [(number >> 16) % 7 - 3 for number in congruential(200, 2)])[1:] / 1e6
    ),
    "decay": [-0.8 + 0.3 * math.exp(-t / 25) + 0.002 * math.cos(t) for t in range(200)],
    "flat": [round(1 / (1 + t), 3) for t in range(200)],
}
# (series, dim, lag, theiler, pairs at step 0, S(0), S(1), ...)
PRINTED = [
    ("logistic", 2, 1, 0, 196, "-5.942138e+00 -5.248604e+00 -4.555815e+00 -3.843157e+00"),
    ("noise", 2, 1, 0, 196, "-3.312235e+00 -1.355395e+00 -8.078821e-01 -7.593091e-01"),
    ("walk", 2, 1, 0, 196, "-2.972745e+00 -2.203797e+00 -1.724805e+00 -1.613776e+00"),
    ("decay", 2, 1, 0, 196, "-6.032154e+00 -5.386317e+00 -4.890098e+00 -4.695718e+00"),
    ("flat", 2, 1, 0, 196, "-6.580854e+00 -6.334759e+00 -6.318785e+00 -6.379489e+00"),
    (
        "noise",
        3,
        2,
        5,
        185,
        "-2.297768e+00 -5.064485e-01 -1.341250e+00 -4.845945e-01 -7.979736e-01 -4.860420e-01 "
        "-5.669888e-01",
    ),
    (
        "walk",
        2,
        3,
        10,
        183,
        "-2.940201e+00 -1.930193e+00 -1.687651e+00 -1.901221e+00 -1.620973e+00",
    ),
    (
        "logistic",
        1,
        1,
        0,
        195,
        "-6.856974e+00 -6.162124e+00 -5.472742e+00 -4.762459e+00 -4.049631e+00 -3.322655e+00",
    ),
]


@pytest.mark.parametrize(("name", "dim", "lag", "theiler", "pairs", "printed"), PRINTED)
def test_equals_what_tisean_prints(name, dim, lag, theiler, pairs, printed):
    curve = np.array([float(text) for text in printed.split()])
    weights = torch.tensor(SERIES[name], dtype=torch.float64).round(decimals=6)
    result = largest_lyapunov(
        weights,
        dim=dim,
        lag=lag,
        theiler=theiler,
        horizon=len(curve) - 1,
        fit="first_step",
        convention="tisean",
    )
    np.testing.assert_allclose(result.divergence.numpy(), curve, rtol=0, atol=1e-5)
    assert result.counts[0] == pairs
    assert result.exponent.item() == pytest.approx(curve[1] - curve[0], abs=1e-5)


def test_series_on_which_tisean_never_ends_are_reported():
    step = torch.cat([torch.zeros(100), torch.ones(100)])
    spike = torch.zeros(200)
    spike[100] = 1.0
    result = largest_lyapunov(torch.stack([step, spike]), theiler=0, convention="tisean")
    assert result.reason.tolist() == ["isolated point"] * 2
    assert bool(result.exponent.isnan().all())
    assert bool((result.counts == 0).all())


def test_does_not_depend_on_the_unit_or_the_zero_of_the_series():
    x = white_noise(200, batch=(5,), seed=3).series
    one = largest_lyapunov(x, convention="tisean").divergence
    other = largest_lyapunov(8.0 * x - 2.0**-3, convention="tisean").divergence
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


# The mean over 400 windows of 200 samples that the reading of the released code was found to give.
FOUND = [
    (white_noise, 1.89),
    (ar1, 1.56),
    (random_walk, 1.27),
    (logistic, 0.692),
]


@pytest.mark.parametrize(
    ("process", "found"), FOUND, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_first_step_is_as_positive_for_noise_as_was_found(process, found):
    series = process(200, batch=(400,), seed=1).series
    result = largest_lyapunov(series, theiler=0, horizon=3, fit="first_step", convention="tisean")
    assert result.n_missing == 0
    error = result.exponent.std().item() / math.sqrt(400)
    rounding = 0.005 if found > 1 else 0.0005
    # Both sides are means of 400, so their difference has sqrt(2) times this error.
    assert result.exponent.mean().item() == pytest.approx(
        found, abs=3.5 * math.sqrt(2) * error + rounding
    )
