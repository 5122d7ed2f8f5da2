"""Per-sample SGD as in the LEGCNet paper, for many networks at once.

The released code trains one network of about 50 weights at a time, one example after the other in
a fixed order: 30 random masks for each of 5 trials are 20 minutes. Here all networks of a batch,
each with its own initial weights and its own mask, take each step together, in float64. A batch of
150 takes about as long as a handful of single ones.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from tqdm.auto import tqdm

from causalprune_lib._validation import (
    check_finite,
    check_fraction,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.pruning.legcnet_networks import SigmoidNetworks, as_keep, targets_of
from causalprune_lib.pruning.legcnet_step import StepState, Tape
from causalprune_lib.pruning.maskset import Masks


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
    return targets_of(y, networks.sizes[2]).to(x)[:, :, None]
