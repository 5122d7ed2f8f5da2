"""Do explanations survive LEGCNet? The study of chapter 11 on the paper's tables.

The LEGCNet paper (arXiv:2308.09955, figures 3, 7 and 8) compares pictures of SHAP values by eye.
Here every network's attributions are exact Shapley values, for at most nine features allow that,
and every comparison with the dense network stands beside that of two dense networks.

A cell is one table and one of the ten published initial networks; the seed is the number of the
trial, from 0. The MNIST network is in `explanation_points.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_int
from causalprune_lib.diagnostics.agreement import global_importance, rank_agreement
from causalprune_lib.diagnostics.attribution import shap_values
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.legcnet import published_amount
from causalprune_lib.evidence.studies.legcnet_contest import (
    TRIALS,
    all_networks,
    check_trial,
    published_reading,
    study_data,
)
from causalprune_lib.evidence.studies.legcnet_controls import lowest_at_counts
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.pruning.legcnet_decision import LEGCNetDecision
from causalprune_lib.pruning.legcnet_networks import SigmoidNetworks, random_masks_like
from causalprune_lib.pruning.legcnet_released import read_trials, train_as_released
from causalprune_lib.pruning.legcnet_settings import LEGCNetSettings, legcnet_settings

DATASETS = ("cancer", "titanic", "banknote", "vowel")  # those of figures 3, 7 and 8
STOPS = ("benchmark", "end")
SHOWN = ("dense", "LEGCNet", "magnitude")  # whose importances are kept, feature by feature


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

    Metrics: those of `rank_agreement`, a third of the features being the top ones; `same_order`, 1
    if all features have the dense network's ranks; test `accuracy`; `n_pruned`. Of "LEGCNet" also
    `beats_...` for the first three and "shares" and "attributions": the share of the random masks
    that agree less, ties counted half. With the coordinate `feature`: `importance`, the normalised
    global importance at the benchmark.

    Parameters
    ----------
    dataset : str
        One of `DATASETS`.
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
        trial = check_trial(seed)
        data, networks = study_data(self.dataset, self.on), all_networks(self.dataset, self.on)
        start = networks.select([trial])
        settings = legcnet_settings(self.dataset)
        dense = train_to_stops(settings, networks, data)
        order = torch.randperm(
            len(data.x_train), generator=torch.Generator().manual_seed(seed)
        )
        reordered = train_to_stops(settings, start, data, order=order)
        masks = self._masks(trial, dense["benchmark"].flat()[trial].abs())
        keep = torch.stack([mask for same in masks.values() for mask in same])
        masked = train_to_stops(settings, start.select([0] * len(keep)), data, keep=keep)

        others = [i for i in range(TRIALS) if i != trial]
        x, background = self._drawn(data, seed)
        for stop in STOPS:
            groups = {
                ("dense", "none"): dense[stop].select([trial]),
                ("other seed", "none"): dense[stop].select(others),
                ("other order", "none"): reordered[stop],
                ("untrained", "none"): start,
            }
            first = 0
            for place, same in masks.items():
                groups[place] = masked[stop].select(range(first, first + len(same)))
                first += len(same)
            pruned = {place: int((~same[0]).sum()) for place, same in masks.items()}
            for point in compared(groups, data, x, background):
                where = point.coordinates["network"], point.coordinates["counts"]
                if "feature" not in point.coordinates:
                    point.metrics |= {"n_pruned": pruned.get(where, 0)}
                elif stop != "benchmark":
                    continue
                point.coordinates["stop"] = stop
                yield point

    def _masks(self, trial: int, size: torch.Tensor) -> dict[tuple[str, str], list[torch.Tensor]]:
        """Masks (P,) by network and counts; several for "random"."""
        d, h, k = legcnet_settings(self.dataset).sizes
        split = h * d
        pair = all_networks(self.dataset, self.on).select([trial, (trial + 1) % TRIALS])
        wanted: list[tuple[str, torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for variant in ("FT", "PT"):
            own, other = (
                read.decision
                for read in read_trials(
                    self.dataset,
                    variant=variant,
                    reading=published_reading(self.dataset, variant),
                    networks=pair,
                    data=study_data(self.dataset, self.on),
                )
            )
            keep = _kept(own, published_amount(self.dataset, variant=variant))
            wanted.append((variant, keep, own.scores, other.scores))
        *_, own_scores, other_scores = wanted[0]
        ranks = torch.arange(h * (d + k))
        half = torch.where(ranks < split, ranks >= split // 2, ranks >= split + h * k // 2)
        keep = lowest_at_counts(own_scores, half, split=split)
        wanted.append(("half", keep, own_scores, other_scores))
        masks: dict[tuple[str, str], list[torch.Tensor]] = {}
        for i, (counts, keep, scores, other) in enumerate(wanted):
            masks["LEGCNet", counts] = [keep]
            randoms = random_masks_like(
                keep[None], self.n_random, seed=1000 * (i + 1) + trial, split=split
            )
            masks["random", counts] = list(randoms)
            rankings = {"magnitude": size, "inverse": -scores, "another trial": other}
            for name, by in rankings.items():
                masks[name, counts] = [lowest_at_counts(by, keep, split=split)]
        return masks

    def _drawn(self, data: Dataset, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Examples to explain and the background, drawn without replacement."""
        rng = np.random.default_rng(seed)
        found = []
        for name, x, n in (
            ("examples", data.x_test, self.examples),
            ("background", data.x_train, self.background),
        ):
            n = min(check_int(name, n), len(x))
            found.append(x[np.sort(rng.choice(len(x), n, replace=False))])
        return found[0], found[1]


def train_to_stops(
    settings: LEGCNetSettings,
    networks: SigmoidNetworks,
    data: Dataset,
    *,
    keep: torch.Tensor | None = None,
    order: torch.Tensor | None = None,
) -> dict[str, SigmoidNetworks]:
    """Train networks side by side, and keep each as it is at both `STOPS`.

    Parameters
    ----------
    settings, networks, data
        As for `train_as_released`.
    keep : bool tensor (B, P), optional
        Masks.
    order : int tensor (N,), optional
        In which the training examples come. Default: as they are.
    """
    if order is not None:
        x, y = data.x_train[order], data.y_train[order]
    else:
        x, y = data.x_train, data.y_train
    fields = ("w1", "b1", "w2", "b2")
    saved = {name: getattr(networks, name).clone() for name in fields}
    running = torch.ones(len(networks), dtype=torch.bool, device=x.device)
    for _ in range(settings.max_epochs):
        networks = train_networks(
            networks, x, y, lr=settings.lr, label_size=settings.label_size, epochs=1, masks=keep
        ).networks
        for name in fields:
            saved[name][running] = getattr(networks, name)[running]
        running &= networks.judge(x, y)[0] < settings.benchmark
    return {"benchmark": SigmoidNetworks(**saved), "end": networks}
