"""Train many networks of several layers side by side, each under its own mask.

The loop of LEGCNet's released MNIST script: batches drawn anew in every epoch, plain SGD, masked
weights set to zero before each step. All networks of a batch see the same examples in the same
order, so that they differ by their masks alone.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from tqdm.auto import tqdm

from causalprune_lib._random import seeded
from causalprune_lib._validation import (
    check_finite,
    check_fraction,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.tasks import class_targets
from causalprune_studies.paper_networks.sigmoid import macro_f1
from causalprune_studies.paper_networks.training import NetworksRun

# ---- legcnet_deep: Many networks of several layers at once: LEGCNet's MNIST network, as one batc


BLOCK = 2048  # examples judged at a time


_sigmoid_backward = torch.ops.aten.sigmoid_backward


@dataclass(frozen=True, eq=False)
class DeepNetworks:
    """B networks of one shape, sigmoid after every layer but the last, softmax after that.

    The flat order of the P weights is that of the layers, each row by row, as `ParameterLayout` has
    it for the same network as an `MLP`. Biases are no part of it.

    Attributes
    ----------
    weights : tuple of tensor (B, outputs, inputs)
    biases : tuple of tensor (B, outputs)

    Examples
    --------
    >>> networks = DeepNetworks.initial((784, 50, 30, 10), seed=3)
    >>> networks
    DeepNetworks(1 networks, 784-50-30-10, 41000 weights each)
    >>> networks.repeat(5).outputs(torch.zeros(2, 784)).shape
    torch.Size([5, 2, 10])
    """

    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]

    def __post_init__(self) -> None:
        if len(self.weights) < 2 or len(self.weights) != len(self.biases):
            raise ValueError(
                "weights and biases must hold one tensor per layer, two layers or more; got "
                f"{len(self.weights)} and {len(self.biases)}."
            )
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            inputs = self.weights[i - 1].shape[1] if i else None
            check_shape(f"weights[{i}]", weight, (len(self), None, inputs))
            check_shape(f"biases[{i}]", bias, (len(self), weight.shape[1]))

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.sizes))
        return f"DeepNetworks({len(self)} networks, {shape}, {self.layout.size} weights each)"

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
        names = (f"fc{i}.weight" for i in range(1, len(self.weights) + 1))
        return ParameterLayout(tuple(names), tuple(weight.shape[1:] for weight in self.weights))

    @classmethod
    def initial(
        cls, sizes: Sequence[int], *, seed: int, device: torch.device | str = "cpu"
    ) -> DeepNetworks:
        """One network with PyTorch's own initial weights after `torch.manual_seed(seed)`.

        So were the paper's five MNIST networks made: initialisation i by the seed i, the fifth by
        the seed 0.
        """
        with seeded(check_int("seed", seed, minimum=0)):
            model = MLP(list(sizes), activation="sigmoid")
        values = [p.detach()[None].to(device) for p in model.parameters()]
        return cls(tuple(values[0::2]), tuple(values[1::2]))

    def repeat(self, n: int) -> DeepNetworks:
        """Each network `n` times in a row."""
        weights, biases = (
            tuple(t.repeat_interleave(n, 0) for t in part) for part in (self.weights, self.biases)
        )
        return DeepNetworks(weights, biases)

    def clone(self) -> DeepNetworks:
        """The same networks in memory of their own."""
        weights, biases = (tuple(t.clone() for t in part) for part in (self.weights, self.biases))
        return DeepNetworks(weights, biases)

    def flat(self) -> torch.Tensor:
        """The weights (B, P), without biases."""
        return torch.cat([weight.flatten(1) for weight in self.weights], 1)

    def model(self, i: int) -> MLP:
        """Network number `i` as a module that gives class scores, before the softmax."""
        model = MLP(list(self.sizes), activation="sigmoid").to(self.weights[0])
        values = (part[i] for pair in zip(self.weights, self.biases, strict=True) for part in pair)
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), values, strict=True):
                parameter.copy_(value)
        return model

    @torch.no_grad()
    def outputs(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (B, N, K), each row a distribution, for examples `x` (N, D)."""
        return self._layers(x)[-1].mT

    @torch.no_grad()
    def judge(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Accuracy and macro F1 of the highest output, both (B,)."""
        parts = [self._layers(part)[-1].argmax(1) for part in x.split(BLOCK)]
        predicted = torch.cat(parts, 1)  # (B, N)
        accuracy = (predicted == y).double().mean(1)
        return accuracy, macro_f1(predicted, y, n_classes=self.sizes[-1])

    def _layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        """What each layer gives, (B, neurons, N)."""
        first = self.weights[0].flatten(0, 1)  # one product for all networks: they share x
        found = [torch.addmm(self.biases[0].view(-1, 1), first, x.T)]
        found[0] = found[0].sigmoid_().unflatten(0, self.weights[0].shape[:2])
        for weight, bias in zip(self.weights[1:-1], self.biases[1:-1], strict=True):
            found.append(torch.baddbmm(bias[:, :, None], weight, found[-1]).sigmoid_())
        last = torch.baddbmm(self.biases[-1][:, :, None], self.weights[-1], found[-1])
        return [*found, last.softmax(1)]

    @torch.no_grad()
    def descend_(self, x: torch.Tensor, goals: torch.Tensor, *, lr: float) -> None:
        """One step of SGD, in place, on the mean of (o - t)^2 over examples and outputs.

        Parameters
        ----------
        x, goals : tensor (n, D), (K, n)
            A batch and its one-hot labels.
        lr : float
            Learning rate.
        """
        layers = self._layers(x)
        outputs = layers[-1]
        back = (outputs - goals).mul_(2 / goals.numel())
        back = outputs * (back - (back * outputs).sum(1, keepdim=True))  # through the softmax
        for i in range(len(layers) - 1, 0, -1):
            below = torch.bmm(self.weights[i].mT, back)
            self.weights[i].baddbmm_(back, layers[i - 1].mT, alpha=-lr)
            self.biases[i].sub_(back.sum(2), alpha=lr)
            back = _sigmoid_backward(below, layers[i - 1])
        self.weights[0].flatten(0, 1).addmm_(back.flatten(0, 1), x, alpha=-lr)
        self.biases[0].sub_(back.sum(2), alpha=lr)


def upper_layers_only(keep: torch.Tensor, networks: DeepNetworks) -> torch.Tensor:
    """The mask `keep` (P,) with the first layer whole, as in the released notebook.

    Examples
    --------
    >>> networks = DeepNetworks.initial((3, 2, 2), seed=0)
    >>> upper_layers_only(torch.zeros(10, dtype=torch.bool), networks).sum().item()
    6
    """
    first = networks.layout.sizes[0]
    return torch.cat([torch.ones_like(keep[:first]), keep[first:]])


# ---- legcnet_deep_training: Train many networks of several layers side by side, each under its o


@dataclass(frozen=True, eq=False)
class DeepRun:
    """What became of B networks in E epochs.

    Attributes
    ----------
    networks : DeepNetworks
        As they are after the last step.
    train_accuracy, test_accuracy, test_f1 : tensor (B, E)
        After each epoch, as `DeepNetworks.judge` says.
    first_accuracy, first_f1 : tensor (B, E)
        The same on the first example of each test batch only, as released.
    epochs_to_benchmark : tensor (B,)
        Number, from 0, of the first epoch with a training accuracy of at least the benchmark; NaN
        where none has it, or where there was no benchmark.
    seconds : float
        Time taken, that of `watch` included.
    """

    networks: DeepNetworks
    train_accuracy: torch.Tensor
    test_accuracy: torch.Tensor
    test_f1: torch.Tensor
    first_accuracy: torch.Tensor
    first_f1: torch.Tensor
    epochs_to_benchmark: torch.Tensor
    seconds: float

    at_benchmark = NetworksRun.at_benchmark  # `name` in the epoch that reached the benchmark


@torch.no_grad()
def train_deep(
    networks: DeepNetworks,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    test: tuple[torch.Tensor, torch.Tensor],
    lr: float,
    epochs: int,
    batch_size: int = 128,
    seed: int = 0,
    masks: torch.Tensor | None = None,
    benchmark: float | None = None,
    watch: Callable[[int, DeepNetworks], None] | None = None,
    progress: bool = False,
) -> DeepRun:
    """Train every network of a batch on the same batches of examples.

    Parameters
    ----------
    networks : DeepNetworks
        B networks; they are not changed.
    x, y : tensor (N, D), tensor (N,) of int64
        Examples and classes, on the device of the networks.
    test : (x_test, y_test)
        Judged along, never trained on.
    lr, epochs, batch_size : float, int, int
        Of plain SGD on the mean squared error; the last batch of an epoch may be smaller.
    seed : int
        Of the order of examples, drawn anew in every epoch.
    masks : bool tensor (B, P), optional
        Which weights each network keeps. A masked weight is zero from the start and after every
        step; biases are never masked.
    benchmark : float, optional
        Training accuracy to wait for.
    watch : callable, optional
        Called with the number of steps done, 0 included, and the live networks.
    progress : bool
        Show a bar.

    Returns
    -------
    DeepRun

    Raises
    ------
    ValueError, TypeError
        Shapes, types or options that do not fit.

    Examples
    --------
    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> networks = DeepNetworks.initial((4, 6, 5, 2), seed=0).repeat(2)
    >>> how = {"lr": 5.0, "epochs": 60, "batch_size": 30, "benchmark": 0.9}
    >>> run = train_deep(networks, *data, test=data, **how)
    >>> run.test_accuracy.shape, bool((run.test_accuracy[:, -1] > 0.9).all())
    (torch.Size([2, 60]), True)
    """
    started = perf_counter()
    check_positive("lr", lr)
    check_int("batch_size", batch_size)
    check_int("seed", seed, minimum=0)
    if benchmark is not None:
        check_fraction("benchmark", benchmark)
    _check_examples("x", networks, x, y)
    _check_examples("test[0]", networks, *test)
    keep = None if masks is None else _as_factors(masks, networks)
    state = networks.clone()
    goals = class_targets(y, networks.sizes[-1]).to(x)
    order = torch.Generator().manual_seed(seed)
    firsts = tuple(part[::batch_size] for part in test)

    _put_masks(state, keep)
    per_epoch: list[list[torch.Tensor]] = []
    reached = torch.full((len(networks),), math.nan, dtype=torch.float64, device=x.device)
    step = 0
    if watch is not None:
        watch(0, state)
    epochs = range(check_int("epochs", epochs, minimum=0))
    for epoch in tqdm(epochs, unit="epoch", disable=not progress, leave=False):
        drawn = torch.randperm(len(x), generator=order).to(x.device)
        for rows in drawn.split(batch_size):
            state.descend_(x[rows], goals[rows].T, lr=lr)
            _put_masks(state, keep)
            step += 1
            if watch is not None:
                watch(step, state)
        train_accuracy, _ = state.judge(x, y)
        per_epoch.append([train_accuracy, *state.judge(*test), *state.judge(*firsts)])
        if benchmark is not None:
            reached[reached.isnan() & (train_accuracy >= benchmark)] = epoch
    nothing = reached.new_empty((len(networks), 0))
    series = [torch.stack(s, 1) for s in zip(*per_epoch, strict=True)] or [nothing] * 5
    return DeepRun(state, *series, reached, perf_counter() - started)


def _put_masks(networks: DeepNetworks, keep: list[torch.Tensor] | None) -> None:
    for weight, factor in zip(networks.weights, keep or (), strict=False):
        weight.mul_(factor)


def _as_factors(masks: torch.Tensor, networks: DeepNetworks) -> list[torch.Tensor]:
    """One tensor of ones and zeros per layer, of the shape of its weights."""
    layout = networks.layout
    check_shape("masks", masks, (len(networks), layout.size))
    if masks.dtype != torch.bool:
        raise TypeError(f"masks must be boolean, True = keep; got {masks.dtype}.")
    parts = masks.to(networks.weights[0].device).split(list(layout.sizes), 1)
    return [
        part.to(weight.dtype).view_as(weight)
        for part, weight in zip(parts, networks.weights, strict=True)
    ]


def _check_examples(name: str, networks: DeepNetworks, x: torch.Tensor, y: torch.Tensor) -> None:
    check_shape(name, x, (None, networks.sizes[0]))
    if x.dtype != networks.weights[0].dtype:
        kind = networks.weights[0].dtype
        raise TypeError(f"{name} must be {kind}, as the networks; got {x.dtype}.")
    check_finite(name, x)
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"{name} and its labels must have one length >= 1; got {len(x)}, {len(y)}."
        )
    class_targets(y[:0], networks.sizes[-1])
