"""Hearing the steps of optimizers, and reading the weights that they move.

`torch.optim` calls its global hooks before and after every `step()` of every optimizer. That is all
a listener needs, so the training loop may be anyone's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from causalprune_lib.nets.parameters import ParameterLayout


class WeightReader:
    """Copies the chosen weights of a model into a row, straight from where they are.

    A pruned tensor (`torch.nn.utils.prune`) is read as the network uses it: `weight_orig` times
    `weight_mask`. Masks may be applied or removed between two reads.

    Parameters
    ----------
    model : nn.Module
        The network to read.
    layout : ParameterLayout
        Where each weight stands in the flat order.
    index : array (P,) of int, optional
        Increasing flat indices of the weights to read; default all.
    """

    def __init__(
        self, model: nn.Module, layout: ParameterLayout, index: np.ndarray | None = None
    ) -> None:
        self._slots = []  # (owning module, attribute, place in the row, positions in the tensor)
        for name in layout.names:
            owner, _, leaf = name.rpartition(".")
            span, inside = layout.span(name), None
            if index is not None:
                low, high = np.searchsorted(index, [span.start, span.stop])
                inside = torch.from_numpy(index[low:high] - span.start)
                span = slice(int(low), int(high))
            if span.stop > span.start:
                self._slots.append((model.get_submodule(owner), leaf, span, inside))
        for values, _ in self._tensors():
            if not values.is_floating_point():
                raise TypeError(f"weights must be floating point; got a tensor of {values.dtype}.")

    def _tensors(self) -> list[tuple[nn.Parameter, torch.Tensor | None]]:
        found = []
        for owner, leaf, _, _ in self._slots:
            mask = getattr(owner, f"{leaf}_mask", None)
            found.append((getattr(owner, leaf if mask is None else f"{leaf}_orig"), mask))
        return found

    def parameters(self) -> list[nn.Parameter]:
        """The trainable tensors that hold the weights which are read."""
        return [values for values, _ in self._tensors()]

    @torch.no_grad()
    def read_into(self, row: torch.Tensor) -> None:
        """Write the weights into `row` (P,), which may lie on another device."""
        for (values, mask), (_, _, place, inside) in zip(self._tensors(), self._slots, strict=True):
            target = row[place]
            if inside is None:
                target = target.view(values.shape)
            else:
                inside = inside.to(values.device)
                values = torch.take(values, inside)
                mask = None if mask is None else torch.take(mask, inside)
            target.copy_(values if mask is None else values * mask)


class StepListener:
    """Calls `on_step` after each step of an optimizer that holds one of the weights read.

    A step is one call of `step()` that comes to its end. A call that raises is none, and neither
    is one that a gradient scaler made do nothing, because of an infinite gradient. An optimizer
    that wraps another makes one step, not two.

    Parameters
    ----------
    reader : WeightReader
        Names the parameters whose optimizers count.
    on_step : callable
        Called without arguments when a step has ended.
    optimizer : torch.optim.Optimizer, optional
        Count the steps of this one only.

    Attributes
    ----------
    begun : int
        How many steps have begun, ended or not.
    """

    def __init__(
        self,
        reader: WeightReader,
        on_step: Callable[[], None],
        *,
        optimizer: Optimizer | None = None,
    ) -> None:
        self._reader, self._on_step, self._only = reader, on_step, optimizer
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._open: list[Optimizer] = []  # optimizers whose step() is running, outermost first
        self.begun = 0

    @property
    def inside(self) -> bool:
        """Whether a step is running now, so that a closure may be the caller."""
        return bool(self._open)

    def start(self) -> None:
        """Begin to listen."""
        self._handles = [
            register_optimizer_step_pre_hook(self._before),
            register_optimizer_step_post_hook(self._after),
        ]

    def stop(self) -> None:
        """Stop listening; the hooks are gone afterwards."""
        while self._handles:
            self._handles.pop().remove()

    def _concerns(self, optimizer: Optimizer) -> bool:
        if self._only is not None:
            return optimizer is self._only
        read = {id(parameter) for parameter in self._reader.parameters()}
        return any(id(p) in read for group in optimizer.param_groups for p in group["params"])

    def _before(self, optimizer: Optimizer, *_: object) -> None:
        if not self._concerns(optimizer):
            return
        self._forget(optimizer)  # its last step raised, if it is still there
        while self._open and not _is_running(self._open[-1]):
            self._open.pop()
        if not self._open:
            self.begun += 1
        self._open.append(optimizer)

    def _after(self, optimizer: Optimizer, *_: object) -> None:
        if not any(optimizer is other for other in self._open):
            return
        self._forget(optimizer)
        skipped = getattr(optimizer, "found_inf", None)  # set by a scaler of a fused optimizer
        if not self._open and not (skipped is not None and bool(skipped)):
            self._on_step()

    def _forget(self, optimizer: Optimizer) -> None:
        for position, other in enumerate(self._open):
            if other is optimizer:
                del self._open[position:]
                return


def _is_running(optimizer: Optimizer) -> bool:
    """Whether a method of `optimizer` is on the call stack: it may have raised and been caught."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_locals.get("self") is optimizer:
            return True
        frame = frame.f_back
    return False
