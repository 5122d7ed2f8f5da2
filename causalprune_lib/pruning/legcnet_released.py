"""The LEGCNet paper's networks, all trials at once: from initial weights to exponents and masks.

The route of the released code (arXiv:2308.09955), with its data, its initial weights, its order of
examples and, by default, its error on the TEST set, so that published masks can be reproduced. With
`error="train"` or "validation" the test set plays no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from causalprune_lib._validation import check_choice
from causalprune_lib.nets.datasets import Dataset, load_dataset, load_legcnet_init
from causalprune_lib.pruning.legcnet_decision import LEGCNetDecision, legcnet_decision
from causalprune_lib.pruning.legcnet_networks import SigmoidNetworks
from causalprune_lib.pruning.legcnet_settings import (
    PUBLISHED_READINGS,
    LEGCNetSettings,
    MaskReading,
    legcnet_settings,
    released_reading,
)
from causalprune_lib.pruning.legcnet_training import NetworksRun, train_networks
from causalprune_lib.pruning.legcnet_windows import (
    DECIMALS,
    Estimator,
    WindowedExponents,
    cut_windows,
    windowed_exponents,
)
from causalprune_lib.pruning.maskset import Masks


@dataclass(frozen=True, eq=False)
class TrialReading:
    """What one trial's training says.

    Attributes
    ----------
    windowed : WindowedExponents
        Exponents of all windows.
    error : tensor (W,) of float64
        Error rate at the end of each window that was read.
    decision : LEGCNetDecision
    masks : Masks
        The decision as masks; the layers are called as in `SigmoidNetworks.model`.
    """

    windowed: WindowedExponents
    error: torch.Tensor
    decision: LEGCNetDecision
    masks: Masks


def legcnet_data(dataset: str, *, preprocessing: str = "as_released") -> Dataset:
    """One of the paper's tables in float64, as the released code has it."""
    dataset = legcnet_settings(dataset).dataset
    return load_dataset(dataset, preprocessing=preprocessing, dtype=torch.float64)


def legcnet_networks(dataset: str, *, trials: int = 5) -> SigmoidNetworks:
    """The published initial networks of the first `trials` trials (10 are published)."""
    return SigmoidNetworks.from_trials(load_legcnet_init(dataset, trials=trials))


def read_trials(
    dataset: str,
    *,
    variant: str = "FT",
    reading: MaskReading | None = None,
    networks: SigmoidNetworks | None = None,
    data: Dataset | None = None,
    error: str = "test",
    rule: str = "as_released",
    orientation: str = "prune_non_causal",
    alpha: float = 0.05,
    estimator: Estimator | None = None,
    seed: int = 0,
) -> list[TrialReading]:
    """Train dense networks of one of the paper's datasets, and read each one's masks.

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    variant : {"FT", "PT"}
    reading : MaskReading, optional
        Epochs, window, lags. Default: the one that gives the published masks; for vowel, which
        has none, `released_reading`.
    networks : SigmoidNetworks, optional
        Initial networks. Default: the five published ones.
    data : Dataset, optional
        In float64. Default: `legcnet_data(dataset)`.
    error : {"test", "train", "validation"}
        On which examples the error rate is taken; as released, on the test set. "validation" sets
        a tenth of the training examples aside, drawn by `seed`.
    rule, orientation, alpha
        As in `legcnet_decision`. Rounding and gate are off with rule="corrected".
    estimator : callable, optional
        As in `windowed_exponents`.

    Returns
    -------
    list of TrialReading
        One per network.
    """
    settings = legcnet_settings(dataset)
    check_choice("variant", variant, ("FT", "PT"))
    check_choice("error", error, ("test", "train", "validation"))
    if reading is None:
        known = PUBLISHED_READINGS.get((dataset, variant))
        reading = released_reading(dataset, variant=variant) if known is None else known
    networks = legcnet_networks(dataset) if networks is None else networks
    data = legcnet_data(dataset) if data is None else data
    x, y, judged = data.x_train, data.y_train, (data.x_test, data.y_test)
    if error == "validation":
        x, y, *judged = data.split_validation(0.1, seed=seed)
    windows = cut_windows(reading.epochs * len(x) + 1, window=reading.window)
    run = train_networks(
        networks,
        x,
        y,
        lr=settings.lr,
        label_size=settings.label_size,
        epochs=reading.epochs,
        test=None if error == "train" else tuple(judged),
        record=range(len(networks)),
        judge_at=windows.ends.tolist(),
    )
    accuracy = run.train_accuracy_at if error == "train" else run.test_accuracy_at
    released = rule == "as_released"
    found = []
    for weights, hits in zip(run.weights, accuracy, strict=True):
        windowed = windowed_exponents(
            weights,
            window=reading.window,
            gate=reading.gate and released,
            decimals=DECIMALS if released else None,
            horizon=reading.horizon,
            estimator=estimator,
        )
        n = len(hits) if reading.n_windows is None else reading.n_windows
        wrong = (1 - hits)[:n]
        decision = legcnet_decision(
            windowed.exponent[:n],
            wrong.cpu(),
            rule=rule,
            orientation=orientation,
            max_lag=reading.max_lag,
            alpha=alpha,
        )
        masks = Masks.from_flat(networks.layout, decision.keep)
        found.append(TrialReading(windowed, wrong, decision, masks))
    return found


def train_as_released(
    settings: LEGCNetSettings,
    networks: SigmoidNetworks,
    data: Dataset,
    *,
    epochs: int,
    **options: object,
) -> NetworksRun:
    """Train `networks` on the training examples of `data` with a dataset's own learning rate.

    `options` are those of `train_networks`, such as `masks`, `record`, `test` or `judge_at`.
    """
    return train_networks(
        networks,
        data.x_train,
        data.y_train,
        lr=settings.lr,
        label_size=settings.label_size,
        epochs=epochs,
        **options,
    )


def run_to_benchmark(
    dataset: str,
    masks: Sequence[Masks] | torch.Tensor | None = None,
    *,
    networks: SigmoidNetworks | None = None,
    data: Dataset | None = None,
    settings: LEGCNetSettings | None = None,
) -> NetworksRun:
    """Train networks, masked or not, until each has the paper's training accuracy.

    The tables print, of this run, `epochs_to_benchmark` and `at_benchmark("test_accuracy")` and
    `at_benchmark("test_f1")`.

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    masks : sequence of Masks, or bool tensor (B, P), optional
        One mask per network.
    networks, data
        As in `read_trials`.
    settings : LEGCNetSettings, optional
        Default: those of the dataset.
    """
    settings = legcnet_settings(dataset) if settings is None else settings
    networks = legcnet_networks(dataset) if networks is None else networks
    data = legcnet_data(dataset) if data is None else data
    return train_as_released(
        settings,
        networks,
        data,
        epochs=settings.max_epochs,
        masks=masks,
        test=(data.x_test, data.y_test),
        benchmark=settings.benchmark,
        until_benchmark=True,
    )
