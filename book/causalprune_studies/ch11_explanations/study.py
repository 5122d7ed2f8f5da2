"""Do explanations survive LEGCNet? The study of chapter 11 on the paper's tables.

The LEGCNet paper (arXiv:2308.09955, figures 3, 7 and 8) compares pictures of SHAP values by eye.
Here the attributions are exact Shapley values, which at most nine features allow, and every
comparison with a dense network stands beside that of two dense networks.

A cell is one table and one of the ten published initial networks; the seed is the number of the
trial, from 0. The MNIST network is in `images.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.diagnostics.attribution import STATISTICS, rank_agreement, shap_values
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.contest import RANDOM, Contest, Play
from causalprune_lib.pruning.legcnet import LEGCNetDecision
from causalprune_lib.pruning.masks import Masks
from causalprune_studies.ch05_legcnet.controls import enter_random
from causalprune_studies.ch05_legcnet.study import check_trial, published_amount
from causalprune_studies.ch11_explanations.crowding import cut_by_feature
from causalprune_studies.paper_networks.initial import PUBLISHED_TRIALS
from causalprune_studies.paper_networks.settings import LEGCNetSettings, legcnet_settings
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import (
    legcnet_data,
    legcnet_networks,
    read_trials,
    train_networks,
)

TABLES = ("cancer", "titanic", "banknote", "vowel")  # those of figures 3, 7 and 8
STOPS = ("benchmark", "end")
COUNTS = ("FT", "PT", "half")
DENSE = ("dense", "none")
SHOWN = ("dense", "LEGCNet", "random", "magnitude")  # their importances, feature by feature


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
        data = legcnet_data(self.dataset, device=self.on)
        networks = legcnet_networks(self.dataset, trials=PUBLISHED_TRIALS, device=self.on)
        start = networks.select([trial])
        dense = train_to_stops(settings, networks, data)
        order = torch.randperm(len(data.x_train), generator=own_stream(seed, "order"))
        reordered = train_to_stops(settings, start, data, order=order)
        sizes = dense["benchmark"].flat()[trial].abs()
        contest = self.contest(trial, sizes, side_by_side(settings, start, data))
        masks: dict[tuple[str, str], list[Masks]] = {}
        masked: dict[tuple[str, str], list[dict[str, SigmoidNetworks]]] = {}
        for entry, outcome in contest.run():
            place = entry.ranking, entry.allocation
            masks.setdefault(place, []).append(entry.masks)
            masked.setdefault(place, []).append(outcome)

        others = [i for i in range(PUBLISHED_TRIALS) if i != trial]
        x, background = draw_examples(data, self.examples, self.background, seed=seed)
        for stop in STOPS:
            groups = {
                DENSE: [dense[stop].select([trial])],
                ("other seed", "none"): [dense[stop].select(others)],
                ("other order", "none"): [reordered[stop]],
                ("untrained", "none"): [start],
            }
            groups |= {place: [at[stop] for at in outcomes] for place, outcomes in masked.items()}
            for point in compared(groups, data, x, background):
                if "feature" in point.coordinates and stop != "benchmark":
                    continue
                yield Point(point.metrics, stop=stop, **point.coordinates)
        for (network, counts), same in masks.items():
            keep = torch.stack([mask.flat() for mask in same])
            most = cut_by_feature(keep, settings.sizes).amax(1).mean().item()
            facts = {"n_pruned": int((~keep[0]).sum()), "most_cut": most}
            yield Point(facts, network=network, counts=counts)

    def contest(self, trial: int, sizes: torch.Tensor, play: Play) -> Contest:
        """A contest of all masks of a trial; the rankings' counts are their allocation.

        `sizes` (P,) are those of the weights that "magnitude" ranks.
        """
        data = legcnet_data(self.dataset, device=self.on)
        networks = legcnet_networks(self.dataset, trials=PUBLISHED_TRIALS, device=self.on)
        pair, layout = networks.select([trial, (trial + 1) % PUBLISHED_TRIALS]), networks.layout
        contest = Contest({"magnitude": layout.unflatten(sizes.cpu())}, play, nan="keep")

        def enter(counts: str, like: Masks, own: LEGCNetDecision, other: LEGCNetDecision) -> None:
            contest.enter_masks(like, "LEGCNet", counts, like.amount)
            salt = 1000 * COUNTS.index(counts) + trial
            enter_random(contest, like, counts, self.n_random, seed=salt)
            contest.rank("inverse", layout.unflatten(-own.scores.cpu()))
            contest.rank("another trial", layout.unflatten(other.scores.cpu()))
            for ranking in ("magnitude", "inverse", "another trial"):
                contest.enter(ranking, like.amount, at=counts, like=like)

        read = {}
        for variant in ("FT", "PT"):
            trials = read_trials(self.dataset, variant=variant, networks=pair, data=data)
            own, other = read[variant] = [found.decision_ for found in trials]
            keep = own.keep.cpu().clone()
            if own.n_pruned == 0:
                lowest = own.scores.cpu().nan_to_num(nan=torch.inf).argsort(stable=True)
                keep[lowest[: published_amount(self.dataset, variant=variant)]] = False
            enter(variant, Masks.from_flat(layout, keep), own, other)
        upper = torch.cat([torch.arange(n) >= n // 2 for n in layout.sizes])  # half of each layer
        contest.rank("LEGCNet", layout.unflatten(read["FT"][0].scores.cpu()))
        half = contest.cut("LEGCNet", like=Masks.from_flat(layout, upper))
        enter("half", half, *read["FT"])
        return contest


def side_by_side(settings: LEGCNetSettings, start: SigmoidNetworks, data: Dataset) -> Play:
    """Play a contest by training one network under all masks at once, to both `STOPS`."""

    def play(masks: Sequence[Masks]) -> list[dict[str, SigmoidNetworks]]:
        keep = torch.stack([mask.flat() for mask in masks]).to(start.weights[0].device)
        found = train_to_stops(settings, start.repeat(len(masks)), data, keep=keep)
        return [{stop: found[stop].select([i]) for stop in STOPS} for i in range(len(masks))]

    return play


def train_to_stops(
    settings: LEGCNetSettings,
    networks: SigmoidNetworks,
    data: Dataset,
    *,
    keep: torch.Tensor | None = None,
    order: torch.Tensor | None = None,
) -> dict[str, SigmoidNetworks]:
    """Train networks side by side, and keep each as it is at both `STOPS`.

    "benchmark" is the epoch that reaches the paper's training accuracy, where the released code
    saves a network, or the last; "end" is after `max_epochs` for all. `keep` (B, P) are masks, and
    `order` (N,) is that of the training examples, by default as they are.
    """
    x, y = data.x_train, data.y_train
    if order is not None:
        x, y = x[order], y[order]
    saved = networks.clone()
    running = torch.ones(len(networks), dtype=torch.bool, device=x.device)
    for _ in range(settings.max_epochs):
        networks = train_networks(
            networks, x, y, lr=settings.lr, label_size=settings.label_size, epochs=1, masks=keep
        ).networks
        for kept, now in zip(
            saved.weights + saved.biases, networks.weights + networks.biases, strict=True
        ):
            kept[running] = now[running]
        running &= networks.judge(x, y)[0] < settings.benchmark
    return {"benchmark": saved, "end": networks}


def draw_examples(
    data: Dataset, examples: int, background: int, *, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Test examples to explain and a background of training examples, drawn by `seed`."""
    rng = np.random.default_rng(seed)
    found = [
        x[rng.permutation(len(x))[: check_int(name, n)]]
        for name, x, n in (
            ("examples", data.x_test, examples),
            ("background", data.x_train, background),
        )
    ]
    return found[0], found[1]


