r"""Scores of the causal model, summed up while any PyTorch loop trains the network.

The causal model of gradient descent, :math:`\Delta L_t = \sum_k \gamma_k (\Delta\theta_{kt})^2`,
is fitted by the released code to checkpoints of every step. Its result needs none of them: see
`step_sizes`. So the sums below are all there is to keep.
"""

from __future__ import annotations

import math
import numbers
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import Optimizer

from causalprune_lib._files import replacing
from causalprune_lib._memory import Bytes, check_fits
from causalprune_lib._validation import (
    check_choice,
    check_finite,
    check_fraction,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.dynamics.recorder import StepListener, StepLosses, WeightReader
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout

# ---- step_sizes: The step sizes of the released solver: how much each recorded step weighs in it


def solver_step_sizes(
    n_steps: int, *, passes: int = 3, base: float = 0.01, power: float = 0.25
) -> torch.Tensor:
    r"""Total step size that the released solver spends on each of `n_steps` samples.

    One sample per update, in the order of recording, with learning rate :math:`b / i^p` in update
    i = 1, 2, ...: sample t of T is met in updates t, t + T, t + 2T and so on, so that
    :math:`w_t = \sum_{q=0}^{Q-1} b / (t + qT)^p` for t = 1..T. All T samples shape each w_t.

    Parameters
    ----------
    n_steps : int
        T, the number of samples. A training run that records N losses has T = N - 1 differences.
    passes : int
        Q, how often the solver goes through the samples.
    base, power : float
        b and p above, both > 0 (power may be 0).

    Returns
    -------
    tensor (T,) of float64

    Examples
    --------
    >>> solver_step_sizes(2, passes=1)
    tensor([0.0100, 0.0084], dtype=torch.float64)
    >>> round(float(solver_step_sizes(979).sum()), 3)  # 0.01 (1 + 2^-0.25 + ... + 2937^-0.25)
    5.312
    """
    n_steps, passes = check_int("n_steps", n_steps), check_int("passes", passes)
    check_positive("base", base)
    check_positive("power", power, allow_zero=True)
    update = torch.arange(1, n_steps * passes + 1, dtype=torch.float64)
    return (base * update**-power).view(passes, n_steps).sum(0)


def check_step_sizes(step_sizes: object, n_steps: int | None = None) -> torch.Tensor:
    """Return `step_sizes` (T,) as float64 on the CPU, if finite and > 0 each."""
    sizes = torch.as_tensor(step_sizes).detach().cpu().double()
    check_shape("step_sizes", sizes, (n_steps,))
    check_finite("step_sizes", sizes)
    if not len(sizes) or bool((sizes <= 0).any()):
        raise ValueError(f"step_sizes must be above 0 and not empty; got {sizes.tolist()[:5]}.")
    return sizes


# ---- increment_sums: Running sums over the increments of a network's weights, in a few vectors o


Read = Callable[[torch.Tensor], object]  # writes the current weights into a row (P,)


class SquareSums:
    r"""Sums of :math:`x_{tk} = (\Delta\theta_{kt})^2` over booked steps, in squares of `unit`.

    The increments are divided by a power of two near the largest of the first step, which costs no
    precision: their fourth powers would otherwise vanish in float32.

    Parameters
    ----------
    size : int
        P, the number of weights.
    dtype, device
        Of all vectors.
    plain : bool
        Keep sum_t y_t x_tk beside sum_t w_t y_t x_tk, for correlations: one vector more.

    Attributes
    ----------
    weights, pending : tensor (P,)
        The weights as last read, and the squared increment that led there.
    sums, movement, squares : tensor (P,)
        sum_t w_t y_t x_tk, sum_t x_tk and sum_t x_tk^2.
    moves : int
        Increments seen.

    Examples
    --------
    >>> held = SquareSums(2, dtype=torch.float32, device=torch.device("cpu"))
    >>> held.start(lambda row: row.copy_(torch.tensor([0.0, 1.0])))
    >>> held.move(lambda row: row.copy_(torch.tensor([0.5, 4.0])))
    >>> held.book(-2.0, 0.1)
    >>> held.feature_sums("square"), held.movement * held.unit**2
    (tensor([-0.0500, -1.8000]), tensor([0.2500, 9.0000]))
    """

    vectors: tuple[str, ...] = ("weights", "pending", "sums", "movement", "squares")
    features: tuple[str, ...] = ("square",)
    warm_up = 0  # first increments that have no features yet

    def __init__(
        self, size: int, *, dtype: torch.dtype, device: torch.device, plain: bool = False
    ) -> None:
        self.held = (*self.vectors, "plain") if plain else self.vectors
        for name in self.held:
            setattr(self, name, torch.zeros(size, dtype=dtype, device=device))
        self.unit, self.moves = 0.0, 0  # 0: no increment has been other than 0

    @classmethod
    def bytes_for(cls, size: int, dtype: torch.dtype, *, plain: bool = False) -> int:
        """Bytes that the vectors of `size` weights take."""
        return (len(cls.vectors) + plain) * size * dtype.itemsize

    @property
    def ready(self) -> bool:
        """Whether the last increment has its features."""
        return self.moves > self.warm_up

    def start(self, read: Read) -> None:
        """Read the weights that the first increment leaves from."""
        read(self.weights)

    def move(self, read: Read) -> None:
        """Read the weights after a step: the new increment takes the place of the pending one."""
        read(self.pending)
        torch.sub(self.pending, self.weights, out=self.weights)
        self._to_unit(self.weights).square_()
        self.weights, self.pending = self.pending, self.weights
        self.moves += 1

    def book(self, y: float, w: float) -> None:
        """Add the pending increment, with its change `y` of the loss and its step size `w`."""
        x = self.pending
        self.sums.add_(x, alpha=w * y)
        self.movement.add_(x)
        self.squares.addcmul_(x, x)
        if "plain" in self.held:
            self.plain.add_(x, alpha=y)

    def feature_sums(self, feature: str) -> torch.Tensor:
        """sum_t w_t y_t f_tk (P,) of one of `features`, in squared units of the weights."""
        name = {"square": "sums"}.get(feature, f"{feature}_sums")
        return getattr(self, name) * self.unit**2

    def state_dict(self) -> dict[str, object]:
        """All vectors, and the unit they are in."""
        vectors = {name: getattr(self, name) for name in self.held}
        return {**vectors, "unit": self.unit, "moves": self.moves}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take over what `state_dict` gave."""
        for name in self.held:
            getattr(self, name).copy_(state[name])
        self.unit, self.moves = state["unit"], state["moves"]

    def _to_unit(self, increment: torch.Tensor) -> torch.Tensor:
        if not self.unit:
            largest = float(torch.linalg.vector_norm(increment, ord=math.inf))
            if not 0 < largest < math.inf:
                return increment
            self.unit = 2.0 ** math.frexp(largest)[1]
        return increment.mul_(1 / self.unit)


# ---- released_rule: The released rule of causal pruning: one weighted sum per weight decides wha


CHUNK = 2**22  # numbers of x that are turned into float64 at a time


def released_sums(
    x: torch.Tensor, y: torch.Tensor, *, step_sizes: torch.Tensor | np.ndarray
) -> torch.Tensor:
    """sum_t w_t y_t x_tk in float64, a block of columns at a time.

    Parameters
    ----------
    x : tensor (T, P)
        Squared increments, or other features.
    y : tensor (T,)
        Changes of the loss.
    step_sizes : tensor (T,)
        w, each > 0; see `solver_step_sizes`.

    Returns
    -------
    tensor (P,) of float64, on the device of `x`

    Examples
    --------
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
    sizes = check_step_sizes(step_sizes, len(x))
    weighted = (sizes * y.double().cpu()).to(x.device)  # (T,)
    width = max(1, CHUNK // len(x))
    sums = torch.cat([weighted @ part.double() for part in x.split(width, dim=1)])  # (P,)
    if not bool(torch.isfinite(sums).all()):
        check_finite("x", x)
    return sums


def released_support(
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    alpha: float,
    step_sizes: torch.Tensor | np.ndarray,
    floor: float | int = 0,
    empty: str = "error",
) -> torch.Tensor:
    r"""The weights that the released solver keeps.

    Weight k is kept if :math:`|\sum_t w_t y_t x_{tk}| > \alpha \sum_t w_t`.

    For one layer: the released code fits each layer by itself, but nothing in the rule depends on
    the other columns.

    Parameters
    ----------
    x : tensor (T, P)
        Squared increments :math:`(\Delta\theta_{kt})^2`.
    y : tensor (T,)
        Changes of the loss :math:`\Delta L_t`.
    alpha : float
        The paper's L1_coeff, in the units of y times x; > 0.
    step_sizes : tensor (T,)
        w; see `solver_step_sizes`.
    floor, empty
        As in `keep_above`.

    Returns
    -------
    tensor (P,) of bool
        True = keep.

    Raises
    ------
    ValueError
        alpha is not above 0, or so large that nothing is kept and neither `floor` nor `empty`
        says what then; there is no sample; shapes disagree; a value is NaN or infinite.

    Examples
    --------
    >>> x, y = torch.tensor([[1.0, 0.0], [2.0, 1.0]]), torch.tensor([1.0, 1.0])
    >>> released_support(x, y, alpha=1.0, step_sizes=torch.ones(2))
    tensor([ True, False])
    """
    sums = released_sums(x, y, step_sizes=step_sizes)
    total = float(check_step_sizes(step_sizes, len(x)).sum())
    options = {"alpha": alpha, "floor": floor, "empty": empty}
    return keep_above({"x": sums}, total_step=total, **options)["x"]


def keep_above(
    sums: Mapping[str, torch.Tensor],
    *,
    total_step: float,
    alpha: float | Mapping[str, float],
    floor: float | int = 0,
    empty: str = "error",
) -> dict[str, torch.Tensor]:
    """Keep weight k if |sums_k| > alpha * total_step, layer by layer.

    Parameters
    ----------
    sums : mapping of str to tensor
        One tensor per layer.
    total_step : float
        sum_t w_t.
    alpha : float or mapping of str to float
        One for all layers, or one for each.
    floor : int or float
        The least number (int) or fraction (float) of weights to keep in a layer: where fewer pass,
        those with the largest |sums_k| are kept; among equals, those that come later.
    empty : {"error", "allow"}
        What a layer without any kept weight is, where the floor is 0.

    Examples
    --------
    >>> sums = {"a": torch.tensor([-3.0, 1.0, 2.0])}
    >>> keep_above(sums, total_step=2.0, alpha=1.0)
    {'a': tensor([ True, False, False])}
    >>> keep_above(sums, total_step=2.0, alpha=9.0, floor=2)
    {'a': tensor([ True, False,  True])}
    """
    check_choice("empty", empty, ["error", "allow"])
    alphas = alpha_per_layer(alpha, sums)
    keep, emptied = {}, {}
    for name, values in sums.items():
        size = values.abs()
        least = _floor_count(floor, values.numel())
        kept = size.double() > alphas[name] * total_step
        if int(kept.sum()) < least:
            best = size.flatten().argsort(stable=True)[-least:]
            kept = torch.zeros_like(kept)
            kept.view(-1)[best] = True
        elif empty == "error" and not bool(kept.any()):
            emptied[name] = values
        keep[name] = kept
    if emptied:
        highest = alpha_max(emptied, total_step=total_step)
        listed = ", ".join(f"{alphas[n]:.6g} in {n!r} with {a:.6g}" for n, a in highest.items())
        raise ValueError(
            "alpha must be below alpha_max of each layer, or the layer keeps no weight; got "
            f'{listed}. floor= keeps the best ones; empty="allow" leaves it empty.'
        )
    return keep


def alpha_max(sums: Mapping[str, torch.Tensor], *, total_step: float) -> dict[str, float]:
    """The least alpha at which the released rule keeps nothing of a layer, for each layer.

    Examples
    --------
    >>> alpha_max({"a": torch.tensor([-3.0, 1.0])}, total_step=2.0)
    {'a': 1.5}
    """
    return {
        name: float(torch.linalg.vector_norm(values, ord=math.inf)) / total_step
        for name, values in sums.items()
    }


def alpha_per_layer(
    alpha: float | Mapping[str, float], layers: Mapping[str, object]
) -> dict[str, float]:
    """One checked alpha for each of `layers`, from one number or from a mapping."""
    if not isinstance(alpha, Mapping):
        return dict.fromkeys(layers, check_positive("alpha", alpha))
    for name in alpha:
        check_choice("layer of alpha", name, layers)
    missing = [name for name in layers if name not in alpha]
    if missing:
        raise ValueError(f"alpha must name every layer; missing {missing}.")
    return {name: check_positive(f"alpha[{name!r}]", alpha[name]) for name in layers}


def _floor_count(floor: float | int, n: int) -> int:
    if isinstance(floor, numbers.Integral):
        return min(check_int("floor", floor, minimum=0), n)
    return math.ceil(round(check_fraction("floor", floor) * n, 6))


# ---- momentum: The causal model for gradient descent with momentum, derived anew (appendix A of


MOMENTUM_FORMS = {"derived": ("square", "cross"), "paper": ("square", "lagged", "cross")}


def momentum_features(
    increments: Trajectory | torch.Tensor | np.ndarray, *, form: str = "derived"
) -> torch.Tensor:
    r"""Features of the momentum model, one set per weight and step.

    Parameters
    ----------
    increments : tensor (T, P) or Trajectory
        Successive increments of the weights, signed, or the recording of every step.
    form : {"derived", "paper"}
        "derived": :math:`(\Delta\theta^1)^2` and :math:`\Delta\theta^0\Delta\theta^1` of each
        weight, F = 2. "paper": :math:`(\Delta\theta^1)^2`, :math:`(\Delta\theta^0)^2` and
        :math:`\Delta\theta^0\Delta\theta^1`, F = 3 (eq. 16). Here 1 is the step itself and 0 the
        one before; the paper's eq. 17-18 swap the two names.

    Returns
    -------
    tensor (T - 1, F, P)
        The first step has no predecessor, so row t belongs to increment t + 1 (counted from 0).
        `x.flatten(1)` is the (T - 1, F P) design of a lasso; a weight is kept if the coefficient
        of any of its features is not 0 (eq. 19).

    Raises
    ------
    ValueError
        There are fewer than two increments, or a trajectory skips steps.

    Examples
    --------
    >>> momentum_features(torch.tensor([[1.0, 2.0], [3.0, -1.0]]), form="paper")
    tensor([[[ 9.,  1.],
             [ 1.,  4.],
             [ 3., -2.]]])
    """
    names = MOMENTUM_FORMS[check_choice("form", form, MOMENTUM_FORMS)]
    if isinstance(increments, Trajectory):
        if (np.diff(increments.steps) != 1).any():
            raise ValueError("increments must come from a recording of every step (every=1).")
        increments = increments.increments()
    d = torch.as_tensor(increments)
    check_shape("increments", d, (None, None))
    if len(d) < 2:
        raise ValueError(f"increments must hold at least two steps; got {len(d)}.")
    check_finite("increments", d)
    new, old = d[1:], d[:-1]  # (T-1, P)
    made = {"square": new * new, "lagged": old * old, "cross": old * new}
    return torch.stack([made[name] for name in names], dim=1)


def momentum_coefficients(
    *, lr: float, momentum: float, form: str = "derived"
) -> tuple[float, ...]:
    r"""What theory says about the coefficients of `momentum_features`, to first order.

    Parameters
    ----------
    lr, momentum : float
        :math:`\eta > 0` and :math:`\beta` in [0, 1) of `torch.optim.SGD`, constant, without
        dampening or Nesterov's variant.
    form : {"derived", "paper", "printed"}
        "derived": :math:`(-1/\eta, \beta/\eta)`. "paper": the same for its three features,
        :math:`(-1/\eta, 0, \beta/\eta)`. "printed": what its eq. 14 gives as it is printed,
        :math:`(-\eta^{-3}, -\beta^2(\eta^{-1} + \eta^{-3}), \beta(\eta^{-1} + 2\eta^{-3}))`.

    Examples
    --------
    >>> momentum_coefficients(lr=0.5, momentum=0.9, form="paper")
    (-2.0, 0.0, 1.8)
    >>> momentum_coefficients(lr=0.5, momentum=0.0, form="printed")
    (-8.0, -0.0, 0.0)
    """
    check_choice("form", form, [*MOMENTUM_FORMS, "printed"])
    check_positive("lr", lr)
    check_fraction("momentum", momentum, closed=False)
    if form == "printed":
        cubed = lr**-3
        return -cubed, -(momentum**2) * (1 / lr + cubed), momentum * (1 / lr + 2 * cubed)
    derived = {"square": -1 / lr, "lagged": 0.0, "cross": momentum / lr}
    return tuple(derived[name] for name in MOMENTUM_FORMS[form])


class MomentumSums(SquareSums):
    """Running sums of the two derived features: six vectors of length P.

    Attributes
    ----------
    weights, pending, before : tensor (P,)
        The weights as last read, the increment that led there and the one before it, signed.
    sums, cross_sums, movement : tensor (P,)
        sum_t w_t y_t (d_tk)^2, sum_t w_t y_t d_tk d_(t-1)k and sum_t (d_tk)^2.
    """

    vectors: tuple[str, ...] = ("weights", "pending", "before", "sums", "movement", "cross_sums")
    features = MOMENTUM_FORMS["derived"]
    warm_up = 1

    def move(self, read: Read) -> None:
        """Read the weights after a step, into the place of the oldest increment."""
        read(self.before)
        torch.sub(self.before, self.weights, out=self.weights)
        self._to_unit(self.weights)
        self.weights, self.pending, self.before = self.before, self.weights, self.pending
        self.moves += 1

    def book(self, y: float, w: float) -> None:
        """Add the features of the pending increment."""
        new, old = self.pending, self.before
        self.sums.addcmul_(new, new, value=w * y)
        self.movement.addcmul_(new, new)
        self.cross_sums.addcmul_(old, new, value=w * y)


class PaperMomentumSums(MomentumSums):
    """Running sums of the paper's three features: one vector more than `MomentumSums`."""

    vectors = (*MomentumSums.vectors, "lagged_sums")
    features = MOMENTUM_FORMS["paper"]

    def book(self, y: float, w: float) -> None:
        """Add the features of the pending increment."""
        super().book(y, w)
        self.lagged_sums.addcmul_(self.before, self.before, value=w * y)


# ---- booking: Which change of the loss belongs to which update, and with what step size it is bo


LOSSES = ("two_batch", "same_batch")


FORMS = {"vanilla": SquareSums, "momentum": MomentumSums, "momentum_paper": PaperMomentumSums}


SETTINGS = ("loss", "form", "sizes", "plain")


COUNTS = ("n_recorded", "n_dropped", "n_late", "total_step", "sum_y", "sum_yy")


COUNTS += ("last_loss", "waiting", "finished")  # of the update that was made last


class UpdateBook:
    """Books one update after the other.

    Parameters
    ----------
    layout : ParameterLayout
        Of the weights.
    loss, form
        As in `CausalScores`.
    sizes : tensor (T,) or None
        Step sizes; None for ones.
    **vectors
        Of `SquareSums`: dtype, device, plain.

    Attributes
    ----------
    held : SquareSums or None
        The sums; None before the first weights are read.
    n_recorded, n_dropped, n_late : int
        Updates booked, without a finite change of the loss, and beyond T.
    total_step, sum_y, sum_yy : float
        sum_t w_t, sum_t y_t and sum_t y_t^2 over booked updates.
    waiting : bool
        Whether the last update waits for its second loss.
    """

    def __init__(
        self,
        layout: ParameterLayout,
        *,
        loss: str,
        form: str,
        sizes: torch.Tensor | None,
        **vectors: object,
    ) -> None:
        self.layout, self.loss, self.form, self.sizes = layout, loss, form, sizes
        self._vectors, self.plain = vectors, bool(vectors.get("plain"))
        self.held: SquareSums | None = None
        self.n_recorded = self.n_dropped = self.n_late = self.finished = 0
        self.total_step = self.sum_y = self.sum_yy = 0.0
        self.last_loss, self.waiting = math.nan, False

    @property
    def full(self) -> bool:
        """Whether all T announced updates are finished."""
        return self.sizes is not None and self.finished >= len(self.sizes)

    @property
    def nbytes(self) -> Bytes:
        """Bytes of the vectors that are kept."""
        kind, dtype = FORMS[self.form], self._vectors["dtype"]
        return Bytes(kind.bytes_for(self.layout.size, dtype, plain=self.plain))

    def start(self, read: Read) -> None:
        """Make the vectors, and take the weights that the first step leaves from."""
        self.held = self._empty()
        self.held.start(read)

    def replay(self, trajectory: Trajectory) -> None:
        """Take all steps of a recording."""
        if trajectory.layout != self.layout or len(trajectory.index) != self.layout.size:
            raise ValueError(f"trajectory must hold all {self.layout.size:,} weights of the model.")
        if (np.diff(trajectory.steps) != 1).any():
            raise ValueError("trajectory must hold every step (every=1); steps are missing.")
        losses = zip(trajectory.loss_before, trajectory.loss_after, strict=True)
        for weights, (before, after) in zip(trajectory.weights, losses, strict=True):
            now = torch.from_numpy(np.array(weights))
            if self.held is None:
                self.start(lambda row, now=now: row.copy_(now))
            else:
                self.advance(lambda row, now=now: row.copy_(now), float(before), float(after))

    def advance(self, read: Read, before: float, after: float) -> None:
        """A step has been made: its batch's loss was `before`, and is `after` where that counts."""
        if self.loss == "two_batch":
            self.finish(before - self.last_loss)
        self.held.move(read)
        self.last_loss, self.waiting = before, self.held.ready
        if self.loss == "same_batch":
            self.finish(after - before)

    def close(self, loss: float) -> None:
        """Finish the last update with a loss that came after it, if it waits for one."""
        if not self.full:
            self.finish(loss - self.last_loss)

    def finish(self, y: float) -> None:
        """Book the last update, if it waits, with the change `y` of the loss."""
        if not self.waiting:
            return
        self.waiting = False
        if self.full:
            self.n_late += 1
            return
        w = 1.0 if self.sizes is None else float(self.sizes[self.finished])
        self.finished += 1
        if not math.isfinite(y):
            self.n_dropped += 1
            return
        self.held.book(y, w)
        self.n_recorded += 1
        self.total_step += w
        self.sum_y += y
        self.sum_yy += y * y

    def complaints(self) -> list[str]:
        """What a user should know at the end, in sentences; empty if all is well."""
        found = []
        if self.held.moves == 0:
            return [
                "No optimizer step of this model was seen. Without an optimizer, call scores.step()"
            ]
        if self.n_dropped:
            ready = "log(loss=...) before each step" if self.loss == "two_batch" else "the probe"
            found.append(
                f"{self.n_dropped} of {self.finished} updates are not in the sums, because the "
                f"change of their loss is NaN, infinite or missing ({ready} gives it)"
            )
        if self.n_late:
            found.append(
                f"{self.n_late} updates came after the {len(self.sizes)} announced and are not in "
                "the sums (n_steps is too small)"
            )
        elif self.sizes is not None and not self.full:
            found.append(
                f"only {self.finished} of the {len(self.sizes)} announced updates came, so the "
                "step sizes are not quite the solver's (n_steps is too large)"
            )
        return found

    def state_dict(self) -> dict[str, object]:
        """Layout, settings, counts and sums."""
        state = {name: getattr(self, name) for name in (*SETTINGS, *COUNTS)}
        held = None if self.held is None else self.held.state_dict()
        return state | {"layout": self._named_shapes(), "held": held}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take over what `state_dict` gave, if it was recorded with the same settings."""
        shapes = [(name, tuple(shape)) for name, shape in state["layout"]]
        if shapes != self._named_shapes():
            raise ValueError(
                "state must be of a model with the same layers, of the same shapes; got "
                f"{shapes} for {self._named_shapes()}."
            )
        for name in ("loss", "form", "plain"):
            own = getattr(self, name)
            if state[name] != own:
                word = "correlation" if name == "plain" else name
                raise ValueError(
                    f"state must have been recorded with {word}={own!r}; got {state[name]!r}."
                )
        mine, theirs = self.sizes, state["sizes"]
        either = mine is None or theirs is None
        if not (mine is theirs if either else torch.equal(mine, theirs)):
            lengths = ["ones" if s is None else f"T = {len(s)}" for s in (mine, theirs)]
            raise ValueError(
                "state must have been recorded with the same step sizes (n_steps); "
                f"these are {lengths[0]}, those {lengths[1]}."
            )
        if state["held"] is not None:
            self.held = self._empty()
            self.held.load_state_dict(state["held"])
        for name in COUNTS:
            setattr(self, name, state[name])

    def _named_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        return list(zip(self.layout.names, map(tuple, self.layout.shapes), strict=True))

    def _empty(self) -> SquareSums:
        if self._vectors["device"].type == "cpu":
            check_fits(f"Streaming scores of {self.layout.size:,} weights", self.nbytes, None)
        return FORMS[self.form](self.layout.size, **self._vectors)


def planned_sizes(
    step_sizes: str | torch.Tensor | np.ndarray | None,
    n_steps: int | None,
    *,
    loss: str,
    form: str = "vanilla",
) -> torch.Tensor | None:
    """The step sizes (T,) of a block of `n_steps` steps; None for ones, however many come.

    Examples
    --------
    >>> len(planned_sizes("solver", 980, loss="two_batch"))
    979
    >>> planned_sizes("constant", None, loss="two_batch") is None
    True
    """
    if step_sizes is not None and not isinstance(step_sizes, str):
        if n_steps is not None:
            raise ValueError("n_steps must be None with a tensor of step_sizes: its length is T.")
        return check_step_sizes(step_sizes)
    kind = "solver" if step_sizes is None else step_sizes
    if check_choice("step_sizes", kind, ["solver", "constant"]) == "constant":
        return None
    if n_steps is None:
        raise ValueError(
            "n_steps must be given: the solver's step sizes depend on the number of steps. "
            'step_sizes="constant" does without.'
        )
    unused = (loss == "two_batch") + FORMS[form].warm_up
    return solver_step_sizes(check_int("n_steps", n_steps, minimum=1 + unused) - unused)


# ---- score_reading: Masks and rankings from the sums of the causal model.


Tensors = dict[str, torch.Tensor]  # one per layer, by name and of the shape of its weight


FLAT = 1e-6  # a feature whose variance is below this fraction of its mean square counts as constant


class ScoreReading:
    """The reading half of `CausalScores`; every dictionary has one entry per layer.

    Reading raises RuntimeError where no update has been booked, and ValueError where the model has
    other layers than the recorded ones, or where a sum is NaN or infinite.
    """

    layout: ParameterLayout
    _model: nn.Module
    _book: UpdateBook
    _replaced: tuple[str, ...] = ()

    @property
    def n_recorded(self) -> int:
        """Updates in the sums."""
        return self._book.n_recorded

    @property
    def n_dropped(self) -> int:
        """Updates left out because the change of their loss is NaN, infinite or missing."""
        return self._book.n_dropped

    @property
    def n_late(self) -> int:
        """Updates left out because more came than were announced."""
        return self._book.n_late

    @property
    def n_unfinished(self) -> int:
        """1 if the last update waits for the loss that comes after it, else 0."""
        return int(self._book.waiting)

    @property
    def total_step(self) -> float:
        """sum_t w_t over the updates in the sums."""
        return self._book.total_step

    @property
    def nbytes(self) -> Bytes:
        """Bytes of the vectors that are kept; prints as, say, `8.62 MB`."""
        return self._book.nbytes

    def __repr__(self) -> str:
        size = f"{self.layout.size:,} weights, {self.nbytes}"
        return f"CausalScores({self._book.loss}, {self.n_recorded} updates, {size})"

    @property
    def sums(self) -> Tensors:
        """sum_t w_t dL_t (d theta_kt)^2, in units of the loss times those of squared weights."""
        return self._named(self._held().feature_sums("square"))

    @property
    def movement(self) -> Tensors:
        """sum_t (d theta_kt)^2 over the updates in the sums."""
        held = self._held()
        return self._named(held.movement * held.unit**2)

    @property
    def squared_norms(self) -> Tensors:
        """sum_t (d theta_kt)^4, the squared length of each column of the design, in float64.

        Float64 because fourth powers of increments may be too small for float32. The vanilla form
        only.
        """
        held = self._held(vanilla="squared_norms")
        return self._named(held.squares.double() * held.unit**4)

    def feature_sums(self) -> dict[str, Tensors]:
        """Weighted sums of each feature, by its name.

        With d1 the increment of the step and d0 the one before it: "square" is d1^2, with momentum
        "cross" is d0 d1, and in the paper's form "lagged" is d0^2.
        """
        held = self._held()
        return {name: self._named(held.feature_sums(name)) for name in held.features}

    @property
    def alpha_max(self) -> dict[str, float]:
        """The least alpha at which the released rule keeps nothing, by layer."""
        return alpha_max(self.scores(), total_step=self._book.total_step)

    def alpha_ratio(self, alpha: float | Mapping[str, float]) -> dict[str, float]:
        """alpha / alpha_max by layer: how strong one alpha is in layers of different scale.

        Infinite for a layer whose weights never moved.
        """
        highest = self.alpha_max
        alphas = alpha_per_layer(alpha, highest)
        return {name: alphas[name] / top if top else math.inf for name, top in highest.items()}

    def scores(self, kind: str = "released") -> Tensors:
        r"""A score per weight, higher = kept, for `masks_from_scores` at any amount and scope.

        Parameters
        ----------
        kind : {"released", "movement", "correlation"}
            "released": :math:`|\sum_t w_t \Delta L_t (\Delta\theta_{kt})^2|`. One threshold for all
            layers (`scope="global"`) is what one alpha for all layers does. "movement":
            :math:`\sum_t (\Delta\theta_{kt})^2`. "correlation": the absolute correlation of
            :math:`(\Delta\theta_{kt})^2` with :math:`\Delta L_t` over the updates in the sums, 0
            where one of them does not vary.
        """
        check_choice("kind", kind, ["released", "movement", "correlation"])
        if kind == "movement":
            return self.movement
        if kind == "correlation":
            return self._correlations()
        held = self._held()
        largest = held.feature_sums(held.features[0]).abs_()
        for name in held.features[1:]:
            torch.maximum(largest, held.feature_sums(name).abs_(), out=largest)
        return self._named(largest)

    def support(
        self,
        alpha: float | Mapping[str, float],
        *,
        floor: float | int = 0,
        empty: str = "error",
    ) -> Tensors:
        """What the released code keeps at its L1 coefficient `alpha`; True = keep.

        Weight k is kept if |sum_t w_t dL_t (d theta_kt)^2| > alpha sum_t w_t; with momentum, if
        that holds of one of its features.

        Parameters
        ----------
        alpha : float or mapping of str to float
            > 0, in the units of `sums` over those of w: one for all layers, or one for each.
        floor : int or float
            The least number (int) or fraction (float) of weights that a layer keeps: where fewer
            pass, those with the largest sums are kept.
        empty : {"error", "allow"}
            What to do about a layer that keeps no weight, where the floor is 0.

        Raises
        ------
        ValueError
            alpha is not above 0, or not below `alpha_max` of a layer, which is named.
        """
        options = {"alpha": alpha, "floor": floor, "empty": empty}
        return keep_above(self.scores(), total_step=self._book.total_step, **options)

    def _correlations(self) -> Tensors:
        book, held = self._book, self._held(vanilla="correlation")
        n, products = book.n_recorded, getattr(held, "plain", held.sums)
        if products is held.sums and book.sizes is not None:
            raise RuntimeError(
                "correlation needs the sums without step sizes: pass correlation=True, or "
                'step_sizes="constant".'
            )
        if n < 2:
            raise RuntimeError("correlation needs at least two updates in the sums; got one.")
        spread = n * book.sum_yy - book.sum_y**2
        found = torch.zeros_like(held.sums)
        for name in self.layout.names:  # float64 for one layer at a time
            span = self.layout.span(name)
            x, xx, xy = (v[span].double() for v in (held.movement, held.squares, products))
            variance = n * xx - x * x
            shared = n * xy - book.sum_y * x
            varies = (variance > FLAT * n * xx) & (spread > FLAT * n * book.sum_yy)
            value = shared.abs() / (variance.clamp(min=0) * spread).sqrt()
            found[span] = torch.where(varies, value.clamp(max=1), 0).to(found.dtype)
        return self._named(found)

    def _held(self, *, vanilla: str = "") -> SquareSums:
        book = self._book
        if not book.n_recorded:
            raise RuntimeError(
                "No update is recorded: it takes a step of the model's optimizer in the with block "
                f"and a finite loss before and after it; {book.n_dropped} updates were dropped."
            )
        if vanilla and book.form != "vanilla":
            raise RuntimeError(f"{vanilla} is kept with form='vanilla' only; got {book.form!r}.")
        self.layout.parameters(self._model)  # raises where a layer is gone or has changed
        if self._replaced:
            raise ValueError(
                f"The parameters of {', '.join(self._replaced)} were replaced in the block: the "
                "sums are not those of the model."
            )
        return book.held

    def _named(self, flat: torch.Tensor) -> Tensors:
        tensors = self.layout.unflatten(flat)
        for name, values in tensors.items():
            if not math.isfinite(float(values.sum())) and not bool(values.isfinite().all()):
                raise ValueError(
                    f"The sums of {name!r} hold NaN or infinity: its weights diverged while the "
                    "loss stayed finite."
                )
        return tensors


# ---- streaming: Scores of the causal model, summed up while any PyTorch loop trains the network.


class CausalScores(ScoreReading):
    r"""Sums :math:`\sum_t w_t\, \Delta L_t\, (\Delta\theta_{kt})^2` during a `with` block.

    No checkpoint is kept, but five vectors as long as the weights. What counts as a step, and how
    to use the block in Lightning or with Hugging Face's `Trainer`, is as in `TrajectoryRecorder`.

    Parameters
    ----------
    model : nn.Module
        The network; its own loop trains it. Only steps may change its weights in the block.
    loss : {"two_batch", "same_batch"}
        What :math:`\Delta L_t` is. "two_batch", as in the paper: L(b', theta') - L(b, theta), from
        the losses that the loop logs before each step, where b is the batch of this step and b'
        that of the next. So an update is booked when the next step is made, and the last one of
        the block is left over (`n_unfinished`), as in the released code. "same_batch", as in later
        code: L(b, theta') - L(b, theta), measured by the `probe`.
    n_steps : int, optional
        How many steps the block will make: the solver's step sizes depend on it. With "two_batch"
        they have T = n_steps - 1 samples, with "same_batch" T = n_steps.
    step_sizes : "solver", "constant" or tensor (T,), optional
        w. Default: "solver", which needs `n_steps`. "constant": 1 for every update, however many
        come. A tensor: one for each update that will be finished.
    which : {"prunable", "all"}
        Which parameters; see `ParameterLayout.of`.
    probe : callable, optional
        `probe(model, *batch) -> loss`, called with what `batch(...)` was given, with the noise of
        training off and no trace in it. With "two_batch" once per step, in place of logged losses.
    reuse_loss : bool
        With a probe and "same_batch": take the loss before the step from `log(loss=...)`.
    optimizer : torch.optim.Optimizer, optional
        Count the steps of this optimizer only.
    form : {"vanilla", "momentum", "momentum_paper"}
        Features: (d theta)^2, or those of `momentum_features`, "derived" or "paper". With momentum
        the first step of the block has none, and T is less by one. `support` and `scores` then
        look at the feature with the largest sum.
    correlation : bool
        Keep what `scores("correlation")` needs, one vector more. With constant step sizes it is
        there anyway.

    Attributes
    ----------
    n_recorded, n_dropped, n_late, n_unfinished : int
        Updates in the sums; those left out because a loss was NaN, infinite or missing; those that
        came after the T announced; and the one (or none) whose second loss has not come. An update
        that is dropped keeps its place in the sequence of step sizes.
    total_step : float
        :math:`\sum_t w_t` over the updates in the sums.

    Warns
    -----
    UserWarning
        Once, at the end of the block, if updates were dropped, or if more or fewer came than
        announced.

    Notes
    -----
    Sums are float64 where a weight is, and float32 otherwise. Read them in the block or after it.

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
    CausalScores(two_batch, 4 updates, 3 weights, 60 bytes)
    >>> half = 0.5 * scores.alpha_max["weight"]
    >>> scores.support(half)["weight"].shape
    torch.Size([1, 3])
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: str = "two_batch",
        n_steps: int | None = None,
        step_sizes: str | torch.Tensor | np.ndarray | None = None,
        which: str = "prunable",
        probe: Callable[..., torch.Tensor] | None = None,
        reuse_loss: bool = False,
        optimizer: Optimizer | None = None,
        form: str = "vanilla",
        correlation: bool = False,
    ) -> None:
        self.loss, self.form = check_choice("loss", loss, LOSSES), check_choice("form", form, FORMS)
        if loss == "same_batch" and probe is None:
            raise ValueError("loss='same_batch' needs probe=, to measure a batch twice; got none.")
        if reuse_loss and loss == "two_batch":
            raise ValueError("reuse_loss needs loss='same_batch'; got loss='two_batch'.")
        if correlation and form != "vanilla":
            raise ValueError(f"correlation needs form='vanilla'; got {form!r}.")
        sizes = planned_sizes(step_sizes, n_steps, loss=loss, form=form)
        self.layout = ParameterLayout.of(model, which=which)
        self._model, self._reader = model, WeightReader(model, self.layout)
        self._listener = StepListener(self._reader, self.step, optimizer=optimizer)
        self._losses = StepLosses(model, self._listener, probe, reuse=reuse_loss)
        weights = self._reader.parameters()
        doubles = any(parameter.dtype == torch.float64 for parameter in weights)
        vectors = {"dtype": torch.float64 if doubles else torch.float32}
        vectors |= {"device": weights[0].device, "plain": correlation and sizes is not None}
        self._book = UpdateBook(self.layout, loss=loss, form=form, sizes=sizes, **vectors)
        self._open = self._used = self._logged = False

    def __enter__(self) -> CausalScores:
        if self._used:
            raise RuntimeError(
                "CausalScores records once; to go on, give a new one state_dict() of this one."
            )
        if self._book.held is None:
            self._book.start(self._reader.read_into)
        else:
            now = torch.empty_like(self._book.held.weights)
            self._reader.read_into(now)
            if not torch.equal(now, self._book.held.weights):
                raise ValueError(
                    "model must hold the weights at which the scores were saved, to go on from "
                    "there: save both after the same step."
                )
        self._used = self._open = True
        self._listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._listener.stop()
        self._open = False
        if kind is not None:
            return
        heard = self._reader.parameters()
        self._replaced = tuple(
            name
            for (name, own), old in zip(
                self.layout.parameters(self._model).items(), heard, strict=True
            )
            if own is not old
        )
        if self.loss == "two_batch" and self.n_unfinished:
            closing, _ = self._losses.take(due=False)
            if not math.isnan(closing):
                self._book.close(closing)
        self._complain()

    def batch(self, *batch: object) -> None:
        """Announce the batch of the coming step, for the probe."""
        self._must_be_open()
        self._losses.announce(batch, due=True)

    def log(self, *, loss: object) -> None:
        """Book the loss of the coming step's batch: before `optimizer.step()` or in its closure.

        With constant step sizes, or a tensor of them that is long enough, one more loss may be
        logged after the last step: it finishes the last update.

        Raises
        ------
        ValueError
            The first loss comes after the first step, or a probe measures the losses.
        """
        self._must_be_open()
        if not self._logged and self._listener.begun > self._listener.inside:
            raise ValueError(
                "loss must be logged before the step of its batch; the first one came after the "
                "first step."
            )
        self._losses.log(loss)
        self._logged = True

    def step(self) -> None:
        """Count one step. Optimizers do this by themselves; a loop without one calls it."""
        self._must_be_open()
        losses = self._losses.take(due=self.loss == "same_batch")
        self._book.advance(self._reader.read_into, *losses)

    def replay(self, trajectory: Trajectory) -> CausalScores:
        """Take the steps of a recording instead of a block; returns itself.

        The sums are those of streaming, bit for bit, where the weights were recorded as they are.

        Parameters
        ----------
        trajectory : Trajectory
            Every step and every weight of `layout`, with the losses. For a placebo, one with
            shuffled losses (`dataclasses.replace`).

        Raises
        ------
        ValueError
            Steps or weights are missing, or the recording is of another network.
        """
        if self._used or self._book.held is not None:
            raise RuntimeError("CausalScores records once; make a new one to replay a recording.")
        self._used = True
        self._book.replay(trajectory)
        self._complain()
        return self

    def state_dict(self) -> dict[str, object]:
        """All that is needed to go on in another process; tensors are the live ones, not copies.

        Take it between two steps, together with the state of the model and the optimizer.
        """
        return self._book.state_dict()

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take over what `state_dict` gave, to read it or to go on in a `with` block.

        Raises
        ------
        ValueError
            It was recorded of other weights or with other options, or, on entering the block, the
            model does not hold the weights at which it was saved.
        """
        if self._used:
            raise RuntimeError("load_state_dict needs fresh CausalScores; these were used.")
        self._book.load_state_dict(state)

    def save(self, path: str | os.PathLike) -> None:
        """Write `state_dict()` to the file `path`, in one move: an old file is whole until then."""
        check_fits("Saving causal scores", self.nbytes, Path(path))
        with replacing(path) as draft:
            torch.save(self.state_dict(), draft)

    def load(self, path: str | os.PathLike) -> CausalScores:
        """`load_state_dict` of what `save` wrote; returns itself."""
        self.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return self

    def _complain(self) -> None:
        complaints = self._book.complaints()
        if complaints:
            warnings.warn(". Also, ".join(complaints) + ".", stacklevel=3)

    def _must_be_open(self) -> None:
        if not self._open:
            raise RuntimeError("CausalScores works inside its with block only.")
