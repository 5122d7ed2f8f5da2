"""Hearing every step of an optimizer, whoever's training loop makes it, and the losses around it.

`torch.optim` calls its global hooks before and after every `step()` of every optimizer; that is all
a listener needs. A loss that is to say what one step did is taken on the same batch before and
after it, with the noise of training off and without changing the training that it watches.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import in_mode


class StepListener:
    """Tells of every step of the optimizers that hold the weights of `layout`, and of its losses.

    After a step `on_step()` is called. There `read_into` gives the weights, and `loss_around_step`
    the loss of the step's batch before and after it: logged by the loop (`log`), or measured by
    `probe(model, *batch)` for the batch that the loop announced (`batch`). Of a closure that runs
    many times within a step only the first run counts: the others see other weights.

    A step is one call of `step()` that comes to its end. A call that raises is none, and neither
    is one that a gradient scaler made do nothing, because of an infinite gradient. An optimizer
    that wraps another makes one step, not two. Given an `optimizer`, only its steps count.

    A pruned tensor (`torch.nn.utils.prune`) is read as the network uses it: `weight_orig` times
    `weight_mask`. `index` (P,), increasing flat indices, chooses some of the weights.
    """

    def __init__(
        self,
        model: nn.Module,
        layout: ParameterLayout,
        on_step: Callable[[], None],
        *,
        index: np.ndarray | None = None,
        optimizer: Optimizer | None = None,
        probe: Callable[..., torch.Tensor] | None = None,
        reuse_loss: bool = False,
    ) -> None:
        if reuse_loss and probe is None:
            raise ValueError("reuse_loss needs a probe; got none.")
        self._model, self._on_step, self._only = model, on_step, optimizer
        self._probe, self._reuse_loss = probe, reuse_loss
        self._handles = []
        self._running: list[Optimizer] = []  # those whose step() is running, outermost first
        self.begun = 0  # steps that have begun, ended or not
        self._loss, self._batch = math.nan, None  # of the coming step
        self._seen: dict[str, int] = {}  # how many steps had begun when a batch or loss last came
        self._slots = []  # (owning module, attribute, place in a row, positions in the tensor)
        for name in layout.names:
            owner, _, leaf = name.rpartition(".")
            span, inside = layout.span(name), None
            if index is not None:
                low, high = np.searchsorted(index, [span.start, span.stop])
                inside = torch.from_numpy(index[low:high] - span.start)
                span = slice(int(low), int(high))
            if span.stop > span.start:
                self._slots.append((model.get_submodule(owner), leaf, span, inside))
        for values, *_ in self._tensors():
            if not values.is_floating_point():
                raise TypeError(f"weights must be floating point; got a tensor of {values.dtype}.")

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

    @property
    def inside(self) -> bool:
        """Whether a step is running now, so that a closure may be the caller."""
        return bool(self._running)

    def parameters(self) -> list[nn.Parameter]:
        """The trainable tensors that hold the weights which are read."""
        return [values for values, *_ in self._tensors()]

    @torch.no_grad()
    def read_into(self, row: torch.Tensor) -> None:
        """Write the weights into `row` (P,), which may lie on another device."""
        for values, mask, place, inside in self._tensors():
            target = row[place]
            if inside is None:
                target = target.view(values.shape)
            else:
                inside = inside.to(values.device)
                values = torch.take(values, inside)
                mask = None if mask is None else torch.take(mask, inside)
            target.copy_(values if mask is None else values * mask)

    def batch(self, batch: tuple, *, measure: bool) -> None:
        """Take the batch of the coming step, and `measure` its loss before that step, or not."""
        if self._probe is None:
            raise RuntimeError("batch(...) needs a probe; pass probe= to the recorder.")
        if self._early("batch"):
            self._batch = batch
            if not self._reuse_loss:
                self._loss = self._measure(batch) if measure else math.nan

    def log(self, loss: object) -> None:
        """Take the loss of the coming step as the loop computed it."""
        if self._probe is not None and not self._reuse_loss:
            raise ValueError(
                "loss must not be logged where a probe measures it; got both. With "
                "reuse_loss=True the probe measures the loss after the step only."
            )
        if "loss" not in self._seen and self.begun > self.inside:
            warnings.warn(
                "The first loss came after the first step and counts for the coming one. If it "
                "belongs to the step just made, log it before optimizer.step().",
                stacklevel=3,
            )
        if self._early("loss"):
            self._loss = as_number("loss", loss)

    def loss_around_step(self, *, measure: bool) -> tuple[float, float]:
        """Loss before and after the step just made, NaN where unknown; `measure` the second."""
        if self._probe is not None and "batch" not in self._seen:
            raise RuntimeError("probe needs recorder.batch(...) before each step; none has come.")
        loss, batch = self._loss, self._batch
        self._loss, self._batch = math.nan, None
        return loss, self._measure(batch) if measure and batch is not None else math.nan

    def _tensors(self) -> Iterator[tuple]:
        """Each tensor that is read, its mask, its place in a row, and what of it is read."""
        for owner, leaf, place, inside in self._slots:
            mask = getattr(owner, f"{leaf}_mask", None)
            yield getattr(owner, leaf if mask is None else f"{leaf}_orig"), mask, place, inside

    def _early(self, what: str) -> bool:
        """Whether no other `what` has come since the running step began."""
        early = not self.inside or self._seen.get(what) != self.begun
        self._seen[what] = self.begun
        return early

    def _measure(self, batch: tuple) -> float:
        with undisturbed(self._model):
            return as_number("probe", self._probe(self._model, *batch))

    def _concerns(self, optimizer: Optimizer) -> bool:
        if self._only is not None:
            return optimizer is self._only
        read = {id(values) for values, *_ in self._tensors()}
        return any(id(p) in read for group in optimizer.param_groups for p in group["params"])

    def _before(self, optimizer: Optimizer, *_: object) -> None:
        if not self._concerns(optimizer):
            return
        self._forget(optimizer)  # its last step raised, if it is still there
        while self._running and not _on_the_stack(self._running[-1]):
            self._running.pop()
        if not self._running:
            self.begun += 1
        self._running.append(optimizer)

    def _after(self, optimizer: Optimizer, *_: object) -> None:
        if optimizer not in self._running:
            return
        self._forget(optimizer)
        skipped = getattr(optimizer, "found_inf", None)  # set by a scaler of a fused optimizer
        if not self._running and not (skipped is not None and bool(skipped)):
            self._on_step()

    def _forget(self, optimizer: Optimizer) -> None:
        """Take it and those that run inside it for ended."""
        if optimizer in self._running:
            del self._running[self._running.index(optimizer) :]


def _on_the_stack(optimizer: Optimizer) -> bool:
    """Whether a method of `optimizer` is being run: its step may have raised and been caught."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_locals.get("self") is optimizer:
            return True
        frame = frame.f_back
    return False


