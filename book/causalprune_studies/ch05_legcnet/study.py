"""The study of the chapter "LEGCNet", as specs for `run_grid`.

One cell is one of the paper's datasets, FT or PT, and one of the ten published initial networks:
the seed is the number of the trial, from 0; the paper's own five are 0 to 4. The dense network is
recorded, masks are read off in several ways, and each mask is trained from the initial weights
beside its controls, which prune as many weights in every layer. All networks of a cell are trained
side by side.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.legcnet import LEGCNet, LEGCNetDecision, legcnet_decision
from causalprune_studies.ch05_legcnet.contest import Outcome, has_choice, lowest_at_counts
from causalprune_studies.paper_networks.initial import load_legcnet_init
from causalprune_studies.paper_networks.masks import published_masks
from causalprune_studies.paper_networks.settings import (
    PUBLISHED_READINGS,
    MaskReading,
    legcnet_settings,
    released_reading,
)
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks, random_masks_like
from causalprune_studies.paper_networks.training import (
    NetworksRun,
    legcnet_data,
    read_trials,
    train_as_released,
)
from causalprune_studies.tables import published

TRIALS = 10  # published initial networks


DATASETS = ("cancer", "titanic", "banknote", "iris_csv", "iris3f", "vowel")


PLACEBOS = ("another trial", "shuffled", "noise")


READINGS = {  # name -> how `read_trials` is called
    "as released": {"rule": "as_released", "error": "test"},
    "corrected": {"rule": "corrected", "error": "train"},
    "corrected, validation": {"rule": "corrected", "error": "validation"},
}


@dataclass(frozen=True)
class LEGCNetTrial:
    """One trial of LEGCNet with its controls.

    Gives points with the coordinates `scaling` ("as released", "standard"), `reading` and `mask`:

    - reading "none", mask "dense";
    - reading "as released" (smallest of many uncorrected p-values, error on the test set),
      "corrected" (F test, lag by BIC, false discovery rate, error on the training set) and
      "corrected, validation" (error on examples set aside), with mask "legcnet";
    - reading "opposite": as released, but the causal weights are pruned (section 4 of the paper);
    - reading "published": the published mask of this trial, where there is one;
    - reading "ranked": where "as released" prunes nothing, the published number of weights, the
      lowest scores first;
    - reading "corrected ranking": the lowest scores of the corrected test, as many in each layer as
      "as released" (or "ranked") prunes.

    Every reading has the mask "random": the mean over `n_random` masks ("corrected ranking" shares
    those of "as released"). "as released" and "ranked" have "magnitude" (smallest weights of the
    recorded network), "inverse" (LEGCNet's ranking upside down) and the placebos "another trial",
    "shuffled" and "noise", whose exponents take the place of the network's own. Controls prune as
    many weights in every layer as "legcnet". "corrected" has the placebos' `causal` only.

    Metrics: `accuracy` and `f1` on the test set in the epoch that reached the paper's benchmark, or
    else in the last; `epochs` to the benchmark, NaN where it was never reached, and then `reached`
    is 0; `final_accuracy` after `max_epochs` of the settings. Of "legcnet": `n_pruned`, and
    `beats_accuracy`, `beats_f1` and `beats_epochs`, the share of the random masks that it beats,
    ties counted half, where never to reach the benchmark counts as last (NaN where no layer leaves
    a choice). Of "legcnet" and the placebos: `causal`, the share of the weights called causal, and
    `untestable`, of those without a test.

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    variant : {"FT", "PT"}
    n_random : int
        Random masks per reading.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "cancer"
    variant: str = "FT"
    n_random: int = 30
    on: str = "cpu"
    profile: str = "quick"

    @property
    def reading(self) -> MaskReading:
        """Epochs, window and lags: those that give the published masks, or the released ones."""
        known = PUBLISHED_READINGS.get((self.dataset, self.variant))
        return released_reading(self.dataset, variant=self.variant) if known is None else known

    def networks(self) -> SigmoidNetworks:
        """The ten published initial networks."""
        return SigmoidNetworks.from_trials(
            load_legcnet_init(self.dataset, trials=TRIALS), device=self.on
        )

    def run(self, seed: int) -> Iterator[Point]:
        """Record, read masks, train them all."""
        check_choice("dataset", self.dataset, DATASETS)
        trial = check_int("seed", seed, minimum=0)
        if trial >= TRIALS:
            raise ValueError(f"seed must be a trial, 0..{TRIALS - 1}; got {trial}.")
        found = _Masks(self, trial)
        data, networks = _data(self.dataset, "as_released", self.on), self.networks()
        for name, how in READINGS.items():
            pair = read_trials(
                self.dataset,
                variant=self.variant,
                reading=self.reading,
                networks=networks.select([trial, (trial + 1) % TRIALS]),
                data=data,
                seed=trial,
                **how,
            )
            found.read(name, *pair)
        found.read_published()
        run = self._train(networks.select([trial] * len(found.keep)), data, found.keep)
        yield from found.points(run)
        standard = _data(self.dataset, "standard", self.on)
        run = self._train(networks.select([trial]), standard, None)
        where = {"scaling": "standard", "reading": "none", "mask": "dense"}
        yield Point(Outcome(run).take(0), **where)

    def _train(
        self, networks: SigmoidNetworks, data: Dataset, keep: list[torch.Tensor] | None
    ) -> NetworksRun:
        settings = legcnet_settings(self.dataset)
        return train_as_released(
            settings,
            networks,
            data,
            epochs=settings.max_epochs,
            masks=None if keep is None else torch.stack(keep),
            test=(data.x_test, data.y_test),
            benchmark=settings.benchmark,
        )

    def trained(self, seed: int, data: Dataset) -> torch.Tensor:
        """Weights (P,) of the dense network when the recording ends."""
        networks = self.networks().select([seed])
        settings = legcnet_settings(self.dataset)
        run = train_as_released(settings, networks, data, epochs=self.reading.epochs)
        return run.networks.flat()[0].cpu()


class _Masks:
    """The masks of one cell, in the order of training, and what is known of each."""

    def __init__(self, spec: LEGCNetTrial, trial: int) -> None:
        self.spec, self.trial = spec, trial
        d, h, k = legcnet_settings(spec.dataset).sizes
        self.split = h * d
        self.keep = [torch.ones(h * (d + k), dtype=torch.bool)]
        self.of = [("none", "dense")]
        self.facts: dict[tuple[str, str], dict[str, float]] = {}
        self.base = "as released"  # whose counts the rankings take
        self.like = self.keep[0]

    def add(self, reading: str, mask: str, keep: torch.Tensor, **facts: float) -> None:
        self.keep.append(keep.cpu())
        self.of.append((reading, mask))
        self.facts[reading, mask] = facts

    def add_with_random(self, reading: str, keep: torch.Tensor, **facts: float) -> None:
        keep = keep.cpu()
        self.add(reading, "legcnet", keep, n_pruned=int((~keep).sum()), **facts)
        salt = sum(map(ord, reading))
        for like in random_masks_like(
            keep[None], self.spec.n_random, seed=1000 * salt + self.trial, split=self.split
        ):
            self.add(reading, "random", like)

    def read(self, name: str, own: LEGCNet, other: LEGCNet) -> None:
        decision = own.decision_
        self.add_with_random(name, decision.keep, **_facts(decision))
        if name == "as released":
            self.add_with_random("opposite", ~decision.causal | decision.missing)
            self.base, keep = name, decision.keep
            if decision.n_pruned == 0:
                amount = published_amount(self.spec.dataset, variant=self.spec.variant)
                scores = decision.scores.nan_to_num(nan=torch.inf)
                keep = torch.ones_like(self.keep[0])
                keep[scores.argsort(stable=True)[:amount]] = False
                self.base = "ranked"
                self.add_with_random("ranked", keep)
            self.like = keep
            self._controls(own, keep)
            for mask, said in self._placebos(own, other):
                like = lowest_at_counts(said.scores, keep, split=self.split)
                self.add(self.base, mask, like, **_facts(said))
        if name == "corrected":
            keep = lowest_at_counts(decision.scores, self.like, split=self.split)
            self.add("corrected ranking", "legcnet", keep, n_pruned=int((~keep).sum()))
            for mask, said in self._placebos(own, other):
                self.facts[name, mask] = _facts(said)

    def _controls(self, own: LEGCNet, keep: torch.Tensor) -> None:
        data = _data(self.spec.dataset, "as_released", self.spec.on)
        size = self.spec.trained(self.trial, data).abs()
        for mask, scores in (("magnitude", size), ("inverse", -own.decision_.scores)):
            self.add(self.base, mask, lowest_at_counts(scores, keep, split=self.split))

    def _placebos(self, own: LEGCNet, other: LEGCNet) -> Iterator[tuple[str, LEGCNetDecision]]:
        decision = own.decision_
        generator = torch.Generator().manual_seed(self.trial)
        mine = own.exponents_[: len(own.error_)]
        order = torch.rand(mine.shape, generator=generator).argsort(0)
        series = {
            "another trial": other.exponents_[: len(own.error_)],
            "shuffled": mine.gather(0, order),
            "noise": torch.randn(mine.shape, generator=generator, dtype=mine.dtype),
        }
        for mask, exponents in series.items():
            error, options = own.error_, {"rule": decision.rule, "max_lag": decision.max_lag}
            yield mask, legcnet_decision(exponents, error, **options)

    def read_published(self) -> None:
        known = (self.spec.dataset, self.spec.variant) in PUBLISHED_READINGS
        if known and self.trial < 5:
            masks = published_masks(self.spec.dataset, variant=self.spec.variant)
            self.add_with_random("published", masks[self.trial].flat())

    def points(self, run: NetworksRun) -> Iterator[Point]:
        outcome = Outcome(run)
        places: dict[tuple[str, str], list[int]] = {}
        for i, place in enumerate(self.of):
            places.setdefault(place, []).append(i)
        for (reading, mask), rows in places.items():
            metrics = outcome.take(rows) | self.facts.get((reading, mask), {})
            if mask == "legcnet":
                base = self.base if reading == "corrected ranking" else reading
                row, randoms = rows[0], places[base, "random"]
                free = has_choice(self.keep[row], split=self.split)
                metrics |= outcome.beats(row, randoms, free=free)
            yield Point(metrics, scaling="as released", reading=reading, mask=mask)
        for (reading, mask), facts in self.facts.items():
            if (reading, mask) not in places:  # no network was trained with it
                yield Point(facts, scaling="as released", reading=reading, mask=mask)


def published_amount(dataset: str, *, variant: str) -> int:
    """How many weights the paper's tables prune.

    Examples
    --------
    >>> published_amount("vowel", variant="FT"), published_amount("vowel", variant="PT")
    (2, 8)
    """
    settings = legcnet_settings(dataset)
    table = published("legcnet_table1" if variant == "FT" else "legcnet_table2")
    cells = table[table.row == dataset].set_index("column").value
    column = "Flops - LEGCNet-FT" if variant == "FT" else "Flops (SN) - LEGCNet-PT"
    return settings.n_weights - int(cells[column])


def _facts(decision: LEGCNetDecision) -> dict[str, float]:
    n = len(decision.keep)
    return {
        "causal": int(decision.causal.sum()) / n,
        "untestable": decision.n_missing / n,
    }


@lru_cache(maxsize=4)
def _data(dataset: str, preprocessing: str, device: str) -> Dataset:
    return legcnet_data(dataset, preprocessing=preprocessing).to(device)


LEGCNET_STUDIES: dict[str, tuple[LEGCNetTrial, ...]] = {
    "quick": (
        LEGCNetTrial("iris_csv", "PT"),
        LEGCNetTrial("cancer", "FT"),
    ),
    "full": tuple(
        LEGCNetTrial(dataset, variant, profile="full")
        for dataset in DATASETS
        for variant in ("FT", "PT")
    ),
}
