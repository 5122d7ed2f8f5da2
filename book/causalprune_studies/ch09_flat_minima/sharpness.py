"""What chapter 9 says of sharpness: a spectrum and a landscape in a few numbers, and other units.

Dinh et al. ("Sharp minima can generalize for deep nets", ICML 2017) rescale the layers of a ReLU
network: the function stays, its sharpness does not.
"""

from __future__ import annotations

import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_positive
from causalprune_lib.diagnostics.curvature import SpectralDensity
from causalprune_lib.diagnostics.landscape import LossSurface
from causalprune_lib.nets.parameters import PRUNABLE_MODULES, refresh
from causalprune_lib.pruning.masks import clone_model


def spectrum_summary(density: SpectralDensity) -> dict[str, float]:
    """Three numbers of a spectrum: is this a minimum, and in how many directions does it bend?

    `lowest`: the lowest node. `negative`: the part of sum |lambda| that negative eigenvalues make
    up; zero at a minimum. `near_zero`: the share of eigenvalues within 1% of the largest, on either
    side of zero.
    """
    sizes = density.weights * density.nodes.abs()
    below = density.nodes < 0
    near = 0.01 * float(density.nodes[-1])
    return {
        "lowest": float(density.nodes[0]),
        "negative": float(sizes[below].sum() / sizes.sum()),
        "near_zero": density.mass_within(-near, near),
    }


def landscape_summary(surface: LossSurface) -> dict[str, float]:
    """How much log(1 + loss) rises around the network: the mean over the plane, less the centre.

    `rise` is over the whole plane, `rise_half` where neither direction goes more than half as far.
    The plane must have a point in its middle.
    """
    log_loss = surface.log_loss
    centre = log_loss[len(surface.alphas) // 2, len(surface.betas) // 2]
    near = [axis.abs() <= 0.5 * axis.abs().max() + 1e-9 for axis in (surface.alphas, surface.betas)]
    half = log_loss[near[0]][:, near[1]]
    return {"rise": float(log_loss.mean() - centre), "rise_half": float(half.mean() - centre)}


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
