"""Putting a network back to an earlier state, to the bit, whether or not it is masked by now."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_shape
from causalprune_lib.pruning.masks import refresh

State = Mapping[str, torch.Tensor]


@torch.no_grad()
def rewind(model: nn.Module, state: State) -> nn.Module:
    """Put every parameter and buffer of `model` back to `state`, in place; masks stay as they are.

    Parameters
    ----------
    model : nn.Module
        Masked or not.
    state : state dict
        Of this network, masked or not when it was taken; masks in it are ignored.

    Raises
    ------
    TypeError
        If `state` is not a mapping.
    ValueError
        If names, shapes or types differ from those of the model, which is then unchanged.

    Examples
    --------
    >>> import copy
    >>> from causalprune_lib.pruning.masks import Masks, apply_masks
    >>> model = nn.Linear(2, 1)
    >>> start = copy.deepcopy(model.state_dict())
    >>> _ = apply_masks(model, Masks({"weight": torch.tensor([[True, False]])}))
    >>> _ = model.weight_orig.data.add_(1.0)
    >>> bool(rewind(model, start).weight[0, 0] == start["weight"][0, 0])
    True
    """
    model.load_state_dict(check_state(model, state))
    refresh(model)
    return model


def check_state(model: nn.Module, state: State) -> dict[str, torch.Tensor]:
    """Return `state` under the names that the tensors of `model` have at present, if it fits.

    Masking renames `weight` to `weight_orig`; this undoes and redoes the renaming.

    Raises
    ------
    TypeError, ValueError
        As `rewind`.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"the state to rewind to must be a state dict; got {type(state).__name__}.")
    own = model.state_dict()
    plain = {_plain_name(key, own): key for key in own if not _is_mask(key, own)}
    given = {_plain_name(key, state): v for key, v in state.items() if not _is_mask(key, state)}
    for name in given:
        check_choice("entry of the state to rewind to", name, plain)
    translated = dict(own)
    for name, key in plain.items():
        if name not in given:
            raise ValueError(f"the state to rewind to must hold {name!r}, which is missing.")
        if isinstance(own[key], torch.Tensor):
            check_shape(f"the state's {name!r}", given[name], tuple(own[key].shape))
            if given[name].dtype != own[key].dtype:
                raise ValueError(
                    f"the state's {name!r} must be {own[key].dtype}, as in the model; got "
                    f"{given[name].dtype}."
                )
        translated[key] = given[name]
    return translated


def _is_mask(key: str, state: State) -> bool:
    return key.endswith("_mask") and f"{key.removesuffix('_mask')}_orig" in state


def _plain_name(key: str, state: State) -> str:
    base = key.removesuffix("_orig")
    return base if f"{base}_mask" in state else key
