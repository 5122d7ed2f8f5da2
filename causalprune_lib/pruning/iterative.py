"""Pruning in rounds, with rewinding: the lottery ticket procedure and its controls.

Each round trains, ranks the weights that are left, prunes the lowest and puts the rest back to an
earlier state. What remains is a ticket: a mask together with the weights it started from. Two
controls belong to it. A random ticket has the same number of weights per layer, drawn at random
(`random_ticket`): it tells what allocation alone is worth. A reinitialised ticket has the same mask
on freshly drawn weights (`apply_masks` on a new model): it tells what the old weights are worth.

References
----------
J. Frankle and M. Carbin. The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks.
ICLR 2019.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_choice, check_fraction, check_int, check_shape
from causalprune_lib.pruning.masks import Masks, apply_masks, masks_of, refresh
from causalprune_lib.pruning.scores import magnitude_scores
from causalprune_lib.pruning.select import (
    floor_counts,
    global_count,
    masks_from_scores,
    prune_count,
)

# ---- rewinding: Putting a network back to an earlier state, to the bit, whether or not it is mas


State = Mapping[str, torch.Tensor]


@torch.no_grad()
def rewind(model: nn.Module, state: State) -> nn.Module:
    """Put every parameter and buffer of `model` back to `state`, in place; masks stay as they are.

    Parameters
    ----------
    model : nn.Module
        Masked or not.
    state : state dict
        Of this network, masked or not when it was taken; masks in it are ignored.

    Raises
    ------
    TypeError
        If `state` is not a mapping.
    ValueError
        If names, shapes or types differ from those of the model, which is then unchanged.

    Examples
    --------
    >>> import copy
    >>> from causalprune_lib.pruning.masks import Masks, apply_masks
    >>> model = nn.Linear(2, 1)
    >>> start = copy.deepcopy(model.state_dict())
    >>> _ = apply_masks(model, Masks({"weight": torch.tensor([[True, False]])}))
    >>> _ = model.weight_orig.data.add_(1.0)
    >>> bool(rewind(model, start).weight[0, 0] == start["weight"][0, 0])
    True
    """
    model.load_state_dict(check_state(model, state))
    refresh(model)
    return model


def check_state(model: nn.Module, state: State) -> dict[str, torch.Tensor]:
    """Return `state` under the names that the tensors of `model` have at present, if it fits.

    Masking renames `weight` to `weight_orig`; this undoes and redoes the renaming.

    Raises
    ------
    TypeError, ValueError
        As `rewind`.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"the state to rewind to must be a state dict; got {type(state).__name__}.")
    own = model.state_dict()
    plain = {_plain_name(key, own): key for key in own if not _is_mask(key, own)}
    given = {_plain_name(key, state): v for key, v in state.items() if not _is_mask(key, state)}
    for name in given:
        check_choice("entry of the state to rewind to", name, plain)
    translated = dict(own)
    for name, key in plain.items():
        if name not in given:
            raise ValueError(f"the state to rewind to must hold {name!r}, which is missing.")
        if isinstance(own[key], torch.Tensor):
            check_shape(f"the state's {name!r}", given[name], tuple(own[key].shape))
            if given[name].dtype != own[key].dtype:
                raise ValueError(
                    f"the state's {name!r} must be {own[key].dtype}, as in the model; got "
                    f"{given[name].dtype}."
                )
        translated[key] = given[name]
    return translated


def _is_mask(key: str, state: State) -> bool:
    return key.endswith("_mask") and f"{key.removesuffix('_mask')}_orig" in state


def _plain_name(key: str, state: State) -> str:
    base = key.removesuffix("_orig")
    return base if f"{base}_mask" in state else key


# ---- iterative: Pruning in rounds, with rewinding: the lottery ticket procedure and its controls


def amount_schedule(final: float, rounds: int) -> list[float]:
    """Cumulative amounts that prune the same fraction of what remains in each round.

    Round r = 1..R ends at the amount `1 - (1 - final) ** (r / R)`, so the last is `final`.

    Parameters
    ----------
    final : float
        The fraction pruned at the end, in [0, 1).
    rounds : int
        R, the number of rounds.

    Examples
    --------
    >>> [round(amount, 3) for amount in amount_schedule(0.875, 3)]
    [0.5, 0.75, 0.875]
    """
    check_fraction("final", final, closed=False)
    check_int("rounds", rounds)
    inner = [1 - (1 - final) ** (r / rounds) for r in range(1, rounds)]
    return [*inner, float(final)]


def repeated_amounts(fraction: float, rounds: int) -> list[float]:
    """Cumulative amounts of pruning `fraction` of what remains, `rounds` times over.

    Round r ends at `1 - (1 - fraction) ** r`. The magnitude baseline of the causal pruning paper
    takes ten rounds with one global threshold: 0.275 ends at 95.99%, 0.1 at 65.13% (its table 2).

    Parameters
    ----------
    fraction : float
        The fraction of the remaining weights that each round prunes, in [0, 1].
    rounds : int
        The number of rounds.

    Examples
    --------
    >>> round(repeated_amounts(0.275, 10)[-1], 4)
    0.9599
    """
    check_fraction("fraction", fraction)
    return [1 - (1 - fraction) ** r for r in range(1, check_int("rounds", rounds) + 1)]


