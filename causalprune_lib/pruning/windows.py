"""From a recorded training to one Lyapunov exponent per window and weight.

The first half of LEGCNet, arXiv:2308.09955: each weight's series of iterates is cut into windows
that overlap by a tenth, each window gets an exponent, and the error rate is read at its end.

As described, the exponent is that of the difference between the training and a twin started from a
slightly different weight. As released, there is no twin: it is taken on the raw series, with
TISEAN's `lyap_r`, and its reading comes to S(1) - S(0), the rise of the divergence curve in its
first step; windows whose mean changes abruptly, or that hardly vary, get the exponent 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_fraction, check_int
from causalprune_lib.dynamics.lyapunov import largest_lyapunov
from causalprune_lib.dynamics.trajectory import Trajectory

DECIMALS = 6  # as released: weights are printed with `%f` before TISEAN reads them
MIN_RANGE = 1e-5  # as released: a window that varies less gets the exponent 0
PENALTY = 1.0  # as released: the fall of the sum of squares that a change point must bring
MAX_BYTES = 64 * 2**20  # working memory, roughly, of the exponents and of the gate

Estimator = Callable[[torch.Tensor], torch.Tensor]  # windows (..., n) to exponents (...,)


@dataclass(frozen=True)
class Windows:
    """Where windows lie in a recording, in iterates."""

    size: int
    stride: int  # from the start of one window to the start of the next
    count: int  # W

    @property
    def starts(self) -> np.ndarray:
        """First iterate of each window, (W,)."""
        return self.stride * np.arange(self.count)

    @property
    def ends(self) -> np.ndarray:
        """Last iterate of each window, (W,): the step after which its error is read."""
        return self.starts + self.size - 1


def cut_windows(n_iterates: int, *, window: int, overlap: float = 0.1) -> Windows:
    """Windows of `window` iterates, each beginning `window * (1 - overlap)` after the last one.

    There are `n_iterates` = T + 1, with the initial weights. Only whole windows are cut: W = 0 if
    there are too few. `overlap` is a fraction in [0, 1); the stride is rounded.

    >>> windows = cut_windows(27_301, window=200)  # 50 epochs of 546 steps
    >>> windows, windows.ends[:3]
    (Windows(size=200, stride=180, count=151), array([199, 379, 559]))
    """
    check_int("n_iterates", n_iterates, minimum=0)
    size = check_int("window", window, minimum=2)
    stride = max(1, round(size * (1 - check_fraction("overlap", overlap, closed=False))))
    return Windows(size, stride, max(0, (n_iterates - size) // stride + 1))


@dataclass(frozen=True, eq=False)
class WindowedExponents:
    """One exponent per window and weight, in nats per step; NaN where not estimable."""

    exponent: torch.Tensor  # (W, P) of float64
    gated: torch.Tensor  # (W, P) of bool: got the exponent 0 without an estimate, as released
    windows: Windows


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
) -> WindowedExponents:
    """The largest Lyapunov exponent of every window of every weight; the defaults are as released.

    Parameters
    ----------
    weights : Trajectory, tensor or array (T+1, P)
        The initial weights and those after every step. Computed in float64, on a tensor's device.
        For the paper's section 3.4: the `difference` of `twin_trajectories`, with `gate=False` and
        `decimals=None`.
    window, overlap
        As in `cut_windows`.
    gate : bool
        True: windows that hardly vary or whose mean changes abruptly get the exponent 0. False:
        none do, and a constant window has the exponent NaN.
    decimals : int or None
        Decimals that the weights, after the gate, and the exponents are rounded to, if any.
    horizon : int
        Steps to follow each pair; the released script has 3 (`-s3`), an older one 20. Vectors
        nearer to the window's end take no part, though the reading uses the first step only.
    estimator : callable, optional
        Maps windows (..., window) to exponents (...), in place of `first_step_estimator(horizon)`.

    Examples
    --------
    >>> noise = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)).double() / 100
    >>> found = windowed_exponents(noise, window=100)
    >>> found.exponent.shape, bool((found.exponent > 0).all())  # of plain noise
    (torch.Size([11, 3]), True)
    """
    iterates = _iterates(weights)  # (T+1, P)
    n_iterates, n_weights = iterates.shape
    windows = cut_windows(n_iterates, window=window, overlap=overlap)
    if decimals is not None:
        check_int("decimals", decimals, minimum=0)
    if estimator is None:
        estimator = first_step_estimator(horizon=horizon)
    exponent = torch.full((windows.count, n_weights), torch.nan, dtype=torch.float64)
    gated = torch.zeros((windows.count, n_weights), dtype=torch.bool)
    for some, part in _pieces(windows, n_weights):
        span = slice(windows.starts[some.start], windows.ends[some.stop - 1] + 1)
        series = iterates[span, part]
        if not isinstance(series, torch.Tensor):
            series = torch.from_numpy(np.array(series))
        series = series.T.double().contiguous()  # (p, t), time along the last axis
        cut = series.unfold(1, windows.size, windows.stride)  # (p, w, window), a view
        still = released_gate(cut) if gate else torch.zeros_like(cut[..., 0]).bool()  # (p, w)
        if decimals is not None:
            cut = series.round(decimals=decimals).unfold(1, windows.size, windows.stride)
        if gate and cut.shape[1] == 1:  # many weights: skip those gated anyway
            found = torch.zeros_like(still, dtype=torch.float64)
            found[~still] = estimator(cut[~still])
        else:
            found = estimator(cut)
        if decimals is not None:
            found = found.round(decimals=decimals)
        exponent[some, part] = found.masked_fill(still, 0.0).T.cpu()
        gated[some, part] = still.T.cpu()
    return WindowedExponents(exponent, gated, windows)


def first_step_estimator(*, horizon: int = 3) -> Estimator:
    """What LEGCNet's reading of `lyap_r -m2 -d1 -r20 -s<horizon>` comes to: S(1) - S(0).

    The released reading interpolates the curve between points that all lie from step 0 to step 1.
    NaN where TISEAN would have no output, or would never return.
    """
    options = {"dim": 2, "lag": 1, "theiler": 0, "horizon": check_int("horizon", horizon)}
    options |= {"fit": "first_step", "convention": "tisean"}
    return lambda windows: largest_lyapunov(windows, **options).exponent


def released_gate(x: torch.Tensor) -> torch.Tensor:
    """Which windows (..., n) get the exponent 0 without an estimate, as released; (...,)."""
    return ((x.amax(-1) - x.amin(-1)) < MIN_RANGE) | mean_changes(x)


def mean_changes(x: torch.Tensor) -> torch.Tensor:
    """Whether the best segmentation of each series (..., n) of float64 has a change point, (...,).

    With C the sum of squared deviations from the mean of a segment, the best segmentation
    minimises sum C + PENALTY * (number of change points), exactly.
    """
    n, found = x.shape[-1], []
    # One change point after s values brings s (n - s) / n times the squared distance of the means.
    s = torch.arange(1, n, dtype=x.dtype, device=x.device)
    scale = n / (s * (n - s))
    for series in x.reshape(-1, n).split(max(1, MAX_BYTES // (8 * 4 * n))):
        series = series - series.mean(1, keepdim=True)  # (B, n)
        total = series.square().sum(1)
        changed = (series.cumsum(1)[:, :-1].square() * scale).amax(1) > PENALTY
        # Several together may pay where one does not, but never more than `total` in all.
        undecided = ~changed & (total > 2 * PENALTY)
        if bool(undecided.any()):
            changed[undecided] = _best_cost(series[undecided]) < total[undecided]
        found.append(changed)
    return torch.cat(found).view(x.shape[:-1])


def _best_cost(x: torch.Tensor) -> torch.Tensor:
    """Least penalised cost (B,) of series (B, n) among segmentations with a change point.

    F(t) is the least cost of the first t values, each segment's penalty included:
    F(t) = min_s F(s) + C(s, t) + PENALTY, with F(0) = -PENALTY.
    """
    n = x.shape[1]
    zero = x.new_zeros((len(x), 1))
    sums = torch.cat([zero, x.cumsum(1)], 1)
    squares = torch.cat([zero, x.square().cumsum(1)], 1)
    best = x.new_full((len(x), n + 1), -PENALTY)
    for t in range(1, n + 1):
        first = 1 if t == n else 0  # at the end: at least one change point
        s = torch.arange(first, t, dtype=x.dtype, device=x.device)
        cost = squares[:, t : t + 1] - squares[:, first:t]
        cost -= (sums[:, t : t + 1] - sums[:, first:t]).square() / (t - s)
        best[:, t] = (best[:, first:t] + cost).amin(1) + PENALTY
    return best[:, n]


def _iterates(weights: object) -> np.ndarray | torch.Tensor:
    """The recorded weights (T+1, P), not copied."""
    if isinstance(weights, Trajectory):
        if (np.diff(weights.steps) != 1).any():
            raise ValueError(
                "weights must be a recording of every step, for windows are counted in steps; got "
                f"the steps {', '.join(map(str, weights.steps[:3]))}, ..."
            )
        return weights.weights
    iterates = weights if isinstance(weights, torch.Tensor) else np.asarray(weights)
    floating = torch.as_tensor(iterates[:0]).is_floating_point() if iterates.ndim else False
    if iterates.ndim != 2 or not floating:
        raise TypeError(
            f"weights must be a floating-point array (T+1, P); got {iterates.dtype} of shape "
            f"{tuple(iterates.shape)}."
        )
    return iterates


def _pieces(windows: Windows, n_weights: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the windows and of the weights, so that whole iterates are read where they fit."""
    cells = max(windows.size, MAX_BYTES // 64)  # a piece is held about eight times over
    some = max(1, (cells // max(1, n_weights) - windows.size) // windows.stride + 1)
    some = min(some, max(1, windows.count))
    width = max(1, min(n_weights, cells // (windows.size + (some - 1) * windows.stride)))
    for i in range(0, windows.count, some):
        for k in range(0, n_weights, width):
            yield slice(i, min(i + some, windows.count)), slice(k, min(k + width, n_weights))
