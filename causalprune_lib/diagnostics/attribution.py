"""SHAP: what each feature of an input adds to the output of a network.

The players of the game are the features. A coalition is worth what the network gives on average
when its features are those of the example and all others come from a background set:

    v(S) = mean over b of f(x_S, b_rest)

The Shapley values of this game add up to f(x) - mean f(background). `method="exact"` asks for every
coalition; the package `shap` (Lundberg and Lee 2017) estimates them, by a regression on coalitions
("kernel") or in one backward pass with DeepLIFT's rules ("deep").

The LEGCNet paper (arXiv:2308.09955) compares dense and pruned networks so: section 5.1, figures 3,
7 and 8. The games are in `shapley.py`, the comparison of two networks in `agreement.py`; they can
be imported from here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import factorial

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn
from torch.nn.utils import prune

from causalprune_lib._validation import (
    check_choice,
    check_finite,
    check_fraction,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.nets.training import device_and_dtype, try_forward
from causalprune_lib.pruning.masks import clone_model, remove_masks

# ---- shapley: Shapley values of a small game, exactly: who contributed what, from the worth of e


MOST_PLAYERS = 16


def exact_shapley(game: Callable[[frozenset[int]], float | np.ndarray], n: int) -> np.ndarray:
    r"""Shapley values by asking for the worth of every coalition.

    .. math:: \phi_i = \sum_{S \not\ni i} \frac{|S|!\,(n - |S| - 1)!}{n!}
              \left[ v(S \cup \{i\}) - v(S) \right]

    Parameters
    ----------
    game : callable
        v: takes a frozenset of players 0..n-1 and returns its worth, a number or an array of any
        one shape. It is called once for each of the 2^n coalitions.
    n : int
        Number of players, at most 16.

    Returns
    -------
    array (n, ...)
        One value per player, of the shape that `game` returns. Their sum is v(all) - v(none).

    Examples
    --------
    Two players: alone they are worth 10 and 20, together 50.

    >>> worth = {(): 0, (0,): 10, (1,): 20, (0, 1): 50}
    >>> exact_shapley(lambda players: worth[tuple(sorted(players))], 2).tolist()
    [20.0, 30.0]
    """
    _check_players("n", n)
    return shapley_of_worths(np.array([game(players_of(i)) for i in range(2**n)], dtype=float))


def players_of(i: int) -> frozenset[int]:
    """The players of coalition number `i`: those whose bit is set in it.

    Examples
    --------
    >>> sorted(players_of(5))
    [0, 2]
    """
    return frozenset(player for player in range(i.bit_length()) if i >> player & 1)


def coalitions(n: int) -> np.ndarray:
    """All coalitions of `n` players: bool (2^n, n), row i being `players_of(i)`.

    Examples
    --------
    >>> coalitions(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    _check_players("n", n)
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)


def shapley_of_worths(worths: np.ndarray) -> np.ndarray:
    """Shapley values (n, ...) from the worths (2^n, ...) of all coalitions, in that order.

    Examples
    --------
    >>> shapley_of_worths(np.array([0.0, 10.0, 20.0, 50.0])).tolist()
    [20.0, 30.0]
    """
    worths = np.asarray(worths, dtype=float)
    n = len(worths).bit_length() - 1 if worths.ndim else 0
    if n < 1 or len(worths) != 2**n:
        raise ValueError(f"worths must have shape (2^n, ...), n >= 1; got {worths.shape}.")
    member = coalitions(n)
    size = member.sum(1)
    joined = np.array([factorial(s - 1) * factorial(n - s) if s else 0 for s in size])
    absent = np.array([factorial(s) * factorial(n - s - 1) if s < n else 0 for s in size])
    share = np.where(member.T, joined, -absent) / factorial(n)  # (n, 2^n)
    return np.tensordot(share, worths, 1)


def _check_players(name: str, n: int) -> None:
    if check_int(name, n) > MOST_PLAYERS:
        raise ValueError(f"{name} must be at most {MOST_PLAYERS}, for 2^n coalitions; got {n}.")


# ---- agreement: Do two networks explain themselves alike? Feature importance, and how far two ra


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


# ---- explainers: Three ways to attribute the outputs of a network to its features; `attribution.


ROWS = 2**16  # inputs in one forward pass


@torch.no_grad()
def outputs_of(network: nn.Module, x: torch.Tensor) -> np.ndarray:
    """f(x), (N, K), in batches."""
    return torch.cat([network(part) for part in x.split(ROWS)]).cpu().numpy()


