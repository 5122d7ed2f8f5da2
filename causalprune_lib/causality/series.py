"""How series come in: as tensors of real numbers, in a unit of their own, shared by the threads."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from causalprune_lib._validation import check_int
from causalprune_lib.dynamics.chunks import CPU_BYTES_PER_THREAD, Spans, in_chunks

WORTH_A_THREAD = 256  # series


def as_series(name: str, values: object) -> torch.Tensor:
    """`values` as a tensor of real numbers, copied only where that cannot be avoided.

    Examples
    --------
    >>> as_series("x", [1, 2]).dtype
    torch.float64
    """
    if not isinstance(values, torch.Tensor):
        values = np.asarray(values)
        if values.dtype.kind not in "fiu":
            raise TypeError(f"{name} must hold real numbers; got dtype {values.dtype}.")
        if values.dtype not in (np.float32, np.float64) or min(values.strides, default=0) < 0:
            values = values.astype(np.float64)
        return torch.from_numpy(values)
    if values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"{name} must hold real numbers; got dtype {values.dtype}.")
    return values.detach()


def unit(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns of `x` (W, S) centred, with largest magnitude 1, and their units (S,).

    Examples
    --------
    >>> [part.tolist() for part in unit(torch.tensor([[0.0], [1.0], [2.0]]))]
    [[[-1.0], [0.0], [1.0]], [1.0]]
    """
    scale = x.new_ones(x.shape[1])
    for centre in (False, True):  # scaled first: the mean of huge numbers would overflow
        x = x - x.mean(0) if centre else x
        size = x.abs().amax(0)
        size = torch.where(size > 0, size, 1.0)
        x, scale = x / size, scale * size
    return x, scale


def in_shares(
    work: Callable[[Spans], None],
    n: int,
    *,
    bytes_each: int,
    chunk_bytes: int | None,
    device: torch.device,
) -> None:
    """`in_chunks` with a share for every thread where there is work for it, else in one thread.

    One thread, because splitting each of many small operations between the cores can take ten times
    as long as not doing so, where other programs use the cores.

    Examples
    --------
    >>> in_shares(print, 5, bytes_each=8, chunk_bytes=None, device=torch.device("cpu"))
    [(0, 5)]
    """
    if chunk_bytes is not None:
        check_int("chunk_bytes", chunk_bytes)
    if n == 0:
        return
    threads = torch.get_num_threads()
    if device.type == "cpu" and chunk_bytes is None:
        share = max(WORTH_A_THREAD, math.ceil(n / threads))
        chunk_bytes = threads * min(CPU_BYTES_PER_THREAD, share * bytes_each)
    if device.type == "cpu" and n <= WORTH_A_THREAD:
        torch.set_num_threads(1)
        chunk_bytes = max(1, chunk_bytes // threads)
    try:
        in_chunks(work, n, bytes_each=bytes_each, chunk_bytes=chunk_bytes, device=device)
    finally:
        torch.set_num_threads(threads)
