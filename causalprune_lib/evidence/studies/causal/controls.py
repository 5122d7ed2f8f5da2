"""The rankings and counts that causal pruning is held against, and how masks overlap.

A pruned network is a ranking and an allocation. The ranking says which weights of a layer stay, the
allocation how many. A method sets both at once, by one threshold over all layers. To tell what each
is worth, one ranking is cut at the counts of another's allocation.

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

import warnings

from scipy.stats import spearmanr

from causalprune_lib.pruning.iterative import random_ticket
from causalprune_lib.pruning.masks import LayerCollapseWarning, Masks, masks_from_scores
from causalprune_lib.pruning.overlap import jaccard, overlap_table
from causalprune_lib.pruning.scores import Scores

# Pairs of a ranking and an allocation. The allocation has the name of the ranking whose own
# threshold gives the counts; "uniform" prunes the same fraction of every layer.
MAIN = (
    ("causal", "causal"),
    ("random", "causal"),
    ("magnitude", "causal"),
    ("inverse", "causal"),
    ("shuffled loss", "causal"),
    ("magnitude", "magnitude"),
    ("obd", "obd"),
)
MORE = (
    ("frozen", "causal"),
    ("movement", "causal"),
    ("same batch", "causal"),
    ("shuffled loss", "shuffled loss"),
    ("movement", "movement"),
    ("same batch", "same batch"),
    ("causal", "magnitude"),
    ("random", "magnitude"),
    ("causal", "uniform"),
    ("random", "uniform"),
    ("magnitude", "uniform"),
)

OVERLAPS = {  # ranking -> those that its masks are compared with
    "causal": (
        "magnitude",
        "movement",
        "same batch",
        "shuffled loss",
        "frozen",
        "causal, other order",
        "causal, other seed",
    ),
    "magnitude": ("magnitude, other seed",),
}


class Cutter:
    """Masks of one amount for any ranking at any allocation; every layer keeps at least a weight.

    Parameters
    ----------
    rankings : dict of str to scores
        Higher = kept. "random" is always known.
    amount : float
        Fraction of all weights that is pruned.
    """

    def __init__(self, rankings: dict[str, Scores], amount: float) -> None:
        self.rankings, self.amount = rankings, amount
        self._counts: dict[str, Masks] = {}

    def own(self, allocation: str) -> Masks:
        """The masks of the ranking `allocation` with its own counts."""
        if allocation not in self._counts:
            uniform = allocation == "uniform"
            scores = self.rankings["causal" if uniform else allocation]
            scope = "layer" if uniform else "global"
            found = masks_from_scores(scores, self.amount, scope=scope, floor=1)
            self._counts[allocation] = found
        return self._counts[allocation]

    def cut(self, ranking: str, allocation: str, *, seed: int = 0) -> Masks:
        """The highest of `ranking` in each layer, as many as `allocation` keeps there."""
        like = self.own(allocation)
        if ranking == "random":
            return random_ticket(like, seed=seed)
        return masks_from_scores(self.rankings[ranking], scope="like", like=like)

    def emptied(self, ranking: str) -> int:
        """How many layers its own threshold leaves without a weight, if none is set aside."""
        return len(self._by_threshold(ranking).empty_layers())

    def threshold(self, ranking: str) -> float:
        """The highest score that its own threshold prunes, if no weight is set aside."""
        masks, scores = self._by_threshold(ranking), self.rankings[ranking]
        return max(
            float(scores[name][~keep].max()) for name, keep in masks.items() if not keep.all()
        )

    def _by_threshold(self, ranking: str) -> Masks:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LayerCollapseWarning)
            return masks_from_scores(self.rankings[ranking], self.amount)


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


def rank_correlations(a: Scores, b: Scores) -> dict[str, float]:
    """Spearman's correlation of two scores in each layer, as `spearman_LAYER`."""
    return {
        f"spearman_{name.removesuffix('.weight')}": float(
            spearmanr(a[name].flatten().cpu(), b[name].flatten().cpu()).statistic
        )
        for name in a
    }
