"""The LEGCNet paper's networks, all trials at once: from initial weights to exponents and masks.

The route of the released code (arXiv:2308.09955), with its data, its initial weights, its order of
examples and, by default, its error on the TEST set, so that published masks can be reproduced. With
`error="train"` or "validation" the test set plays no part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from sklearn.base import clone
from tqdm.auto import tqdm

from causalprune_lib._validation import (
    check_choice,
    check_finite,
    check_fraction,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.nets.data import Dataset, load_dataset
from causalprune_lib.nets.tasks import class_targets
from causalprune_lib.pruning.legcnet import LEGCNet
from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.windows import (
    Estimator,
    cut_windows,
)
from causalprune_studies.paper_networks.initial import load_legcnet_init
from causalprune_studies.paper_networks.settings import (
    PUBLISHED_READINGS,
    LEGCNetSettings,
    MaskReading,
    legcnet_settings,
    released_reading,
)
from causalprune_studies.paper_networks.sigmoid import SigmoidNetworks, StepState, Tape, as_keep

# ---- legcnet_training: Per-sample SGD as in the LEGCNet paper, for many networks at once.


@dataclass(frozen=True, eq=False)
class NetworksRun:
    """What became of B networks in E epochs of T = E N steps.

    Attributes
    ----------
    networks : SigmoidNetworks
        As they are after the last step.
    train_accuracy, test_accuracy, train_f1, test_f1 : tensor (B, E)
        After each epoch, as `SigmoidNetworks.judge` says. NaN for a test set that was not given.
    epochs_to_benchmark : tensor (B,)
        Number, from 0, of the first epoch with a training accuracy of at least the benchmark; NaN
        where none has it, or where there was no benchmark.
    judged_at : tensor (J,) of int64
        The steps asked for with `judge_at`; 0 is before the first step.
    train_accuracy_at, test_accuracy_at : tensor (B, J)
        Accuracy after these steps.
    weights : tensor (R, T+1, P) or None
        Recorded weights of the R networks asked for; row 0 holds the initial weights.
    seconds : float
        Time taken.
    """

    networks: SigmoidNetworks
    train_accuracy: torch.Tensor
    test_accuracy: torch.Tensor
    train_f1: torch.Tensor
    test_f1: torch.Tensor
    epochs_to_benchmark: torch.Tensor
    judged_at: torch.Tensor
    train_accuracy_at: torch.Tensor
    test_accuracy_at: torch.Tensor
    weights: torch.Tensor | None
    seconds: float

    def at_benchmark(self, name: str) -> torch.Tensor:
        """`name` ("test_accuracy", "test_f1", ...) (B,) in the epoch that reached the benchmark.

        The released code stops there and prints these. NaN where the benchmark was not reached.
        """
        series = getattr(self, name)
        epoch = self.epochs_to_benchmark.nan_to_num(0).long()[:, None]
        if series.shape[1] == 0:
            return torch.full_like(self.epochs_to_benchmark, math.nan)
        found = series.gather(1, epoch)[:, 0]
        return torch.where(self.epochs_to_benchmark.isnan(), math.nan, found)


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
    progress: bool = False,
) -> NetworksRun:
    """Train every network of a batch on the same examples in the same order.

    One step takes one example: with outputs o and label t it descends the squared error
    sum_k (o_k - t_k)^2 by `lr / label_size` times its gradient, weights and biases alike. The order
    is that of `x`, the same in every epoch. A masked weight is zero from the start and after every
    step; biases are never masked.

    Parameters
    ----------
    networks : SigmoidNetworks
        B networks; they are not changed.
    x, y : tensor (N, D) of float64, tensor (N,) of int64
        Examples and classes, on the device of the networks.
    lr : float
        Learning rate.
    epochs : int
        Passes over the data.
    masks : sequence of Masks, or bool tensor (B, P), optional
        Which weights each network keeps.
    test : (x_test, y_test), optional
        Judged along, never trained on.
    label_size : int
        Divides the gradient; the released code takes the size of the label, 3 for iris and else 1.
    benchmark : float, optional
        Training accuracy to wait for.
    until_benchmark : bool
        Stop as soon as every network has reached the benchmark.
    record : sequence of int, optional
        Networks whose weights are recorded before the first and after every step.
    judge_at : sequence of int, optional
        Steps after which the accuracies are taken as well, in 0..T.
    progress : bool
        Show a bar.

    Returns
    -------
    NetworksRun

    Raises
    ------
    ValueError, TypeError
        Shapes, types or options that do not fit.

    Examples
    --------
    >>> x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> networks = SigmoidNetworks.random((2, 3, 1), 4, seed=0)
    >>> run = train_networks(networks, x, (x[:, 0] > 0).long(), lr=1.0, epochs=30, benchmark=0.9)
    >>> run.train_accuracy.shape, bool((run.epochs_to_benchmark < 30).all())
    (torch.Size([4, 30]), True)
    """
    started = perf_counter()
    check_int("epochs", epochs, minimum=0)
    rate = check_positive("lr", lr) / check_int("label_size", label_size)
    if until_benchmark and benchmark is None:
        raise ValueError("until_benchmark needs a benchmark; got None.")
    if benchmark is not None:
        check_fraction("benchmark", benchmark)
    goals = _checked_examples("x", networks, x, y)
    if test is not None:
        _checked_examples("test[0]", networks, *test)
    state = StepState(networks, None if masks is None else as_keep(masks, networks))
    n_steps = epochs * len(x)
    asked = torch.as_tensor([] if judge_at is None else list(judge_at), dtype=torch.int64)
    if len(asked) and not 0 <= int(asked.min()) <= int(asked.max()) <= n_steps:
        raise ValueError(f"judge_at must lie in 0..{n_steps}; got {asked.tolist()}.")
    due = set(asked.tolist())
    tape = None if record is None else Tape(state, record, n_steps + 1)

    found: dict[int, list[torch.Tensor]] = {}
    per_epoch: list[list[torch.Tensor]] = []
    reached = torch.full((len(networks),), math.nan, dtype=torch.float64, device=x.device)
    pairs = list(zip(x, goals, strict=True))
    step = 0
    if 0 in due:
        found[0] = _judge_both(state.networks(), (x, y), test)
    for epoch in tqdm(range(epochs), unit="epoch", disable=not progress, leave=False):
        for example, goal in pairs:
            state.step(example, goal, rate)
            step += 1
            if tape is not None:
                tape.write(step)
            if step in due:
                found[step] = _judge_both(state.networks(), (x, y), test)
        per_epoch.append(_judge_both(state.networks(), (x, y), test))
        if benchmark is not None:
            reached[reached.isnan() & (per_epoch[-1][0] >= benchmark)] = epoch
            if until_benchmark and not bool(reached.isnan().any()):
                break
    nothing = reached.new_empty((len(networks), 0))
    series = [torch.stack(s, 1) for s in zip(*per_epoch, strict=True)] or [nothing] * 4
    asked = asked[asked <= step]
    at = [
        torch.stack([found[int(s)][i] for s in asked], 1) if len(asked) else nothing for i in (0, 2)
    ]
    return NetworksRun(
        networks=state.networks().clone(),
        train_accuracy=series[0],
        train_f1=series[1],
        test_accuracy=series[2],
        test_f1=series[3],
        epochs_to_benchmark=reached,
        judged_at=asked,
        train_accuracy_at=at[0],
        test_accuracy_at=at[1],
        weights=None if tape is None else tape.rows[: step + 1].transpose(0, 1).contiguous(),
        seconds=perf_counter() - started,
    )


def _judge_both(networks: SigmoidNetworks, train, test) -> list[torch.Tensor]:
    """Accuracy and F1 on the training set, then on the test set, each (B,)."""
    judged = networks.judge(*train)
    missing = torch.full_like(judged[0], math.nan)
    return [*judged, *(networks.judge(*test) if test is not None else (missing, missing))]


def _checked_examples(
    name: str, networks: SigmoidNetworks, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Goals (N, K, 1) of the examples, after a check that they fit the networks."""
    check_shape(name, x, (None, networks.sizes[0]))
    if x.dtype != networks.w1.dtype:
        raise TypeError(f"{name} must be {networks.w1.dtype}, as the networks; got {x.dtype}.")
    check_finite(name, x)
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"{name} and its labels must have one length >= 1; got {len(x)}, {len(y)}."
        )
    return class_targets(y, networks.sizes[2]).to(x)[:, :, None]


# ---- legcnet_released: The LEGCNet paper's networks, all trials at once: from initial weights to


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
) -> list[LEGCNet]:
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
    list of LEGCNet
        Fitted, one per network. Layers are called as in `SigmoidNetworks.model`.
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
    legcnet = LEGCNet(
        rule=rule,
        orientation=orientation,
        window=reading.window,
        max_lag=reading.max_lag,
        alpha=alpha,
        horizon=reading.horizon,
        estimator=estimator,
        gate=reading.gate and rule == "as_released",
    )
    return [
        clone(legcnet).fit_trajectory(
            weights, error=(1 - hits)[: reading.n_windows], layout=networks.layout
        )
        for weights, hits in zip(run.weights, accuracy, strict=True)
    ]


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
