"""The studies of the chapter "Measuring chaos": windowed exponents of known and real series.

`KnownExponents` reads systems whose exponent is known and processes that are not chaotic;
`WeightExponents` reads recorded weights of the LEGCNet paper's networks (arXiv:2308.09955). Both
put every window beside its surrogates, at several window lengths, in three readings:

- "as released": S(1) - S(0) of TISEAN's curve, of numbers printed with six decimals;
- "unrounded": the same with all digits;
- "fitted slope": Rosenstein's slope over the steps 1 to 5, with a Theiler window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.dynamics.lyapunov import largest_lyapunov
from causalprune_lib.dynamics.systems import ar1, henon, logistic, random_walk, white_noise
from causalprune_lib.evidence.grid import Point
from causalprune_lib.pruning.windows import DECIMALS, cut_windows, first_step_estimator
from causalprune_studies.ch03_exponents import surrogates
from causalprune_studies.paper_networks.settings import legcnet_settings
from causalprune_studies.paper_networks.training import (
    legcnet_data,
    legcnet_networks,
    train_as_released,
)

SURROGATES: dict[str, Callable[..., torch.Tensor]] = {
    "shuffled": surrogates.shuffled,
    "phase-randomised": surrogates.phase_randomised,
    "AAFT": surrogates.aaft,
    "increments shuffled": surrogates.increment_shuffled,
}


ITSELF = "the series itself"
COPIES = 39  # a window outside all of them is rejected at the 5% level
TRIALS = 10  # initial networks that were published


def read_exponents(windows: torch.Tensor, reading: str) -> torch.Tensor:
    """Exponents (...,) of `windows` (..., n) in nats per sample; NaN where not estimable.

    Examples
    --------
    >>> noise = white_noise(200, batch=(50,), seed=0).series
    >>> [round(read_exponents(noise, r).mean().item(), 1) for r in READINGS]  # no chaos in it
    [1.9, 1.9, 0.1]
    """
    return READINGS[check_choice("reading", reading, READINGS)](windows)


def _as_released(windows: torch.Tensor) -> torch.Tensor:
    return first_step_estimator()(windows.round(decimals=DECIMALS))


def _fitted_slope(windows: torch.Tensor) -> torch.Tensor:
    return largest_lyapunov(windows, theiler=10, horizon=5).exponent


READINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "as released": _as_released,
    "unrounded": first_step_estimator(),
    "fitted slope": _fitted_slope,
}


def beside_surrogates(
    windows: torch.Tensor, reading: str, *, generator: torch.Generator, **where: object
) -> Iterator[Point]:
    """Read `windows` (N, n) and 39 surrogates of each kind, and give a point for each.

    The coordinate `surrogate` is the kind, or "the series itself". Metrics, all over the windows:
    `exponent` (mean), `positive` (share above 0), `missing` (share not estimable); beside a
    surrogate also `rejected` (share of the windows whose own reading lies outside all 39, 5% where
    the null is true) and `lowest` (share below all 39).
    """
    own = read_exponents(windows, reading)
    yield Point(_shares(own), reading=reading, surrogate=ITSELF, **where)
    many = windows.expand(COPIES, *windows.shape).contiguous()
    for kind, make in SURROGATES.items():
        copies = read_exponents(make(many, generator=generator), reading)  # (39, N)
        known = ~(own.isnan() | copies.isnan().any(0))
        lowest, highest = own < copies.amin(0), own > copies.amax(0)
        found = _shares(copies) | {
            "rejected": (lowest | highest)[known].double().mean().item(),
            "lowest": lowest[known].double().mean().item(),
        }
        yield Point(found, reading=reading, surrogate=kind, **where)


def _shares(exponents: torch.Tensor) -> dict[str, float]:
    known = exponents[~exponents.isnan()]
    return {
        "exponent": known.mean().item(),
        "positive": (known > 0).double().mean().item(),
        "missing": 1 - known.numel() / exponents.numel(),
    }


def _decay(n: int, *, batch: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """exp(-t / 50) and a little noise: a weight that moves to its place and stays."""
    noise = white_noise(n, batch=batch, generator=generator).series
    t = torch.arange(n, dtype=torch.float64, device=noise.device)
    return torch.exp(-t / 50) + 0.003 * noise


def _series(make: Callable, n: int, **options: object) -> torch.Tensor:
    return make(n, **options).series


CHAOTIC = {"logistic map": partial(_series, logistic), "Hénon map": partial(_series, henon)}
NOT_CHAOTIC = {
    "white noise": partial(_series, white_noise),
    "AR(1)": partial(_series, ar1),
    "random walk": partial(_series, random_walk),
    "decay + noise": _decay,
}
SYSTEMS = CHAOTIC | NOT_CHAOTIC


@dataclass(frozen=True)
class KnownExponents:
    """Windows of systems with a known exponent and of processes that are not chaotic.

    Gives the points of `beside_surrogates` with the coordinates `series` and `samples`. A seed
    draws its own windows.

    Parameters
    ----------
    lengths : tuple of int
        Samples per window.
    n_windows : int
        Windows of each series and length.
    readings : tuple of str
        Keys of `READINGS`. These series have no use for "unrounded".
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    lengths: tuple[int, ...] = (50, 100, 200)
    n_windows: int = 10
    readings: tuple[str, ...] = ("as released", "fitted slope")
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """All series, lengths and readings."""
        generator = torch.Generator(self.on).manual_seed(seed)
        batch = (check_int("n_windows", self.n_windows),)
        for name, make in SYSTEMS.items():
            for n in self.lengths:
                windows = make(n, batch=batch, generator=generator)
                for reading in self.readings:
                    yield from beside_surrogates(
                        windows, reading, generator=generator, series=name, samples=n
                    )