@dataclass(frozen=True, eq=False)
class Round:
    """One round of iterative pruning.

    Attributes
    ----------
    number : int
        1 for the first round.
    amount : float
        The fraction of all prunable weights that is pruned when the round ends.
    masks : Masks
        What the round keeps; within the masks of the round before.
    training : object
        What `train_fn` returned in this round. It trained the network as it was when the round
        began: the dense one in round 1, later the ticket of the round before.
    """

    number: int
    amount: float
    masks: Masks
    training: Any


def lottery_ticket(
    model: nn.Module,
    train_fn: Callable[[nn.Module], Any],
    *,
    amounts: Iterable[float | int],
    rewind_to: State | Callable[[int], State] | None,
    score_fn: Callable[[nn.Module], Mapping[str, torch.Tensor]] = magnitude_scores,
    scope: str = "global",
    floor: float | int = 0,
) -> list[Round]:
    """Train, prune, rewind, once per amount; `model` ends rewound, with the last masks on it.

    Parameters
    ----------
    model : nn.Module
        The network, changed in place. Weights that are masked already stay pruned.
    train_fn : callable
        `train_fn(model)` trains it in place, with an optimizer of its own. What it returns is kept
        in the round.
    amounts : sequence of float or int
        Cumulative amounts, of all prunable weights, not decreasing: see `amount_schedule`.
    rewind_to : state dict, callable or None
        What a round ends with. A state dict, `model.state_dict()`, of the network at its start or
        after some training, is copied when this function is called; then every parameter (biases
        too) and every buffer (BatchNorm's too) returns to it, to the bit. A callable
        `rewind_to(number)` gives the state dict of round `number`: one that draws new weights is
        random reinitialisation. None: no rewinding, each round goes on from trained weights.
    score_fn : callable
        `score_fn(model)` returns scores by layer, higher = kept; default magnitude.
    scope : {"global", "layer"}
        One ranking over all layers, or one per layer.
    floor : int or float
        The least number or fraction of weights that every layer keeps; see `masks_from_scores`.

    Returns
    -------
    list of Round
        In order; one per amount.

    Raises
    ------
    ValueError
        Before any training, for amounts that decrease, are out of range or that the floor forbids;
        for a state that does not fit the model; and after training for NaN scores.

    Notes
    -----
    `state_dict()` holds the live tensors: a state saved before some training must be a copy,
    `copy.deepcopy(model.state_dict())`, or it moves along with the weights.

    Examples
    --------
    >>> model = nn.Linear(8, 2)
    >>> start = model.state_dict()
    >>> rounds = lottery_ticket(model, lambda m: None, amounts=[0.5, 0.75], rewind_to=start)
    >>> [round.amount for round in rounds], int(model.weight_mask.sum())
    ([0.5, 0.75], 4)
    """
    check_choice("scope", scope, ["global", "layer"])
    masks = masks_of(model)
    amounts = _checked_amounts(list(amounts), masks, scope, floor)
    if not (rewind_to is None or callable(rewind_to)) or isinstance(rewind_to, nn.Module):
        check_state(model, rewind_to)
        rewind_to = copy.deepcopy(dict(rewind_to))
    rounds = []
    for number, amount in enumerate(amounts, start=1):
        training = train_fn(model)
        scores = score_fn(model)
        masks = masks_from_scores(scores, amount, scope=scope, floor=floor, within=masks)
        apply_masks(model, masks)
        if rewind_to is not None:
            rewind(model, rewind_to(number) if callable(rewind_to) else rewind_to)
        rounds.append(Round(number, masks.amount, masks, training))
    return rounds


def random_ticket(masks: Masks, *, seed: int) -> Masks:
    """Random masks with as many weights per layer as `masks`: the control for its ranking.

    Examples
    --------
    >>> masks = Masks({"fc": torch.tensor([True, False, False, False])})
    >>> random_ticket(masks, seed=0).n_kept
    1
    """
    generator = own_stream(seed, "random masks")
    scores = masks.layout.unflatten(torch.rand(masks.n, generator=generator))
    return masks_from_scores(scores, scope="like", like=masks)


def _checked_amounts(
    amounts: list[float | int], masks: Masks, scope: str, floor: float | int
) -> list[float | int]:
    """`amounts`, after every error that can be found before the training starts."""
    if not amounts:
        raise ValueError("amounts must hold at least one amount; got none.")
    sizes = masks.layout.sizes
    left = masks.counts()["kept"].tolist()
    floors = [min(f, r) for f, r in zip(floor_counts(floor, sizes), left, strict=True)]
    counts = []
    for amount in amounts:
        if scope == "global":
            k = global_count(amount, masks.n, left=sum(left), amount_of="all", floors=floors)
            counts.append([k])
        else:
            layers = zip(masks, sizes, left, strict=True)
            counts.append(
                [prune_count(amount, n, left=r, where=f" of layer {x!r}") for x, n, r in layers]
            )
    for i in range(1, len(amounts)):
        if any(k < before for k, before in zip(counts[i], counts[i - 1], strict=True)):
            raise ValueError(f"amounts must not decrease; got {amounts[i]} after {amounts[i - 1]}.")
    return amounts
