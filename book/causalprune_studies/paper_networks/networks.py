"""Many networks of one shape as one batch: what the two kinds of the LEGCNet paper share.

`sigmoid` has the networks of its tables, `deep` that of its images. The networks of a batch see the
same examples in the same order; they differ by their initial weights or their masks.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch

from causalprune_lib._validation import check_finite, check_shape
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.tasks import class_targets
from causalprune_lib.pruning.masks import Masks

ROUNDING = 4 * torch.finfo(torch.float64).eps  # of a share of N examples, a sum times 1 / N


@dataclass(frozen=True, eq=False, repr=False)
class Networks:
    """B networks of one shape, with a sigmoid after every hidden layer.

    The flat order of the P weights is that of the layers, each row by row: that of
    `ParameterLayout` for the same network as an `MLP`. Biases are no part of it.
    """

    weights: tuple[torch.Tensor, ...]  # (B, outputs, inputs) for each of two layers or more
    biases: tuple[torch.Tensor, ...]  # (B, outputs) each

    output: ClassVar[str | None] = None  # what follows the last layer of the module

    def __post_init__(self) -> None:
        if len(self.weights) < 2 or len(self.weights) != len(self.biases):
            raise ValueError(
                "weights and biases must hold one tensor per layer, two layers or more; got "
                f"{len(self.weights)} and {len(self.biases)}."
            )
        inputs = None
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            check_shape(f"weights[{i}]", weight, (len(self), None, inputs))
            inputs = weight.shape[1]
            check_shape(f"biases[{i}]", bias, (len(self), inputs))

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.sizes))
        kind, n_weights = type(self).__name__, self.layout.size
        return f"{kind}({len(self)} networks, {shape}, {n_weights} weights each)"

    def __len__(self) -> int:
        """B, the number of networks."""
        return len(self.weights[0])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, hidden neurons, outputs."""
        return self.weights[0].shape[2], *(weight.shape[1] for weight in self.weights)

    @property
    def layout(self) -> ParameterLayout:
        """Names and places of the weights, as `ParameterLayout.of(self.model(0))` says them."""
        names = tuple(f"fc{i}.weight" for i in range(1, len(self.weights) + 1))
        return ParameterLayout(names, tuple(weight.shape[1:] for weight in self.weights))

    def select(self, indices: Sequence[int] | torch.Tensor) -> Self:
        """The networks numbered `indices`, in that order; a number may stand there many times."""
        chosen = torch.as_tensor(indices, device=self.weights[0].device).long()
        return self._each(lambda tensor: tensor[chosen])

    def repeat(self, n: int) -> Self:
        """Each network `n` times in a row."""
        return self._each(lambda tensor: tensor.repeat_interleave(n, 0))

    def clone(self) -> Self:
        """The same networks in memory of their own."""
        return self._each(torch.clone)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Self:
        return type(self)(tuple(map(change, self.weights)), tuple(map(change, self.biases)))

    def flat(self) -> torch.Tensor:
        """The weights (B, P), without biases."""
        return torch.cat([weight.flatten(1) for weight in self.weights], 1)

    def model(self, i: int) -> MLP:
        """Network number `i` as a module, in its own floating-point type."""
        model = MLP(list(self.sizes), activation="sigmoid", output=self.output)
        model = model.to(self.weights[0])
        values = (part[i] for pair in zip(self.weights, self.biases, strict=True) for part in pair)
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), values, strict=True):
                parameter.copy_(value)
        return model


@dataclass(frozen=True, eq=False)
class NetworksRun:
    """What became of B networks in E epochs, each judged as `judge` of the networks says.

    `epochs_to_benchmark` is the number, from 0, of the first epoch with a training accuracy of at
    least the benchmark; NaN where none has it, or where there was no benchmark.
    """

    networks: Networks  # after the last step
    train_accuracy: torch.Tensor  # (B, E)
    test_accuracy: torch.Tensor  # (B, E), NaN without a test set
    test_f1: torch.Tensor  # (B, E), likewise
    epochs_to_benchmark: torch.Tensor  # (B,)

    def at_stop(self, name: str) -> torch.Tensor:
        """`name` ("test_accuracy", ...) (B,) in the epoch that reached the benchmark, or the last.

        The released code stops at the benchmark and prints these. NaN if there was no epoch.
        """
        series = getattr(self, name)  # (B, E)
        last = series.shape[1] - 1
        if last < 0:
            return torch.full_like(self.epochs_to_benchmark, math.nan)
        epoch = self.epochs_to_benchmark.nan_to_num(last).long()
        return series.gather(1, epoch[:, None])[:, 0]

    def metrics(self) -> dict[str, torch.Tensor]:
        """How the networks did, (B,) each.

        `accuracy` and `f1` on the test set as from `at_stop`; `epochs` to the benchmark, NaN where
        it was never reached, and then `reached` is 0; `final_accuracy` after the last epoch.
        """
        return {
            "accuracy": self.at_stop("test_accuracy"),
            "f1": self.at_stop("test_f1"),
            "epochs": self.epochs_to_benchmark,
            "reached": (~self.epochs_to_benchmark.isnan()).double(),
            "final_accuracy": self.test_accuracy[:, -1],
        }

    def outcomes(self) -> list[dict[str, float]]:
        """`metrics`, network by network."""
        found = self.metrics()
        values = zip(*(numbers.tolist() for numbers in found.values()), strict=True)
        return [dict(zip(found, one, strict=True)) for one in values]


