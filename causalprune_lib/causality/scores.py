r"""Scores of causal pruning: one running sum per weight, while any PyTorch loop trains the network.

The causal model of gradient descent is :math:`\Delta L_t = \sum_k \gamma_k (\Delta\theta_{kt})^2`.
The released code fits it with the solver of `sgd_lasso`, whose predictions never leave 0 there: the
learning rate times |x|^2 is about 1e-16. What remains is

.. math:: \gamma_k = \mathrm{soft}\Big(\sum_t w_t y_t x_{tk},\ \alpha \sum_t w_t\Big),

with :math:`y_t = \Delta L_t`, :math:`x_{tk} = (\Delta\theta_{kt})^2` and w_t the step sizes that
the solver spends on sample t. So weight k is kept if the size of its sum exceeds alpha sum_t w_t.

Shah, Challa, Danda, Mathur and Saha, arXiv:2412.03035, section 3.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import Optimizer

from causalprune_lib._memory import Bytes, check_fits
from causalprune_lib._validation import (
    check_choice,
    check_finite,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.dynamics.listener import StepListener
from causalprune_lib.nets.parameters import ParameterLayout, floor_counts

LOSSES = ("two_batch", "same_batch")
CHUNK = 2**22  # numbers of x that are turned into float64 at once
VECTORS = 4  # of length P, that CausalScores keeps

Tensors = dict[str, torch.Tensor]  # one per layer, by name and of the shape of its weight


def solver_step_sizes(
    n_steps: int, *, passes: int = 3, base: float = 0.01, power: float = 0.25
) -> torch.Tensor:
    r"""Total step size w (T,) in float64 that the released solver spends on each of T samples.

    One sample per update, in the order of recording, with learning rate base / i^power in update i:
    :math:`w_t = \sum_{q=0}^{Q-1} b / (t + qT)^p` for t = 1..T and Q passes.

    >>> solver_step_sizes(2, passes=1)
    tensor([0.0100, 0.0084], dtype=torch.float64)
    """
    n_steps, passes = check_int("n_steps", n_steps), check_int("passes", passes)
    check_positive("base", base)
    check_positive("power", power, allow_zero=True)
    update = torch.arange(1, n_steps * passes + 1, dtype=torch.float64)
    return (base * update**-power).view(passes, n_steps).sum(0)


def released_sums(
    x: torch.Tensor, y: torch.Tensor, *, step_sizes: torch.Tensor | np.ndarray
) -> torch.Tensor:
    """sum_t w_t y_t x_tk (P,) in float64, on the device of `x`.

    `x` (T, P) are squared increments of the weights, `y` (T,) changes of the loss, and
    `step_sizes` (T,) the weights w > 0 of `solver_step_sizes`.

    >>> x, y = torch.tensor([[1.0, 0.0], [2.0, 1.0]]), torch.tensor([1.0, -1.0])
    >>> released_sums(x, y, step_sizes=torch.ones(2))
    tensor([-1., -1.], dtype=torch.float64)
    """
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    check_shape("x", x, (None, None))
    check_shape("y", y, (len(x),))
    if not len(x):
        raise ValueError("x must hold at least one recorded step; got none.")
    check_finite("y", y)
    w = torch.as_tensor(step_sizes).detach().cpu().double()
    check_shape("step_sizes", w, (len(x),))
    check_finite("step_sizes", w)
    if bool((w <= 0).any()):
        raise ValueError(f"step_sizes must be above 0; got {w.tolist()[:5]}.")
    weighted = (w * y.double().cpu()).to(x.device)  # (T,)
    width = max(1, CHUNK // len(x))
    sums = torch.cat([weighted @ part.double() for part in x.split(width, dim=1)])  # (P,)
    if not bool(torch.isfinite(sums).all()):
        check_finite("x", x)
    return sums


def released_support(
    sums: Mapping[str, torch.Tensor],
    *,
    total_step: float,
    alpha: float,
    floor: float | int = 0,
    empty: str = "error",
) -> Tensors:
    """What the released solver keeps, layer by layer: weight k if |sums_k| > alpha * total_step.

    `alpha` is the paper's L1_coeff, in the units of `sums` over those of w. `floor` is the least
    number (int) or fraction (float) of weights that a layer keeps: where fewer pass, those with the
    largest sums; among equals, those that come later. With a floor of 0 a layer that keeps no
    weight is an error, or left `empty="allow"`.

    >>> released_support({"a": torch.tensor([-3.0, 1.0, 2.0])}, total_step=2.0, alpha=1.0)
    {'a': tensor([ True, False, False])}
    """
    check_choice("empty", empty, ["error", "allow"])
    check_positive("alpha", alpha)
    least_counts = floor_counts(floor, [values.numel() for values in sums.values()])
    keep, emptied = {}, {}
    for (name, values), least in zip(sums.items(), least_counts, strict=True):
        size = values.abs()
        kept = size.double() > alpha * total_step
        if int(kept.sum()) < least:
            best = size.flatten().argsort(stable=True)[-least:]
            kept = torch.zeros_like(kept)
            kept.view(-1)[best] = True
        elif empty == "error" and not bool(kept.any()):
            emptied[name] = values
        keep[name] = kept
    if emptied:
        highest = alpha_max(emptied, total_step=total_step)
        listed = ", ".join(f"{alpha:.6g} in {name!r} with {a:.6g}" for name, a in highest.items())
        raise ValueError(
            "alpha must be below alpha_max of each layer, or the layer keeps no weight; got "
            f'{listed}. floor= keeps the best ones; empty="allow" leaves it empty.'
        )
    return keep


def alpha_max(sums: Mapping[str, torch.Tensor], *, total_step: float) -> dict[str, float]:
    """The least alpha at which the released rule keeps nothing of a layer, for each layer."""
    return {
        name: float(torch.linalg.vector_norm(values, ord=math.inf)) / total_step
        for name, values in sums.items()
    }


class CausalScores:
    r"""Sums :math:`\sum_t w_t\, \Delta L_t\, (\Delta\theta_{kt})^2` during a `with` block.

    No checkpoint is kept, but four vectors as long as the weights, in float64 where a weight is and
    float32 otherwise. Only steps may change the weights in the block; what counts as one, how to
    use the block in Lightning or with Hugging Face's `Trainer`, and what `model`, `probe` and
    `optimizer` are, is as in `TrajectoryRecorder`.

    Parameters
    ----------
    n_steps : int
        How many steps the block will make: the step sizes w depend on it.
    loss : {"two_batch", "same_batch"}
        What :math:`\Delta L_t` is. "two_batch", as in the paper: L(b', theta') - L(b, theta), from
        the losses that the loop logs before each step, where b' is the batch of the next one. So an
        update enters the sums when the next step is made, and the last one of the block is left
        over: T = n_steps - 1. "same_batch", as in later code: L(b, theta') - L(b, theta), measured
        by the `probe`; T = n_steps.
    reuse_loss : bool
        With a probe and "same_batch": take the loss before the step from `log(loss=...)`.

    Attributes
    ----------
    n_recorded, n_dropped, n_late, n_unfinished : int
        Updates in the sums; those left out because a loss was NaN, infinite or missing (they keep
        their step size); those that came after the T announced; and the one (or none) whose second
        loss has not come. A warning ends a block with updates dropped, late or missing.
    total_step : float
        :math:`\sum_t w_t` over the updates in the sums.

    Examples
    --------
    >>> model = nn.Linear(3, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with CausalScores(model, n_steps=5) as scores:
    ...     for x, y in [(torch.ones(8, 3), torch.zeros(8, 1))] * 5:
    ...         loss = nn.functional.mse_loss(model(x), y)
    ...         optimizer.zero_grad()
    ...         loss.backward()
    ...         scores.log(loss=loss)
    ...         optimizer.step()
    >>> scores
    CausalScores(two_batch, 4 updates, 3 weights, 48 bytes)
    >>> scores.support(0.5 * scores.alpha_max["weight"])["weight"].shape
    torch.Size([1, 3])
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        n_steps: int,
        loss: str = "two_batch",
        probe: Callable[..., torch.Tensor] | None = None,
        reuse_loss: bool = False,
        optimizer: Optimizer | None = None,
    ) -> None:
        self.loss = check_choice("loss", loss, LOSSES)
        if loss == "same_batch" and probe is None:
            raise ValueError("loss='same_batch' needs probe=, to measure a batch twice; got none.")
        if reuse_loss and loss == "two_batch":
            raise ValueError("reuse_loss needs loss='same_batch'; got loss='two_batch'.")
        unused = int(loss == "two_batch")
        n_steps = check_int("n_steps", n_steps, minimum=1 + unused)
        self._step_sizes = solver_step_sizes(n_steps - unused)  # (T,)
        self.layout = ParameterLayout.of(model)
        options = {"optimizer": optimizer, "probe": probe, "reuse_loss": reuse_loss}
        self._model = model
        self._listener = StepListener(model, self.layout, self.step, **options)
        read = self._listener.parameters()
        dtype = torch.float64 if any(p.dtype == torch.float64 for p in read) else torch.float32
        self._like = {"dtype": dtype, "device": read[0].device}
        self.n_recorded = self.n_dropped = self.n_late = self.n_unfinished = 0
        self.total_step, self._last_loss = 0.0, math.nan
        self._unit = 0.0  # of increments: a power of two, so that no digit is lost; 0: none yet
        self._open = self._used = self._logged = False
        self._replaced: list[str] = []

    def __enter__(self) -> CausalScores:
        if self._used:
            raise RuntimeError("CausalScores records once; make a new one to record again.")
        if self._like["device"].type == "cpu":
            check_fits(f"Streaming scores of {self.layout.size:,} weights", self.nbytes, None)
        vectors = [torch.zeros(self.layout.size, **self._like) for _ in range(VECTORS)]  # (P,) each
        self._weights, self._pending = vectors[:2]  # as last read; the squared increment to there
        self._sums, self._movement = vectors[2:]  # sum_t w_t y_t x_tk and sum_t x_tk before it
        self._listener.read_into(self._weights)
        self._used = self._open = True
        self._listener.start()
        return self

    def batch(self, *batch: object) -> None:
        """Announce the batch of the coming step, for the probe."""
        self._must_be_open()
        self._listener.batch(batch, measure=True)

    def log(self, *, loss: object) -> None:
        """Give the loss of the coming step's batch: before `optimizer.step()` or in its closure."""
        self._must_be_open()
        if not self._logged and self._listener.begun > self._listener.inside:
            raise ValueError(
                "loss must be logged before the step of its batch; the first one came after the "
                "first step."
            )
        self._listener.log(loss)
        self._logged = True

    def step(self) -> None:
        """Count one step. Optimizers do this by themselves; a loop without one calls it."""
        self._must_be_open()
        before, after = self._listener.loss_around_step(measure=self.loss == "same_batch")
        if self.loss == "two_batch":
            self._finish(before - self._last_loss)
        self._listener.read_into(self._pending)
        increment = torch.sub(self._pending, self._weights, out=self._weights)
        if not self._unit:  # the squares of a small first increment would vanish in float32
            largest = float(torch.linalg.vector_norm(increment, ord=math.inf))
            if 0 < largest < math.inf:
                self._unit = 2.0 ** math.frexp(largest)[1]
        if self._unit:
            increment.mul_(1 / self._unit)
        self._weights, self._pending = self._pending, increment.square_()
        self._last_loss, self.n_unfinished = before, 1
        if self.loss == "same_batch":
            self._finish(after - before)

    def _finish(self, change: float) -> None:
        """Add the update that waits for its change of the loss, if one does."""
        if not self.n_unfinished:
            return
        self.n_unfinished, t = 0, self.n_recorded + self.n_dropped
        if t == len(self._step_sizes):
            self.n_late += 1
        elif not math.isfinite(change):
            self.n_dropped += 1
        else:
            w = float(self._step_sizes[t])
            self._sums.add_(self._pending, alpha=w * change)
            self._movement.add_(self._pending)
            self.n_recorded += 1
            self.total_step += w

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._listener.stop()
        self._open = False
        if kind is not None:
            return
        now = self.layout.parameters(self._model)
        pairs = zip(now, now.values(), self._listener.parameters(), strict=True)
        self._replaced = [name for name, own, read in pairs if own is not read]
        n, planned = self.n_recorded + self.n_dropped, len(self._step_sizes)
        said = []
        if n + self.n_unfinished == 0:
            said.append("No optimizer step of this model was seen; a loop without one calls step()")
        elif n < planned:
            said.append(
                f"only {n} of the {planned} announced updates came, so the step sizes are not "
                "quite the solver's (n_steps is too large)"
            )
        if self.n_dropped:
            ready = "log(loss=...) before each step" if self.loss == "two_batch" else "the probe"
            said.append(
                f"{self.n_dropped} of {n} updates are not in the sums, because the change of their "
                f"loss is NaN, infinite or missing ({ready} gives it)"
            )
        if self.n_late:
            said.append(
                f"{self.n_late} updates came after the {planned} announced and are not in the sums "
                "(n_steps is too small)"
            )
        if said:
            warnings.warn(". Also, ".join(said) + ".", stacklevel=2)

    def _must_be_open(self) -> None:
        if not self._open:
            raise RuntimeError("CausalScores works inside its with block only.")

    def __repr__(self) -> str:
        size = f"{self.layout.size:,} weights, {self.nbytes}"
        return f"CausalScores({self.loss}, {self.n_recorded} updates, {size})"

    @property
    def nbytes(self) -> Bytes:
        """Bytes of the vectors that are kept; prints as, say, `8.62 MB`."""
        return Bytes(VECTORS * self.layout.size * self._like["dtype"].itemsize)

    @property
    def sums(self) -> Tensors:
        """sum_t w_t dL_t (d theta_kt)^2; raises where none is recorded or one is not finite."""
        return self._by_layer("_sums")

    @property
    def movement(self) -> Tensors:
        """sum_t (d theta_kt)^2 over the updates in the sums."""
        return self._by_layer("_movement")

    @property
    def alpha_max(self) -> dict[str, float]:
        """The least alpha at which the released rule keeps nothing, by layer."""
        return alpha_max(self.sums, total_step=self.total_step)

    def scores(self, kind: str = "released") -> Tensors:
        """A score per weight, higher = kept: the size of the sums, or "movement".

        One alpha for all layers is one threshold: `scope="global"` of `masks_from_scores`.
        """
        if check_choice("kind", kind, ("released", "movement")) == "movement":
            return self.movement
        return {name: values.abs() for name, values in self.sums.items()}

    def support(self, alpha: float, *, floor: float | int = 0, empty: str = "error") -> Tensors:
        """What the released code keeps at its L1 coefficient `alpha`; see `released_support`."""
        rule = {"alpha": alpha, "floor": floor, "empty": empty}
        return released_support(self.sums, total_step=self.total_step, **rule)

    def _by_layer(self, vector: str) -> Tensors:
        """One vector in units of the weights, by layer; raises where that makes no sense."""
        if not self.n_recorded:
            raise RuntimeError(
                "No update is recorded: it takes a step of the model's optimizer in the with block "
                f"and a finite loss before and after it; {self.n_dropped} updates were dropped."
            )
        self.layout.parameters(self._model)  # raises where a layer is gone or has changed
        if self._replaced:
            names = ", ".join(self._replaced)
            raise ValueError(f"The parameters of {names} were replaced in the block: record anew.")
        tensors = self.layout.unflatten(getattr(self, vector) * self._unit**2)
        for name, values in tensors.items():
            if not math.isfinite(float(values.sum())) and not bool(values.isfinite().all()):
                raise ValueError(
                    f"The sums of {name!r} hold NaN or infinity: its weights diverged while the "
                    "loss stayed finite."
                )
        return tensors
