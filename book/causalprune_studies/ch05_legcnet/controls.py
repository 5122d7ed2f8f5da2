"""What LEGCNet's masks are compared with: random masks, magnitude, the inverse ranking, placebos.

All masks of a comparison prune as many weights in every layer, start from the same network and are
trained side by side. Placebos are exponents that cannot cause the error: another network's, or the
network's own at another time.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from causalprune_lib.evidence.statistics import summarise
from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.contest import (
    RANDOM,
    Contest,
    Entry,
    Metrics,
    Play,
    table,
)
from causalprune_lib.pruning.legcnet import LEGCNet, LEGCNetDecision, legcnet_decision
from causalprune_lib.pruning.masks import Masks, jaccard
from causalprune_lib.pruning.scores import Scores, inverse_scores
from causalprune_studies.paper_networks.masks import draw_masks_like
from causalprune_studies.paper_networks.networks import ROUNDING
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks
from causalprune_studies.paper_networks.training import run_to_benchmark

RULES = {  # rule -> what the library calls it, and the examples on which it takes the error
    "as released": ("as_released", "test"),
    "corrected": ("corrected", "train"),
}
OUTCOMES = ("accuracy", "epochs", "reached")
BETTER = {"accuracy": 1, "f1": 1, "epochs": -1}  # metric -> the sign that makes more better


def train_with_controls(
    dataset: str,
    trials: Sequence[LEGCNet],
    *,
    networks: SigmoidNetworks,
    data: Dataset,
    n_random: int = 30,
) -> pd.DataFrame:
    """Train each trial's mask beside its controls until all have reached the benchmark.

    Returns the columns `mask` ("dense", "LEGCNet", "magnitude", "inverse", and "random" `n_random`
    times), `seed` (the number of the trial), `accuracy`, `epochs` and `reached`, as in
    `NetworksRun.metrics`.
    """
    starts = networks.select(range(len(trials))).repeat(4 + n_random)

    def play(masks: Sequence[Masks]) -> list[Metrics]:
        return run_to_benchmark(dataset, masks, networks=starts, data=data).outcomes()

    contest = Contest({}, play, nan="keep")
    for i, trial in enumerate(trials):
        like, at = trial.masks_, str(i)
        contest.enter_dense(like, at=at)
        contest.enter_masks(like, "LEGCNet", at, like.amount)
        for ranking, scores in size_and_inverse(trial).items():
            contest.rank(ranking, scores)
            contest.enter(ranking, like.amount, at=at, like=like)
        enter_random(contest, like, at, n_random, seed=i)
    found = table(contest.run()).rename(columns={"ranking": "mask", "allocation": "seed"})
    return found[["mask", "seed", "accuracy", "epochs", "reached"]].astype({"seed": int})


def controls_shown(outcome: pd.DataFrame) -> pd.DataFrame:
    """`train_with_controls` for readers: means over trials, with their 95% intervals."""
    forms = {
        "accuracy": "{:.3f} ({:.3f} to {:.3f})",
        "epochs": "{:.0f} ({:.0f} to {:.0f})",
        "reached": "{:.0%}",
    }
    trials = outcome.groupby(["mask", "seed"], as_index=False)[list(forms)].mean()
    shown = {}
    for metric, form in forms.items():
        found = summarise(trials.assign(value=trials[metric]), "mask").set_index("mask")
        shown[metric] = [form.format(r["mean"], r.low, r.high) for _, r in found.iterrows()]
    order = ["dense", "LEGCNet", "random", "magnitude", "inverse"]
    return pd.DataFrame(shown, index=found.index).loc[order]


def wins_by_trial(outcome: pd.DataFrame) -> pd.DataFrame:
    """Share of its random masks that LEGCNet's mask beats in each trial of `train_with_controls`.

    Columns `metric`, `seed`, `value`.
    """
    rows = []
    for seed, trial in outcome.groupby("seed"):
        own = trial[trial["mask"] == "LEGCNet"].to_dict("records")[0]
        randoms = trial[trial["mask"] == RANDOM].to_dict("records")
        found = share_beaten(own, randoms).items()
        rows += [{"metric": metric, "seed": seed, "value": share} for metric, share in found]
    return pd.DataFrame(rows)


def placebo_shares(trials: Sequence[LEGCNet]) -> pd.DataFrame:
    """Share of the weights called causal: by their own exponents, and by four that cannot be.

    Columns `exponents` ("its own", "another trial", "half-shifted", "shuffled", "noise"), `seed`,
    `value`.
    """
    rows = []
    for i, own in enumerate(trials):
        other = trials[(i + 1) % len(trials)]
        for name, said in ({"its own": own.decision_} | placebos(own, other, seed=i)).items():
            causal = shares(said)["causal"]
            rows.append({"exponents": name, "seed": i, "value": causal})
    return pd.DataFrame(rows)


def side_by_side(
    dataset: str, network: SigmoidNetworks, data: Dataset, *, metrics: Sequence[str]
) -> Play:
    """Play a contest by training `network` under all masks at once, for all epochs it may take."""

    def play(masks: Sequence[Masks]) -> list[Metrics]:
        how = {"networks": network.repeat(len(masks)), "data": data, "until_benchmark": False}
        found = run_to_benchmark(dataset, masks, **how).outcomes()
        return [{name: outcome[name] for name in metrics} for outcome in found]

    return play


def enter_random(contest: Contest, like: Masks, at: str, n: int, *, seed: int) -> list[Entry]:
    """Enter `n` random masks with as many weights in each layer as `like`."""
    drawn = draw_masks_like(like.flat()[None], n, seed=seed, split=like.layout.sizes[0])
    masks = [Masks.from_flat(like.layout, keep) for keep in drawn]
    return [contest.enter_masks(m, RANDOM, at, like.amount, draw=d) for d, m in enumerate(masks)]


def contest_of(
    dataset: str, network: SigmoidNetworks, data: Dataset, *, metrics: Sequence[str] = OUTCOMES
) -> Contest:
    """A contest of masks of `network` that trains equal masks once."""
    play = side_by_side(dataset, network, data, metrics=metrics)
    return Contest({}, each_once(play), nan="keep")


def each_once(play: Play) -> Play:
    """A play that takes equal masks once, in the order in which they first appear."""

    def play_different(masks: Sequence[Masks]) -> list[Any]:
        bits = [mask.flat().cpu().numpy().tobytes() for mask in masks]
        different = dict(zip(bits, masks, strict=True))
        found = dict(zip(different, play(list(different.values())), strict=True))
        return [found[key] for key in bits]

    return play_different


def enter_beside_random(
    contest: Contest, masks: Masks, *, n: int, trial: int
) -> tuple[Entry, list[Entry]]:
    """Enter `n` random masks, the same for equal counts per layer, and then `masks`."""
    first, second = (int((~keep).sum()) for keep in masks.values())
    seed = 100_000 * trial + 300 * first + second
    randoms = enter_random(contest, masks, "legcnet", n, seed=seed)
    return contest.enter_masks(masks, "legcnet", "legcnet", first + second), randoms


def compared(
    own: Entry, randoms: Sequence[Entry], outcome: Mapping[Entry, Metrics]
) -> dict[str, float]:
    """The outcome of one mask, how many weights it prunes, whom it beats."""
    n_pruned = own.masks.n - own.masks.n_kept
    return {**outcome[own], "n_pruned": n_pruned, **beats(own, randoms, outcome)}


def jaccard_pruned(a: Masks, b: Masks) -> float:
    """Weights that both masks prune, over those that either does; NaN where neither prunes any."""
    return jaccard(a, b, of="pruned") if a.n_kept + b.n_kept < 2 * a.n else math.nan


def size_and_inverse(legcnet: LEGCNet) -> dict[str, Scores]:
    """Absolute weights when the recording ends, and LEGCNet's ranking upside down."""
    size = legcnet.masks_.layout.unflatten(legcnet.trajectory_[-1].abs().cpu())
    return {"magnitude": size, "inverse": inverse_scores(legcnet.scores_)}


