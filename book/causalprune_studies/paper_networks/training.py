"""The LEGCNet paper's networks, all trials at once: from initial weights to exponents and masks.

The route of the released code (arXiv:2308.09955), with its data, its initial weights, its order of
examples and, by default, its error on the TEST set, so that published masks can be reproduced. With
`error="train"` or "validation" the test set plays no part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from sklearn.base import clone

from causalprune_lib._validation import check_choice, check_fraction, check_int, check_positive
from causalprune_lib.nets.data import Dataset, load_dataset
from causalprune_lib.pruning.legcnet import LEGCNet
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.windows import cut_windows
from causalprune_studies.paper_networks.initial import load_legcnet_init
from causalprune_studies.paper_networks.networks import (
    NetworksRun,
    check_examples,
    layer_masks,
    run_epochs,
)
from causalprune_studies.paper_networks.settings import (
    LEGCNetSettings,
    MaskReading,
    legcnet_settings,
    published_reading,
)
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks, SigmoidSteps


def read_trials(
    dataset: str,
    *,
    variant: str = "FT",
    reading: MaskReading | None = None,
    networks: SigmoidNetworks | None = None,
    data: Dataset | None = None,
    error: str = "test",
    rule: str = "as_released",
    seed: int = 0,
) -> list[LEGCNet]:
    """Train dense networks of one of the paper's datasets, and read each one's mask.

    Parameters
    ----------
    dataset : str
        A key of `LEGCNET_SETTINGS`.
    variant : {"FT", "PT"}
    reading : MaskReading, optional
        Epochs, window, lags. Default: `published_reading`.
    networks, data : optional
        Default: the five published initial networks, and `legcnet_data`.
    error : {"test", "train", "validation"}
        On which examples the error rate is taken; as released, on the test set. "validation" sets
        a tenth of the training examples aside, drawn by `seed`.
    rule : {"as_released", "corrected"}
        As in `LEGCNet`. Rounding and gate are off with "corrected".

    Returns
    -------
    list of LEGCNet
        Fitted, one per network. Layers are called as in `SigmoidNetworks.model`.
    """
    settings = legcnet_settings(dataset)
    check_choice("error", error, ("test", "train", "validation"))
    check_choice("variant", variant, ("FT", "PT"))
    reading = published_reading(dataset, variant=variant) if reading is None else reading
    networks = legcnet_networks(dataset) if networks is None else networks
    data = legcnet_data(dataset) if data is None else data
    x, y, test = data.x_train, data.y_train, (data.x_test, data.y_test)
    if error == "validation":
        x, y, *test = data.split_validation(0.1, seed=seed)
    windows = cut_windows(reading.epochs * len(x) + 1, window=reading.window)
    run = train_networks(
        networks,
        x,
        y,
        lr=settings.lr,
        label_size=settings.label_size,
        epochs=reading.epochs,
        test=None if error == "train" else tuple(test),
        record=range(len(networks)),
        judge_at=windows.ends.tolist(),
    )
    accuracy = run.train_accuracy_at if error == "train" else run.test_accuracy_at  # (B, W)
    legcnet = LEGCNet(
        rule=rule,
        window=reading.window,
        max_lag=reading.max_lag,
        horizon=reading.horizon,
        gate=reading.gate and rule == "as_released",
    )
    return [
        clone(legcnet).fit_trajectory(
            weights, error=(1 - hits)[: reading.n_windows], layout=networks.layout
        )
        for weights, hits in zip(run.weights, accuracy, strict=True)
    ]


def run_to_benchmark(
    dataset: str,
    masks: Sequence[Masks] | torch.Tensor | None = None,
    *,
    networks: SigmoidNetworks | None = None,
    data: Dataset | None = None,
    until_benchmark: bool = True,
) -> TableRun:
    """Train networks, masked or not, until each has the paper's training accuracy.

    The tables print `epochs_to_benchmark` of this run, and test accuracy and F1 `at_stop`. With
    `until_benchmark=False` all train on for all the epochs that a run may take. `masks` are one for
    each network, or a bool tensor (B, P); networks and data as in `read_trials`.
    """
    settings = legcnet_settings(dataset)
    data = legcnet_data(dataset) if data is None else data
    return train_as_released(
        settings,
        legcnet_networks(dataset) if networks is None else networks,
        data,
        epochs=settings.max_epochs,
        masks=masks,
        test=(data.x_test, data.y_test),
        benchmark=settings.benchmark,
        until_benchmark=until_benchmark,
    )


def train_as_released(
    settings: LEGCNetSettings,
    networks: SigmoidNetworks,
    data: Dataset,
    *,
    epochs: int,
    **options: object,
) -> TableRun:
    """Train `networks` on the training examples of `data` with a dataset's own learning rate.

    `options` are those of `train_networks`, such as `masks`, `record`, `test` or `judge_at`.
    """
    how = {"lr": settings.lr, "label_size": settings.label_size, "epochs": epochs}
    return train_networks(networks, data.x_train, data.y_train, **how, **options)


@lru_cache(maxsize=4)
def legcnet_data(
    dataset: str, *, preprocessing: str = "as_released", device: str = "cpu"
) -> Dataset:
    """One of the paper's tables in float64, as the released code has it; read once."""
    name = legcnet_settings(dataset).dataset
    return load_dataset(name, preprocessing=preprocessing, dtype=torch.float64).to(device)


