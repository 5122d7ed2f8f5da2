"""The largest Lyapunov exponent of a recorded series, estimated by Rosenstein's method.

For each delay vector v_i and its nearest neighbour j(i), the distance k samples later is
d_i(k) = |v_{i+k} - v_{j(i)+k}|, and the divergence curve is S(k) = mean_i ln d_i(k). The estimate
is its slope, in nats per sample. It asks whether nearby stretches of ONE series part exponentially.
It is an estimate of a Lyapunov exponent only where the series comes from a deterministic system and
fills its attractor densely enough; noise and random walks have a positive slope too, above all
between S(0) and S(1). Compare with surrogates, and with `tangent`, which needs no embedding.

Two conventions:

- "embedded": the paper's definition, in the units of the series.
- "tisean": what `lyap_r` of TISEAN (Hegger, Kantz and Schreiber, Chaos 9, 1999) computes when its
  search starts at the range of the data, as `-r20` makes it do for network weights. The series is
  rescaled to [0, 1]; a neighbour must be closer than 1 in that unit; the last `theiler` vectors
  have none; of equally near ones the latest wins. Where a vector has no vector closer than 1 (a
  step, a lone spike), TISEAN searches forever; here the series is reported as isolated.

In both, pairs at distance 0 are never neighbours, and S(k) leaves out pairs that meet at step k.

Rosenstein, Collins and De Luca, "A practical method for calculating largest Lyapunov exponents from
small data sets", Physica D 65, 117-134, 1993.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.dynamics.neighbours import (
    Buffers,
    NeighbourSearch,
    Spans,
    in_chunks,
    spare_buffers,
    square_of_difference,
)

FITS = ("slope", "first_step")
CONVENTIONS = ("embedded", "tisean")
REASONS = ("", "too short", "not finite", "constant", "isolated point", "no neighbour")  # by code
ESTIMATED, TOO_SHORT, NOT_FINITE, CONSTANT, ISOLATED, NO_NEIGHBOUR = range(6)
BYTES_PER_THREAD = 48 * 2**20  # few calls of NumPy, and still near the caches


@dataclass(frozen=True, eq=False)
class LyapunovResult:
    """Exponents of a batch of series, with the curves they were read from."""

    exponent: torch.Tensor  # (...,) nats per sample; NaN where not estimable
    divergence: torch.Tensor  # (..., horizon+1) S(k), k samples after the nearest neighbour
    counts: torch.Tensor  # (..., horizon+1) of int64: pairs averaged in each S(k)
    code: torch.Tensor  # (...,) of int8: 0 where there is a number, else what `reason` spells out

    @property
    def reason(self) -> np.ndarray:
        """Why there is no number, (...,) of str: "" where there is one.

        "too short" (fewer than `min_length` samples), "not finite" (NaN or infinity inside),
        "constant", "isolated point" (convention "tisean": a step or a lone spike), "no neighbour"
        (too few pairs at a distance above 0).
        """
        return np.array(REASONS)[self.code.cpu().numpy()]

    @property
    def n_missing(self) -> int:
        """How many series have no exponent."""
        return int((self.code != ESTIMATED).sum())


@torch.no_grad()
def largest_lyapunov(
    x: torch.Tensor | np.ndarray,
    *,
    dim: int = 2,
    lag: int = 1,
    theiler: int = 1,
    horizon: int = 5,
    fit: str = "slope",
    fit_range: tuple[int, int] | None = None,
    convention: str = "embedded",
) -> LyapunovResult:
    """Estimate the largest Lyapunov exponent of every series in `x`.

    Each series is treated alone, whatever the leading axes mean (windows, weights, seeds); a view
    such as `series.unfold(0, 200, 180)` is never copied as a whole. Runs on the device of `x`.

    Parameters
    ----------
    x : tensor or array (..., W)
        Series along the last axis. Computed in float64.
    dim, lag : int
        Embedding dimension and delay in samples.
    theiler, horizon : int
        Neighbours must be more than `theiler` samples apart in time (0 leaves out nothing), and
        each pair is followed for `horizon` samples.
    fit : {"slope", "first_step"}
        "slope": least-squares line through S(k), k in `fit_range`. "first_step": S(1) - S(0), what
        the reading in LEGCNet's released code comes to.
    fit_range : (int, int), optional
        First and last k of the line, both included. Default: 1 to `horizon`: between S(0) and S(1)
        the pairs turn from the nearest ones into typical ones, which is growth of another kind
        (on 2,000 points of the Henon map it costs 4%; noise shows little else).
    convention : {"embedded", "tisean"}
        Definition of S(k); see the top of this file. LEGCNet's code ran `lyap_r -m2 -d1 -r20 -s3`
        on weights printed with six decimals: `largest_lyapunov(w.double().round(decimals=6),
        theiler=0, horizon=3, fit="first_step", convention="tisean")`.

    Examples
    --------
    >>> from causalprune_lib.dynamics.systems import logistic
    >>> system = logistic(2000, seed=0)
    >>> result = largest_lyapunov(system.series)
    >>> print(f"{result.exponent.item():.2f}, truth {system.exponent:.2f}")
    0.69, truth 0.69
    """
    if isinstance(x, torch.Tensor):
        x, real = x.detach(), not (x.is_complex() or x.dtype == torch.bool)
    else:
        x = np.asarray(x)
        real = x.dtype.kind in "fiu"
    if not real:
        raise TypeError(f"x must hold real numbers; got dtype {x.dtype}.")
    if x.ndim == 0:
        raise ValueError("x must have at least one axis, the samples of a series; got a scalar.")
    needed = min_length(dim=dim, lag=lag, theiler=theiler, horizon=horizon)
    check_choice("fit", fit, FITS)
    check_choice("convention", convention, CONVENTIONS)
    first, last = _checked_range(fit, fit_range, horizon)
    lead, width = tuple(x.shape[:-1]), x.shape[-1]
    x = x if lead else x[None]
    device = x.device if isinstance(x, torch.Tensor) else torch.device("cpu")
    n = math.prod(lead)
    divergence = torch.full((n, horizon + 1), math.nan, dtype=torch.float64, device=device)
    counts = torch.zeros((n, horizon + 1), dtype=torch.int64, device=device)
    code = torch.full((n,), TOO_SHORT, dtype=torch.int8, device=device)
    options = {"dim": dim, "lag": lag, "theiler": theiler, "horizon": horizon}
    options["tisean"] = convention == "tisean"

    def work(spans: Spans) -> None:
        with spare_buffers() as memory:
            curves = DivergenceCurves(memory, width, **options)
            for start, stop in spans:
                part = x[np.unravel_index(np.arange(start, stop), x.shape[:-1])]  # (B, W), a copy
                part = torch.from_numpy(part.astype(float)) if isinstance(x, np.ndarray) else part
                for whole, found in zip((divergence, counts, code), curves(part), strict=True):
                    whole[start:stop] = found

    if width >= needed:
        each = DivergenceCurves(Buffers(), width, **options).bytes_per_window(device)
        total = BYTES_PER_THREAD * torch.get_num_threads() if device.type == "cpu" else None
        in_chunks(work, n, bytes_each=each, chunk_bytes=total, device=device)
    exponent = _line_slope(divergence[:, first : last + 1])
    code[(code == ESTIMATED) & exponent.isnan()] = NO_NEIGHBOUR
    shape = (*lead, horizon + 1)
    return LyapunovResult(
        exponent.view(lead), divergence.view(shape), counts.view(shape), code.view(lead)
    )


def min_length(*, dim: int = 2, lag: int = 1, theiler: int = 1, horizon: int = 5) -> int:
    """Fewest samples from which `largest_lyapunov` gives a number.

    With so many, each vector that can be followed has another one outside its Theiler window.
    """
    dim, lag = check_int("dim", dim), check_int("lag", lag)
    theiler = check_int("theiler", theiler, minimum=0)
    return (dim - 1) * lag + check_int("horizon", horizon) + 2 * theiler + 2


class DivergenceCurves:
    """Computes the curves of batches of windows of one width, reusing its memory."""

    def __init__(self, memory: Buffers, width: int, *, horizon: int, tisean: bool, **vectors: int):
        self.dim, self.lag, self.theiler = vectors["dim"], vectors["lag"], vectors["theiler"]
        self.horizon, self.tisean, self._buffer = horizon, tisean, memory.get
        self.span = (self.dim - 1) * self.lag
        self.n_points = width - self.span - horizon  # M, vectors that can be followed
        ties = "last" if tisean else "first"
        self.search = NeighbourSearch(self.n_points, ties=ties, memory=memory, **vectors)

    def bytes_per_window(self, device: torch.device) -> int:
        """Working memory that one window of a batch takes."""
        followed = 8 * self.n_points * (2 * self.horizon + self.span + 9)
        return self.search.bytes_per_series(device) + followed

    def __call__(self, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """S(k) (B, horizon+1) of `windows` (B, W), the pairs behind each, and a code (B,).

        S(k) is NaN where no pair is left, and throughout where the code is not ESTIMATED.
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
        without = code != ESTIMATED
        if bool(without.any()):  # a ramp in their place costs the search the least
            ramp = torch.linspace(0, 1, len(x), dtype=x.dtype, device=x.device)
            x[:, without] = ramp[:, None]
        index, squared = self.search(x)
        if self.tisean:
            index, squared = self._as_tisean(x, index, squared, code)
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
        if not self.tisean:
            return unit.log()
        low, high = low / unit, high / unit
        x -= low
        x /= torch.where(high > low, high - low, 1.0)
        return torch.zeros_like(unit)

    def _as_tisean(
        self, x: torch.Tensor, index: torch.Tensor, squared: torch.Tensor, code: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The neighbours that TISEAN would find; where it would search forever, set `code`."""
        kept = self.n_points - self.theiler
        lonely = (code == ESTIMATED) & ~(squared[:kept] < 1.0).all(0)
        if bool(lonely.any()):  # only a vector that is never met again is isolated
            index, squared = index.clone(), squared.clone()
            _, nearest = self.search(x[:, lonely], skip_zero=False)
            met = (nearest[:kept] < 1.0).all(0)
            code[lonely] = torch.where(met, ESTIMATED, ISOLATED).to(code)
        squared[kept:] = math.inf
        return index, squared

    def _follow(
        self, x: torch.Tensor, index: torch.Tensor, squared: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums over i of ln d_i(k)^2, and how many pairs they hold, both (B, horizon+1).

        Vectors whose `squared` distance to their neighbour is out of range have none.
        """
        m, steps, n_series = self.n_points, self.horizon + 1, x.shape[1]
        limit = 1.0 if self.tisean else math.inf
        paired = None if bool((squared.amax(0) < limit).all()) else squared < limit
        flat = self._buffer("flat", x, m, n_series, dtype=torch.int64)
        torch.mul(index, n_series if paired is None else paired * n_series, out=flat)
        flat += torch.arange(n_series, device=x.device)
        gaps = self._buffer("gaps", x, steps + self.span, m, n_series)
        for k, gap in enumerate(gaps):  # (x_{i+k} - x_{j(i)+k})^2
            source = x.view(-1)[k * n_series :]
            torch.index_select(source, 0, flat.view(-1), out=gap.view(-1))
            square_of_difference(gap, x[k : k + m], 0, out=gap)
        distances = self._buffer("distances", x, steps, m, n_series).copy_(gaps[:steps])
        for c in range(1, self.dim):
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


def _line_slope(curve: torch.Tensor) -> torch.Tensor:
    """Least-squares slope of each row of `curve` (N, K) over its finite entries, NaN below two."""
    finite = torch.isfinite(curve)
    n = finite.sum(1, keepdim=True)
    k = torch.arange(curve.shape[1], dtype=curve.dtype, device=curve.device).expand_as(curve)
    k = torch.where(finite, k, 0.0)
    s = torch.where(finite, curve, 0.0)
    k_centred = torch.where(finite, k - k.sum(1, keepdim=True) / n, 0.0)
    s_centred = torch.where(finite, s - s.sum(1, keepdim=True) / n, 0.0)
    slope = (k_centred * s_centred).sum(1) / k_centred.square().sum(1)
    return torch.where(n[:, 0] >= 2, slope, math.nan)


def _checked_range(fit: str, fit_range: tuple[int, int] | None, horizon: int) -> tuple[int, int]:
    if fit_range is None:
        return (0, 1) if fit == "first_step" or horizon == 1 else (1, horizon)
    if fit == "first_step":
        raise ValueError(f"fit_range must be None with fit='first_step'; got {fit_range!r}.")
    first = check_int("fit_range[0]", fit_range[0], minimum=0)
    last = check_int("fit_range[1]", fit_range[1], minimum=first + 1)
    if last > horizon:
        raise ValueError(f"fit_range must end at horizon = {horizon} or before; got {last}.")
    return first, last
