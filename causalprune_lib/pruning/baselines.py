"""The baselines that every pruning method is held against: magnitude, random, inverse and OBD-like.

Each is an entry in the manner of `torch.nn.utils.prune` that prunes all prunable layers of a model
in place and returns it. As there, `amount` is a fraction of the weights not pruned yet, so two
calls with 0.5 leave a quarter. The scores by which they rank are in `scores.py` and can be imported
from here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from causalprune_lib._validation import check_choice
from causalprune_lib.pruning.masks import Masks, apply_masks, masks_from_scores, masks_of
from causalprune_lib.pruning.scores import (
    HasMovement,
    inverse_scores,
    magnitude_scores,
    obd_scores,
    random_scores,
)

__all__ = [
    "inverse_scores",
    "inverse_unstructured",
    "magnitude_scores",
    "magnitude_unstructured",
    "obd_scores",
    "obd_unstructured",
    "prune_by_scores",
    "random_scores",
    "random_unstructured",
]


def prune_by_scores(
    model: nn.Module,
    scores: Mapping[str, torch.Tensor],
    amount: float | int | None = None,
    *,
    scope: str = "global",
    like: Masks | None = None,
    floor: float | int = 0,
    nan: str = "error",
) -> nn.Module:
    """Prune `model` in place, the lowest `scores` first; every entry below ends here.

    Parameters
    ----------
    model : nn.Module
        A model with linear or convolution layers, masked already or not. It gets the buffers
        `weight_mask` and the parameters `weight_orig` of `torch.nn.utils.prune`.
    scores : mapping of str to tensor
        Higher = kept, one tensor per prunable layer.
    amount : float or int
        Fraction or number of the weights not pruned yet, as in `torch.nn.utils.prune`; for
        `scope="layer"`, of each layer. Left out with `scope="like"`.
    scope, like, floor, nan
        As in `masks_from_scores`.

    Returns
    -------
    nn.Module
        `model`.
    """
    before = masks_of(model)
    for name in scores:
        check_choice("layer of scores", name, list(before))
    masks = masks_from_scores(
        scores,
        amount,
        scope=scope,
        like=like,
        floor=floor,
        nan=nan,
        within=before,
        amount_of="remaining",
    )
    return apply_masks(model, masks)


def magnitude_unstructured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    scope: str = "global",
    like: Masks | None = None,
    floor: float | int = 0,
    importance_scores: Mapping[str, torch.Tensor] | None = None,
) -> nn.Module:
    """Prune the weights of smallest magnitude; `torch.nn.utils.prune.L1Unstructured` for a model.

    `importance_scores`, by layer name, take the place of the weights. As in torch their absolute
    value ranks; for signed scores there is `prune_by_scores`.

    Examples
    --------
    >>> model = nn.Linear(2, 1)
    >>> _ = model.weight.data.copy_(torch.tensor([[-3.0, 2.0]]))
    >>> magnitude_unstructured(model, 0.5).weight_mask
    tensor([[1., 0.]])
    """
    scores = magnitude_scores(model)
    if importance_scores is not None:
        scores = {name: score.abs() for name, score in importance_scores.items()}
    return prune_by_scores(model, scores, amount, scope=scope, like=like, floor=floor)


def random_unstructured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    seed: int,
    scope: str = "global",
    like: Masks | None = None,
    floor: float | int = 0,
) -> nn.Module:
    """Prune weights drawn at random; with `scope="like"`, at the counts of other masks."""
    scores = random_scores(model, seed=seed)
    return prune_by_scores(model, scores, amount, scope=scope, like=like, floor=floor)


def inverse_unstructured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    scope: str = "global",
    like: Masks | None = None,
    floor: float | int = 0,
    importance_scores: Mapping[str, torch.Tensor] | None = None,
) -> nn.Module:
    """Prune the weights with the highest `importance_scores` first (default: magnitude)."""
    scores = magnitude_scores(model) if importance_scores is None else importance_scores
    scores = inverse_scores(scores)
    return prune_by_scores(model, scores, amount, scope=scope, like=like, floor=floor)


def obd_unstructured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    movement: torch.Tensor | Mapping[str, torch.Tensor] | HasMovement,
    scope: str = "global",
    like: Masks | None = None,
    floor: float | int = 0,
) -> nn.Module:
    """Prune the weights with the smallest theta^2 times `movement`: see `obd_scores`."""
    scores = obd_scores(model, movement)
    return prune_by_scores(model, scores, amount, scope=scope, like=like, floor=floor)
