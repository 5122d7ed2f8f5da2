"""SHAP: what each feature of an input adds to the output of a network, and do two networks agree?

The players of a game are the features. A coalition S is worth the mean over b of f(x_S, b_rest):
what the network gives when the other features come from a background set. The Shapley values of
this game add up to f(x) - mean f(background). The method "exact" asks for every coalition; the
package shap (Lundberg and Lee 2017) estimates them, by a regression on coalitions ("kernel") or in
one backward pass with DeepLIFT's rules ("deep"). The LEGCNet paper (arXiv:2308.09955) compares
dense and pruned networks so: section 5.1, figures 3, 7 and 8.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn

from causalprune_lib._validation import check_choice, check_finite, check_int, check_shape
from causalprune_lib.nets.training import device_and_dtype, try_forward
from causalprune_lib.pruning.masks import unmasked_copy

MOST_FEATURES = 14  # for "exact"
MOST_INPUTS = 2**16  # in one forward pass
TOLERANCE = 1e-4  # within which attributions add up, relative to what they explain
STATISTICS = ("spearman", "kendall", "top_k", "shares", "attributions")
LEVEL = 0.95  # of the bootstrap intervals


def shap_values(
    model: nn.Module,
    x: torch.Tensor,
    *,
    background: torch.Tensor,
    method: str = "deep",
    output: str = "logit",
    seed: int = 0,
    samples: int | None = None,
) -> np.ndarray:
    """Attribute the outputs of `model` for the examples `x` to their features.

    Returns an array (N, F, K) of float64: F features (for images: pixels of all channels, in a
    row), K outputs.

    Parameters
    ----------
    model : nn.Module
        Maps (N, ...) to (N, K). A copy is explained, in evaluation mode and in float64.
    x, background : torch.Tensor, shape (N, ...) and (B, ...)
        Examples to explain, and what a missing feature is replaced by. Attributions are relative to
        it: compare networks with the same one. 20 to 100 training examples are usual.
    method : {"deep", "kernel", "exact"}
        "deep": fast, for the usual layers but a softmax, each used once in a pass. It is not the
        Shapley value of a network with interactions, but adds up. "kernel": any network, all its
        features, where shap's own default keeps 10. "exact": every coalition of up to 14 features.
    output : {"logit", "probability"}
        What goes into a last sigmoid or softmax, or what comes out. For a network without one: what
        it returns, or the softmax of that (K = 1: the sigmoid).
    seed, samples : int
        The coalitions per example that "kernel" samples; default 2 F + 2048, and at most all.

    Raises
    ------
    FloatingPointError
        If the attributions do not add up to f(x) - mean f(background) within 1e-4 of the largest
        difference that they explain (at least 1).
    ModuleNotFoundError
        If the package shap is not there: `pip install causalprune-lib[diagnostics]`.

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
        values = _explain_by_kernel(network, x, background, seed, samples)
    else:
        values = _explain_deep(network, x, background)
    explained = _outputs(network, x) - _outputs(network, background).mean(0)  # (N, K)
    gap = np.abs(values.sum(1) - explained)
    if not gap.max() <= TOLERANCE * max(1.0, np.abs(explained).max()):  # NaN lands here too
        raise FloatingPointError(
            f"the attributions must add up to f(x) - mean f(background) within {TOLERANCE:g}; they "
            f"miss it by up to {gap.max():.3g} with method {method!r}. A layer used twice in one "
            "pass can be the cause; 'kernel' does not mind."
        )
    return values


