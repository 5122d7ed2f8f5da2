"""Going through many series piece by piece: bounded memory, every CPU core at work."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from causalprune_lib._validation import check_int

Spans = list[tuple[int, int]]
CPU_BYTES_PER_THREAD = 24 * 2**20  # stays near the caches
GPU_BYTES = 2**30


def rows(x: torch.Tensor | np.ndarray, start: int, stop: int) -> torch.Tensor:
    """Series number start..stop-1 of `x` (..., W), its leading axes taken as one; (stop-start, W).

    Only these are copied, if any: an overlapping view such as `series.unfold(0, 200, 1)` stays one.

    Examples
    --------
    >>> rows(torch.arange(8).view(2, 2, 2), 1, 3)
    tensor([[2, 3],
            [4, 5]])
    """
    lead = tuple(x.shape[:-1])
    if not lead:
        chosen = x[None]
    elif len(lead) == 1:
        chosen = x[start:stop]
    elif isinstance(x, torch.Tensor):
        number = torch.arange(start, stop, device=x.device)
        chosen = x[torch.unravel_index(number, lead)]
    else:
        chosen = x[np.unravel_index(np.arange(start, stop), lead)]
    if isinstance(chosen, torch.Tensor):
        return chosen
    return torch.from_numpy(chosen.astype(np.float64))


def in_chunks(
    work: Callable[[Spans], None],
    n: int,
    *,
    bytes_each: int,
    chunk_bytes: int | None,
    device: torch.device,
) -> None:
    """Call `work` on lists of spans (start, stop) that cover 0..n; one list per CPU thread.

    Where n is 0 there is nothing to call it on.

    Parameters
    ----------
    work : callable
        Called once with all spans on a GPU, once per thread on a CPU.
    bytes_each : int
        Memory that one of the n takes.
    chunk_bytes : int or None
        Memory of all threads together. Default: 24 MiB for each CPU thread, 1 GiB on a GPU. At
        least one of the n goes into each chunk, whatever it takes.

    Examples
    --------
    >>> in_chunks(print, 5, bytes_each=8, chunk_bytes=24, device=torch.device("cuda"))
    [(0, 3), (3, 5)]
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if chunk_bytes is None:
        chunk_bytes = CPU_BYTES_PER_THREAD * threads if device.type == "cpu" else GPU_BYTES
    budget = check_int("chunk_bytes", chunk_bytes) // threads
    if n == 0:
        return
    n_chunks = math.ceil(n / max(1, budget // bytes_each))
    if n_chunks > 1:
        n_chunks = math.ceil(n_chunks / threads) * threads
    size = math.ceil(n / n_chunks)
    spans = [(start, min(start + size, n)) for start in range(0, n, size)]
    workers = min(threads, len(spans))
    if workers == 1:
        work(spans)
        return
    # A chunk per thread beats splitting each of many small operations between the threads.
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            list(pool.map(work, [spans[i::workers] for i in range(workers)]))
        finally:
            torch.set_num_threads(threads)  # so that other new threads start as they would have