def by_place(entries: Iterable[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """Entries by allocation and ranking."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        found.setdefault((entry.allocation, entry.ranking), []).append(entry)
    return found


def means(entries: Sequence[Entry], outcome: Mapping[Entry, Metrics]) -> dict[str, float]:
    """Means over entries; of the epochs, over those that reached the benchmark."""
    values = {name: [outcome[entry][name] for entry in entries] for name in outcome[entries[0]]}
    return {
        name: torch.tensor(found, dtype=torch.float64).nanmean().item()
        for name, found in values.items()
    }


def beats(
    own: Entry, randoms: Sequence[Entry], outcome: Mapping[Entry, Metrics]
) -> dict[str, float]:
    """`beats_...` as `share_beaten` says it; NaN where the counts of a mask leave no other mask."""
    choice = any(0 < int(keep.sum()) < keep.numel() for keep in own.masks.values())
    found = share_beaten(outcome[own], [outcome[entry] for entry in randoms])
    return {f"beats_{name}": share if choice else math.nan for name, share in found.items()}


def share_beaten(own: Metrics, others: Sequence[Metrics]) -> dict[str, float]:
    """Share of `others` that `own` beats in each metric of `BETTER` that it has.

    Ties count half, and never to reach the benchmark (NaN epochs) counts as last.

    Examples
    --------
    >>> others = [{"accuracy": 0.9, "epochs": 9.0}, {"accuracy": 0.8, "epochs": math.nan}]
    >>> share_beaten({"accuracy": 0.9, "epochs": math.nan}, others)
    {'accuracy': 0.75, 'epochs': 0.25}
    """
    found = {}
    for name in filter(own.__contains__, BETTER):
        values = [own[name], *(other[name] for other in others)]
        values = torch.tensor(values, dtype=torch.float64).nan_to_num(nan=math.inf)
        values *= BETTER[name]
        gaps = (values[0] - values[1:]).nan_to_num(nan=0.0)  # neither reached the benchmark
        ties = gaps.abs() <= ROUNDING
        wins = (gaps > 0) & ~ties
        found[name] = (wins.double() + ties.double() / 2).mean().item()
    return found


def shares(decision: LEGCNetDecision) -> dict[str, float]:
    """Shares of the weights that are called causal, and that could not be tested."""
    return {
        "causal": decision.causal.double().mean().item(),
        "untestable": decision.missing.double().mean().item(),
    }


def placebos(own: LEGCNet, other: LEGCNet, *, seed: int) -> dict[str, LEGCNetDecision]:
    """What is decided about `own` from exponents that cannot cause its error."""
    found = placebo_series(own.exponents_, generator=torch.Generator().manual_seed(seed))
    series = {
        "another trial": other.exponents_,
        "half-shifted": found["own, half-shifted"],
        "shuffled": found["own, shuffled"],
        "noise": found["noise"],
    }
    how = {"rule": own.rule, "max_lag": own.max_lag}
    return {
        name: legcnet_decision(exponents, own.error_, **how) for name, exponents in series.items()
    }


def placebo_series(
    exponents: torch.Tensor, *, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """A network's own exponents (W, P), and three stand-ins that need no other network."""
    order = torch.rand(exponents.shape, generator=generator).argsort(0)
    noise = torch.randn(exponents.shape, generator=generator, dtype=exponents.dtype)
    return {
        "own": exponents,
        "own, half-shifted": half_shifted(exponents),
        "own, shuffled": exponents.gather(0, order),
        "noise": noise,
    }


def half_shifted(exponents: torch.Tensor) -> torch.Tensor:
    """The series (W, P) rolled by half their length, all by the same number of windows.

    Examples
    --------
    >>> half_shifted(torch.arange(5)[:, None])[:, 0]
    tensor([3, 4, 0, 1, 2])
    """
    return exponents.roll(len(exponents) // 2, dims=0)
