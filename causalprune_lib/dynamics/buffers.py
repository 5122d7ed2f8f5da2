"""What makes the neighbour search fast: memory used again, and a running minimum that remembers.

Nothing here knows about series or exponents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# (a - b)^2 in one pass over memory: square_of_difference(a, b, 0, out=c); 0 means "not summed".
square_of_difference = torch.ops.aten.mse_loss.out


class Buffers:
    """Named pieces of uninitialised memory, handed out again and again.

    Fresh memory comes from the operating system page by page, which costs more than the arithmetic
    done on it here.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, torch.dtype], torch.Tensor] = {}
        self._parts: dict[str, Buffers] = {}

    def get(self, name: str, like: torch.Tensor, *shape: int, dtype=torch.float64) -> torch.Tensor:
        """A tensor of this shape on the device of `like`; overwrites the last one of this name."""
        size = math.prod(shape)
        held = self._held.get((name, dtype))
        if held is None or held.numel() < size or held.device != like.device:
            held = torch.empty(size, dtype=dtype, device=like.device)
            self._held[name, dtype] = held
        return held[:size].view(shape)

    def part(self, name: str) -> Buffers:
        """Buffers with names of their own, kept with these."""
        return self._parts.setdefault(name, Buffers())

    @property
    def nbytes(self) -> int:
        """Bytes held, parts included."""
        own = sum(tensor.nbytes for tensor in self._held.values())
        return own + sum(part.nbytes for part in self._parts.values())


_SPARE: list[tuple[int, Buffers]] = []  # with their bytes; safe to append and pop in threads
KEPT_BYTES = 256 * 2**20


@contextmanager
def spare_buffers(device: torch.device) -> Iterator[Buffers]:
    """Buffers for the time of a `with` block: those of an earlier call where there are any.

    At most 256 MiB are kept between calls, and none on a GPU, where PyTorch does so itself.

    Examples
    --------
    >>> with spare_buffers(torch.device("cpu")) as first:
    ...     _ = first.get("x", torch.empty(0), 10)
    >>> with spare_buffers(torch.device("cpu")) as second:
    ...     second is first
    True
    """
    try:
        buffers = _SPARE.pop()[1] if device.type == "cpu" else Buffers()
    except IndexError:
        buffers = Buffers()
    yield buffers
    size = buffers.nbytes
    if device.type == "cpu" and size + sum(other for other, _ in list(_SPARE)) <= KEPT_BYTES:
        _SPARE.append((size, buffers))


class Lowest:
    """The smallest value offered so far, element by element, and the number of that offer.

    Parameters
    ----------
    best : tensor of float64
        Overwritten with the values; start it at infinity.
    number : tensor of int32, same shape
        Overwritten with the numbers; start it at 0.
    hit : tensor of bool, same shape
        Scratch memory.

    Examples
    --------
    >>> best, number = torch.tensor([5.0, 1.0]).double(), torch.zeros(2, dtype=torch.int32)
    >>> lowest = Lowest(best, number, torch.empty(2, dtype=torch.bool))
    >>> lowest.offer(torch.tensor([3.0, 3.0]).double(), 7, or_equal=False)
    >>> best.tolist(), number.tolist()
    ([3.0, 1.0], [7, 0])
    """

    def __init__(self, best: torch.Tensor, number: torch.Tensor, hit: torch.Tensor):
        self._best, self._number, self._hit = best, number, hit

    def offer(self, value: torch.Tensor, k: int, *, or_equal: bool) -> None:
        """Take `value` where it is less (or equal) as number k."""
        compare = torch.less_equal if or_equal else torch.less
        compare(value, self._best, out=self._hit)
        torch.minimum(value, self._best, out=self._best)
        self._number.masked_fill_(self._hit, k)
