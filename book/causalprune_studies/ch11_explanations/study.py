"""Do explanations survive LEGCNet? The study of chapter 11 on the paper's tables.

The LEGCNet paper (arXiv:2308.09955, figures 3, 7 and 8) compares pictures of SHAP values by eye.
Here the attributions are exact Shapley values, which at most nine features allow, and every
comparison with a dense network stands beside that of two dense networks.

A cell is one table and one of the ten published initial networks; the seed is the number of the
trial, from 0. The MNIST network is in `points.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.diagnostics.attribution import STATISTICS, rank_agreement, shap_values
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.training import evaluate
from causalprune_lib.pruning.legcnet import LEGCNetDecision
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_studies.ch05_legcnet.study import check_trial, published_amount
from causalprune_studies.ch10_spectra.networks import PUBLISHED, JudgedNetworks, judged_networks
from causalprune_studies.ch11_explanations.shapley import global_importance
from causalprune_studies.paper_networks.initial import PUBLISHED_TRIALS
from causalprune_studies.paper_networks.masks import draw_masks_like
from causalprune_studies.paper_networks.mnist import mnist_settings
from causalprune_studies.paper_networks.settings import LEGCNetSettings, legcnet_settings
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import (
    legcnet_data,
    legcnet_networks,
    read_trials,
    train_networks,
)

# ---- networks: Networks of the LEGCNet paper's tables, trained to where it saved them, explained


STOPS = ("benchmark", "end")


DENSE = ("dense", "none")


SHOWN = ("dense", "LEGCNet", "random", "magnitude")  # their importances, feature by feature


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
    saves a network, or the last; "end" is after `max_epochs` for all.

    Parameters
    ----------
    settings, networks, data
        As for `train_as_released`.
    keep : bool tensor (B, P), optional
        Masks.
    order : int tensor (N,), optional
        In which the training examples come. Default: as they are.
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


def explain(networks: SigmoidNetworks, x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    """Exact Shapley values (B, N, F, K) of what goes into the last sigmoid of each network."""
    return np.stack(
        [
            shap_values(networks.model(i), x, background=background, method="exact")
            for i in range(len(networks))
        ]
    )


def agreement(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """The statistics of `rank_agreement`, and whether all features have the same ranks.

    The first third of the features count as the top ones.
    """
    features = a.shape[1]
    found = rank_agreement(a, b, k=max(1, features // 3), resamples=0)
    values = dict(zip(found.statistic, found.value, strict=True))
    return values | {"same_order": float(values["spearman"] > 1 - 1e-9)}


def compared(
    groups: Mapping[tuple[str, str], SigmoidNetworks],
    data: Dataset,
    x: torch.Tensor,
    background: torch.Tensor,
) -> Iterator[Point]:
    """Compare the explanations of every group of networks with those of the group `DENSE`.

    Parameters
    ----------
    groups : mapping of (str, str) to SigmoidNetworks
        By network and counts. Numbers are means over the networks of a group.
    data : Dataset
        Whose test examples give the accuracy.
    x, background : tensor (N, F), tensor (B, F)
        Examples to explain, and what missing features are replaced by.

    Yields
    ------
    Point
        With the coordinates `network` and `counts`, for some also `feature`.
    """
    reference = explain(groups[DENSE], x, background)[0]
    found = {}
    for place, networks in groups.items():
        values = explain(networks, x, background)
        accuracy = networks.judge(data.x_test, data.y_test)[0].mean().item()
        where = dict(zip(("network", "counts"), place, strict=True))
        if place[0] in SHOWN:
            shares = np.mean([global_importance(v, normalise=True) for v in values], 0)
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
        if ("random", counts) in found:
            own, others = found["LEGCNet", counts][0], found["random", counts]
            beats = {f"beats_{name}": _beaten(own, others, name) for name in STATISTICS}
            yield Point(beats, network="LEGCNet", counts=counts)


def _beaten(own: Mapping[str, float], others: list[dict[str, float]], name: str) -> float:
    """Share of `others` with a lower value, ties counted half; rounding does not count."""
    gaps = np.round([own[name] - other[name] for other in others], 10)
    return float(((gaps > 0) + (gaps == 0) / 2).mean())


# ---- points: Do explanations survive on MNIST? Attributions of the judged networks, pixel by pix


def explanation_points(
    judged: JudgedNetworks, *, seed: int, examples: int = 60, background: int = 30
) -> Iterator[Point]:
    """Compare the attributions of every network with those of the dense one.

    Deep SHAP of the class scores for `examples` test images before `background` training images,
    both drawn by `seed`. Pixels that are equal in all of these cannot matter to any network; they
    are left out, for they would only raise the agreement.

    Yields
    ------
    Point
        `judge` "explanations", `network` and `amount` as in `judged_networks`, and `state`: "kept"
        for the networks without a mask ("other", the yardstick, and "initial"), "retrained" and
        "cut". Metrics: those of `rank_agreement`, a tenth of the pixels being the top ones;
        `accuracy`; `pixels`, how many vary.
    """
    x, rest = _drawn(judged, seed, examples, background)
    both = torch.cat([x, rest]).flatten(1)
    varies = (both != both[0]).any(0).cpu().numpy()  # (F,)
    reference = _attributions(judged.dense, x, rest)[:, varies]
    networks = {("other", PUBLISHED, "kept"): judged.other}
    networks["initial", PUBLISHED, "kept"] = judged.initial
    for state in ("retrained", "cut"):
        for (name, amount), model in getattr(judged, state).items():
            networks[name, amount, state] = model
    for (name, amount, state), model in networks.items():
        values = _attributions(model, x, rest)[:, varies]
        found = rank_agreement(reference, values, k=max(1, varies.sum() // 10), resamples=0)
        metrics = dict(zip(found.statistic, found.value, strict=True))
        accuracy = evaluate(model, judged.data.x_test, judged.data.y_test).accuracy
        metrics |= {"accuracy": accuracy, "pixels": int(varies.sum())}
        yield Point(metrics, judge="explanations", network=name, amount=amount, state=state)


def image_points(
    dataset: str, *, seeds: Iterable[int], examples: int = 12, background: int = 12
) -> pd.DataFrame:
    """The points of several seeds' networks in a table: a row for each network."""
    return pd.DataFrame(
        [
            {**point.coordinates, **point.metrics, "seed": seed}
            for seed in seeds
            for point in explanation_points(
                judged_networks(mnist_settings(dataset), seed=seed),
                seed=seed,
                examples=examples,
                background=background,
            )
        ]
    )


