"""From importance scores to masks: the weights with the highest scores are kept.

One rule decides everything: weights are ordered by score, equal scores by flat index (the earlier
goes first, as in a stable sort), and the first k of that order are pruned. So the number pruned is
exact even when all scores are equal, and the masks of growing amounts are nested. A floor sets
aside the best weights of each layer, whatever the amount, and the same rule runs over the rest.

An amount means one thing everywhere: a float is the fraction of all prunable weights that is pruned
when the function returns, an int is their number. What was pruned before counts.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Mapping

import numpy as np
import torch

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_choice, check_fraction, check_int
from causalprune_lib.nets.parameters import ParameterLayout, floor_counts
from causalprune_lib.pruning.masks import Masks


class LayerCollapseWarning(UserWarning):
    """Some layers have lost every weight, so no signal passes through them."""


def masks_from_scores(
    scores: Mapping[str, torch.Tensor],
    amount: float | int | None = None,
    *,
    scope: str = "global",
    like: Masks | None = None,
    floor: float | int = 0,
    nan: str = "error",
    within: Masks | None = None,
) -> Masks:
    """Keep the weights with the highest scores.

    Parameters
    ----------
    scores : mapping of str to tensor
        One real tensor per layer; higher = kept. Infinite scores have a rank. The masks are on
        their device.
    amount : float or int
        How much is pruned in the end, `within` included. A float in [0, 1] is a fraction: of n
        weights `round(amount * n)` are pruned (half to even, as in `torch.nn.utils.prune`). An int
        is a number of weights: `1.0` is all of them, `1` is one. Left out with `scope="like"`.
    scope : {"global", "layer", "like"}
        "global": one ranking over all layers. "layer": one ranking per layer, each pruned by
        `amount`. "like": one ranking per layer, each keeping as many weights as `like` keeps.
    like : Masks, optional
        The masks whose counts `scope="like"` takes over.
    floor : int or float
        The least number (int) or fraction (float) of weights that every layer keeps; a smaller
        layer keeps all. With `scope="global"` other layers give what the floor protects, with
        `scope="layer"` a layer at its floor loses less than `amount`. If a layer loses its last
        weight, but not all do, a LayerCollapseWarning says so.
    nan : {"error", "keep", "prune"}
        What a NaN score (one that could not be estimated) means: an error, a rank beside plus
        infinity, or a rank beside minus infinity.
    within : Masks, optional
        Masks of an earlier round: what they prune stays pruned, whatever its score, NaN included.

    Examples
    --------
    >>> scores = {"a": torch.tensor([0.1, 0.2, 0.3]), "b": torch.tensor([4.0, 5.0, 6.0])}
    >>> masks = masks_from_scores(scores, 0.5, floor=1)
    >>> masks["a"], masks["b"]
    (tensor([False, False,  True]), tensor([False,  True,  True]))
    """
    check_choice("scope", scope, ["global", "layer", "like"])
    check_choice("nan", nan, ["error", "keep", "prune"])
    if (like is not None) != (scope == "like"):
        raise ValueError(f"like and scope='like' must come together; got scope={scope!r}.")
    if amount is None and scope != "like":
        raise ValueError("amount must be given, unless scope='like'; got None.")
    if amount is not None and scope == "like":
        raise ValueError(f"amount must be None with scope='like'; got {amount!r}.")
    layout, values = _flatten(scores)  # values (P,)
    kept = torch.ones_like(values, dtype=torch.bool)  # (P,)
    if within is not None:
        kept = within.flat(layout).to(values.device)
    spans = [layout.span(name) for name in layout.names]
    missing = values.isnan()
    if nan == "error" and bool((missing & kept).any()):
        counts = [int((missing & kept)[span].sum()) for span in spans]
        listed = [f"{n} in layer {x!r}" for n, x in zip(counts, layout.names, strict=True) if n]
        raise ValueError(
            "scores must not be NaN (or say what NaN means: nan='keep' or 'prune'); got "
            f"{', '.join(listed)}."
        )
    if bool(missing.any()):  # not with whole numbers, which know no infinity
        values = values.masked_fill(missing, -math.inf if nan == "prune" else math.inf)
    left = [int(kept[span].sum()) for span in spans]
    floors = [min(f, n) for f, n in zip(floor_counts(floor, layout.sizes), left, strict=True)]

    counts = _prune_counts(amount, layout, left, floors, scope, like)
    candidates = kept.clone()  # (P,)
    if scope == "global":
        for span, f, n in zip(spans, floors, left, strict=True):
            if f:  # the best f weights of a layer are never pruned, whatever the amount
                candidates[span] = _lowest(values[span], kept[span], n - f)
        spans = [slice(0, layout.size)]
    for span, k in zip(spans, counts, strict=True):
        kept[span] &= ~_lowest(values[span], candidates[span], k)

    masks = Masks.from_flat(layout, kept)
    empty = set(masks.empty_layers())
    lost = [name for name, n in zip(masks, left, strict=True) if n and name in empty]
    if scope != "like" and lost and masks.n_kept:
        warnings.warn(
            f"no weight is left in {', '.join(map(repr, lost))}; floor= sets how many weights "
            "every layer keeps.",
            LayerCollapseWarning,
            stacklevel=2,
        )
    return masks


def random_masks_like(masks: Masks, *, seed: int) -> Masks:
    """Random masks with as many weights per layer as `masks`: the control for its ranking.

    >>> masks = Masks({"fc": torch.tensor([True, False, False, False])})
    >>> random_masks_like(masks, seed=0).n_kept
    1
    """
    return masks_from_scores(uniform_scores(masks.layout, seed=seed), scope="like", like=masks)


def uniform_scores(layout: ParameterLayout, *, seed: int) -> dict[str, torch.Tensor]:
    """Random scores in [0, 1), from a stream of their own, on the CPU: the same on every device."""
    generator = own_stream(seed, "random masks")
    return layout.unflatten(torch.rand(layout.size, generator=generator))


def _prune_counts(
    amount: float | int | None,
    layout: ParameterLayout,
    left: list[int],
    floors: list[int],
    scope: str,
    like: Masks | None,
) -> list[int]:
    """How many of the weights that are `left` in each layer go; for "global" one number for all."""
    if scope == "layer":
        layers = zip(layout.names, layout.sizes, left, floors, strict=True)
        return [min(_count(amount, n, k, f" of layer {x!r}"), k - f) for x, n, k, f in layers]
    if scope == "global":
        k, most = _count(amount, layout.size, sum(left)), layout.size - sum(floors)
        if k > sum(left) - sum(floors):
            largest = math.floor(most / layout.size * 1e6) / 1e6  # so that it works when used
            raise ValueError(
                f"amount must leave every layer its floor: at most {largest} ({most} of "
                f"{layout.size} weights); got {amount!r}."
            )
        return [k]
    if any(floors):
        raise ValueError("floor must be 0 with scope='like': the counts are those of like.")
    wanted = like.flat(layout)  # (P,)
    counts = []
    for name, k in zip(layout.names, left, strict=True):
        kept = int(wanted[layout.span(name)].sum())
        if kept > k:
            raise ValueError(
                f"like must keep at most the {k} weights of layer {name!r} that within keeps; "
                f"got {kept}."
            )
        counts.append(k - kept)
    return counts


def _count(amount: float | int, n: int, left: int, where: str = "") -> int:
    """How many of the `left` weights go so that `amount` of all `n` is pruned then."""
    if isinstance(amount, numbers.Integral):
        k = check_int("amount", amount, minimum=0)
        if k > n:
            raise ValueError(f"amount must be at most the {n} weights{where}; got {k}.")
    else:
        k = round(check_fraction("amount", amount) * n)
    if k < n - left:
        raise ValueError(
            f"amount must be at least the {n - left} weights{where} that are pruned already; got "
            f"{amount!r}, which is {k} of {n}."
        )
    return k - (n - left)


def _lowest(values: torch.Tensor, candidates: torch.Tensor, k: int) -> torch.Tensor:
    """Mark (n,) the k lowest `values` of the candidates, the earlier of equals, in linear time."""
    marked = torch.zeros_like(candidates)
    if k:
        found = values[candidates]
        threshold = np.partition(found.cpu().numpy(), k - 1)[k - 1].item()
        chosen = found < threshold
        ties = (found == threshold).nonzero().squeeze(1)
        chosen[ties[: k - int(chosen.sum())]] = True
        marked[candidates] = chosen
    return marked


def _flatten(scores: Mapping[str, torch.Tensor]) -> tuple[ParameterLayout, torch.Tensor]:
    """Layout and values (P,) of `scores`, in one type that NumPy can sort and that keeps order."""
    if not isinstance(scores, Mapping):
        raise TypeError(
            "scores must be a mapping from names to tensors (for a flat vector: "
            f"ParameterLayout.unflatten); got {type(scores).__name__}."
        )
    for name, score in scores.items():
        kind = score.dtype if isinstance(score, torch.Tensor) else type(score).__name__
        if not isinstance(score, torch.Tensor) or score.is_complex():
            raise TypeError(f"scores[{name!r}] must be a tensor of real numbers; got {kind}.")
    if sum(score.numel() for score in scores.values()) == 0:
        raise ValueError("scores must hold at least one weight; got none.")
    layout = ParameterLayout(tuple(scores), tuple(score.shape for score in scores.values()))
    tensors = [score.detach() for score in scores.values()]
    kinds = {tensor.dtype for tensor in tensors}
    if len(kinds) > 1:
        kind = torch.float64
    else:  # NumPy knows no bfloat16, and a boolean score is 0 or 1
        kind = {torch.bool: torch.uint8, torch.bfloat16: torch.float32}.get(*kinds, *kinds)
    return layout, torch.cat([t.reshape(-1).to(tensors[0].device, kind) for t in tensors])
