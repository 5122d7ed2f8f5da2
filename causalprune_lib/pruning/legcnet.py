"""LEGCNet: keep the weights whose Lyapunov exponents Granger-cause the network's error.

Sahu, Chadda, Nagaraj, Mathur and Saha, "To prune or not to prune: a chaos-causality approach to
principled pruning of dense neural networks", arXiv:2308.09955. The method in five steps: train and
record every weight at every step; cut each weight's series into windows and estimate an exponent
for each; read the error rate at each window's end; ask which series of exponents Granger-cause that
of the error; prune the weights that do not, and train again from the initial weights.

FT records the full training, PT the first tenth of its steps. As described and as released differ:

- The paper's exponents come from a training and a perturbed twin, the released ones from one raw
  series of weights (`legcnet_windows`).
- The paper prunes non-causal weights in section 3.6 and causal ones in section 4; the released code
  prunes non-causal ones. Its test takes the smallest of 14 uncorrected p-values
  (`legcnet_decision`).
- The paper does not say whose error is meant; the released code takes that of the test set. Here it
  is the training set's unless another is asked for.

The paper's own networks and masks are in `legcnet_released`, for many trials at once.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.pruning.legcnet_decision import (
    LEGCNetDecision,
    UnscoredError,
    legcnet_decision,
    rank_scored,
)
from causalprune_lib.pruning.legcnet_estimator import LEGCNet
from causalprune_lib.pruning.legcnet_recording import Pair
from causalprune_lib.pruning.legcnet_windows import cut_windows, windowed_exponents
from causalprune_lib.pruning.masks import Masks, apply_masks, masks_of
from causalprune_lib.pruning.scores import Scores

__all__ = [
    "LEGCNet",
    "LEGCNetDecision",
    "UnscoredError",
    "cut_windows",
    "legcnet_decision",
    "legcnet_unstructured",
    "windowed_exponents",
]


def legcnet_unstructured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    data: Dataset | Pair | None = None,
    importance_scores: Scores | None = None,
    scope: str = "global",
    like: Masks | None = None,
    floor: float | int = 0,
    **options: object,
) -> nn.Module:
    """Prune `model` in place by LEGCNet, in the manner of `torch.nn.utils.prune`.

    Parameters
    ----------
    model : nn.Module
        At its initial weights; a copy is trained and recorded.
    amount : float or int, optional
        Fraction or number of the weights not pruned yet, the lowest scores first. Left out with
        `scope="like"`; left out otherwise, the causality test's own decision is applied.
    data : Dataset or (x, y)
        Needed unless `importance_scores` are given.
    importance_scores : dict of str to tensor, optional
        `scores_` of an earlier fit.
    scope, like, floor
        As in `masks_from_scores`.
    **options
        Those of `LEGCNet`, but `amount`.

    Returns
    -------
    nn.Module
        `model`, with its initial weights, masked.

    Raises
    ------
    UnscoredError
        A ValueError: so much is to be pruned that weights without a score would go too.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> pruned = legcnet_unstructured(model, 4, data=data, window=30, epochs=10, max_lag=4)
    >>> int(sum((layer.weight_mask == 0).sum() for layer in (model[0], model[2])))
    4
    """
    if importance_scores is None:
        if data is None:
            raise ValueError("data must be given, or importance_scores; got neither.")
        legcnet = LEGCNet(**options).fit(model, data)
        if amount is None and scope != "like":
            return apply_masks(model, legcnet.masks_)
        rank = legcnet.masks_at
    elif options:
        raise TypeError(f"With importance_scores nothing is fitted; got the options {[*options]}.")
    else:
        rank = partial(rank_scored, importance_scores)
    chosen = {"scope": scope, "like": like, "floor": floor, "amount_of": "remaining"}
    return apply_masks(model, rank(amount, within=masks_of(model), **chosen))
