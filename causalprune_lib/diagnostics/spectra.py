"""WeightWatcher's view of a network, layer by layer: spectra and their power laws.

WeightWatcher (Martin, Peng and Mahoney, Nature Communications 2021) looks at the eigenvalues of
each layer's W^T W, fits a power law to their upper tail, and calls a layer well trained if the
exponent `pl_alpha` lies between 2 and 6, over-trained below and under-trained above. The LEGCNet
paper (arXiv:2308.09955) judges its pruned networks so: section 5.1, table 4, figures 2, 4, 5, 6.
`layer_spectra` asks the package itself; `power_law_fit` is the same fit without it.
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

from causalprune_lib._validation import check_choice, check_finite, check_int, check_shape
from causalprune_lib.nets.parameters import ParameterLayout

NOISE = 1e-5  # WeightWatcher fits the eigenvalues of W^T W above this
LEAST = 8  # and no layer with fewer of them; a remark in its code says "really 50"
SMALL = 20  # below so many eigenvalues WeightWatcher 0.7.7 has another rule
LEVEL = 0.95  # of the bootstrap interval
FITTED = {"num_pl_spikes": "in_fit", "alpha": "pl_alpha"}  # WeightWatcher's columns and ours
FITTED |= {name: name for name in ("sigma", "xmin", "D", "alpha_weighted", "log_alpha_norm")}
COLUMNS = ("layer", "n", "m", "eigenvalues", "nonzero", *FITTED.values())
COLUMNS += ("log_norm", "log_spectral_norm", "stable_rank")


def layer_spectra(
    model: nn.Module,
    *,
    interval: bool = False,
    traps: bool = False,
    resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """What WeightWatcher says of each layer, one row per linear or convolution layer.

    WeightWatcher itself gives -1 for a failed fit and "over-trained" with it, leaves out small
    layers without a word, and of a 1-D convolution keeps only the largest few eigenvalues. Here
    such layers have NaN and a reason. The scale of the weights moves `alpha_weighted`, and through
    the limit of 1e-5 also which eigenvalues are fitted, but no exponent fitted to the same ones.

    Parameters
    ----------
    model : nn.Module
        Any network; it is only read. Masked weights count as the zeros that they are.
    interval : bool
        Adds `alpha_low` and `alpha_high` from `alpha_interval`, with `resamples` and `seed`.
    traps : bool
        Adds the column `num_traps`: the correlation traps that WeightWatcher counts, with `seed`.
        Below 100 eigenvalues it counts them in five shuffles together: one trap gives 5.

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
        - `reason`: why a layer was not fitted (it has fewer than 8 eigenvalues above 1e-5, say),
          else empty. The columns of the fit are then NaN.

    Examples
    --------
    >>> from causalprune_lib.nets.models import MLP
    >>> frame = layer_spectra(MLP([9, 6, 1]))
    >>> frame["pl_alpha"].tolist(), frame["reason"].tolist()[0]
    ([nan, nan], '6 eigenvalues above 1e-05; a fit needs 8')
    """
    weights = ParameterLayout.of(model).tensors(model)  # masks applied
    for name, weight in weights.items():
        check_finite(f"weight {name!r}", weight)
    rows = {name: _row(model, name, weight) for name, weight in weights.items()}
    readable = {name: weights[name] for name, row in rows.items() if not row["reason"]}
    fits = _weightwatcher(readable, seed=seed if traps else None)
    for name, weight in readable.items():
        row, fit = rows[name], fits.get(name)
        if fit is None or fit["status"] != "success" or not math.isfinite(fit["alpha"]):
            row["reason"] = "WeightWatcher found no fit"
            continue
        row |= {ours: float(fit[theirs]) for theirs, ours in FITTED.items()}
        row["warning"] = fit["warning"]
        if traps:
            row["num_traps"] = float(fit["num_traps"])
        if interval:
            values = _eigenvalues(weight)
            ends = alpha_interval(values[values > NOISE], resamples=resamples, seed=seed)
            row["alpha_low"], row["alpha_high"] = ends
    asked = [*["alpha_low", "alpha_high"] * interval, *["num_traps"] * traps]
    return pd.DataFrame(list(rows.values()), columns=[*COLUMNS, *asked, "warning", "reason"])


def _row(model: nn.Module, name: str, weight: torch.Tensor) -> dict[str, object]:
    """What can be said of a layer without a fit, and why there will be none."""
    layer = name.rpartition(".")[0]
    kind = type(model.get_submodule(layer)).__name__
    row: dict[str, object] = {"layer": layer or "(model)", "warning": "", "reason": ""}
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
    if nonzero < LEAST:
        row["reason"] = f"{nonzero} eigenvalues above {NOISE:g}; a fit needs {LEAST}"
    return row


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
        kind, sizes = (
            (nn.Conv2d, (into, out, tuple(kernel))) if kernel else (nn.Linear, (into, out))
        )
        layer = nn.utils.skip_init(kind, *sizes, bias=False)
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
    """Put back what WeightWatcher changes: root logger, warnings, output, NumPy's generator."""
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


def esd(weight: torch.Tensor | np.ndarray, *, normalise: bool = True) -> np.ndarray:
    """Empirical spectral density: a layer's eigenvalues (M,) in ascending order, in float64.

    They are those of X = W^T W / N with N = max(R, C), or, without `normalise`, of W^T W. `weight`
    is a matrix (R, C) or a convolution (R, C, height, width), read as WeightWatcher reads it: one
    matrix per position of the kernel, eigenvalues pooled. M = min(R, C), times height * width.

    >>> esd(torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).round(3).tolist()
    [0.333, 3.0]
    """
    return np.sort(eigenvalues_of(matrices_of(weight), normalise).ravel())


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
    r, c = weight.shape[:2]
    matrices = weight.reshape(r, c, -1).transpose(2, 0, 1)  # (S, R, C)
    return matrices if r >= c else matrices.transpose(0, 2, 1)


