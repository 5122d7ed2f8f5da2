"""What a network costs: weights, multiply-adds and bytes per layer, before and after pruning.

The three costs do not fall together. A pruned network of unchanged shapes takes as many bytes and
as much time as before unless its zeros are skipped: `multiply_adds_sparse` and `csr_bytes` say what
skipping could save, and `latency` (in `latency.py`) what it does save on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from causalprune_lib.diagnostics.latency import (
    CSRLinear,
    Latency,
    compare_latency,
    latency,
    sparse_linear_copy,
)
from causalprune_lib.nets.guards import in_mode, try_forward
from causalprune_lib.nets.parameters import ParameterLayout

__all__ = [
    "CSRLinear",
    "Cost",
    "Latency",
    "compare_latency",
    "latency",
    "model_cost",
    "sparse_linear_copy",
]

INDEX_BYTES = 4  # 32-bit column indices and row pointers


@dataclass(frozen=True)
class Cost:
    """What one forward pass on one example costs, layer by layer.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row per linear or convolution layer, with the columns

        - `layer`: its name in the model;
        - `parameters`: weights and biases;
        - `weights`, `nonzeros`: entries of the weight, and those that are not zero;
        - `multiply_adds`: multiplications by a weight, each with its addition;
        - `multiply_adds_sparse`: the same with a non-zero weight only;
        - `dense_bytes`: of the weight, every entry stored;
        - `csr_bytes`: of the weight as a CSR matrix.
    """

    frame: pd.DataFrame

    @property
    def total(self) -> pd.Series:
        """Sum over the layers of every column but `layer`."""
        return self.frame.drop(columns="layer").sum()


def model_cost(model: nn.Module, example: torch.Tensor) -> Cost:
    r"""Count what the linear and convolution layers of `model` cost for one example.

    Parameters
    ----------
    model : nn.Module
        Any network. Its mode and gradients are left as they were.
    example : torch.Tensor, shape (B, ...)
        A batch that the model accepts, on its device; only its first example is used.

    Returns
    -------
    Cost

    Raises
    ------
    ValueError
        If the model has no such layer, or does not accept the example.

    Notes
    -----
    Every weight of a linear or convolution layer is used once at each output position, so

    .. math:: \text{multiply-adds} = \text{weights} \cdot \text{positions},

    and with the non-zero weights alone the sparse count. A linear layer has one position per
    vector, a convolution one per pixel of its output (for a transposed one: of its input).
    Products with padding zeros count. Biases, activations, pooling and normalisation do not. One
    multiply-add is two floating-point operations. A layer that the pass does not call costs 0.

    The weight as a matrix has R rows (outputs; filters for a convolution, its kernels laid out in a
    row) and Z non-zeros. With v bytes per value (4 for float32),

    .. math:: \text{csr bytes} = (v + 4) Z + 4 (R + 1),

    a value and a column index for each non-zero, and R + 1 row pointers. So CSR is smaller than
    dense only below about half the weights. Weights masked by `torch.nn.utils.prune` count as zero.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(100, 10, bias=False))
    >>> _ = nn.init.zeros_(model[0].weight[:, 50:].detach())
    >>> cost = model_cost(model, torch.zeros(1, 100))
    >>> cost.total[["weights", "nonzeros", "multiply_adds_sparse", "csr_bytes"]].tolist()
    [1000, 500, 500, 4044]
    """
    if not isinstance(example, torch.Tensor) or example.dim() == 0 or len(example) == 0:
        got = tuple(example.shape) if isinstance(example, torch.Tensor) else type(example).__name__
        raise ValueError(f"example must be a batch of at least one example (B, ...); got {got}.")
    weights = ParameterLayout.of(model).tensors(model)  # masks applied
    layers = {name: model.get_submodule(name.rpartition(".")[0]) for name in weights}
    positions = _count_positions(model, list(layers.values()), example)
    rows = []
    for name, layer in layers.items():
        weight = weights[name]
        nonzeros = int(torch.count_nonzero(weight))
        rows.append(
            {
                "layer": name.rpartition(".")[0] or "(model)",
                "parameters": weight.numel() + (0 if layer.bias is None else layer.bias.numel()),
                "weights": weight.numel(),
                "nonzeros": nonzeros,
                "multiply_adds": weight.numel() * positions[layer],
                "multiply_adds_sparse": nonzeros * positions[layer],
                "dense_bytes": weight.numel() * weight.element_size(),
                "csr_bytes": nonzeros * (weight.element_size() + INDEX_BYTES)
                + INDEX_BYTES * (weight.shape[0] + 1),
            }
        )
    return Cost(pd.DataFrame(rows))


def _count_positions(
    model: nn.Module, layers: list[nn.Module], example: torch.Tensor
) -> dict[nn.Module, int]:
    """How many times a forward pass on one example uses each weight of each layer."""
    positions = dict.fromkeys(layers, 0)

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if isinstance(layer, nn.Linear):
            positions[layer] += output.numel() // layer.out_features
        elif isinstance(layer, _ConvTransposeNd):
            positions[layer] += inputs[0].numel() // layer.in_channels
        else:
            positions[layer] += output.numel() // layer.out_channels

    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with in_mode(model, training=False), torch.no_grad():
            try_forward(model, example[:1], "example[:1]")
    finally:
        for hook in hooks:
            hook.remove()
    return positions
