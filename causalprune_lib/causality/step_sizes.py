r"""The step sizes of the released solver: how much each recorded step weighs in its result.

The solver is stochastic gradient descent on the lasso with truncated gradient and cumulative
penalty (Tsuruoka, Tsujii and Ananiadou, ACL-IJCNLP 2009), run for three passes with a falling
learning rate. What they add up to is the w of `released_rule`.
"""

from __future__ import annotations

import torch

from causalprune_lib._validation import check_finite, check_int, check_positive, check_shape


def solver_step_sizes(
    n_steps: int, *, passes: int = 3, base: float = 0.01, power: float = 0.25
) -> torch.Tensor:
    r"""Total step size that the released solver spends on each of `n_steps` samples.

    One sample per update, in the order of recording, with learning rate :math:`b / i^p` in update
    i = 1, 2, ...: sample t of T is met in updates t, t + T, t + 2T and so on, so that
    :math:`w_t = \sum_{q=0}^{Q-1} b / (t + qT)^p` for t = 1..T. All T samples shape each w_t.

    Parameters
    ----------
    n_steps : int
        T, the number of samples. A training run that records N losses has T = N - 1 differences.
    passes : int
        Q, how often the solver goes through the samples.
    base, power : float
        b and p above, both > 0 (power may be 0).

    Returns
    -------
    tensor (T,) of float64

    Examples
    --------
    >>> solver_step_sizes(2, passes=1)
    tensor([0.0100, 0.0084], dtype=torch.float64)
    >>> round(float(solver_step_sizes(979).sum()), 3)  # 0.01 (1 + 2^-0.25 + ... + 2937^-0.25)
    5.312
    """
    n_steps, passes = check_int("n_steps", n_steps), check_int("passes", passes)
    check_positive("base", base)
    check_positive("power", power, allow_zero=True)
    update = torch.arange(1, n_steps * passes + 1, dtype=torch.float64)
    return (base * update**-power).view(passes, n_steps).sum(0)


def check_step_sizes(step_sizes: object, n_steps: int | None = None) -> torch.Tensor:
    """Return `step_sizes` (T,) as float64 on the CPU, if finite and > 0 each."""
    sizes = torch.as_tensor(step_sizes).detach().cpu().double()
    check_shape("step_sizes", sizes, (n_steps,))
    check_finite("step_sizes", sizes)
    if not len(sizes) or bool((sizes <= 0).any()):
        raise ValueError(f"step_sizes must be above 0 and not empty; got {sizes.tolist()[:5]}.")
    return sizes
