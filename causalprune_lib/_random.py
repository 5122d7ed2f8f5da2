"""Random numbers drawn from a seed, with the global generators left as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed PyTorch inside the block; afterwards the global generators continue undisturbed.

    Weight initialisation and dropout draw from PyTorch's global generator and take no `generator`
    argument. This is the way to make them reproducible without changing what the caller draws next.

    Parameters
    ----------
    seed : int
        Start of the generators of the CPU and, where `device` is a CUDA device, of that device.
    device : torch.device or str
        The device on which the block draws.

    Examples
    --------
    >>> with seeded(3):
    ...     first = torch.rand(2)
    >>> with seeded(3):
    ...     again = torch.rand(2)
    >>> torch.equal(first, again)
    True
    """
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for place in cuda:
            with torch.cuda.device(place):
                torch.cuda.manual_seed(seed)
        yield
