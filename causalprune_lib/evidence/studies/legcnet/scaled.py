"""LEGCNet on data that are scaled properly: each feature by the training set's mean and deviation.

As released, three of the tables scale each example across its own features, and the test set is
scaled by its own statistics. Here the same networks, windows and tests meet the usual scaling.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from causalprune_lib._validation import check_choice
from causalprune_lib.evidence.cells import Point
from causalprune_lib.evidence.studies.legcnet.contest import (
    TRIALS,
    Contest,
    all_networks,
    check_trial,
    published_reading,
    study_data,
)
from causalprune_lib.evidence.studies.legcnet.controls import lowest_at_counts
from causalprune_lib.evidence.studies.legcnet.trials import published_amount
from causalprune_lib.pruning.legcnet_decision import legcnet_decision
from causalprune_lib.pruning.legcnet_released import read_trials, train_as_released
from causalprune_lib.pruning.legcnet_settings import LEGCNET_SETTINGS, legcnet_settings

SCALINGS = ("as released", "standard")


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

    Metrics: `accuracy` on the test set in the epoch that reached the paper's benchmark, or else in
    the last; `final_accuracy` in the last; `epochs` to the benchmark, NaN where never reached;
    `reached`, 1 or 0. Of masks but "random" and "dense": `n_pruned`, `beats_accuracy`,
    `beats_epochs`. Of "legcnet": `empty`, and `causal`, the share of the weights called causal, by
    its own exponents; of the mask "another trial" only `causal`, by another trial's.

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    variant : {"FT", "PT"}
    n_random : int
        Random masks.
    on, profile : str
        Device, and the size class that rows are filed under.
    """

    dataset: str = "cancer"
    variant: str = "FT"
    n_random: int = 20
    on: str = "cpu"
    profile: str = "quick"

    def run(self, seed: int) -> Iterator[Point]:
        """Read the masks on standardised data, train them with their controls."""
        check_choice("dataset", self.dataset, LEGCNET_SETTINGS)
        trial = check_trial(seed)
        settings = legcnet_settings(self.dataset)
        reading = published_reading(self.dataset, variant=self.variant)
        data = study_data(self.dataset, "standard", self.on)
        pair = all_networks(self.dataset, device=self.on).select([trial, (trial + 1) % TRIALS])
        how = {"variant": self.variant, "reading": reading, "networks": pair, "data": data}
        own, other = read_trials(self.dataset, rule="as_released", error="test", **how)
        corrected = read_trials(self.dataset, rule="corrected", error="train", **how)[0].decision
        keep, scores = own.decision.keep.cpu(), own.decision.scores
        empty = bool(keep.all())
        if empty:
            amount = published_amount(self.dataset, variant=self.variant)
            keep = torch.ones_like(keep)
            keep[scores.nan_to_num(nan=torch.inf).argsort(stable=True)[:amount]] = False
        trained = train_as_released(settings, pair.select([0]), data, epochs=reading.epochs)
        contest = Contest(self.dataset, n_random=self.n_random, seed=trial)
        ranked = {
            "corrected ranking": corrected.scores,
            "magnitude": trained.networks.flat()[0].abs(),
            "inverse": -scores,
        }
        entries = {"legcnet": contest.enter(keep)}
        for mask, by in ranked.items():
            entries[mask] = contest.enter(lowest_at_counts(by, keep, split=contest.split))
        dense = contest.enter(torch.ones_like(keep))
        contest.train(pair.select([0]), data)
        standard = {"scaling": "standard"}
        for mask, entry in entries.items():
            result = contest.result(entry)
            if mask == "legcnet":
                result |= {"empty": float(empty), "causal": _share(own.decision.causal)}
            yield Point(result, **standard, mask=mask)
        yield Point(contest.random_result(entries["legcnet"]), **standard, mask="random")
        yield Point(contest.random_result(dense), **standard, mask="dense")
        theirs = other.windowed.exponent[: len(own.error)]
        said = legcnet_decision(
            theirs, own.error.cpu(), rule="as_released", max_lag=reading.max_lag
        )
        yield Point({"causal": _share(said.causal)}, **standard, mask="another trial")
        released = Contest(self.dataset, n_random=1, seed=trial)
        dense = released.enter(torch.ones_like(keep))
        released.train(pair.select([0]), study_data(self.dataset, device=self.on))
        yield Point(released.random_result(dense), scaling="as released", mask="dense")


def _share(causal: torch.Tensor) -> float:
    return causal.double().mean().item()
