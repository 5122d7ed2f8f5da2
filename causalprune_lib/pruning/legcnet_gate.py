"""Does the mean of a series change abruptly? The gate in front of LEGCNet's released exponents.

The released script gives a window the exponent 0 where MATLAB's `ischange(x, 'mean')` finds any
change point, or where the window's range is below 1e-5. An older script of the same repository has
no such gate, and some of the published masks come from that one.

As documented, `ischange` splits a series into segments so that the sum of their squared deviations
from their means, plus a threshold (1 by default) for every change point, is least: the penalised
least squares of Killick, Fearnhead and Eckley, "Optimal detection of changepoints with a linear
computational cost", JASA 107, 2012. The threshold is in squared units of the series, so for weights
it asks mainly how far a weight travels within the window.
"""

from __future__ import annotations

import torch

from causalprune_lib._validation import check_positive

CHUNK_BYTES = 64 * 2**20
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
    size = max(1, CHUNK_BYTES // (8 * 4 * n))
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
