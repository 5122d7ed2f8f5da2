"""LEGCNet with the exponents that its paper describes, those of twins, as a spec.

Section 3.4 takes exponents from the difference between a training and its twin, one of whose
weights was moved before the first step. The released code has no twins.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.contest import DENSE, RANDOM
from causalprune_lib.pruning.legcnet import legcnet_decision
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.windows import cut_windows, windowed_exponents
from causalprune_studies.ch05_legcnet.controls import (
    RULES,
    compared,
    contest_of,
    enter_beside_random,
    jaccard_pruned,
    means,
    shares,
)
from causalprune_studies.ch05_legcnet.placebos import exponents_of
from causalprune_studies.ch05_legcnet.study import start_of
from causalprune_studies.paper_networks.settings import (
    MaskReading,
    legcnet_settings,
    published_reading,
)
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import train_as_released
from causalprune_studies.paper_networks.twins import TwinSeries, growth_exponents, twin_series

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

    `delta` is how far a weight is moved.
    """

    dataset: str = "cancer"
    delta: float = 1e-8
    n_random: int = 20
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Run the twins, read the masks of each route, train them."""
        trial, networks, data = start_of(self.dataset, seed, device=self.on)
        network, reading = networks.select([0]), published_reading(self.dataset)
        twins = [self.twins(networks.select([i]), data, reading) for i in range(2)]
        read = [routes(series, reading) for series in twins]
        errors = errors_of(self.dataset, network, data, reading)
        contest = contest_of(self.dataset, network, data)
        said, entered = {}, {}
        for route in ROUTES:
            for name, (rule, on) in RULES.items():
                said[route, name] = [
                    legcnet_decision(r[route], errors[on], rule=rule, max_lag=reading.max_lag)
                    for r in read
                ]
                masks = Masks.from_flat(network.layout, said[route, name][0].keep)
                beside = enter_beside_random(contest, masks, n=self.n_random, trial=trial)
                entered[route, name] = beside
        outcome = dict(contest.run())
        for (route, name), (own, randoms) in entered.items():
            where, (ours, theirs) = {"route": route, "rule": name}, said[route, name]
            result = compared(own, randoms, outcome)
            raw = entered["raw", name][0].masks
            result |= shares(ours) | {"jaccard_raw": jaccard_pruned(own.masks, raw)}
            yield Point(result, **where, mask="legcnet")
            like = {"accuracy": means(randoms, outcome)["accuracy"]}
            yield Point(like, **where, mask=RANDOM)
            yield Point({"causal": shares(theirs)["causal"]}, **where, mask="another trial")
        for route, exponents in read[0].items():
            known = exponents[~exponents.isnan()]
            yield Point(mean_and_positive(known), route=route, rule="none", mask=DENSE)
        ratio = (twins[0].distance[-1] / twins[0].distance[0]).median().item()
        whole = mean_and_positive(twins[0].growth()) | {"ratio": ratio}
        yield Point(whole, route="whole training", rule="none", mask=DENSE)

    def twins(self, network: SigmoidNetworks, data: Dataset, reading: MaskReading) -> TwinSeries:
        """The twins of one network."""
        settings = legcnet_settings(self.dataset)
        how = {"lr": settings.lr, "label_size": settings.label_size, "epochs": reading.epochs}
        return twin_series(network, data.x_train, data.y_train, delta=self.delta, **how)


def routes(twins: TwinSeries, reading: MaskReading) -> dict[str, torch.Tensor]:
    """Windowed exponents (W, P) by each of `ROUTES`."""
    how = {"window": reading.window, "horizon": reading.horizon}
    plain = {"gate": False, "decimals": None}
    found = {
        "raw": exponents_of(twins.weights, reading),
        "own twin": windowed_exponents(twins.own, **plain, **how).exponent,
        "first twin": windowed_exponents(twins.first, **plain, **how).exponent,
        "growth": growth_exponents(twins.distance, window=reading.window),
    }
    return {route: exponents[: reading.n_windows] for route, exponents in found.items()}


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


def mean_and_positive(values: torch.Tensor) -> dict[str, float]:
    """Mean exponent, and the share above zero."""
    return {"exponent": values.mean().item(), "positive": (values > 0).double().mean().item()}
