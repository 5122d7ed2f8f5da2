"""The network of the LEGCNet paper for images: many copies of it, each under its own mask.

The loop of the released MNIST script (arXiv:2308.09955): batches drawn anew in every epoch, plain
SGD on the squared error, masked weights set to zero before each step. All networks of a batch see
the same examples in the same order, so that they differ by their masks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from causalprune_lib._random import seeded
from causalprune_lib._validation import check_fraction, check_int, check_positive
from causalprune_lib.nets.models import MLP
from causalprune_lib.pruning.masks import Masks
from causalprune_studies.paper_networks.networks import (
    Networks,
    NetworksRun,
    check_examples,
    layer_masks,
    macro_f1,
    run_epochs,
)

BLOCK = 2048  # examples judged at a time

_sigmoid_backward = torch.ops.aten.sigmoid_backward


@dataclass(frozen=True, eq=False, repr=False)
class DeepNetworks(Networks):
    """B networks of two layers or more, a sigmoid after every one but the last, then softmax.

    Examples
    --------
    >>> networks = DeepNetworks.initial((784, 50, 30, 10), seed=3)
    >>> networks
    DeepNetworks(1 networks, 784-50-30-10, 41000 weights each)
    >>> networks.repeat(5).outputs(torch.zeros(2, 784)).shape
    torch.Size([5, 2, 10])
    """

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

        `x` (n, D) is a batch, `goals` (K, n) are its one-hot labels.
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


@dataclass(frozen=True, eq=False)
class DeepRun(NetworksRun):
    """What became of B networks; also on the first example of each test batch, as released."""

    first_accuracy: torch.Tensor  # (B, E)
    first_f1: torch.Tensor  # (B, E)

    def metrics(self) -> dict[str, torch.Tensor]:
        """Also on the training examples, and on the first ones of the test batches."""
        names = ("train_accuracy", "first_accuracy", "first_f1")
        more = {name: self.at_stop(name) for name in names}
        return super().metrics() | more | {"final_train_accuracy": self.train_accuracy[:, -1]}


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
    masks: Sequence[Masks] | torch.Tensor | None = None,
    benchmark: float | None = None,
    watch: Callable[[int, DeepNetworks], None] | None = None,
) -> DeepRun:
    """Train every network of a batch on the same batches of examples.

    Plain SGD on the mean squared error; the networks given are not changed. `masks` are as in
    `train_networks`, as are `benchmark` and `test`. The order of examples is drawn anew in every
    epoch, by `seed`; the last batch of an epoch may be smaller. `watch` is called with the number
    of steps done, 0 included, and the networks as they are then.

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
    check_positive("lr", lr)
    check_int("epochs", epochs, minimum=0)
    check_int("batch_size", batch_size)
    check_int("seed", seed, minimum=0)
    if benchmark is not None:
        check_fraction("benchmark", benchmark)
    goals = check_examples("x", networks, x, y)  # (N, K)
    check_examples("test[0]", networks, *test)
    kept = layer_masks(masks, networks)
    current, order = networks.clone(), torch.Generator().manual_seed(seed)
    firsts = tuple(part[::batch_size] for part in test)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        drawn = torch.randperm(len(x), generator=order).to(x.device)
        for batch in drawn.split(batch_size):
            yield x[batch], goals[batch].T

    def step(x: torch.Tensor, goals: torch.Tensor) -> None:
        current.descend_(x, goals, lr=lr)
        prune()

    def prune() -> None:
        for weight, ones_and_zeros in zip(current.weights, kept, strict=False):
            weight.mul_(ones_and_zeros)

    def judge() -> list[torch.Tensor]:
        return [current.judge(x, y)[0], *current.judge(*test), *current.judge(*firsts)]

    prune()
    series = run_epochs(
        current,
        step,
        batches,
        judge,
        names=("train_accuracy", "test_accuracy", "test_f1", "first_accuracy", "first_f1"),
        epochs=epochs,
        benchmark=benchmark,
        watch=None if watch is None else lambda done: watch(done, current),
    )
    return DeepRun(networks=current, **series)
