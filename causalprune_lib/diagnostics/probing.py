"""Random probes of a matrix that is known by its products only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

import torch

from causalprune_lib._random import own_stream


def rademacher(
    n_probes: int, size: int, *, seed: int, dtype: torch.dtype, device: torch.device
) -> Iterator[torch.Tensor]:
    """`n_probes` vectors (size,) of random signs, the same on every device.

    For such a v the mean of v^T H v is the trace of H (Hutchinson, Communications in Statistics
    1989).

    Examples
    --------
    >>> next(rademacher(1, 4, seed=0, dtype=torch.float32, device="cpu")).abs()
    tensor([1., 1., 1., 1.])
    """
    random = own_stream(seed, "probes")
    for _ in range(n_probes):
        bits = torch.randint(2, (size,), generator=random, dtype=torch.int8)
        yield (2 * bits - 1).to(device, dtype)


def mean_and_error(samples: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error; the error of one sample is NaN.

    Examples
    --------
    >>> mean_and_error([1.0, 3.0])
    (2.0, 1.0)
    """
    if len(samples) < 2:
        return statistics.fmean(samples), math.nan
    return statistics.fmean(samples), statistics.stdev(samples) / math.sqrt(len(samples))
