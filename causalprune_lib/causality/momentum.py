r"""The causal model for gradient descent with momentum, derived anew (appendix A of the paper).

With :math:`v_{t+1} = \beta v_t + g_t` and :math:`\theta_{t+1} = \theta_t - \eta v_{t+1}`, write
:math:`D_1 = \theta_{t+1} - \theta_t` and :math:`D_0 = \theta_t - \theta_{t-1}`. Then
:math:`v_{t+1} = -D_1/\eta` and :math:`v_t = -D_0/\eta`, so that
:math:`g_t = v_{t+1} - \beta v_t = -(D_1 - \beta D_0)/\eta`, and to first order

.. math:: \Delta L = g_t \cdot D_1 = -\tfrac1\eta |D_1|^2 + \tfrac\beta\eta D_0 \cdot D_1 .

The paper has :math:`v_t = +D_0/\eta` (eq. 12, wrong sign) and
:math:`g_t = -(D_1 - \beta D_0)/\eta^2` (eq. 13, an :math:`\eta` too many), and from them a third
feature :math:`|D_0|^2` (eq. 15-19). Its coefficient is 0: the last step is no cause of what this
step does to the loss, except through :math:`D_1`. Here are both forms.

References
----------
A. Shah, A. Challa, S. Danda, A. Mathur and S. Saha. A Granger-Causal Perspective on Gradient
Descent with Application to Pruning. Appendix A.
"""

from __future__ import annotations

import numpy as np
import torch

from causalprune_lib._validation import (
    check_choice,
    check_finite,
    check_fraction,
    check_positive,
    check_shape,
)
from causalprune_lib.causality.increment_sums import Read, SquareSums
from causalprune_lib.dynamics.trajectory import Trajectory

FORMS = {"derived": ("square", "cross"), "paper": ("square", "lagged", "cross")}


def momentum_features(
    increments: Trajectory | torch.Tensor | np.ndarray, *, form: str = "derived"
) -> torch.Tensor:
    r"""Features of the momentum model, one set per weight and step.

    Parameters
    ----------
    increments : tensor (T, P) or Trajectory
        Successive increments of the weights, signed, or the recording of every step.
    form : {"derived", "paper"}
        "derived": :math:`(\Delta\theta^1)^2` and :math:`\Delta\theta^0\Delta\theta^1` of each
        weight, F = 2. "paper": :math:`(\Delta\theta^1)^2`, :math:`(\Delta\theta^0)^2` and
        :math:`\Delta\theta^0\Delta\theta^1`, F = 3 (eq. 16). Here 1 is the step itself and 0 the
        one before; the paper's eq. 17-18 swap the two names.

    Returns
    -------
    tensor (T - 1, F, P)
        The first step has no predecessor, so row t belongs to increment t + 1 (counted from 0).
        `x.flatten(1)` is the (T - 1, F P) design of a lasso; a weight is kept if the coefficient
        of any of its features is not 0 (eq. 19).

    Raises
    ------
    ValueError
        There are fewer than two increments, or a trajectory skips steps.

    Examples
    --------
    >>> momentum_features(torch.tensor([[1.0, 2.0], [3.0, -1.0]]), form="paper")
    tensor([[[ 9.,  1.],
             [ 1.,  4.],
             [ 3., -2.]]])
    """
    names = FORMS[check_choice("form", form, FORMS)]
    if isinstance(increments, Trajectory):
        if (np.diff(increments.steps) != 1).any():
            raise ValueError("increments must come from a recording of every step (every=1).")
        increments = increments.increments()
    d = torch.as_tensor(increments)
    check_shape("increments", d, (None, None))
    if len(d) < 2:
        raise ValueError(f"increments must hold at least two steps; got {len(d)}.")
    check_finite("increments", d)
    new, old = d[1:], d[:-1]  # (T-1, P)
    made = {"square": new * new, "lagged": old * old, "cross": old * new}
    return torch.stack([made[name] for name in names], dim=1)


def momentum_coefficients(
    *, lr: float, momentum: float, form: str = "derived"
) -> tuple[float, ...]:
    r"""What theory says about the coefficients of `momentum_features`, to first order.

    Parameters
    ----------
    lr, momentum : float
        :math:`\eta > 0` and :math:`\beta` in [0, 1) of `torch.optim.SGD`, constant, without
        dampening or Nesterov's variant.
    form : {"derived", "paper", "printed"}
        "derived": :math:`(-1/\eta, \beta/\eta)`. "paper": the same for its three features,
        :math:`(-1/\eta, 0, \beta/\eta)`. "printed": what its eq. 14 gives as it is printed,
        :math:`(-\eta^{-3}, -\beta^2(\eta^{-1} + \eta^{-3}), \beta(\eta^{-1} + 2\eta^{-3}))`.

    Examples
    --------
    >>> momentum_coefficients(lr=0.5, momentum=0.9, form="paper")
    (-2.0, 0.0, 1.8)
    >>> momentum_coefficients(lr=0.5, momentum=0.0, form="printed")
    (-8.0, -0.0, 0.0)
    """
    check_choice("form", form, [*FORMS, "printed"])
    check_positive("lr", lr)
    check_fraction("momentum", momentum, closed=False)
    if form == "printed":
        cubed = lr**-3
        return -cubed, -(momentum**2) * (1 / lr + cubed), momentum * (1 / lr + 2 * cubed)
    derived = {"square": -1 / lr, "lagged": 0.0, "cross": momentum / lr}
    return tuple(derived[name] for name in FORMS[form])


class MomentumSums(SquareSums):
    """Running sums of the two derived features: six vectors of length P.

    Attributes
    ----------
    weights, pending, before : tensor (P,)
        The weights as last read, the increment that led there and the one before it, signed.
    sums, cross_sums, movement : tensor (P,)
        sum_t w_t y_t (d_tk)^2, sum_t w_t y_t d_tk d_(t-1)k and sum_t (d_tk)^2.
    """

    vectors: tuple[str, ...] = ("weights", "pending", "before", "sums", "movement", "cross_sums")
    features = FORMS["derived"]
    warm_up = 1

    def move(self, read: Read) -> None:
        """Read the weights after a step, into the place of the oldest increment."""
        read(self.before)
        torch.sub(self.before, self.weights, out=self.weights)
        self._to_unit(self.weights)
        self.weights, self.pending, self.before = self.before, self.weights, self.pending
        self.moves += 1

    def book(self, y: float, w: float) -> None:
        """Add the features of the pending increment."""
        new, old = self.pending, self.before
        self.sums.addcmul_(new, new, value=w * y)
        self.movement.addcmul_(new, new)
        self.cross_sums.addcmul_(old, new, value=w * y)


class PaperMomentumSums(MomentumSums):
    """Running sums of the paper's three features: one vector more than `MomentumSums`."""

    vectors = (*MomentumSums.vectors, "lagged_sums")
    features = FORMS["paper"]

    def book(self, y: float, w: float) -> None:
        """Add the features of the pending increment."""
        super().book(y, w)
        self.lagged_sums.addcmul_(self.before, self.before, value=w * y)
