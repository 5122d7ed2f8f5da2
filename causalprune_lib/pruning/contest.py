"""A contest of masks: the same start, matched counts, the same training, the same judges.

A pruned network is a ranking and an allocation. The ranking says which weights of a layer stay, the
allocation how many. A method sets both at once, by one threshold over all layers. To tell what each
is worth, every ranking can be cut at the counts of any other's allocation. Without that, and
without random masks of the same counts, a difference in accuracy says little about a ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.training import Pair, Training, evaluate, training_pair
from causalprune_lib.pruning.masks import Masks, apply_masks, clone_model, masks_of
from causalprune_lib.pruning.scores import Scores, inverse_scores
from causalprune_lib.pruning.select import masks_from_scores, random_masks_like

RANDOM, UNIFORM, DENSE = "random", "uniform", "dense"
Metrics = Mapping[str, float]
Play = Callable[[Sequence[Masks]], Iterable[Any]]  # trains under each mask; metrics, or networks


@dataclass(frozen=True, eq=False)
class Entry:
    """One mask in a contest, by the ranking and the allocation that made it."""

    ranking: str  # which weights of a layer stay; "dense" where all do
    allocation: str  # whose threshold says how many; "uniform": the same fraction everywhere
    amount: float | int  # as it was asked for
    draw: int  # number of the random mask, from 0
    masks: Masks


class Contest:
    """Masks of one network, cut at matched counts, trained alike and judged alike.

    Parameters
    ----------
    rankings : mapping of str to scores
        Higher = kept. "random" is always known, and never needs scores.
    play : callable
        `play(masks)` trains the network under each of the masks, all from the same start, and
        gives the outcome of each, metrics as a rule: see `retraining`. It may train many at once.
    floor, nan
        As in `masks_from_scores`.
    seed : int or callable
        Of the random masks: draw d takes `seed + d`, or `seed(d)`.

    Examples
    --------
    >>> from causalprune_lib.nets.data import load_dataset
    >>> from causalprune_lib.nets.models import build_model
    >>> from causalprune_lib.pruning.scores import magnitude_scores, random_scores
    >>> data, model = load_dataset("iris"), build_model("mlp", dataset="iris", hidden=[16])
    >>> training = Training(epochs=20, batch_size=16, lr=0.1)
    >>> _ = training.train(model, data.x_train, data.y_train)
    >>> play = retraining(model, data, training)
    >>> contest = Contest({"magnitude": magnitude_scores(model)}, play)
    >>> table = contest.compare("magnitude", amounts=[0.8], n_random=2)
    >>> table[["ranking", "allocation"]].agg(" at ".join, axis=1).tolist()
    ['dense at dense', 'magnitude at magnitude', 'random at magnitude', 'random at magnitude', \
'inverse at magnitude']
    """

    def __init__(
        self,
        rankings: Mapping[str, Scores],
        play: Play,
        *,
        floor: float | int = 0,
        nan: str = "error",
        seed: int | Callable[[int], int] = 0,
    ) -> None:
        self.rankings = dict(rankings)
        self.play, self.floor, self.nan = play, floor, nan
        self.seed = seed if callable(seed) else check_int("seed", seed, minimum=0).__add__
        self.entries: list[Entry] = []
        self._inverse_is_ours = False
        self._allocations: dict[tuple[str, float | int], Masks] = {}

    def rank(self, name: str, scores: Scores) -> None:
        """Add a ranking, or replace it."""
        self.rankings[name] = scores
        self._allocations = {at: m for at, m in self._allocations.items() if at[0] != name}

    def allocation(self, name: str, amount: float | int) -> Masks:
        """Masks of the ranking `name` by its own threshold; "uniform" cuts each layer alike."""
        if (name, amount) not in self._allocations:
            uniform = name == UNIFORM
            scores = next(iter(self.rankings.values())) if uniform else self._scores(name)
            options = {"scope": "layer" if uniform else "global", "floor": self.floor}
            found = masks_from_scores(scores, amount, nan=self.nan, **options)
            self._allocations[name, amount] = found
        return self._allocations[name, amount]

    def cut(self, ranking: str, *, like: Masks, draw: int = 0) -> Masks:
        """The highest of `ranking` in each layer, as many as `like` keeps there."""
        if ranking == RANDOM:
            return random_masks_like(like, seed=self.seed(draw))
        return masks_from_scores(self._scores(ranking), scope="like", like=like, nan=self.nan)

    def enter(
        self,
        ranking: str,
        amount: float | int,
        *,
        at: str | None = None,
        like: Masks | None = None,
        draws: int = 1,
    ) -> list[Entry]:
        """Enter `ranking` at an allocation, its own by default, or at the counts of `like`.

        Of a random ranking there are `draws` entries, else one.
        """
        at = ranking if at is None else at
        like = self.allocation(at, amount) if like is None else like
        n = check_int("draws", draws) if ranking == RANDOM else 1
        masks = [self.cut(ranking, like=like, draw=d) for d in range(n)]
        return [self.enter_masks(m, ranking, at, amount, draw=d) for d, m in enumerate(masks)]

    def enter_masks(
        self, masks: Masks, ranking: str, at: str, amount: float | int, *, draw: int = 0
    ) -> Entry:
        """Enter masks that were made elsewhere."""
        self.entries.append(Entry(ranking, at, amount, draw, masks))
        return self.entries[-1]

    def enter_dense(self, like: Mapping[str, torch.Tensor], *, at: str = DENSE) -> Entry:
        """Enter the mask that keeps every weight of the layers of `like`."""
        whole = {name: torch.ones_like(v, dtype=torch.bool) for name, v in like.items()}
        return self.enter_masks(Masks(whole), DENSE, at, 0.0)

    def run(self, entries: Sequence[Entry] | None = None) -> Iterator[tuple[Entry, Any]]:
        """Play the entries, all of them by default, in their order: each with its outcome."""
        entries = self.entries if entries is None else entries
        return zip(entries, self.play([entry.masks for entry in entries]), strict=True)

    def compare(
        self, ranking: str, *, amounts: Sequence[float | int], n_random: int = 1
    ) -> pd.DataFrame:
        """A ranking beside its controls: random, inverse and all other rankings at its counts.

        One row per mask: `ranking`, `allocation`, `amount`, `draw`, and the metrics. The dense
        network comes first. There are `n_random` random masks for each amount, and every other
        ranking is entered at its own allocation too.
        """
        scores = self._scores(ranking)
        taken = [name for name in (RANDOM, UNIFORM, DENSE) if name in self.rankings]
        taken += ["inverse"] if "inverse" in self.rankings and not self._inverse_is_ours else []
        if taken:
            raise ValueError(f"rankings must not be called as a control is; got {taken}.")
        self._inverse_is_ours = True
        others = [name for name in self.rankings if name not in (ranking, "inverse")]
        self.rank("inverse", inverse_scores(scores))
        chosen = [self.enter_dense(scores)]
        for amount in amounts:
            chosen += self.enter(ranking, amount)
            chosen += self.enter(RANDOM, amount, at=ranking, draws=n_random)
            for other in ("inverse", *others):
                chosen += self.enter(other, amount, at=ranking)
            for other in others:
                chosen += self.enter(other, amount)
        return table(self.run(chosen))

    def _scores(self, ranking: str) -> Scores:
        return self.rankings[check_choice("ranking", ranking, self.rankings)]


def retraining(
    network: nn.Module,
    data: Dataset | Pair,
    training: Training | Callable[[nn.Module], Any],
    *,
    judge: Callable[[nn.Module], Metrics] | None = None,
    seed: int = 0,
) -> Play:
    """Play a contest by training a copy of `network` under each mask, one after the other.

    Parameters
    ----------
    network : nn.Module
        Where all start: trained, rewound, or at its initial weights. It is not changed. If it is
        pruned already, masks may keep only what it keeps.
    data : Dataset or (x, y)
        What is trained on; a Dataset's test part is what the default judge looks at.
    training, seed : Training or callable, int
        How, with the same seed for all. A callable trains a network in place.
    judge : callable, optional
        `judge(network)` -> metrics. By default the metric of the training's task on test examples.
        It is asked right after the cut (its metrics then end in "_cut"), and after training.
    """
    pair, before = training_pair(data), masks_of(network)
    if not isinstance(training, Training) and not callable(training):
        kind = type(training).__name__
        raise TypeError(f"training must be a Training, or train a network when called; got {kind}.")
    if judge is None:
        if not isinstance(data, Dataset) or not isinstance(training, Training):
            raise ValueError("judge must be given unless data is a Dataset, training a Training.")

        def judge(network: nn.Module) -> Metrics:
            found = evaluate(network, data.x_test, data.y_test, task=training.task)
            return {found.metric_name: found.metric}

    def play(masks: Sequence[Masks]) -> Iterable[Metrics]:
        for mask in masks:
            for name, keep in mask.items():
                if name in before and bool((keep.to(before[name].device) & ~before[name]).any()):
                    raise ValueError(
                        f"network must keep what the masks keep; in {name!r} it is pruned already. "
                        "Take remove_masks(network), or within=masks_of(network) for the masks."
                    )
            pruned = apply_masks(clone_model(network), mask)
            cut = {f"{name}_cut": value for name, value in judge(pruned).items()}
            if isinstance(training, Training):
                training.train(pruned, *pair, seed=seed)
            else:
                training(pruned)
            yield cut | dict(judge(pruned))

    return play


def table(played: Iterable[tuple[Entry, Metrics]]) -> pd.DataFrame:
    """One row per entry: `ranking`, `allocation`, `amount`, `draw` and its metrics."""
    names = ("ranking", "allocation", "amount", "draw")
    rows = [{n: getattr(entry, n) for n in names} | dict(metrics) for entry, metrics in played]
    return pd.DataFrame(rows)
