"""Nearest neighbours of delay vectors among those of nearly the same rank: the search on a CPU.

Vectors that are close have first coordinates that are close. So the vectors of a series are sorted
by their first coordinate, and each is compared with those 1, 2, 3, ... ranks away. Once the first
coordinates alone are farther apart than the nearest vector found so far, no other can be nearer and
the search for that vector is over. Both sides are rounded in the same way, so this holds in
floating point as it does on paper. A walk needs about 6 ranks, 200 points of noise about 20. The
few vectors that are still open then are compared with all others.

Series go in tiles whose arrays stay in a core's own cache, and a tile goes `BLOCK` ranks further at
a time, in one call of NumPy for each step of the arithmetic. Ranks come first and the series last,
so that every operation runs over contiguous memory.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from causalprune_lib.dynamics.buffers import Buffers, square_of_difference

BLOCK = 8  # ranks between two looks at what is still open
MANY = 1 / 5  # share of the vectors; to look at fewer one by one costs less than at all
TILE_BYTES = 3 * 2**19  # of the distances of a BLOCK; what else is in use takes as much again


class RankedSearch:
    """A search with fixed settings; see `NeighbourSearch`, whose call it shares.

    Examples
    --------
    >>> search = RankedSearch(n_points=5, dim=1, lag=1, theiler=0, ties="first", memory=Buffers())
    >>> x = np.array([0.0, 3.0, 1.0, 3.5, 0.2])[:, None]
    >>> index, squared = np.zeros((5, 1), dtype=np.int64), np.zeros((5, 1))
    >>> search(x, index, squared)
    >>> index[:, 0].tolist()
    [4, 3, 4, 1, 0]
    """

    def __init__(
        self, *, n_points: int, dim: int, lag: int, theiler: int, ties: str, memory: Buffers
    ):
        self._settings = {"n_points": n_points, "dim": dim, "lag": lag}
        self._settings |= {"theiler": theiler, "ties": ties, "memory": memory}
        self._at_once = max(1, TILE_BYTES // (8 * BLOCK * n_points))
        self._tile: Tile | None = None

    def __call__(
        self, x: np.ndarray, index: np.ndarray, squared: np.ndarray, *, skip_zero: bool = True
    ) -> None:
        """Fill in `index` and `squared` (M, B) from `x` (W, B)."""
        n = x.shape[1]
        size = math.ceil(n / math.ceil(n / self._at_once))
        if self._tile is None or self._tile.n_series != size:
            self._tile = Tile(**self._settings, n_series=size)
        for start in range(0, n, size):
            some = slice(min(start, n - size), start + size)  # the last may overlap the one before
            index[:, some], squared[:, some] = self._tile(x[:, some], skip_zero=skip_zero)


class Tile:
    """The search for so many series that its memory, which is used again, stays in the cache.

    Arrays by rank have BLOCK rows more at either end, so that they can be read as if moved by up to
    that many ranks.
    """

    def __init__(
        self,
        *,
        n_points: int,
        dim: int,
        lag: int,
        theiler: int,
        ties: str,
        n_series: int,
        memory: Buffers,
    ):
        self.n_points, self.lag, self.theiler, self.ties = n_points, lag, theiler, ties
        self.n_series = n_series
        codes = np.min_scalar_type(n_points + theiler)  # so that differences may wrap around
        # The neighbour to keep among equally near ones has the largest code; 0 stands for none.
        number = np.arange(n_points)
        self.codes = (n_points - number if ties == "first" else number + 1).astype(codes)

        def array(name: str, *lead: int, dtype=np.float64) -> np.ndarray:
            size = math.prod(lead) * n_series * np.dtype(dtype).itemsize
            held = memory.get(name, torch.empty(0), size, dtype=torch.uint8).numpy()
            return held.view(dtype).reshape(*lead, n_series)

        m, block, padded = n_points, BLOCK, n_points + 2 * BLOCK
        self.code = array("code", padded, dtype=codes)
        self.coordinates = [array(f"coordinate {c}", padded) for c in range(dim)]
        # Row r, column BLOCK + n: the pair of ranks n and n + reach + 1 + r.
        self.pairs, self.square = array("pairs", block, m + block), array("square", block, m)
        self.gap, self.hit = array("gap", block, m, dtype=codes), array("hit", block, m, dtype=bool)
        self.best, self.name = array("best", m), array("name", m, dtype=codes)
        self.low, self.index = array("low", m), array("index", m, dtype=np.int64)
        self.squared = array("squared", m)
        self.code.fill(0)
        self.pairs.fill(math.inf)
        for c, coordinate in enumerate(self.coordinates):
            coordinate.fill(0.0 if c else math.inf)

    def __call__(self, x: np.ndarray, *, skip_zero: bool) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours and squared distances (M, T) from `x` (W, T); overwritten by the next call."""
        m, inside = self.n_points, slice(BLOCK, BLOCK + self.n_points)
        x = np.ascontiguousarray(x)
        order = x[:m].argsort(0)
        place = order * self.n_series + np.arange(self.n_series)
        np.take(self.codes, order, out=self.code[inside], mode="clip")
        for c, coordinate in enumerate(self.coordinates):
            source = x[c * self.lag :].reshape(-1)
            np.take(source, place, out=coordinate[inside], mode="clip")
        self.best.fill(math.inf)
        self.name.fill(0)
        reach, is_open = 0, np.ones(order.shape, bool)
        while reach < m - 1 and np.count_nonzero(is_open) > MANY * is_open.size:
            self._compare(reach, skip_zero)
            reach += BLOCK
            is_open = self._still_open(reach)
        self._compare_few(np.flatnonzero(is_open), reach, skip_zero)
        name = self.name.astype(np.int64)
        self.index.reshape(-1)[place] = m - name if self.ties == "first" else name - 1
        self.squared.reshape(-1)[place] = self.best
        return self.index, self.squared

    def _moved(self, array: np.ndarray, start: int, down: int, n: int) -> np.ndarray:
        """View (BLOCK, n, T) whose row r is `array` from its row start + r * down on."""
        row = array.strides[0]
        shape, strides = (BLOCK, n, self.n_series), (down * row, row, array.itemsize)
        return np.ndarray(shape, array.dtype, array, start * row, strides)

    def _compare(self, reach: int, skip_zero: bool) -> None:
        """Compare all vectors with those reach + 1 to reach + BLOCK ranks away."""
        n, first = self.n_points - reach - 1, BLOCK + reach + 1
        here, after = slice(n), slice(reach + 1, None)  # the ranks that are earlier, later in pairs
        distance, square = self.pairs[:, BLOCK : BLOCK + n], self.square[:, :n]
        hit, gap, low = self.hit[:, :n], self.gap[:, :n], self.low[:n]
        for c, coordinate in enumerate(self.coordinates):
            own, out = coordinate[BLOCK : BLOCK + n], square if c else distance
            _square_of_difference(self._moved(coordinate, first, 1, n), own, out)
            if c:
                np.add(distance, square, out=distance)
        later, earlier = self._moved(self.code, first, 1, n), self._moved(self.code, BLOCK, -1, n)
        if self.theiler:  # |i - j| <= theiler, where negative numbers wrap around to large ones
            np.subtract(later, self.code[BLOCK : BLOCK + n], out=gap)
            np.add(gap, gap.dtype.type(self.theiler), out=gap)
            np.less_equal(gap, 2 * self.theiler, out=hit)
            np.copyto(distance, math.inf, where=hit)
        np.minimum.reduce(distance, 0, out=low)
        if skip_zero and not low.all():
            np.copyto(distance, math.inf, where=distance == 0)
            np.minimum.reduce(distance, 0, out=low)
        # Each pair serves both its vectors: read along the diagonal, it is by its later rank.
        rank, column, one = self.pairs.strides
        strides = (rank - column, column, one)
        diagonal = np.ndarray(distance.shape, float, self.pairs, BLOCK * column, strides)
        self._offer(here, low)
        self._offer(after, np.minimum.reduce(diagonal, 0, out=low))
        for ranks, by_rank, others in ((here, distance, later), (after, diagonal, earlier)):
            np.equal(by_rank, self.best[ranks], out=hit)
            np.multiply(hit.view(np.uint8), others, out=gap)
            np.maximum(self.name[ranks], gap.max(0), out=self.name[ranks])

    def _offer(self, ranks: slice, low: np.ndarray) -> None:
        """Lower `best` to `low`, and forget the name of what was the nearest where it is not."""
        best, name = self.best[ranks], self.name[ranks]
        kept = np.less_equal(best, low, out=self.hit[0, : len(low)])
        np.multiply(name, kept.view(np.uint8), out=name)
        np.minimum(low, best, out=best)

    def _still_open(self, reach: int) -> np.ndarray:
        """Which vectors (M, T) may have a neighbour, or one as near, beyond `reach` ranks."""
        is_open = np.zeros((self.n_points, self.n_series), bool)
        n = self.n_points - reach - 1
        if n > 0:
            first = self.coordinates[0][BLOCK:-BLOCK]
            gap = np.subtract(first[reach + 1 :], first[:n], out=self.low[:n])
            np.multiply(gap, gap, out=gap)
            for ranks in (slice(n), slice(reach + 1, None)):
                is_open[ranks] |= gap <= self.best[ranks]
        return is_open

    def _compare_few(self, left: np.ndarray, reach: int, skip_zero: bool) -> None:
        """Compare those at the positions `left` with ranks beyond `reach`, till none is open."""
        first, n_series, further = self.coordinates[0].reshape(-1), self.n_series, BLOCK // 2
        best, name, code = (a.reshape(-1) for a in (self.best, self.name, self.code))
        while reach < self.n_points - 1 and len(left):
            at = left + BLOCK * n_series  # in the arrays with more rows
            apart = np.arange(reach + 1, reach + further + 1) * n_series
            others = at + np.concatenate([-apart, apart])[:, None]  # outside: at infinity
            distance = 0.0
            for coordinate in self.coordinates:
                values = coordinate.reshape(-1)
                term = values.take(others, mode="clip")
                term -= values[at]
                term *= term
                distance = distance + term
            codes = code.take(others, mode="clip")
            if self.theiler:
                gap = codes - code[at]
                gap += gap.dtype.type(self.theiler)
                np.copyto(distance, math.inf, where=gap <= 2 * self.theiler)
            low = distance.min(0)
            if skip_zero and not low.all():
                np.copyto(distance, math.inf, where=distance == 0)
                low = distance.min(0)
            before = best[left]
            after = np.minimum(before, low)
            codes *= (distance == after).view(np.uint8)
            best[left] = after
            name[left] = np.maximum(np.where(after < before, 0, name[left]), codes.max(0))
            reach += further
            ends = at + np.array([[-1], [1]]) * (reach + 1) * n_series
            gap = first.take(ends, mode="clip") - first[at]
            left = left[(gap * gap <= after).any(0)]
            # Longer and longer strides for those whose end is not in sight, in bounded memory.
            further = min(2 * further, max(BLOCK, self.square.size // (2 * len(left) + 1)))


def _square_of_difference(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """(a - b)^2 in one pass over memory, which NumPy would take two for."""
    a, b, out = map(torch.from_numpy, (a, b, out))
    square_of_difference(a, b.expand(a.shape), 0, out=out)
