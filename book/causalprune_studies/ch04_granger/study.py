"""The study of the chapter "Granger causality": how often rules are right where the truth is known.

`GrangerRates` builds worlds in which it is known which candidate pushes the effect, and counts how
often each rule says "causal", for arrows that are there and for arrows that are not. Sixty
candidates stand before each effect, as many as the cancer network of the LEGCNet paper has weights
(arXiv:2308.09955).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.causality.decisions import causal_decision
from causalprune_lib.causality.granger import GrangerResult, granger_test
from causalprune_lib.dynamics.systems import ar1, coupled_var, random_walk, white_noise
from causalprune_lib.evidence.grid import Point
from causalprune_lib.pruning.windows import cut_windows
from causalprune_studies.ch04_granger.stationarity import difference_until_stationary
from causalprune_studies.paper_networks.settings import LEGCNET_SETTINGS

ALPHA = 0.05
MAX_LAG = 14
N_TRUE = 5  # of the candidates, in the one world that has true arrows
STRENGTH = 0.5  # of each true arrow; the noise of the effect has deviation 1
AS_THEY_ARE, STEPS, ADF = "as they are", "steps", "after ADF"
DIFFERENCED = ("random walks", "falling curves")  # the worlds in which differences are tried too
RULES: dict[str, Callable[[GrangerResult], torch.Tensor]] = {
    "as released": lambda r: causal_decision(r, rule="as_released", alpha=ALPHA).causal,
    "corrected": lambda r: causal_decision(r, alpha=ALPHA).causal,
    "one lag, F": lambda r: r.f_pvalue[0] < ALPHA,
    "smallest of 14, F": lambda r: (r.f_pvalue.nan_to_num(1.0) < ALPHA).any(0),
}


def pushed(n: int, width: int, *, generator: torch.Generator) -> torch.Tensor:
    """(width, 1 + n): an effect, `N_TRUE` series that push it two steps late, and n - N_TRUE idle.

    All candidates are AR(1) with coefficient 0.5; the effect remembers 0.3 of its last value.
    """
    d = 1 + N_TRUE
    arrows = np.zeros((2, d, d))  # (lag, effect, cause)
    arrows[0] = np.diag([0.3] + [0.5] * N_TRUE)
    arrows[1, 0, 1:] = STRENGTH
    world = coupled_var(width, coefficients=arrows, generator=generator).series
    idle = ar1(width, phi=0.5, batch=(n - N_TRUE,), generator=generator).series
    return torch.cat([world, idle.T], 1)


def driven(n: int, width: int, *, generator: torch.Generator) -> torch.Tensor:
    """(width, 1 + n): an effect and n candidates that hear one hidden driver, the candidates first.

    No arrow leads from a candidate to the effect. The candidates follow the driver with weight 0.8
    one step late, the effect two steps late, each with its own noise.
    """
    d = n + 2  # the driver, the effect, the candidates
    arrows = np.zeros((2, d, d))
    arrows[0, 0, 0], arrows[0, 2:, 0], arrows[1, 1, 0] = 0.8, 0.8, 0.8
    return coupled_var(width, coefficients=arrows, generator=generator).series[:, 1:]


def falling(n: int, width: int, *, generator: torch.Generator) -> torch.Tensor:
    """(width, 1 + n): unrelated decays, each with its own speed and noise.

    exp(-t / s) with s uniform between 0.13 and 0.4 of the width, and noise of deviation 0.1. What
    they share is the clock: all began at the same time.
    """
    draw = torch.rand(1 + n, generator=generator, dtype=torch.float64, device=generator.device)
    speed = width * (0.13 + 0.27 * draw)
    t = torch.arange(width, dtype=torch.float64, device=speed.device)
    noise = white_noise(width, batch=(1 + n,), generator=generator).series.T
    return torch.exp(-t[:, None] / speed) + 0.1 * noise


def noise(n: int, width: int, *, generator: torch.Generator) -> torch.Tensor:
    """(width, 1 + n) of independent normal numbers."""
    return white_noise(width, batch=(1 + n,), generator=generator).series.T


def walks(n: int, width: int, *, generator: torch.Generator) -> torch.Tensor:
    """(width, 1 + n) of independent random walks."""
    return random_walk(width, batch=(1 + n,), generator=generator).series.T


WORLDS: dict[str, Callable[..., torch.Tensor]] = {
    "independent noise": noise,
    "random walks": walks,
    "falling curves": falling,
    "hidden driver": driven,
    "true arrows": pushed,
}


def prepare(series: torch.Tensor, how: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Effect (W,) and causes (W, S) from `series` (W, 1 + S): as they are, or differenced.

    "steps" takes one difference of every series; "after ADF" differences each until a Dickey-Fuller
    test calls it stationary.
    """
    if check_choice("how", how, (AS_THEY_ARE, STEPS, ADF)) == ADF:
        ready = difference_until_stationary(series[:, 0], series[:, 1:])
        return ready.effect, ready.causes
    if how == STEPS:
        series = series.diff(dim=0)
    return series[:, 0], series[:, 1:]


