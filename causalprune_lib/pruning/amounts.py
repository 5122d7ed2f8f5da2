"""How many weights an amount means: fractions, numbers, floors and what they leave possible.

The conventions are those of `torch.nn.utils.prune`: a float is a fraction in [0, 1], an int is a
number of weights, and a fraction of n is `round(amount * n)`, half to even. Everything here is
arithmetic on counts; `selection.py` decides which weights they are.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

from causalprune_lib._validation import check_fraction, check_int


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
