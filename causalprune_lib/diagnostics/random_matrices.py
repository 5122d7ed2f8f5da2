"""Eigenvalues of a layer, and what they would be if its weights were random numbers.

A layer's weight matrix W, turned so that its N rows are no fewer than its M columns, has the
correlation matrix X = W^T W / N. Its M eigenvalues are the empirical spectral density (ESD) that
WeightWatcher draws. If the entries of W are independent, with one variance, the ESD tends to the
law of Marchenko and Pastur (1967), which has a sharp upper edge. Training shows as eigenvalues
beyond the edge; so does one very large weight, and so does a mean that is not zero.

The weights are read and never changed. Nothing here needs WeightWatcher; that is in `spectra.py`.
"""

from __future__ import annotations

import numpy as np
import torch

from causalprune_lib._validation import check_finite, check_fraction, check_int, check_positive


def esd(weight: torch.Tensor | np.ndarray, *, normalise: bool = True) -> np.ndarray:
    r"""Eigenvalues of the correlation matrix of one layer, in ascending order.

    Parameters
    ----------
    weight : tensor or array, shape (R, C) or (R, C, height, width)
        The weight in use: for a masked layer, with its zeros. A convolution is read as
        WeightWatcher reads it: one (R, C) matrix per position of the kernel, eigenvalues pooled.
    normalise : bool
        True: of X = W^T W / N, with N = max(R, C). False: of W^T W, as WeightWatcher takes them.

    Returns
    -------
    array (M,) of float64, M = min(R, C), times height * width for a convolution.

    Raises
    ------
    ValueError
        If `weight` has other dimensions, is empty, or holds NaN or infinity.

    Examples
    --------
    >>> esd(torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).round(3).tolist()
    [0.333, 3.0]
    """
    matrices = matrices_of(weight)  # (S, N, M)
    return np.sort(eigenvalues_of(matrices, normalise).ravel())


def randomised_esd(
    weight: torch.Tensor | np.ndarray,
    *,
    permutations: int = 20,
    seed: int = 0,
    normalise: bool = True,
) -> np.ndarray:
    """The ESD after shuffling the entries of the matrix: same numbers, no structure.

    Parameters
    ----------
    weight, normalise
        As for `esd`. In a convolution each (R, C) matrix is shuffled on its own.
    permutations : int
        How often.
    seed : int
        Fixes the shuffles.

    Returns
    -------
    array (permutations, eigenvalues), each row ascending.

    Examples
    --------
    >>> w = torch.ones(40, 3).cumsum(1)  # three constant columns: rank one
    >>> esd(w).round(3).tolist()
    [0.0, 0.0, 14.0]
    >>> bool((randomised_esd(w, seed=1)[:, 0] > 0.1).all())
    True
    """
    copies = shuffled(matrices_of(weight), permutations, seed)
    return np.sort([eigenvalues_of(matrices, normalise).ravel() for matrices in copies], axis=1)


def marchenko_pastur_edges(*, ratio: float, variance: float = 1.0) -> tuple[float, float]:
    r"""Lower and upper edge of the Marchenko-Pastur law, :math:`\sigma^2 (1 \mp \sqrt{q})^2`.

    `ratio` q = M / N in (0, 1] and `variance` sigma^2 of the entries, as for `marchenko_pastur`.

    Examples
    --------
    >>> marchenko_pastur_edges(ratio=0.25)
    (0.25, 2.25)
    """
    q, variance = _law(ratio, variance)
    return variance * (1 - q**0.5) ** 2, variance * (1 + q**0.5) ** 2


