"""LEGCNet on the paper's MNIST network, with its controls, as specs for `run_grid`.

One cell is one seed: it fixes the initial weights, as `torch.manual_seed` would, and the order of
the examples. The dense network is trained and read as it goes, FT and PT, and every mask is trained
from the initial weights beside its controls, all in one batch that sees the same examples. The
recorded dense network and the one of the batch differ by float32 rounding alone, and that has moved
the epoch of the benchmark by two: so small a gap means nothing. The paper's tables print its third
initialisation; its weights are those of seed 3, its data order is not known.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from time import perf_counter

import torch

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.causality.decisions import RULES
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.contest import DENSE, RANDOM, Contest, Entry, Metrics
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.scores import inverse_scores
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_studies.ch05_legcnet.controls import (
    by_place,
    half_shifted,
    means,
    share_beaten,
    shares,
)
from causalprune_studies.paper_networks.mnist import (
    MNIST_SETTINGS,
    DenseRecording,
    ImageSettings,
    mnist_data,
    mnist_settings,
    record_dense,
    train_on_images,
)

Place = tuple[str, str, str]  # variant, reading, mask


@dataclass(frozen=True)
class MNISTTrial:
    """One seed of LEGCNet's MNIST network with its controls.

    Gives points with the coordinates `variant`, `reading` and `mask`:

    - variant "none", reading "none", mask "dense": the dense network; also `seconds_training`,
      `seconds_exponents` and `seconds_decisions`;
    - variants "FT", "PT" (windows of FT, first tenth of the steps) and "PT, short windows";
    - reading "as released": the decision over all weights (smallest of many uncorrected p-values,
      error on the test set);
    - reading "upper layers": the same, pruning nothing in the first layer, as the released files;
    - reading "ranked": the published number of weights, the lowest scores first;
    - reading "corrected" (the same exponents; F test, lag by BIC, false discovery rate, error on
      the training set), and "corrected ranking", its lowest scores, as many in each layer as "as
      released" prunes.

    Masks: "legcnet"; "random", the mean over `n_random` masks; "magnitude" (smallest weights when
    the recording ended) and "inverse" (LEGCNet's ranking upside down), all with LEGCNet's counts in
    every layer; "magnitude, global", with its count over all layers. "upper layers" and "corrected"
    are trained beside "random" only, "as released" beside three placebos more, ranked at the same
    counts: the exponents of "another seed", those of the network "shuffled" in time, each weight
    for itself, and those "half-shifted": all weights' series rotated by half their length, which
    keeps everything but the time. "corrected" has only the placebos' `causal`, "corrected ranking"
    shares the controls of "as released". Where "as released" prunes nothing, "ranked" alone is
    trained.

    Metrics: those of `DeepRun.metrics`. Of "legcnet": `n_kept`, `n_pruned`, and `beats_accuracy`,
    `beats_f1`, `beats_epochs`, the share of the random masks that it beats (see `share_beaten`). Of
    "legcnet" and the placebos: `causal`, the share of the weights called causal, and `untestable`,
    of those without a test.

    `images` takes the place of the settings' 42,000, `n_random` is the number of random masks for
    each reading, `on` the device, and `profile` the size class that rows are filed under.
    """

    dataset: str = "mnist"
    images: int | None = None
    n_random: int = 5
    on: str = "cpu"
    profile: str = "quick"

    @property
    def settings(self) -> ImageSettings:
        """How the network is trained and read."""
        settings = mnist_settings(self.dataset)
        return settings if self.images is None else replace(settings, images=self.images)

    def run(self, seed: int) -> Iterator[Point]:
        """Train and read the dense network, make the masks, train them all."""
        check_choice("dataset", self.dataset, MNIST_SETTINGS)
        check_int("seed", seed, minimum=0)
        check_int("n_random", self.n_random)
        settings, where = self.settings, (self.dataset, self.images, self.on)
        own, other = _recording(*where, seed), _recording(*where, seed + 1)

        def play(masks: Sequence[Masks]) -> list[Metrics]:
            networks = own.initial.repeat(len(masks))
            how = {"seed": seed, "masks": masks, "benchmark": settings.benchmark}
            return train_on_images(networks, settings, _data(*where), **how).outcomes()

        started, generator = perf_counter(), own_stream(seed, "random masks")
        contest, layout = Contest({}, play, nan="keep"), own.initial.layout
        dense = contest.enter_dense(layout.unflatten(torch.zeros(layout.size)))
        places: dict[Place, list[Entry]] = {("none", "none", DENSE): [dense]}
        facts: dict[Place, dict[str, float]] = {}
        for variant in settings.readings:
            n = len(contest.entries)
            said = self._enter(contest, variant, own, other, generator)
            found = by_place(contest.entries[n:])
            places |= {(variant, *at): entries for at, entries in found.items()}
            facts |= {(variant, *at): known for at, known in said.items()}
        seconds = own.seconds | {"decisions": perf_counter() - started}
        facts["none", "none", DENSE] = {f"seconds_{k}": v for k, v in seconds.items()}
        outcome = dict(contest.run())
        for place in places | facts:  # each once, in order; some were not trained
            variant, reading, mask = place
            metrics = means(places[place], outcome) if place in places else {}
            if mask == "legcnet" and metrics:
                [entry] = places[place]
                base = "as released" if reading == "corrected ranking" else reading
                randoms = [outcome[entry] for entry in places[variant, base, RANDOM]]
                beaten = share_beaten(outcome[entry], randoms)
                metrics |= _counts(entry.masks) | {f"beats_{k}": v for k, v in beaten.items()}
            metrics |= facts.get(place, {})
            yield Point(metrics, variant=variant, reading=reading, mask=mask)

    def _enter(
        self,
        contest: Contest,
        variant: str,
        own: DenseRecording,
        other: DenseRecording,
        generator: torch.Generator,
    ) -> dict[tuple[str, str], dict[str, float]]:
        """Enter all masks of FT or PT; what is known of them, by reading and mask."""
        layout = own.initial.layout

        def enter(reading: str, masks: Masks, *, controls: bool) -> None:
            contest.enter_masks(masks, "legcnet", reading, masks.amount)
            for draw in range(self.n_random):
                drawn = layout.unflatten(torch.rand(layout.size, generator=generator))
                like = masks_from_scores(drawn, scope="like", like=masks)
                contest.enter_masks(like, RANDOM, reading, masks.amount, draw=draw)
            if controls:
                contest.enter("magnitude", masks.amount, at=reading, like=masks)
                contest.enter("inverse", masks.amount, at=reading, like=masks)
                whole = contest.allocation("magnitude", masks.n - masks.n_kept)
                contest.enter_masks(whole, "magnitude, global", reading, masks.amount)

        read = {rule: own.decide(variant, rule=rule) for rule in RULES}
        released, corrected = read["as_released"], read["corrected"]
        scores = layout.unflatten(released.scores)
        for ranking, values in {
            "legcnet": scores,
            "corrected": layout.unflatten(corrected.scores),
            "inverse": inverse_scores(scores),
            "magnitude": layout.unflatten(own.weights[variant].abs().cpu()),
        }.items():
            contest.rank(ranking, values)
        n_scored = int((~released.scores.isnan()).sum())
        amount = min(own.settings.amounts[variant], n_scored)
        if amount:
            enter("ranked", contest.allocation("legcnet", amount), controls=True)
        like, prunes = Masks.from_flat(layout, released.keep), released.n_pruned > 0
        if prunes:
            enter("as released", like, controls=True)
            first = layout.names[0]  # kept whole, as in the released notebook
            upper = Masks({**like, first: torch.ones_like(like[first])})
            enter("upper layers", upper, controls=False)
            enter("corrected", Masks.from_flat(layout, corrected.keep), controls=False)
            ranking = contest.cut("corrected", like=like)
            contest.enter_masks(ranking, "legcnet", "corrected ranking", like.amount)
        facts = {}
        for rule, said in read.items():
            reading = rule.replace("_", " ")
            facts[reading, "legcnet"] = shares(said) | _counts(Masks.from_flat(layout, said.keep))
            for mask, exponents in _placebos(own, other, variant, generator).items():
                placebo = own.decide(variant, rule=rule, exponents=exponents)
                facts[reading, mask] = shares(placebo)
                if rule == "as_released" and prunes:
                    contest.rank(mask, layout.unflatten(placebo.scores))
                    contest.enter(mask, like.amount, at=reading, like=like)
        return facts


def _placebos(
    own: DenseRecording, other: DenseRecording, variant: str, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Exponents (W, P) that cannot cause the error."""
    exponents = own.exponents[variant]
    order = torch.rand(exponents.shape, generator=generator).argsort(0)
    return {
        "another seed": other.exponents[variant],
        "shuffled": exponents.gather(0, order),
        "half-shifted": half_shifted(exponents),
    }


def _counts(masks: Masks) -> dict[str, float]:
    return {"n_kept": masks.n_kept, "n_pruned": masks.n - masks.n_kept}


@lru_cache(maxsize=1)
def _data(dataset: str, images: int | None, device: str) -> Dataset:
    return mnist_data(MNISTTrial(dataset, images).settings).to(device)


@lru_cache(maxsize=2)
def _recording(dataset: str, images: int | None, device: str, seed: int) -> DenseRecording:
    """Kept, for the next seed needs it too."""
    settings = MNISTTrial(dataset, images).settings
    return record_dense(settings, _data(dataset, images, device), seed=seed)


MNIST_STUDIES: dict[str, tuple[MNISTTrial, ...]] = {
    "quick": (MNISTTrial("digits", n_random=2),),
    "full": (MNISTTrial(profile="full"),),
}
MNIST_STUDIES["paper"] = MNIST_STUDIES["full"]  # which have the paper's size
