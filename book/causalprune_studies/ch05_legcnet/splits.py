"""LEGCNet on several splits of a table, from many starts, as a spec for `run_grid`.

The paper has one split and one order of the examples for each table, so whatever its test rows say
by chance is in every number of it. Here the seed is a split. Number 0 is the paper's own; in 1 to 4
a quarter of the paper's training rows is tested on and all other rows are trained on, in another
order. No row is tested on twice. The training sets do overlap, which makes intervals over splits
somewhat too narrow (Bengio and Grandvalet, JMLR 5, 2004).

A cell trains all starts and all their masks side by side, and asks for nothing but the split.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset, load_dataset, scale, scale_as_released
from causalprune_lib.pruning.contest import DENSE, RANDOM, Metrics
from causalprune_lib.pruning.legcnet import LEGCNet
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.scores import Scores
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_studies.ch05_legcnet.controls import placebos, shares, size_and_inverse
from causalprune_studies.ch05_legcnet.study import DATASETS, decided_or_ranked
from causalprune_studies.paper_networks.initial import PUBLISHED_TRIALS
from causalprune_studies.paper_networks.masks import draw_masks_like
from causalprune_studies.paper_networks.settings import legcnet_settings
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import (
    legcnet_data,
    legcnet_networks,
    read_trials,
    run_to_benchmark,
)

SPLITS = 5
SCALINGS = ("as_released", "standard")
VARIANTS = ("FT", "PT")
THRESHOLDS = (0.2, 0.05, 0.01, 0.001)  # of the p-value; the released one is 0.05
AMOUNTS = (0.1, 0.3, 0.5, 0.7, 0.9)
ANOTHER = "another start"
METRICS = ("accuracy", "f1", "reached", "epochs_used")

Place = tuple[str, str, str]  # variant, cut, mask


@dataclass(frozen=True)
class LEGCNetSplits:
    """One split of one table: LEGCNet from many starts, with its controls and its whole front.

    Coordinates `variant` ("FT", "PT"; "none" for the dense network), `cut`, `mask` and `start`.

    - cut "none": the dense network;
    - cut "released": the decision as released, error on the test set; where it prunes nothing, the
      published number of weights, lowest scores first;
    - FT only, and no `start` for they are means over all: cuts "p < 0.2", ..., the same decision
      with another threshold, and "prune 10%", ..., the lowest scores, whatever the p-value.

    Masks: "legcnet"; "random" (mean over `n_random` masks, of the front over one); "magnitude";
    of "released" also "inverse", LEGCNet's ranking upside down, and "another start", the ranking by
    the next start's exponents. All prune as many weights in each layer as "legcnet".

    Metrics: `accuracy`, `f1` and `reached` as in `NetworksRun.metrics`; `epochs_used`, the share of
    the epochs allowed until the benchmark, 1 where it is never reached. Of "legcnet" and all of the
    front: `n_pruned`. Of "legcnet" at the cut "released": `empty`, whether the decision itself
    prunes nothing. Of the front: `emptied`, the share of masks with a layer that has no weights
    left (a threshold's, for a ranking leaves every layer one). Of "legcnet", "another start",
    "half-shifted", "shuffled" and "noise" at the cut "released": `causal`, the share of the weights
    called causal by these exponents.

    `scaling` is how the features are scaled: "as_released" or "standard", fitted on the training
    rows. The first ten starts are the published ones, the others are drawn likewise.
    """

    dataset: str = "cancer"
    scaling: str = "as_released"
    starts: int = 20
    n_random: int = 3
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Read masks from all starts on the split number `seed`, train them all."""
        data = split_data(self.dataset, seed, scaling=self.scaling, device=self.on)
        networks = initial_networks(self.dataset, self.starts, device=self.on)
        entries: dict[Place, list[tuple[int, Masks]]] = {}
        facts: dict[tuple[int, Place], dict[str, float]] = {}

        def enter(start: int, place: Place, *masks: Masks) -> None:
            entries.setdefault(place, []).extend((start, mask) for mask in masks)

        for variant in VARIANTS:
            read = read_starts(self.dataset, variant, networks, data)
            for start, own in enumerate(read):
                other, like = read[(start + 1) % len(read)], self._decided(own, variant)
                said = placebos(own, other, seed=start)
                said = {ANOTHER: said.pop("another trial")} | said
                rankings = size_and_inverse(own)
                rankings[ANOTHER] = like.layout.unflatten(said[ANOTHER].scores)
                at = variant, "released"
                enter(start, (*at, "legcnet"), like)
                enter(start, (*at, RANDOM), *self._random(like, self.n_random, seed, start))
                for mask, scores in rankings.items():
                    enter(start, (*at, mask), cut_like(scores, like))
                own_facts = {
                    "n_pruned": like.n - like.n_kept,
                    "empty": float(own.decision_.n_pruned == 0),
                }
                facts[start, (*at, "legcnet")] = own_facts | shares(own.decision_)
                for mask, decision in said.items():
                    facts[start, (*at, mask)] = {"causal": shares(decision)["causal"]}
                if variant == "FT":
                    for cut, mask in front(own).items():
                        enter(start, ("FT", cut, "legcnet"), mask)
                        enter(start, ("FT", cut, RANDOM), *self._random(mask, 1, seed, start))
                        size = cut_like(rankings["magnitude"], mask)
                        enter(start, ("FT", cut, "magnitude"), size)
        for start in range(self.starts):
            whole = networks.layout.unflatten(torch.ones(networks.layout.size, dtype=torch.bool))
            enter(start, ("none", "none", DENSE), Masks(whole))
        yield from self._points(entries, facts, self._train(entries, networks, data))

    def _decided(self, own: LEGCNet, variant: str) -> Masks:
        return decided_or_ranked(own, self.dataset, variant)

    def _random(self, like: Masks, n: int, split: int, start: int) -> list[Masks]:
        seed = 1000 * (100 * split + start) + like.n - like.n_kept
        drawn = draw_masks_like(like.flat()[None], n, seed=seed, split=like.layout.sizes[0])
        return [Masks.from_flat(like.layout, keep) for keep in drawn]

    def _train(
        self,
        entries: dict[Place, list[tuple[int, Masks]]],
        networks: SigmoidNetworks,
        data: Dataset,
    ) -> Iterator[Metrics]:
        """The outcome of every entry, in order; all are trained side by side."""
        every = [entry for some in entries.values() for entry in some]
        starts, masks = zip(*every, strict=True)
        how = {"networks": networks.select(starts), "data": data, "until_benchmark": False}
        most = legcnet_settings(self.dataset).max_epochs
        for outcome in run_to_benchmark(self.dataset, masks, **how).outcomes():
            used = (outcome["epochs"] + 1) / most if outcome["reached"] else 1.0
            yield outcome | {"epochs_used": used}

    def _points(
        self,
        entries: dict[Place, list[tuple[int, Masks]]],
        facts: dict[tuple[int, Place], dict[str, float]],
        outcomes: Iterator[Metrics],
    ) -> Iterator[Point]:
        for place, some in entries.items():
            variant, cut, mask = place
            where = {"variant": variant, "cut": cut, "mask": mask}
            found = [next(outcomes) for _ in some]
            if cut not in ("none", "released"):
                counts = {
                    "n_pruned": float(np.mean([m.n - m.n_kept for _, m in some])),
                    "emptied": float(np.mean([any_layer_is_empty(m) for _, m in some])),
                }
                yield Point(mean_of(found) | counts, **where)
                continue
            for start in range(self.starts):
                own = [f for (i, _), f in zip(some, found, strict=True) if i == start]
                yield Point(mean_of(own) | facts.pop((start, place), {}), **where, start=start)
        for (start, (variant, cut, mask)), said in facts.items():  # placebos that are not trained
            yield Point(said, variant=variant, cut=cut, mask=mask, start=start)


def mean_of(outcomes: list[Metrics]) -> dict[str, float]:
    """The mean of each of `METRICS`."""
    return {name: float(np.mean([found[name] for found in outcomes])) for name in METRICS}


def front(legcnet: LEGCNet) -> dict[str, Masks]:
    """Masks from little to much: by the threshold of the p-value, and by the ranking alone."""
    said, layout = legcnet.decision_, legcnet.masks_.layout
    found = {
        f"p < {alpha:g}": Masks.from_flat(layout, (said.pvalue < alpha) | said.missing)
        for alpha in THRESHOLDS
    }
    scores = legcnet.scores_
    ranked = {a: masks_from_scores(scores, a, nan="keep", floor=1) for a in AMOUNTS}
    return found | {f"prune {a:.0%}": masks for a, masks in ranked.items()}


def any_layer_is_empty(masks: Masks) -> bool:
    """Whether a layer has no weights left."""
    return not all(bool(keep.any()) for keep in masks.values())


def cut_like(scores: Scores, like: Masks) -> Masks:
    """The highest scores in each layer, as many as `like` keeps there."""
    return masks_from_scores(scores, scope="like", like=like, nan="keep")


def read_starts(
    dataset: str, variant: str, networks: SigmoidNetworks, data: Dataset, *, at_once: int = 5
) -> list[LEGCNet]:
    """Masks as released, one from each start; of each recording only the last row is kept."""
    found = []
    for first in range(0, len(networks), at_once):
        some = networks.select(range(first, min(first + at_once, len(networks))))
        for legcnet in read_trials(dataset, variant=variant, networks=some, data=data):
            legcnet.trajectory_ = legcnet.trajectory_[-1:].clone()
            found.append(legcnet)
    return found


def initial_networks(dataset: str, n: int, *, device: str = "cpu") -> SigmoidNetworks:
    """The ten published initial networks, and as many more as are asked for, drawn likewise.

    Examples
    --------
    >>> initial_networks("iris_csv", 12)
    SigmoidNetworks(12 networks, 4-6-3, 42 weights each)
    """
    published = min(check_int("starts", n, minimum=2), PUBLISHED_TRIALS)
    found = legcnet_networks(dataset, trials=published, device=device)
    if n == published:
        return found
    scale_of_weights = found.flat().std().item()
    sizes = legcnet_settings(dataset).sizes
    how = {"seed": 0, "scale": scale_of_weights, "device": device}
    more = SigmoidNetworks.random(sizes, n - published, **how)
    parts = zip((found.weights, found.biases), (more.weights, more.biases), strict=True)
    joined = [tuple(map(torch.cat, zip(a, b, strict=True))) for a, b in parts]
    return SigmoidNetworks(*joined)


def split_data(
    dataset: str, split: int, *, scaling: str = "as_released", device: str = "cpu"
) -> Dataset:
    """A table of the paper, split once more.

    Examples
    --------
    >>> [len(split_data("iris_csv", split).y_test) for split in (0, 1, 4)]
    [30, 30, 30]
    """
    check_choice("dataset", dataset, DATASETS)
    check_choice("scaling", scaling, SCALINGS)
    if check_int("seed", split, minimum=0) >= SPLITS:
        raise ValueError(f"seed must be a split, 0..{SPLITS - 1}; got {split}.")
    data = legcnet_data(dataset, preprocessing=scaling, device=device)
    if split == 0:
        return data
    raw = load_dataset(data.name, preprocessing="none", dtype=torch.float64)
    x = torch.cat([raw.x_train, raw.x_test]).numpy()
    y = torch.cat([raw.y_train, raw.y_test])
    quarters = np.array_split(np.random.default_rng(0).permutation(len(raw.y_train)), SPLITS - 1)
    test = np.sort(quarters[split - 1])
    train = np.random.default_rng(split).permutation(np.delete(np.arange(len(y)), test))
    x_train, x_test = scaled(data.name, x[train], x[test], scaling)
    found = {"x_train": x_train, "y_train": y[train], "x_test": x_test, "y_test": y[test]}
    return replace(data, **{name: part.to(device) for name, part in found.items()})


def scaled(
    dataset: str, train: np.ndarray, test: np.ndarray, scaling: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both parts (N, D) in float64; as released, each by its own statistics."""
    if scaling == "as_released":
        train, test = (scale_as_released(dataset, part) for part in (train, test))
    return scale(train, test, standard=scaling == "standard", dtype=torch.float64)


SPLITS_STUDIES = {
    "quick": (LEGCNetSplits("iris_csv", starts=2, n_random=1),),
    "full": tuple(LEGCNetSplits(name, starts=5, profile="full") for name in DATASETS),
    "paper": tuple(
        LEGCNetSplits(name, scaling, profile="paper") for scaling in SCALINGS for name in DATASETS
    ),
}
