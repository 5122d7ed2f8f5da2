"""Nearest neighbours of delay vectors, exactly, for many series at once.

The delay vector number i of a series is (x_i, x_{i+lag}, ..., x_{i+(dim-1) lag}). For each one this
file finds the vector j that is nearest in the Euclidean norm and more than `theiler` steps away in
time (Theiler 1986). That search is nearly the whole cost of an estimated Lyapunov exponent.

On a CPU most vectors find their neighbour among the few of nearly the same rank (see `ranks`); the
rest, and on a GPU all, are compared with every other vector. Nothing is approximated: the winner is
that of a plain double loop in float64, ties included.
"""

from __future__ import annotations

import math

import torch

from causalprune_lib.dynamics.buffers import Buffers, square_of_difference
from causalprune_lib.dynamics.ranks import RankedSearch, ranks_bytes

PAIRS_AT_ONCE = {"cpu": 2**17, "cuda": 2**23}  # compared at once, beyond the memory of a series


def search_bytes(n_points: int, *, dim: int, lag: int) -> int:
    """Bytes that one series needs during the search."""
    return ranks_bytes(n_points, dim) + 8 * (3 * n_points + (dim - 1) * lag)


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
        self.n_points, self.dim, self.lag, self.theiler = n_points, dim, lag, theiler
        self.ties, self.ranked = ties, RankedSearch(**settings)
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
        m, n_series = self.n_points, x.shape[1]
        x = x.contiguous()
        index = self._buffer("index", x, m, n_series, dtype=torch.int64)
        squared = self._buffer("squared", x, m, n_series)
        if x.device.type == "cpu":
            todo = self.ranked(x, index, squared, skip_zero=skip_zero)
        else:
            todo = torch.arange(m * n_series, device=x.device)
        pairs = PAIRS_AT_ONCE.get(x.device.type, PAIRS_AT_ONCE["cuda"])
        series = self._buffer("series", x, n_series, len(x)).copy_(x.T)  # (B, W)
        for part in todo.split(max(1, pairs // m)) if len(todo) else ():
            found, distance = self._compare_with_all(series, part, skip_zero)
            index.view(-1)[part], squared.view(-1)[part] = found, distance
        return index, squared

    def _compare_with_all(
        self, series: torch.Tensor, part: torch.Tensor, skip_zero: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Neighbour and squared distance of the vectors at positions i * B + b, (n,) each."""
        m, n = self.n_points, len(part)
        i, b = part // len(series), part % len(series)
        rows = self._buffer("rows", series, n, series.shape[1])
        torch.index_select(series, 0, b, out=rows)
        distances, squares = (self._buffer(name, series, n, m) for name in ("distances", "squares"))
        for c in range(self.dim):
            own = rows.gather(1, i[:, None] + c * self.lag)  # (n, 1)
            out = squares if c else distances
            square_of_difference(rows[:, c * self.lag :][:, :m], own.expand(n, m), 0, out=out)
            if c:
                distances += squares
        nearby = torch.arange(-self.theiler, self.theiler + 1, device=series.device)
        distances.scatter_(1, (i[:, None] + nearby).clamp_(0, m - 1), math.inf)
        if skip_zero:
            distances.masked_fill_(distances == 0, math.inf)
        last = self.ties == "last"
        found = _argmin(distances.flip(1) if last else distances)
        if last:
            found = m - 1 - found
        return found, distances.gather(1, found[:, None])[:, 0]


def _argmin(x: torch.Tensor) -> torch.Tensor:
    """Where each row of `x` (n, m) has its smallest value, the first if there are several."""
    if x.device.type == "cpu":  # NumPy's takes a sixth of PyTorch's time
        return torch.from_numpy(x.numpy().argmin(1))
    return x.argmin(1)
