"""What the networks of `models.py` and `resnet.py` share: a chain of named layers."""

from __future__ import annotations

from collections import OrderedDict
from math import prod

import torch
from torch import nn

from causalprune_lib._validation import check_int, check_shape


class Chain(nn.Sequential):
    """`nn.Sequential` that knows the shape of one example and says so when another one comes.

    Parameters
    ----------
    layers : OrderedDict of nn.Module
        The layers by name, in order.
    shape : tuple of int or None
        Shape of one example. None stands for any length.
    """

    def __init__(self, layers: OrderedDict[str, nn.Module], shape: tuple[int | None, ...]):
        super().__init__(layers)
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map examples (N, *shape) to class scores (N, K)."""
        check_shape("x", x, (None, *self.shape))
        return super().forward(x)

    def __getitem__(self, index):
        """One layer, or a plain `nn.Sequential` of several (`model[:-1]`)."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)


def check_image_shape(model: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return `shape` if it is (channels, height, width)."""
    shape = tuple(shape)
    if len(shape) != 3:
        raise ValueError(
            f"shape must be (channels, height, width) for a {model}; got {shape}. "
            f"For {prod(shape)} plain features use an MLP."
        )
    names = ("channels", "height", "width")
    return tuple(check_int(name, n) for name, n in zip(names, shape, strict=True))
