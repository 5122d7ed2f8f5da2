"""Shapley values of a small game, exactly: who contributed what, from the worth of every coalition.

n players can form 2^n coalitions, and the game says what each is worth. Shapley's value of a player
is what it adds to the coalition it joins, averaged over all orders in which the players can come
(Shapley, "A value for n-person games", 1953). It is the only way of sharing out that is efficient
(the shares add up to what all players are worth together), symmetric, gives nothing to a player who
never adds anything, and is additive over games. SHAP applies it to the features of an input.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

import numpy as np

from causalprune_lib._validation import check_int

MOST_PLAYERS = 16


def exact_shapley(game: Callable[[frozenset[int]], float | np.ndarray], n: int) -> np.ndarray:
    r"""Shapley values by asking for the worth of every coalition.

    .. math:: \phi_i = \sum_{S \not\ni i} \frac{|S|!\,(n - |S| - 1)!}{n!}
              \left[ v(S \cup \{i\}) - v(S) \right]

    Parameters
    ----------
    game : callable
        v: takes a frozenset of players 0..n-1 and returns its worth, a number or an array of any
        one shape. It is called once for each of the 2^n coalitions.
    n : int
        Number of players, at most 16.

    Returns
    -------
    array (n, ...)
        One value per player, of the shape that `game` returns. Their sum is v(all) - v(none).

    Examples
    --------
    Two players: alone they are worth 10 and 20, together 50.

    >>> worth = {(): 0, (0,): 10, (1,): 20, (0, 1): 50}
    >>> exact_shapley(lambda players: worth[tuple(sorted(players))], 2).tolist()
    [20.0, 30.0]
    """
    _check_players("n", n)
    return shapley_of_worths(np.array([game(players_of(i)) for i in range(2**n)], dtype=float))


def players_of(i: int) -> frozenset[int]:
    """The players of coalition number `i`: those whose bit is set in it.

    Examples
    --------
    >>> sorted(players_of(5))
    [0, 2]
    """
    return frozenset(player for player in range(i.bit_length()) if i >> player & 1)


def coalitions(n: int) -> np.ndarray:
    """All coalitions of `n` players: bool (2^n, n), row i being `players_of(i)`.

    Examples
    --------
    >>> coalitions(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    _check_players("n", n)
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)


def shapley_of_worths(worths: np.ndarray) -> np.ndarray:
    """Shapley values (n, ...) from the worths (2^n, ...) of all coalitions, in that order.

    Examples
    --------
    >>> shapley_of_worths(np.array([0.0, 10.0, 20.0, 50.0])).tolist()
    [20.0, 30.0]
    """
    worths = np.asarray(worths, dtype=float)
    n = len(worths).bit_length() - 1 if worths.ndim else 0
    if n < 1 or len(worths) != 2**n:
        raise ValueError(f"worths must have shape (2^n, ...), n >= 1; got {worths.shape}.")
    member = coalitions(n)
    size = member.sum(1)
    joined = np.array([factorial(s - 1) * factorial(n - s) if s else 0 for s in size])
    absent = np.array([factorial(s) * factorial(n - s - 1) if s < n else 0 for s in size])
    share = np.where(member.T, joined, -absent) / factorial(n)  # (n, 2^n)
    return np.tensordot(share, worths, 1)


def _check_players(name: str, n: int) -> None:
    if check_int(name, n) > MOST_PLAYERS:
        raise ValueError(f"{name} must be at most {MOST_PLAYERS}, for 2^n coalitions; got {n}.")
