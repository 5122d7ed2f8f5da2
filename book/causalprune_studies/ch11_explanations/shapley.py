"""Shapley values of a small game, exactly, and what attributions say of each feature."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from causalprune_lib._validation import check_int
from causalprune_lib.diagnostics.attribution import coalitions, shapley_of_worths

MOST_PLAYERS = 16


def exact_shapley(game: Callable[[frozenset[int]], float | np.ndarray], n: int) -> np.ndarray:
    """Shapley values (n, ...) by asking `game` for the worth of every coalition.

    `game` takes a frozenset of players 0..n-1 and returns its worth, a number or an array of any
    one shape. It is called once for each of the 2^n coalitions. The values add up to
    game(all) - game(none).

    Examples
    --------
    Two players: alone they are worth 10 and 20, together 50.

    >>> worth = {(): 0, (0,): 10, (1,): 20, (0, 1): 50}
    >>> exact_shapley(lambda players: worth[tuple(sorted(players))], 2).tolist()
    [20.0, 30.0]
    """
    if check_int("n", n) > MOST_PLAYERS:
        raise ValueError(f"n must be at most {MOST_PLAYERS}, for 2^n coalitions; got {n}.")
    players = (frozenset(np.flatnonzero(member).tolist()) for member in coalitions(n))
    return shapley_of_worths(np.array([game(coalition) for coalition in players], dtype=float))


def global_importance(values: np.ndarray, *, normalise: bool = False) -> np.ndarray:
    """Mean absolute attribution (F,) of each feature, from attributions (N, F, K).

    With `normalise` the importances sum to 1, or all are zero.

    Examples
    --------
    >>> values = np.array([[[1.0], [-3.0]], [[-1.0], [1.0]]])
    >>> global_importance(values).tolist(), global_importance(values, normalise=True).tolist()
    ([1.0, 2.0], [0.3333333333333333, 0.6666666666666666])
    """
    importance = np.abs(values).mean(0).mean(1)
    if not normalise:
        return importance
    total = importance.sum()
    return importance / np.where(total > 0, total, 1)
