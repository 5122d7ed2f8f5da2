"""How far two masks agree: Jaccard's index and the 2x2 table of the causal pruning paper.

Two numbers to hold an overlap against. Masks that prune fractions p and q at random, independently,
agree on p * q of the weights. And at high amounts nearly everything is pruned by both, so the
overlap of what is pruned is close to 100% for any two masks: look at what is kept.
"""

from __future__ import annotations

import pandas as pd
import torch

from causalprune_lib._validation import check_choice
from causalprune_lib.pruning.maskset import Masks


def jaccard(a: Masks, b: Masks, *, of: str = "kept") -> float:
    """Jaccard's index |A and B| / |A or B| of the sets of weights that two masks keep, or prune.

    Parameters
    ----------
    a, b : Masks
        Over the same layers.
    of : {"kept", "pruned"}
        Which weights are compared.

    Returns
    -------
    float
        In [0, 1]; 1.0 for equal sets, two empty ones included.

    Raises
    ------
    ValueError
        If the layers of `a` and `b` differ.

    Examples
    --------
    >>> a = Masks({"fc": torch.tensor([True, True, False, False])})
    >>> b = Masks({"fc": torch.tensor([True, False, False, False])})
    >>> jaccard(a, b), jaccard(a, b, of="pruned")
    (0.5, 0.6666666666666666)
    """
    check_choice("of", of, ["kept", "pruned"])
    first, second = _flat_pair(a, b)
    if of == "pruned":
        first, second = ~first, ~second
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 1.0


def overlap_table(a: Masks, b: Masks, *, names: tuple[str, str] = ("a", "b")) -> pd.DataFrame:
    """Percentages of weights that both masks prune, one of them prunes, and neither prunes.

    The four entries of each matrix in figure 1(b) of the causal pruning paper: row 0 is pruned by
    `a` (there: causal pruning), column 0 is pruned by `b` (there: magnitude). So (0, 0) is pruned
    by both, (0, 1) by `a` only, (1, 0) by `b` only, (1, 1) by neither. They sum to 100.

    If `a` and `b` had nothing to do with each other, entry (0, 0) would be `100 * p * q` for
    amounts p and q. With p = q = 0.971, a pair in that figure, chance alone gives 94.3.

    Parameters
    ----------
    a, b : Masks
        Over the same layers.
    names : pair of str
        What the rows and the columns are called.

    Returns
    -------
    DataFrame
        Rows and columns "pruned" and "kept".

    Raises
    ------
    ValueError
        If the layers of `a` and `b` differ.

    Examples
    --------
    >>> a = Masks({"fc": torch.tensor([True, True, False, False])})
    >>> b = Masks({"fc": torch.tensor([True, False, False, False])})
    >>> overlap_table(a, b).to_numpy()
    array([[50.,  0.],
           [25., 25.]])
    """
    first, second = _flat_pair(a, b)
    n = first.numel()
    table = [
        [100 * int((rows & columns).sum()) / n for columns in (~second, second)]
        for rows in (~first, first)
    ]
    labels = ["pruned", "kept"]
    return pd.DataFrame(
        table, index=pd.Index(labels, name=names[0]), columns=pd.Index(labels, name=names[1])
    )


def _flat_pair(a: Masks, b: Masks) -> tuple[torch.Tensor, torch.Tensor]:
    first = a.flat()
    return first, b.flat(a.layout).to(first.device)
