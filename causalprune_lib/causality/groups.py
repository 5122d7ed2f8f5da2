"""Tied coefficients: one gamma for all weights of a filter or a neuron.

Section 5 of Shah et al., "A Granger-causal perspective on gradient descent with application to
pruning", prunes structures by weight sharing: eq. 9 with gamma_i = gamma_j for weights of the same
structure. With n_g members, g's share of the penalty is alpha n_g |gamma_g| and of the prediction
gamma_g sum_{k in g} x_k. In u_g = n_g gamma_g that is an ordinary lasso on the group MEANS:

    1/(2T) |y - Xbar u|^2 + alpha |u|_1,   Xbar_tg = (1/n_g) sum_{k in g} x_tk.

The paper has no other group penalty (such as the L2 norm of a group's free coefficients).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from causalprune_lib._validation import check_shape
from causalprune_lib.causality.columns import ArrayColumns, Columns


@dataclass(frozen=True, eq=False)
class Groups:
    """Which of G groups each of P columns belongs to.

    Attributes
    ----------
    labels : array (G,) of int
        The numbers used, increasing.
    member : array (P,) of int
        Position in `labels`.
    counts : array (G,) of int
        n_g.
    """

    labels: np.ndarray
    member: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, groups: object, n_columns: int) -> Groups:
        """From one whole number per column, equal for columns that share a coefficient.

        Examples
        --------
        >>> Groups.of([7, 7, 3], 3).counts
        array([1, 2])
        """
        given = groups.cpu().numpy() if isinstance(groups, torch.Tensor) else np.asarray(groups)
        check_shape("groups", given, (n_columns,))
        if given.dtype.kind not in "iu":
            raise TypeError(f"groups must be whole numbers; got {given.dtype}.")
        return cls(*np.unique(given, return_inverse=True, return_counts=True))

    def means(self, columns: Columns) -> ArrayColumns:
        """Xbar (T, G): one pass, and held in memory.

        Examples
        --------
        >>> x = ArrayColumns(np.array([[1.0, 3.0, 10.0]]))
        >>> Groups.of([0, 0, 1], 3).means(x).gather(np.arange(2))
        array([[ 2., 10.]])
        """
        from scipy import sparse

        n_columns, n_groups = len(self.member), len(self.labels)
        share = 1.0 / self.counts[self.member]
        places = (np.arange(n_columns), self.member)
        average = sparse.csr_array((share, places), shape=(n_columns, n_groups))
        found = np.zeros((columns.shape[0], n_groups))
        for rows, part, values in columns.blocks():
            found[rows] += values @ average[part]
        return ArrayColumns(found)

    def coef(self, u: np.ndarray) -> np.ndarray:
        """gamma (P,) of all columns from u (G,)."""
        return (u / self.counts)[self.member]
