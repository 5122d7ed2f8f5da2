"""What a network costs: weights, multiply-adds, bytes and seconds, before and after pruning.

The costs do not fall together. A pruned network of unchanged shapes takes as many bytes and as much
time as before unless its zeros are skipped: `multiply_adds_sparse` and `csr_bytes` say what
skipping could save, and `compare_latency` what it does save on this machine.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from causalprune_lib._validation import check_int
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import in_mode, try_forward
from causalprune_lib.pruning.masks import unmasked_copy

INDEX_BYTES = 4  # 32-bit column indices and row pointers
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Cost:
    """What one forward pass on one example costs, layer by layer."""

    # One row per layer: `layer`, its name; `parameters`, weights and biases; `weights` and
    # `nonzeros`, entries of the weight; `multiply_adds` and `multiply_adds_sparse`; `dense_bytes`
    # and `csr_bytes` of the weight.
    frame: pd.DataFrame

    @property
    def total(self) -> pd.Series:
        """Sum over the layers of every column but `layer`."""
        return self.frame.drop(columns="layer").sum()


def model_cost(model: nn.Module, example: torch.Tensor) -> Cost:
    """Count what the linear and convolution layers of `model` cost for one example.

    Every weight is used once at each output position, so multiply-adds = weights * positions, and
    with the non-zero weights alone the sparse count. A linear layer has one position per vector, a
    convolution one per pixel of its output (for a transposed one: of its input). Products with
    padding zeros count. Biases, activations, pooling and normalisation do not. One multiply-add is
    two floating-point operations. A layer that the pass does not call costs 0.

    As a matrix with R rows (outputs) and Z non-zeros of v bytes (4 for float32), a weight takes
    csr bytes = (v + 4) Z + 4 (R + 1), for values, column indices and row pointers: less than dense
    only below about half the weights.

    Masked weights count as zero. `example` (B, ...) is a batch that the model accepts, on its
    device; only its first example is used.

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
    # torch.utils.flop_counter counts the same, but takes a second to start, and of a layer that
    # stands under two names it knows the last.
    positions = dict.fromkeys(layers.values(), 0)

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        used = inputs[0] if isinstance(layer, _ConvTransposeNd) else output
        positions[layer] += used.numel() // len(layer.weight)

    with ExitStack() as hooks, in_mode(model, training=False), torch.no_grad():
        for layer in positions:
            hooks.callback(layer.register_forward_hook(count).remove)
        try_forward(model, example[:1], "example[:1]")
    rows = []
    for name, layer in layers.items():
        weight = weights[name]
        nonzeros, value_bytes = int(torch.count_nonzero(weight)), weight.element_size()
        csr_bytes = nonzeros * (value_bytes + INDEX_BYTES) + INDEX_BYTES * (len(weight) + 1)
        rows.append(
            {
                "layer": name.rpartition(".")[0] or "(model)",
                "parameters": weight.numel() + (0 if layer.bias is None else layer.bias.numel()),
                "weights": weight.numel(),
                "nonzeros": nonzeros,
                "multiply_adds": weight.numel() * positions[layer],
                "multiply_adds_sparse": nonzeros * positions[layer],
                "dense_bytes": weight.numel() * value_bytes,
                "csr_bytes": csr_bytes,
            }
        )
    return Cost(pd.DataFrame(rows))


def sparse_linear_copy(model: nn.Module) -> nn.Module:
    """Copy `model` with every `nn.Linear` replaced by a layer that stores its non-zeros only.

    Convolutions stay dense: PyTorch has no sparse ones. The copy, for inference, has no masks.

    >>> dense = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> sparse = sparse_linear_copy(dense)
    >>> x = torch.ones(5, 3)
    >>> torch.allclose(dense(x), sparse(x), atol=1e-6)
    True
    """
    twin = unmasked_copy(model)
    sparse = {
        layer: CSRLinear(layer.weight, layer.bias).train(layer.training)
        for layer in twin.modules()
        if type(layer) is nn.Linear
    }
    if not sparse:
        raise ValueError(f"model must have an nn.Linear; got a {type(model).__name__} without one.")
    if twin in sparse:
        return sparse[twin]
    for parent in list(twin.modules()):
        for name, child in list(parent._modules.items()):
            if child in sparse:
                setattr(parent, name, sparse[child])
    return twin


class CSRLinear(nn.Module):
    """A linear layer for inference; the zeros of `weight` (out, in) are dropped."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            csr = weight.detach().to_sparse_csr()
            indices = csr.crow_indices().int(), csr.col_indices().int()  # 32 bits each
            csr = torch.sparse_csr_tensor(*indices, csr.values(), csr.shape, check_invariants=True)
        self.register_buffer("weight", csr)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        inputs = x.reshape(-1, self.in_features)  # (B, in)
        # A vector has a faster kernel than a matrix with one column.
        y = self.weight @ inputs[0] if len(inputs) == 1 else (self.weight @ inputs.t()).t()
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*x.shape[:-1], self.out_features)


def compare_latency(
    models: Mapping[str, nn.Module], example: torch.Tensor, *, repeats: int = 50, warmup: int = 10
) -> pd.DataFrame:
    """Time forward passes of models, taking turns, so that noise hits all of them alike.

    They run in evaluation mode and without gradients. A mask of `torch.nn.utils.prune` costs a
    multiplication in every pass; make it permanent first for a fair time.

    In each round every model runs once, on the batch `example` (B, ...) on their device; the
    `repeats` rounds that are timed come after `warmup` others.

    One row per model: `model`; `median`, `q25`, `q75` in seconds; `ratio`, the median over the
    rounds of its time over the first model's time in the same round, with `ratio_q25` and
    `ratio_q75`; `repeats`.

    >>> models = {"wide": nn.Linear(10, 500), "narrow": nn.Linear(10, 5)}
    >>> compare_latency(models, torch.zeros(1, 10), repeats=5)["ratio"].tolist()[0]
    1.0
    """
    if not models:
        raise ValueError("models must hold at least one model; got an empty mapping.")
    check_int("repeats", repeats)
    check_int("warmup", warmup, minimum=0)
    networks = list(models.values())
    seconds = np.empty((repeats, len(networks)))
    with ExitStack() as modes, torch.no_grad():
        for network in networks:
            modes.enter_context(in_mode(network, training=False))
            try_forward(network, example, "example")
        for _ in range(warmup):
            for network in networks:
                network(example)
        for repeat in range(repeats):
            for turn in range(len(networks)):
                i = (repeat + turn) % len(networks)  # a different one starts each round
                _wait_for(example.device)
                started = time.perf_counter()
                networks[i](example)
                _wait_for(example.device)
                seconds[repeat, i] = time.perf_counter() - started
    q25, median, q75 = np.quantile(seconds, QUARTILES, axis=0)  # (models,) each
    table = pd.DataFrame({"model": list(models), "median": median, "q25": q25, "q75": q75})
    q25, median, q75 = np.quantile(seconds / seconds[:, :1], QUARTILES, axis=0)
    return table.assign(ratio=median, ratio_q25=q25, ratio_q75=q75, repeats=repeats)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":  # it computes while Python runs on
        torch.cuda.synchronize(device)
