"""What an exponent of a few eigenvalues is worth: draws from known laws, a null, and a test.

The test is that of Clauset, Shalizi and Newman (SIAM Review 2009); the null are layers that were
never trained. All fits are by WeightWatcher's rule.
"""

from __future__ import annotations

import math

import numpy as np

from causalprune_lib._validation import check_int, check_positive
from causalprune_lib.diagnostics.spectra import esd, fit_ascending, positive_values


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


def sampled_alphas(
    n: int, *, alpha: float, draws: int = 200, generator: np.random.Generator
) -> np.ndarray:
    """Exponents (draws,) fitted to samples of n values from a power law.

    Examples
    --------
    >>> alphas = sampled_alphas(500, alpha=2.5, draws=20, generator=np.random.default_rng(0))
    >>> bool(abs(np.median(alphas) - 2.5) < 0.1)
    True
    """
    samples = (power_law_sample(n, alpha=alpha, generator=generator) for _ in range(draws))
    return np.array([fit_ascending(np.sort(sample)).alpha for sample in samples])


def untrained_alphas(n: int, m: int, *, draws: int = 200, seed: int = 0) -> np.ndarray:
    """Exponents (draws,) of layers of n by m weights that were never trained.

    Their entries are uniform, as PyTorch initialises linear layers; the scale does not matter, the
    exponent has none.

    Examples
    --------
    >>> alphas = untrained_alphas(50, 30, draws=50)
    >>> bool(((alphas > 2) & (alphas < 6)).mean() > 0.7)  # "well trained"
    True
    """
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    shape = check_int("n", n), check_int("m", m)
    layers = (rng.uniform(-1, 1, shape) for _ in range(check_int("draws", draws)))
    return np.array([fit_ascending(esd(layer)).alpha for layer in layers])


def power_law_pvalue(values: np.ndarray, *, samples: int = 200, seed: int = 0) -> float:
    """Test whether the tail of some values may come from a power law; NaN without a fit.

    The fitted law is drawn from anew, `samples` times, each time with a body resampled from the
    values below `xmin`, and fitted anew. The p-value is the share of these fits that lie at least
    as far from their law as the values do from theirs (distance D). Clauset, Shalizi and Newman
    give up the power law below 0.1.

    A large p-value is no evidence for a power law where the values are few. With 40 samples of
    lognormal values, 10% were turned down for 10 values, 8% for 50 and 28% for 300.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> power_law_pvalue(power_law_sample(200, alpha=2.5, generator=rng)) > 0.1
    True
    """
    x = positive_values(values)
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    check_int("samples", samples)
    fit = fit_ascending(x)
    if math.isnan(fit.alpha):
        return math.nan
    body = x[x < fit.xmin]
    as_far = 0
    for k in rng.binomial(fit.n, fit.in_fit / fit.n if len(body) else 1, size=samples):
        tail = power_law_sample(k, alpha=fit.alpha, xmin=fit.xmin, generator=rng)
        again = np.concatenate([rng.choice(body, fit.n - k), tail]) if len(body) else tail
        as_far += fit_ascending(np.sort(again)).D >= fit.D
    return as_far / samples
