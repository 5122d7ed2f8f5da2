"""What causal pruning is compared with: scores that know no cause, and masks that know nothing.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import nn

from causalprune_lib._validation import check_fraction, check_int
from causalprune_lib.causality.scores import solver_step_sizes
from causalprune_lib.nets.data import Dataset
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import Training
from causalprune_lib.pruning.masks import Masks, jaccard
from causalprune_lib.pruning.scores import Scores
from causalprune_lib.pruning.select import LayerCollapseWarning, masks_from_scores
from causalprune_studies.ch06_causal_model.study import frozen_steps


def frozen_scores(network: nn.Module, data: Dataset, training: Training, *, seed: int) -> Scores:
    """The released scores with moves that are not made: see `frozen_steps`.

    |sum_t w_t dL_t x_tk| over as many steps, where x_tk is the squared move that batch t asks of
    weight k, and dL_t the difference of the losses of batches t + 1 and t, all at the same weights.
    """
    n_steps = training.n_steps(len(data.x_train))
    options = {"batch_size": training.batch_size, "lr": training.lr, "seed": seed}
    steps = frozen_steps(network, data, steps=n_steps, **options)
    squares, change = steps.fitted("two_batch")
    weighted = solver_step_sizes(n_steps)[:-1].numpy() * change
    sums = torch.from_numpy(np.abs(weighted.astype(squares.dtype) @ squares))
    own = ParameterLayout.of(network).tensors(network)
    scores = steps.layout.unflatten(sums)
    return {name: scores[name].to(weight.device) for name, weight in own.items()}


def shuffled_losses(losses: Sequence[float], *, seed: int) -> list[float]:
    """Losses (T,) whose T-1 changes are those of `losses` in another order, with the same start.

    The link in time between the change of the loss and the steps of the weights is cut, and nothing
    else: the changes have the same distribution, and the first and last loss are the same.

    Examples
    --------
    >>> shuffled_losses([3.0, 2.0, 2.5, 0.5], seed=0)
    [3.0, 1.0, 0.0, 0.5]
    """
    changes = np.random.default_rng(seed).permutation(np.diff(losses))
    return (losses[0] + np.concatenate([[0.0], np.cumsum(changes)])).tolist()


def repeated_amounts(fraction: float, rounds: int) -> list[float]:
    """What is pruned after each of `rounds` rounds that prune `fraction` of what remains.

    The magnitude baseline of the causal pruning paper takes ten rounds with one global threshold:
    0.275 ends at 95.99%, 0.1 at 65.13% (its table 2).

    Examples
    --------
    >>> round(repeated_amounts(0.275, 10)[-1], 4)
    0.9599
    """
    check_fraction("fraction", fraction)
    return [1 - (1 - fraction) ** r for r in range(1, check_int("rounds", rounds) + 1)]


def overlap_table(a: Masks, b: Masks) -> pd.DataFrame:
    """Percentages of weights that both masks prune, one of them prunes, and neither prunes.

    A matrix of figure 1(b) of the causal pruning paper, arXiv:2412.03035: row 0 is pruned by `a`
    (there: causal pruning), column 0 by `b` (there: magnitude). By chance, entry (0, 0) would be
    `100 * p * q` for amounts p and q: 94.3 for p = q = 0.971, a pair in that figure.

    >>> import torch
    >>> a = Masks({"fc": torch.tensor([True, True, False, False])})
    >>> b = Masks({"fc": torch.tensor([True, False, False, False])})
    >>> overlap_table(a, b).to_numpy()
    array([[50.,  0.],
           [25., 25.]])
    """
    ours = a.flat()
    theirs = b.flat(a.layout).to(ours.device)
    table = [
        [100 * int((of_a & of_b).sum()) / a.n for of_b in (~theirs, theirs)]
        for of_a in (~ours, ours)
    ]
    labels = ["pruned", "kept"]
    return pd.DataFrame(table, index=labels, columns=labels)


def overlap_metrics(a: Masks, b: Masks) -> dict[str, float]:
    """Shares of the weights that both masks prune, one of them, or neither, and what is expected.

    `both_pruned`, `only_a`, `only_b`, `neither_pruned` sum to 1. `expected` is the share that both
    would prune if they were independent, p_a p_b for the amounts p; `expected_by_layer` if they
    were independent in every layer, with the counts per layer that they have. `jaccard` is that of
    the weights kept, `jaccard_by_layer` its value for independent masks with those counts.

    Examples
    --------
    >>> import torch
    >>> a = Masks({"fc": torch.tensor([True, True, False, False])})
    >>> b = Masks({"fc": torch.tensor([True, False, False, False])})
    >>> found = overlap_metrics(a, b)
    >>> found["both_pruned"], found["expected"], found["jaccard"]
    (0.5, 0.375, 0.5)
    """
    (both, only_a), (only_b, neither) = (overlap_table(a, b) / 100).to_numpy().tolist()
    kept_a, kept_b = a.counts(), b.counts().set_index("layer").loc[list(a)].reset_index()
    shared = float((kept_a.kept * kept_b.kept / kept_a.weights).sum())  # if independent
    return {
        "both_pruned": both,
        "only_a": only_a,
        "only_b": only_b,
        "neither_pruned": neither,
        "expected": a.amount * b.amount,
        "expected_by_layer": 1 - (a.n_kept + b.n_kept - shared) / a.n,
        "jaccard": jaccard(a, b),
        "jaccard_by_layer": shared / (a.n_kept + b.n_kept - shared),
    }


def without_floor(scores: Scores, amount: float) -> tuple[int, float]:
    """How many layers one threshold leaves without a weight, and the highest score it prunes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerCollapseWarning)
        masks = masks_from_scores(scores, amount)
    pruned = [float(scores[name][~keep].max()) for name, keep in masks.items() if not keep.all()]
    return len(masks.empty_layers()), max(pruned)


def rank_correlations(a: Scores, b: Scores) -> dict[str, float]:
    """Spearman's correlation of two scores in each layer, as `spearman_LAYER`."""
    return {
        f"spearman_{name.removesuffix('.weight')}": float(
            spearmanr(a[name].flatten().cpu(), b[name].flatten().cpu()).statistic
        )
        for name in a
    }