def eigenvalues_of(matrices: np.ndarray, normalise: bool) -> np.ndarray:
    """Eigenvalues (S, M) of W^T W for each W of `matrices` (S, N, M), over N if `normalise`."""
    squares = np.linalg.svd(matrices, compute_uv=False) ** 2
    return squares / matrices.shape[1] if normalise else squares


@dataclass(frozen=True)
class PowerLawFit:
    """A power law fitted to the upper tail of some values; NaN where it cannot be."""

    alpha: float  # the exponent, WeightWatcher's `pl_alpha`
    sigma: float  # (alpha - 1) / sqrt(in_fit): its standard error if xmin were known
    xmin: float  # where the tail begins
    D: float  # Kolmogorov-Smirnov distance of tail and law; at each value, the share below it
    in_fit: int  # values in the tail
    n: int  # values given


def power_law_fit(values: np.ndarray, *, rule: str = "weightwatcher") -> PowerLawFit:
    """Fit a power law to the upper tail of positive numbers (n,), in any order.

    For a tail of k values from xmin on, the estimate is alpha = 1 + k / sum_i log(x_i / xmin), and
    among all tails the one with the smallest distance D is taken (Clauset, Shalizi and Newman, SIAM
    Review 2009). That is the rule "clauset", with tails of two values or more. The rule
    "weightwatcher" is what WeightWatcher 0.7.7 does: the same from 20 values on; below, k - 1
    stands in the place of k in the estimate, and a tail has at least 8 values. Where there is no
    tail to fit, for too few values or equal ones, all is NaN and `in_fit` 0.

    >>> tail = (1 - np.arange(500) / 500) ** (-1 / 1.5)  # quantiles of a law with exponent 2.5
    >>> fit = power_law_fit(tail)
    >>> round(fit.alpha, 1), fit.n
    (2.5, 500)
    """
    check_choice("rule", rule, ["weightwatcher", "clauset"])
    return fit_ascending(positive_values(values), rule)


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


def fit_ascending(x: np.ndarray, rule: str = "weightwatcher") -> PowerLawFit:
    """The fit for ascending positive values (n,)."""
    n = len(x)
    small = rule == "weightwatcher" and n < SMALL
    tails = n - np.arange(n)  # how many values each tail has
    logs = np.log(x)
    spread = logs[::-1].cumsum()[::-1] - tails * logs  # sum of log(x / xmin) over each tail
    rounding = 1e-12 + np.finfo(float).eps * tails**2 * np.abs(logs).max(initial=0)
    first = np.diff(logs, prepend=-np.inf) > 0  # of equal values, the tail begins at the first
    usable = first & (tails >= (LEAST if small else 2)) & (spread > rounding)
    starts = np.flatnonzero(usable)
    if not len(starts):
        return PowerLawFit(math.nan, math.nan, math.nan, math.nan, 0, n)
    size = tails[starts]
    alphas = 1 + (size - small) / spread[starts]
    pieces = [slice(i, i + 256) for i in range(0, len(starts), 256)]
    distances = np.concatenate([_distances(logs, starts[p], alphas[p]) for p in pieces])
    best = int(distances.argmin())
    alpha, k, xmin = float(alphas[best]), int(size[best]), float(x[starts[best]])
    return PowerLawFit(alpha, (alpha - 1) / k**0.5, xmin, float(distances[best]), k, n)


def _distances(logs: np.ndarray, starts: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Distance D of the tail from each of `starts` on; `logs` (n,) are the values' logarithms."""
    place = np.arange(len(logs))[None] - starts[:, None]  # (starts, n): place in the tail
    above = np.where(place >= 0, logs[None] - logs[starts, None], 0)  # log(x / xmin)
    law = -np.expm1((1 - alphas[:, None]) * above)
    below = place / (len(logs) - starts)[:, None]  # share of the tail below the value
    return np.where(place >= 0, np.abs(law - below), 0).max(1)


def alpha_interval(
    values: np.ndarray, *, resamples: int = 500, seed: int = 0
) -> tuple[float, float]:
    """A 95% bootstrap interval for the exponent of `power_law_fit`, the choice of xmin included.

    The values are drawn anew with replacement and fitted anew, `resamples` times; the interval
    holds the middle 95% of the exponents. It is NaN where the values themselves cannot be fitted.
    The values are taken for independent draws. Eigenvalues of one matrix are not: they repel each
    other. Read the interval as the least that has to be doubted. Even for independent draws of a
    true power law (alpha 2.5) it holds alpha in 82% of the cases for 10 values, 97% for 50.

    >>> values = np.random.default_rng(0).pareto(1.5, 50) + 1
    >>> low, high = alpha_interval(values)
    >>> low < 2.5 < high
    True
    """
    x = positive_values(values)
    check_int("resamples", resamples)
    rng = np.random.default_rng(check_int("seed", seed, minimum=0))
    if math.isnan(fit_ascending(x).alpha):
        return math.nan, math.nan
    samples = np.sort(x[rng.integers(len(x), size=(resamples, len(x)))], axis=1)
    found = np.array([fit_ascending(sample).alpha for sample in samples])
    found = found[np.isfinite(found)]
    if len(found) < 2:
        return math.nan, math.nan
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
