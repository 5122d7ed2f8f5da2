"""Rosenstein's divergence curve: how fast nearest neighbours of a series part, on average.

For each delay vector i and its nearest neighbour j(i), the distance k steps later is
d_i(k) = |v_{i+k} - v_{j(i)+k}|, and the curve is S(k) = mean_i ln d_i(k) (Rosenstein, Collins and
De Luca, Physica D 65, 1993). Where the series comes from a chaotic system and the first distances
are small, S grows by the largest Lyapunov exponent per step, until it saturates.

Two conventions:

- "embedded": the paper's definition, in the units of the series.
- "tisean": what `lyap_r` of TISEAN (Hegger, Kantz and Schreiber, Chaos 9, 1999) computes when its
  search starts at a radius no smaller than the range of the data, as `-r20` makes it do for network
  weights. The series is rescaled to [0, 1]; a neighbour must be closer than 1 in that unit; the
  last `theiler` vectors have none of their own; equally near neighbours: the latest wins. Where a
  vector has no vector closer than 1 (a step, a lone spike), TISEAN enlarges its radius forever;
  here the series is reported as isolated.

In both, pairs at distance 0 are never neighbours, and S(k) leaves out the pairs whose distance is 0
at step k.
"""

from __future__ import annotations

import math

import torch

from causalprune_lib.dynamics.buffers import Buffers, square_of_difference
from causalprune_lib.dynamics.neighbours import NeighbourSearch

CONVENTIONS = ("embedded", "tisean")
# Why there is no number, by code.
ESTIMATED, TOO_SHORT, NOT_FINITE, CONSTANT, ISOLATED, NO_NEIGHBOUR = range(6)
REASONS = (
    "",
    "too short",
    "not finite",
    "constant",
    "isolated point",
    "no neighbour",
)


