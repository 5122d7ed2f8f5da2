"""Nearest neighbours of delay vectors, exactly, for many series at once.

The delay vector number i of a series is (x_i, x_{i+lag}, ..., x_{i+(dim-1) lag}). For each one this
file finds the vector j that is nearest in the Euclidean norm and more than `theiler` steps away in
time (Theiler 1986). That search is nearly the whole cost of an estimated Lyapunov exponent.

On a CPU most vectors find their neighbour among the few of nearly the same rank (see `ranks`), and
the rest are compared with every other vector. On a GPU, and in many dimensions, all pairs are
compared (see `blocks`). Nothing is approximated: the winner is that of a plain double loop in
float64, ties included.
"""

from __future__ import annotations

import torch

from causalprune_lib.dynamics.blocks import BlockSearch, blocks_bytes
from causalprune_lib.dynamics.buffers import Buffers
from causalprune_lib.dynamics.ranks import RankedSearch, ranks_bytes

MOST_LEFT_OVER = 1 / 4  # share of the vectors; if ranks settle fewer, all pairs cost less


def search_bytes(n_points: int, *, dim: int, lag: int) -> int:
    """Bytes that one series needs during the search."""
    return ranks_bytes(n_points, dim, lag) + blocks_bytes(n_points, (dim - 1) * lag)


class NeighbourSearch:
    """A search with fixed settings, which keeps its memory from one batch of series to the next.

    Parameters
    ----------
    n_points : int
        M, how many delay vectors of each series take part: the first M.
    dim, lag : int
        Embedding dimension and delay in samples.
    theiler : int
        Pairs with |i - j| <= theiler are left out.
    ties : {"first", "last"}
        Which j wins among equally near ones: the earliest or the latest in time.

    Examples
    --------
    >>> search = NeighbourSearch(n_points=5, dim=1, lag=1, theiler=0)
    >>> index, squared = search(torch.tensor([0.0, 3.0, 1.0, 3.5, 0.2])[:, None].double())
    >>> index[:, 0].tolist()
    [4, 3, 4, 1, 0]
    """

    def __init__(self, *, n_points: int, dim: int, lag: int, theiler: int, ties: str = "first"):
        settings = {"n_points": n_points, "dim": dim, "lag": lag, "theiler": theiler, "ties": ties}
        self.n_points = n_points
        self.ranked, self.by_blocks = RankedSearch(**settings), BlockSearch(**settings)
        self._buffer = Buffers().get

    def __call__(
        self, x: torch.Tensor, *, skip_zero: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Nearest neighbour of every delay vector.

        Parameters
        ----------
        x : tensor (W, B) of float64
            B finite series of length W >= M + (dim - 1) lag; time comes first.
        skip_zero : bool
            Leave out pairs at distance 0 (repeated vectors) too.

        Returns
        -------
        index : tensor (M, B) of int64
            The neighbour j of vector i. Meaningless where there is none.
        squared : tensor (M, B)
            Squared distance to it; infinite where there is none.

        The next call overwrites both.
        """
        x = x.contiguous()
        if x.device.type != "cpu" or not self.ranked.promising:
            return self.by_blocks(x, skip_zero=skip_zero)
        shape = (self.n_points, x.shape[1])
        index = self._buffer("index", x, *shape, dtype=torch.int64)
        squared = self._buffer("squared", x, *shape)
        left = self.ranked(x, index, squared, skip_zero=skip_zero)
        if len(left) > MOST_LEFT_OVER * index.numel():
            return self.by_blocks(x, skip_zero=skip_zero)
        self.ranked.compare_with_all(x, left, index, squared, skip_zero=skip_zero)
        return index, squared