@dataclass(frozen=True)
class GrangerRates:
    """How often each rule calls a candidate causal, in worlds whose arrows are known.

    Gives points with the coordinates `world`, `samples`, `series` (as they are, or differenced) and
    `rule`. Metrics, means over the effects: `false` (share of the candidates without an arrow that
    were called causal), `any_false` (share of the effects with at least one such), and in the world
    "true arrows" also `found` (share of the true causes that were called) and `share_false` (share
    of the called ones that have no arrow, 0 where none was called).

    Parameters
    ----------
    widths : tuple of int
        Samples per series. Below 44 fourteen lags cannot be tested.
    n_effects, n_causes : int
        Effects of each world and width, and the candidates that are tested for each.
    worlds : tuple of str
        Keys of `WORLDS`.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    widths: tuple[int, ...] = (30, 60, 151)
    n_effects: int = 2
    n_causes: int = 60
    worlds: tuple[str, ...] = tuple(WORLDS)
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """All worlds, widths, preparations and rules."""
        check_int("n_causes", self.n_causes, minimum=N_TRUE + 1)
        check_int("n_effects", self.n_effects)
        generator = torch.Generator(self.on).manual_seed(seed)
        for world in self.worlds:
            make = WORLDS[check_choice("worlds: each", world, WORLDS)]
            ways = (AS_THEY_ARE, STEPS, ADF) if world in DIFFERENCED else (AS_THEY_ARE,)
            for width in self.widths:
                drawn = [
                    make(self.n_causes, width, generator=generator) for _ in range(self.n_effects)
                ]
                for how in ways:
                    tested = [
                        granger_test(*prepare(series, how), max_lag=MAX_LAG, lag="bic")
                        for series in drawn
                    ]
                    for name, rule in RULES.items():
                        called = torch.stack([rule(result).cpu() for result in tested])
                        counted = count(called, N_TRUE if make is pushed else 0)
                        yield Point(counted, world=world, samples=width, series=how, rule=name)


def count(called: torch.Tensor, n_true: int) -> dict[str, float]:
    """Rates of `called` (effects, causes), of which the first `n_true` causes are true."""
    true, false = called[:, :n_true].double(), called[:, n_true:].double()
    rates = {"false": false.mean().item(), "any_false": (false.sum(1) > 0).double().mean().item()}
    if n_true:
        share = false.sum(1) / called.sum(1).clamp(min=1)
        rates |= {"found": true.mean().item(), "share_false": share.mean().item()}
    return rates


def _windows_of_tables() -> tuple[int, ...]:
    """How many windows the paper's trainings are cut into, table by table."""
    found = {
        cut_windows(1 + table.epochs * table.n_train, window=table.window).count
        for table in LEGCNET_SETTINGS.values()
    }
    return tuple(sorted(found))


GRANGER_STUDIES: dict[str, tuple[GrangerRates, ...]] = {
    "quick": (GrangerRates(),),
    "full": (
        GrangerRates(widths=(30, 44, 60, 151, 300, 487), n_effects=20, profile="full"),
    ),  # 151 and 487: the windows of the paper's cancer and banknote tables
    "paper": (GrangerRates(widths=_windows_of_tables(), n_effects=100, profile="paper"),),
}