@dataclass(frozen=True)
class WeightExponents:
    """Windows of recorded weights of one of the LEGCNet paper's networks.

    The network is trained as released: published initial weights, fixed order of the examples,
    every step recorded. The seed is one of ten published trials, from 0. Gives the points of
    `beside_surrogates` with the coordinate `samples`.

    Parameters
    ----------
    dataset : str
        One of the paper's tables.
    lengths : tuple of int
        Samples per window. The dataset's own window is added where it is not among them.
    n_weights, n_windows : int
        How many weights, and windows of each, are read: evenly spaced over all of them. Windows
        overlap by a tenth, as released, where all are read.
    readings : tuple of str
        Keys of `READINGS`.
    """

    dataset: str = "iris_csv"
    lengths: tuple[int, ...] = (50, 200)
    n_weights: int = 4
    n_windows: int = 6
    readings: tuple[str, ...] = tuple(READINGS)
    on: str = "cpu"
    profile: str = "quick"

    def record(self, seed: int) -> torch.Tensor:
        """The weights of one training (T+1, P), row 0 the initial ones."""
        if check_int("seed", seed, minimum=0) >= TRIALS:
            raise ValueError(f"seed must be a published trial in 0..{TRIALS - 1}; got {seed}.")
        settings = legcnet_settings(self.dataset)
        network = legcnet_networks(self.dataset, trials=TRIALS).select([seed])
        data = legcnet_data(self.dataset)
        run = train_as_released(settings, network, data, epochs=settings.epochs, record=[0])
        return run.weights[0]

    def cut(self, weights: torch.Tensor, samples: int) -> torch.Tensor:
        """The windows (n_weights n_windows, samples) of `weights` (T+1, P)."""
        cut = cut_windows(len(weights), window=samples)
        starts = torch.linspace(0, cut.count - 1, self.n_windows).long() * cut.stride
        chosen = torch.linspace(0, weights.shape[1] - 1, self.n_weights).long()
        rows = starts[:, None] + torch.arange(samples)  # (n_windows, samples)
        return weights[rows][..., chosen].permute(2, 0, 1).reshape(-1, samples).to(self.on)

    def run(self, seed: int) -> Iterator[Point]:
        """One network, all lengths and readings."""
        weights = self.record(seed)
        generator = torch.Generator(self.on).manual_seed(seed)
        for n in sorted({*self.lengths, legcnet_settings(self.dataset).window}):
            windows = self.cut(weights, n)
            for reading in self.readings:
                yield from beside_surrogates(windows, reading, generator=generator, samples=n)


def _all_windows(dataset: str) -> WeightExponents:
    """Every weight in every window of the training that the paper records."""
    settings = legcnet_settings(dataset)
    steps = settings.epochs * settings.n_train
    n_windows = cut_windows(steps + 1, window=settings.window).count
    return WeightExponents(
        dataset, lengths=(), n_weights=settings.n_weights, n_windows=n_windows, profile="paper"
    )


EXPONENT_STUDIES: dict[str, tuple[KnownExponents | WeightExponents, ...]] = {
    "quick": (KnownExponents(), WeightExponents()),
    "full": (
        KnownExponents(lengths=(50, 100, 200, 400), n_windows=20, profile="full"),
        *(
            WeightExponents(
                dataset, lengths=(50, 100, 200, 400), n_weights=8, n_windows=8, profile="full"
            )
            for dataset in ("cancer", "titanic", "iris_csv", "banknote")
        ),
    ),
    "paper": (
        KnownExponents(lengths=(160, 200, 250), n_windows=400, profile="paper"),
        *map(_all_windows, ("cancer", "titanic", "iris_csv", "banknote")),
    ),
}
