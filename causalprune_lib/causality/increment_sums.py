r"""Running sums over the increments of a network's weights, in a few vectors of length P.

The increment that was made last is kept until the change of the loss that belongs to it is known;
then it is booked or passed over. All sums are taken in place, without a temporary vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

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