def explain_exactly(
    network: nn.Module, example: torch.Tensor, background: torch.Tensor
) -> np.ndarray:
    """Shapley values (F, K) of one example."""
    present = torch.from_numpy(coalitions(example.numel())).to(example.device)  # (2^F, F)
    flat, rest = example.flatten(), background.flatten(1)
    worths = []
    for part in present.split(max(1, MOST_INPUTS // len(rest))):
        mixed = torch.where(part[:, None], flat, rest)  # (coalitions, B, F)
        found = _outputs(network, mixed.reshape(-1, *example.shape))
        worths.append(found.reshape(len(part), len(rest), -1).mean(1))
    return shapley_of_worths(np.concatenate(worths))


def coalitions(n: int) -> np.ndarray:
    """All coalitions of `n` players: bool (2^n, n), player i being in number c if bit i is set."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)


def shapley_of_worths(worths: np.ndarray) -> np.ndarray:
    """Shapley values (n, ...) from the worths v (2^n, ...) of all `coalitions`, in that order.

    Player i has the sum over all S without i of |S|! (n - |S| - 1)! / n! (v(S and i) - v(S)).

    >>> shapley_of_worths(np.array([0.0, 10.0, 20.0, 50.0])).tolist()  # 10 and 20 alone
    [20.0, 30.0]
    """
    n = len(worths).bit_length() - 1
    member = coalitions(n)
    size = member.sum(1)
    f = math.factorial
    joined = np.array([f(s - 1) * f(n - s) if s else 0 for s in size])
    absent = np.array([f(s) * f(n - s - 1) if s < n else 0 for s in size])
    share = np.where(member.T, joined, -absent) / f(n)  # (n, 2^n)
    return np.tensordot(share, worths, 1)


def _explain_by_kernel(
    network: nn.Module, x: torch.Tensor, background: torch.Tensor, seed: int, samples: int
) -> np.ndarray:
    """By shap's KernelExplainer, which draws from NumPy's global generator: it is put back."""
    import shap

    def f(flat: np.ndarray) -> np.ndarray:
        inputs = torch.from_numpy(np.ascontiguousarray(flat)).to(x)
        return _outputs(network, inputs.reshape(-1, *x.shape[1:]))

    state = np.random.get_state()
    np.random.seed(seed)
    try:
        explainer = shap.KernelExplainer(f, background.flatten(1).cpu().numpy())
        return explainer.shap_values(
            x.flatten(1).cpu().numpy(), nsamples=samples, l1_reg=False, silent=True
        )
    finally:
        np.random.set_state(state)


def _explain_deep(network: nn.Module, x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    """By shap's DeepExplainer; what it would get wrong without a word is an error."""
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


@torch.no_grad()
def _outputs(network: nn.Module, x: torch.Tensor) -> np.ndarray:
    """f(x), (N, K), in batches."""
    return torch.cat([network(part) for part in x.split(MOST_INPUTS)]).cpu().numpy()


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
    network = unmasked_copy(model).double().eval().requires_grad_(False)
    return _ending(network, output, x[:1]), x, background


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


def rank_agreement(
    a: np.ndarray, b: np.ndarray, *, k: int, resamples: int = 500, seed: int = 0
) -> pd.DataFrame:
    """How far two sets of attributions agree on which features matter.

    Parameters
    ----------
    a, b : array (N, F, K)
        Attributions of two networks for the same N examples.
    k : int
        How many top features to compare, at most F.
    resamples, seed : int
        Of a bootstrap over the examples, the same ones for both networks: it says how far the
        agreement depends on them, and nothing of other seeds of the networks. 0: no interval.

    Returns
    -------
    pandas.DataFrame
        Five rows; columns `statistic`, `value`, `low` and `high` (95%), `examples`, `features`. All
        are 1 for a network and itself. Importance is the mean absolute attribution of a feature.

        - "spearman": the correlation of the ranks of the importances, ties sharing a rank;
        - "kendall": tau-b, pairs in the same order less pairs in the opposite one;
        - "top_k": the share of the k most important features that both have. Features tied for the
          last places share them;
        - "shares": sum_f min(p_f, q_f) of the importances divided by their sum: 0 where no feature
          matters to both. It sees what a ranking of few features cannot;
        - "attributions": the correlation of the N F K attributions, signs included, about their
          means. The only one that looks at single examples.

        Correlations are NaN where one side does not vary, and "shares" where nothing matters.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=(50, 4, 1)) * [[[1], [2], [3], [4]]]
    >>> frame = rank_agreement(values, -values, k=2, resamples=0)  # only the last looks at signs
    >>> frame["value"].round(6).tolist()
    [1.0, 1.0, 1.0, 1.0, -1.0]
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    check_shape("a", a, (None, None, None))
    check_shape("b", b, a.shape)
    if a.size == 0:
        raise ValueError(f"a must hold at least one attribution; got shape {a.shape}.")
    check_finite("a", a)
    check_finite("b", b)
    n, features, _ = a.shape
    if check_int("k", k) > features:
        raise ValueError(f"k must be at most the number of features, {features}; got {k}.")
    check_int("resamples", resamples, minimum=0)
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n  # (resamples, N)
    weights = np.vstack([np.full(n, 1 / n), drawn])  # the first: every example once
    importances = (weights @ np.abs(v).mean(2) for v in (a, b))  # (1 + resamples, F)
    ranked = [_agree(p, q, k) for p, q in zip(*importances, strict=True)]
    found = np.column_stack([ranked, _correlation(a.reshape(n, -1), b.reshape(n, -1), weights)])
    intervals = []
    for again in found[1:].T:  # of each statistic, over the resamples
        again, tails = again[np.isfinite(again)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        intervals.append(np.quantile(again, tails) if len(again) else (math.nan, math.nan))
    low, high = np.array(intervals).T
    table = {"statistic": STATISTICS, "value": found[0], "low": low, "high": high}
    return pd.DataFrame(table | {"examples": n, "features": features})


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
    eps, scales = np.finfo(float).eps, (np.abs(a).max(), np.abs(b).max())
    a, b = a - a.mean(), b - b.mean()  # for precision; the weighted means follow
    mean_a, mean_b = weights @ a.mean(1), weights @ b.mean(1)  # (R,)
    square_a, square_b = weights @ (a**2).mean(1), weights @ (b**2).mean(1)
    cov = weights @ (a * b).mean(1) - mean_a * mean_b
    var_a, var_b = square_a - mean_a**2, square_b - mean_b**2
    varies = var_a > 8 * eps * square_a + (8 * eps * scales[0]) ** 2  # and not by rounding alone
    varies &= var_b > 8 * eps * square_b + (8 * eps * scales[1]) ** 2
    product = np.sqrt(np.clip(var_a, 0, None) * np.clip(var_b, 0, None))
    return np.divide(cov, product, out=np.full(len(weights), math.nan), where=varies)


def _places(ranks: np.ndarray, k: int) -> np.ndarray:
    """How much of a place among the top `k` each feature has: 1, 0, or a share where tied."""
    last = np.sort(ranks)[-k]
    above, tied = ranks > last, ranks == last
    return above + tied * (k - above.sum()) / tied.sum()
