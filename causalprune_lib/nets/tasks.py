"""What a network is trained for: its targets, the loss that it descends, how it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from causalprune_lib._validation import check_choice, check_finite

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # outputs, targets -> mean over a batch
Metric = Callable[[torch.Tensor, torch.Tensor], float]  # all outputs, all targets -> one number


@dataclass(frozen=True)
class Task:
    """A loss, a metric and a kind of target: all that training and judging must know of a problem.

    Classes are int64 of shape (N,), 0..K-1 for K outputs (0 or 1 for one output). Values are
    floating-point numbers in the shape of the outputs.

    Regression by the absolute error, judged by the share of the variance that is explained:

    >>> task = Task("median", torch.nn.functional.l1_loss, r_squared, "r2", targets="values")
    >>> task.metric(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [2.0]]))
    1.0
    """

    name: str  # in messages
    loss: Loss
    metric: Metric  # more is better
    metric_name: str = "accuracy"  # a share of right answers; its complement is the error rate
    targets: str = "classes"  # or "values"

    def check_targets(self, y: torch.Tensor, output: torch.Tensor, name: str = "y") -> None:
        """Raise unless targets `y` (N, ...) fit a network with this `output` for one example."""
        if self.targets == "values":
            if not y.is_floating_point():
                raise TypeError(f"{name} must hold floating-point values; got {y.dtype}.")
            if y.shape[1:] != output.shape[1:]:
                raise ValueError(
                    f"{name} must have the shape of the outputs, (N, *{tuple(output.shape[1:])}); "
                    f"got {tuple(y.shape)}."
                )
            check_finite(name, y)
            return
        if y.dtype != torch.int64:
            raise TypeError(
                f"{name} must hold classes as torch.int64; got {y.dtype}. {name}.long() makes them."
            )
        if y.dim() != 1:
            raise ValueError(f"{name} must have shape (N,); got {tuple(y.shape)}.")
        if output.dim() != 2:
            raise ValueError(
                f"model must return class scores of shape (N, K); got {tuple(output.shape)} for "
                "one example."
            )
        if output.shape[1] == 1 and self.loss is cross_entropy:
            raise ValueError(
                "model must return two class scores or more for task='classification'; got one, "
                "which goes with task='squared_error'."
            )
        low, high, n_classes = int(y.min()), int(y.max()), max(2, output.shape[1])
        if low < 0 or high >= n_classes:
            raise ValueError(
                f"{name} must hold classes 0..{n_classes - 1}, the model's {output.shape[1]} "
                f"outputs; got classes {low}..{high}."
            )


def accuracy(outputs: torch.Tensor, y: torch.Tensor) -> float:
    """Share of the examples whose highest output is at the right class; one output is rounded."""
    one = outputs.shape[1] == 1
    predicted = (outputs[:, 0] >= 0.5).long() if one else outputs.argmax(dim=1)
    return int((predicted == y).sum()) / len(y)


def r_squared(outputs: torch.Tensor, y: torch.Tensor) -> float:
    """Share of the variance of `y` that is explained: 1 - sum (o - y)^2 / sum (y - mean y)^2."""
    residual, total = (outputs - y).square().sum(), (y - y.mean(0)).square().sum()
    return float(1 - residual / total)


def class_targets(y: torch.Tensor, n_outputs: int) -> torch.Tensor:
    """What outputs are trained towards, (N, K) of float64: one-hot, or 0 and 1 for one output."""
    n_classes = max(2, n_outputs)
    if y.dim() != 1 or y.is_floating_point():
        raise ValueError(f"y must hold classes (N,) as integers; got {tuple(y.shape)} {y.dtype}.")
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < n_classes:
        found = f"{int(y.min())}..{int(y.max())}"
        raise ValueError(f"y must hold classes 0..{n_classes - 1}; got {found}.")
    return y[:, None].double() if n_outputs == 1 else one_hot(y.long(), n_outputs).double()


def squared_error(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean over the batch of sum_k (o_k - t_k)^2, with t the one-hot class (K = 1: 0 or 1)."""
    return (outputs - class_targets(y, outputs.shape[1]).to(outputs)).square().sum(1).mean()


TASKS = {
    "classification": Task("classification", cross_entropy, accuracy),
    "squared_error": Task("squared_error", squared_error, accuracy),
    "regression": Task("regression", mse_loss, r_squared, "r2", targets="values"),
}


def task_of(task: str | Task) -> Task:
    """A task by its name, or as it is."""
    return task if isinstance(task, Task) else TASKS[check_choice("task", task, TASKS)]