def marchenko_pastur(x: np.ndarray, *, ratio: float, variance: float = 1.0) -> np.ndarray:
    r"""Density of the eigenvalues of W^T W / N for a large random W.

    .. math:: p(x) = \frac{\sqrt{(b - x)(x - a)}}{2 \pi q \sigma^2 x}, \quad a < x < b,
              \qquad a, b = \sigma^2 (1 \mp \sqrt q)^2.

    Parameters
    ----------
    x : array
        Where, any shape. Outside the edges the density is zero.
    ratio : float
        q = M / N in (0, 1], columns over rows. WeightWatcher's Q is 1 / q.
    variance : float
        sigma^2, the variance of one entry of W.

    Returns
    -------
    array of the shape of `x`.

    Notes
    -----
    The entries must be independent with mean zero and one variance; their law does not matter in
    the limit of many. Marchenko and Pastur, "Distribution of eigenvalues for some sets of random
    matrices", 1967.

    Examples
    --------
    >>> marchenko_pastur(np.array([0.1, 1.0, 3.0]), ratio=0.25).round(4).tolist()
    [0.0, 0.6164, 0.0]
    """
    q, variance = _law(ratio, variance)
    a, b = marchenko_pastur_edges(ratio=q, variance=variance)
    x = np.asarray(x, dtype=float)
    inside = (x > a) & (x < b)
    safe = np.where(inside, x, (a + b) / 2)
    return np.where(inside, np.sqrt((b - safe) * (safe - a)) / (2 * np.pi * q * variance * safe), 0)


def marchenko_pastur_cdf(x: np.ndarray, *, ratio: float, variance: float = 1.0) -> np.ndarray:
    """Distribution function of `marchenko_pastur`, in closed form; parameters as there.

    Examples
    --------
    >>> marchenko_pastur_cdf(np.array([0.2, 1.0, 2.25]), ratio=0.25).round(4).tolist()
    [0.0, 0.5534, 1.0]
    """
    q, variance = _law(ratio, variance)
    a, b = marchenko_pastur_edges(ratio=q)  # in units of the variance
    x = np.asarray(x, dtype=float) / variance
    inside = (x > a) & (x < b)
    safe = np.where(inside, x, (a + b) / 2)
    r = np.sqrt((b - safe) / (safe - a))
    area = np.pi * q + np.sqrt((b - safe) * (safe - a))
    area -= (1 + q) * np.arctan((r**2 - 1) / (2 * r))
    if q < 1:
        area += (1 - q) * np.arctan((a * r**2 - b) / (2 * (1 - q) * r))
    return np.where(inside, area / (2 * np.pi * q), (x >= b).astype(float))


def _law(ratio: float, variance: float) -> tuple[float, float]:
    check_positive("ratio", ratio)
    return check_fraction("ratio", ratio), check_positive("variance", variance)


def matrices_of(weight: torch.Tensor | np.ndarray) -> np.ndarray:
    """The matrices (S, N, M) of a layer with N >= M, in float64; a new array or a view."""
    if isinstance(weight, torch.Tensor):
        weight = weight.detach().cpu().double().numpy()
    weight = np.asarray(weight, dtype=float)
    if weight.ndim not in (2, 4) or weight.size == 0:
        raise ValueError(
            "weight must be a matrix (R, C) or a 2-D convolution (R, C, height, width) with at "
            f"least one entry; got shape {weight.shape}."
        )
    check_finite("weight", weight)
    rows, columns = weight.shape[:2]
    matrices = weight.reshape(rows, columns, -1).transpose(2, 0, 1)  # (S, R, C)
    return matrices if rows >= columns else matrices.transpose(0, 2, 1)


def eigenvalues_of(matrices: np.ndarray, normalise: bool) -> np.ndarray:
    """Eigenvalues (S, M) of W^T W for each W of `matrices` (S, N, M), over N if `normalise`."""
    squares = np.linalg.svd(matrices, compute_uv=False) ** 2
    return squares / matrices.shape[1] if normalise else squares


def shuffled(matrices: np.ndarray, permutations: int, seed: int) -> list[np.ndarray]:
    """`permutations` copies of `matrices` (S, N, M), the entries of each matrix shuffled."""
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    flat = matrices.reshape(len(matrices), -1)
    return [
        rng.permuted(flat, axis=1).reshape(matrices.shape)
        for _ in range(check_int("permutations", permutations))
    ]