def legcnet_networks(dataset: str, *, trials: int = 5, device: str = "cpu") -> SigmoidNetworks:
    """The published initial networks of the first `trials` trials, of ten."""
    return SigmoidNetworks.from_trials(load_legcnet_init(dataset, trials=trials), device=device)


@dataclass(frozen=True, eq=False)
class TableRun(NetworksRun):
    """What became of B networks in T steps of one example each."""

    train_accuracy_at: torch.Tensor  # (B, J), after the steps asked for with `judge_at`
    test_accuracy_at: torch.Tensor  # (B, J)
    weights: torch.Tensor | None  # (R, T+1, P) of the R networks recorded; row 0: the initial ones


@torch.no_grad()
def train_networks(
    networks: SigmoidNetworks,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    lr: float,
    epochs: int,
    masks: Sequence[Masks] | torch.Tensor | None = None,
    test: tuple[torch.Tensor, torch.Tensor] | None = None,
    label_size: int = 1,
    benchmark: float | None = None,
    until_benchmark: bool = False,
    record: Sequence[int] | None = None,
    judge_at: Sequence[int] | None = None,
) -> TableRun:
    """Train every network of a batch on the same examples in the same order.

    One step takes one example: with outputs o and label t it descends the squared error
    sum_k (o_k - t_k)^2 by `lr / label_size` times its gradient, weights and biases alike. The order
    is that of `x`, the same in every epoch. The networks given are not changed.

    Parameters
    ----------
    x, y : tensor (N, D) of float64, tensor (N,) of int64
        Examples and classes, on the device of the networks.
    masks : sequence of Masks, or bool tensor (B, P), optional
        Which weights each network keeps. A masked weight is zero from the start and after every
        step; biases are never masked.
    test : (x_test, y_test), optional
        Judged along, never trained on.
    benchmark, until_benchmark : float, bool
        Training accuracy to wait for; whether to stop when every network has reached it.
    record, judge_at : sequence of int, optional
        Networks whose weights are recorded before the first and after every step, and steps in
        0..T after which the accuracies are taken as well.

    Examples
    --------
    >>> x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> networks = SigmoidNetworks.random((2, 3, 1), 4, seed=0)
    >>> run = train_networks(networks, x, (x[:, 0] > 0).long(), lr=1.0, epochs=30, benchmark=0.9)
    >>> run.train_accuracy.shape, bool((run.epochs_to_benchmark < 30).all())
    (torch.Size([4, 30]), True)
    """
    n, n_steps = len(networks), check_int("epochs", epochs, minimum=0) * len(x)
    rate = check_positive("lr", lr) / check_int("label_size", label_size)
    if benchmark is not None:
        check_fraction("benchmark", benchmark)
    elif until_benchmark:
        raise ValueError("until_benchmark needs a benchmark; got None.")
    goals = check_examples("x", networks, x, y)[:, :, None]  # (N, K, 1)
    if test is not None:
        check_examples("test[0]", networks, *test)
    chosen = [check_int("record", i, minimum=0) for i in (() if record is None else record)]
    if max(chosen, default=0) >= n:
        raise ValueError(f"record must name networks 0..{n - 1}; got {chosen}.")
    asked = [] if judge_at is None else list(judge_at)
    if asked and not 0 <= min(asked) <= max(asked) <= n_steps:
        raise ValueError(f"judge_at must lie in 0..{n_steps}; got {asked}.")

    steps = SigmoidSteps(networks, layer_masks(masks, networks), rate)
    current, device = steps.networks, x.device
    untested = (torch.full((n,), math.nan, dtype=torch.float64, device=device),) * 2
    layout = networks.layout
    weights = x.new_empty((len(chosen), n_steps + 1, layout.size))  # (R, T+1, P)
    layers = zip(weights.split(list(layout.sizes), 2), layout.shapes, strict=True)
    layers = [part.unflatten(2, shape) for part, shape in layers]  # (R, T+1, outputs, inputs)
    every, which = chosen == list(range(n)), torch.tensor(chosen, device=device)
    due, at = set(asked), {}

    def judge() -> list[torch.Tensor]:
        tested = untested if test is None else current.judge(*test)
        return [current.judge(x, y)[0], *tested]

    def watch(step: int) -> None:
        if chosen:
            for layer, now in zip(layers, current.weights, strict=True):
                layer[:, step] = now if every else now.index_select(0, which)
        if step in due:
            at[step] = judge()

    pairs = list(zip(x, goals, strict=True))
    series = run_epochs(
        current,
        steps.step,
        lambda: pairs,
        judge,
        names=("train_accuracy", "test_accuracy", "test_f1"),
        epochs=epochs,
        benchmark=benchmark,
        until_benchmark=until_benchmark,
        watch=watch if chosen or due else None,
    )
    n_steps = series["train_accuracy"].shape[1] * len(x)  # fewer, if the benchmark ended it
    found = [at[step][:2] for step in asked if step in at]  # J pairs of (B,)
    nothing = [untested[0].new_empty((n, 0))] * 2
    train_at, test_at = [torch.stack(s, 1) for s in zip(*found, strict=True)] or nothing
    return TableRun(
        networks=current.clone(),
        **series,
        train_accuracy_at=train_at,
        test_accuracy_at=test_at,
        weights=weights[:, : n_steps + 1] if chosen else None,
    )
