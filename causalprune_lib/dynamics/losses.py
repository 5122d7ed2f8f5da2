"""The loss of each step's batch, before and after the step: logged by the loop, or measured."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import nn

from causalprune_lib.dynamics.listening import StepListener
from causalprune_lib.dynamics.probes import undisturbed


class StepLosses:
    """Keeps the loss that belongs to the coming step, until that step has been made.

    A closure may run many times within one step, and only its first run sees the weights before
    the step: what it announces or logs later in the same step is left out.

    Parameters
    ----------
    model : nn.Module
        The network whose loss is measured.
    listener : StepListener
        Knows whether a step is running.
    probe : callable, optional
        `probe(model, *batch) -> loss`.
    reuse : bool
        Measure the loss after the step only; the one before is logged.
    """

    def __init__(
        self,
        model: nn.Module,
        listener: StepListener,
        probe: Callable[..., torch.Tensor] | None = None,
        *,
        reuse: bool = False,
    ) -> None:
        if reuse and probe is None:
            raise ValueError("reuse_loss needs a probe; got none.")
        self._model, self._listener, self._probe, self._reuse = model, listener, probe, reuse
        self._loss, self._batch = math.nan, None
        self._seen: dict[str, int] = {}  # how many steps had begun when a batch or loss last came

    def announce(self, batch: tuple, *, due: bool) -> None:
        """Take the batch of the coming step, and measure its loss now if that step is `due`."""
        if self._probe is None:
            raise RuntimeError("batch(...) needs a probe; pass probe= to the recorder.")
        if self._early("batch"):
            self._batch = batch
            if not self._reuse:
                self._loss = self._measure(batch) if due else math.nan

    def log(self, loss: object) -> None:
        """Take the loss of the coming step as the loop computed it."""
        if self._probe is not None and not self._reuse:
            raise ValueError(
                "loss must not be logged where a probe measures it; got both. With "
                "reuse_loss=True the probe measures the loss after the step only."
            )
        if "loss" not in self._seen and self._listener.begun > self._listener.inside:
            warnings.warn(
                "The first loss came after the first step and is booked for the coming one. "
                'If it belongs to the step just made, pass step="last".',
                stacklevel=3,
            )
        if self._early("loss"):
            self._loss = as_number("loss", loss)

    def take(self, *, due: bool) -> tuple[float, float]:
        """Loss before and after the step that has just been made; NaN where it is not known.

        Raises
        ------
        RuntimeError
            There is a probe, and no batch has ever been announced.
        """
        if self._probe is not None and "batch" not in self._seen:
            raise RuntimeError("probe needs recorder.batch(...) before each step; none has come.")
        loss, batch = self._loss, self._batch
        self._loss, self._batch = math.nan, None
        return loss, self._measure(batch) if due and batch is not None else math.nan

    def _early(self, what: str) -> bool:
        early = not self._listener.inside or self._seen.get(what) != self._listener.begun
        self._seen[what] = self._listener.begun
        return early

    def _measure(self, batch: tuple) -> float:
        with undisturbed(self._model):
            return as_number("probe", self._probe(self._model, *batch))


def as_number(name: str, value: object) -> float:
    """A float from a number or from a tensor of one element."""
    try:
        return float(value.detach() if isinstance(value, torch.Tensor) else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must give one number; got {value!r}.") from error
