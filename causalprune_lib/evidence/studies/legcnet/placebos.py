"""What makes another network's exponents look causal: the order of the data, or the clock?

Two networks of one table share two things besides the data: the order in which the examples come,
the same in every epoch, and the time that has passed since training began. Here each of them is
taken away in turn, and the causality test is asked again whether the exponents cause the error.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.legcnet.contest import (
    TRIALS,
    all_networks,
    check_trial,
    published_reading,
    study_data,
)
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.pruning.legcnet_decision import legcnet_decision
from causalprune_lib.pruning.legcnet_networks import SigmoidNetworks
from causalprune_lib.pruning.legcnet_settings import LEGCNET_SETTINGS, MaskReading, legcnet_settings
from causalprune_lib.pruning.legcnet_training import NetworksRun, train_networks
from causalprune_lib.pruning.legcnet_windows import Windows, cut_windows, windowed_exponents

ORDERS = ("released", "another", "reshuffled")
RULES = {"as released": ("as_released", "test"), "corrected": ("corrected", "train")}


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

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "cancer"
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Train own and other networks in each order, and test."""
        check_choice("dataset", self.dataset, LEGCNET_SETTINGS)
        trial = check_trial(seed)
        reading, data = published_reading(self.dataset), study_data(self.dataset, device=self.on)
        pair = all_networks(self.dataset, device=self.on).select([trial, (trial + 1) % TRIALS])
        windows = cut_windows(reading.epochs * len(data.x_train) + 1, window=reading.window)
        runs = {}
        for i, order in enumerate((*ORDERS, "reshuffled again")):
            draws = torch.Generator().manual_seed(10 * trial + i)
            rows = order_of(order, len(data.x_train), reading.epochs, draws)
            runs[order] = train_in_order(
                self.dataset, pair, data, rows, windows=windows if i in (0, 2) else None
            )
        read = {
            (order, i): exponents_of(run.weights[i], reading)
            for order, run in runs.items()
            for i in range(2)
            if (order, i) not in {("another", 0), ("reshuffled again", 0)}
        }
        for judged, others in (
            ("released", {"another order": "another", "reshuffled": "reshuffled"}),
            ("reshuffled", {"reshuffled": "reshuffled again"}),
        ):
            run, n = runs[judged], len(read[judged, 0])
            series = placebo_series(read[judged, 0], generator=torch.Generator().manual_seed(trial))
            series["other, same order"] = read[judged, 1]
            series["other, half-shifted"] = half_shifted(read[judged, 1])
            for name, order in others.items():
                series[f"other, {name}"] = read[order, 1]
            for name, (rule, on) in RULES.items():
                error = 1 - getattr(run, f"{on}_accuracy_at")[0, :n].cpu()
                for whose, exponents in series.items():
                    said = legcnet_decision(exponents, error, rule=rule, max_lag=reading.max_lag)
                    yield Point(
                        {
                            "causal": said.causal.double().mean().item(),
                            "untestable": said.missing.double().mean().item(),
                        },
                        judged=judged,
                        exponents=whose,
                        rule=name,
                    )


def placebo_series(
    exponents: torch.Tensor, *, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """A network's own exponents (W, P), and three stand-ins that need no other network."""
    order = torch.rand(exponents.shape, generator=generator).argsort(0)
    noise = torch.randn(exponents.shape, generator=generator, dtype=exponents.dtype)
    return {
        "own": exponents,
        "own, half-shifted": half_shifted(exponents),
        "own, shuffled": exponents.gather(0, order),
        "noise": noise,
    }


def half_shifted(exponents: torch.Tensor) -> torch.Tensor:
    """The series (W, P) rolled by half their length, all by the same number of windows.

    Examples
    --------
    >>> half_shifted(torch.arange(5)[:, None])[:, 0]
    tensor([3, 4, 0, 1, 2])
    """
    return exponents.roll(len(exponents) // 2, dims=0)


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
    rows: torch.Tensor,
    *,
    windows: Windows | None,
) -> NetworksRun:
    """Train on the examples `rows` (T,), one after the other, and record all networks.

    The accuracies are taken at the ends of the windows; that on the training set over all of
    `rows`, where every example stands once per epoch.
    """
    settings, rows = legcnet_settings(dataset), rows.to(data.x_train.device)
    return train_networks(
        networks,
        data.x_train[rows],
        data.y_train[rows],
        lr=settings.lr,
        label_size=settings.label_size,
        epochs=1,
        test=(data.x_test, data.y_test),
        record=range(len(networks)),
        judge_at=None if windows is None else windows.ends.tolist(),
    )


def exponents_of(weights: torch.Tensor, reading: MaskReading) -> torch.Tensor:
    """Windowed exponents (W, P) of a recording, as the masks of the paper were read."""
    found = windowed_exponents(
        weights, window=reading.window, gate=reading.gate, horizon=reading.horizon
    )
    return found.exponent[: reading.n_windows]
