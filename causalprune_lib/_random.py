"""Random numbers drawn from a seed, with the global generators left as they were."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from causalprune_lib._validation import check_int


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed PyTorch inside the block; afterwards the global generators continue undisturbed.

    Weight initialisation and dropout draw from the global generator and take no `generator`; this
    makes them reproducible. The CPU is seeded and, where `device` is a CUDA device, that device.
    """
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for place in cuda:
            with torch.cuda.device(place):
                torch.cuda.manual_seed(seed)
        yield


def own_stream(seed: int, purpose: str) -> torch.Generator:
    """A generator of the CPU for one purpose, whose numbers are unrelated to those of any other.

    `torch.Generator().manual_seed(seed)` repeats the numbers from which `torch.manual_seed(seed)`
    makes a network's initial weights: a "random" mask drawn from it would keep the largest weights
    of the first layer. Here the words of `purpose` are mixed with `seed` (at least 0).
    """
    check_int("seed", seed, minimum=0)
    mixed = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())])
    return torch.Generator().manual_seed(int(mixed.generate_state(1, np.uint64)[0] >> 1))
