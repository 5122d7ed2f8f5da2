"""LEGCNet as described: the exponents of twins, tested, and their masks trained.

One cell is one of the paper's tables and one published initial network; the seed is its number,
from 0. Training and twins run side by side; only what the exponents are taken of differs between
the routes.

Paper: arXiv:2308.09955, sections 2.1 and 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.legcnet.ablation import jaccard_pruned
from causalprune_lib.evidence.studies.legcnet.contest import (
    TRIALS,
    Contest,
    all_networks,
    check_trial,
    published_reading,
    study_data,
)
from causalprune_lib.evidence.studies.legcnet.placebos import RULES
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.pruning.legcnet_decision import legcnet_decision
from causalprune_lib.pruning.legcnet_networks import SigmoidNetworks
from causalprune_lib.pruning.legcnet_released import train_as_released
from causalprune_lib.pruning.legcnet_settings import LEGCNET_SETTINGS, MaskReading, legcnet_settings
from causalprune_lib.pruning.legcnet_twins import (
    TwinSeries,
    growth_exponents,
    twin_exponents,
    twin_series,
)
from causalprune_lib.pruning.legcnet_windows import cut_windows, windowed_exponents

ROUTES = ("raw", "own twin", "first twin", "growth")


@dataclass(frozen=True)
class LEGCNetTwins:
    """LEGCNet-FT of one trial by four routes, each with random masks of the same counts.

    Coordinates:

    - `route`: "raw", exponents of the weight series, as released; "own twin", of the difference of
      the weight that was moved, one twin for each; "first twin", of the differences of all weights
      when the first one was moved; "growth", the growth rate of each twin's distance, in place of
      the released reading;
    - `rule`: "as released" against the test error, "corrected" against the training error;
    - `mask`: "legcnet", "random" (mean over `n_random` with the same counts per layer), "another
      trial" (the exponents of another initial network by the same route).

    Metrics of "legcnet" and "random": `accuracy`; of "legcnet" also `reached`, `epochs`,
    `n_pruned`, `beats_accuracy`, `beats_epochs`, `causal`, `untestable`, and `jaccard_raw`, the
    overlap of the pruned weights with those of the raw route; of "another trial" `causal`. With
    rule "none" and mask "dense": `exponent`, the mean over windows and weights, in nats per step,
    and `positive`, the share of the windows above zero. With route "whole training" there: the mean
    over the twins of ln(last distance / first distance) / T, and the share of the twins that ended
    further apart than they began; `ratio`, the median of last distance / first distance.

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    delta : float
        How far a weight is moved.
    n_random : int
        Random masks for each pair of counts.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "cancer"
    delta: float = 1e-8
    n_random: int = 20
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Run the twins, read the masks of each route, train them."""
        check_choice("dataset", self.dataset, LEGCNET_SETTINGS)
        trial = check_trial(seed)
        reading, data = published_reading(self.dataset), study_data(self.dataset, device=self.on)
        pair = all_networks(self.dataset, device=self.on).select([trial, (trial + 1) % TRIALS])
        twins, read = [], []
        for i in range(2):
            twins.append(self.twins(pair.select([i]), data, reading))
            read.append(routes(twins[i], reading))
        errors = errors_of(self.dataset, pair.select([0]), data, reading)
        contest = Contest(self.dataset, n_random=self.n_random, seed=trial)
        said, entries = {}, {}
        for route in ROUTES:
            for name, (rule, on) in RULES.items():
                for i, mask in enumerate(("legcnet", "another trial")):
                    said[route, name, mask] = legcnet_decision(
                        read[i][route], errors[on], rule=rule, max_lag=reading.max_lag
                    )
                entries[route, name] = contest.enter(said[route, name, "legcnet"].keep)
        contest.train(pair.select([0]), data)
        for (route, name), entry in entries.items():
            where = {"route": route, "rule": name}
            own = said[route, name, "legcnet"]
            result = contest.result(entry)
            del result["final_accuracy"]
            result |= {
                "causal": own.causal.double().mean().item(),
                "untestable": own.missing.double().mean().item(),
                "jaccard_raw": jaccard_pruned(own.keep, said["raw", name, "legcnet"].keep),
            }
            yield Point(result, **where, mask="legcnet")
            like = contest.random_result(entry)
            yield Point({"accuracy": like["accuracy"]}, **where, mask="random")
            other = said[route, name, "another trial"].causal
            yield Point({"causal": other.double().mean().item()}, **where, mask="another trial")
        yield from _exponents(read[0], twins[0])

    def twins(self, network: SigmoidNetworks, data: Dataset, reading: MaskReading) -> TwinSeries:
        """The twins of one network."""
        settings = legcnet_settings(self.dataset)
        return twin_series(
            network,
            data.x_train,
            data.y_train,
            lr=settings.lr,
            label_size=settings.label_size,
            epochs=reading.epochs,
            delta=self.delta,
        )


def routes(twins: TwinSeries, reading: MaskReading) -> dict[str, torch.Tensor]:
    """Windowed exponents (W, P) by each of `ROUTES`."""
    window, n = reading.window, reading.n_windows
    options = {"window": window, "horizon": reading.horizon}
    found = {
        "raw": windowed_exponents(twins.weights, gate=reading.gate, **options),
        "own twin": twin_exponents(twins.own, **options),
        "first twin": twin_exponents(twins.first, **options),
        "growth": growth_exponents(twins.distance, window=window),
    }
    return {route: windowed.exponent[:n] for route, windowed in found.items()}


def errors_of(
    dataset: str, network: SigmoidNetworks, data: Dataset, reading: MaskReading
) -> dict[str, torch.Tensor]:
    """Error rates (W,) on "test" and "train" at the windows' ends."""
    windows = cut_windows(reading.epochs * len(data.x_train) + 1, window=reading.window)
    run = train_as_released(
        legcnet_settings(dataset),
        network,
        data,
        epochs=reading.epochs,
        test=(data.x_test, data.y_test),
        judge_at=windows.ends.tolist(),
    )
    at = {"test": run.test_accuracy_at, "train": run.train_accuracy_at}
    return {on: 1 - accuracy[0, : reading.n_windows].cpu() for on, accuracy in at.items()}


def _exponents(read: dict[str, torch.Tensor], twins: TwinSeries) -> Iterator[Point]:
    for route, exponents in read.items():
        known = exponents[~exponents.isnan()]
        yield Point(
            {"exponent": known.mean().item(), "positive": (known > 0).double().mean().item()},
            route=route,
            rule="none",
            mask="dense",
        )
    growth = twins.growth()
    whole = {
        "exponent": growth.mean().item(),
        "positive": (growth > 0).double().mean().item(),
        "ratio": (twins.distance[-1] / twins.distance[0]).median().item(),
    }
    yield Point(whole, route="whole training", rule="none", mask="dense")
