"""Stochastic series with a known truth: noise, AR(1), random walk, and processes with known arrows.

For the scalar processes `exponent` is that of two copies driven by the same noise: the difference
of two AR(1) copies shrinks by phi per step, that of two random walks stays, that of white noise is
gone at once. An estimator that reads one series and calls such a process chaotic has failed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from causalprune_lib._validation import check_int, check_positive
from causalprune_lib.dynamics.systems import System, make_generator


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)


def white_noise(
    n: int,
    *,
    batch: tuple[int, ...] = (),
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> System:
    """Independent standard normal samples. Exponent: -inf (nothing is carried over).

    Examples
    --------
    >>> white_noise(4, batch=(2, 3), seed=0).series.shape
    torch.Size([2, 3, 4])
    """
    noise = _normal((*batch, check_int("n", n)), make_generator(seed, generator))
    return System("white noise", noise, -math.inf)


def ar1(
    n: int,
    *,
    phi: float = 0.9,
    batch: tuple[int, ...] = (),
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> System:
    """First-order autoregression x_t = phi x_{t-1} + e_t, started in its stationary law.

    Exponent: ln |phi|.
    """
    if not -1 < phi < 1:
        raise ValueError(f"phi must be in (-1, 1), where the process is stationary; got {phi!r}.")
    series = _normal((*batch, check_int("n", n)), make_generator(seed, generator))
    series[..., 0] /= math.sqrt(1 - phi**2)
    for t in range(1, n):
        series[..., t] += phi * series[..., t - 1]
    return System(f"AR(1), phi = {phi:g}", series, math.log(abs(phi)) if phi else -math.inf)


def random_walk(
    n: int,
    *,
    batch: tuple[int, ...] = (),
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> System:
    """Running sum of standard normal steps. Exponent: 0 (a difference stays as it is)."""
    steps = _normal((*batch, check_int("n", n)), make_generator(seed, generator))
    return System("random walk", steps.cumsum(-1), 0.0)


DEFAULT_VAR = (
    ((0.5, 0.0, 0.0), (0.4, 0.4, 0.0), (0.0, 0.0, 0.3)),  # lag 1: 0 -> 1
    ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, -0.4, 0.0)),  # lag 2: 1 -> 2
)


def coupled_var(
    n: int,
    *,
    coefficients: Sequence | np.ndarray | torch.Tensor = DEFAULT_VAR,
    noise: float = 1.0,
    batch: tuple[int, ...] = (),
    transient: int = 200,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> System:
    """Vector autoregression x_t = sum_l A_l x_{t-l} + e_t with normal noise of scale `noise`.

    Parameters
    ----------
    coefficients : array (L, d, d)
        A_l[effect, cause]. Every off-diagonal entry that is not 0 is an arrow of `links`. The
        default has three variables and two arrows: 0 drives 1 at lag 1, 1 drives 2 at lag 2.

    Returns
    -------
    System
        `series` (..., n, d); exponent: ln of the spectral radius of the companion matrix.

    Raises
    ------
    ValueError
        The process is not stationary, or `coefficients` has another shape.

    Examples
    --------
    >>> system = coupled_var(100, seed=0)
    >>> system.series.shape, system.links
    (torch.Size([100, 3]), ((0, 1, 1), (1, 2, 2)))
    """
    a = np.asarray(coefficients, dtype=np.float64)
    if a.ndim != 3 or a.shape[1] != a.shape[2] or 0 in a.shape:
        raise ValueError(f"coefficients must have shape (lags, d, d); got {a.shape}.")
    n_lags, d, _ = a.shape
    companion = np.eye(n_lags * d, k=-d)
    companion[:d] = np.hstack(a)
    radius = float(np.abs(np.linalg.eigvals(companion)).max())
    if not radius < 1:
        raise ValueError(
            f"coefficients must give a stationary process (spectral radius < 1); got {radius:g}."
        )
    total = check_int("n", n) + check_int("transient", transient, minimum=0)
    random = make_generator(seed, generator)
    x = check_positive("noise", noise) * _normal((*batch, total, d), random)
    matrices = torch.as_tensor(a, device=random.device).transpose(1, 2)  # (L, cause, effect)
    for t in range(1, total):
        for lag in range(1, min(n_lags, t) + 1):
            x[..., t, :] += x[..., t - lag, :] @ matrices[lag - 1]
    links = sorted(
        (int(cause), int(effect), int(lag) + 1)
        for lag, effect, cause in np.argwhere(a)
        if cause != effect
    )
    exponent = math.log(radius) if radius > 0 else -math.inf
    series = x[..., total - n :, :].contiguous()
    return System(f"VAR({n_lags}) of {d} variables", series, exponent, links=tuple(links))


def common_driver(
    n: int,
    *,
    strength: float = 0.8,
    batch: tuple[int, ...] = (),
    transient: int = 200,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> System:
    """Two variables that never touch, both driven by a third that is not observed.

    The hidden z_t = 0.8 z_{t-1} + e_t drives variable 0 at lag 1 and variable 1 at lag 2, both with
    weight `strength`. `links` is empty: there is no arrow between the two observed variables. Yet
    0 shows what z will do to 1, so a test of 0 -> 1 that does not know z rejects.
    """
    hidden = np.zeros((2, 3, 3))
    hidden[0, 2, 2], hidden[0, 0, 2], hidden[1, 1, 2] = 0.8, strength, strength
    full = coupled_var(
        n,
        coefficients=hidden,
        batch=batch,
        transient=transient,
        seed=seed,
        generator=generator,
    )
    observed = full.series[..., :2].contiguous()
    return System("two variables with a hidden common driver", observed, full.exponent)
