"""Masks: which weights of a network are kept, and how a network carries them.

A masked layer is a layer of `torch.nn.utils.prune`, which can go on with masks put on here, and
the other way round: the trainable tensor is called `weight_orig`, the buffer `weight_mask` holds
ones and zeros, and `weight` is their product, computed anew before each forward pass. Whatever an
optimizer does to `weight_orig`, a pruned weight in use stays zero.
"""

from __future__ import annotations

import copy
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.utils import prune

from causalprune_lib._files import replacing
from causalprune_lib._validation import check_choice, check_shape
from causalprune_lib.nets.parameters import ParameterLayout, masked, refresh

FORMAT = "causalprune masks 1"  # of a file that `Masks.save` writes


@dataclass(frozen=True, eq=False, repr=False)
class Masks(Mapping[str, torch.Tensor]):
    """A frozen mapping from parameter names to boolean tensors, True = keep.

    `keep` has one tensor per layer, of the shape of its weight; they are copied.

    >>> masks = Masks({"fc.weight": torch.tensor([[True, False], [False, False]])})
    >>> masks
    Masks(layers=1, weights=4, kept=1, amount=0.7500)
    >>> masks.counts()
           layer  weights  kept  density
    0  fc.weight        4     1     0.25
    """

    keep: Mapping[str, torch.Tensor]

    def __post_init__(self) -> None:
        if not isinstance(self.keep, Mapping):
            raise TypeError(
                f"keep must be a mapping from names to tensors; got {type(self.keep).__name__}."
            )
        if not self.keep:
            raise ValueError("keep must hold at least one layer; got an empty mapping.")
        for name, mask in self.keep.items():
            kind = mask.dtype if isinstance(mask, torch.Tensor) else type(mask).__name__
            if kind != torch.bool:
                raise TypeError(
                    f"keep[{name!r}] must be a tensor of dtype torch.bool, True = keep (write "
                    f"mask != 0 for a mask of ones and zeros); got {kind}."
                )
        copies = {name: mask.detach().clone() for name, mask in self.keep.items()}
        object.__setattr__(self, "keep", copies)

    @classmethod
    def from_flat(cls, layout: ParameterLayout, flat: torch.Tensor) -> Masks:
        """Masks from one boolean vector (P,), True = keep, in the order of `layout`."""
        check_shape("flat", flat, (layout.size,))
        return cls(layout.unflatten(flat))

    @classmethod
    def from_indices(cls, layout: ParameterLayout, pruned_indices: Iterable[int]) -> Masks:
        """Masks that prune the weights numbered `pruned_indices` (from 0) and keep all others."""
        pruned = torch.as_tensor(list(pruned_indices))
        if pruned.numel() and (pruned.ndim != 1 or pruned.is_floating_point()):
            raise TypeError(
                "pruned_indices must be whole numbers in one flat sequence; got "
                f"{pruned.dtype} of shape {tuple(pruned.shape)}."
            )
        found, times = pruned.long().unique(return_counts=True)
        wrong = found[(found < 0) | (found >= layout.size) | (times > 1)]
        if len(wrong):
            raise ValueError(
                f"pruned_indices must be distinct and in 0..{layout.size - 1}; got {int(wrong[0])} "
                "outside, or more than once."
            )
        flat = torch.ones(layout.size, dtype=torch.bool)
        flat[found] = False
        return cls.from_flat(layout, flat)

    @cached_property
    def layout(self) -> ParameterLayout:
        """Names, shapes and flat positions of these layers."""
        return ParameterLayout(tuple(self.keep), tuple(mask.shape for mask in self.keep.values()))

    @property
    def n(self) -> int:
        """P, the number of weights, kept or not."""
        return self.layout.size

    @cached_property
    def n_kept(self) -> int:
        """The number of weights kept."""
        return sum(int(mask.sum()) for mask in self.keep.values())

    @property
    def amount(self) -> float:
        """The fraction of weights that is pruned, in [0, 1]."""
        return (self.n - self.n_kept) / self.n

    def counts(self) -> pd.DataFrame:
        """One row per layer: `layer`, `weights`, `kept`, `density` = kept / weights."""
        kept = [int(mask.sum()) for mask in self.keep.values()]
        frame = pd.DataFrame({"layer": [*self], "weights": [*self.layout.sizes], "kept": kept})
        return frame.assign(density=frame.kept / frame.weights)

    def empty_layers(self) -> tuple[str, ...]:
        """Names of the layers of which no weight is kept: no signal passes through them."""
        return tuple(name for name, mask in self.keep.items() if not bool(mask.any()))

    def flat(self, layout: ParameterLayout | None = None) -> torch.Tensor:
        """One boolean vector (P,), in the order of `layout`, by default that of the masks."""
        layout = layout or self.layout
        for name in self.keep:
            check_choice("layer", name, layout.names)
        return layout.flatten(self.keep)

    def to(self, device: torch.device | str) -> Masks:
        """The same masks on another device."""
        return Masks({name: mask.to(device) for name, mask in self.keep.items()})

    def save(self, path: str | os.PathLike) -> None:
        """Write a NumPy archive, one bit per weight; the file appears whole or not at all."""
        shapes = [list(shape) for shape in self.layout.shapes]
        header = json.dumps({"format": FORMAT, "names": list(self.keep), "shapes": shapes})
        bits = np.packbits(self.flat().cpu().numpy())
        with replacing(path) as draft, draft.open("wb") as stream:
            np.savez_compressed(stream, header=np.array(header), bits=bits)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Masks:
        """Read masks that `save` wrote, to the CPU; a ValueError if the file is not whole."""
        try:
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
                header, bits = json.loads(str(archive["header"])), archive["bits"]
            if header["format"] != FORMAT:
                raise ValueError(f"its format is {header['format']!r}, not {FORMAT!r}")
            shapes = tuple(torch.Size(shape) for shape in header["shapes"])
            layout = ParameterLayout(tuple(header["names"]), shapes)
            flat = np.unpackbits(bits, count=layout.size).astype(bool)
            return cls.from_flat(layout, torch.from_numpy(flat))
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(
                f"path must be a whole file written by Masks.save; got {os.fspath(path)!r}: {error}"
            ) from error

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.keep[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keep)

    def __len__(self) -> int:
        return len(self.keep)

    def __and__(self, other: Masks) -> Masks:
        """Keep what both keep."""
        if not isinstance(other, Masks):
            return NotImplemented
        ours, theirs = _flat_pair(self, other)
        return Masks.from_flat(self.layout, ours & theirs)

    def __eq__(self, other: object) -> bool:
        """Equal if the same layers keep the same weights, on whatever device, in any order."""
        if not isinstance(other, Masks):
            return NotImplemented
        ours, theirs = ({name: mask.shape for name, mask in m.items()} for m in (self, other))
        return ours == theirs and all(
            torch.equal(mask, other[name].to(mask.device)) for name, mask in self.items()
        )

    __hash__ = None

    def __repr__(self) -> str:
        counts = f"layers={len(self)}, weights={self.n}, kept={self.n_kept}"
        return f"Masks({counts}, amount={self.amount:.4f})"