class DivergenceCurves:
    """Computes the curves of batches of windows of one width, reusing its memory between batches.

    Parameters
    ----------
    width : int
        W, samples per window; at least (dim - 1) lag + horizon + 2 theiler + 2.
    dim, lag, theiler, horizon : int
        Embedding dimension, delay, Theiler window and number of steps to follow.
    convention : {"embedded", "tisean"}
        See the top of this file.
    memory : Buffers, optional
        Where to work; by default memory of its own.

    Examples
    --------
    >>> curves = DivergenceCurves(
    ...     50, dim=1, lag=1, theiler=0, horizon=2, convention="embedded"
    ... )
    >>> growing = 2.0 ** torch.arange(50, dtype=torch.float64)
    >>> divergence, counts, code = curves(growing[None])
    >>> (divergence.diff() / math.log(2)).round(decimals=9).tolist()
    [[1.0, 1.0]]
    >>> counts.tolist(), code.tolist()
    ([[48, 48, 48]], [0])
    """

    def __init__(
        self,
        width: int,
        *,
        dim: int,
        lag: int,
        theiler: int,
        horizon: int,
        convention: str,
        memory: Buffers | None = None,
    ):
        memory = Buffers() if memory is None else memory
        self.dim, self.lag, self.theiler, self.horizon = dim, lag, theiler, horizon
        self.span = (dim - 1) * lag
        self.n_points = width - self.span - horizon  # M, vectors that can be followed
        self.convention = convention
        ties = "last" if convention == "tisean" else "first"
        self.search = NeighbourSearch(
            n_points=self.n_points,
            dim=dim,
            lag=lag,
            theiler=theiler,
            ties=ties,
            memory=memory.part("search"),
        )
        self._buffer = memory.get

    def bytes_per_window(self, device: torch.device) -> int:
        """Working memory that one window of a batch takes."""
        followed = 8 * self.n_points * (2 * self.horizon + self.span + 9)
        return self.search.bytes_per_series(device) + followed

    def __call__(self, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Curves of `windows` (B, W).

        Returns
        -------
        divergence : tensor (B, horizon+1) of float64
            S(k) in nats; NaN where no pair is left, and throughout where `code` says why.
        counts : tensor (B, horizon+1) of int64
            Pairs behind each S(k).
        code : tensor (B,) of int8
            Index into `REASONS`; 0 where a curve was found.
        """
        x = self._buffer("x", windows, windows.shape[1], windows.shape[0])  # (W, B) time first
        x.copy_(windows.T)
        low, high = x.amin(0), x.amax(0)  # NaN if there is one
        code = torch.zeros(x.shape[1], dtype=torch.int8, device=x.device)
        code[low == high] = CONSTANT
        unusable = ~(torch.isfinite(low) & torch.isfinite(high))
        code[unusable] = NOT_FINITE
        if bool(unusable.any()):
            x.masked_fill_(unusable, 0.0)
            low, high = (bound.masked_fill(unusable, 0.0) for bound in (low, high))
        log_unit = self._rescale(x, low, high)
        if bool((code != ESTIMATED).any()):  # a ramp in their place costs the search the least
            x[:, code != ESTIMATED] = torch.linspace(0, 1, len(x), dtype=x.dtype, device=x.device)[
                :, None
            ]

        index, squared = self.search(x)
        if self.convention == "tisean":
            kept = self.n_points - self.theiler
            lonely = (code == ESTIMATED) & ~(squared[:kept] < 1.0).all(0)
            if bool(lonely.any()):  # only a vector that is never met again is isolated
                index, squared = index.clone(), squared.clone()
                _, nearest = self.search(x[:, lonely], skip_zero=False)
                code[lonely] = torch.where((nearest[:kept] < 1.0).all(0), ESTIMATED, ISOLATED).to(
                    code
                )
            squared[kept:] = math.inf
        total, counts = self._follow(x, index, squared)
        counts[code != ESTIMATED] = 0
        code[(code == ESTIMATED) & (counts == 0).all(1)] = NO_NEIGHBOUR
        divergence = 0.5 * total / counts + log_unit[:, None]
        divergence[counts == 0] = math.nan
        return divergence, counts, code

    def _rescale(self, x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """Change the unit of `x` (W, B) in place; return the log of the new unit (B,).

        A power of two first, so that no square can overflow or vanish: that changes no digit.
        """
        largest = torch.maximum(low.abs(), high.abs())
        unit = torch.where(largest > 0, largest / torch.frexp(largest).mantissa, 1.0)
        unit = unit.clamp(min=2.0**-1000)
        x *= 1 / unit
        if self.convention == "embedded":
            return unit.log()
        low, high = low / unit, high / unit
        x -= low
        x /= torch.where(high > low, high - low, 1.0)
        return torch.zeros_like(unit)

    def _follow(
        self, x: torch.Tensor, index: torch.Tensor, squared: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums over i of ln d_i(k)^2, and how many pairs they hold, both (B, horizon+1).

        Vectors whose `squared` distance to their neighbour is out of range have none.
        """
        m, steps, n_series = self.n_points, self.horizon + 1, x.shape[1]
        limit = 1.0 if self.convention == "tisean" else math.inf
        paired = None if bool((squared.amax(0) < limit).all()) else squared < limit
        flat = self._buffer("flat", x, m, n_series, dtype=torch.int64)
        torch.mul(index, n_series if paired is None else paired * n_series, out=flat)
        flat += torch.arange(n_series, device=x.device)
        gaps = self._buffer("gaps", x, steps + self.span, m, n_series)
        for k, gap in enumerate(gaps):  # (x_{i+k} - x_{j(i)+k})^2
            source = x.view(-1)[k * n_series :]
            torch.index_select(source, 0, flat.view(-1), out=gap.view(-1))
            square_of_difference(gap, x[k : k + m], 0, out=gap)
        distances = self._buffer("distances", x, steps, m, n_series)
        if self.dim == 1:
            distances.copy_(gaps)
        else:
            torch.add(gaps[:steps], gaps[self.lag :][:steps], out=distances)
        for c in range(2, self.dim):
            distances += gaps[c * self.lag :][:steps]
        if paired is not None:
            distances.masked_fill_(~paired, 0.0)
        lowest = float(distances.amin())
        counts = torch.full((n_series, steps), m, device=x.device)
        if lowest == 0:
            is_zero = distances == 0
            counts -= is_zero.sum(1).T
            distances.masked_fill_(is_zero, 1.0)  # whose logarithm adds nothing
            lowest = float(distances.amin())
        return _sum_of_logs(distances, lowest).T, counts


def _sum_of_logs(values: torch.Tensor, lowest: float) -> torch.Tensor:
    """Sum over axis 1 of ln of `values` (K, M, B), which are changed; all at least `lowest`.

    Logarithms are the dear part, so up to 27 values are multiplied first where that is safe.
    """
    for bound in (1e-100, 1e-33, 1e-11):
        half = values.shape[1] // 2
        if lowest > bound and half > 0:
            if values.shape[1] % 2:
                values[:, 0] *= values[:, -1]
            values = values[:, :half].mul_(values[:, half : 2 * half])
    return values.log().sum(1)
