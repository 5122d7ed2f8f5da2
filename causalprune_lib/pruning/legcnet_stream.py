"""Windowed exponents while a network trains, without keeping the recording.

The recording of LEGCNet's MNIST network, 11,501 rows of 41,000 weights, is 1.9 GB in float32, and
no window looks back further than its own rows. So a stream keeps one window of rows, 33 MB here,
and turns it into exponents as soon as it is full. They are the same numbers.

Paper: arXiv:2308.09955.
"""

from __future__ import annotations

from time import perf_counter

import torch

from causalprune_lib._validation import check_int, check_shape
from causalprune_lib.pruning.legcnet_windows import (
    WindowedExponents,
    cut_windows,
    windowed_exponents,
)


class WindowStream:
    """Takes the rows of a recording one by one and gives `windowed_exponents` of them.

    Parameters
    ----------
    n_weights : int
        P.
    window, overlap
        As in `cut_windows`.
    **options
        Those of `windowed_exponents`: `gate`, `decimals`, `horizon`, `estimator`, `max_bytes`.

    Attributes
    ----------
    n_rows : int
        Rows taken so far.
    seconds : float
        Time spent on exponents.

    Examples
    --------
    >>> rows = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) / 100
    >>> stream = WindowStream(3, window=100)
    >>> full = [stream.push(row) for row in rows]
    >>> whole = windowed_exponents(rows, window=100)
    >>> sum(full), torch.equal(stream.result().exponent, whole.exponent)
    (11, True)
    """

    def __init__(
        self, n_weights: int, *, window: int = 200, overlap: float = 0.1, **options: object
    ) -> None:
        self._cut = {"window": window, "overlap": overlap}
        windows = cut_windows(0, **self._cut)
        self.n_weights, self.n_rows, self.seconds = check_int("n_weights", n_weights), 0, 0.0
        self._size, self._stride, self._options = windows.size, windows.stride, options
        self._rows: torch.Tensor | None = None  # (window, P)
        self._filled = 0
        self._found: list[WindowedExponents] = []

    @torch.no_grad()
    def push(self, row: torch.Tensor) -> bool:
        """Take the next row (P,), row 0 first; True where it is the last one of a window."""
        check_shape("row", row, (self.n_weights,))
        if self._rows is None:
            self._rows = row.new_empty((self._size, self.n_weights))
        self._rows[self._filled] = row
        self._filled += 1
        self.n_rows += 1
        if self._filled < self._size:
            return False
        started = perf_counter()
        self._found.append(windowed_exponents(self._rows, **self._cut, **self._options))
        self.seconds += perf_counter() - started
        self._filled = self._size - self._stride
        self._rows[: self._filled] = self._rows[self._stride :].clone()
        return True

    def result(self) -> WindowedExponents:
        """The exponents of all windows that are full so far."""
        nothing = torch.empty((0, self.n_weights), dtype=torch.float64)
        exponents = [nothing, *(found.exponent for found in self._found)]
        gated = [nothing.bool(), *(found.gated for found in self._found)]
        windows = cut_windows(self.n_rows, **self._cut)
        return WindowedExponents(torch.cat(exponents), torch.cat(gated), windows)