def apply_masks(model: nn.Module, masks: Masks) -> nn.Module:
    """Put `masks` on `model`, in place, as `torch.nn.utils.prune.custom_from_mask` does.

    In a layer that is masked already, a weight stays if both masks keep it. Layers that `masks` do
    not name are left as they are, and one that the model lacks, or has in another shape, is a
    ValueError before anything is changed. A weight that two modules share is masked in both. An
    optimizer made before this call stays valid: the trainable tensors are the same objects.

    >>> model = nn.Sequential(nn.Linear(2, 1))
    >>> keep = Masks({"0.weight": torch.tensor([[True, False]])})
    >>> sorted(name for name, _ in apply_masks(model, keep).named_buffers())
    ['0.weight_mask']
    >>> bool(model[0].weight[0, 1] == 0)
    True
    """
    known = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    known += [name.removesuffix("_orig") for name in known if name.endswith("_orig")]
    for name in masks:
        check_choice("layer of masks", name, known)
    for name, parameter in masks.layout.parameters(model).items():
        keep = masks[name].to(parameter.device)
        holders = [
            (module, leaf)
            for module in model.modules()
            for leaf, own in module.named_parameters(recurse=False, remove_duplicate=False)
            if own is parameter
        ]
        for module, leaf in holders:  # more than one where a weight is shared
            mask_name = f"{leaf.removesuffix('_orig')}_mask"
            old = getattr(module, mask_name, None)
            if old is None:
                prune.custom_from_mask(module, leaf, keep)
            else:
                setattr(module, mask_name, (keep & (old != 0)).to(old.dtype))
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
    """
    return Masks(ParameterLayout.of(model).kept(model))


def remove_masks(model: nn.Module) -> nn.Module:
    """Make every mask of `model` permanent, in place, as `torch.nn.utils.prune.remove` does.

    From then on the pruned weights are zeros in `weight`, the parameters have their plain names
    again, and nothing keeps the zeros at zero in further training.
    """
    found = list(masked(model))
    if not found:
        raise ValueError(f"model must have a mask to remove; got a {type(model).__name__} without.")
    for module, method in found:
        prune.remove(module, method._tensor_name)
    for module in model.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if hook is _refresh_before_attention:
                del module._forward_pre_hooks[key]
    return model


def clone_model(model: nn.Module) -> nn.Module:
    """A deep copy of `model`, masked or not; gradients of parameters are not copied.

    `copy.deepcopy` refuses a masked model, whose `weight` is not a leaf of the graph.
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


def unmasked_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` whose masks, if there are any, are permanent."""
    twin = clone_model(model)
    return remove_masks(twin) if prune.is_pruned(twin) else twin


def jaccard(a: Masks, b: Masks, *, of: str = "kept") -> float:
    """Jaccard's index |A and B| / |A or B| of the weights that two masks keep, or have "pruned".

    The masks must be over the same layers. Equal sets give 1.0, two empty ones too.

    >>> a = Masks({"fc": torch.tensor([True, True, False, False])})
    >>> b = Masks({"fc": torch.tensor([True, False, False, False])})
    >>> jaccard(a, b), jaccard(a, b, of="pruned")
    (0.5, 0.6666666666666666)
    """
    check_choice("of", of, ["kept", "pruned"])
    first, second = _flat_pair(a, b)
    if of == "pruned":
        first, second = ~first, ~second
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 1.0


def _flat_pair(a: Masks, b: Masks) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as vectors (P,) in the order and on the device of `a`."""
    first = a.flat()
    return first, b.flat(a.layout).to(first.device)


def _refresh_before_attention(attention: nn.MultiheadAttention, _: object) -> None:
    """Recompute the masked weight: attention reads out_proj.weight but never calls out_proj."""
    refresh(attention.out_proj)
