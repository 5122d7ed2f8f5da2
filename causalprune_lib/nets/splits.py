"""Choosing rows by seed, exactly as many as asked, with every class in proportion."""

from __future__ import annotations

import numpy as np

from causalprune_lib._validation import check_int


def class_quotas(counts: np.ndarray, n: int) -> np.ndarray:
    """Split `n` over classes in proportion to `counts` (K,), exactly, by largest remainder.

    Each class gets the whole part of its share n * counts / sum(counts); the places left over go
    to the largest fractional parts, ties to the lower class. A class whose share rounds to nothing
    still gets one place, taken from the class that has most.

    Examples
    --------
    >>> class_quotas(np.array([50, 30, 20]), 7)
    array([4, 2, 1])
    >>> class_quotas(np.array([97, 2, 1]), 10)
    array([8, 1, 1])
    """
    share = n * counts.astype(np.int64)  # numerators over the total: no rounding error
    quotas, remainder = np.divmod(share, counts.sum())
    order = np.argsort(-remainder, kind="stable")
    quotas[order[: n - quotas.sum()]] += 1
    for k in np.flatnonzero((quotas == 0) & (counts > 0)):
        quotas[np.argmax(quotas)] -= 1
        quotas[k] = 1
    return quotas


def stratified_rows(labels: np.ndarray, n: int, *, seed: int, name: str = "n") -> np.ndarray:
    """Choose `n` of N rows at random with every class in proportion.

    Parameters
    ----------
    labels : array (N,)
        The class of each row.
    n : int
        How many rows; exactly this many are returned. At least one per class, at most N.
    seed : int
        The same seed gives the same rows.
    name : str
        How to call `n` in an error.

    Returns
    -------
    array (n,) of int64
        Row numbers in increasing order, so that the order of the data is kept.

    Examples
    --------
    >>> rows = stratified_rows(np.array([0, 0, 0, 0, 1, 1]), 3, seed=0)
    >>> len(rows), int((rows >= 4).sum())
    (3, 1)
    """
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    n = check_int(name, n)
    check_int("seed", seed, minimum=0)
    if n > len(labels):
        raise ValueError(f"{name} must be at most {len(labels)}, all there are; got {n}.")
    if n < len(classes):
        raise ValueError(f"{name} must be at least {len(classes)}, one per class; got {n}.")
    if n == len(labels):
        return np.arange(n)
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero(inverse == k))[:quota]
        for k, quota in enumerate(class_quotas(counts, n))
    ]
    return np.sort(np.concatenate(chosen))


def complement(rows: np.ndarray, n: int) -> np.ndarray:
    """The rows of 0..n-1 that are not in `rows`, in increasing order."""
    return np.setdiff1d(np.arange(n), rows, assume_unique=True)
