"""What a layer's eigenvalues would be if its weights were random, and what stands out of that.

The law of Marchenko and Pastur ("Distribution of eigenvalues for some sets of random matrices",
1967), the same weights shuffled, and WeightWatcher's correlation traps: what stands out even then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_fraction, check_int, check_positive
from causalprune_lib.diagnostics.spectra import eigenvalues_of, matrices_of

TRACY_WIDOM_99 = 2.0234  # the 99% point of the Tracy-Widom law of real matrices


def marchenko_pastur(x: np.ndarray, *, ratio: float, variance: float = 1.0) -> np.ndarray:
    r"""Density of the eigenvalues of W^T W / N for a large random W, at `x` of any shape.

    .. math:: p(x) = \frac{\sqrt{(b - x)(x - a)}}{2 \pi q \sigma^2 x}, \quad a < x < b,
              \qquad a, b = \sigma^2 (1 \mp \sqrt q)^2,

    with `ratio` q = M / N in (0, 1], columns over rows (WeightWatcher's Q is 1 / q), and `variance`
    sigma^2 of one entry. The entries must be independent with mean zero; their law does not matter
    in the limit of many.

    Examples
    --------
    >>> marchenko_pastur(np.array([0.1, 1.0, 3.0]), ratio=0.25).round(4).tolist()
    [0.0, 0.6164, 0.0]
    """
    a, b = marchenko_pastur_edges(ratio=ratio, variance=variance)
    x = np.asarray(x, dtype=float)
    inside = (x > a) & (x < b)
    safe = np.where(inside, x, (a + b) / 2)
    density = np.sqrt((b - safe) * (safe - a)) / (2 * np.pi * ratio * variance * safe)
    return np.where(inside, density, 0)


def marchenko_pastur_edges(*, ratio: float, variance: float = 1.0) -> tuple[float, float]:
    r"""Lower and upper edge of the Marchenko-Pastur law, :math:`\sigma^2 (1 \mp \sqrt{q})^2`.

    Examples
    --------
    >>> marchenko_pastur_edges(ratio=0.25)
    (0.25, 2.25)
    """
    check_positive("ratio", ratio)
    q, variance = check_fraction("ratio", ratio), check_positive("variance", variance)
    return variance * (1 - q**0.5) ** 2, variance * (1 + q**0.5) ** 2


def randomised_esd(
    weight: torch.Tensor | np.ndarray,
    *,
    permutations: int = 20,
    seed: int = 0,
    normalise: bool = True,
) -> np.ndarray:
    """`esd` after shuffling the entries of the matrix: same numbers, no structure.

    Returns (permutations, eigenvalues), ascending along each row. In a convolution the matrix of
    each position of the kernel is shuffled on its own.

    Examples
    --------
    >>> w = torch.ones(40, 3).cumsum(1)  # three constant columns: rank one
    >>> bool((randomised_esd(w, seed=1)[:, 0] > 0.1).all())
    True
    """
    copies = _shuffled(matrices_of(weight), permutations, seed)
    return np.sort([eigenvalues_of(matrices, normalise).ravel() for matrices in copies], axis=1)


@dataclass(frozen=True, eq=False)
class CorrelationTraps:
    """What stands out in a layer whose entries have been shuffled."""

    largest: np.ndarray  # (permutations, matrices) largest eigenvalue of each shuffled X
    edge: float  # upper Marchenko-Pastur edge, with the variance of the entries about their mean
    threshold: float  # an eigenvalue of light-tailed entries goes beyond it once in a hundred times
    count: float  # eigenvalues beyond the threshold, mean over the shuffled matrices
    share: float  # of the shuffled matrices with at least one: about 0.01 without a trap
    mean_spike: float  # M times the squared mean of the entries: the eigenvalue that a mean makes


def correlation_traps(
    weight: torch.Tensor | np.ndarray,
    *,
    permutations: int = 20,
    seed: int = 0,
    centre: bool = False,
) -> CorrelationTraps:
    r"""Look for eigenvalues of the shuffled layer beyond the Marchenko-Pastur edge.

    After a shuffle only the values of the weights are left, not their places. An eigenvalue far
    outside then comes from a few very large weights or from a mean that is not zero; `centre` takes
    the mean off first. WeightWatcher calls it a correlation trap and takes it as a sign of
    overtraining.

    The largest eigenvalue of a random matrix scatters about the edge with a width that falls as
    :math:`M^{-2/3}`. With :math:`s = \sqrt{N - 1} + \sqrt{M}` the threshold is

    .. math:: \frac{\sigma^2}{N} \left[ s^2 + 2.0234\, s
              \left(\tfrac{1}{\sqrt{N-1}} + \tfrac{1}{\sqrt M}\right)^{1/3} \right],

    the 99% point of the Tracy-Widom law (Johnstone, "On the distribution of the largest eigenvalue
    in principal components analysis", 2001). That law is for light tails. A pruned layer, whose
    entries are many zeros and a few others, can pass the threshold for this alone: of shuffled
    random layers with nine entries in ten set to zero about 60% do (784 by 50, and 50 by 30).

    Examples
    --------
    >>> w = torch.randn(100, 20, generator=torch.Generator().manual_seed(0))
    >>> correlation_traps(w).count
    0.0
    >>> traps = correlation_traps(w + 0.5)
    >>> traps.count, round(traps.mean_spike, 1), correlation_traps(w + 0.5, centre=True).count
    (1.0, 5.3, 0.0)
    """
    matrices = matrices_of(weight)  # (S, N, M)
    if np.ptp(matrices) <= np.finfo(float).eps * np.abs(matrices).max():
        raise ValueError("weight must hold more than one value; got the same in every entry.")
    variance, mean = matrices.var(), matrices.mean()
    if centre:
        matrices = matrices - mean
        mean = 0.0
    n, m = matrices.shape[1:]
    found = np.array([eigenvalues_of(s, True) for s in _shuffled(matrices, permutations, seed)])
    s = np.sqrt(n - 1) + np.sqrt(m)
    width = s * (1 / np.sqrt(max(n - 1, 1)) + 1 / np.sqrt(m)) ** (1 / 3)
    threshold = float(variance / n * (s**2 + TRACY_WIDOM_99 * width))
    beyond = (found > threshold).sum(-1)  # (permutations, S)
    return CorrelationTraps(
        largest=found.max(-1),
        edge=marchenko_pastur_edges(ratio=m / n, variance=float(variance))[1],
        threshold=threshold,
        count=float(beyond.mean()),
        share=float((beyond > 0).mean()),
        mean_spike=float(m * mean**2),
    )


def _shuffled(matrices: np.ndarray, permutations: int, seed: int) -> list[np.ndarray]:
    """`permutations` copies of `matrices` (S, N, M), the entries of each matrix shuffled."""
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    flat = matrices.reshape(len(matrices), -1)
    return [
        rng.permuted(flat, axis=1).reshape(matrices.shape)
        for _ in range(check_int("permutations", permutations))
    ]
