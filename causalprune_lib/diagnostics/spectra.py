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

import numpy as np
import pandas as pd
import torch
from torch import nn

from causalprune_lib._validation import check_finite, check_int
from causalprune_lib.diagnostics.exponent_checks import (
    AlphaInterval,
    alpha_interval,
    power_law_pvalue,
    power_law_sample,
    untrained_alphas,
)
from causalprune_lib.diagnostics.power_laws import PowerLawFit, power_law_fit
from causalprune_lib.diagnostics.random_matrices import (
    esd,
    marchenko_pastur,
    marchenko_pastur_cdf,
    marchenko_pastur_edges,
    randomised_esd,
)
from causalprune_lib.diagnostics.traps import CorrelationTraps, correlation_traps
from causalprune_lib.nets.parameters import ParameterLayout

__all__ = [
    "AlphaInterval",
    "CorrelationTraps",
    "PowerLawFit",
    "alpha_interval",
    "correlation_traps",
    "esd",
    "layer_spectra",
    "marchenko_pastur",
    "marchenko_pastur_cdf",
    "marchenko_pastur_edges",
    "power_law_fit",
    "power_law_pvalue",
    "power_law_sample",
    "randomised_esd",
    "untrained_alphas",
]

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
