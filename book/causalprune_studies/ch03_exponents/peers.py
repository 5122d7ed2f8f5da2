"""The same series, read by other programs: Rosenstein's and Eckmann's estimators of `nolds`.

nolds takes one series at a time (Schoelzel, nolds 0.6, 2019). It is imported where it is used.
"""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
import pandas as pd
import torch

from causalprune_lib.dynamics.lyapunov import largest_lyapunov
from causalprune_studies.ch03_exponents.study import read_exponents
from causalprune_studies.ch03_exponents.tables import per_seed

MAP_SETTINGS = {"dim": 2, "lag": 1, "theiler": 1, "horizon": 5, "fit_range": (1, 5)}


def lyap_r(
    x: np.ndarray, *, dim: int, lag: int, theiler: int, horizon: int, fit_range: tuple[int, int]
) -> float:
    """Rosenstein's slope by `nolds.lyap_r`, with the settings that `largest_lyapunov` has.

    It follows a pair as far as it fits, so `horizon` must be the end of `fit_range`.

    >>> from causalprune_lib.dynamics.systems import logistic
    >>> print(f"{lyap_r(logistic(500, seed=0).series.numpy(), **MAP_SETTINGS):.1f}")
    0.7
    """
    return _nolds().lyap_r(
        x,
        emb_dim=dim,
        lag=lag,
        min_tsep=theiler,
        trajectory_len=horizon + 1,
        fit_offset=fit_range[0],
        fit="poly",
    )


def estimates(series: torch.Tensor, *, n_peers: int, **settings: object) -> pd.DataFrame:
    """Exponents of `series` (seeds, n) by six estimators: `estimator`, `seed` and `value`.

    Parameters
    ----------
    n_peers : int
        How many of the series nolds reads.
    **settings
        Those that suit the system, where they differ from `MAP_SETTINGS`.
    """
    settings = MAP_SETTINGS | settings
    few, nolds = series[:n_peers].numpy(), _nolds()
    eckmann = {"emb_dim": settings["dim"], "matrix_dim": settings["dim"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nolds warns of short series
        found = {
            "slope (this library)": largest_lyapunov(series, **settings).exponent,
            "slope of TISEAN's curve": largest_lyapunov(
                series, convention="tisean", **settings
            ).exponent,
            "nolds.lyap_r, same settings": [lyap_r(x, **settings) for x in few],
            "nolds.lyap_r, its defaults": [nolds.lyap_r(x, fit="poly") for x in few],
            "nolds.lyap_e": [
                nolds.lyap_e(x, min_tsep=settings["theiler"], **eckmann)[0] for x in few
            ],
            "first step, as released": read_exponents(series, "as released"),
        }
    return pd.concat([per_seed(values, estimator=name) for name, values in found.items()])


def _nolds() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nolds warns about its own imports
        import nolds
    return nolds
