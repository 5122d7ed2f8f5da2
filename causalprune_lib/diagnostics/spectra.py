"""WeightWatcher's view of a network, layer by layer: spectra and their power laws.

WeightWatcher (Martin, Peng and Mahoney, Nature Communications 2021) looks at the eigenvalues of
each layer's W^T W, fits a power law to their upper tail, and calls a layer well trained if the
exponent `pl_alpha` lies between 2 and 6, over-trained below and under-trained above. The LEGCNet
paper (arXiv:2308.09955) judges its pruned networks so: section 5.1, table 4, figures 2, 4, 5, 6.

Eigenvalues and the Marchenko-Pastur law are in `random_matrices.py`, correlation traps in
`traps.py`, our own fit in `power_laws.py`, and what an exponent is worth in `exponent_checks.py`.
They can be imported from here.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from causalprune_lib._validation import (
    check_choice,
    check_finite,
    check_fraction,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.nets.parameters import ParameterLayout

# ---- power_laws: Power laws for eigenvalues: the fit behind WeightWatcher's alpha, and how well


SMALL = 20  # below so many eigenvalues WeightWatcher 0.7.7 has another rule


SMALL_TAIL = 8


RULES = ("weightwatcher", "clauset")


@dataclass(frozen=True)
class PowerLawFit:
    """A power law fitted to the upper tail of some values; NaN where it cannot be.

    Attributes
    ----------
    alpha : float
        The exponent, WeightWatcher's `pl_alpha`.
    sigma : float
        (alpha - 1) / sqrt(in_fit): the standard error of alpha if xmin were known.
    xmin : float
        Where the tail begins.
    D : float
        Kolmogorov-Smirnov distance between the tail and the law, as WeightWatcher takes it: at each
        value, with the share of the tail strictly below it.
    in_fit, n : int
        Values in the tail, and values given.
    """

    alpha: float
    sigma: float
    xmin: float
    D: float
    in_fit: int
    n: int


def power_law_fit(values: np.ndarray, *, rule: str = "weightwatcher") -> PowerLawFit:
    r"""Fit a power law to the upper tail of positive numbers.

    For a tail of k values from xmin on,

    .. math:: \hat\alpha = 1 + \frac{k}{\sum_i \log(x_i / x_{\min})},

    and among all tails the one with the smallest distance D is taken.

    Parameters
    ----------
    values : array (n,)
        Positive; any order.
    rule : {"weightwatcher", "clauset"}
        "clauset": as above, for any n, tails of two values or more. "weightwatcher": what
        WeightWatcher 0.7.7 does. From 20 values on it is the same. Below, k - 1 stands in the
        place of k in the estimate, and a tail has at least 8 values.

    Returns
    -------
    PowerLawFit
        NaN, with `in_fit` 0, where there is no tail to fit: fewer than 2 (8) values, or all equal.

    Raises
    ------
    ValueError
        If a value is not a positive number.

    Examples
    --------
    >>> tail = (1 - np.arange(500) / 500) ** (-1 / 1.5)  # quantiles of a law with exponent 2.5
    >>> fit = power_law_fit(tail)
    >>> round(fit.alpha, 1), fit.n
    (2.5, 500)
    """
    x = positive_values(values)
    return fit_ascending(x, check_choice("rule", rule, RULES))


def positive_values(values: np.ndarray) -> np.ndarray:
    """`values` in ascending order, after a check."""
    x = np.asarray(values, dtype=float)
    check_shape("values", x, (None,))
    check_finite("values", x)
    if len(x) and x.min() <= 0:
        raise ValueError(
            f"values must be positive, since a power law is; got {x.min()}. Eigenvalues of zero "
            "have to be left out first."
        )
    return np.sort(x)


def fit_ascending(x: np.ndarray, rule: str) -> PowerLawFit:
    """The fit for ascending positive values (n,)."""
    n = len(x)
    small = rule == "weightwatcher" and n < SMALL
    tails = n - np.arange(n)  # how many values each tail has
    logs = np.log(x)
    spread = logs[::-1].cumsum()[::-1] - tails * logs  # sum of log(x / xmin) over each tail
    first = np.diff(logs, prepend=-np.inf) > 0  # of equal values, the tail begins at the first
    usable = first & (tails >= (SMALL_TAIL if small else 2)) & (spread > 1e-12)
    starts = np.flatnonzero(usable)
    if not len(starts):
        return PowerLawFit(math.nan, math.nan, math.nan, math.nan, 0, n)
    size = tails[starts]
    alphas = 1 + (size - small) / spread[starts]
    distances = np.concatenate(
        [
            _distances(logs, starts[i : i + 256], alphas[i : i + 256])
            for i in range(0, len(starts), 256)
        ]
    )
    best = int(distances.argmin())
    alpha, k = float(alphas[best]), int(size[best])
    return PowerLawFit(
        alpha, (alpha - 1) / k**0.5, float(x[starts[best]]), float(distances[best]), k, n
    )


def _distances(logs: np.ndarray, starts: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Distance D of the tail from each of `starts` on; `logs` (n,) are the values' logarithms."""
    place = np.arange(len(logs))[None] - starts[:, None]  # (starts, n): place in the tail
    above = np.where(place >= 0, logs[None] - logs[starts, None], 0)  # log(x / xmin)
    law = -np.expm1((1 - alphas[:, None]) * above)
    below = place / (len(logs) - starts)[:, None]  # share of the tail below the value
    return np.where(place >= 0, np.abs(law - below), 0).max(1)


