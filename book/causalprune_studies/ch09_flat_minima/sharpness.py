"""To make a minimum sharper without changing the function, and to look for a flat one.

Dinh et al. ("Sharp minima can generalize for deep nets", ICML 2017) rescale the layers of a ReLU
network; Foret et al. ("Sharpness-aware minimization", ICLR 2021) step with the gradient from up the
slope.
"""

from __future__ import annotations

import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_positive
from causalprune_lib.dynamics.tangent import Batch, Loss
from causalprune_lib.nets.parameters import PRUNABLE_MODULES
from causalprune_lib.pruning.masks import clone_model, refresh


@torch.no_grad()
def rescale_relu(model: nn.Module, first: str, second: str, c: float) -> nn.Module:
    """A copy of `model` that computes the same function with other weights.

    Weights and biases of the layer `first` are multiplied by c > 0, the weights of `second` divided
    by it. relu(c z) = c relu(z), so the output is unchanged where all that stands between the two
    layers treats its input so: ReLU, max- or mean-pooling, flattening, dropout; not batch
    normalisation, sigmoid or tanh; and where no other path leads around them. Masks are kept.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> twin = rescale_relu(model, "0", "2", 10.0)
    >>> x = torch.ones(1, 3)
    >>> torch.allclose(model(x), twin(x), atol=1e-5), torch.equal(model[0].weight, twin[0].weight)
    (True, False)
    """
    check_positive("c", c)
    twin = clone_model(model)
    layers = {name: m for name, m in twin.named_modules() if isinstance(m, PRUNABLE_MODULES)}
    for label, name in (("first", first), ("second", second)):
        check_choice(label, name, layers)
    if first == second:
        raise ValueError(f"first and second must be two layers; got {first!r} twice.")
    for parameter in layers[first].parameters(recurse=False):
        parameter.mul_(c)
    for leaf, parameter in layers[second].named_parameters(recurse=False):
        if leaf.removesuffix("_orig") == "weight":
            parameter.div_(c)
    refresh(twin)
    return twin


def sam_step(
    model: nn.Module,
    loss: Loss,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    *,
    rho: float = 0.05,
) -> float:
    """One step of sharpness-aware minimisation on `batch` = (x, y); returns the loss before it.

    The weights go up the gradient g by rho g / |g|, the gradient is taken there, the weights come
    back, and `optimizer` steps with that gradient. Costs two steps. Masked weights have no gradient
    and stay pruned. Batch normalisation sees the batch twice.

    Examples
    --------
    At weight 1 of the loss w^2 the gradient is taken at 1.1: the step is 0.25 * 2.2.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 1.0)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    >>> batch = (torch.ones(1, 1), torch.zeros(1, 1))
    >>> sam_step(model, nn.functional.mse_loss, batch, optimizer, rho=0.1)
    1.0
    >>> round(model.weight.item(), 6)
    0.45
    """
    check_positive("rho", rho, allow_zero=True)
    x, y = batch
    optimizer.zero_grad()
    value = loss(model(x), y)
    value.backward()
    moved = [p for p in model.parameters() if p.grad is not None]
    before = [p.detach().clone() for p in moved]
    length = torch.stack([p.grad.norm() for p in moved]).norm()
    try:
        with torch.no_grad():
            for parameter in moved:
                parameter.add_(parameter.grad * (rho / length.clamp(min=1e-12)))
        optimizer.zero_grad()
        loss(model(x), y).backward()
    finally:
        with torch.no_grad():
            for parameter, old in zip(moved, before, strict=True):
                parameter.copy_(old)
    optimizer.step()
    return value.item()
