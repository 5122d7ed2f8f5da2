"""Nearest neighbours of delay vectors by comparing all pairs: the search on a GPU.

All pairs at one time distance s = j - i are one subtraction of a shifted copy of the series, and
each pair serves both its ends. Time distances go in blocks; a block only leaves behind the smallest
distance of each point, and once all are done the few vectors of each point's winning block are
looked at again to name the neighbour. Time comes first and the series last, so that every operation
runs over contiguous memory.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch

from causalprune_lib.dynamics.buffers import Buffers, Lowest, square_of_difference

BLOCK = 6  # time distances per block


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
        self.ties, self.span, self.block = ties, (dim - 1) * lag, BLOCK
        self._buffer = memory.get
        self._laid_out_for: tuple | None = None

    @property
    def bytes_per_series(self) -> int:
        """Working memory that one series of a batch takes."""
        return 8 * (self.n_points + self.span + 2 * BLOCK) * (2 * BLOCK + self.span + 13)

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
