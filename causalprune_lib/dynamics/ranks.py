"""Nearest neighbours of delay vectors among those of nearly the same rank: the search on a CPU.

Vectors that are close have first coordinates that are close. So the vectors of a series are sorted
by their first coordinate, and each is compared with those 1, 2, 3, ... ranks away. Once the first
coordinates alone are farther apart than the nearest vector found so far, no other can be nearer and
the search for that vector is over. Both sides are rounded in the same way, so this holds in
floating point as it does on paper. A walk needs about 6 ranks, 200 points of noise about 20.

All vectors of many series go one rank further at a time. Ranks come first and the series last, so
that every operation runs over contiguous memory. The operations are NumPy's, whose comparisons take
a quarter of PyTorch's time.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from causalprune_lib.dynamics.buffers import Buffers, square_of_difference

BLOCK = 8  # ranks between two looks at what is still open
FEW = 16  # vectors per series, on average, that cost less to compare with all than a BLOCK more
WORTHWHILE = 1 / 6  # of all ranks; beyond, comparing all pairs costs less
PAIRS_AT_ONCE = 2**17  # when comparing with all, beyond the memory of a series


class RankedSearch:
    """A search with fixed settings; see `NeighbourSearch` for them.

    Examples
    --------
    >>> search = RankedSearch(n_points=5, dim=1, lag=1, theiler=0, ties="first", memory=Buffers())
    >>> x = torch.tensor([0.0, 3.0, 1.0, 3.5, 0.2])[:, None].double()
    >>> index, squared = torch.zeros(5, 1, dtype=torch.int64), torch.zeros(5, 1).double()
    >>> search(x, index, squared, skip_zero=False)
    tensor([], dtype=torch.int64)
    >>> index[:, 0].tolist()
    [4, 3, 4, 1, 0]
    """

    def __init__(
        self, *, n_points: int, dim: int, lag: int, theiler: int, ties: str, memory: Buffers
    ):
        self.n_points, self.dim, self.lag, self.theiler = n_points, dim, lag, theiler
        self.ties = ties
        self._codes = np.min_scalar_type(n_points + theiler)  # so that differences may wrap around
        self._held = memory

    @property
    def bytes_per_series(self) -> int:
        """Working memory that one series of a batch takes."""
        return 8 * (self.n_points * (BLOCK + self.dim + 13) + (self.dim - 1) * self.lag)

    @property
    def promising(self) -> bool:
        """Whether ranks are likely to settle most vectors at less than the cost of all pairs.

        M points of noise have their neighbours within about M^(1 - 1/dim) ranks.
        """
        m = self.n_points
        return 1.2 * m ** (1 - 1 / self.dim) + self.theiler <= WORTHWHILE * m

    def __call__(
        self, x: torch.Tensor, index: torch.Tensor, squared: torch.Tensor, *, skip_zero: bool
    ) -> torch.Tensor:
        """Fill in `index` and `squared` (M, B) from `x` (W, B), all contiguous.

        Returns
        -------
        tensor (n,) of int64
            Positions i * B + b of the vectors whose neighbour may lie farther away in rank: their
            values are not to be used.
        """
        m = self.n_points
        place, code, coordinates = self._sorted(x)
        best, before = self._get("best", x), self._get("before", x)
        name = self._get_codes("name", x)
        best.fill(math.inf)
        name.fill(0)
        reach, farthest = 0, min(m - 1, max(BLOCK, math.ceil(WORTHWHILE * m)))
        while True:
            ranks = range(reach + 1, min(reach + BLOCK, m - 1) + 1)
            np.copyto(before, best)
            distances = self._distances(x, ranks, code, coordinates, skip_zero)
            for r, distance in zip(ranks, distances, strict=True):
                np.minimum(best[:-r], distance, out=best[:-r])
                np.minimum(best[r:], distance, out=best[r:])
            self._name(x, ranks, distances, best, before, code, name)
            reach += len(ranks)
            is_open = self._still_open(x, reach, coordinates[0], best)
            if np.count_nonzero(is_open) <= FEW * x.shape[1] or reach >= farthest:
                break
        # From code to number; what wraps around below zero is open.
        number = np.subtract(m, name, dtype=np.int64) if self.ties == "first" else name - 1
        index.numpy().reshape(-1)[place] = number
        squared.numpy().reshape(-1)[place] = best
        return torch.from_numpy(place[is_open])

    def _get(self, name: str, x: torch.Tensor, *lead: int, dtype=torch.float64) -> np.ndarray:
        return self._held.get(name, x, *lead, self.n_points, x.shape[1], dtype=dtype).numpy()

    def _get_codes(self, name: str, x: torch.Tensor) -> np.ndarray:
        signed = {1: torch.int8, 2: torch.int16, 4: torch.int32}[self._codes.itemsize]
        return self._get(name, x, dtype=signed).view(self._codes)

    def _sorted(self, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """By rank: position i * B + b, code of i, and the coordinates of the vectors, (M, B)."""
        m, n_series = self.n_points, x.shape[1]
        order = np.ascontiguousarray(x[:m].numpy().T).argsort(1)  # (B, M)
        place = self._get("place", x, dtype=torch.int64)
        np.multiply(order.T, n_series, out=place)
        place += np.arange(n_series)
        # The neighbour to keep among equally near ones has the largest code; 0 stands for none.
        code = self._get_codes("code", x)
        codes = np.arange(m, 0, -1) if self.ties == "first" else np.arange(1, m + 1)
        np.copyto(code, codes.astype(self._codes)[order].T)
        coordinates = []
        for c in range(self.dim):
            coordinate = self._get(f"coordinate {c}", x)
            source = x.view(-1)[c * self.lag * n_series :]
            out = torch.from_numpy(coordinate).view(-1)
            torch.index_select(source, 0, torch.from_numpy(place).view(-1), out=out)
            coordinates.append(coordinate)
        return place, code, coordinates

    def _distances(self, x, ranks, code, coordinates, skip_zero) -> list[np.ndarray]:
        """For each r: squared distances (M-r, B) of the vectors of ranks n and n + r."""
        hits, gaps = self._get("hit", x, dtype=torch.bool), self._get_codes("gap", x)
        squares = self._get("square", x)
        distances = []
        for r, whole in zip(ranks, self._get("distances", x, BLOCK), strict=False):
            n = self.n_points - r
            distance, square, hit, gap = whole[:n], squares[:n], hits[:n], gaps[:n]
            for c, coordinate in enumerate(coordinates):
                out = square if c else distance
                np.subtract(coordinate[r:], coordinate[:n], out=out)
                np.multiply(out, out, out=out)
                if c:
                    distance += square
            if self.theiler:  # |i - j| <= theiler, where negative numbers wrap around to large ones
                np.subtract(code[r:], code[:n], out=gap)
                gap += self._codes.type(self.theiler)
                np.less_equal(gap, 2 * self.theiler, out=hit)
                np.copyto(distance, math.inf, where=hit)
            if skip_zero:
                np.equal(distance, 0, out=hit)
                np.copyto(distance, math.inf, where=hit)
            distances.append(distance)
        return distances

    def _name(self, x, ranks, distances, best, before, code, name) -> None:
        """Set `name` to the largest code of the vectors found at distance `best`."""
        hits, found = self._get("hit", x, dtype=torch.bool), self._get_codes("gap", x)
        np.less(best, before, out=hits)
        np.copyto(name, 0, where=hits)
        for r, distance in zip(ranks, distances, strict=True):
            n = self.n_points - r
            hit, one = hits[:n], found[:n]
            for here, there in ((slice(n), slice(r, None)), (slice(r, None), slice(n))):
                np.equal(distance, best[here], out=hit)
                np.multiply(hit.view(np.uint8), code[there], out=one)
                np.maximum(name[here], one, out=name[here])

    def _still_open(self, x, reach, coordinate, best) -> np.ndarray:
        """Which vectors (M, B) may have a neighbour, or one as near, beyond `reach` ranks."""
        is_open, hits = (self._get(name, x, dtype=torch.bool) for name in ("open", "hit"))
        np.isinf(best, out=is_open)
        n = self.n_points - reach - 1
        if n > 0:
            gap, hit = self._get("square", x)[:n], hits[:n]
            np.subtract(coordinate[reach + 1 :], coordinate[:n], out=gap)
            np.multiply(gap, gap, out=gap)
            for here in (slice(n), slice(reach + 1, None)):
                np.less_equal(gap, best[here], out=hit)
                np.logical_or(is_open[here], hit, out=is_open[here])
        return is_open

    def compare_with_all(
        self,
        x: torch.Tensor,
        left: torch.Tensor,
        index: torch.Tensor,
        squared: torch.Tensor,
        *,
        skip_zero: bool,
    ) -> None:
        """Fill in `index` and `squared` (M, B) at the positions `left`, from all vectors."""
        m, n_series, held = self.n_points, x.shape[1], self._held
        series = held.get("series", x, n_series, len(x)).copy_(x.T)  # (B, W)
        i, b = left // n_series, left % n_series
        own = [x.view(-1)[left + c * self.lag * n_series][:, None] for c in range(self.dim)]
        nearby = torch.arange(-self.theiler, self.theiler + 1)
        nearby = (i[:, None] + nearby).clamp_(0, m - 1)
        found, smallest = torch.empty_like(left), torch.empty(len(left), dtype=x.dtype)
        at_once = max(1, PAIRS_AT_ONCE // m)
        for part in (slice(k, k + at_once) for k in range(0, len(left), at_once)):
            n = len(left[part])
            rows = held.get("rows", x, n, len(x))
            torch.index_select(series, 0, b[part], out=rows)
            distance, square = (held.get(f"{name} of rows", x, n, m) for name in ("sum", "square"))
            for c in range(self.dim):
                others, out = rows[:, c * self.lag :][:, :m], square if c else distance
                square_of_difference(others, own[c][part].expand(n, m), 0, out=out)
                if c:
                    distance += square
            distance.scatter_(1, nearby[part], math.inf)
            if skip_zero:
                distance.masked_fill_(distance == 0, math.inf)
            # The first of the smallest. NumPy's takes a sixth of the time of PyTorch's.
            if self.ties == "first":
                found[part] = torch.from_numpy(distance.numpy().argmin(1))
            else:
                found[part] = m - 1 - torch.from_numpy(distance.flip(1).numpy().argmin(1))
            smallest[part] = distance.gather(1, found[part, None])[:, 0]
        index.view(-1)[left], squared.view(-1)[left] = found, smallest