def explain_exactly(
    network: nn.Module, example: torch.Tensor, background: torch.Tensor
) -> np.ndarray:
    """Shapley values (F, K) of one example."""
    present = torch.from_numpy(coalitions(example.numel())).to(example.device)  # (2^F, F)
    flat, rest = example.flatten(), background.flatten(1)
    worths = []
    for part in present.split(max(1, ROWS // len(rest))):
        mixed = torch.where(part[:, None], flat, rest)  # (coalitions, B, F)
        found = outputs_of(network, mixed.reshape(-1, *example.shape))
        worths.append(found.reshape(len(part), len(rest), -1).mean(1))
    return shapley_of_worths(np.concatenate(worths))


def explain_by_kernel(
    network: nn.Module, x: torch.Tensor, background: torch.Tensor, seed: int, samples: int
) -> np.ndarray:
    import shap

    def f(rows: np.ndarray) -> np.ndarray:
        inputs = torch.from_numpy(np.ascontiguousarray(rows)).to(x)
        return outputs_of(network, inputs.reshape(-1, *x.shape[1:]))

    with _numpy_seeded(seed):
        explainer = shap.KernelExplainer(f, background.flatten(1).cpu().numpy())
        return explainer.shap_values(
            x.flatten(1).cpu().numpy(), nsamples=samples, l1_reg=False, silent=True
        )


def explain_deep(network: nn.Module, x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    import shap

    if any(isinstance(module, (nn.Softmax, nn.LogSoftmax)) for module in network.modules()):
        raise ValueError(
            "method 'deep' has no rule for a softmax that is right; explain output 'logit', or "
            "take 'kernel' or 'exact'."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="unrecognized nn.Module")
        try:
            explainer = shap.DeepExplainer(network, background)
            values = explainer.shap_values(x, check_additivity=False)  # (N, ..., K)
        except UserWarning as warning:
            layer = str(warning).rpartition(" ")[2]
            raise ValueError(
                f"method 'deep' has no rule for a layer {layer}; take 'kernel' or 'exact'."
            ) from warning
        except RuntimeError as error:
            raise ValueError(
                "method 'deep' must have a network that uses each of its layers once in a pass; a "
                f"{type(network).__name__} failed with: {error}"
            ) from error
    return np.asarray(values, dtype=float).reshape(len(x), x[0].numel(), -1)


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """shap draws from NumPy's global generator: seed it for a block, then put it back."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


# ---- attribution: SHAP: what each feature of an input adds to the output of a network.


MOST_FEATURES = 14  # for "exact"


def shap_values(
    model: nn.Module,
    x: torch.Tensor,
    *,
    background: torch.Tensor,
    method: str = "deep",
    output: str = "logit",
    seed: int = 0,
    samples: int | None = None,
    tolerance: float = 1e-4,
) -> np.ndarray:
    """Attribute the outputs of `model` for the examples `x` to their features.

    Parameters
    ----------
    model : nn.Module
        Maps (N, ...) to (N, K); masked or not. It is copied, and the copy explained in evaluation
        mode and in float64; its own state stays as it is.
    x : torch.Tensor, shape (N, ...)
        Examples to explain.
    background : torch.Tensor, shape (B, ...)
        What a missing feature is replaced by. All attributions are relative to it; use the same for
        networks to be compared. 20 to 100 training examples are usual.
    method : {"deep", "kernel", "exact"}
        "deep": fast, for networks of layers that shap knows (linear, convolution, batch
        normalisation, pooling, the usual activations), each used once in a pass. It is not the
        Shapley value of a network with interactions, but adds up. "kernel": any network; all
        coalitions where they are few, else a sample. "exact": every coalition, up to 14 features;
        up to 9 it is also the fastest.
    output : {"logit", "probability"}
        What is explained. For a chain that ends in a sigmoid or a softmax: what goes into it, or
        what comes out. For any other network: what it returns, or the softmax of that (K = 1: the
        sigmoid).
    seed : int
        Fixes the coalitions that "kernel" samples. The others draw nothing.
    samples : int, optional
        Coalitions per example for "kernel"; default 2 F + 2048, and never more than all.
    tolerance : float
        How far the attributions of one example may fail to add up, relative to the largest
        difference that they explain (at least 1).

    Returns
    -------
    array (N, F, K) of float64
        F features (for images: pixels of all channels, in a row), K outputs.

    Raises
    ------
    ValueError
        If inputs do not fit each other or the model, "exact" has too many features, or "deep" meets
        a layer that it has no rule for, a softmax among them.
    FloatingPointError
        If the attributions do not add up to f(x) - mean f(background).
    ModuleNotFoundError
        If the package shap is not there: `pip install causalprune-lib[diagnostics]`.

    Notes
    -----
    shap's own defaults are not used where they would mislead. "kernel" there keeps 10 features and
    gives zero to all others. "deep" there attributes each output of a softmax to its own score
    alone, as if the others did not matter: that adds up, and is wrong, and is refused here.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> model.weight.data = torch.tensor([[1.0, -2.0]])
    >>> x, background = torch.tensor([[3.0, 4.0]]), torch.zeros(5, 2)
    >>> shap_values(model, x, background=background, method="exact").round(9).tolist()
    [[[3.0], [-8.0]]]
    """
    check_choice("method", method, ["deep", "kernel", "exact"])
    check_int("seed", seed, minimum=0)
    check_positive("tolerance", tolerance)
    network, x, background = _prepared(model, x, background, output)
    features = x[0].numel()
    if method == "exact":
        if features > MOST_FEATURES:
            raise ValueError(
                f"method 'exact' must have at most {MOST_FEATURES} features, since it asks for 2^F "
                f"coalitions; got {features}. 'kernel' takes a sample of them."
            )
        values = np.stack([explain_exactly(network, example, background) for example in x])
    elif method == "kernel":
        samples = 2 * features + 2048 if samples is None else check_int("samples", samples)
        values = explain_by_kernel(network, x, background, seed, samples)
    else:
        values = explain_deep(network, x, background)
    gap, explained = _gap(values, network, x, background)
    if not gap.max() <= tolerance * max(1.0, explained.max()):  # NaN lands here too
        raise FloatingPointError(
            f"the attributions must add up to f(x) - mean f(background) within {tolerance:g}; they "
            f"miss it by up to {gap.max():.3g} with method {method!r}. A layer used twice in one "
            "pass can be the cause; 'kernel' does not mind."
        )
    return values


def additivity_gap(
    values: np.ndarray,
    model: nn.Module,
    x: torch.Tensor,
    *,
    background: torch.Tensor,
    output: str = "logit",
) -> np.ndarray:
    """How far attributions (N, F, K) fail to add up: |sum - (f(x) - mean f(background))|, (N, K).

    Other parameters as for `shap_values`.

    Examples
    --------
    >>> model = nn.Linear(2, 1)
    >>> x, background = torch.ones(1, 2), torch.zeros(3, 2)
    >>> values = shap_values(model, x, background=background, method="exact")
    >>> additivity_gap(values + 1, model, x, background=background).round(6).tolist()
    [[2.0]]
    """
    network, x, background = _prepared(model, x, background, output)
    return _gap(np.asarray(values), network, x, background)[0]


def _gap(
    values: np.ndarray, network: nn.Module, x: torch.Tensor, background: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """By how much the sums are off, and what they should explain; (N, K) each."""
    base = outputs_of(network, background).mean(0)  # (K,)
    explained = outputs_of(network, x) - base  # (N, K)
    return np.abs(values.sum(1) - explained), np.abs(explained)


def _prepared(
    model: nn.Module, x: torch.Tensor, background: torch.Tensor, output: str
) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network of its own that gives what is to be explained, and checked data in float64."""
    check_choice("output", output, ["logit", "probability"])
    device, _ = device_and_dtype(model)
    for name, data in (("x", x), ("background", background)):
        if not isinstance(data, torch.Tensor):
            raise TypeError(f"{name} must be a torch.Tensor; got {type(data).__name__}.")
        if data.dim() < 2 or len(data) == 0:
            raise ValueError(
                f"{name} must have shape (N, ...) with N >= 1; got {tuple(data.shape)}."
            )
        check_finite(name, data)
    if x.shape[1:] != background.shape[1:]:
        raise ValueError(
            f"background must have examples of the shape of those of x, {tuple(x.shape[1:])}; got "
            f"{tuple(background.shape[1:])}."
        )
    x, background = x.detach().to(device).double(), background.detach().to(device).double()
    twin = clone_model(model)
    if prune.is_pruned(twin):
        remove_masks(twin)
    network = _ending(twin.double().eval().requires_grad_(False), output, x[:1])
    return network, x, background


def _ending(network: nn.Module, output: str, example: torch.Tensor) -> nn.Module:
    """`network` with its last sigmoid or softmax taken off, left or put on, as `output` asks."""
    parent, name, last = None, "", network
    while isinstance(last, nn.Sequential) and len(last):
        parent, (name, last) = last, list(last.named_children())[-1]
    squashes = parent is not None and isinstance(last, (nn.Sigmoid, nn.Softmax))
    if squashes and output == "logit":
        setattr(parent, name, nn.Identity())
    with torch.no_grad():
        scores = try_forward(network, example, "x")
    if scores.dim() != 2:
        raise ValueError(f"model must return (N, K); got {tuple(scores.shape)} for one example.")
    if squashes or output == "logit":
        return network
    return nn.Sequential(network, nn.Sigmoid() if scores.shape[1] == 1 else nn.Softmax(1)).eval()
