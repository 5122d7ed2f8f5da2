"""Causal pruning: keep the weights whose movements Granger-cause the change of the loss.

Shah, Challa, Danda, Mathur and Saha, "A Granger-causal perspective on gradient descent with
application to pruning", arXiv:2412.03035. The model dL_t = sum_k gamma_k (d theta_kt)^2 is fitted
to recorded steps of plain SGD under an L1 penalty, and the weights with gamma_k = 0 are pruned. As
described and as released differ:

- The released solver is a running sum: gamma = soft(sum_t w_t dL_t (d theta_kt)^2, alpha sum_t w_t)
  with the step weights w_t of the solver. It never fits the lasso. The rule here is that sum
  (`CausalScores`); `CausalLasso` is the lasso.
- Since the sum is taken weight by weight, fitting each layer and fitting the whole network with one
  alpha give the same masks. They differ where alpha is relative to alpha_max, and in rankings.
- The released code reports the epoch that is best on the test set; the paper says validation set.
  Here it is a validation split, or the last epoch.

`causal_unstructured` prunes a model in the manner of `torch.nn.utils.prune`, `CausalPruning` runs
algorithm 1, `causal_structured` (in `structured`) takes whole filters out.
"""

from __future__ import annotations

from torch import nn

from causalprune_lib._validation import check_choice
from causalprune_lib.causality.streaming import CausalScores
from causalprune_lib.nets.datasets import Dataset
from causalprune_lib.pruning.baselines import prune_by_scores
from causalprune_lib.pruning.causal_algorithm import CausalPruning
from causalprune_lib.pruning.causal_recording import KINDS, record_scores
from causalprune_lib.pruning.causal_run import Rule, cubic_schedule
from causalprune_lib.pruning.causal_training import Pair, Phase
from causalprune_lib.pruning.masks import Masks, apply_masks, masks_of
from causalprune_lib.pruning.scores import Scores

__all__ = ["CausalPruning", "Phase", "causal_unstructured", "cubic_schedule", "record_scores"]


def causal_unstructured(
    model: nn.Module,
    amount: float | int | None = None,
    *,
    data: Dataset | Pair | None = None,
    importance_scores: Scores | CausalScores | None = None,
    alpha: float | dict[str, float] | None = None,
    relative: bool = False,
    scope: str = "layer",
    like: Masks | None = None,
    floor: float | int = 0,
    kind: str = "released",
    **options: object,
) -> nn.Module:
    """Prune `model` in place by causal pruning, once, in the manner of `torch.nn.utils.prune`.

    Parameters
    ----------
    model : nn.Module
        As it is after pretraining: a copy is trained and recorded, and `model` keeps its weights,
        as after the rewinding of algorithm 1.
    amount : float or int, optional
        Fraction or number of the weights not pruned yet, the lowest scores first. Left out with
        `alpha` and with `scope="like"`.
    data : Dataset or (x, y)
        Needed unless `importance_scores` are given.
    importance_scores : dict of str to tensor, or CausalScores
        Scores of an earlier recording, for as many amounts as wanted.
    alpha, relative
        As in `CausalPruning`, instead of an amount. Of `importance_scores` it needs `CausalScores`.
    scope, like, floor
        As in `masks_from_scores`.
    kind : {"released", "movement", "correlation"}
        As in `CausalScores.scores`.
    **options
        Those of `record_scores`: `epochs`, `batch_size`, `loss`, `lr`, `seed` and so on.

    Returns
    -------
    nn.Module
        `model`, masked.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> data = (x, (x[:, 0] > 0).long())
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
    >>> pruned = causal_unstructured(model, 0.5, data=data, epochs=3, batch_size=8)
    >>> [int(layer.weight_mask.sum()) for layer in (model[0], model[2])]
    [4, 4]
    """
    check_choice("scope", scope, ["global", "layer", "like"])
    if alpha is not None and (amount is not None or like is not None):
        raise ValueError(f"alpha decides how much is pruned; got amount={amount}, like={like}.")
    if alpha is None and amount is None and scope != "like":
        raise ValueError("amount or alpha must be given; got neither.")
    scores = importance_scores
    check_choice("kind", kind, KINDS)
    if scores is None:
        if data is None:
            raise ValueError("data must be given, or importance_scores; got neither.")
        correlation = kind == "correlation"
        scores = record_scores(model, data, correlation=correlation, **options)
    elif options or data is not None:
        raise TypeError(f"With importance_scores nothing is recorded; got {[*options] or 'data'}.")
    if alpha is not None:
        if not isinstance(scores, CausalScores):
            raise TypeError(
                f"alpha needs CausalScores, whose sums it is compared with; got {type(scores)}."
            )
        rule = Rule(alpha, relative, None, kind, scope, floor)
        return apply_masks(model, rule.masks(scores, 1, masks_of(model)))
    if isinstance(scores, CausalScores):
        scores = scores.scores(kind)
    return prune_by_scores(model, scores, amount, scope=scope, like=like, floor=floor)
