"""`Masks`: which weights of a network are kept, layer by layer.

A mask says nothing about a weight's value: it is a set. `Masks` holds one boolean tensor per layer,
True where the weight is kept, and knows how many that is, how to become one flat vector in the
order of `ParameterLayout`, and how to go to disk and back. Ranking weights is in `selection.py`,
comparing masks in `overlap.py`, putting them on a model in `masks.py`.
"""

from __future__ import annotations

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

from causalprune_lib._files import replacing
from causalprune_lib._validation import check_choice, check_shape
from causalprune_lib.nets.parameters import ParameterLayout

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
