"""Nearest neighbours of delay vectors, exactly, for many series at once.

The delay vector number i of a series is (x_i, x_{i+lag}, ..., x_{i+(dim-1) lag}). For each one this
file finds the vector j that is nearest in the Euclidean norm and more than `theiler` steps away in
time (Theiler 1986). That search is nearly the whole cost of an estimated Lyapunov exponent.

On a CPU each vector is compared with those of nearly the same rank (see `ranks`); on a GPU all
pairs are compared (see `blocks`). Nothing is approximated: the winner is that of a plain double
loop in float64, ties included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import torch

from causalprune_lib._validation import check_int

# ---- buffers: What makes the neighbour search fast: memory used again, and a running minimum tha


# (a - b)^2 in one pass over memory: square_of_difference(a, b, 0, out=c); 0 means "not summed".
square_of_difference = torch.ops.aten.mse_loss.out


class Buffers:
    """Named pieces of uninitialised memory, handed out again and again.

    Fresh memory comes from the operating system page by page, which costs more than the arithmetic
    done on it here.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, torch.dtype], torch.Tensor] = {}
        self._parts: dict[str, Buffers] = {}

    def get(self, name: str, like: torch.Tensor, *shape: int, dtype=torch.float64) -> torch.Tensor:
        """A tensor of this shape on the device of `like`; overwrites the last one of this name."""
        size = math.prod(shape)
        held = self._held.get((name, dtype))
        if held is None or held.numel() < size or held.device != like.device:
            held = torch.empty(size, dtype=dtype, device=like.device)
            self._held[name, dtype] = held
        return held[:size].view(shape)

    def part(self, name: str) -> Buffers:
        """Buffers with names of their own, kept with these."""
        return self._parts.setdefault(name, Buffers())

    @property
    def nbytes(self) -> int:
        """Bytes held, parts included."""
        own = sum(tensor.nbytes for tensor in self._held.values())
        return own + sum(part.nbytes for part in self._parts.values())


_SPARE: list[tuple[int, Buffers]] = []  # with their bytes; safe to append and pop in threads


KEPT_BYTES = 256 * 2**20


@contextmanager
def spare_buffers(device: torch.device) -> Iterator[Buffers]:
    """Buffers for the time of a `with` block: those of an earlier call where there are any.

    At most 256 MiB are kept between calls, and none on a GPU, where PyTorch does so itself.

    Examples
    --------
    >>> with spare_buffers(torch.device("cpu")) as first:
    ...     _ = first.get("x", torch.empty(0), 10)
    >>> with spare_buffers(torch.device("cpu")) as second:
    ...     second is first
    True
    """
    try:
        buffers = _SPARE.pop()[1] if device.type == "cpu" else Buffers()
    except IndexError:
        buffers = Buffers()
    yield buffers
    size = buffers.nbytes
    if device.type == "cpu" and size + sum(other for other, _ in list(_SPARE)) <= KEPT_BYTES:
        _SPARE.append((size, buffers))


class Lowest:
    """The smallest value offered so far, element by element, and the number of that offer.

    Parameters
    ----------
    best : tensor of float64
        Overwritten with the values; start it at infinity.
    number : tensor of int32, same shape
        Overwritten with the numbers; start it at 0.
    hit : tensor of bool, same shape
        Scratch memory.

    Examples
    --------
    >>> best, number = torch.tensor([5.0, 1.0]).double(), torch.zeros(2, dtype=torch.int32)
    >>> lowest = Lowest(best, number, torch.empty(2, dtype=torch.bool))
    >>> lowest.offer(torch.tensor([3.0, 3.0]).double(), 7, or_equal=False)
    >>> best.tolist(), number.tolist()
    ([3.0, 1.0], [7, 0])
    """

    def __init__(self, best: torch.Tensor, number: torch.Tensor, hit: torch.Tensor):
        self._best, self._number, self._hit = best, number, hit

    def offer(self, value: torch.Tensor, k: int, *, or_equal: bool) -> None:
        """Take `value` where it is less (or equal) as number k."""
        compare = torch.less_equal if or_equal else torch.less
        compare(value, self._best, out=self._hit)
        torch.minimum(value, self._best, out=self._best)
        self._number.masked_fill_(self._hit, k)


