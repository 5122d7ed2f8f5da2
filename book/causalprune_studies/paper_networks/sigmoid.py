"""One step of per-sample SGD for a batch of sigmoid networks, in the fewest operations.

A step of a network of 60 weights costs next to nothing to compute; what counts is the number of
calls into PyTorch. All state lies in memory that is written in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_finite, check_int, check_shape
from causalprune_lib.nets.models import MLP
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.tasks import class_targets
from causalprune_lib.pruning.masks import Masks

# ---- legcnet_networks: Many small sigmoid networks at once: the networks of the LEGCNet paper, a


@dataclass(frozen=True, eq=False)
class SigmoidNetworks:
    """B networks of one shape: D inputs, H hidden neurons, K outputs.

    The flat order of the P = H (D + K) weights is the first matrix, then the second, each row by
    row. It is the order of `ParameterLayout` for the same network as an `MLP`, and that of the
    published masks. Biases are no part of it.

    Attributes
    ----------
    w1, b1, w2, b2 : tensor (B, H, D), (B, H), (B, K, H), (B, K)
        Weights and biases, of one floating-point type on one device.

    Examples
    --------
    >>> networks = SigmoidNetworks.random((9, 6, 1), 5, seed=0)
    >>> networks, networks.outputs(torch.zeros(3, 9, dtype=torch.float64)).shape
    (SigmoidNetworks(5 networks, 9-6-1, 60 weights each), torch.Size([5, 3, 1]))
    """

    w1: torch.Tensor
    b1: torch.Tensor
    w2: torch.Tensor
    b2: torch.Tensor

    def __post_init__(self) -> None:
        check_shape("w1", self.w1, (None, None, None))
        n, h, _ = self.w1.shape
        check_shape("b1", self.b1, (n, h))
        check_shape("w2", self.w2, (n, None, h))
        check_shape("b2", self.b2, (n, self.w2.shape[1]))
        for name in ("w1", "b1", "w2", "b2"):
            check_finite(name, getattr(self, name))

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.sizes))
        return f"SigmoidNetworks({len(self)} networks, {shape}, {self.layout.size} weights each)"

    def __len__(self) -> int:
        """B, the number of networks."""
        return len(self.w1)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """D, H and K."""
        return self.w1.shape[2], self.w1.shape[1], self.w2.shape[1]

    @property
    def layout(self) -> ParameterLayout:
        """Names and places of the weights, as `ParameterLayout.of(self.model(0))` says them."""
        return ParameterLayout(("fc1.weight", "fc2.weight"), (self.w1.shape[1:], self.w2.shape[1:]))

    @classmethod
    def from_trials(
        cls, trials: Sequence[Sequence[np.ndarray]], *, device: torch.device | str = "cpu"
    ) -> SigmoidNetworks:
        """From what `load_legcnet_init` returns: one [W1, b1, W2, b2] per trial, in float64."""
        stacks = [np.stack([np.asarray(trial[i]) for trial in trials]) for i in range(4)]
        w1, b1, w2, b2 = (torch.as_tensor(s, dtype=torch.float64, device=device) for s in stacks)
        return cls(w1, b1.flatten(1), w2, b2.flatten(1))

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
        return cls(*(scale * draw.to(device) for draw in draws))

    def select(self, indices: Sequence[int] | torch.Tensor) -> SigmoidNetworks:
        """The networks numbered `indices`, in that order; a number may stand there many times."""
        chosen = torch.as_tensor(indices, device=self.w1.device).long()
        return SigmoidNetworks(self.w1[chosen], self.b1[chosen], self.w2[chosen], self.b2[chosen])

    def clone(self) -> SigmoidNetworks:
        """The same networks in memory of their own."""
        return SigmoidNetworks(*(t.clone() for t in (self.w1, self.b1, self.w2, self.b2)))

    def flat(self) -> torch.Tensor:
        """The weights (B, P), without biases."""
        return torch.cat([self.w1.flatten(1), self.w2.flatten(1)], 1)

    def model(self, i: int) -> MLP:
        """Network number `i` as a module, in its own floating-point type."""
        model = MLP(list(self.sizes), activation="sigmoid", output="sigmoid").to(self.w1)
        with torch.no_grad():
            for parameter, values in zip(
                model.parameters(), (self.w1[i], self.b1[i], self.w2[i], self.b2[i]), strict=True
            ):
                parameter.copy_(values)
        return model

    @torch.no_grad()
    def outputs(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (B, N, K) in (0, 1) for examples `x` (N, D)."""
        hidden = torch.sigmoid(x @ self.w1.mT + self.b1[:, None])
        return torch.sigmoid(hidden @ self.w2.mT + self.b2[:, None])

    def judge(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Accuracy and macro F1, both (B,), as the released code computes them.

        A hit is an example whose rounded outputs all equal its label, one-hot for K > 1: an example
        with no output or two outputs above one half is a miss, even if the highest is right. F1 is
        that of the highest output (K = 1: of the rounded output), a mean over the classes that
        occur among labels or predictions.
        """
        outputs = self.outputs(x)
        rounded = outputs >= 0.5
        accuracy = (rounded == (class_targets(y, self.sizes[2]) > 0.5)).all(2).double().mean(1)
        predicted = outputs.argmax(2) if self.sizes[2] > 1 else rounded[:, :, 0].long()
        return accuracy, macro_f1(predicted, y, n_classes=max(2, self.sizes[2]))


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


def as_keep(masks: Sequence[Masks] | torch.Tensor, networks: SigmoidNetworks) -> torch.Tensor:
    """Masks as a boolean tensor (B, P), True = keep, checked against `networks`."""
    if not isinstance(masks, torch.Tensor):
        masks = torch.stack([mask.flat(networks.layout) for mask in masks])
    check_shape("masks", masks, (len(networks), networks.layout.size))
    if masks.dtype != torch.bool:
        raise TypeError(f"masks must be boolean, True = keep; got {masks.dtype}.")
    return masks.to(networks.w1.device)


def random_masks_like(keep: torch.Tensor, n: int, *, seed: int, split: int) -> torch.Tensor:
    """`n` random masks for each mask of `keep` (B, P), with the same number pruned in each layer.

    Parameters
    ----------
    keep : bool tensor (B, P)
        True = keep.
    n : int
        Masks per row of `keep`.
    seed : int
        Fixes the draws.
    split : int
        Where the second layer begins: H D.

    Returns
    -------
    bool tensor (B n, P)
        Rows b n to b n + n - 1 belong to row b of `keep`.

    Examples
    --------
    >>> keep = torch.tensor([[True, False, False, True, True]])
    >>> masks = random_masks_like(keep, 100, seed=0, split=3)
    >>> masks[:, :3].sum(1).unique().tolist(), masks[:, 3:].all().item()
    ([1], True)
    """
    generator = own_stream(seed, "random masks")
    wide = keep.cpu().repeat_interleave(check_int("n", n), 0)
    parts = []
    for layer in (wide[:, :split], wide[:, split:]):
        rank = torch.rand(layer.shape, generator=generator).argsort(1).argsort(1)
        parts.append(rank < layer.sum(1, keepdim=True))
    return torch.cat(parts, 1).to(keep.device)


# ---- legcnet_step: One step of per-sample SGD for a batch of sigmoid networks, in the fewest ope


_sigmoid_backward = torch.ops.aten.sigmoid_backward


class StepState:
    """The weights of the batch in memory that the steps write to."""

    def __init__(self, networks: SigmoidNetworks, keep: torch.Tensor | None) -> None:
        parts = (networks.w1, networks.b1, networks.w2, networks.b2)
        w1, b1, self.w2, self.b2 = (part.clone() for part in parts)
        b, h, d = w1.shape
        # The first bias is one more column, whose input is always 1.
        self.first = torch.cat([w1, b1[:, :, None]], 2)
        self.flat_first = self.first.view(b * h, d + 1)
        self.w1, self.b1 = self.first[:, :, :d], self.first[:, :, d]
        self.w2_t, self.b2_column = self.w2.transpose(1, 2), self.b2[:, :, None]
        self.hidden = w1.new_empty((b, h, 1))
        self.flat_hidden, self.hidden_row = self.hidden.view(b * h), self.hidden.view(b, 1, h)
        self.input = w1.new_ones(d + 1)
        self.keep1 = self.keep2 = None
        if keep is not None:
            kept = keep.to(w1.dtype)
            ones = kept.new_ones((b, h, 1))
            self.keep1 = torch.cat([kept[:, : h * d].view(b, h, d), ones], 2)
            self.keep2 = kept[:, h * d :].view_as(self.w2)
            self._mask()

    def networks(self) -> SigmoidNetworks:
        return SigmoidNetworks(self.w1, self.b1, self.w2, self.b2)

    def step(self, example: torch.Tensor, goal: torch.Tensor, rate: float) -> None:
        """One step of SGD on one example (D,) with its goal (K, 1)."""
        self.input[:-1] = example
        torch.mv(self.flat_first, self.input, out=self.flat_hidden).sigmoid_()
        outputs = torch.baddbmm(self.b2_column, self.w2, self.hidden).sigmoid_()
        error = _sigmoid_backward(outputs - goal, outputs)  # half the derivative, (B, K, 1)
        back = _sigmoid_backward(torch.bmm(self.w2_t, error), self.hidden)  # (B, H, 1)
        self.w2.baddbmm_(error, self.hidden_row, alpha=-2 * rate)
        self.b2_column.sub_(error, alpha=2 * rate)
        self.flat_first.addr_(back.view(-1), self.input, alpha=-2 * rate)
        if self.keep1 is not None:
            self._mask()

    def _mask(self) -> None:
        self.first.mul_(self.keep1)
        self.w2.mul_(self.keep2)


class Tape:
    """Rows (T+1, R, P) of recorded weights."""

    def __init__(self, state: StepState, chosen: Sequence[int], n_rows: int) -> None:
        n = len(state.w1)
        self.chosen = torch.as_tensor([check_int("record", i, minimum=0) for i in chosen])
        if len(self.chosen) and int(self.chosen.max()) >= n:
            raise ValueError(f"record must name networks 0..{n - 1}; got {list(chosen)}.")
        self.chosen = self.chosen.long().to(state.w1.device)
        self.whole = torch.equal(self.chosen, torch.arange(n, device=state.w1.device))
        self.sources, split = (state.w1, state.w2), state.w1[0].numel()
        width = split + state.w2[0].numel()
        self.rows = state.w1.new_empty((n_rows, len(self.chosen), width))
        self.parts = (
            self.rows[:, :, :split].unflatten(2, state.w1.shape[1:]),
            self.rows[:, :, split:].unflatten(2, state.w2.shape[1:]),
        )
        self.write(0)

    def write(self, row: int) -> None:
        for part, source in zip(self.parts, self.sources, strict=True):
            part[row] = source if self.whole else source.index_select(0, self.chosen)
