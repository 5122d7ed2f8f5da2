"""Twins: the same training twice, the second time with one weight moved by a hair.

LEGCNet (arXiv 2308.09955, sections 2.1 and 3.4) perturbs each weight in turn by an infinitesimal
delta, trains again with everything else the same, and studies the difference of the two weight
series. Here all twins train side by side in one batched run, so that a difference between them can
only come from the perturbation. Where the distance shrinks, the map contracts; where it grows
exponentially over the whole training, training is sensitive to its start.

In float64 a distance below about 1e-16 times the weights is rounding, and one as large as the
weights has saturated: only what lies between measures anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_int, check_positive
from causalprune_lib.dynamics.tangent import Batch, Loss, SGDMap, as_batches
from causalprune_lib.nets.parameters import ParameterLayout


@dataclass(frozen=True, eq=False)
class TwinResult:
    """S twins compared with the unperturbed network, at R moments of a training of T steps.

    Attributes
    ----------
    index : tensor (S,) of int64
        The weight that each twin was perturbed in, as a flat index of `layout`.
    steps : tensor (R,) of int64
        Steps taken at each moment; the first is 0, before training.
    distance : tensor (R, S)
        Euclidean distance to the unperturbed network over all parameters.
    difference : tensor (R, S)
        Perturbed minus unperturbed value of the perturbed weight itself, the paper's delta w.
    differences : tensor (R, S, P) or None
        The same for every weight of `layout`; with `record="all"`.
    layout : ParameterLayout
        What flat indices refer to.
    """

    index: torch.Tensor
    steps: torch.Tensor
    distance: torch.Tensor
    difference: torch.Tensor
    differences: torch.Tensor | None
    layout: ParameterLayout

    def growth(self) -> torch.Tensor:
        """ln(last distance / first distance) / T, nats per step, (S,); -inf where it became 0."""
        return (self.distance[-1] / self.distance[0]).log() / self.steps[-1]


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
    which: str = "prunable",
    record: str = "own",
    every: int = 1,
    chunk: int | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> TwinResult:
    """Train `model` and its perturbed twins on the same batches, and record how far they part.

    Parameters
    ----------
    model : nn.Module
        Where training starts; left as it is.
    loss : callable
        loss(output, target) -> scalar tensor.
    batches : iterable of (x, y)
        One SGD step each, in this order. Repeat the data for several epochs.
    lr, momentum : float
        As in `torch.optim.SGD`.
    delta : float
        The perturbation of one weight.
    indices : iterable of int, optional
        Weights to perturb, one twin each. Default: every weight of the layout.
    which : {"prunable", "all"}
        The layout that indices refer to, as in `ParameterLayout.of`. All parameters train.
    record : {"own", "all"}
        "own": the difference of the perturbed weight. "all": of every weight, R S P numbers.
    every : int
        Steps between two recorded moments. The last step is always recorded.
    chunk : int, optional
        Twins trained at once, to bound the memory. Default: all.
    seed : int
        For dropout: every twin sees the same masks.

    Returns
    -------
    TwinResult

    Raises
    ------
    ValueError
        See `SGDMap`; also an index outside the layout, or no batch.

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
    check_choice("record", record, ["own", "all"])
    batches, every = as_batches(batches), check_int("every", every)
    step = SGDMap(model, loss, lr=lr, momentum=momentum, dtype=dtype)
    layout = ParameterLayout.of(model, which=which)
    index = _checked_indices(indices, layout, step.start.device)
    position = torch.cat(
        [torch.arange(step.size)[step.layout.span(name)] for name in layout.names]
    ).to(index)  # (P,) where the weights of `layout` stand in the state
    size = len(index) if chunk is None else check_int("chunk", chunk)
    recorded = [0, *range(every, len(batches), every), len(batches)]
    parts = []
    for some in index.split(size):
        states = step.start.repeat(1 + len(some), 1)  # row 0 is the unperturbed network
        rows = torch.arange(1, 1 + len(some), device=states.device)
        states[rows, position[some]] += check_positive("delta", delta)
        with step.running(seed):
            parts.append(_run(step, states, batches, recorded, position, some, record))
    distance, difference, differences = zip(*parts, strict=True)
    return TwinResult(
        index,
        torch.tensor(recorded, device=index.device),
        torch.cat(distance, 1),
        torch.cat(difference, 1),
        torch.cat(differences, 1) if record == "all" else None,
        layout,
    )


def _run(step, states, batches, recorded, position, some, record):
    """Distances (R, s), own differences (R, s) and all differences (R, s, P) of one chunk."""
    move = torch.func.vmap(step, in_dims=(0, None), randomness="same")
    n, size = len(some), len(position)
    distance = states.new_empty((len(recorded), n))
    difference = torch.empty_like(distance)
    differences = states.new_empty((len(recorded), n, size if record == "all" else 0))
    own = position[some]
    wanted = {t: row for row, t in enumerate(recorded)}
    for t in range(len(batches) + 1):
        if t > 0:
            states = move(states, batches[t - 1])
        if t in wanted:
            apart = states[1:, : step.size] - states[0, : step.size]
            distance[wanted[t]] = apart.norm(dim=1)
            difference[wanted[t]] = apart.gather(1, own[:, None])[:, 0]
            if record == "all":
                differences[wanted[t]] = apart[:, position]
    return distance, difference, differences


def _checked_indices(
    indices: Iterable[int] | None, layout: ParameterLayout, device: torch.device
) -> torch.Tensor:
    if indices is None:
        return torch.arange(layout.size, device=device)
    index = torch.as_tensor(list(indices), device=device)
    if index.numel() == 0 or index.is_floating_point() or index.dtype == torch.bool:
        raise ValueError(f"indices must be whole numbers, at least one; got {indices!r}.")
    if int(index.min()) < 0 or int(index.max()) >= layout.size:
        raise ValueError(
            f"indices must be in 0..{layout.size - 1}; got {int(index.min())}..{int(index.max())}."
        )
    return index.long()
