"""From a recorded training to one Lyapunov exponent per window and weight.

The first half of LEGCNet (arXiv:2308.09955): each weight's series of iterates is cut into windows
that overlap by a tenth, each window gets an exponent, and the error rate is read at each window's
end. `legcnet_decision.py` asks which exponents Granger-cause the error.

As described, the exponent is that of the difference between the training and a twin started from a
slightly different weight. As released, there is no twin: it is taken on the raw series, with
TISEAN's `lyap_r`, and its reading comes to S(1) - S(0), the rise of the divergence curve in its
first step; windows whose mean changes abruptly, or that hardly vary, get the exponent 0
(`legcnet_gate`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_fraction, check_int, check_positive
from causalprune_lib.dynamics.lyapunov import largest_lyapunov
from causalprune_lib.dynamics.trajectory import Trajectory

# ---- legcnet_gate: Does the mean of a series change abruptly? The gate in front of LEGCNet's rel


GATE_BYTES = 64 * 2**20


MIN_RANGE = 1e-5


def released_gate(x: torch.Tensor) -> torch.Tensor:
    """Where the released script writes the exponent 0 without an estimate, (...,) of bool.

    Parameters
    ----------
    x : tensor (..., n) of float64
        Windows along the last axis, before any rounding.

    Examples
    --------
    >>> still, jump = torch.full((40,), 0.3).double(), torch.arange(40).double().div(20).floor()
    >>> wave = torch.arange(40).double().sin() / 10
    >>> released_gate(torch.stack([still, jump, wave]))
    tensor([ True,  True, False])
    """
    return ((x.amax(-1) - x.amin(-1)) < MIN_RANGE) | mean_changes(x)


def mean_changes(x: torch.Tensor, *, threshold: float = 1.0) -> torch.Tensor:
    """Whether the best segmentation of each series has a change point.

    With C the sum of squared deviations from the mean of a segment, the best segmentation
    minimises sum C + `threshold` * (number of change points), exactly.

    Parameters
    ----------
    x : tensor (..., n) of float64
        Finite series along the last axis.
    threshold : float
        Least fall of the sum of squares that a change point must bring.

    Returns
    -------
    tensor (...,) of bool

    Examples
    --------
    >>> step = torch.tensor([0.0, 0.0, 0.0, 1.3, 1.3, 1.3]).double()
    >>> mean_changes(torch.stack([step, step / 2]))  # a step of h brings 1.5 h^2
    tensor([ True, False])
    """
    check_positive("threshold", threshold, allow_zero=True)
    lead, n = x.shape[:-1], x.shape[-1]
    if n < 2:
        return torch.zeros(lead, dtype=torch.bool, device=x.device)
    rows = x.reshape(-1, n) if x.is_contiguous() else None
    count = lead.numel()
    size = max(1, GATE_BYTES // (8 * 4 * n))
    changed = torch.zeros(count, dtype=torch.bool, device=x.device)
    for start in range(0, count, size):
        stop = min(start + size, count)
        if rows is None:
            number = torch.arange(start, stop, device=x.device)
            part = x[torch.unravel_index(number, lead)]
        else:
            part = rows[start:stop]
        changed[start:stop] = _changed(part.double(), threshold)
    return changed.view(lead)


def _changed(x: torch.Tensor, threshold: float) -> torch.Tensor:
    """`mean_changes` of rows (B, n)."""
    n = x.shape[1]
    x = x - x.mean(1, keepdim=True)
    total = x.square().sum(1)
    # One change point after s values brings s (n - s) / n times the squared distance of the means.
    s = torch.arange(1, n, dtype=x.dtype, device=x.device)
    fall = x.cumsum(1)[:, :-1].square() * (n / (s * (n - s)))
    changed = fall.amax(1) > threshold
    # Several together may pay where one does not, but never more than `total` in all.
    open_ = ~changed & (total > 2 * threshold)
    if bool(open_.any()):
        changed[open_] = _best_cost(x[open_], threshold) < total[open_]
    return changed


def _best_cost(x: torch.Tensor, threshold: float) -> torch.Tensor:
    """Least penalised cost (B,) of rows (B, n) among segmentations with a change point.

    F(t) is the least cost of the first t values, each segment's penalty included:
    F(t) = min_s F(s) + C(s, t) + threshold, with F(0) = -threshold.
    """
    n = x.shape[1]
    zero = x.new_zeros((len(x), 1))
    sums = torch.cat([zero, x.cumsum(1)], 1)
    squares = torch.cat([zero, x.square().cumsum(1)], 1)
    best = x.new_full((len(x), n + 1), -threshold)
    for t in range(1, n + 1):
        first = 1 if t == n else 0  # at the end: at least one change point
        s = torch.arange(first, t, dtype=x.dtype, device=x.device)
        cost = squares[:, t : t + 1] - squares[:, first:t]
        cost -= (sums[:, t : t + 1] - sums[:, first:t]).square() / (t - s)
        best[:, t] = (best[:, first:t] + cost).amin(1) + threshold
    return best[:, n]


# ---- legcnet_windows: From a recorded training to one Lyapunov exponent per window and weight.


CHUNK_BYTES = 64 * 2**20


DECIMALS = 6  # as released: weights are printed with `%f` before TISEAN reads them


Estimator = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Windows:
    """Where the windows lie in a recording.

    Attributes
    ----------
    size, stride : int
        Iterates per window, and from the start of one window to the start of the next.
    count : int
        W, the number of windows.
    """

    size: int
    stride: int
    count: int

    @property
    def starts(self) -> np.ndarray:
        """First row of each window, (W,)."""
        return self.stride * np.arange(self.count)

    @property
    def ends(self) -> np.ndarray:
        """Last row of each window, (W,): the step after which its error is read."""
        return self.starts + self.size - 1


def cut_windows(n_rows: int, *, window: int, overlap: float = 0.1) -> Windows:
    """Windows of `window` rows, each beginning `window * (1 - overlap)` rows after the last one.

    With an overlap of 0.1, window i covers the rows from 0.9 w i up to, not including,
    0.9 w (i + 1) + 0.1 w. Row 0 holds the initial weights.

    Parameters
    ----------
    n_rows : int
        T + 1, rows of the recording.
    window : int
        Rows per window, at least 2.
    overlap : float
        Fraction of a window that the next one shares, in [0, 1). The stride is rounded to a whole
        number of rows.

    Returns
    -------
    Windows
        Only whole windows; W = 0 where the recording is shorter than one.

    Examples
    --------
    >>> windows = cut_windows(27_301, window=200)  # 50 epochs of 546 steps
    >>> windows, windows.ends[:3]
    (Windows(size=200, stride=180, count=151), array([199, 379, 559]))
    """
    check_int("n_rows", n_rows, minimum=0)
    size = check_int("window", window, minimum=2)
    stride = max(1, round(size * (1 - check_fraction("overlap", overlap, closed=False))))
    return Windows(size, stride, max(0, (n_rows - size) // stride + 1))


@dataclass(frozen=True, eq=False)
class WindowedExponents:
    """One exponent per window and weight.

    Attributes
    ----------
    exponent : tensor (W, P) of float64
        In nats per step. NaN where not estimable.
    gated : tensor (W, P) of bool
        Windows that got the exponent 0 without an estimate, as released.
    windows : Windows
        Where they lie.
    """

    exponent: torch.Tensor
    gated: torch.Tensor
    windows: Windows

    @property
    def n_missing(self) -> int:
        """How many windows have no exponent."""
        return int(self.exponent.isnan().sum())

    @property
    def n_gated(self) -> int:
        """How many windows got a 0 without an estimate."""
        return int(self.gated.sum())


@torch.no_grad()
def windowed_exponents(
    weights: Trajectory | torch.Tensor | np.ndarray,
    *,
    window: int = 200,
    overlap: float = 0.1,
    gate: bool = True,
    decimals: int | None = DECIMALS,
    horizon: int = 3,
    estimator: Estimator | None = None,
    max_bytes: int = CHUNK_BYTES,
) -> WindowedExponents:
    """The largest Lyapunov exponent of every window of every weight; the defaults are as released.

    Parameters
    ----------
    weights : Trajectory, tensor or array (T+1, P)
        Recorded weights, row 0 the initial ones, with every step recorded. Computed on the device
        of a tensor, in float64. For the paper's section 3.4: the `difference` of
        `twin_trajectories`, with `gate=False` and `decimals=None`.
    window, overlap
        As in `cut_windows`.
    gate : bool
        True: windows that `released_gate` marks get the exponent 0. False: none do, and a constant
        window has the exponent NaN.
    decimals : int or None
        Decimals that the weights, after the gate, and the exponents are rounded to. None: no
        rounding.
    horizon : int
        Steps to follow each pair; the released script has 3 (`-s3`), an older one 20. The reading
        uses the first step only, but vectors too near the end of the window to be followed so far
        take no part.
    estimator : callable, optional
        Maps windows (..., window) to exponents (...), in place of `first_step_estimator(horizon)`.
    max_bytes : int
        Working memory, roughly; windows and weights are taken in blocks.

    Returns
    -------
    WindowedExponents

    Raises
    ------
    TypeError, ValueError
        No array (T+1, P), a recording that skips steps, an option out of range.

    Examples
    --------
    >>> noise = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)).double() / 100
    >>> found = windowed_exponents(noise, window=100)
    >>> found.exponent.shape, bool((found.exponent > 0).all())  # of plain noise
    (torch.Size([11, 3]), True)
    """
    rows = _rows_of(weights)
    n_rows, n_weights = rows.shape
    windows = cut_windows(n_rows, window=window, overlap=overlap)
    if decimals is not None:
        check_int("decimals", decimals, minimum=0)
    if estimator is None:
        estimator = first_step_estimator(horizon=horizon)
    exponent = torch.full((windows.count, n_weights), torch.nan, dtype=torch.float64)
    gated = torch.zeros((windows.count, n_weights), dtype=torch.bool)
    for some, part in _blocks(windows, n_weights, check_int("max_bytes", max_bytes)):
        span = slice(windows.starts[some.start], windows.ends[some.stop - 1] + 1)
        block = rows[span, part]
        if not isinstance(block, torch.Tensor):
            block = torch.from_numpy(np.array(block))
        series = block.T.double().contiguous()  # (p, rows), time along the last axis
        cut = series.unfold(1, windows.size, windows.stride)  # (p, w, window), a view
        still = released_gate(cut) if gate else None
        if decimals is not None:
            cut = series.round(decimals=decimals).unfold(1, windows.size, windows.stride)
        if still is not None and cut.shape[1] == 1:  # many weights: skip those gated anyway
            found = torch.zeros_like(still, dtype=torch.float64)
            found[~still] = estimator(cut[~still])
        else:
            found = estimator(cut)
        if decimals is not None:
            found = found.round(decimals=decimals)
        if still is not None:
            found = found.masked_fill(still, 0.0)
            gated[some, part] = still.T.cpu()
        exponent[some, part] = found.T.cpu()
    return WindowedExponents(exponent, gated, windows)


def first_step_estimator(*, horizon: int = 3) -> Estimator:
    """What LEGCNet's reading of `lyap_r -m2 -d1 -r20 -s<horizon>` comes to: S(1) - S(0).

    The released reading interpolates the curve between points that all lie from step 0 to step 1.
    NaN where TISEAN would have no output, or would never return (see `divergence`).
    """
    check_int("horizon", horizon)
    options = {"dim": 2, "lag": 1, "theiler": 0, "horizon": horizon}

    def estimate(windows: torch.Tensor) -> torch.Tensor:
        found = largest_lyapunov(windows, **options, fit="first_step", convention="tisean")
        return found.exponent

    return estimate


def _rows_of(weights: object) -> np.ndarray | torch.Tensor:
    """The recorded rows (T+1, P), not copied."""
    if isinstance(weights, Trajectory):
        if (np.diff(weights.steps) != 1).any():
            raise ValueError(
                "weights must be a recording of every step, for windows are counted in steps; got "
                f"the steps {', '.join(map(str, weights.steps[:3]))}, ..."
            )
        return weights.weights
    rows = weights if isinstance(weights, torch.Tensor) else np.asarray(weights)
    floating = torch.as_tensor(rows[:0]).is_floating_point() if rows.ndim else False
    if rows.ndim != 2 or not floating:
        raise TypeError(
            f"weights must be a floating-point array (T+1, P); got {rows.dtype} of shape "
            f"{tuple(rows.shape)}."
        )
    return rows


def _blocks(windows: Windows, n_weights: int, max_bytes: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the windows and of the weights, so that whole rows are read where they fit."""
    cells = max(windows.size, max_bytes // 64)  # a block is held about eight times over
    some = max(1, (cells // max(1, n_weights) - windows.size) // windows.stride + 1)
    some = min(some, max(1, windows.count))
    width = max(1, min(n_weights, cells // (windows.size + (some - 1) * windows.stride)))
    for i in range(0, windows.count, some):
        for k in range(0, n_weights, width):
            yield slice(i, min(i + some, windows.count)), slice(k, min(k + width, n_weights))
