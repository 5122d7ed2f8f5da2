"""Correlation traps: what stands out in a layer even after its weights have been shuffled.

The LEGCNet paper (arXiv:2308.09955, section 5.1 and figure 2) points at them and takes them as the
mark of a well-trained layer. The authors of WeightWatcher, whose words it repeats, take them as the
mark of an over-trained one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib.diagnostics.random_matrices import (
    eigenvalues_of,
    marchenko_pastur_edges,
    matrices_of,
    shuffled,
)

TRACY_WIDOM_99 = 2.0234  # the 99% point of the Tracy-Widom law of real matrices


@dataclass(frozen=True, eq=False)
class CorrelationTraps:
    """What stands out in a layer whose entries have been shuffled.

    Attributes
    ----------
    largest : array (permutations, matrices)
        The largest eigenvalue of each shuffled X = W^T W / N.
    edge : float
        Upper edge of the Marchenko-Pastur law with the variance of the entries about their mean.
    threshold : float
        Where an eigenvalue of independent light-tailed entries comes once in a hundred times.
    count : float
        Eigenvalues beyond `threshold`, mean over the shuffled matrices.
    share : float
        Share of the shuffled matrices with at least one: about 0.01 without a trap.
    mean_spike : float
        M times the squared mean of the entries. A mean that is not zero survives every shuffle and
        makes one eigenvalue of about this size, and that alone can look like a trap.
    """

    largest: np.ndarray
    edge: float
    threshold: float
    count: float
    share: float
    mean_spike: float


def correlation_traps(
    weight: torch.Tensor | np.ndarray,
    *,
    permutations: int = 20,
    seed: int = 0,
    centre: bool = False,
) -> CorrelationTraps:
    r"""Look for eigenvalues of the shuffled layer beyond the Marchenko-Pastur edge.

    After a shuffle only the values of the weights are left, not their places. An eigenvalue far
    outside then comes from a few very large weights or from a mean that is not zero. WeightWatcher
    calls it a correlation trap and takes it as a sign of overtraining.

    The largest eigenvalue of a random matrix scatters about the edge with a width that falls as
    :math:`M^{-2/3}`. With :math:`s = \sqrt{N - 1} + \sqrt{M}` the threshold is

    .. math:: \frac{\sigma^2}{N} \left[ s^2 + 2.0234\, s
              \left(\tfrac{1}{\sqrt{N-1}} + \tfrac{1}{\sqrt M}\right)^{1/3} \right],

    the 99% point of the Tracy-Widom law (Johnstone, "On the distribution of the largest eigenvalue
    in principal components analysis", 2001).

    That law is for light tails. A pruned layer, whose entries are many zeros and a few others, can
    pass the threshold for this alone: of shuffled random layers with nine entries in ten set to
    zero about 60% do (784 by 50, and 50 by 30).

    Parameters
    ----------
    weight, permutations, seed
        As for `randomised_esd`.
    centre : bool
        Take the mean off the entries first.

    Returns
    -------
    CorrelationTraps

    Raises
    ------
    ValueError
        If all entries are equal: there is no variance to compare with.

    Examples
    --------
    >>> w = torch.randn(100, 20, generator=torch.Generator().manual_seed(0))
    >>> correlation_traps(w).count
    0.0
    >>> traps = correlation_traps(w + 0.5)
    >>> traps.count, round(traps.mean_spike, 1), correlation_traps(w + 0.5, centre=True).count
    (1.0, 5.3, 0.0)
    """
    matrices = matrices_of(weight)
    variance, mean = matrices.var(), matrices.mean()
    if not variance > 0:
        raise ValueError("weight must hold more than one value; got the same in every entry.")
    if centre:
        matrices = matrices - mean
        mean = 0.0
    n, m = matrices.shape[1:]
    found = np.array([eigenvalues_of(s, True) for s in shuffled(matrices, permutations, seed)])
    s = np.sqrt(n - 1) + np.sqrt(m)
    width = s * (1 / np.sqrt(max(n - 1, 1)) + 1 / np.sqrt(m)) ** (1 / 3)
    threshold = float(variance / n * (s**2 + TRACY_WIDOM_99 * width))
    beyond = (found > threshold).sum(-1)  # (permutations, matrices)
    return CorrelationTraps(
        largest=found.max(-1),
        edge=marchenko_pastur_edges(ratio=m / n, variance=float(variance))[1],
        threshold=threshold,
        count=float(beyond.mean()),
        share=float((beyond > 0).mean()),
        mean_spike=float(m * mean**2),
    )
