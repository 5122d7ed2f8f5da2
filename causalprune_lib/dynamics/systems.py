"""Series whose truth is known: their Lyapunov exponent, or which variable drives which.

An estimator is judged here first. Two maps and a flow carry their largest exponent, three
stochastic series stand for what is not chaos, and a vector autoregression has known arrows. Every
exponent is in nats per sample of the returned series. All take `batch=`, the leading shape of the
series, and either `seed=` or `generator=`.

The exponents of Henon's map and Lorenz's flow: Sprott, Chaos and Time-Series Analysis (2003).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_int, check_positive

HENON_EXPONENT = 0.41922  # a = 1.4, b = 0.3, per iteration
LORENZ_EXPONENT = 0.9056  # sigma = 10, rho = 28, beta = 8/3, per unit of time
DEFAULT_VAR = (
    ((0.5, 0.0, 0.0), (0.4, 0.4, 0.0), (0.0, 0.0, 0.3)),  # lag 1: 0 -> 1
    ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, -0.4, 0.0)),  # lag 2: 1 -> 2
)

Shape = tuple[int, ...]
Generator = torch.Generator | None


@dataclass(frozen=True, eq=False)
class System:
    """A batch of series from one system, with what is known about it."""

    series: torch.Tensor  # (..., n) of float64, or (..., n, d) for a vector process
    exponent: float | None = None  # in nats per sample; None where no value is known
    state: torch.Tensor | None = None  # (..., n, d): all variables of a map or flow, the first seen
    links: tuple[tuple[int, int, int], ...] = ()  # true arrows (cause, effect, lag) of a process


def logistic(
    n: int,
    *,
    batch: Shape = (),
    transient: int = 100,
    seed: int | None = None,
    generator: Generator = None,
) -> System:
    """Logistic map x' = 4 x (1 - x), from random starts in (0, 1). Exponent: ln 2.

    >>> logistic(5, seed=0, batch=(3,)).series.shape
    torch.Size([3, 5])
    """
    start = _uniform((*batch, 1), 0.1, 0.9, make_generator(seed, generator))
    orbit = _iterate(lambda x: 4.0 * x * (1 - x), start, n, transient)
    return System(orbit[..., 0], math.log(2.0), orbit)


def henon(
    n: int,
    *,
    batch: Shape = (),
    transient: int = 100,
    seed: int | None = None,
    generator: Generator = None,
) -> System:
    """Henon map x' = 1 - 1.4 x^2 + y, y' = 0.3 x; the series is x. Exponent: 0.41922."""

    def step(state):
        x, y = state.unbind(-1)
        return torch.stack((1 - 1.4 * x * x + y, 0.3 * x), -1)

    start = _uniform((*batch, 2), -0.1, 0.1, make_generator(seed, generator))
    orbit = _iterate(step, start, n, transient)
    return System(orbit[..., 0], HENON_EXPONENT, orbit)


def lorenz(
    n: int,
    *,
    dt: float = 0.01,
    every: int = 5,
    batch: Shape = (),
    transient: int = 2000,
    seed: int | None = None,
    generator: Generator = None,
) -> System:
    """Lorenz's flow x' = 10 (y - x), y' = x (28 - z) - y, z' = x y - 8/3 z; the series is x.

    By fourth-order Runge-Kutta steps of `dt`, one sample per `every` steps; `transient` counts
    steps. Exponent: 0.9056 per unit of time, so 0.9056 dt every per sample.
    """
    dt, every = check_positive("dt", dt), check_int("every", every)

    def flow(state):
        x, y, z = state.unbind(-1)
        return torch.stack((10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z), -1)

    def step(state):
        k1 = flow(state)
        k2 = flow(state + 0.5 * dt * k1)
        k3 = flow(state + 0.5 * dt * k2)
        k4 = flow(state + dt * k3)
        return state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    start = _uniform((*batch, 3), -1.0, 1.0, make_generator(seed, generator))
    start = start + start.new_tensor([0.0, 0.0, 27.0])
    orbit = _iterate(step, start, n, transient, every)
    return System(orbit[..., 0], LORENZ_EXPONENT * dt * every, orbit)


def white_noise(
    n: int, *, batch: Shape = (), seed: int | None = None, generator: Generator = None
) -> System:
    """Independent standard normal samples. Exponent: -inf (nothing is carried over)."""
    noise = _normal((*batch, check_int("n", n)), make_generator(seed, generator))
    return System(noise, -math.inf)


def ar1(
    n: int,
    *,
    phi: float = 0.9,
    batch: Shape = (),
    seed: int | None = None,
    generator: Generator = None,
) -> System:
    """Autoregression x_t = phi x_{t-1} + e_t, from its stationary law. Exponent: ln |phi|."""
    if not -1 < phi < 1:
        raise ValueError(f"phi must be in (-1, 1), where the process is stationary; got {phi!r}.")
    series = _normal((*batch, check_int("n", n)), make_generator(seed, generator))
    series[..., 0] /= math.sqrt(1 - phi**2)
    for t in range(1, n):
        series[..., t] += phi * series[..., t - 1]
    return System(series, math.log(abs(phi)) if phi else -math.inf)


def random_walk(
    n: int, *, batch: Shape = (), seed: int | None = None, generator: Generator = None
) -> System:
    """Running sum of standard normal steps. Exponent: 0 (a difference stays as it is)."""
    steps = _normal((*batch, check_int("n", n)), make_generator(seed, generator))
    return System(steps.cumsum(-1), 0.0)


def coupled_var(
    n: int,
    *,
    coefficients: Sequence | np.ndarray | torch.Tensor = DEFAULT_VAR,
    batch: Shape = (),
    transient: int = 200,
    seed: int | None = None,
    generator: Generator = None,
) -> System:
    """Vector autoregression x_t = sum_l A_l x_{t-l} + e_t with standard normal noise.

    `coefficients` (L, d, d) are A_l[effect, cause], of a stationary process. Every off-diagonal
    entry that is not 0 is an arrow of `links`. The default has three variables and two arrows: 0
    drives 1 at lag 1, 1 drives 2 at lag 2. Exponent: ln of the companion matrix's spectral radius.

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
    rounding = 100 * len(companion) * np.finfo(float).eps * np.linalg.norm(companion)
    if not radius < 1 - rounding:
        raise ValueError(
            f"coefficients must give a stationary process (spectral radius < 1); got {radius:g}."
        )
    total = check_int("n", n) + check_int("transient", transient, minimum=0)
    x = _normal((*batch, total, d), make_generator(seed, generator))
    matrices = torch.as_tensor(a, device=x.device).transpose(1, 2)  # (L, cause, effect)
    for t in range(1, total):
        for lag in range(1, min(n_lags, t) + 1):
            x[..., t, :] += x[..., t - lag, :] @ matrices[lag - 1]
    arrows = [(int(c), int(e), int(lag) + 1) for lag, e, c in np.argwhere(a) if c != e]
    exponent = math.log(radius) if radius > 0 else -math.inf
    series = x[..., total - n :, :].contiguous()
    return System(series, exponent, links=tuple(sorted(arrows)))


def make_generator(
    seed: int | None, generator: Generator, device: torch.device | str = "cpu"
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


def _uniform(shape: Shape, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    draw = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
    return low + (high - low) * draw


def _normal(shape: Shape, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)


def _iterate(
    step: Callable, state: torch.Tensor, n: int, transient: int, every: int = 1
) -> torch.Tensor:
    """The orbit (..., n, d) of `state` (..., d) under `step`, without the first `transient`."""
    for _ in range(check_int("transient", transient, minimum=0)):
        state = step(state)
    orbit = state.new_empty((*state.shape[:-1], check_int("n", n), state.shape[-1]))
    for t in range(n):
        orbit[..., t, :] = state
        for _ in range(every):
            state = step(state)
    return orbit
