"""Importance scores that need no new theory: magnitude, random, inverse and OBD-like.

Each is a function to a dictionary of tensors, one per prunable layer, where higher means kept.
`baselines.py` has an entry for each that prunes a model at once.

References
----------
Y. LeCun, J. Denker and S. Solla. Optimal Brain Damage. NIPS 1990.
F. Kunstner, L. Balles and P. Hennig. Limitations of the empirical Fisher approximation for natural
gradient descent. NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_choice, check_shape
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks, apply_masks, masks_of
from causalprune_lib.pruning.select import masks_from_scores

# ---- scores: Importance scores that need no new theory: magnitude, random, inverse and OBD-like.


Scores = dict[str, torch.Tensor]


class HasMovement(Protocol):
    """Anything with a `movement()`, such as a `Trajectory`."""

    def movement(self) -> torch.Tensor: ...


def magnitude_scores(model: nn.Module) -> Scores:
    """|theta|, the absolute value of each weight in use; 0 where it is masked.

    Examples
    --------
    >>> model = nn.Linear(2, 1)
    >>> _ = model.weight.data.copy_(torch.tensor([[-3.0, 2.0]]))
    >>> magnitude_scores(model)
    {'weight': tensor([[3., 2.]])}
    """
    return {name: value.abs() for name, value in ParameterLayout.of(model).tensors(model).items()}


def random_scores(model: nn.Module, *, seed: int) -> Scores:
    """Uniform random scores: with `scope="like"`, the control for any ranking at its own counts.

    They are drawn on the CPU, so that a seed gives the same scores on every device.
    """
    layout = ParameterLayout.of(model)
    generator = own_stream(seed, "random masks")
    flat = layout.unflatten(torch.rand(layout.size, generator=generator))
    tensors = layout.tensors(model)
    return {name: score.to(tensors[name].device) for name, score in flat.items()}


def inverse_scores(scores: Mapping[str, torch.Tensor]) -> Scores:
    """The opposite ranking: if `scores` mean anything, pruning by these must hurt more.

    Examples
    --------
    >>> inverse_scores({"weight": torch.tensor([3.0, -2.0])})
    {'weight': tensor([-3.,  2.])}
    """
    # A boolean or unsigned score has no minus; as a float it has.
    signed = {
        name: score.float() if score.dtype in (torch.bool, torch.uint8) else score
        for name, score in scores.items()
    }
    return {name: -score for name, score in signed.items()}


def obd_scores(
    model: nn.Module, movement: torch.Tensor | Mapping[str, torch.Tensor] | HasMovement
) -> Scores:
    r"""theta^2 times movement: Optimal Brain Damage with the movement in place of the curvature.

    Optimal Brain Damage prunes the weights with the smallest saliency
    :math:`h_{kk} \theta_k^2 / 2`, the loss that setting weight k to zero costs at a minimum if the
    Hessian is diagonal. Here the movement :math:`m_k = \sum_t (\theta_k^{t+1} - \theta_k^t)^2` of
    the training steps stands for :math:`h_{kk}`. The reason: a step of plain SGD is
    :math:`-\eta g_k`, so :math:`m_k = \eta^2 \sum_t g_{kt}^2`, and near a minimum of a
    log-likelihood loss the mean square of the gradient (the Fisher information) is close to the
    curvature. Constants such as :math:`\eta^2 / 2` do not change a ranking.

    It is a proxy, not a curvature. Early in training the mean gradient dominates its square; far
    from a minimum the empirical Fisher and the Hessian differ (Kunstner et al. 2019); the batch
    size scales the noise; with momentum, weight decay or Adam a step is not a gradient; and layers
    trained at different rates are not comparable.

    Parameters
    ----------
    model : nn.Module
        The network after training: its weights are theta.
    movement : tensor (P,), mapping of str to tensor, or object with `movement()`
        Sums of squared updates: flat in the order of `ParameterLayout.of(model)`, by name, or a
        `Trajectory`. A trajectory of more than the prunable weights may be given; it must hold all
        of those.

    Returns
    -------
    dict of str to tensor
        On the device of the movement (a trajectory's is the CPU).

    Raises
    ------
    ValueError
        If the movement does not fit the model or is negative somewhere.

    Examples
    --------
    >>> model = nn.Linear(2, 1)
    >>> _ = model.weight.data.copy_(torch.tensor([[-3.0, 2.0]]))
    >>> obd_scores(model, torch.tensor([1.0, 10.0]))
    {'weight': tensor([[ 9., 40.]])}
    """
    layout = ParameterLayout.of(model)
    moved = _by_name(movement, layout)
    scores = {}
    for name, theta in layout.tensors(model).items():
        if name not in moved:
            raise ValueError(f"movement must hold every prunable layer; {name!r} is missing.")
        value = moved[name]
        check_shape(f"movement[{name!r}]", value, tuple(theta.shape))
        if bool((value < 0).any()):
            raise ValueError(
                f"movement must be >= 0, a sum of squares; got {float(value.min())} in {name!r}."
            )
        scores[name] = theta.to(value.device).square() * value
    return scores


def _by_name(
    movement: torch.Tensor | Mapping[str, torch.Tensor] | HasMovement, layout: ParameterLayout
) -> Mapping[str, torch.Tensor]:
    if isinstance(movement, Mapping):
        return movement
    flat = movement
    if hasattr(movement, "movement"):
        layout = getattr(movement, "layout", layout)  # a recording knows its own order
        flat = movement.movement()
    flat = torch.as_tensor(flat)
    check_shape("movement", flat, (layout.size,))
    return layout.unflatten(flat)


# ---- baselines: The baselines that every pruning method is held against: magnitude, random, inve


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