# ---- random_matrices: Eigenvalues of a layer, and what they would be if its weights were random


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


# ---- traps: Correlation traps: what stands out in a layer even after its weights have been shuff


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


# ---- exponent_checks: What an exponent of a few eigenvalues is worth: an interval, a null, and a


@dataclass(frozen=True)
class AlphaInterval:
    """How well an exponent is known.

    Attributes
    ----------
    alpha, low, high : float
        The estimate and its interval.
    level : float
        What was asked for; the coverage in truth is said in `alpha_interval`.
    replicates : array
        The exponents of the resampled values, those that could be fitted.
    """

    alpha: float
    low: float
    high: float
    level: float
    replicates: np.ndarray


def alpha_interval(
    values: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
    rule: str = "weightwatcher",
) -> AlphaInterval:
    """A bootstrap interval for the exponent of `power_law_fit`, the choice of xmin included.

    The values are drawn anew with replacement and fitted anew; the interval holds the middle share
    `level` of the exponents.

    Parameters
    ----------
    values, rule
        As for `power_law_fit`.
    level : float
        Between 0 and 1.
    resamples, seed : int
        How many samples, and what fixes them.

    Returns
    -------
    AlphaInterval
        With NaN where the values themselves cannot be fitted.

    Notes
    -----
    The values are taken for independent draws. Eigenvalues of one matrix are not: they repel each
    other. Read the interval as the least that has to be doubted.

    Even for independent draws of a true power law (alpha 2.5, 200 samples each) an interval with
    level 0.95 holds alpha in 82% of the cases for 10 values, 90% for 30 and 97% for 50. It is 3.4,
    2.3 and 1.4 wide.

    Examples
    --------
    >>> values = np.random.default_rng(0).pareto(1.5, 50) + 1
    >>> interval = alpha_interval(values)
    >>> interval.low < 2.5 < interval.high
    True
    """
    x = positive_values(values)
    check_choice("rule", rule, RULES)
    if not 0 < check_fraction("level", level) < 1:
        raise ValueError(f"level must be between 0 and 1; got {level!r}.")
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    resamples = check_int("resamples", resamples)
    alpha = fit_ascending(x, rule).alpha
    if math.isnan(alpha):
        return AlphaInterval(math.nan, math.nan, math.nan, level, np.empty(0))
    samples = np.sort(x[rng.integers(len(x), size=(resamples, len(x)))], axis=1)
    found = np.array([fit_ascending(sample, rule).alpha for sample in samples])
    found = found[np.isfinite(found)]
    low, high = math.nan, math.nan
    if len(found) > 1:
        low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return AlphaInterval(alpha, float(low), float(high), level, found)


