"""One step of per-sample SGD for a batch of sigmoid networks, in the fewest operations.

A step of a network of 60 weights costs next to nothing to compute; what counts is the number of
calls into PyTorch. All state lies in memory that is written in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from causalprune_lib._validation import check_int
from causalprune_lib.pruning.legcnet_networks import SigmoidNetworks

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
