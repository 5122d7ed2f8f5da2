"""Masks on a model: put on, read, held through training, made permanent.

A masked layer is a layer of `torch.nn.utils.prune`: the trainable tensor is called `weight_orig`,
the buffer `weight_mask` holds ones and zeros, and `weight` is their product, computed anew before
each forward pass. The gradient passes through the product, and whatever an optimizer does to
`weight_orig`, the weight in use stays zero where the mask is. Masks put on here can be handled with
`torch.nn.utils.prune`, and the other way round.

`Masks` itself is defined in `maskset.py`, `masks_from_scores` in `selection.py`, `jaccard` and
`overlap_table` in `overlap.py`; they can be imported from here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import prune
from torch.optim.optimizer import register_optimizer_step_post_hook

from causalprune_lib._validation import check_choice
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.maskset import Masks
from causalprune_lib.pruning.overlap import jaccard, overlap_table
from causalprune_lib.pruning.selection import LayerCollapseWarning, masks_from_scores

__all__ = [
    "LayerCollapseWarning",
    "Masks",
    "apply_masks",
    "clone_model",
    "hold_masks",
    "jaccard",
    "masks_from_scores",
    "masks_of",
    "overlap_table",
    "remove_masks",
]


def apply_masks(model: nn.Module, masks: Masks, *, replace: bool = False) -> nn.Module:
    """Put `masks` on `model`, in place, as `torch.nn.utils.prune.custom_from_mask` does.

    Parameters
    ----------
    model : nn.Module
        The network. An optimizer made before this call stays valid: the trainable tensors are the
        same objects, under the name `weight_orig`.
    masks : Masks
        Layers that it does not name are left as they are. A weight that two modules share is
        masked in both.
    replace : bool
        What happens to a layer that is masked already. False (default): a weight stays only if the
        old mask and the new one keep it, as with successive calls of `torch.nn.utils.prune`. True:
        the new mask takes the place of the old one, and weights that only the old one pruned
        return with the value that `weight_orig` has.

    Returns
    -------
    nn.Module
        `model`.

    Raises
    ------
    ValueError
        If a layer is not in the model (the nearest name is offered) or has another shape. The model
        is then unchanged.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 1))
    >>> keep = Masks({"0.weight": torch.tensor([[True, False]])})
    >>> sorted(name for name, _ in apply_masks(model, keep).named_buffers())
    ['0.weight_mask']
    >>> bool(model[0].weight[0, 1] == 0)
    True
    """
    for name, parameter in _parameters_under(model, masks).items():
        keep = masks[name].to(parameter.device)
        for module, leaf in _holders(model, parameter):
            old = getattr(module, f"{leaf}_mask", None)
            if old is None:
                prune.custom_from_mask(module, leaf, keep)
            else:
                new = keep if replace else keep & (old != 0)
                setattr(module, f"{leaf}_mask", new.to(old.dtype))
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention) and hasattr(module.out_proj, "weight_mask"):
            hooks = module._forward_pre_hooks
            if _refresh_before_attention not in hooks.values():
                module.register_forward_pre_hook(_refresh_before_attention)
    refresh(model)
    return model


def masks_of(model: nn.Module) -> Masks:
    """The masks in force on the prunable weights of `model`; all True where there is none.

    Only masks count, not values: a weight that is zero without a mask is kept.

    Raises
    ------
    ValueError
        If the model has no linear or convolution layer.
    """
    layout = ParameterLayout.of(model)
    keep = {}
    for name, parameter in layout.parameters(model).items():
        owner, _, leaf = name.rpartition(".")
        mask = getattr(model.get_submodule(owner), f"{leaf}_mask", None)
        keep[name] = torch.ones_like(parameter, dtype=torch.bool) if mask is None else mask != 0
    return Masks(keep)


def remove_masks(model: nn.Module) -> nn.Module:
    """Make every mask of `model` permanent, as `torch.nn.utils.prune.remove` does; in place.

    The pruned weights are zeros in `weight` from then on, the model has its plain parameter names
    again, and nothing keeps the zeros at zero in further training but `hold_masks`.

    Raises
    ------
    ValueError
        If the model has no mask.
    """
    masked = list(_masked(model))
    if not masked:
        raise ValueError(f"model must have a mask to remove; got a {type(model).__name__} without.")
    for module, leaf in masked:
        prune.remove(module, leaf)
    for module in model.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if hook is _refresh_before_attention:
                del module._forward_pre_hooks[key]
    return model


@contextmanager
def hold_masks(model: nn.Module, masks: Masks) -> Iterator[nn.Module]:
    """Keep pruned weights of a model without live masks at zero while it is trained.

    A model from `apply_masks` needs no help. This is for a plain model with zeros in it, after
    `remove_masks` or from a file: inside the block the pruned weights are set to zero, at once and
    after each step of any optimizer. The optimizer's own state (momentum) still moves for them, so
    they leave zero if training goes on after the block.

    Enter it before a recorder of weights that also acts after each step: what is registered first
    runs first.

    Raises
    ------
    ValueError
        If a layer is not in the model or has another shape.

    Examples
    --------
    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with hold_masks(model, Masks({"weight": torch.tensor([[True, False]])})):
    ...     model(torch.ones(1, 2)).sum().backward()
    ...     optimizer.step()
    >>> model.weight[0, 1].item()
    0.0
    """
    held = [
        (parameter, ~masks[name].to(parameter.device))
        for name, parameter in _parameters_under(model, masks).items()
    ]

    def zero(*_: object) -> None:
        with torch.no_grad():
            for parameter, pruned in held:
                parameter.masked_fill_(pruned, 0)

    zero()
    handle = register_optimizer_step_post_hook(zero)
    try:
        yield model
    finally:
        handle.remove()


def clone_model(model: nn.Module) -> nn.Module:
    """A deep copy of `model`, masked or not.

    `copy.deepcopy` refuses a masked model: its `weight` is a result of a computation, not a leaf of
    the graph. Here such tensors are copied by value, and the copy's masked weights are products of
    its own masks and parameters. As with `copy.deepcopy`, gradients of parameters are not copied.
    """
    memo = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    twin = copy.deepcopy(model, memo)
    refresh(twin)
    return twin


def refresh(model: nn.Module) -> None:
    """Recompute `weight` = `weight_mask` * `weight_orig` everywhere, as a forward pass would."""
    for module, leaf in _masked(model):
        original, mask = getattr(module, f"{leaf}_orig"), getattr(module, f"{leaf}_mask")
        setattr(module, leaf, mask.to(original.dtype) * original)


def _parameters_under(model: nn.Module, masks: Masks) -> dict[str, nn.Parameter]:
    """The trainable tensors of `model` that `masks` speaks of, after a check that all are there."""
    known = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    known += [name.removesuffix("_orig") for name in known if name.endswith("_orig")]
    for name in masks:
        check_choice("layer of masks", name, known)
    return masks.layout.parameters(model)


def _masked(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Modules and names of their tensors that `torch.nn.utils.prune` masks."""
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, prune.BasePruningMethod):
                yield module, hook._tensor_name


def _holders(model: nn.Module, parameter: nn.Parameter) -> list[tuple[nn.Module, str]]:
    """Every module that holds `parameter`, with its name there before masking."""
    found = []
    for module in model.modules():
        for leaf, own in module.named_parameters(recurse=False, remove_duplicate=False):
            if own is parameter:
                base = leaf.removesuffix("_orig")
                found.append((module, base if hasattr(module, f"{base}_mask") else leaf))
    return found


def _refresh_before_attention(attention: nn.MultiheadAttention, _: object) -> None:
    # nn.MultiheadAttention reads out_proj.weight without calling out_proj, so the hook with which
    # torch.nn.utils.prune recomputes the masked weight would never run.
    refresh(attention.out_proj)