def untrained_alphas(
    n: int, m: int, *, draws: int = 200, seed: int = 0, rule: str = "weightwatcher"
) -> np.ndarray:
    """Exponents of layers that were never trained: what `pl_alpha` says about nothing at all.

    Parameters
    ----------
    n, m : int
        The two sides of the layer, in any order.
    draws, seed : int
        How many layers, and what fixes them. Their entries are uniform, as PyTorch initialises
        linear layers; the scale does not matter, the exponent has none.
    rule : str
        As for `power_law_fit`.

    Returns
    -------
    array (draws,)

    Examples
    --------
    >>> alphas = untrained_alphas(50, 30, draws=50)
    >>> bool(((alphas > 2) & (alphas < 6)).mean() > 0.7)  # "well trained"
    True
    """
    check_choice("rule", rule, RULES)
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    shape = check_int("n", n), check_int("m", m)
    layers = (rng.uniform(-1, 1, shape) for _ in range(check_int("draws", draws)))
    return np.array([fit_ascending(esd(layer), rule).alpha for layer in layers])


def power_law_sample(
    n: int, *, alpha: float, xmin: float = 1.0, generator: np.random.Generator
) -> np.ndarray:
    """(n,) independent draws from a power law with exponent `alpha` > 1 from `xmin` on.

    Examples
    --------
    >>> values = power_law_sample(3, alpha=2.5, generator=np.random.default_rng(0))
    >>> bool(values.min() >= 1)
    True
    """
    check_int("n", n, minimum=0)
    if not check_positive("alpha", alpha) > 1:
        raise ValueError(f"alpha must be above 1, or the density has no end; got {alpha!r}.")
    check_positive("xmin", xmin)
    return xmin * (1 - generator.uniform(size=n)) ** (-1 / (alpha - 1))


def power_law_pvalue(
    values: np.ndarray, *, samples: int = 200, seed: int = 0, rule: str = "weightwatcher"
) -> float:
    """Test whether the tail of some values may come from a power law.

    The fitted law is drawn from anew, `samples` times, each time with a body resampled from the
    values below `xmin`, and fitted anew. The p-value is the share of these fits that lie at least
    as far from their law as the values do from theirs (distance D). Clauset, Shalizi and Newman
    give up the power law below 0.1.

    A large p-value is no evidence for a power law where the values are few. With 40 samples of
    lognormal values, 10% were turned down for 10 values, 8% for 50 and 28% for 300.

    Parameters
    ----------
    values, rule
        As for `power_law_fit`.
    samples, seed : int
        How many draws, and what fixes them.

    Returns
    -------
    float
        NaN where the values cannot be fitted.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> power_law_pvalue(power_law_sample(200, alpha=2.5, generator=rng)) > 0.1
    True
    """
    x = positive_values(values)
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    samples = check_int("samples", samples)
    fit = fit_ascending(x, check_choice("rule", rule, RULES))
    if math.isnan(fit.alpha):
        return math.nan
    body = x[x < fit.xmin]
    further = 0
    for k in rng.binomial(fit.n, fit.in_fit / fit.n if len(body) else 1, size=samples):
        tail = power_law_sample(k, alpha=fit.alpha, xmin=fit.xmin, generator=rng)
        again = np.concatenate([rng.choice(body, fit.n - k), tail]) if len(body) else tail
        further += fit_ascending(np.sort(again), rule).D >= fit.D
    return further / samples


# ---- spectra: WeightWatcher's view of a network, layer by layer: spectra and their power laws.


NOISE = 1e-5  # WeightWatcher fits the eigenvalues of W^T W above this


