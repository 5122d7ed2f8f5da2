"""Twins: the same training twice, the second time with one weight moved by a hair.

LEGCNet (arXiv 2308.09955, sections 2.1 and 3.4) perturbs each weight in turn by an infinitesimal
delta, trains again with everything else the same, and studies the difference of the two weight
series. Here all twins train side by side in one batched run. Where the distance shrinks, the map
contracts; where it grows exponentially all along, training is sensitive to its start.

In float64 a distance below about 1e-16 times the weights is rounding, and one as large as the
weights has saturated: only what lies between measures anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from causalprune_lib._validation import check_positive
from causalprune_lib.dynamics.tangent import Batch, Loss, SGDMap, as_batches
from causalprune_lib.nets.parameters import ParameterLayout


@dataclass(frozen=True, eq=False)
class TwinResult:
    """S twins compared with the unperturbed network, before training and after each of T steps."""

    index: torch.Tensor  # (S,) the weight each twin was perturbed in, as a flat index of `layout`
    distance: torch.Tensor  # (T+1, S) Euclidean, over all parameters
    difference: torch.Tensor  # (T+1, S) of the perturbed weight itself, the paper's delta w
    layout: ParameterLayout  # of the prunable weights

    def growth(self) -> torch.Tensor:
        """ln(last distance / first distance) / T, nats per step, (S,); -inf where it became 0."""
        return (self.distance[-1] / self.distance[0]).log() / (len(self.distance) - 1)


@torch.no_grad()
def twin_trajectories(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    lr: float,
    momentum: float = 0.0,
    delta: float = 1e-8,
    indices: Iterable[int] | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> TwinResult:
    """Train `model` and its perturbed twins on the same batches, and record how far they part.

    All parameters train; the twins are of prunable weights. S networks are in memory at a time.

    Parameters
    ----------
    model, loss, batches, lr, momentum
        As in `tangent_exponent`, and so are the errors.
    delta : float
        The perturbation of one weight.
    indices : iterable of int, optional
        Weights to perturb, one twin each. Default: every prunable weight.
    seed, dtype : int, torch.dtype
        For dropout, where every twin sees the same masks; and the type in which all twins train.

    Examples
    --------
    On a quadratic loss with curvature 2, every twin comes closer by |1 - lr 2| per step. Windowed
    exponents of the difference series, the paper's section 3.4, are one line more:

    >>> model = nn.Linear(1, 1, bias=False)
    >>> batch = (torch.ones(4, 1), torch.zeros(4, 1))
    >>> twins = twin_trajectories(model, nn.functional.mse_loss, [batch] * 20, lr=0.1)
    >>> print(f"{twins.growth().item():.4f}")  # ln 0.8
    -0.2231
    >>> from causalprune_lib.dynamics.lyapunov import largest_lyapunov
    >>> windows = twins.difference.T.unfold(1, 15, 3)  # (S, windows, 15)
    >>> largest_lyapunov(windows).exponent.shape
    torch.Size([1, 3])
    """
    batches = as_batches(batches)
    step = SGDMap(model, loss, lr=lr, momentum=momentum, dtype=dtype)
    layout = ParameterLayout.of(model)
    device = step.start.device
    index = torch.arange(layout.size) if indices is None else torch.as_tensor(list(indices))
    if index.numel() == 0 or index.is_floating_point() or index.dtype == torch.bool:
        raise ValueError(f"indices must be whole numbers, at least one; got {indices!r}.")
    lowest, highest = int(index.min()), int(index.max())
    if lowest < 0 or highest >= layout.size:
        raise ValueError(f"indices must be in 0..{layout.size - 1}; got {lowest}..{highest}.")
    places = [torch.arange(step.size)[step.layout.span(name)] for name in layout.names]
    index = index.long().to(device)
    own = torch.cat(places).to(device)[index]  # (S,) where each twin's weight stands in the state
    states = step.start.repeat(1 + len(index), 1)  # row 0 is the unperturbed network
    states[torch.arange(1, len(states), device=device), own] += check_positive("delta", delta)
    move = torch.func.vmap(step, in_dims=(0, None), randomness="same")
    distance = states.new_empty((len(batches) + 1, len(index)))
    difference = torch.empty_like(distance)
    with step.running(seed):
        for t in range(len(batches) + 1):
            if t > 0:
                states = move(states, batches[t - 1])
            apart = states[1:, : step.size] - states[0, : step.size]  # (S, P)
            distance[t] = apart.norm(dim=1)
            difference[t] = apart.gather(1, own[:, None])[:, 0]
    return TwinResult(index, distance, difference, layout)
