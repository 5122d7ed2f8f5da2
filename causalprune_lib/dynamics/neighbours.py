"""Nearest neighbours of delay vectors, exactly, for many series at once.

The delay vector number i of a series is (x_i, x_{i+lag}, ..., x_{i+(dim-1) lag}). For each one this
file finds the vector j that is nearest in the Euclidean norm and more than `theiler` steps away in
time (Theiler, Phys. Rev. A 34, 1986). Nothing is approximated: the winner is that of a plain double
loop in float64, ties included.

On a GPU all pairs are compared. On a CPU the vectors of a series are sorted by their first
coordinate, and each is compared with those 1, 2, 3, ... places away in that order. Once the first
coordinates alone are farther apart than the nearest vector found so far, the search for that vector
is over: both sides are rounded in the same way, so this holds in floating point as on paper. The
few vectors that stay open are compared with all others, in longer and longer strides.

Time, or the place in the order, comes first and the series last: memory is contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

AT_ONCE = 8  # places in the order that are compared in one call of each operation
MANY = 1 / 5  # share of the vectors; to look at fewer one by one costs less than at all
TILE_BYTES = 3 * 2**19  # of AT_ONCE distances; what else is in use takes as much again
SLAB = 64  # vectors that are compared with all others in one go on a GPU
CPU_BYTES_PER_THREAD = 24 * 2**20  # of `in_chunks`: stays near the caches
GPU_BYTES = 2**30
KEPT_BYTES = 256 * 2**20  # of memory that is kept for the next call

Spans = list[tuple[int, int]]

# (a - b)^2 in one pass over memory: square_of_difference(a, b, 0, out=c); 0 means "not summed".
square_of_difference = torch.ops.aten.mse_loss.out


class NeighbourSearch:
    """A search with fixed settings, which keeps its memory from one batch of series to the next.

    The first M = `n_points` delay vectors of each series take part, and pairs with |i - j| <=
    theiler are left out. Of equally near ones the earliest wins, or the latest with `ties="last"`.
    """

    def __init__(
        self,
        n_points: int,
        *,
        dim: int,
        lag: int,
        theiler: int,
        ties: str = "first",
        memory: Buffers | None = None,
    ) -> None:
        self.n_points, self.dim, self.lag, self.theiler = n_points, dim, lag, theiler
        self.ties, self._memory = ties, Buffers() if memory is None else memory
        self._tile: _Tile | None = None

    def bytes_per_series(self, device: torch.device) -> int:
        """Working memory that one series of a batch takes."""
        on_gpu = 24 * min(SLAB, self.n_points)  # distances and what they are made of
        return self.n_points * (16 + (on_gpu if device.type != "cpu" else 0))

    def __call__(
        self, x: torch.Tensor, *, skip_zero: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Nearest neighbour of every delay vector of `x` (W, B), finite float64, time first.

        With `skip_zero` pairs at distance 0, repeated vectors, are left out. Returns the index
        (M, B) of the neighbour, meaningless where there is none, and the squared distance (M, B)
        to it, infinite where there is none. The next call overwrites both.
        """
        if x.device.type != "cpu":
            return self._compare_all(x, skip_zero)
        n = x.shape[1]
        index = self._memory.get("index", x, self.n_points, n, dtype=torch.int64)
        squared = self._memory.get("squared", x, self.n_points, n)
        at_once = max(1, TILE_BYTES // (8 * AT_ONCE * self.n_points))
        size = math.ceil(n / math.ceil(n / at_once))
        if self._tile is None or self._tile.n_series != size:
            self._tile = _Tile(self, size, self._memory)
        for start in range(0, n, size):
            some = slice(min(start, n - size), start + size)  # the last may overlap the one before
            found = self._tile(x.numpy()[:, some], skip_zero)
            index.numpy()[:, some], squared.numpy()[:, some] = found
        return index, squared

    def _compare_all(self, x: torch.Tensor, skip_zero: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Index and squared distance (M, B): each slab of vectors against all others."""
        m, time = self.n_points, torch.arange(self.n_points, device=x.device)
        others = time if self.ties == "first" else time.flip(0)  # the first of equals is kept
        index = x.new_empty((m, x.shape[1]), dtype=torch.int64)
        squared = x.new_empty((m, x.shape[1]))
        for start in range(0, m, SLAB):
            slab = slice(start, min(start + SLAB, m))
            distance = x.new_zeros(())
            for c in range(self.dim):
                coordinate = x[c * self.lag :][:m]
                gap = coordinate[slab, None] - coordinate[others]  # (SLAB, M, B)
                distance = gap.square_() if c == 0 else distance.add_(gap.square_())
            too_near = (time[slab, None] - others).abs() <= self.theiler
            distance.masked_fill_(too_near[:, :, None], math.inf)
            if skip_zero:
                distance.masked_fill_(distance == 0, math.inf)
            squared[slab], place = distance.min(1)  # the first of equally small ones
            index[slab] = others[place]
        return index, squared


class _Tile:
    """The search for so many series that its memory, which is used again, stays in a core's cache.

    Arrays by place in the order have AT_ONCE rows more at either end, so that they can be read as
    if moved by up to that many places. `tag` names the vectors so that the one to keep among
    equally near ones has the largest tag; 0 stands for none.
    """

    def __init__(self, search: NeighbourSearch, n_series: int, memory: Buffers) -> None:
        self.n_points, self.lag, self.theiler = search.n_points, search.lag, search.theiler
        self.first_wins, self.n_series = search.ties == "first", n_series
        m, padded = self.n_points, self.n_points + 2 * AT_ONCE
        tags = np.min_scalar_type(m + self.theiler)  # so that differences may wrap around
        number = np.arange(m)
        self.tags = (m - number if self.first_wins else number + 1).astype(tags)

        def array(name: str, *lead: int, dtype=np.float64) -> np.ndarray:
            size = math.prod(lead) * n_series * np.dtype(dtype).itemsize
            held = memory.get(f"tile {name}", torch.empty(0), size, dtype=torch.uint8).numpy()
            return held.view(dtype).reshape(*lead, n_series)

        self.tag = array("tag", padded, dtype=tags)
        self.coordinates = [array(f"coordinate {c}", padded) for c in range(search.dim)]
        # Row r, column AT_ONCE + n: the pair of places n and n + reach + 1 + r.
        self.pairs, self.square = array("pairs", AT_ONCE, m + AT_ONCE), array("square", AT_ONCE, m)
        self.gap = array("gap", AT_ONCE, m, dtype=tags)
        self.hit = array("hit", AT_ONCE, m, dtype=bool)
        self.best, self.winner = array("best", m), array("winner", m, dtype=tags)
        self.low, self.squared = array("low", m), array("squared", m)
        self.index = array("index", m, dtype=np.int64)
        self.tag.fill(0)
        self.pairs.fill(math.inf)
        for c, coordinate in enumerate(self.coordinates):
            coordinate.fill(0.0 if c else math.inf)

    def __call__(self, x: np.ndarray, skip_zero: bool) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours and squared distances (M, T) from `x` (W, T); overwritten by the next call."""
        m, inside = self.n_points, slice(AT_ONCE, AT_ONCE + self.n_points)
        x = np.ascontiguousarray(x)
        order = x[:m].argsort(0)
        flat = order * self.n_series + np.arange(self.n_series)
        np.take(self.tags, order, out=self.tag[inside], mode="clip")
        for c, coordinate in enumerate(self.coordinates):
            source = x[c * self.lag :].reshape(-1)
            np.take(source, flat, out=coordinate[inside], mode="clip")
        self.best.fill(math.inf)
        self.winner.fill(0)
        reach, is_open = 0, np.ones(order.shape, bool)
        while reach < m - 1 and np.count_nonzero(is_open) > MANY * is_open.size:
            self._compare(reach, skip_zero)
            reach += AT_ONCE
            is_open = self._still_open(reach)
        self._compare_few(np.flatnonzero(is_open), reach, skip_zero)
        winner = self.winner.astype(np.int64)
        self.index.reshape(-1)[flat] = m - winner if self.first_wins else winner - 1
        self.squared.reshape(-1)[flat] = self.best
        return self.index, self.squared

    def _moved(self, array: np.ndarray, start: int, down: int, n: int) -> np.ndarray:
        """View (AT_ONCE, n, T) whose row r is `array` from its row start + r * down on."""
        row = array.strides[0]
        shape, strides = (AT_ONCE, n, self.n_series), (down * row, row, array.itemsize)
        return np.ndarray(shape, array.dtype, array, start * row, strides)

    def _compare(self, reach: int, skip_zero: bool) -> None:
        """Compare all vectors with those reach + 1 to reach + AT_ONCE places away."""
        n, first = self.n_points - reach - 1, AT_ONCE + reach + 1
        here, after = slice(n), slice(reach + 1, None)  # the earlier and the later one of a pair
        own = slice(AT_ONCE, AT_ONCE + n)
        distance, square = self.pairs[:, own], self.square[:, :n]
        hit, gap, low = self.hit[:, :n], self.gap[:, :n], self.low[:n]
        for c, coordinate in enumerate(self.coordinates):
            moved, out = self._moved(coordinate, first, 1, n), square if c else distance
            a, b = torch.from_numpy(moved), torch.from_numpy(coordinate[own])
            square_of_difference(a, b.expand(a.shape), 0, out=torch.from_numpy(out))
            if c:
                np.add(distance, square, out=distance)
        later, earlier = self._moved(self.tag, first, 1, n), self._moved(self.tag, AT_ONCE, -1, n)
        if self.theiler:  # |i - j| <= theiler, where negative numbers wrap around to large ones
            np.subtract(later, self.tag[own], out=gap)
            np.add(gap, gap.dtype.type(self.theiler), out=gap)
            np.less_equal(gap, 2 * self.theiler, out=hit)
            np.copyto(distance, math.inf, where=hit)
        np.minimum.reduce(distance, 0, out=low)
        if skip_zero and not low.all():
            np.copyto(distance, math.inf, where=distance == 0)
            np.minimum.reduce(distance, 0, out=low)
        # Each pair serves both its vectors: read along the diagonal, it is by its later one.
        row, column, one = self.pairs.strides
        strides = (row - column, column, one)
        diagonal = np.ndarray(distance.shape, float, self.pairs, AT_ONCE * column, strides)
        self._lower_best(here, low)
        self._lower_best(after, np.minimum.reduce(diagonal, 0, out=low))
        for places, pairs, others in ((here, distance, later), (after, diagonal, earlier)):
            np.equal(pairs, self.best[places], out=hit)
            np.multiply(hit.view(np.uint8), others, out=gap)
            np.maximum(self.winner[places], gap.max(0), out=self.winner[places])

    def _lower_best(self, places: slice, low: np.ndarray) -> None:
        """Lower `best` to `low`, and forget the winner where another is nearer now."""
        best, winner = self.best[places], self.winner[places]
        kept = np.less_equal(best, low, out=self.hit[0, : len(low)])
        np.multiply(winner, kept.view(np.uint8), out=winner)
        np.minimum(low, best, out=best)

    def _still_open(self, reach: int) -> np.ndarray:
        """Which vectors (M, T) may have a neighbour, or one as near, beyond `reach` places."""
        is_open = np.zeros((self.n_points, self.n_series), bool)
        n = self.n_points - reach - 1
        if n > 0:
            first = self.coordinates[0][AT_ONCE:-AT_ONCE]
            gap = np.subtract(first[reach + 1 :], first[:n], out=self.low[:n])
            np.multiply(gap, gap, out=gap)
            for places in (slice(n), slice(reach + 1, None)):
                is_open[places] |= gap <= self.best[places]
        return is_open

    def _compare_few(self, left: np.ndarray, reach: int, skip_zero: bool) -> None:
        """Compare those at the positions `left` with places beyond `reach`, till none is open."""
        first, n_series, stride = self.coordinates[0].reshape(-1), self.n_series, AT_ONCE // 2
        best, winner, tag = (a.reshape(-1) for a in (self.best, self.winner, self.tag))
        while reach < self.n_points - 1 and len(left):
            at = left + AT_ONCE * n_series  # in the arrays with more rows
            apart = np.arange(reach + 1, reach + stride + 1) * n_series
            others = at + np.concatenate([-apart, apart])[:, None]  # outside: at infinity
            distance = 0.0
            for coordinate in self.coordinates:
                values = coordinate.reshape(-1)
                term = values.take(others, mode="clip")
                term -= values[at]
                term *= term
                distance = distance + term
            tags = tag.take(others, mode="clip")
            if self.theiler:
                gap = tags - tag[at]
                gap += gap.dtype.type(self.theiler)
                np.copyto(distance, math.inf, where=gap <= 2 * self.theiler)
            low = distance.min(0)
            if skip_zero and not low.all():
                np.copyto(distance, math.inf, where=distance == 0)
                low = distance.min(0)
            before = best[left]
            after = np.minimum(before, low)
            tags *= (distance == after).view(np.uint8)
            best[left] = after
            winner[left] = np.maximum(np.where(after < before, 0, winner[left]), tags.max(0))
            reach += stride
            ends = at + np.array([[-1], [1]]) * (reach + 1) * n_series
            gap = first.take(ends, mode="clip") - first[at]
            left = left[(gap * gap <= after).any(0)]
            # Longer strides for those whose end is not in sight, in bounded memory.
            stride = min(2 * stride, max(AT_ONCE, self.square.size // (2 * len(left) + 1)))


class Buffers:
    """Named pieces of uninitialised memory, handed out again and again.

    Fresh memory comes from the operating system page by page, which costs more than the arithmetic
    done on it here. A GPU's memory is not kept: PyTorch does that itself.
    """

    def __init__(self) -> None:
        self._held: dict[str, torch.Tensor] = {}

    def get(self, name: str, like: torch.Tensor, *shape: int, dtype=torch.float64) -> torch.Tensor:
        """A tensor of this shape on the device of `like`; overwrites the last one of this name."""
        if like.device.type != "cpu":
            return like.new_empty(shape, dtype=dtype)
        size = math.prod(shape)
        held = self._held.get(name)
        if held is None or held.numel() < size or held.dtype != dtype:
            held = self._held[name] = torch.empty(size, dtype=dtype)
        return held[:size].view(shape)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(tensor.nbytes for tensor in self._held.values())


_SPARE: list[Buffers] = []  # safe to append and pop in threads


@contextmanager
def spare_buffers() -> Iterator[Buffers]:
    """Buffers for the time of a `with` block: those of an earlier call where some are kept."""
    try:
        buffers = _SPARE.pop()
    except IndexError:
        buffers = Buffers()
    yield buffers
    if sum(other.nbytes for other in [buffers, *_SPARE]) <= KEPT_BYTES:
        _SPARE.append(buffers)


def in_chunks(
    work: Callable[[Spans], None],
    n: int,
    *,
    bytes_each: int,
    chunk_bytes: int | None,
    device: torch.device,
) -> None:
    """Call `work` on lists of spans (start, stop) that cover 0..n-1, in bounded memory.

    Once with all spans on a GPU, once per thread on a CPU, each with a part of them; not at all
    where n is 0. Each of the n takes `bytes_each`, and all threads together take `chunk_bytes`: by
    default 24 MiB for each CPU thread, or 1 GiB on a GPU, and never less than one of the n.
    """
    before, on_cpu = torch.get_num_threads(), device.type == "cpu"
    threads = before if on_cpu else 1
    if chunk_bytes is None:
        chunk_bytes = CPU_BYTES_PER_THREAD * threads if on_cpu else GPU_BYTES
    budget = chunk_bytes // threads
    if n == 0:
        return
    n_chunks = math.ceil(n / max(1, budget // bytes_each))
    if n_chunks > 1:
        n_chunks = math.ceil(n_chunks / threads) * threads
    size = math.ceil(n / n_chunks)
    spans = [(start, min(start + size, n)) for start in range(0, n, size)]
    workers = min(threads, len(spans))
    try:
        # A chunk per thread, or one thread for all, beats splitting each of many small operations
        # between the threads: that can take ten times as long where other programs use the cores.
        if workers > 1:
            setting = {"initializer": torch.set_num_threads, "initargs": (1,)}
            with ThreadPoolExecutor(workers, **setting) as pool:
                list(pool.map(work, [spans[i::workers] for i in range(workers)]))
        else:
            torch.set_num_threads(1 if on_cpu else before)
            work(spans)
    finally:
        torch.set_num_threads(before)