FITTED = {  # WeightWatcher's columns and ours
    "num_pl_spikes": "in_fit",
    "alpha": "pl_alpha",
    "sigma": "sigma",
    "xmin": "xmin",
    "D": "D",
    "alpha_weighted": "alpha_weighted",
    "log_alpha_norm": "log_alpha_norm",
}


COLUMNS = (
    *("layer", "n", "m", "eigenvalues", "nonzero", *FITTED.values()),
    *("log_norm", "log_spectral_norm", "stable_rank", "warning", "reason"),
)


def layer_spectra(
    model: nn.Module,
    *,
    min_eigenvalues: int = 8,
    interval: bool = False,
    traps: bool = False,
    level: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    r"""What WeightWatcher says of each layer, one row per linear or convolution layer.

    Parameters
    ----------
    model : nn.Module
        Any network; it is only read. Masked weights count as the zeros that they are.
    min_eigenvalues : int
        A layer with fewer eigenvalues above 1e-5 is not fitted. 8, the default and the least, is
        WeightWatcher's own limit; a remark in its code says "really 50".
    interval : bool
        Adds the columns `alpha_low` and `alpha_high` from `alpha_interval`, with `level`,
        `resamples` and `seed`.
    traps : bool
        Adds the column `num_traps`: the correlation traps that WeightWatcher counts, with `seed`.
        Of a layer with fewer than 100 eigenvalues it counts them in five shuffles together, so one
        trap gives 5. It takes some seconds.

    Returns
    -------
    pandas.DataFrame
        - `layer`; `n` and `m`, the longer and shorter side of its matrix; `eigenvalues`, how many
          W^T W has (for a convolution, m times the positions of the kernel); `nonzero`, how many
          are above 1e-5;
        - `in_fit`, eigenvalues in the tail; `pl_alpha`, its exponent; `sigma`, the standard error
          if `xmin` were known; `xmin`, where the tail begins; `D`, the Kolmogorov-Smirnov distance;
        - `alpha_weighted` = pl_alpha log10(lambda_max), `log_alpha_norm` = log10 of the sum of
          lambda^pl_alpha, with the eigenvalues of W^T W, not over N (for a convolution: half of
          them);
        - `log_norm` = log10 of the sum of the eigenvalues, `log_spectral_norm` =
          log10(lambda_max), `stable_rank` = sum / lambda_max;
        - `warning`: "over-trained" for pl_alpha < 2, "under-trained" for > 6, else empty;
        - `reason`: why a layer was not fitted, else empty. The columns of the fit are then NaN.

    Raises
    ------
    ValueError
        If the model has no such layer, or a weight holds NaN or infinity.
    ModuleNotFoundError
        If the package weightwatcher is not there: `pip install causalprune-lib[diagnostics]`.

    Notes
    -----
    WeightWatcher itself gives -1 for a failed fit and "over-trained" with it, leaves out small
    layers without a word, and of a 1-D convolution keeps only the largest few eigenvalues. Here
    such layers have NaN and a reason. The scale of the weights moves `alpha_weighted`, and through
    that limit of 1e-5 also which eigenvalues are fitted, but no exponent fitted to the same ones.

    Examples
    --------
    >>> from causalprune_lib.nets.models import MLP
    >>> frame = layer_spectra(MLP([9, 6, 1]))
    >>> frame["pl_alpha"].tolist(), frame["reason"].tolist()[0]
    ([nan, nan], '6 eigenvalues above 1e-05; a fit needs 8')
    """
    check_int("min_eigenvalues", min_eigenvalues, minimum=8)
    weights = ParameterLayout.of(model).tensors(model)  # masks applied
    for name, weight in weights.items():
        check_finite(f"weight {name!r}", weight)
    rows = {name: _row(model, name, weight, min_eigenvalues) for name, weight in weights.items()}
    readable = {name: weights[name] for name, row in rows.items() if not row["reason"]}
    fits = _weightwatcher(readable, seed=seed if traps else None)
    for name, row in rows.items():
        if row["reason"]:
            continue
        fit = fits.get(name)
        if fit is None or fit["status"] != "success" or not math.isfinite(fit["alpha"]):
            row["reason"] = "WeightWatcher found no fit"
            continue
        row |= {ours: float(fit[theirs]) for theirs, ours in FITTED.items()}
        row["warning"] = fit["warning"]
        if traps:
            row["num_traps"] = float(fit["num_traps"])
        if interval:
            values = _eigenvalues(weights[name])
            values = values[values > NOISE]
            found = alpha_interval(values, level=level, resamples=resamples, seed=seed)
            row |= {"alpha_low": found.low, "alpha_high": found.high}
    asked = [*["alpha_low", "alpha_high"] * interval, *["num_traps"] * traps]
    return pd.DataFrame(list(rows.values()), columns=[*COLUMNS[:-2], *asked, *COLUMNS[-2:]])


def _row(model: nn.Module, name: str, weight: torch.Tensor, least: int) -> dict[str, object]:
    """What can be said of a layer without a fit, and why there will be none."""
    layer = name.rpartition(".")[0]
    kind = type(model.get_submodule(layer)).__name__
    row = dict.fromkeys(COLUMNS, math.nan) | {"layer": layer or "(model)", "warning": ""}
    if weight.dim() not in (2, 4) or "Transpose" in kind:
        return row | {"reason": f"WeightWatcher does not read a {kind}"}
    values = _eigenvalues(weight)
    nonzero = int((values > NOISE).sum())
    sides = weight.shape[:2]
    row |= {"n": max(sides), "m": min(sides), "eigenvalues": len(values), "nonzero": nonzero}
    if values[-1] > 0:
        row["log_norm"] = math.log10(values.sum())
        row["log_spectral_norm"] = math.log10(values[-1])
        row["stable_rank"] = float(values.sum() / values[-1])
    enough = nonzero >= least
    return row | {
        "reason": "" if enough else f"{nonzero} eigenvalues above {NOISE:g}; a fit needs {least}"
    }


def _eigenvalues(weight: torch.Tensor) -> np.ndarray:
    """Eigenvalues as WeightWatcher has them: of W^T W, for a convolution half of that."""
    return esd(weight, normalise=False) / (1 if weight.dim() == 2 else 2)


def _weightwatcher(
    weights: Mapping[str, torch.Tensor], *, seed: int | None
) -> dict[str, dict[str, object]]:
    """WeightWatcher's row for each of `weights`, by name; with a seed, it looks for traps too.

    It gets a stand-in network of copies: it writes names into the layers that it reads, and would
    take a masked layer's `weight` as the last forward pass left it.
    """
    if not weights:
        return {}
    stand_in = nn.ModuleList()
    for weight in weights.values():
        out, into, *kernel = weight.shape
        if kernel:
            layer = nn.utils.skip_init(nn.Conv2d, into, out, tuple(kernel), bias=False)
        else:
            layer = nn.utils.skip_init(nn.Linear, into, out, bias=False)
        layer.weight = nn.Parameter(weight.detach().cpu().clone(), requires_grad=False)
        stand_in.append(layer)
    with _undisturbed():
        from weightwatcher import WeightWatcher

        logging.getLogger("weightwatcher").setLevel(logging.CRITICAL)
        if seed is not None:
            np.random.seed(seed)  # it shuffles with NumPy's global generator
        details = WeightWatcher(model=stand_in).analyze(min_evals=1, randomize=seed is not None)
    names = list(weights)
    return {names[int(row["longname"])]: row for row in details.to_dict("records")}


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put back what importing and running WeightWatcher changes in the rest of the program.

    It installs a handler of the root logger, silences all warnings of the process, prints, and
    draws from NumPy's global generator.
    """
    waste, state = io.StringIO(), np.random.get_state()
    loggers = [logging.getLogger(name) for name in (None, "weightwatcher", "matplotlib")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    try:
        with warnings.catch_warnings(), redirect_stdout(waste), redirect_stderr(waste):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers
