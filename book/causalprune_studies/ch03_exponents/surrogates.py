"""Surrogate series: copies of a series that keep some of its properties and lose all others.

A statistic that has the same value on a series and on its surrogates says nothing beyond what the
surrogates keep (Theiler, Eubank, Longtin, Galdrikian and Farmer, Physica D 58, 1992):

==========================  ============================================  ======================
surrogate                   keeps                                         stands for
==========================  ============================================  ======================
`shuffled`                  the values, as a set                          independent noise
`phase_randomised` (FT)     the power spectrum, so the autocorrelation    a linear Gaussian process
`aaft`                      the values, and nearly the spectrum           the same, seen through a
                                                                          monotone function
`increment_shuffled`        first and last value, increments as a set     a random walk
==========================  ============================================  ======================

All take floating-point series (..., n) with time last, treat each alone, need `seed=` or
`generator=`, compute in float64 and give back the type of the series. All but `shuffled` refuse NaN
and infinity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from causalprune_lib._validation import check_finite
from causalprune_lib.dynamics.systems import Generator, make_generator


def shuffled(x: Tensor, *, seed: int | None = None, generator: Generator = None) -> Tensor:
    """The samples of each series in random order."""
    _check(x)
    return _shuffled(x, make_generator(seed, generator, x.device))


def phase_randomised(x: Tensor, *, seed: int | None = None, generator: Generator = None) -> Tensor:
    """Each series with the phases of its Fourier transform replaced by uniform random ones.

    The amplitudes stay, those of the mean and (n even) of the highest frequency with their sign.

    >>> x = torch.tensor([0.0, 1.0, 0.0, -1.0, 2.0], dtype=torch.float64)
    >>> y = phase_randomised(x, seed=0)
    >>> torch.allclose(torch.fft.rfft(y).abs(), torch.fft.rfft(x).abs())
    True
    """
    _check(x, finite=True)
    return _random_phases(x.double(), make_generator(seed, generator, x.device)).to(x.dtype)


def aaft(x: Tensor, *, seed: int | None = None, generator: Generator = None) -> Tensor:
    """Amplitude-adjusted Fourier transform surrogates: exactly the values of each series.

    Normal noise is put into the rank order of `x`, its phases are randomised, and the values of `x`
    are put into the rank order of the result. For short or very skewed series the spectrum comes
    out flatter than that of `x` (Schreiber and Schmitz, Phys. Rev. Lett. 77, 1996).
    """
    _check(x, finite=True)
    random = make_generator(seed, generator, x.device)
    noise = torch.randn(x.shape, generator=random, dtype=torch.float64, device=x.device)
    alike = noise.sort(-1).values.gather(-1, _rank(x))  # normal, in the order of x
    return x.sort(-1).values.gather(-1, _rank(_random_phases(alike, random)))


def increment_shuffled(
    x: Tensor, *, seed: int | None = None, generator: Generator = None
) -> Tensor:
    """A random walk with the increments of each series, in random order, from its first value.

    The last value is that of `x` too, up to rounding, because the increments add up to the same.
    """
    _check(x, minimum=2, finite=True)
    steps = _shuffled(x.double().diff(dim=-1), make_generator(seed, generator, x.device))
    first = x[..., :1].double()
    return torch.cat([first, first + steps.cumsum(-1)], -1).to(x.dtype)


def _check(x: object, *, minimum: int = 1, finite: bool = False) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a floating-point torch.Tensor; got {kind}.")
    if x.dim() == 0 or x.shape[-1] < minimum:
        raise ValueError(f"x must have shape (..., n) with n >= {minimum}; got {tuple(x.shape)}.")
    if finite:
        check_finite("x", x)


def _shuffled(x: Tensor, generator: torch.Generator) -> Tensor:
    draws = torch.rand(x.shape, generator=generator, dtype=torch.float64, device=x.device)
    return x.gather(-1, draws.argsort(-1))


def _rank(x: Tensor) -> Tensor:
    """The place of each sample in the order of its series."""
    return x.argsort(-1).argsort(-1)


def _random_phases(x: Tensor, generator: torch.Generator) -> Tensor:
    n, spectrum = x.shape[-1], torch.fft.rfft(x)
    draws = torch.rand(spectrum.shape, generator=generator, dtype=torch.float64, device=x.device)
    randomised = torch.polar(spectrum.abs(), 2 * math.pi * draws)
    randomised[..., 0] = spectrum[..., 0]
    if n % 2 == 0:
        randomised[..., -1] = spectrum[..., -1]
    return torch.fft.irfft(randomised, n=n)
