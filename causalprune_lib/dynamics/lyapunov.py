"""The largest Lyapunov exponent of a recorded series, estimated by Rosenstein's method.

The estimate is the slope of the divergence curve S(k) (see `divergence`): in nats per sample. It
asks whether nearby stretches of ONE series part exponentially. It is an estimate of a Lyapunov
exponent only where the series comes from a deterministic system and fills its attractor densely
enough; noise and random walks have a positive slope too, above all between S(0) and S(1). Compare
with `surrogates`, and with `tangent`, which needs no embedding.

Rosenstein, Collins and De Luca, "A practical method for calculating largest Lyapunov exponents from
small data sets", Physica D 65, 117-134, 1993.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.dynamics.buffers import Buffers, spare_buffers
from causalprune_lib.dynamics.chunks import in_chunks, rows
from causalprune_lib.dynamics.divergence import (
    CONVENTIONS,
    ESTIMATED,
    NO_NEIGHBOUR,
    REASONS,
    TOO_SHORT,
    DivergenceCurves,
)

FITS = ("slope", "first_step")
CPU_BYTES_PER_THREAD = 48 * 2**20  # few calls of NumPy, and still near the caches


def min_length(*, dim: int = 2, lag: int = 1, theiler: int = 1, horizon: int = 5) -> int:
    """Fewest samples from which `largest_lyapunov` gives a number.

    (dim - 1) lag + horizon + 2 theiler + 2: with that many, each vector that can be followed for
    `horizon` steps has at least one other such vector outside its Theiler window.

    Examples
    --------
    >>> min_length(dim=2, lag=1, theiler=1, horizon=5)
    10
    """
    dim, lag = check_int("dim", dim), check_int("lag", lag)
    theiler = check_int("theiler", theiler, minimum=0)
    return (dim - 1) * lag + check_int("horizon", horizon) + 2 * theiler + 2


@dataclass(frozen=True, eq=False)
class LyapunovResult:
    """Exponents of a batch of series, with the curves they were read from.

    Attributes
    ----------
    exponent : tensor (...,) of float64
        Nats per sample; NaN where not estimable.
    divergence : tensor (..., horizon+1) of float64
        S(k), the mean log distance k samples after the nearest neighbour.
    counts : tensor (..., horizon+1) of int64
        Pairs averaged in each S(k).
    code : tensor (...,) of int8
        0 where there is a number; otherwise what `reason` spells out.
    """

    exponent: torch.Tensor
    divergence: torch.Tensor
    counts: torch.Tensor
    code: torch.Tensor

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
    chunk_bytes: int | None = None,
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
    theiler : int
        Neighbours must be more than this many samples apart in time; 0 leaves out nothing.
    horizon : int
        Samples to follow each pair.
    fit : {"slope", "first_step"}
        "slope": least-squares line through S(k), k in `fit_range`. "first_step": S(1) - S(0), what
        the reading in LEGCNet's released code comes to.
    fit_range : (int, int), optional
        First and last k of the line, both included. Default: 1 to `horizon`: between S(0) and S(1)
        the pairs turn from the nearest ones into typical ones, which is growth of another kind
        (on 2,000 points of the Henon map it costs 4%; noise shows little else).
    convention : {"embedded", "tisean"}
        Definition of S(k); see `divergence`. LEGCNet's code ran `lyap_r -m2 -d1 -r20 -s3` on
        weights printed with six decimals: `largest_lyapunov(w.double().round(decimals=6),
        theiler=0, horizon=3, fit="first_step", convention="tisean")`.
    chunk_bytes : int, optional
        Working memory, all threads together. Default: 48 MiB for each CPU thread, 1 GiB on a GPU.

    Returns
    -------
    LyapunovResult
        Series without an estimate hold NaN, with the `reason`.

    Raises
    ------
    TypeError, ValueError
        `x` is not an array of real numbers, or an option is out of range.

    Examples
    --------
    >>> from causalprune_lib.dynamics.systems import logistic
    >>> system = logistic(2000, seed=0)
    >>> result = largest_lyapunov(system.series)
    >>> print(f"{result.exponent.item():.2f}, truth {system.exponent:.2f}")
    0.69, truth 0.69
    """
    x = _as_series(x)
    needed = min_length(dim=dim, lag=lag, theiler=theiler, horizon=horizon)
    check_choice("fit", fit, FITS)
    check_choice("convention", convention, CONVENTIONS)
    first, last = _checked_range(fit, fit_range, horizon)
    lead, width = tuple(x.shape[:-1]), x.shape[-1]
    device = x.device if isinstance(x, torch.Tensor) else torch.device("cpu")
    n = math.prod(lead)
    divergence = torch.full((n, horizon + 1), math.nan, dtype=torch.float64, device=device)
    counts = torch.zeros((n, horizon + 1), dtype=torch.int64, device=device)
    code = torch.full((n,), TOO_SHORT, dtype=torch.int8, device=device)

    if chunk_bytes is None and device.type == "cpu":
        chunk_bytes = CPU_BYTES_PER_THREAD * torch.get_num_threads()

    if width >= needed:

        def curves_of(spans: Iterable[tuple[int, int]]) -> None:
            with spare_buffers(device) as memory:
                curves = settings(memory)
                for start, stop in spans:
                    found = curves(rows(x, start, stop).to(torch.float64))
                    for whole, part in zip((divergence, counts, code), found, strict=True):
                        whole[start:stop] = part

        def settings(memory: Buffers) -> DivergenceCurves:
            options = {"dim": dim, "lag": lag, "theiler": theiler, "horizon": horizon}
            return DivergenceCurves(width, convention=convention, memory=memory, **options)

        in_chunks(
            curves_of,
            n,
            bytes_each=settings(Buffers()).bytes_per_window(device),
            chunk_bytes=chunk_bytes,
            device=device,
        )
    exponent = _line_slope(divergence[:, first : last + 1])
    code[(code == ESTIMATED) & exponent.isnan()] = NO_NEIGHBOUR
    shape = (*lead, horizon + 1)
    return LyapunovResult(
        exponent.view(lead), divergence.view(shape), counts.view(shape), code.view(lead)
    )


def _as_series(x: object) -> torch.Tensor | np.ndarray:
    if not isinstance(x, torch.Tensor):
        x = np.asarray(x)
        real = np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer)
    else:
        x, real = x.detach(), not (x.is_complex() or x.dtype == torch.bool)
    if not real:
        raise TypeError(f"x must hold real numbers; got dtype {x.dtype}.")
    if x.ndim == 0:
        raise ValueError("x must have at least one axis, the samples of a series; got a scalar.")
    return x


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