def _attributions(model: nn.Module, x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    """Deep SHAP of the class scores, (N, pixels, K)."""
    return shap_values(model, x, background=background, method="deep")


def _drawn(
    judged: JudgedNetworks, seed: int, examples: int, background: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Test images to explain and training images as their background."""
    rng = np.random.default_rng(seed)
    x, rest = (
        images[rng.permutation(len(images))[: check_int(name, n)]]
        for name, images, n in (
            ("examples", judged.data.x_test, examples),
            ("background", judged.data.x_train, background),
        )
    )
    return x, rest


# ---- agreement: Do explanations survive LEGCNet? The study of chapter 11 on the paper's tables.


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
        data = self.load()
        networks = legcnet_networks(self.dataset, trials=PUBLISHED_TRIALS, device=self.on)
        start = networks.select([trial])
        dense = train_to_stops(settings, networks, data)
        order = torch.randperm(len(data.x_train), generator=own_stream(seed, "order"))
        reordered = train_to_stops(settings, start, data, order=order)
        masks = self.masks(trial, dense["benchmark"].flat()[trial].abs())
        keep = torch.cat(list(masks.values())).to(self.on)
        masked = train_to_stops(settings, start.select([0] * len(keep)), data, keep=keep)

        others = [i for i in range(PUBLISHED_TRIALS) if i != trial]
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
        return legcnet_data(self.dataset, device=self.on)

    def masks(self, trial: int, sizes: torch.Tensor) -> dict[tuple[str, str], torch.Tensor]:
        """Masks by network and counts, (M, P) each: M is `n_random` for "random", else 1.

        `sizes` (P,) are those of the weights that "magnitude" ranks.
        """
        d, h, k = legcnet_settings(self.dataset).sizes
        split, pair = h * d, [trial, (trial + 1) % PUBLISHED_TRIALS]
        networks = legcnet_networks(self.dataset, trials=PUBLISHED_TRIALS, device=self.on).select(
            pair
        )
        layout = networks.layout
        found: dict[tuple[str, str], torch.Tensor] = {}

        def lowest_like(scores: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
            named, like = layout.unflatten(scores.cpu()), Masks.from_flat(layout, keep)
            return masks_from_scores(named, scope="like", like=like, nan="keep").flat()

        def add(counts: str, keep: torch.Tensor, own: LEGCNetDecision, other: LEGCNetDecision):
            salt = 1000 * ("FT", "PT", "half").index(counts) + trial
            found["LEGCNet", counts] = keep[None]
            like = draw_masks_like(keep[None], self.n_random, seed=salt, split=split)
            found["random", counts] = like
            rankings = {"magnitude": sizes, "inverse": -own.scores, "another trial": other.scores}
            for network, scores in rankings.items():
                found[network, counts] = lowest_like(scores, keep)[None]

        read = {}
        for variant in ("FT", "PT"):
            trials = read_trials(
                self.dataset,
                variant=variant,
                networks=networks,
                data=self.load(),
            )
            own, other = read[variant] = [trial.decision_ for trial in trials]
            keep = own.keep.cpu()
            if own.n_pruned == 0:
                scores = own.scores.cpu().nan_to_num(nan=torch.inf)
                lowest = scores.argsort(stable=True)
                keep[lowest[: published_amount(self.dataset, variant=variant)]] = False
            add(variant, keep, own, other)
        place = torch.arange(h * (d + k))
        half = (place % split >= split // 2) & (place < split) | (place >= split + h * k // 2)
        add("half", lowest_like(read["FT"][0].scores, half), *read["FT"])
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
