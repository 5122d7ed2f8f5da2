"""Series whose truth is known: their Lyapunov exponent, or which variable drives which.

An estimator is judged here first. This file has the maps and the flow, which carry their largest
exponent; `processes` has the stochastic series and those with known arrows. Every exponent is in
nats per sample of the returned series.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_int, check_positive

# ---- systems: Series whose truth is known: their Lyapunov exponent, or which variable drives whi


# Sprott, Chaos and Time-Series Analysis (Oxford, 2003), appendix A.
HENON_EXPONENT = 0.41922  # a = 1.4, b = 0.3, per iteration


LORENZ_EXPONENT = 0.9056  # sigma = 10, rho = 28, beta = 8/3, per unit of time


@dataclass(frozen=True, eq=False)
class System:
    """A batch of series from one system, with what is known about it.

    Attributes
    ----------
    name : str
        The system and its parameters.
    series : tensor (..., n) of float64, or (..., n, d) for a vector process
        The observed series, time along the axis of length n.
    exponent : float or None
        Largest Lyapunov exponent in nats per sample; None where no value is known.
    state : tensor (..., n, d) or None
        All variables of a map or flow, of which `series` is the first.
    links : tuple of (cause, effect, lag)
        The true arrows between the d variables of a vector process; each variable's dependence on
        its own past is left out.
    """

    name: str
    series: torch.Tensor
    exponent: float | None = None
    state: torch.Tensor | None = None
    links: tuple[tuple[int, int, int], ...] = ()


def make_generator(
    seed: int | None, generator: torch.Generator | None, device: torch.device | str = "cpu"
) -> torch.Generator:
    """The one given, or a new one from `seed`; exactly one of the two must be given."""
    if (seed is None) == (generator is None):
        raise ValueError(
            f"exactly one of seed and generator must be given; got seed={seed!r} and "
            f"generator={generator!r}."
        )
    if generator is not None:
        return generator
    return torch.Generator(device).manual_seed(check_int("seed", seed, minimum=0))


def _uniform(shape, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    draw = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
    return low + (high - low) * draw


def _iterate(step, state: torch.Tensor, n: int, transient: int, every: int = 1) -> torch.Tensor:
    """The orbit (..., n, d) of `state` (..., d) under `step`, without the first `transient`."""
    for _ in range(check_int("transient", transient, minimum=0)):
        state = step(state)
    orbit = state.new_empty((*state.shape[:-1], check_int("n", n), state.shape[-1]))
    for t in range(n):
        orbit[..., t, :] = state
        for _ in range(every):
            state = step(state)
    return orbit


def logistic(
    n: int,
    *,
    r: float = 4.0,
    batch: tuple[int, ...] = (),
    transient: int = 100,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> System:
    """Logistic map x' = r x (1 - x), from random starts in (0, 1).

    Exponent: ln 2 at r = 4; ln r below 1; ln |2 - r| for 1 < r <= 3 (the fixed point; -inf at the
    superstable r = 2); otherwise None here (`tangent_exponent_map` computes it).

    Examples
    --------
    >>> logistic(5, seed=0, batch=(3,)).series.shape
    torch.Size([3, 5])
    >>> logistic(5, r=2.5, seed=0).exponent == math.log(0.5)
    True
    """
    if not 0 < check_positive("r", r) <= 4:
        raise ValueError(f"r must be in (0, 4]; got {r!r}.")
    random = make_generator(seed, generator)
    start = _uniform((*batch, 1), 0.1, 0.9, random)
    orbit = _iterate(lambda x: r * x * (1 - x), start, n, transient)
    known = {4.0: math.log(2.0), 2.0: -math.inf}
    exponent = known.get(float(r))
    if exponent is None and r <= 3:
        exponent = math.log(r if r <= 1 else abs(2 - r)) if r != 1 else 0.0
    return System(f"logistic map, r = {r:g}", orbit[..., 0], exponent, orbit)


def henon(
    n: int,
    *,
    a: float = 1.4,
    b: float = 0.3,
    batch: tuple[int, ...] = (),
    transient: int = 100,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> System:
    """Henon map x' = 1 - a x^2 + y, y' = b x; the series is x.

    Exponent: 0.41922 at the classical a = 1.4, b = 0.3; otherwise None.
    """
    random = make_generator(seed, generator)

    def step(state):
        x, y = state.unbind(-1)
        return torch.stack((1 - a * x * x + y, b * x), -1)

    orbit = _iterate(step, _uniform((*batch, 2), -0.1, 0.1, random), n, transient)
    exponent = HENON_EXPONENT if (a, b) == (1.4, 0.3) else None
    return System(f"Henon map, a = {a:g}, b = {b:g}", orbit[..., 0], exponent, orbit)


def lorenz(
    n: int,
    *,
    dt: float = 0.01,
    every: int = 5,
    sigma: float = 10.0,
    rho: float = 28.0,
    beta: float = 8.0 / 3.0,
    batch: tuple[int, ...] = (),
    transient: int = 2000,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> System:
    """Lorenz's flow by fourth-order Runge-Kutta steps of `dt`, one sample per `every` steps.

    The series is x. Exponent: 0.9056 per unit of time at the classical parameters, so 0.9056 dt
    every per sample; otherwise None. `transient` counts Runge-Kutta steps.
    """
    random = make_generator(seed, generator)
    dt, every = check_positive("dt", dt), check_int("every", every)

    def flow(state):
        x, y, z = state.unbind(-1)
        return torch.stack((sigma * (y - x), x * (rho - z) - y, x * y - beta * z), -1)

    def step(state):
        k1 = flow(state)
        k2 = flow(state + 0.5 * dt * k1)
        k3 = flow(state + 0.5 * dt * k2)
        k4 = flow(state + dt * k3)
        return state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    start = _uniform((*batch, 3), -1.0, 1.0, random) + torch.tensor(
        [0.0, 0.0, rho - 1.0], dtype=torch.float64, device=random.device
    )
    orbit = _iterate(step, start, n, transient, every)
    classical = (sigma, rho, beta) == (10.0, 28.0, 8.0 / 3.0)
    exponent = LORENZ_EXPONENT * dt * every if classical else None
    return System("Lorenz flow", orbit[..., 0], exponent, orbit)


# ---- processes: Stochastic series with a known truth: noise, AR(1), random walk, and processes w


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
