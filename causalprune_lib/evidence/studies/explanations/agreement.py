"""Do explanations survive LEGCNet? The study of chapter 11 on the paper's tables.

The LEGCNet paper (arXiv:2308.09955, figures 3, 7 and 8) compares pictures of SHAP values by eye.
Here the attributions are exact Shapley values, which at most nine features allow, and every
comparison with a dense network stands beside that of two dense networks.

A cell is one table and one of the ten published initial networks; the seed is the number of the
trial, from 0. The MNIST network is in `points.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.explanations.networks import (
    DENSE,
    STOPS,
    compared,
    train_to_stops,
)
from causalprune_lib.evidence.studies.legcnet.contest import (
    TRIALS,
    all_networks,
    check_trial,
    published_reading,
    study_data,
)
from causalprune_lib.evidence.studies.legcnet.controls import lowest_at_counts
from causalprune_lib.evidence.studies.legcnet.trials import published_amount
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.pruning.legcnet_decision import LEGCNetDecision
from causalprune_lib.pruning.legcnet_networks import random_masks_like
from causalprune_lib.pruning.legcnet_released import read_trials
from causalprune_lib.pruning.legcnet_settings import legcnet_settings

TABLES = ("cancer", "titanic", "banknote", "vowel")  # those of figures 3, 7 and 8


@dataclass(frozen=True)
class ExplanationAgreement:
    """How far the networks of one trial explain themselves as its dense network does.

    Gives points with the coordinates `stop`, `network` and `counts`. Networks are taken at two
    stops: "benchmark", the epoch that reaches the paper's training accuracy, where the released
    code saves them (or the last epoch); and "end", after as many epochs for all. Each is compared
    with the dense network at the same stop.

    Without a mask (`counts` "none"): "other seed", the mean over the dense networks of the nine
    other trials, which is the yardstick; "other order", the same initial weights with the training
    examples in another order; "untrained", the initial network; and "dense" itself.

    With a mask, trained from the initial weights of the trial: `counts` "FT" and "PT", as many
    weights in each layer as LEGCNet's mask prunes (read as released; where it prunes nothing, the
    published number of lowest scores), and "half", half of each layer. The rankings are "LEGCNet"
    (for "half", FT's scores), "random" (mean over `n_random` masks), "magnitude" (of the dense
    network at its benchmark), "inverse" (LEGCNet's upside down) and "another trial" (the scores of
    the next trial's network).

    Metrics: those of `rank_agreement`, the first third of the features being the top ones;
    `same_order`, 1 if all features have the dense network's ranks; test `accuracy`. Of "LEGCNet"
    also `beats_...`: the share of the random masks that agree less, ties counted half. Without a
    stop, of masks: `n_pruned`, and `most_cut`, the largest share that is pruned of the weights
    which one feature goes out with. With the coordinate `feature` (from 0), at the benchmark:
    `importance`, the normalised global importance.

    Parameters
    ----------
    dataset : str
        One of `TABLES`.
    n_random : int
        Random masks for each of the counts.
    examples, background : int
        Test examples explained, and training examples that stand for missing features; drawn by
        the seed.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "cancer"
    n_random: int = 10
    examples: int = 100
    background: int = 50
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Train the dense networks, read masks, train them, explain all, compare."""
        check_choice("dataset", self.dataset, TABLES)
        trial, settings = check_trial(seed), legcnet_settings(self.dataset)
        data, networks = self.load(), all_networks(self.dataset, device=self.on)
        start = networks.select([trial])
        dense = train_to_stops(settings, networks, data)
        order = torch.randperm(len(data.x_train), generator=own_stream(seed, "order"))
        reordered = train_to_stops(settings, start, data, order=order)
        masks = self.masks(trial, dense["benchmark"].flat()[trial].abs())
        keep = torch.cat(list(masks.values())).to(self.on)
        masked = train_to_stops(settings, start.select([0] * len(keep)), data, keep=keep)

        others = [i for i in range(TRIALS) if i != trial]
        x, background = self.drawn(data, seed)
        for stop in STOPS:
            groups = {
                DENSE: dense[stop].select([trial]),
                ("other seed", "none"): dense[stop].select(others),
                ("other order", "none"): reordered[stop],
                ("untrained", "none"): start,
            }
            first = 0
            for place, same in masks.items():
                groups[place] = masked[stop].select(range(first, first + len(same)))
                first += len(same)
            for point in compared(groups, data, x, background):
                if "feature" in point.coordinates and stop != "benchmark":
                    continue
                yield Point(point.metrics, stop=stop, **point.coordinates)
        for (network, counts), same in masks.items():
            facts = {"n_pruned": int((~same[0]).sum()), "most_cut": self.most_cut(same)}
            yield Point(facts, network=network, counts=counts)

    def load(self) -> Dataset:
        """The table, scaled as released."""
        return study_data(self.dataset, device=self.on)

    def masks(self, trial: int, sizes: torch.Tensor) -> dict[tuple[str, str], torch.Tensor]:
        """Masks by network and counts, (M, P) each: M is `n_random` for "random", else 1.

        `sizes` (P,) are those of the weights that "magnitude" ranks.
        """
        d, h, k = legcnet_settings(self.dataset).sizes
        split, pair = h * d, [trial, (trial + 1) % TRIALS]
        found: dict[tuple[str, str], torch.Tensor] = {}

        def add(counts: str, keep: torch.Tensor, own: LEGCNetDecision, other: LEGCNetDecision):
            salt = 1000 * ("FT", "PT", "half").index(counts) + trial
            found["LEGCNet", counts] = keep[None]
            like = random_masks_like(keep[None], self.n_random, seed=salt, split=split)
            found["random", counts] = like
            rankings = {"magnitude": sizes, "inverse": -own.scores, "another trial": other.scores}
            for network, scores in rankings.items():
                found[network, counts] = lowest_at_counts(scores, keep, split=split)[None]

        read = {}
        for variant in ("FT", "PT"):
            trials = read_trials(
                self.dataset,
                variant=variant,
                reading=published_reading(self.dataset, variant=variant),
                networks=all_networks(self.dataset, device=self.on).select(pair),
                data=self.load(),
            )
            own, other = read[variant] = [trial.decision for trial in trials]
            keep = own.keep.cpu()
            if own.n_pruned == 0:
                scores = own.scores.cpu().nan_to_num(nan=torch.inf)
                lowest = scores.argsort(stable=True)
                keep[lowest[: published_amount(self.dataset, variant=variant)]] = False
            add(variant, keep, own, other)
        place = torch.arange(h * (d + k))
        half = (place % split >= split // 2) & (place < split) | (place >= split + h * k // 2)
        add("half", lowest_at_counts(read["FT"][0].scores, half, split=split), *read["FT"])
        return found

    def most_cut(self, keep: torch.Tensor) -> float:
        """The largest share of one feature's weights that masks (M, P) prune, a mean over M."""
        d, h, _ = legcnet_settings(self.dataset).sizes
        cut = (~keep[:, : h * d]).double().reshape(len(keep), h, d)
        return cut.mean(1).amax(1).mean().item()

    def drawn(self, data: Dataset, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Test examples to explain and a background of training examples, drawn by `seed`."""
        rng = np.random.default_rng(seed)
        rows = [
            x[rng.permutation(len(x))[: check_int(name, n)]]
            for name, x, n in (
                ("examples", data.x_test, self.examples),
                ("background", data.x_train, self.background),
            )
        ]
        return rows[0], rows[1]


EXPLANATION_STUDIES: dict[str, tuple[ExplanationAgreement, ...]] = {
    "quick": (ExplanationAgreement(n_random=5, examples=60, background=30),),
    "full": tuple(ExplanationAgreement(name, profile="full") for name in TABLES),
}
