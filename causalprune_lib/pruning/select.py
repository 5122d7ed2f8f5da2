"""From importance scores to masks: the weights with the highest scores are kept.

One rule decides everything: weights are ordered by score, equal scores by flat index (the earlier
goes first, as in a stable sort), and the first k of that order are pruned. So the number pruned is
exact even when all scores are equal, and the masks of growing amounts are nested. A floor sets
aside the best weights of each layer, whatever the amount, and the same rule runs over the rest; so
masks with a floor are nested too.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from causalprune_lib._validation import check_choice, check_fraction, check_int
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks

# ---- amounts: How many weights an amount means: fractions, numbers, floors and what they leave p


def prune_count(
    amount: float | int,
    n: int,
    *,
    left: int | None = None,
    amount_of: str = "all",
    where: str = "",
) -> int:
    """How many more weights `amount` asks to prune.

    Parameters
    ----------
    amount : float or int
        A fraction in [0, 1] or a number of weights.
    n : int
        The number of weights, pruned ones included.
    left : int, optional
        How many of them are still there (default: all).
    amount_of : {"all", "remaining"}
        Whether `amount` is of all n weights, earlier pruning included, or of those left.
    where : str
        Words for the error message, such as " of layer 'conv1'".

    Raises
    ------
    TypeError, ValueError
        If `amount` is no number, is out of range, or asks for less than is already pruned.

    Examples
    --------
    >>> prune_count(0.5, 9), prune_count(3, 9)
    (4, 3)
    >>> prune_count(0.5, 9, left=6), prune_count(0.5, 9, left=6, amount_of="remaining")
    (1, 3)
    """
    left = n if left is None else left
    base = n if amount_of == "all" else left
    if isinstance(amount, numbers.Integral):
        k = check_int("amount", amount, minimum=0)
        if k > base:
            raise ValueError(f"amount must be at most the {base} weights{where}; got {k}.")
    else:
        k = round(check_fraction("amount", amount) * base)
    gone = n - left if amount_of == "all" else 0
    if k < gone:
        raise ValueError(
            f"amount must be at least the {gone} weights{where} that are pruned already; got "
            f"{amount!r}, which is {k} of {n}."
        )
    return k - gone


def global_count(
    amount: float | int, n: int, *, left: int, amount_of: str, floors: Sequence[int]
) -> int:
    """`prune_count` over all layers together, checked against what their floors leave possible.

    Raises
    ------
    ValueError
        If the floors forbid `amount`; the error names the largest amount they allow.
    """
    k = prune_count(amount, n, left=left, amount_of=amount_of)
    possible = left - sum(floors)
    if k > possible:
        base = n if amount_of == "all" else left
        most = base - sum(floors)
        largest = math.floor(most / base * 1e6) / 1e6  # rounded down, so that it works when used
        raise ValueError(
            f"amount must leave every layer its floor: at most {largest} ({most} of {base} "
            f"weights); got {amount!r}."
        )
    return k


def floor_counts(floor: float | int, sizes: Sequence[int]) -> list[int]:
    """The least number of weights to keep in each of the layers of `sizes`.

    Parameters
    ----------
    floor : int or float
        A number of weights (a smaller layer keeps all), or a fraction of each layer, rounded up.

    Examples
    --------
    >>> floor_counts(5, [3, 100]), floor_counts(0.1, [3, 30])
    ([3, 5], [1, 3])
    """
    if isinstance(floor, numbers.Integral):
        least = check_int("floor", floor, minimum=0)
        return [min(least, n) for n in sizes]
    fraction = check_fraction("floor", floor)
    # The inner rounding undoes binary fractions: 0.1 * 30 is 3.0000000000000004, not 4 weights.
    return [math.ceil(round(fraction * n, 6)) for n in sizes]


# ---- selection: From importance scores to masks: the weights with the highest scores are kept.


SCOPES = ("global", "layer", "like")


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
    amount_of: str = "all",
) -> Masks:
    """Keep the weights with the highest scores.

    Parameters
    ----------
    scores : mapping of str to tensor
        One tensor per layer; higher = kept. Infinite scores are allowed: they have a rank.
    amount : float or int
        How much to prune. A float in [0, 1] is a fraction: of n weights `round(amount * n)` go
        (half to even, as in `torch.nn.utils.prune`). An int is a number of weights, so `1.0` prunes
        everything and `1` one weight. Left out with `scope="like"`.
    scope : {"global", "layer", "like"}
        "global": one ranking over all layers. "layer": one ranking per layer, each pruned by
        `amount`. "like": one ranking per layer, each keeping as many weights as `like` keeps.
    like : Masks, optional
        The masks whose counts `scope="like"` takes over.
    floor : int or float
        The least number (int) or fraction (float) of weights that every layer keeps; a layer that
        is smaller keeps all. With `scope="global"` other layers give what the floor protects, so
        the total stays exact. With `scope="layer"` a layer at its floor loses less than `amount`.
    nan : {"error", "keep", "prune"}
        What a NaN score (one that could not be estimated) means: an error, a rank beside plus
        infinity, or a rank beside minus infinity.
    within : Masks, optional
        Masks of an earlier round: what they prune stays pruned, whatever its score, NaN included.
    amount_of : {"all", "remaining"}
        Whether `amount` counts all weights, those pruned by `within` included, or is taken from
        the weights that `within` keeps.

    Returns
    -------
    Masks
        On the device of the scores.

    Raises
    ------
    TypeError
        If the scores are not real tensors by name, or `amount` or `floor` is not a number.
    ValueError
        For an amount out of range, an amount that the floor makes impossible (the largest possible
        one is named), NaN scores, or layers that do not match those of `like` or `within`.

    Warns
    -----
    LayerCollapseWarning
        If some layers, but not all, lose their last weight. `scope="like"` does not warn.

    Examples
    --------
    >>> scores = {"a": torch.tensor([0.1, 0.2, 0.3]), "b": torch.tensor([4.0, 5.0, 6.0])}
    >>> masks = masks_from_scores(scores, 0.5, floor=1)
    >>> masks["a"], masks["b"]
    (tensor([False, False,  True]), tensor([False,  True,  True]))
    """
    check_choice("scope", scope, SCOPES)
    check_choice("amount_of", amount_of, ["all", "remaining"])
    if (like is not None) != (scope == "like"):
        raise ValueError(f"like and scope='like' must come together; got scope={scope!r}.")
    if (amount is None) != (scope == "like"):
        raise ValueError(f"amount must be None with scope='like', and only then; got {amount!r}.")

    layout, values = _flatten(scores)
    alive = torch.ones_like(values, dtype=torch.bool)
    if within is not None:
        alive = within.flat(layout).to(values.device)
    values = _replace_nan(values, alive, layout, nan)
    spans = [layout.span(name) for name in layout.names]
    left = [int(alive[span].sum()) for span in spans]
    floors = [min(f, r) for f, r in zip(floor_counts(floor, layout.sizes), left, strict=True)]

    eligible = alive.clone()
    if scope == "global":
        for span, f, r in zip(spans, floors, left, strict=True):
            if f:  # the best f weights of a layer are never pruned, whatever the amount
                eligible[span] = _lowest_of(values[span], alive[span], r - f)
        k = global_count(amount, layout.size, left=sum(left), amount_of=amount_of, floors=floors)
        plan = [(slice(0, layout.size), k)]
    elif scope == "layer":
        plan = []
        for span, name, n, r, f in zip(
            spans, layout.names, layout.sizes, left, floors, strict=True
        ):
            where = f" of layer {name!r}"
            k = prune_count(amount, n, left=r, amount_of=amount_of, where=where)
            plan.append((span, min(k, r - f)))
    else:
        plan = list(zip(spans, _like_counts(like, layout, left, floors), strict=True))

    kept = alive.clone()
    for span, k in plan:
        kept[span] &= ~_lowest_of(values[span], eligible[span], k)
    masks = Masks.from_flat(layout, kept)
    if scope != "like":
        _warn_of_collapse(masks, left)
    return masks


def lowest(values: torch.Tensor, k: int) -> torch.Tensor:
    """Mark the k lowest of `values` (n,); among equals, those that come first.

    The same set as the first k of a stable ascending sort, in linear time.

    Examples
    --------
    >>> lowest(torch.tensor([2.0, 1.0, 1.0, 1.0]), 2)
    tensor([False,  True,  True, False])
    """
    if k == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    threshold = np.partition(values.cpu().numpy(), k - 1)[k - 1].item()
    chosen = values < threshold
    ties = (values == threshold).nonzero().squeeze(1)
    chosen[ties[: k - int(chosen.sum())]] = True
    return chosen


def _flatten(scores: Mapping[str, torch.Tensor]) -> tuple[ParameterLayout, torch.Tensor]:
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


def _replace_nan(
    values: torch.Tensor, alive: torch.Tensor, layout: ParameterLayout, nan: str
) -> torch.Tensor:
    check_choice("nan", nan, ["error", "keep", "prune"])
    missing = values.isnan()
    if not bool(missing.any()):
        return values
    if nan == "error" and bool((missing & alive).any()):
        counts = {name: int((missing & alive)[layout.span(name)].sum()) for name in layout.names}
        listed = ", ".join(f"{n} in layer {name!r}" for name, n in counts.items() if n)
        raise ValueError(
            f"scores must not be NaN (or say what NaN means: nan='keep' or 'prune'); got {listed}."
        )
    return values.masked_fill(missing, -math.inf if nan == "prune" else math.inf)


def _lowest_of(values: torch.Tensor, eligible: torch.Tensor, k: int) -> torch.Tensor:
    """Mark (n,) the k lowest of the eligible `values`."""
    marked = torch.zeros_like(eligible)
    marked[eligible] = lowest(values[eligible], k)
    return marked


def _like_counts(
    like: Masks, layout: ParameterLayout, left: list[int], floors: list[int]
) -> list[int]:
    if any(floors):
        raise ValueError("floor must be 0 with scope='like': the counts are those of like.")
    wanted = like.flat(layout)
    counts = []
    for name, r in zip(layout.names, left, strict=True):
        kept = int(wanted[layout.span(name)].sum())
        if kept > r:
            raise ValueError(
                f"like must keep at most the {r} weights of layer {name!r} that within keeps; "
                f"got {kept}."
            )
        counts.append(r - kept)
    return counts


def _warn_of_collapse(masks: Masks, left: list[int]) -> None:
    gone = set(masks.empty_layers())
    newly = [name for name, r in zip(masks, left, strict=True) if name in gone and r]
    if newly and masks.n_kept:
        names = ", ".join(map(repr, newly))
        warnings.warn(
            f"no weight is left in {names}; floor= sets how many weights every layer keeps.",
            LayerCollapseWarning,
            stacklevel=3,
        )
