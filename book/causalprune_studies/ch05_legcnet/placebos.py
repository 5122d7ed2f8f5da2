"""Whose exponents cause the error? Exponents that share less and less with it, as a spec.

What all networks of a table share, besides the data, is the order of the examples, which repeats in
every epoch, and the clock of training. Here both are taken away.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch

from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.legcnet import legcnet_decision
from causalprune_lib.pruning.windows import cut_windows, windowed_exponents
from causalprune_studies.ch05_legcnet.controls import RULES, half_shifted, placebo_series, shares
from causalprune_studies.ch05_legcnet.study import start_of
from causalprune_studies.paper_networks.settings import (
    MaskReading,
    legcnet_settings,
    published_reading,
)
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import TableRun, train_as_released

ORDERS = ("released", "another", "reshuffled", "reshuffled again")


@dataclass(frozen=True)
class LEGCNetPlacebos:
    """How many weights are called causal by exponents that share less and less with the error.

    Coordinates:

    - `judged`, how the network whose error is tested was trained: "released", one order in every
      epoch, or "reshuffled", a new order in every epoch;
    - `exponents`, whose are tested: "own"; "own, half-shifted" (rolled by half their length: the
      same values, at another time of training); "own, shuffled"; "noise"; "other, same order"
      (another initial network, trained as the judged one was); "other, half-shifted" (the same,
      rolled); for a judged network of the released order also "other, another order" (one other
      order in every epoch) and "other, reshuffled"; for a reshuffled one "other, reshuffled" comes
      from shuffles of its own;
    - `rule`: "as released" against the test error, "corrected" (one lag by BIC, F test, false
      discovery rate) against the training error.

    Metrics: `causal` and `untestable`, shares of the weights. Windows and lags are those of
    LEGCNet-FT, and the same for all.
    """

    dataset: str = "cancer"
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Train own and other networks in each order, and test."""
        trial, networks, data = start_of(self.dataset, seed, device=self.on)
        reading, n = published_reading(self.dataset), len(data.x_train)
        windows = cut_windows(reading.epochs * n + 1, window=reading.window)
        runs = {}
        for i, order in enumerate(ORDERS):
            draws = torch.Generator().manual_seed(10 * trial + i)
            examples = order_of(order, n, reading.epochs, draws)
            at = windows.ends.tolist() if order in ("released", "reshuffled") else None
            runs[order] = train_in_order(self.dataset, networks, data, examples, judge_at=at)

        @cache
        def exponents(order: str, i: int) -> torch.Tensor:
            return exponents_of(runs[order].weights[i], reading)

        for judged, others in (
            ("released", {"another order": "another", "reshuffled": "reshuffled"}),
            ("reshuffled", {"reshuffled": "reshuffled again"}),
        ):
            own, other = exponents(judged, 0), exponents(judged, 1)
            series = placebo_series(own, generator=torch.Generator().manual_seed(trial))
            series["other, same order"] = other
            series["other, half-shifted"] = half_shifted(other)
            series |= {f"other, {name}": exponents(order, 1) for name, order in others.items()}
            for name, (rule, on) in RULES.items():
                error = 1 - getattr(runs[judged], f"{on}_accuracy_at")[0, : len(own)].cpu()
                for whose, tested in series.items():
                    said = legcnet_decision(tested, error, rule=rule, max_lag=reading.max_lag)
                    yield Point(shares(said), judged=judged, exponents=whose, rule=name)


def order_of(order: str, n: int, epochs: int, generator: torch.Generator) -> torch.Tensor:
    """Which example comes at each step, (epochs n,)."""
    if order == "released":
        return torch.arange(n).repeat(epochs)
    if order == "another":
        return torch.randperm(n, generator=generator).repeat(epochs)
    return torch.cat([torch.randperm(n, generator=generator) for _ in range(epochs)])


def train_in_order(
    dataset: str,
    networks: SigmoidNetworks,
    data: Dataset,
    examples: torch.Tensor,
    *,
    judge_at: Sequence[int] | None,
) -> TableRun:
    """Train on the `examples` (T,), one after the other, and record all networks.

    The accuracy on the training set is that on `examples`, where each stands once per epoch.
    """
    examples = examples.to(data.x_train.device)
    return train_as_released(
        legcnet_settings(dataset),
        networks,
        replace(data, x_train=data.x_train[examples], y_train=data.y_train[examples]),
        epochs=1,
        test=(data.x_test, data.y_test),
        record=range(len(networks)),
        judge_at=judge_at,
    )


def exponents_of(weights: torch.Tensor, reading: MaskReading) -> torch.Tensor:
    """Windowed exponents (W, P) of a recording, as the masks of the paper were read."""
    found = windowed_exponents(
        weights, window=reading.window, gate=reading.gate, horizon=reading.horizon
    )
    return found.exponent[: reading.n_windows]
