"""From a recording of training to the regression of causal pruning (eq. 7 of the paper).

One sample per recorded step t: the features are the squared changes of the weights over that step,
x_tk = (theta^{t+1}_k - theta^t_k)^2, and the effect is the change of the loss, dL_t. Shah et al.,
"A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from causalprune_lib._validation import check_choice, check_int
from causalprune_lib.causality.columns import BLOCK_BYTES, Block, Columns, pieces
from causalprune_lib.dynamics.trajectory import Trajectory

LOSSES = ("two_batch", "same_batch")


class SquaredIncrements(Columns):
    """The squared increments of a trajectory, (T, P), read from memory or from disk in blocks.

    Parameters
    ----------
    trajectory : Trajectory
        Increment t leads from row t to row t + 1.
    layer : str, optional
        Only the weights of this parameter; default all that were recorded.
    increments : array (T,) of int, optional
        Which increments, increasing; default all.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        *,
        layer: str | None = None,
        increments: np.ndarray | None = None,
    ) -> None:
        span = slice(0, trajectory.layout.size) if layer is None else trajectory.layout.span(layer)
        low, high = np.searchsorted(trajectory.index, [span.start, span.stop])
        if low == high:
            raise ValueError(f"trajectory must hold weights of {layer!r}; none were recorded.")
        every = np.arange(len(trajectory) - 1)
        self.increments = every if increments is None else np.asarray(increments)
        if len(self.increments) == 0:
            raise ValueError("trajectory must hold at least one increment (two rows); got none.")
        if (np.diff(self.increments) <= 0).any() or not np.isin(self.increments, every).all():
            raise ValueError(
                f"increments must be increasing and in 0..{len(every) - 1}; got {increments}."
            )
        self._weights, self._first = trajectory.weights, int(low)
        self.index = trajectory.index[low:high]
        self.shape = len(self.increments), int(high - low)

    def _squares(self, columns: slice | np.ndarray) -> np.ndarray:
        first, last = self.increments[0], self.increments[-1]
        weights = self._weights[first : last + 2, columns].astype(np.float64)
        change = np.diff(weights, axis=0)
        if len(change) > len(self.increments):
            change = change[self.increments - first]
        return np.square(change, out=change)

    def blocks(self) -> Iterator[Block]:
        self.passes += 1
        n_rows, n_columns = self.shape
        for part in pieces(n_columns, BLOCK_BYTES // (8 * n_rows)):
            columns = slice(self._first + part.start, self._first + part.stop)
            yield slice(0, n_rows), part, self._squares(columns)

    def rows(self) -> Iterator[np.ndarray]:
        self.passes += 1
        columns = slice(self._first, self._first + self.shape[1])
        for t in self.increments:
            yield np.diff(self._weights[t : t + 2, columns].astype(np.float64), axis=0)[0] ** 2

    def gather(self, index: np.ndarray) -> np.ndarray:
        self.passes += 1
        return np.asfortranarray(self._squares(self._first + index))


def causal_samples(
    trajectory: Trajectory, *, layer: str | None = None, loss: str = "two_batch", minimum: int = 2
) -> tuple[SquaredIncrements, np.ndarray]:
    """Features and effect of the causal model for the recorded steps.

    Parameters
    ----------
    trajectory : Trajectory
        Every step recorded, with the losses.
    layer : str, optional
        One parameter, as the paper fits them; default all weights in one model.
    loss : {"two_batch", "same_batch"}
        "two_batch": dL_t = L(b_{t+1}, theta^{t+1}) - L(b_t, theta^t), the change of the logged
        training loss from one step to the next, as described in the paper; the last step has none.
        "same_batch": dL_t = L(b_t, theta^{t+1}) - L(b_t, theta^t), which takes a recorder with a
        `probe`.
    minimum : int
        Least number of usable steps.

    Returns
    -------
    features : SquaredIncrements (T, P)
        For `CausalLasso` and `lasso_path`; `features.increments` says which steps they are.
    effect : array (T,)
        dL_t. Steps whose loss is NaN or infinite are left out, on both sides.

    Raises
    ------
    ValueError
        Not every step was recorded, or fewer than `minimum` of them have a loss.

    Examples
    --------
    >>> from torch import nn
    >>> from causalprune_lib.nets.parameters import ParameterLayout
    >>> layout = ParameterLayout.of(nn.Linear(2, 1))
    >>> weights = np.array([[0.0, 1], [0.5, 1], [0.5, 3], [1, 3]])
    >>> walk = Trajectory([0, 1, 2, 3], weights, layout, loss_before=[np.nan, 2, 1.5, 0.5])
    >>> features, effect = causal_samples(walk)
    >>> features.gather(np.array([0, 1])), effect
    (array([[0.25, 0.  ],
           [0.  , 4.  ]]), array([-0.5, -1. ]))
    """
    check_choice("loss", loss, LOSSES)
    if (np.diff(trajectory.steps) != 1).any():
        raise ValueError("trajectory must hold every step (every=1); steps are missing between.")
    before, after = trajectory.loss_before[1:], trajectory.loss_after[1:]
    effect = np.diff(before) if loss == "two_batch" else after - before
    known = np.flatnonzero(np.isfinite(effect))
    if len(known) < check_int("minimum", minimum):
        needed = "log(loss=...)" if loss == "two_batch" else "a recorder with a probe"
        raise ValueError(
            f"trajectory must hold the loss change of at least {minimum} steps; got {len(known)} "
            f"of {len(effect)}. loss={loss!r} takes {needed}."
        )
    return SquaredIncrements(trajectory, layer=layer, increments=known), effect[known]
