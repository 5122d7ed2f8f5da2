"""The networks of the LEGCNet paper's tables, and one step of their training.

One hidden layer, sigmoids, the squared error, one example per step (arXiv:2308.09955). A step of a
network of 60 weights costs next to nothing to compute; what counts is the number of calls into
PyTorch. So all state of a batch lies in memory that is written in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_finite, check_int
from causalprune_lib.nets.tasks import class_targets
from causalprune_studies.paper_networks.networks import Networks, macro_f1

_sigmoid_backward = torch.ops.aten.sigmoid_backward


@dataclass(frozen=True, eq=False, repr=False)
class SigmoidNetworks(Networks):
    """B networks of D inputs, H hidden neurons and K outputs, with sigmoids after both layers.

    `weights` are (B, H, D) and (B, K, H), `biases` (B, H) and (B, K), all finite. The flat order of
    the P = H (D + K) weights is that of the published masks.

    Examples
    --------
    >>> networks = SigmoidNetworks.random((9, 6, 1), 5, seed=0)
    >>> networks, networks.outputs(torch.zeros(3, 9, dtype=torch.float64)).shape
    (SigmoidNetworks(5 networks, 9-6-1, 60 weights each), torch.Size([5, 3, 1]))
    """

    output = "sigmoid"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weights", "biases"):
            for i, values in enumerate(getattr(self, name)):
                check_finite(f"{name}[{i}]", values)

    @classmethod
    def from_trials(
        cls, trials: Sequence[Sequence[np.ndarray]], *, device: torch.device | str = "cpu"
    ) -> SigmoidNetworks:
        """From what `load_legcnet_init` returns: one [W1, b1, W2, b2] per trial, in float64."""
        stacks = [np.stack([np.asarray(trial[i]) for trial in trials]) for i in range(4)]
        w1, b1, w2, b2 = (torch.as_tensor(s, dtype=torch.float64, device=device) for s in stacks)
        return cls((w1, w2), (b1.flatten(1), b2.flatten(1)))

    @classmethod
    def random(
        cls,
        sizes: tuple[int, int, int],
        n: int,
        *,
        seed: int,
        scale: float = 0.1,
        device: torch.device | str = "cpu",
    ) -> SigmoidNetworks:
        """`n` networks with normal weights and biases of standard deviation `scale`, in float64.

        The published initial weights look like draws with a scale of 0.1 (vowel: 1).
        """
        d, h, k = (check_int(f"sizes[{i}]", size) for i, size in enumerate(sizes))
        check_int("n", n)
        generator = torch.Generator().manual_seed(check_int("seed", seed, minimum=0))
        shapes = ((n, h, d), (n, h), (n, k, h), (n, k))
        draws = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
        w1, b1, w2, b2 = (scale * draw.to(device) for draw in draws)
        return cls((w1, w2), (b1, b2))

    @torch.no_grad()
    def outputs(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (B, N, K) in (0, 1) for examples `x` (N, D)."""
        (w1, w2), (b1, b2) = self.weights, self.biases
        hidden = torch.sigmoid(x @ w1.mT + b1[:, None])  # (B, N, H)
        return torch.sigmoid(hidden @ w2.mT + b2[:, None])

    def judge(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Accuracy and macro F1, both (B,), as the released code computes them.

        A hit is an example whose rounded outputs all equal its label, one-hot for K > 1: an example
        with no output or two outputs above one half is a miss, even if the highest is right. F1 is
        that of the highest output (K = 1: of the rounded output), a mean over the classes that
        occur among labels or predictions.
        """
        outputs = self.outputs(x)
        n_outputs = outputs.shape[2]
        rounded = outputs >= 0.5
        accuracy = (rounded == (class_targets(y, n_outputs) > 0.5)).all(2).double().mean(1)
        predicted = outputs.argmax(2) if n_outputs > 1 else rounded[:, :, 0].long()
        return accuracy, macro_f1(predicted, y, n_classes=max(2, n_outputs))


class SigmoidSteps:
    """Per-sample SGD on a batch of networks, in place.

    `networks` shows the weights as they are after the last step. `masks` are those of both layers,
    as from `layer_masks`, or none.
    """

    def __init__(
        self, networks: SigmoidNetworks, masks: Sequence[torch.Tensor], rate: float
    ) -> None:
        w1 = networks.weights[0]
        b, h, d = w1.shape
        # The first bias is one more input weight, whose input is always 1.
        self.first = torch.cat([w1, networks.biases[0][:, :, None]], 2)  # (B, H, D + 1)
        self.w2, b2 = networks.weights[1].clone(), networks.biases[1].clone()
        self.networks = SigmoidNetworks((self.first[:, :, :d], self.w2), (self.first[:, :, d], b2))
        self.flat_first = self.first.view(b * h, d + 1)
        self.w2_t, self.b2_column = self.w2.transpose(1, 2), b2[:, :, None]
        self.hidden = w1.new_empty((b, h, 1))
        self.flat_hidden, self.hidden_row = self.hidden.view(b * h), self.hidden.view(b, 1, h)
        self.input = w1.new_ones(d + 1)
        self.example = self.input[:-1]
        self.alpha, self.masks = 2 * rate, None
        if masks:
            ones = w1.new_ones((b, h, 1))
            self.masks = torch.cat([masks[0], ones], 2), masks[1]
            self._prune()

    def step(self, example: torch.Tensor, goal: torch.Tensor) -> None:
        """Descend the squared error of one example (D,) with its goal (K, 1)."""
        self.example.copy_(example)
        torch.mv(self.flat_first, self.input, out=self.flat_hidden).sigmoid_()
        outputs = torch.baddbmm(self.b2_column, self.w2, self.hidden).sigmoid_()
        error = _sigmoid_backward(outputs - goal, outputs)  # half the derivative, (B, K, 1)
        back = _sigmoid_backward(torch.bmm(self.w2_t, error), self.hidden)  # (B, H, 1)
        self.w2.baddbmm_(error, self.hidden_row, alpha=-self.alpha)
        self.b2_column.sub_(error, alpha=self.alpha)
        self.flat_first.addr_(back.view(-1), self.input, alpha=-self.alpha)
        if self.masks is not None:
            self._prune()

    def _prune(self) -> None:
        self.first.mul_(self.masks[0])
        self.w2.mul_(self.masks[1])
