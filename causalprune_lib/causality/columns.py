"""Columns of a regression that need not fit in memory: T samples of P features, in blocks.

The model of gradient descent (Shah et al., "A Granger-causal perspective on gradient descent with
application to pruning", eq. 7) has one feature per weight. With T = 1000 recorded steps and
P = 400,000 weights the features take 3.2 GB, so the solvers never hold them: they walk over blocks,
and keep only the columns that they work with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from causalprune_lib._validation import check_int, check_shape

BLOCK_BYTES = 8 * 2**20  # of float64: stays near the caches
Block = tuple[slice, slice, np.ndarray]  # rows, columns, their values in float64


class Columns(ABC):
    """T samples of P features, read in blocks; the same at every pass.

    Attributes
    ----------
    shape : (int, int)
        (T, P).
    passes : int
        How often the data has been read from beginning to end.
    """

    shape: tuple[int, int]
    passes: int = 0

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Rows, columns and values (t, p) in float64 of blocks that cover T x P once."""

    @abstractmethod
    def rows(self) -> Iterator[np.ndarray]:
        """Each sample (P,) in float64, in order."""

    def gather(self, index: np.ndarray) -> np.ndarray:
        """The columns (T, w) with the increasing numbers `index` (w,), in float64."""
        found = np.empty((self.shape[0], len(index)), order="F")
        for rows, columns, values in self.blocks():
            low, high = np.searchsorted(index, [columns.start, columns.stop])
            found[rows, low:high] = values[:, index[low:high] - columns.start]
        return found

    def dot(self, coef: np.ndarray) -> np.ndarray:
        """X @ coef, (T,), from the columns where `coef` (P,) is not zero."""
        index = np.flatnonzero(coef)
        return self.gather(index) @ coef[index] if len(index) else np.zeros(self.shape[0])


class ArrayColumns(Columns):
    """Columns of an array, a memory map or a tensor (T, P). Nothing is copied but blocks.

    Examples
    --------
    >>> columns = ArrayColumns(np.arange(6.0).reshape(2, 3))
    >>> columns.gather(np.array([0, 2]))
    array([[0., 2.],
           [3., 5.]])
    """

    def __init__(self, x: np.ndarray | torch.Tensor) -> None:
        if isinstance(x, torch.Tensor):
            x = x.detach().cpu()
            x = (x if x.dtype in (torch.float32, torch.float64) else x.double()).numpy()
        check_shape("x", x, (None, None))
        self._x, self.shape = x, tuple(x.shape)

    def blocks(self) -> Iterator[Block]:
        self.passes += 1
        n_rows, n_columns = self.shape
        whole = self._x.dtype == np.float64  # needs no copy
        for columns in pieces(n_columns, n_columns if whole else BLOCK_BYTES // (8 * n_rows)):
            yield slice(0, n_rows), columns, np.asarray(self._x[:, columns], np.float64)

    def rows(self) -> Iterator[np.ndarray]:
        self.passes += 1
        for row in self._x:
            yield np.asarray(row, np.float64)

    def gather(self, index: np.ndarray) -> np.ndarray:
        self.passes += 1
        return np.asfortranarray(self._x[:, index], dtype=np.float64)


class RowBlocks(Columns):
    """Columns that are replayed: `replay` yields the samples in blocks of rows, each time anew.

    Parameters
    ----------
    replay : callable or iterable
        `replay()`, or going through `replay` once more, yields arrays or tensors (t, P) that make
        up the T samples in order. A generator is spent after one pass: pass the function that
        makes it.
    shape : (int, int)
        (T, P). A pass that yields something else raises a RuntimeError.

    Examples
    --------
    >>> def replay():
    ...     for t in range(4):
    ...         yield np.full((1, 3), float(t))
    >>> RowBlocks(replay, shape=(4, 3)).gather(np.array([1])).ravel()
    array([0., 1., 2., 3.])
    """

    def __init__(
        self, replay: Callable[[], Iterable] | Iterable, *, shape: tuple[int, int]
    ) -> None:
        if not callable(replay) and (not isinstance(replay, Iterable) or iter(replay) is replay):
            raise TypeError(
                "replay must be a callable that returns an iterable of blocks (t, P), or an "
                f"iterable that can be gone through again; got {type(replay).__name__}."
            )
        self._replay = replay
        self.shape = check_int("shape[0]", shape[0]), check_int("shape[1]", shape[1])

    def blocks(self) -> Iterator[Block]:
        self.passes += 1
        n_rows, n_columns = self.shape
        start = 0
        for block in self._replay() if callable(self._replay) else self._replay:
            if isinstance(block, torch.Tensor):
                block = block.detach().cpu().double()
            values = np.asarray(block, np.float64)
            if values.ndim != 2 or values.shape[1] != n_columns:
                raise RuntimeError(
                    f"replay must yield blocks of shape (any, {n_columns}); got {values.shape}."
                )
            stop = start + len(values)
            if stop > n_rows:
                break
            yield slice(start, stop), slice(0, n_columns), values
            start = stop
        else:
            stop = start
        if stop != n_rows:
            more = "more" if stop > n_rows else f"only {stop}"
            raise RuntimeError(f"replay must yield {n_rows} rows at every pass; got {more}.")

    def rows(self) -> Iterator[np.ndarray]:
        for _, _, values in self.blocks():
            yield from values


def as_columns(x: object) -> Columns:
    """`x` itself if it is a `Columns`, an array or a tensor as one otherwise."""
    if isinstance(x, Columns):
        return x
    return ArrayColumns(x if isinstance(x, np.ndarray | torch.Tensor) else np.asarray(x, float))


def pieces(n: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` (and at least 1) that cover 0..n-1."""
    size = max(1, size)
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
