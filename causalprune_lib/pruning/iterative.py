"""Pruning in rounds, with rewinding: the one loop of lottery tickets and of causal pruning.

Each round trains, ranks the weights that are left, prunes the lowest and puts the rest back to an
earlier state. What remains is a ticket: a mask together with the weights it started from (Frankle
and Carbin, "The Lottery Ticket Hypothesis", ICLR 2019). Two controls belong to it. A random ticket
has as many weights per layer (`random_masks_like`): it tells what allocation alone is worth. A
reinitialised ticket has the same mask on a new model: it tells what the old weights are worth.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_fraction, check_int, check_shape
from causalprune_lib.nets.parameters import refresh
from causalprune_lib.pruning.masks import Masks, apply_masks, masks_of
from causalprune_lib.pruning.scores import magnitude_scores
from causalprune_lib.pruning.select import LayerCollapseWarning, masks_from_scores

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Round:
    """One round of iterative pruning."""

    number: int  # from 1
    amount: float  # the fraction of all prunable weights that is pruned when the round ends
    masks: Masks  # what the round keeps; within the masks of the round before
    training: Any  # what came of the training of the network that the round before has left


def pruning_rounds(
    model: nn.Module,
    decide: Callable[[nn.Module, Masks, int], tuple[Masks, Any]],
    n_rounds: int,
    *,
    rewind_to: State | Callable[[int], State] | None,
) -> Iterator[Round]:
    """Decide, prune, rewind, `n_rounds` times; `model` is changed in place.

    `decide(model, masks, number)` trains the model as it pleases and returns what round `number`
    keeps of `masks`, and what came of the training. `rewind_to` is as in `lottery_ticket`.
    """
    masks = masks_of(model)
    for number in range(1, n_rounds + 1):
        masks, training = decide(model, masks, number)
        apply_masks(model, masks)
        if rewind_to is not None:
            rewind(model, rewind_to(number) if callable(rewind_to) else rewind_to)
        yield Round(number, masks.amount, masks, training)


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
        `train_fn(model)` trains it in place. What it returns is kept in the round.
    amounts : sequence of float or int
        What is pruned of all weights after each round, not decreasing: see `amount_schedule`.
    rewind_to : state dict, callable or None
        What a round ends with: every parameter and buffer returns to this state, to the bit. It is
        copied when this function is called; one saved before some training must be a copy too, for
        `state_dict()` holds the live tensors. A callable `rewind_to(number)` gives that of a round:
        one that draws new weights is random reinitialisation. None: no rewinding.
    score_fn : callable
        `score_fn(model)` returns scores by layer, higher = kept; default magnitude.
    scope, floor
        As in `masks_from_scores`. What does not fit is an error before any training.

    Examples
    --------
    >>> model = nn.Linear(8, 2)
    >>> start = model.state_dict()
    >>> rounds = lottery_ticket(model, lambda m: None, amounts=[0.5, 0.75], rewind_to=start)
    >>> [round.amount for round in rounds], int(model.weight_mask.sum())
    ([0.5, 0.75], 4)
    """
    check_choice("scope", scope, ["global", "layer"])
    amounts = list(amounts)
    check_amounts(amounts, masks_of(model), scope=scope, floor=floor)
    if not (rewind_to is None or callable(rewind_to)) or isinstance(rewind_to, nn.Module):
        check_state(model, rewind_to)
        rewind_to = copy.deepcopy(dict(rewind_to))

    def decide(model: nn.Module, before: Masks, number: int) -> tuple[Masks, Any]:
        training = train_fn(model)
        options = {"scope": scope, "floor": floor, "within": before}
        return masks_from_scores(score_fn(model), amounts[number - 1], **options), training

    return list(pruning_rounds(model, decide, len(amounts), rewind_to=rewind_to))


def amount_schedule(final: float, rounds: int) -> list[float]:
    """What is pruned after each round, if each prunes the same fraction of what remains.

    Round r = 1..R ends at the amount 1 - (1 - final)^(r / R), so the last is `final`, in [0, 1).
    The later code of the causal pruning paper has final (1 - (1 - r / R)^3) instead.

    >>> [round(amount, 3) for amount in amount_schedule(0.875, 3)]
    [0.5, 0.75, 0.875]
    """
    check_fraction("final", final, closed=False)
    check_int("rounds", rounds)
    inner = [1 - (1 - final) ** (r / rounds) for r in range(1, rounds)]
    return [*inner, float(final)]


def check_amounts(
    amounts: Sequence[float | int], masks: Masks, *, scope: str, floor: float | int
) -> None:
    """Raise what pruning `masks` to these amounts would raise, without any scores."""
    if not amounts:
        raise ValueError("amounts must hold at least one amount; got none.")
    level = {name: torch.zeros(mask.shape) for name, mask in masks.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerCollapseWarning)
        for amount in amounts:
            masks = masks_from_scores(level, amount, scope=scope, floor=floor, within=masks)


@torch.no_grad()
def rewind(model: nn.Module, state: State) -> nn.Module:
    """Put every parameter and buffer of `model` back to `state`, in place; masks stay as they are.

    The network may have been masked or not when the state dict was taken; masks in it are ignored.
    If names, shapes or types differ from those of the model, it is left unchanged.
    """
    model.load_state_dict(check_state(model, state))
    refresh(model)
    return model


def check_state(model: nn.Module, state: State) -> dict[str, torch.Tensor]:
    """Return `state` under the names that the tensors of `model` have at present, if it fits.

    Masking renames `weight` to `weight_orig`; this undoes and redoes the renaming.
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
