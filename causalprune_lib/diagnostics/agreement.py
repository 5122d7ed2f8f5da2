"""Do two networks explain themselves alike? Feature importance, and how far two rankings agree.

The LEGCNet paper (arXiv:2308.09955, figures 3, 7 and 8) says by eye that the features keep their
order after pruning. Here the agreement is a number with an interval. It needs a yardstick: how far
two dense networks agree that differ only in their seed.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from causalprune_lib._validation import check_finite, check_fraction, check_int, check_shape

STATISTICS = ("spearman", "kendall", "top_k", "shares", "attributions")


def global_importance(
    values: np.ndarray, *, normalise: bool = False, per_class: bool = False
) -> np.ndarray:
    """Mean absolute attribution of each feature.

    Parameters
    ----------
    values : array (N, F, K)
        Attributions, as from `shap_values`.
    normalise : bool
        Divide by the sum over the features. All zero stays all zero.
    per_class : bool
        True: a mean over the N examples for each output. False: over the outputs too.

    Returns
    -------
    array (F,), or (F, K) with `per_class`

    Examples
    --------
    >>> values = np.array([[[1.0], [-3.0]], [[-1.0], [1.0]]])
    >>> global_importance(values).tolist(), global_importance(values, normalise=True).tolist()
    ([1.0, 2.0], [0.3333333333333333, 0.6666666666666666])
    """
    importance = np.abs(_attributions("values", values)).mean(0)  # (F, K)
    if not per_class:
        importance = importance.mean(1)
    if not normalise:
        return importance
    total = importance.sum(0)
    return importance / np.where(total > 0, total, 1)


def rank_agreement(
    a: np.ndarray,
    b: np.ndarray,
    *,
    k: int,
    level: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """How far two sets of attributions agree on which features matter.

    Parameters
    ----------
    a, b : array (N, F, K)
        Attributions of two networks for the same N examples.
    k : int
        How many top features to compare, at most F.
    level, resamples, seed
        Of the bootstrap: examples are drawn anew, the same ones for both networks. The interval
        says how far the agreement depends on these examples. It knows nothing of other seeds of
        the networks. No resamples, no interval.

    Returns
    -------
    pandas.DataFrame
        Five rows, columns `statistic`, `value`, `low`, `high`, `examples`, `features`. All are 1
        for a network and itself:

        - "spearman": the correlation of the ranks of `global_importance`, ties sharing a rank;
        - "kendall": tau-b, pairs in the same order less pairs in the opposite one;
        - "top_k": the share of the k most important features that both have. Features tied for the
          last places share them;
        - "shares": how much of the normalised importances p and q coincides, sum_f min(p_f, q_f).
          0 where no feature matters to both. It sees what a ranking of few features cannot;
        - "attributions": the correlation of the N F K attributions, signs included, about their
          means. The only one that looks at single examples.

        Correlations are NaN where one side does not vary, and "shares" where nothing matters. With
        few features the value can lie at the end of its interval: nothing is higher than full
        agreement.

    Raises
    ------
    ValueError
        If the shapes differ, k is too large, or a value is not finite.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=(50, 4, 1)) * [[[1], [2], [3], [4]]]
    >>> frame = rank_agreement(values, -values, k=2)  # only the last looks at signs
    >>> frame["value"].round(6).tolist()
    [1.0, 1.0, 1.0, 1.0, -1.0]
    """
    a, b = _attributions("a", a), _attributions("b", b)
    check_shape("b", b, a.shape)
    n, features, _ = a.shape
    if check_int("k", k) > features:
        raise ValueError(f"k must be at most the number of features, {features}; got {k}.")
    if not 0 < check_fraction("level", level) < 1:
        raise ValueError(f"level must be between 0 and 1; got {level!r}.")
    check_int("resamples", resamples, minimum=0)
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n  # (resamples, N)
    weights = np.vstack([np.full(n, 1 / n), drawn])  # the first row: every example once
    importances = (weights @ np.abs(v).mean(2) for v in (a, b))  # (1 + resamples, F)
    found = np.column_stack(
        [
            [_agree(p, q, k) for p, q in zip(*importances, strict=True)],
            _correlation(a.reshape(n, -1), b.reshape(n, -1), weights),
        ]
    )
    rows = []
    for j, statistic in enumerate(STATISTICS):
        again = found[1:, j][np.isfinite(found[1:, j])]
        low, high = (math.nan, math.nan)
        if len(again):
            low, high = np.quantile(again, [(1 - level) / 2, (1 + level) / 2])
        rows.append((statistic, found[0, j], float(low), float(high), n, features))
    return pd.DataFrame(rows, columns=["statistic", "value", "low", "high", "examples", "features"])


def _agree(p: np.ndarray, q: np.ndarray, k: int) -> tuple[float, float, float, float]:
    """Spearman, Kendall, overlap of the top `k` and of the shares of two importances (F,)."""
    totals = p.sum() * q.sum()
    shares = np.minimum(p / p.sum(), q / q.sum()).sum() if totals > 0 else math.nan
    # what differs by rounding alone is tied: features that are cut off have 0 or 1e-17
    p, q = (stats.rankdata(np.round(v / (v.max() or 1), 10)) for v in (p, q))
    if np.ptp(p) == 0 or np.ptp(q) == 0:
        rho = tau = math.nan
    else:
        rho, tau = np.corrcoef(p, q)[0, 1], stats.kendalltau(p, q).statistic
    overlap = np.minimum(_places(p, k), _places(q, k)).sum() / k
    return float(rho), float(tau), float(overlap), float(shares)


def _correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the entries of `a` and `b` (N, M), examples weighted (R, N)."""
    a, b = a - a.mean(), b - b.mean()  # for precision; the weighted means follow
    mean_a, mean_b = weights @ a.mean(1), weights @ b.mean(1)
    cov = weights @ (a * b).mean(1) - mean_a * mean_b
    var_a, var_b = weights @ (a**2).mean(1) - mean_a**2, weights @ (b**2).mean(1) - mean_b**2
    product = np.sqrt(np.clip(var_a, 0, None) * np.clip(var_b, 0, None))
    return np.divide(cov, product, out=np.full(len(weights), math.nan), where=product > 0)


def _places(ranks: np.ndarray, k: int) -> np.ndarray:
    """How much of a place among the top `k` each feature has: 1, 0, or a share where tied."""
    last = np.sort(ranks)[-k]
    above, tied = ranks > last, ranks == last
    return above + tied * (k - above.sum()) / tied.sum()


def _attributions(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    check_shape(name, values, (None, None, None))
    if values.size == 0:
        raise ValueError(f"{name} must hold at least one attribution; got shape {values.shape}.")
    check_finite(name, values)
    return values
