"""Random directions in weight space that are comparable between networks.

A step of length 1 means little to a layer with large weights and much to one with small ones. Li,
Xu, Taylor, Studer and Goldstein ("Visualizing the loss landscape of neural nets", NeurIPS 2018)
give each filter of a random direction the norm of the network's own filter; the causal pruning
paper does the same (appendix B, equation 20).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from causalprune_lib._random import own_stream
from causalprune_lib._validation import check_int
from causalprune_lib.diagnostics.objective import kept_weights
from causalprune_lib.nets.guards import device_and_dtype
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.maskset import Masks


@torch.no_grad()
def filter_normalised_directions(
    model: nn.Module,
    *,
    seed: int = 0,
    n: int = 2,
    masks: Masks | None = None,
    biases: bool = False,
) -> torch.Tensor:
    r"""Random directions whose filters have the norms of the network's filters.

    The j-th filter of layer i of a direction u, drawn from a normal distribution, becomes

    .. math:: u_{i,j} \leftarrow \frac{u_{i,j}}{\|u_{i,j}\|} \|d_{i,j}\|,

    with d the network's weights. A filter is what one output unit sees: a row of a linear layer, a
    kernel over all its inputs of a convolution.

    Parameters
    ----------
    model : nn.Module
        The network; left as it is.
    seed : int
        The draw depends on the seed and the network's shapes alone. Networks of one architecture,
        dense or pruned, so get the same directions, each normalised to its own filters.
    n : int
        How many directions.
    masks : Masks, optional
        Pruned weights besides those that the model's own masks prune. A direction is zero there,
        before its filters are normalised, so pruned weights stay where they are.
    biases : bool
        False (default, as Li et al.): zero for biases and all other parameters of one dimension
        (batch normalisation). True: such a parameter is taken for one filter.

    Returns
    -------
    tensor (n, P)
        In the order of `ParameterLayout.of(model, which="all")`; dtype and device of the model.

    Examples
    --------
    >>> model = nn.Linear(3, 2)
    >>> direction = filter_normalised_directions(model, n=1)[0]
    >>> filters = direction[:6].reshape(2, 3)
    >>> torch.allclose(filters.norm(dim=1), model.weight.norm(dim=1)), direction[6:].tolist()
    (True, [0.0, 0.0])
    """
    layout = ParameterLayout.of(model, which="all")
    keep = kept_weights(model, layout, masks)
    random = own_stream(seed, "directions")  # not the numbers that drew the initial weights
    raw = torch.randn(check_int("n", n), layout.size, generator=random)  # (n, P)
    device, dtype = device_and_dtype(model)
    raw = raw.to(device, dtype) * keep
    weights = layout.unflatten(layout.flatten(layout.parameters(model)) * keep)
    pieces = []
    for name, direction in layout.unflatten(raw).items():  # (n, *shape)
        weight = weights[name]
        if weight.dim() > 1:
            axis = _filter_axis(model, name)
            pieces.append(with_norms_of(weight, direction, axis))
        elif biases:
            pieces.append(with_norms_of(weight[None], direction[:, None], 0))
        else:
            pieces.append(torch.zeros_like(direction))
    return torch.cat([piece.reshape(n, -1) for piece in pieces], dim=1)


def _filter_axis(model: nn.Module, name: str) -> int:
    """The axis of a weight that counts its output units."""
    layer = model.get_submodule(name.rpartition(".")[0])
    return 1 if isinstance(layer, _ConvTransposeNd) else 0


def with_norms_of(weight: torch.Tensor, direction: torch.Tensor, axis: int) -> torch.Tensor:
    """`direction` (n, *shape), each filter scaled to the norm of that of `weight` (*shape)."""
    others = [i for i in range(weight.dim()) if i != axis]
    wanted = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
    length = torch.linalg.vector_norm(direction, dim=[i + 1 for i in others], keepdim=True)
    return torch.where(length > 0, direction / length, 0.0) * wanted
