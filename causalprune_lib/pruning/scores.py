"""Rankings that need no new theory (magnitude, random, inverse, OBD-like), and pruning by them.

`*_scores` return one tensor per prunable layer, higher = kept, for `masks_from_scores`.
`*_unstructured` prune a model at once in the manner of `torch.nn.utils.prune`, but a whole model:
all share the options and the defaults of `prune_by_scores`, and what `amount` means.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_shape
from causalprune_lib.dynamics.trajectory import Trajectory
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks, apply_masks, masks_of
from causalprune_lib.pruning.select import masks_from_scores, uniform_scores

Scores = dict[str, torch.Tensor]


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
    """Prune `model`, masked already or not, in place and return it: the lowest `scores` go first.

    All options are those of `masks_from_scores`; `amount` includes what was pruned before.
    """
    before = masks_of(model)
    for name in scores:
        check_choice("layer of scores", name, list(before))
    masks = masks_from_scores(
        scores, amount, scope=scope, like=like, floor=floor, nan=nan, within=before
    )
    return apply_masks(model, masks)


def magnitude_unstructured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    importance_scores: Mapping[str, torch.Tensor] | None = None,
    **options: object,
) -> nn.Module:
    """Prune the weights of smallest magnitude; `torch.nn.utils.prune.L1Unstructured` for a model.

    `importance_scores`, by layer name, take the place of the weights; as in torch their absolute
    value ranks. `options` are those of `prune_by_scores`.

    >>> model = nn.Linear(2, 1)
    >>> _ = model.weight.data.copy_(torch.tensor([[-3.0, 2.0]]))
    >>> magnitude_unstructured(model, 0.5).weight_mask
    tensor([[1., 0.]])
    """
    scores = magnitude_scores(model)
    if importance_scores is not None:
        scores = {name: score.abs() for name, score in importance_scores.items()}
    return prune_by_scores(model, scores, amount, **options)


def random_unstructured(
    model: nn.Module, amount: float | int | None = None, *, seed: int, **options: object
) -> nn.Module:
    """Prune random weights; with `scope="like"` at the counts of other masks, their control."""
    return prune_by_scores(model, random_scores(model, seed=seed), amount, **options)


def magnitude_scores(model: nn.Module) -> Scores:
    """|theta|, the absolute value of each weight in use; 0 where it is masked.

    >>> model = nn.Linear(2, 1)
    >>> _ = model.weight.data.copy_(torch.tensor([[-3.0, 2.0]]))
    >>> magnitude_scores(model)
    {'weight': tensor([[3., 2.]])}
    """
    return {name: value.abs() for name, value in ParameterLayout.of(model).tensors(model).items()}


def random_scores(model: nn.Module, *, seed: int) -> Scores:
    """Uniform random scores: with `scope="like"`, the control for any ranking at its own counts."""
    layout = ParameterLayout.of(model)
    tensors = layout.tensors(model)
    drawn = uniform_scores(layout, seed=seed)
    return {name: score.to(tensors[name].device) for name, score in drawn.items()}


def inverse_scores(scores: Mapping[str, torch.Tensor]) -> Scores:
    """The opposite ranking: if `scores` mean anything, pruning by these must hurt more.

    >>> inverse_scores({"weight": torch.tensor([3.0, -2.0])})
    {'weight': tensor([-3.,  2.])}
    """
    # A boolean or unsigned score has no minus; as a float it has.
    return {
        name: -(score.float() if score.dtype in (torch.bool, torch.uint8) else score)
        for name, score in scores.items()
    }


def obd_scores(
    model: nn.Module, movement: torch.Tensor | Mapping[str, torch.Tensor] | Trajectory
) -> Scores:
    r"""theta^2 times movement: Fisher pruning, Optimal Brain Damage with squared gradients.

    Optimal Brain Damage (LeCun, Denker and Solla, NIPS 1990) prunes the weights with the smallest
    :math:`h_{kk} \theta_k^2 / 2`, the loss that setting weight k to zero costs at a minimum if the
    Hessian is diagonal. Here :math:`m_k = \sum_t (\theta_k^{t+1} - \theta_k^t)^2` stands for
    :math:`h_{kk}`: with plain SGD it is :math:`\eta^2 \sum_t g_{kt}^2`, and the mean square of the
    gradient, as in Fisher pruning (Theis et al., arXiv 1801.05787), is close to the curvature near
    a minimum of a log-likelihood loss. Far from one it is not (Kunstner, Balles and Hennig, NeurIPS
    2019); with momentum, weight decay or Adam a step is not a gradient.

    `model` is the network after training. `movement` is m: a flat tensor (P,) in the order of
    `ParameterLayout.of(model)`, tensors by name, or a recording of at least all prunable weights.
    The scores are on its device.

    >>> model = nn.Linear(2, 1)
    >>> _ = model.weight.data.copy_(torch.tensor([[-3.0, 2.0]]))
    >>> obd_scores(model, torch.tensor([1.0, 10.0]))
    {'weight': tensor([[ 9., 40.]])}
    """
    layout = ParameterLayout.of(model)
    if not isinstance(movement, Mapping):
        recorded = isinstance(movement, Trajectory)
        known = movement.layout if recorded else layout
        flat = torch.as_tensor(movement.movement() if recorded else movement)
        check_shape("movement", flat, (known.size,))
        movement = known.unflatten(flat)
    scores = {}
    for name, theta in layout.tensors(model).items():
        if name not in movement:
            raise ValueError(f"movement must hold every prunable layer; {name!r} is missing.")
        moved = movement[name]
        check_shape(f"movement[{name!r}]", moved, tuple(theta.shape))
        if bool((moved < 0).any()):
            raise ValueError(
                f"movement must be >= 0, a sum of squares; got {float(moved.min())} in {name!r}."
            )
        scores[name] = theta.to(moved.device).square() * moved
    return scores
