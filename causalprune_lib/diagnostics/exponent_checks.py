"""What an exponent of a few eigenvalues is worth: an interval, a null, and a test of the law.

`power_law_fit` gives an exponent for any numbers. Three questions come before anyone reads it. How
unsure is it? What does a layer of this shape give that was never trained? And does the tail look
like a power law at all? The second has no answer in WeightWatcher, the first and the third have one
in Clauset, Shalizi and Newman, "Power-law distributions in empirical data" (2009).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from causalprune_lib._validation import check_choice, check_fraction, check_int, check_positive
from causalprune_lib.diagnostics.power_laws import RULES, fit_ascending, positive_values
from causalprune_lib.diagnostics.random_matrices import esd


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
