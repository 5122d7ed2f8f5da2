"""Masks of the LEGCNet paper's networks: those that its authors published, and random ones.

Paper: arXiv:2308.09955. The tables print one trial of five for each dataset, without saying which;
re-running with the published initial weights and masks tells.
"""

from __future__ import annotations

import torch

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks
from causalprune_studies.paper_networks.settings import legcnet_settings
from causalprune_studies.tables import published


def published_masks(dataset: str, *, variant: str) -> list[Masks]:
    """The published masks of one dataset, one for each of the five trials.

    `variant` is "FT" or "PT"; none are published for vowel. Layers are called as in
    `SigmoidNetworks.model`, "fc1.weight" and "fc2.weight".

    Examples
    --------
    >>> [mask.n - mask.n_kept for mask in published_masks("cancer", variant="FT")]
    [10, 6, 4, 4, 2]
    """
    table = published("legcnet_masks")
    names = table.row.str.split("/", expand=True)
    check_choice("dataset", dataset, names[0].unique())
    check_choice("variant", variant, ("FT", "PT"))
    d, h, k = legcnet_settings(dataset).sizes
    layout = ParameterLayout(("fc1.weight", "fc2.weight"), ((h, d), (k, h)))
    trials = table[(names[0] == dataset) & (names[1] == variant)].groupby("row")  # 1 to 5
    pruned = (cells.value[cells.unit == "flat index"].astype(int) for _, cells in trials)
    return [Masks.from_indices(layout, indices.tolist()) for indices in pruned]


def published_trial(dataset: str, *, column: str) -> int | None:
    """The trial, from 1, that the tables print for a dataset; None where none gives that row.

    `column` is "DN" (the dense network), "LEGCNet-FT" or "LEGCNet-PT".

    Examples
    --------
    >>> published_trial("titanic", column="DN"), published_trial("vowel", column="DN")
    (1, None)
    """
    dataset = legcnet_settings(dataset).dataset
    check_choice("column", column, ("DN", "LEGCNet-FT", "LEGCNet-PT"))
    table = published("legcnet_trials")
    found = table.value[(table.row == dataset) & (table.column == column)]
    return int(found.iloc[0]) if len(found) else None


def draw_masks_like(keep: torch.Tensor, n: int, *, seed: int, split: int) -> torch.Tensor:
    """`n` random masks for each mask of `keep` (B, P), with the same number pruned in each layer.

    The second layer begins at weight `split`, which is H D. Of the masks (B n, P), True = keep, the
    rows b n to b n + n - 1 belong to row b of `keep`. The draws are not those of the library's
    `random_masks_like`: committed rows rest on them.

    Examples
    --------
    >>> keep = torch.tensor([[True, False, False, True, True]])
    >>> masks = draw_masks_like(keep, 100, seed=0, split=3)
    >>> masks[:, :3].sum(1).unique().tolist(), masks[:, 3:].all().item()
    ([1], True)
    """
    generator = own_stream(seed, "random masks")
    wide = keep.cpu().repeat_interleave(check_int("n", n), 0)
    parts = []
    for layer in (wide[:, :split], wide[:, split:]):
        rank = torch.rand(layer.shape, generator=generator).argsort(1).argsort(1)
        parts.append(rank < layer.sum(1, keepdim=True))
    return torch.cat(parts, 1).to(keep.device)