# ---- chunks: Going through many series piece by piece: bounded memory, every CPU core at work.


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


# ---- blocks: Nearest neighbours of delay vectors by comparing all pairs: the search on a GPU.


GPU_BLOCK = 6  # time distances per block


class BlockSearch:
    """A search with fixed settings; see `NeighbourSearch`, whose call it shares.

    Examples
    --------
    >>> search = BlockSearch(n_points=5, dim=1, lag=1, theiler=0, ties="first", memory=Buffers())
    >>> index, squared = search(torch.tensor([0.0, 3.0, 1.0, 3.5, 0.2])[:, None].double())
    >>> index[:, 0].tolist()
    [4, 3, 4, 1, 0]
    """

    def __init__(
        self, *, n_points: int, dim: int, lag: int, theiler: int, ties: str, memory: Buffers
    ):
        self.n_points, self.dim, self.lag, self.theiler = n_points, dim, lag, theiler
        self.ties, self.span, self.block = ties, (dim - 1) * lag, GPU_BLOCK
        self._buffer = memory.get
        self._laid_out_for: tuple | None = None

    @property
    def bytes_per_series(self) -> int:
        """Working memory that one series of a batch takes."""
        return 8 * (self.n_points + self.span + 2 * GPU_BLOCK) * (2 * GPU_BLOCK + self.span + 13)

    def __call__(
        self, x: torch.Tensor, *, skip_zero: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Index and squared distance (M, B) of each vector's neighbour, from `x` (W, B)."""
        if self._laid_out_for != (x.shape[1], x.device):
            self._lay_out(x)
            self._laid_out_for = (x.shape[1], x.device)
        self._fill(x)
        self._find_blocks(skip_zero)
        return self._name_winners(skip_zero)

    def _lay_out(self, x: torch.Tensor) -> None:
        """Name the buffers for this many series, and the views of them that each block works on."""
        m, b, span, n_series = self.n_points, self.block, self.span, x.shape[1]

        def buffer(name, *shape, dtype=torch.float64):
            return self._buffer(name, x, *shape, n_series, dtype=dtype)

        self._padded = padded = buffer("padded", m + span + 2 * b)
        self._before, self._after = buffer("before", m), buffer("after", m)  # best j < i, j > i
        self._in_before = buffer("in_before", m, dtype=torch.int32)  # the block it was in
        self._in_after = buffer("in_after", m, dtype=torch.int32)
        # Row r holds the pairs (i, j = i + s0 + r) at column b + i. Read along the diagonal, the
        # same memory has them by j; the margin of b columns stands for i < 0.
        self._pairs = pairs = buffer("pairs", b, b + m)
        row, column, one = pairs.stride()
        self._blocks = []
        for k, s0 in enumerate(range(self.theiler + 1, m, b)):
            n = m - s0  # pairs (i, i + s0 + r), i < n; those that do not exist meet the padding
            square, low = buffer("square", b, n + span), buffer("low", n)
            hit = buffer("hit", n, dtype=torch.bool)
            block = {
                "k": k,
                "shifted": padded.as_strided(
                    square.shape, (n_series, *padded.stride()), (b + s0) * n_series
                ),
                "own": padded[b : b + n + span].expand(square.shape),
                "square": square,
                "terms": [square[:, c * self.lag : c * self.lag + n] for c in range(self.dim)],
                "distance": pairs[:, b : b + n],
                "by_j": pairs.as_strided((b, n, n_series), (row - column, column, one), b * column),
                "low": low,
                "before": Lowest(self._before[s0:], self._in_before[s0:], hit),
                "after": Lowest(self._after[:n], self._in_after[:n], hit),
            }
            self._blocks.append(SimpleNamespace(**block))

    def _fill(self, x: torch.Tensor) -> None:
        end = self.block + self.n_points + self.span
        self._padded[: self.block] = math.inf
        self._padded[self.block : end] = x[: self.n_points + self.span]
        self._padded[end:] = math.inf
        self._pairs[:, : self.block] = math.inf
        for best in (self._before, self._after):
            best.fill_(math.inf)
        for number in (self._in_before, self._in_after):
            number.zero_()

    def _find_blocks(self, skip_zero: bool) -> None:
        """For each vector: the smallest squared distance before and after it, and their blocks."""
        # Time distances grow, so on a tie a later block holds an earlier j < i and a later j > i.
        first = self.ties == "first"
        for block in self._blocks:
            square_of_difference(block.shifted, block.own, 0, out=block.square)
            distance, terms = block.distance, block.terms
            if self.dim == 1:
                distance.copy_(terms[0])
            else:
                torch.add(terms[0], terms[1], out=distance)
            for term in terms[2:]:
                distance += term
            if skip_zero:
                distance.masked_fill_(distance == 0, math.inf)
            torch.amin(block.by_j, 0, out=block.low)
            block.before.offer(block.low, block.k, or_equal=first)
            torch.amin(distance, 0, out=block.low)
            block.after.offer(block.low, block.k, or_equal=not first)

    def _name_winners(self, skip_zero: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Look again at the candidates of each vector's best block and return the nearest one."""
        m, block, padded = self.n_points, self.block, self._padded
        n_series = padded.shape[1]

        def buffer(name, *shape, dtype=torch.float64):
            return self._buffer(name, padded, *shape, n_series, dtype=dtype)

        start = self._smallest_candidates(buffer)  # (M, B)
        flat = torch.add(start, block, out=buffer("flat", m, dtype=torch.int64)).mul_(n_series)
        flat += torch.arange(n_series, device=padded.device)
        own = [padded[block + c * self.lag :][:m] for c in range(self.dim)]
        squared = buffer("squared", m).fill_(math.inf)
        chosen = buffer("chosen", m, dtype=torch.int32).zero_()
        lowest = Lowest(squared, chosen, buffer("hits", m, dtype=torch.bool))
        distance, term = buffer("distance", m), buffer("term", m)
        near = buffer("near", self.span + 1, m)  # a ring: near[o % (span + 1)] is x at start + o

        def read(o: int) -> None:
            source = padded.view(-1)[o * n_series :]
            torch.index_select(source, 0, flat.view(-1), out=near[o % len(near)].view(-1))

        # Candidates in the order in which the first of equally near ones is to be kept.
        forward = self.ties == "first"
        for o in range(self.span) if forward else range(block, block + self.span):
            read(o)
        for turn in range(block):
            q = turn if forward else block - 1 - turn
            read(q + self.span if forward else q)
            for c in range(self.dim):
                out = term if c else distance
                square_of_difference(near[(q + c * self.lag) % len(near)], own[c], 0, out=out)
                if c:
                    distance += term
            if skip_zero:
                distance.masked_fill_(distance == 0, math.inf)
            lowest.offer(distance, turn, or_equal=False)
        torch.minimum(self._before, self._after, out=squared)  # the same, but infinite where none
        return start.add_(chosen if forward else block - 1 - chosen), squared

    def _smallest_candidates(self, buffer) -> torch.Tensor:
        """The first of the `block` consecutive j among which each vector's neighbour is."""
        m, block, first_step = self.n_points, self.block, self.theiler + 1
        i = torch.arange(m, dtype=torch.float64, device=self._padded.device)[:, None]
        # In float64, whose products are faster than those of integers, and as exact here.
        in_before = buffer("start_before", m).copy_(self._in_before).mul_(-block)
        in_before += i - (first_step + block - 1)
        in_after = buffer("start_after", m).copy_(self._in_after).mul_(block)
        in_after += i + first_step
        is_before = (
            self._before <= self._after if self.ties == "first" else self._before < self._after
        )
        torch.where(is_before, in_before, in_after, out=in_after).clamp_(-block, m - 1)
        return buffer("start", m, dtype=torch.int64).copy_(in_after)


# ---- ranks: Nearest neighbours of delay vectors among those of nearly the same rank: the search


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


# ---- neighbours: Nearest neighbours of delay vectors, exactly, for many series at once.


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
