"""Many networks of several layers at once: LEGCNet's MNIST network, as one batch of tensors.

As released, the MNIST network has sigmoids after its hidden layers and a softmax at the end, is
trained on the mean squared error of all outputs in batches of 128, and starts from PyTorch's own
initial weights. (The tables' networks, of one hidden layer and per-sample SGD, are in
`legcnet_networks`.)

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from causalprune_lib._random import seeded
from causalprune_lib._validation import check_int, check_shape
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.legcnet_networks import macro_f1

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