@contextmanager
def undisturbed(model: nn.Module, *, batch_statistics: bool = True) -> Iterator[nn.Module]:
    """Switch the noise of `model` off for a block, and leave no trace in it afterwards.

    In the block every module is in evaluation mode, no gradient is taken and autocast is off, so
    that two calls differ in nothing but the weights. Afterwards modes, running statistics and
    torch's random generators are as they were, also when the block raises.

    `batch_statistics` says how batch normalisation works in the block. True: by the statistics of
    the batch, which is the function that a training step descends (a frozen layer keeps its running
    statistics). False: by the running statistics, which is the network as it is used.
    """
    norms = [
        (module, module.running_mean, module.running_var)
        for module in model.modules()
        if batch_statistics and module.training and isinstance(module, _BatchNorm)
    ]
    devices = {parameter.device for parameter in model.parameters()} - {torch.device("cpu")}
    kind = next(iter(devices)).type if devices else "cpu"
    forked = {"devices": sorted(d.index or 0 for d in devices)}
    if devices:
        forked["device_type"] = kind
    try:
        for module, _, _ in norms:  # without running statistics a layer uses those of the batch
            module.running_mean = module.running_var = None
        still, full = torch.random.fork_rng(**forked), torch.autocast(kind, enabled=False)
        with in_mode(model, training=False), torch.no_grad(), still, full:
            yield model
    finally:
        for module, mean, variance in norms:
            module.running_mean, module.running_var = mean, variance


def as_number(name: str, value: object) -> float:
    """A float from a number or from a tensor of one element."""
    try:
        return float(value.detach() if isinstance(value, torch.Tensor) else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must give one number; got {value!r}.") from error
