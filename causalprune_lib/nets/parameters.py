"""`ParameterLayout`, the one owner of the order of a network's weights in a flat vector.

Every score, mask and trajectory of this library is a dictionary from parameter names to tensors or
one flat vector of length P. Only the layout turns one into the other, so two parts of the library
never disagree about which weight is number k.
"""

from __future__ import annotations

import math
import numbers
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from torch import nn
from torch.nn.utils.prune import BasePruningMethod

from causalprune_lib._validation import check_choice, check_fraction, check_int, check_shape

PRUNABLE_MODULES = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


@dataclass(frozen=True)
class ParameterLayout:
    """Names, shapes and flat positions of the chosen parameters of one network.

    The order is that of `model.named_modules()`; inside one tensor it is row-major. A parameter
    that `torch.nn.utils.prune` has re-named to `weight_orig` keeps the name `weight` here, and a
    tensor shared by two modules is listed once, under its first name.

    >>> from torch import nn
    >>> layout = ParameterLayout.of(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    >>> layout.names, layout.size
    (('0.weight', '2.weight'), 18)
    >>> layout.locate(13)
    ('2.weight', (0, 1))
    """

    names: tuple[str, ...]  # one per tensor, as in `model.named_parameters()` before pruning
    shapes: tuple[torch.Size, ...]  # of each tensor

    @classmethod
    def of(cls, model: nn.Module, *, which: str = "prunable") -> ParameterLayout:
        """Read the layout of `model`; a ValueError if it has no such parameter.

        `which` is "prunable" (the `weight` of every linear and convolution layer, never a bias or
        a normalisation parameter) or "all" (every parameter).
        """
        check_choice("which", which, ["prunable", "all"])
        first_name: dict[nn.Parameter, str] = {}
        for name, parameter in _named(model, which):
            first_name.setdefault(parameter, name)  # tensors are hashed by identity
        if not first_name:
            needed = "linear or convolution layer" if which == "prunable" else "parameter"
            raise ValueError(
                f"model must have at least one {needed}; got a {type(model).__name__} with none."
            )
        return cls(tuple(first_name.values()), tuple(p.shape for p in first_name))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of scalars in each tensor."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def size(self) -> int:
        """P, the total number of scalars."""
        return sum(self.sizes)

    def span(self, name: str) -> slice:
        """Where the tensor `name` lies in the flat vector."""
        check_choice("name", name, self.names)
        position = self.names.index(name)
        start = sum(self.sizes[:position])
        return slice(start, start + self.sizes[position])

    def locate(self, k: int) -> tuple[str, tuple[int, ...]]:
        """Name and index inside its tensor of the flat weight number `k`."""
        if not 0 <= k < self.size:
            raise IndexError(f"k must be in 0..{self.size - 1}; got {k}.")
        position = bisect(list(accumulate(self.sizes)), k)
        index = np.unravel_index(k - sum(self.sizes[:position]), self.shapes[position])
        return self.names[position], tuple(int(i) for i in index)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The trainable tensors themselves of `model`, by name (`weight_orig` where pruned)."""
        present = dict(_named(model, "all"))
        for name, shape in zip(self.names, self.shapes, strict=True):
            if name not in present:
                kind = type(model).__name__
                raise ValueError(
                    f"model must have the parameter {name!r} of this layout; got a {kind} without."
                )
            check_shape(f"parameter {name!r}", present[name], tuple(shape))
        return {name: present[name] for name in self.names}

    def kept(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """True where the model's own masks keep a weight, by name; all True where there is none."""
        keep = {}
        for name, parameter in self.parameters(model).items():
            owner, _, leaf = name.rpartition(".")
            mask = getattr(model.get_submodule(owner), f"{leaf}_mask", None)
            keep[name] = torch.ones_like(parameter, dtype=torch.bool) if mask is None else mask != 0
        return keep

    def tensors(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Detached values in use in the forward pass: the masked weight where one is masked."""
        values = {}
        for name, parameter in self.parameters(model).items():
            owner, _, leaf = name.rpartition(".")
            mask = getattr(model.get_submodule(owner), f"{leaf}_mask", None)
            values[name] = parameter.detach() if mask is None else parameter.detach() * mask
        return values

    def flatten(self, source: nn.Module | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """One new vector (P,) from a model, 0 where it is pruned, or from a dictionary."""
        tensors = self.tensors(source) if isinstance(source, nn.Module) else source
        missing = [name for name in self.names if name not in tensors]
        if missing:
            raise ValueError(f"source must hold every name of the layout; missing {missing}.")
        for name, shape in zip(self.names, self.shapes, strict=True):
            check_shape(f"source[{name!r}]", tensors[name], tuple(shape))
        return torch.cat([tensors[name].reshape(-1) for name in self.names])

    def unflatten(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """A dictionary of tensors (..., *shape) from `flat` (..., P); views, not copies."""
        if not isinstance(flat, torch.Tensor):
            raise TypeError(f"flat must be a torch.Tensor; got {type(flat).__name__}.")
        if flat.dim() == 0 or flat.shape[-1] != self.size:
            raise ValueError(
                f"flat must have last dimension P = {self.size}; got shape {tuple(flat.shape)}."
            )
        pieces = flat.split(self.sizes, dim=-1)
        return {
            name: piece.reshape(*flat.shape[:-1], *shape)
            for name, shape, piece in zip(self.names, self.shapes, pieces, strict=True)
        }

    @torch.no_grad()
    def load(self, model: nn.Module, flat: torch.Tensor) -> None:
        """Write the vector `flat` (P,) into the parameters of `model`, in place."""
        values = self.unflatten(flat)
        for name, parameter in self.parameters(model).items():
            parameter.copy_(values[name])


def floor_counts(floor: float | int, sizes: Sequence[int]) -> list[int]:
    """The least number of weights that layers of `sizes` keep; a fraction is rounded up."""
    if isinstance(floor, numbers.Integral):
        least = check_int("floor", floor, minimum=0)
        return [min(least, n) for n in sizes]
    fraction = check_fraction("floor", floor)
    # The inner rounding undoes binary fractions: 0.1 * 30 is 3.0000000000000004, not 4 weights.
    return [math.ceil(round(fraction * n, 6)) for n in sizes]


def masked(model: nn.Module) -> Iterator[tuple[nn.Module, BasePruningMethod]]:
    """Modules, and what masks one of their tensors; called, it computes the masked weight anew."""
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, BasePruningMethod):
                yield module, hook


def refresh(model: nn.Module) -> None:
    """Recompute `weight` = `weight_mask` * `weight_orig` everywhere, as a forward pass would.

    After an optimizer's step `weight` is one step old until then.
    """
    for module, method in masked(model):
        method(module, None)


def _named(model: nn.Module, which: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter with its name before pruning, in the layout's order, shared ones twice."""
    for prefix, module in model.named_modules():
        if which == "prunable" and not isinstance(module, PRUNABLE_MODULES):
            continue
        leaves = {}
        for leaf, parameter in module.named_parameters(recurse=False):
            original = leaf.removesuffix("_orig")
            leaves[original if hasattr(module, f"{original}_mask") else leaf] = parameter
        # Pruning moves a re-named tensor to the end of its module; weights come first here always.
        for leaf in sorted(leaves, key=lambda leaf: leaf != "weight"):
            if which == "all" or leaf == "weight":
                yield (f"{prefix}.{leaf}" if prefix else leaf), leaves[leaf]