def explain(networks: SigmoidNetworks, x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    """Exact Shapley values (B, N, F, K) of what goes into the last sigmoid of each network."""
    return np.stack(
        [
            shap_values(networks.model(i), x, background=background, method="exact")
            for i in range(len(networks))
        ]
    )


def importance_shares(values: np.ndarray) -> np.ndarray:
    """Mean absolute attribution (F,) of each feature over their sum, from attributions (N, F, K).

    All are 0 where nothing matters.

    Examples
    --------
    >>> importance_shares(np.array([[[1.0], [-3.0]], [[-1.0], [1.0]]])).tolist()
    [0.3333333333333333, 0.6666666666666666]
    """
    importance = np.abs(values).mean(0).mean(1)
    total = importance.sum()
    return importance / (total if total > 0 else 1)


def agreement(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """The statistics of `rank_agreement`, and whether all features have the same ranks.

    The first third of the features count as the top ones.
    """
    features = a.shape[1]
    found = rank_agreement(a, b, k=max(1, features // 3), resamples=0)
    values = dict(zip(found.statistic, found.value, strict=True))
    return values | {"same_order": float(values["spearman"] > 1 - 1e-9)}


def compared(
    groups: Mapping[tuple[str, str], Sequence[SigmoidNetworks]],
    data: Dataset,
    x: torch.Tensor,
    background: torch.Tensor,
) -> Iterator[Point]:
    """Compare the explanations of every group of networks with those of the group `DENSE`.

    Parameters
    ----------
    groups : mapping of (str, str) to sequence of SigmoidNetworks
        By network and counts. Numbers are means over all networks of a group.
    data : Dataset
        Whose test examples give the accuracy.
    x, background : tensor (N, F), tensor (B, F)
        Examples to explain, and what missing features are replaced by.

    Yields
    ------
    Point
        With the coordinates `network` and `counts`, for some also `feature`.
    """
    reference = explain(groups[DENSE][0], x, background)[0]
    found = {}
    for place, batches in groups.items():
        values = np.concatenate([explain(networks, x, background) for networks in batches])
        hits = [networks.judge(data.x_test, data.y_test)[0] for networks in batches]
        accuracy = torch.cat(hits).mean().item()
        where = dict(zip(("network", "counts"), place, strict=True))
        if place[0] in SHOWN:
            shares = np.mean([importance_shares(v) for v in values], 0)
            for feature, share in enumerate(shares):
                yield Point({"importance": float(share)}, feature=feature, **where)
        if place == DENSE:
            yield Point({"accuracy": accuracy}, **where)
            continue
        each = [agreement(reference, v) for v in values]
        found[place] = each
        means = {name: float(np.nanmean([one[name] for one in each])) for name in each[0]}
        yield Point(means | {"accuracy": accuracy}, **where)
    for counts in dict.fromkeys(counts for _, counts in found):
        if (RANDOM, counts) in found:
            own, others = found["LEGCNet", counts][0], found[RANDOM, counts]
            beats = {f"beats_{name}": _beaten(own, others, name) for name in STATISTICS}
            yield Point(beats, network="LEGCNet", counts=counts)


def _beaten(own: Mapping[str, float], others: list[dict[str, float]], name: str) -> float:
    """Share of `others` with a lower value, ties counted half; rounding does not count."""
    gaps = np.round([own[name] - other[name] for other in others], 10)
    return float(((gaps > 0) + (gaps == 0) / 2).mean())


EXPLANATION_STUDIES: dict[str, tuple[ExplanationAgreement, ...]] = {
    "quick": (ExplanationAgreement(n_random=5, examples=60, background=30),),
    "full": tuple(ExplanationAgreement(name, profile="full") for name in TABLES),
    "paper": tuple(
        ExplanationAgreement(
            name, n_random=30, examples=legcnet_settings(name).n_test, profile="paper"
        )
        for name in TABLES
    ),
}
