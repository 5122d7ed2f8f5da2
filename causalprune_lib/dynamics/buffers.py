"""Memory that is used again, and a fused operation: small things that make the search fast.

Nothing here knows about series or exponents.
"""

from __future__ import annotations

import math

import torch

# (a - b)^2 in one pass over memory: square_of_difference(a, b, 0, out=c); 0 means "not summed".
square_of_difference = torch.ops.aten.mse_loss.out


class Buffers:
    """Named pieces of uninitialised float64 memory, handed out again and again.

    Fresh memory comes from the operating system page by page, which costs more than the arithmetic
    done on it here.
    """

    def __init__(self) -> None:
        self._held: dict[str, torch.Tensor] = {}

    def get(self, name: str, like: torch.Tensor, *shape: int, dtype=torch.float64) -> torch.Tensor:
        """A tensor of this shape on the device of `like`; overwrites the last one of this name."""
        size = math.prod(shape)
        held = self._held.get(name)
        if held is None or held.numel() < size or held.device != like.device:
            held = self._held[name] = torch.empty(size, dtype=dtype, device=like.device)
        return held[:size].view(shape)
