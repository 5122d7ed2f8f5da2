"""The live comparisons of the chapter "LEGCNet": controls and placebos.

Paper: arXiv:2308.09955. The full-size studies: `trials` and `further`, beside this file.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from causalprune_lib.nets.data import Dataset
from causalprune_lib.pruning.legcnet import LEGCNet, legcnet_decision
from causalprune_studies.ch05_legcnet.contest import lowest_at_counts
from causalprune_studies.ch05_legcnet.settings import placebo_series
from causalprune_studies.paper_networks.settings import MaskReading, legcnet_settings
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks, random_masks_like
from causalprune_studies.paper_networks.training import (
    NetworksRun,
    run_to_benchmark,
    train_as_released,
)


def outcomes(run: NetworksRun, *, max_epochs: int) -> pd.DataFrame:
    """One row per network: test `accuracy`, `epochs` to the benchmark, `reached`.

    The accuracy is that of the epoch that reached the benchmark, or of the last. Never to reach it
    counts as `max_epochs`.
    """
    reached = ~run.epochs_to_benchmark.isnan()
    at = run.at_benchmark("test_accuracy")
    return pd.DataFrame(
        {
            "accuracy": torch.where(reached, at, run.test_accuracy[:, -1]).cpu(),
            "epochs": run.epochs_to_benchmark.nan_to_num(nan=max_epochs).cpu(),
            "reached": reached.double().cpu(),
        }
    )


def train_with_controls(
    dataset: str,
    trials: Sequence[LEGCNet],
    *,
    networks: SigmoidNetworks,
    data: Dataset,
    reading: MaskReading,
    n_random: int = 30,
) -> pd.DataFrame:
    """Train each trial's mask beside its controls, which prune as many weights in every layer.

    Returns the columns `mask` ("dense", "LEGCNet", "magnitude", "inverse", and "random" `n_random`
    times), `seed` (the number of the trial), and those of `outcomes`. Magnitude is that of the
    dense network when the recording ends, inverse LEGCNet's ranking upside down.
    """
    settings = legcnet_settings(dataset)
    split = settings.sizes[0] * settings.sizes[1]
    networks = networks.select(range(len(trials)))
    sizes = train_as_released(settings, networks, data, epochs=reading.epochs).networks.flat()
    names, masks, of = [], [], []
    for i, trial in enumerate(trials):
        keep, scores = trial.decision_.keep, trial.decision_.scores
        single = {
            "dense": torch.ones_like(keep),
            "LEGCNet": keep,
            "magnitude": lowest_at_counts(sizes[i].abs(), keep, split=split),
            "inverse": lowest_at_counts(-scores, keep, split=split),
        }
        randoms = random_masks_like(keep[None], n_random, seed=i, split=split)
        names += [*single, *["random"] * n_random]
        masks += [*single.values(), *randoms]
        of += [i] * (len(single) + n_random)
    run = run_to_benchmark(dataset, torch.stack(masks), networks=networks.select(of), data=data)
    return outcomes(run, max_epochs=settings.max_epochs).assign(mask=names, seed=of)


def share_beaten(outcome: pd.DataFrame, *, mask: str = "LEGCNet") -> pd.DataFrame:
    """Share of its random masks that `mask` beats in each trial, ties counted half.

    Columns `metric` ("accuracy": more is better; "epochs": fewer), `seed`, `value`.

    Examples
    --------
    >>> table = pd.DataFrame({"mask": ["LEGCNet", "random", "random"], "seed": 0,
    ...                       "accuracy": [0.9, 0.9, 0.8], "epochs": [5, 4, 3]})
    >>> share_beaten(table).value.tolist()
    [0.75, 0.0]
    """
    rows = []
    for metric, sign in (("accuracy", 1), ("epochs", -1)):
        for seed, trial in outcome.groupby("seed"):
            values = sign * trial.set_index("mask")[metric]
            gap = values.loc[mask] - values.loc[["random"]]
            share = float((gap > 0).mean() + (gap == 0).mean() / 2)
            rows.append({"metric": metric, "seed": seed, "value": share})
    return pd.DataFrame(rows)


def placebo_shares(trials: Sequence[LEGCNet]) -> pd.DataFrame:
    """Share of the weights called causal: by their own exponents, and by four that cannot be.

    Columns `exponents` ("its own", "another trial", "half-shifted", "shuffled", "noise"), `seed`,
    `value`.
    """
    rows = []
    for i, own in enumerate(trials):
        n = len(own.error_)
        draws = torch.Generator().manual_seed(i)
        found = placebo_series(own.exponents_[:n], generator=draws)
        series = {
            "its own": found["own"],
            "another trial": trials[(i + 1) % len(trials)].exponents_[:n],
            "half-shifted": found["own, half-shifted"],
            "shuffled": found["own, shuffled"],
            "noise": found["noise"],
        }
        options = {"rule": own.decision_.rule, "max_lag": own.decision_.max_lag}
        for name, exponents in series.items():
            causal = legcnet_decision(exponents, own.error_, **options).causal
            share = causal.double().mean().item()
            rows.append({"exponents": name, "seed": i, "value": share})
    return pd.DataFrame(rows)