def run_epochs(
    networks: Networks,
    step: Callable[..., None],
    batches: Callable[[], Iterable[tuple[torch.Tensor, ...]]],
    judge: Callable[[], Sequence[torch.Tensor]],
    *,
    names: Sequence[str],
    epochs: int,
    benchmark: float | None,
    until_benchmark: bool = False,
    watch: Callable[[int], None] | None = None,
) -> dict[str, torch.Tensor]:
    """Train and judge in turn: the fields of `NetworksRun` but `networks`, which `step` changes.

    An epoch is one `step` for each of the `batches`. `judge` gives the numbers (B,) that `names`
    says, the training accuracy first. With `until_benchmark` training ends when every network has
    reached the benchmark. `watch` is called with the number of steps done, 0 included.
    """
    device = networks.weights[0].device
    reached = torch.full((len(networks),), math.nan, dtype=torch.float64, device=device)
    by_epoch: list[Sequence[torch.Tensor]] = []
    done = 0
    if watch is not None:
        watch(0)
    for epoch in range(epochs):
        for batch in batches():
            step(*batch)
            done += 1
            if watch is not None:
                watch(done)
        by_epoch.append(judge())
        if benchmark is not None:
            reached[reached.isnan() & (by_epoch[-1][0] >= benchmark - ROUNDING)] = epoch
            if until_benchmark and not bool(reached.isnan().any()):
                break
    nothing = [reached.new_empty((len(networks), 0))] * len(names)
    series = [torch.stack(numbers, 1) for numbers in zip(*by_epoch, strict=True)] or nothing
    return dict(zip(names, series, strict=True)) | {"epochs_to_benchmark": reached}


def macro_f1(predicted: torch.Tensor, y: torch.Tensor, *, n_classes: int) -> torch.Tensor:
    """Unweighted mean F1 (B,) of `predicted` (B, N) over the classes that occur in either.

    Examples
    --------
    >>> macro_f1(torch.tensor([[0, 1, 1, 1]]), torch.tensor([0, 0, 1, 1]), n_classes=3)
    tensor([0.7333], dtype=torch.float64)
    """
    classes = torch.arange(n_classes, device=y.device)[:, None]
    said, true = predicted[:, None] == classes, y == classes  # (B, K, N) and (K, N)
    both = (said & true).sum(2).double()
    total = said.sum(2) + true.sum(1)  # 2 hits + misses of both kinds
    f1 = 2 * both / total.clamp(min=1)
    return f1.sum(1) / (total > 0).sum(1)


def check_examples(name: str, networks: Networks, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """What outputs for examples `x` (N, D) of the classes `y` (N,) are trained towards, (N, K)."""
    check_shape(name, x, (None, networks.sizes[0]))
    kind = networks.weights[0].dtype
    if x.dtype != kind:
        raise TypeError(f"{name} must be {kind}, as the networks; got {x.dtype}.")
    check_finite(name, x)
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"{name} and its labels must have one length >= 1; got {len(x)}, {len(y)}."
        )
    return class_targets(y, networks.sizes[-1]).to(x)


def layer_masks(
    masks: Sequence[Masks] | torch.Tensor | None, networks: Networks
) -> list[torch.Tensor]:
    """Ones and zeros (B, outputs, inputs) for each layer, from masks; none without them.

    Masks are one for each network, or one bool tensor (B, P), True = keep.
    """
    if masks is None:
        return []
    layout = networks.layout
    if not isinstance(masks, torch.Tensor):
        masks = torch.stack([mask.flat(layout) for mask in masks])
    check_shape("masks", masks, (len(networks), layout.size))
    if masks.dtype != torch.bool:
        raise TypeError(f"masks must be boolean, True = keep; got {masks.dtype}.")
    parts = masks.to(networks.weights[0].device).split(list(layout.sizes), 1)
    return [
        part.to(weight.dtype).view_as(weight)
        for part, weight in zip(parts, networks.weights, strict=True)
    ]
