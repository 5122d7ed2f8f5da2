"""Nearest neighbours of delay vectors, exactly, for many series at once.

The delay vector number i of a series is (x_i, x_{i+lag}, ..., x_{i+(dim-1) lag}). For each one this
file finds the vector j that is nearest in the Euclidean norm and more than `theiler` steps away in
time (Theiler 1986). That search is nearly the whole cost of an estimated Lyapunov exponent.

On a CPU each vector is compared with those of nearly the same rank (see `ranks`); on a GPU all
pairs are compared (see `blocks`). Nothing is approximated: the winner is that of a plain double
loop in float64, ties included.
"""

from __future__ import annotations

import torch

from causalprune_lib.dynamics.blocks import BlockSearch
from causalprune_lib.dynamics.buffers import Buffers
from causalprune_lib.dynamics.ranks import RankedSearch


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
    memory : Buffers, optional
        Where to work; by default memory of its own.

    Examples
    --------
    >>> search = NeighbourSearch(n_points=5, dim=1, lag=1, theiler=0)
    >>> index, squared = search(torch.tensor([0.0, 3.0, 1.0, 3.5, 0.2])[:, None].double())
    >>> index[:, 0].tolist()
    [4, 3, 4, 1, 0]
    """

    def __init__(
        self,
        *,
        n_points: int,
        dim: int,
        lag: int,
        theiler: int,
        ties: str = "first",
        memory: Buffers | None = None,
    ):
        memory = Buffers() if memory is None else memory
        settings = {"n_points": n_points, "dim": dim, "lag": lag, "theiler": theiler, "ties": ties}
        self.n_points, self._buffer = n_points, memory.get
        self._ranked = RankedSearch(**settings, memory=memory.part("ranks"))
        self._by_blocks = BlockSearch(**settings, memory=memory.part("blocks"))

    def bytes_per_series(self, device: torch.device) -> int:
        """Working memory that one series of a batch takes."""
        if device.type != "cpu":
            return self._by_blocks.bytes_per_series
        return 16 * self.n_points

    def __call__(
        self, x: torch.Tensor, *, skip_zero: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Nearest neighbour of every delay vector.

        Parameters
        ----------
        x : tensor (W, B) of float64
            B finite series of length W >= M + (dim - 1) lag; time comes first.
        skip_zero : bool
            Leave out pairs at distance 0 (repeated vectors).

        Returns
        -------
        index : tensor (M, B) of int64
            The neighbour j of vector i. Meaningless where there is none.
        squared : tensor (M, B)
            Squared distance to it; infinite where there is none.

        The next call overwrites both.
        """
        if x.device.type != "cpu":
            return self._by_blocks(x.contiguous(), skip_zero=skip_zero)
        shape = (self.n_points, x.shape[1])
        index = self._buffer("index", x, *shape, dtype=torch.int64)
        squared = self._buffer("squared", x, *shape)
        self._ranked(x.numpy(), index.numpy(), squared.numpy(), skip_zero=skip_zero)
        return index, squared
