"""LEGCNet's masks beside their controls, on the tables of its paper, as specs for `run_grid`.

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

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.evidence.grid import Point
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.contest import DENSE, RANDOM, Contest
from causalprune_lib.pruning.legcnet import LEGCNet, legcnet_decision
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_studies.ch05_legcnet.controls import (
    OUTCOMES,
    beats,
    by_place,
    compared,
    contest_of,
    enter_beside_random,
    enter_random,
    means,
    placebos,
    shares,
    side_by_side,
    size_and_inverse,
)
from causalprune_studies.paper_networks.initial import PUBLISHED_TRIALS
from causalprune_studies.paper_networks.masks import published_masks
from causalprune_studies.paper_networks.settings import PUBLISHED_READINGS, legcnet_settings
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import (
    legcnet_data,
    legcnet_networks,
    read_trials,
    run_to_benchmark,
)
from causalprune_studies.tables import published

DATASETS = ("cancer", "titanic", "banknote", "iris_csv", "iris3f", "vowel")
PLACEBOS = ("another trial", "shuffled", "noise")
METRICS = ("accuracy", "f1", "epochs", "reached", "final_accuracy")


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

    Metrics: those of `NetworksRun.metrics`. Of "legcnet": `n_pruned`, and `beats_accuracy`,
    `beats_f1` and `beats_epochs`, the share of its random masks that it beats (NaN where no layer
    leaves a choice). Of "legcnet" and the placebos: `causal`, the share of the weights called
    causal, and `untestable`, of those without a test.

    `variant` is "FT" or "PT", `n_random` the number of random masks for each reading, `on` the
    device, and `profile` the size class that rows are filed under.
    """

    dataset: str = "cancer"
    variant: str = "FT"
    n_random: int = 30
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Record, read masks, train them all."""
        trial, pair, data = start_of(self.dataset, seed, device=self.on)
        start = pair.select([0])
        play = side_by_side(self.dataset, start, data, metrics=METRICS)
        contest = Contest({}, play, nan="keep")
        facts = self._enter(contest, pair, data, trial)
        outcome, places = dict(contest.run()), by_place(contest.entries)
        base = "ranked" if ("ranked", RANDOM) in places else "as released"
        for place in places | facts:  # each once, in order; some placebos are not trained
            reading, mask = place
            metrics = means(places[place], outcome) if place in places else {}
            metrics |= facts.get(place, {})
            if mask == "legcnet":
                randoms = places[base if reading == "corrected ranking" else reading, RANDOM]
                metrics |= beats(places[place][0], randoms, outcome)
            yield Point(metrics, scaling="as released", reading=reading, mask=mask)
        standard = legcnet_data(self.dataset, preprocessing="standard", device=self.on)
        run = run_to_benchmark(self.dataset, networks=start, data=standard, until_benchmark=False)
        yield Point(run.outcomes()[0], scaling="standard", reading="none", mask=DENSE)

    def _enter(
        self, contest: Contest, pair: SigmoidNetworks, data: Dataset, trial: int
    ) -> dict[tuple[str, str], dict[str, float]]:
        """Enter all masks, in the order of training; what is known of them, by reading and mask."""
        facts = {}

        def enter(reading: str, masks: Masks, **said: float) -> None:
            contest.enter_masks(masks, "legcnet", reading, masks.amount)
            seed = 1000 * sum(map(ord, reading)) + trial
            enter_random(contest, masks, reading, self.n_random, seed=seed)
            facts[reading, "legcnet"] = {"n_pruned": masks.n - masks.n_kept} | said

        def read(rule: str, error: str) -> list[LEGCNet]:
            how = {"networks": pair, "data": data, "seed": trial}
            return read_trials(self.dataset, variant=self.variant, rule=rule, error=error, **how)

        own, other = read("as_released", "test")
        base, like = "as released", own.masks_
        contest.enter_dense(like, at="none")
        enter(base, like, **shares(own.decision_))
        opposite = ~own.decision_.causal | own.decision_.missing
        enter("opposite", Masks.from_flat(like.layout, opposite))
        if own.decision_.n_pruned == 0:
            base, like = "ranked", decided_or_ranked(own, self.dataset, self.variant)
            enter(base, like)
        for mask, scores in size_and_inverse(own).items():
            contest.rank(mask, scores)
            contest.enter(mask, like.amount, at=base, like=like)
        said = placebos(own, other, seed=trial)
        for mask in PLACEBOS:
            contest.rank(mask, like.layout.unflatten(said[mask].scores))
            contest.enter(mask, like.amount, at=base, like=like)
            facts[base, mask] = shares(said[mask])

        own, other = read("corrected", "train")
        enter("corrected", own.masks_, **shares(own.decision_))
        contest.rank("legcnet", own.scores_)
        contest.enter("legcnet", like.amount, at="corrected ranking", like=like)
        facts["corrected ranking", "legcnet"] = {"n_pruned": like.n - like.n_kept}
        said = placebos(own, other, seed=trial)
        facts |= {("corrected", mask): shares(said[mask]) for mask in PLACEBOS}

        own, _ = read("corrected", "validation")
        enter("corrected, validation", own.masks_, **shares(own.decision_))
        if (self.dataset, self.variant) in PUBLISHED_READINGS and trial < 5:
            enter("published", published_masks(self.dataset, variant=self.variant)[trial])
        return facts


@dataclass(frozen=True)
class LEGCNetScaled:
    """One trial of LEGCNet on standardised features, with its controls.

    Coordinates `scaling` ("standard"; for "dense" also "as released") and `mask`:

    - "dense";
    - "legcnet", the released rule with the error on the test set; where it prunes nothing, the
      published number of weights, lowest scores first, and `empty` is 1;
    - "corrected ranking", the lowest scores of the corrected test (error on the training set);
    - "random" (mean over `n_random`), "magnitude", "inverse" (LEGCNet's ranking upside down).

    All but "dense" prune as many weights in every layer as "legcnet".

    Metrics: those of `NetworksRun.metrics` but F1. Of masks but "random" and "dense": `n_pruned`,
    `beats_accuracy`, `beats_epochs`. Of "legcnet": `empty`, and `causal`, the share of the weights
    called causal, by its own exponents; of the mask "another trial" only `causal`, by another
    trial's.
    """

    dataset: str = "cancer"
    variant: str = "FT"
    n_random: int = 20
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Read the masks on standardised data, train them with their controls."""
        cell = start_of(self.dataset, seed, device=self.on, preprocessing="standard")
        trial, networks, data = cell
        how = {"variant": self.variant, "networks": networks, "data": data}
        own, other = read_trials(self.dataset, rule="as_released", error="test", **how)
        corrected = read_trials(self.dataset, rule="corrected", error="train", **how)[0]
        like = decided_or_ranked(own, self.dataset, self.variant)
        network, metrics = networks.select([0]), (*OUTCOMES, "final_accuracy")
        contest = contest_of(self.dataset, network, data, metrics=metrics)
        first, randoms = enter_beside_random(contest, like, n=self.n_random, trial=trial)
        entries = [first]
        rankings = {"corrected ranking": corrected.scores_} | size_and_inverse(own)
        for ranking, scores in rankings.items():
            contest.rank(ranking, scores)
            entries += contest.enter(ranking, like.amount, at="legcnet", like=like)
        dense = contest.enter_dense(like)
        outcome, standard = dict(contest.run()), {"scaling": "standard"}
        causal = shares(own.decision_)["causal"]
        for entry in entries:
            result = compared(entry, randoms, outcome)
            if entry is first:
                result |= {"empty": float(own.masks_.amount == 0), "causal": causal}
            yield Point(result, **standard, mask=entry.ranking)
        yield Point(means(randoms, outcome), **standard, mask=RANDOM)
        same = [dense] * self.n_random  # what random masks of its counts are
        yield Point(means(same, outcome), **standard, mask=DENSE)
        said = legcnet_decision(other.exponents_, own.error_, max_lag=own.max_lag)
        yield Point({"causal": shares(said)["causal"]}, **standard, mask="another trial")
        released = legcnet_data(self.dataset, device=self.on)
        play = side_by_side(self.dataset, network, released, metrics=metrics)
        yield Point(play([dense.masks])[0], scaling="as released", mask=DENSE)


def start_of(
    dataset: str, seed: int, *, device: str, preprocessing: str = "as_released"
) -> tuple[int, SigmoidNetworks, Dataset]:
    """The trial that a seed names, its initial network and that of the next trial, and the data."""
    check_choice("dataset", dataset, DATASETS)
    trial = check_trial(seed)
    networks = legcnet_networks(dataset, trials=PUBLISHED_TRIALS, device=device)
    data = legcnet_data(dataset, preprocessing=preprocessing, device=device)
    return trial, networks.select([trial, (trial + 1) % PUBLISHED_TRIALS]), data


def check_trial(seed: int) -> int:
    """The seed as the number of a published trial, from 0."""
    if check_int("seed", seed, minimum=0) >= PUBLISHED_TRIALS:
        raise ValueError(f"seed must be a trial, 0..{PUBLISHED_TRIALS - 1}; got {seed}.")
    return seed


def decided_or_ranked(legcnet: LEGCNet, dataset: str, variant: str) -> Masks:
    """The decision, or where it is empty the published number of weights, lowest scores first."""
    if legcnet.decision_.n_pruned:
        return legcnet.masks_
    amount = published_amount(dataset, variant=variant)
    return masks_from_scores(legcnet.scores_, amount, nan="keep")


def published_amount(dataset: str, *, variant: str) -> int:
    """How many weights the paper's tables prune.

    Examples
    --------
    >>> published_amount("vowel", variant="FT"), published_amount("vowel", variant="PT")
    (2, 8)
    """
    table = published("legcnet_table1" if variant == "FT" else "legcnet_table2")
    cells = table[table.row == dataset].set_index("column").value
    column = "Flops - LEGCNet-FT" if variant == "FT" else "Flops (SN) - LEGCNet-PT"
    return legcnet_settings(dataset).n_weights - int(cells[column])


LEGCNET_STUDIES = {
    "quick": (LEGCNetTrial("iris_csv", "PT"), LEGCNetTrial("cancer", "FT")),
    "full": tuple(
        LEGCNetTrial(dataset, variant, profile="full")
        for dataset in DATASETS
        for variant in ("FT", "PT")
    ),
}
LEGCNET_STUDIES["paper"] = LEGCNET_STUDIES["full"]  # which have the paper's size
