"""Which features a mask takes from a network: cuts that crowd on a few, and why they do.

A network of the LEGCNet paper's tables has D features, H hidden neurons and K outputs; weight
number h D + d of P = H (D + K) leads from feature d to neuron h. Masks are (M, P), True = kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from causalprune_lib.pruning.legcnet import LEGCNet
from causalprune_studies.paper_networks.masks import draw_masks_like

Sizes = tuple[int, int, int]  # D, H, K


def cut_by_feature(keep: torch.Tensor, sizes: Sizes) -> torch.Tensor:
    """Share (M, D) of the weights that each feature goes out with which masks (M, P) prune.

    Examples
    --------
    >>> keep = torch.tensor([[False, True, False, True, True, True]])
    >>> cut_by_feature(keep, (2, 2, 1)).tolist()  # both weights of the first feature are pruned
    [[1.0, 0.0]]
    """
    d, h, _ = sizes
    return (~keep[:, : h * d]).double().reshape(len(keep), h, d).mean(1)


def cut_off(keep: torch.Tensor, sizes: Sizes) -> torch.Tensor:
    """The number (M,) of features from which no path leads to an output, under masks (M, P).

    Examples
    --------
    >>> keep = torch.tensor([[True, True, True, True, False, False]])
    >>> cut_off(keep, (2, 2, 1)).tolist()  # both output weights are pruned
    [2]
    """
    d, h, k = sizes
    first, second = keep[:, : h * d].reshape(-1, h, d), keep[:, h * d :].reshape(-1, k, h)
    return d - (first & second.any(1)[..., None]).any(1).sum(1)


def crowding(
    own: torch.Tensor,
    by_size: torch.Tensor,
    importance: np.ndarray,
    sizes: Sizes,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """How far a mask (P,) crowds on features, beside `draws` random masks of the same counts.

    `most`: the share of its weights that the feature hit hardest loses; `chance`: of random masks
    that crowd as much. `hit`: the cuts of all features, weighed by their `importance` (D,) with the
    sum 1. `cut off`: 1 if a feature has no path left. Each also "by lot", `hit` also for the mask
    `by_size` (P,).
    """
    lot = draw_masks_like(own[None], draws, seed=seed, split=sizes[0] * sizes[1])
    cut, by_lot = cut_by_feature(own[None], sizes)[0], cut_by_feature(lot, sizes)
    most, most_by_lot = cut.max(), by_lot.amax(1)
    return {
        "most": most.item(),
        "most by lot": most_by_lot.mean().item(),
        "chance": (most_by_lot >= most - 1e-9).double().mean().item(),
        "hit": float(cut.numpy() @ importance),
        "hit by lot": float(by_lot.mean(0).numpy() @ importance),
        "hit by magnitude": float(cut_by_feature(by_size[None], sizes)[0].numpy() @ importance),
        "cut off": float(cut_off(own[None], sizes)[0] > 0),
        "cut off by lot": (cut_off(lot, sizes) > 0).double().mean().item(),
    }


def kinship(readings: Sequence[LEGCNet], sizes: Sizes) -> pd.DataFrame:
    """How alike the exponents of weights are that share a feature, a neuron, or neither.

    Mean correlations over the pairs of first-layer weights whose exponents move, a row for each of
    the fitted `readings`; and the share of the variance of LEGCNet's ranks that lies between
    features, with what chance would make it.
    """
    d, h, _ = sizes
    weight = np.arange(h * d)
    same_feature = (weight % d)[:, None] == weight % d
    same_neuron = (weight // d)[:, None] == weight // d
    rows = []
    for reading in readings:
        exponents = reading.exponents_[:, : h * d].numpy()  # (W, H D)
        moving = exponents.std(0) > 0
        pairs = np.corrcoef(exponents[:, moving].T)
        at = np.ix_(moving, moving)
        feature, neuron = same_feature[at], same_neuron[at]
        rank = reading.decision_.scores[: h * d].argsort().argsort().double()
        rank = rank.reshape(h, d).numpy()
        rows.append(
            {
                "same feature": pairs[feature & ~neuron].mean(),
                "same neuron": pairs[neuron & ~feature].mean(),
                "neither": pairs[~feature & ~neuron].mean(),
                "ranks, between features": rank.mean(0).var() / rank.var(),
                "by chance": (d - 1) / (h * d - 1),
            }
        )
    return pd.DataFrame(rows)
