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
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.utils import prune
from torch.optim.optimizer import register_optimizer_step_post_hook

from causalprune_lib._files import replacing
from causalprune_lib._validation import check_choice, check_shape
from causalprune_lib.nets.parameters import ParameterLayout

# ---- maskset: `Masks`: which weights of a network are kept, layer by layer.


FORMAT = "causalprune masks 1"


@dataclass(frozen=True, eq=False, repr=False)
class Masks(Mapping[str, torch.Tensor]):
    """A frozen mapping from parameter names to boolean tensors, True = keep.

    Parameters
    ----------
    keep : mapping of str to bool tensor
        One tensor per layer, of the shape of its weight. The tensors are copied.

    Raises
    ------
    TypeError
        If a value is not a boolean tensor. A mask of ones and zeros becomes one by `mask != 0`.
    ValueError
        If `keep` is empty.

    Examples
    --------
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
            raise TypeError("pruned_indices must be whole numbers in one flat sequence.")
        pruned = pruned.long()
        outside = pruned[(pruned < 0) | (pruned >= layout.size)]
        if outside.numel():
            raise ValueError(
                f"pruned_indices must be in 0..{layout.size - 1}; got {int(outside[0])}."
            )
        if pruned.unique().numel() < pruned.numel():
            raise ValueError("pruned_indices must be distinct; got an index more than once.")
        flat = torch.ones(layout.size, dtype=torch.bool)
        flat[pruned] = False
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
        frame = pd.DataFrame(
            {"layer": list(self.keep), "weights": list(self.layout.sizes), "kept": kept}
        )
        frame["density"] = frame["kept"] / frame["weights"]
        return frame

    def empty_layers(self) -> tuple[str, ...]:
        """Names of the layers of which no weight is kept: no signal passes through them."""
        return tuple(name for name, mask in self.keep.items() if not bool(mask.any()))

    def flat(self, layout: ParameterLayout | None = None) -> torch.Tensor:
        """One boolean vector (P,), in the order of `layout` (default: of these masks).

        Raises
        ------
        ValueError
            If `layout` has other names or shapes than these masks.
        """
        layout = layout or self.layout
        for name in self.keep:
            check_choice("layer", name, layout.names)
        return layout.flatten(self.keep)

    def to(self, device: torch.device | str) -> Masks:
        """The same masks on another device."""
        return Masks({name: mask.to(device) for name, mask in self.keep.items()})

    def save(self, path: str | os.PathLike) -> None:
        """Write the masks to `path`, one bit per weight, as a NumPy .npz archive.

        The file appears whole or not at all.
        """
        shapes = [list(shape) for shape in self.layout.shapes]
        header = json.dumps({"format": FORMAT, "names": list(self.keep), "shapes": shapes})
        bits = np.packbits(self.to("cpu").flat().numpy())
        with replacing(path) as draft, draft.open("wb") as stream:
            np.savez_compressed(stream, header=np.array(header), bits=bits)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Masks:
        """Read masks that `save` wrote. They come back on the CPU.

        Raises
        ------
        ValueError
            If the file is damaged or is not a file of masks.
        """
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
        ours = self.flat()
        return Masks.from_flat(self.layout, ours & other.flat(self.layout).to(ours.device))

    def __eq__(self, other: object) -> bool:
        """Equal if the same layers keep the same weights, on whatever device, in any order."""
        if not isinstance(other, Masks):
            return NotImplemented
        if dict(zip(self.keep, self.layout.shapes, strict=True)) != dict(
            zip(other.keep, other.layout.shapes, strict=True)
        ):
            return False
        return all(torch.equal(m, other[name].to(m.device)) for name, m in self.keep.items())

    __hash__ = None

    def __repr__(self) -> str:
        counts = f"layers={len(self)}, weights={self.n}, kept={self.n_kept}"
        return f"Masks({counts}, amount={self.amount:.4f})"


# ---- overlap: How far two masks agree: Jaccard's index and the 2x2 table of the causal pruning p


def jaccard(a: Masks, b: Masks, *, of: str = "kept") -> float:
    """Jaccard's index |A and B| / |A or B| of the sets of weights that two masks keep, or prune.

    Parameters
    ----------
    a, b : Masks
        Over the same layers.
    of : {"kept", "pruned"}
        Which weights are compared.

    Returns
    -------
    float
        In [0, 1]; 1.0 for equal sets, two empty ones included.

    Raises
    ------
    ValueError
        If the layers of `a` and `b` differ.

    Examples
    --------
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


def overlap_table(a: Masks, b: Masks, *, names: tuple[str, str] = ("a", "b")) -> pd.DataFrame:
    """Percentages of weights that both masks prune, one of them prunes, and neither prunes.

    The four entries of each matrix in figure 1(b) of the causal pruning paper: row 0 is pruned by
    `a` (there: causal pruning), column 0 is pruned by `b` (there: magnitude). So (0, 0) is pruned
    by both, (0, 1) by `a` only, (1, 0) by `b` only, (1, 1) by neither. They sum to 100.

    If `a` and `b` had nothing to do with each other, entry (0, 0) would be `100 * p * q` for
    amounts p and q. With p = q = 0.971, a pair in that figure, chance alone gives 94.3.

    Parameters
    ----------
    a, b : Masks
        Over the same layers.
    names : pair of str
        What the rows and the columns are called.

    Returns
    -------
    DataFrame
        Rows and columns "pruned" and "kept".

    Raises
    ------
    ValueError
        If the layers of `a` and `b` differ.

    Examples
    --------
    >>> a = Masks({"fc": torch.tensor([True, True, False, False])})
    >>> b = Masks({"fc": torch.tensor([True, False, False, False])})
    >>> overlap_table(a, b).to_numpy()
    array([[50.,  0.],
           [25., 25.]])
    """
    first, second = _flat_pair(a, b)
    n = first.numel()
    table = [
        [100 * int((rows & columns).sum()) / n for columns in (~second, second)]
        for rows in (~first, first)
    ]
    labels = ["pruned", "kept"]
    return pd.DataFrame(
        table, index=pd.Index(labels, name=names[0]), columns=pd.Index(labels, name=names[1])
    )


def _flat_pair(a: Masks, b: Masks) -> tuple[torch.Tensor, torch.Tensor]:
    first = a.flat()
    return first, b.flat(a.layout).to(first.device)


# ---- masks: Masks on a model: put on, read, held through training, made permanent.


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
