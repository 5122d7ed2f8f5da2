r"""The released rule of causal pruning: one weighted sum per weight decides what is kept.

The paper fits the lasso of its equation 9 with the truncated gradient and cumulative penalty of
Tsuruoka et al. (2009). In its released settings the predictions of that fit never leave 0, because
lr times the squared norm of a sample is about 1e-16. What remains is exactly

.. math:: \gamma_k = \mathrm{soft}\Big(\sum_t w_t y_t x_{tk},\ \alpha \sum_t w_t\Big),

with w_t the step sizes that the solver spends on sample t in all its passes. So weight k is kept
if and only if its sum exceeds alpha times the sum of the step sizes, in absolute value.

References
----------
A. Shah, A. Challa, S. Danda, A. Mathur and S. Saha. A Granger-Causal Perspective on Gradient
Descent with Application to Pruning. Section 3.
Y. Tsuruoka, J. Tsujii and S. Ananiadou. Stochastic gradient descent training for L1-regularized
log-linear models with cumulative penalty. ACL-IJCNLP 2009.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping

import numpy as np
import torch

from causalprune_lib._validation import (
    check_choice,
    check_finite,
    check_fraction,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.causality.step_sizes import check_step_sizes

CHUNK = 2**22  # numbers of x that are turned into float64 at a time


def released_sums(
    x: torch.Tensor, y: torch.Tensor, *, step_sizes: torch.Tensor | np.ndarray
) -> torch.Tensor:
    """sum_t w_t y_t x_tk in float64, a block of columns at a time.

    Parameters
    ----------
    x : tensor (T, P)
        Squared increments, or other features.
    y : tensor (T,)
        Changes of the loss.
    step_sizes : tensor (T,)
        w, each > 0; see `solver_step_sizes`.

    Returns
    -------
    tensor (P,) of float64, on the device of `x`

    Examples
    --------
    >>> x, y = torch.tensor([[1.0, 0.0], [2.0, 1.0]]), torch.tensor([1.0, -1.0])
    >>> released_sums(x, y, step_sizes=torch.ones(2))
    tensor([-1., -1.], dtype=torch.float64)
    """
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    check_shape("x", x, (None, None))
    check_shape("y", y, (len(x),))
    if not len(x):
        raise ValueError("x must hold at least one recorded step; got none.")
    check_finite("y", y)
    sizes = check_step_sizes(step_sizes, len(x))
    weighted = (sizes * y.double().cpu()).to(x.device)  # (T,)
    width = max(1, CHUNK // len(x))
    sums = torch.cat([weighted @ part.double() for part in x.split(width, dim=1)])  # (P,)
    if not bool(torch.isfinite(sums).all()):
        check_finite("x", x)
    return sums


def released_support(
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    alpha: float,
    step_sizes: torch.Tensor | np.ndarray,
    floor: float | int = 0,
    empty: str = "error",
) -> torch.Tensor:
    r"""The weights that the released solver keeps.

    Weight k is kept if :math:`|\sum_t w_t y_t x_{tk}| > \alpha \sum_t w_t`.

    For one layer: the released code fits each layer by itself, but nothing in the rule depends on
    the other columns.

    Parameters
    ----------
    x : tensor (T, P)
        Squared increments :math:`(\Delta\theta_{kt})^2`.
    y : tensor (T,)
        Changes of the loss :math:`\Delta L_t`.
    alpha : float
        The paper's L1_coeff, in the units of y times x; > 0.
    step_sizes : tensor (T,)
        w; see `solver_step_sizes`.
    floor, empty
        As in `keep_above`.

    Returns
    -------
    tensor (P,) of bool
        True = keep.

    Raises
    ------
    ValueError
        alpha is not above 0, or so large that nothing is kept and neither `floor` nor `empty`
        says what then; there is no sample; shapes disagree; a value is NaN or infinite.

    Examples
    --------
    >>> x, y = torch.tensor([[1.0, 0.0], [2.0, 1.0]]), torch.tensor([1.0, 1.0])
    >>> released_support(x, y, alpha=1.0, step_sizes=torch.ones(2))
    tensor([ True, False])
    """
    sums = released_sums(x, y, step_sizes=step_sizes)
    total = float(check_step_sizes(step_sizes, len(x)).sum())
    options = {"alpha": alpha, "floor": floor, "empty": empty}
    return keep_above({"x": sums}, total_step=total, **options)["x"]


def keep_above(
    sums: Mapping[str, torch.Tensor],
    *,
    total_step: float,
    alpha: float | Mapping[str, float],
    floor: float | int = 0,
    empty: str = "error",
) -> dict[str, torch.Tensor]:
    """Keep weight k if |sums_k| > alpha * total_step, layer by layer.

    Parameters
    ----------
    sums : mapping of str to tensor
        One tensor per layer.
    total_step : float
        sum_t w_t.
    alpha : float or mapping of str to float
        One for all layers, or one for each.
    floor : int or float
        The least number (int) or fraction (float) of weights to keep in a layer: where fewer pass,
        those with the largest |sums_k| are kept; among equals, those that come later.
    empty : {"error", "allow"}
        What a layer without any kept weight is, where the floor is 0.

    Examples
    --------
    >>> sums = {"a": torch.tensor([-3.0, 1.0, 2.0])}
    >>> keep_above(sums, total_step=2.0, alpha=1.0)
    {'a': tensor([ True, False, False])}
    >>> keep_above(sums, total_step=2.0, alpha=9.0, floor=2)
    {'a': tensor([ True, False,  True])}
    """
    check_choice("empty", empty, ["error", "allow"])
    alphas = alpha_per_layer(alpha, sums)
    keep, emptied = {}, {}
    for name, values in sums.items():
        size = values.abs()
        least = _floor_count(floor, values.numel())
        kept = size.double() > alphas[name] * total_step
        if int(kept.sum()) < least:
            best = size.flatten().argsort(stable=True)[-least:]
            kept = torch.zeros_like(kept)
            kept.view(-1)[best] = True
        elif empty == "error" and not bool(kept.any()):
            emptied[name] = values
        keep[name] = kept
    if emptied:
        highest = alpha_max(emptied, total_step=total_step)
        listed = ", ".join(f"{alphas[n]:.6g} in {n!r} with {a:.6g}" for n, a in highest.items())
        raise ValueError(
            "alpha must be below alpha_max of each layer, or the layer keeps no weight; got "
            f'{listed}. floor= keeps the best ones; empty="allow" leaves it empty.'
        )
    return keep


def alpha_max(sums: Mapping[str, torch.Tensor], *, total_step: float) -> dict[str, float]:
    """The least alpha at which the released rule keeps nothing of a layer, for each layer.

    Examples
    --------
    >>> alpha_max({"a": torch.tensor([-3.0, 1.0])}, total_step=2.0)
    {'a': 1.5}
    """
    return {
        name: float(torch.linalg.vector_norm(values, ord=math.inf)) / total_step
        for name, values in sums.items()
    }


def alpha_per_layer(
    alpha: float | Mapping[str, float], layers: Mapping[str, object]
) -> dict[str, float]:
    """One checked alpha for each of `layers`, from one number or from a mapping."""
    if not isinstance(alpha, Mapping):
        return dict.fromkeys(layers, check_positive("alpha", alpha))
    for name in alpha:
        check_choice("layer of alpha", name, layers)
    missing = [name for name in layers if name not in alpha]
    if missing:
        raise ValueError(f"alpha must name every layer; missing {missing}.")
    return {name: check_positive(f"alpha[{name!r}]", alpha[name]) for name in layers}


def _floor_count(floor: float | int, n: int) -> int:
    if isinstance(floor, numbers.Integral):
        return min(check_int("floor", floor, minimum=0), n)
    return math.ceil(round(check_fraction("floor", floor) * n, 6))
