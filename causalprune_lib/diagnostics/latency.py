"""Measured time: how long a forward pass takes, dense and with sparse linear layers.

A zero weight saves time only if the code that multiplies knows where the zeros are. PyTorch's
linear layer does not; `sparse_linear_copy` gives a copy whose linear layers store the non-zeros
alone (compressed sparse rows, CSR).
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
from torch.nn.utils import prune

from causalprune_lib._validation import check_int
from causalprune_lib.nets.guards import in_mode, try_forward
from causalprune_lib.pruning.masks import clone_model, remove_masks

QUARTILES = (0.25, 0.5, 0.75)


class CSRLinear(nn.Module):
    """A linear layer for inference whose weight holds its non-zeros only.

    Parameters
    ----------
    weight : torch.Tensor, shape (out, in)
        Dense weight; its zeros are dropped. Indices are 32-bit.
    bias : torch.Tensor, shape (out,), optional
        Bias.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            csr = weight.detach().to_sparse_csr()
            csr = torch.sparse_csr_tensor(
                csr.crow_indices().int(),
                csr.col_indices().int(),
                csr.values(),
                csr.shape,
                check_invariants=True,
            )
        self.register_buffer("weight", csr)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        rows = x.reshape(-1, self.in_features)  # (B, in)
        # A vector has a faster kernel than a matrix with one column.
        y = self.weight @ rows[0] if len(rows) == 1 else (self.weight @ rows.t()).t()
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*x.shape[:-1], self.out_features)


def sparse_linear_copy(model: nn.Module) -> nn.Module:
    """Copy `model` with every `nn.Linear` replaced by a layer that stores its non-zeros only.

    Convolutions stay dense: PyTorch has no sparse ones. Masks of `torch.nn.utils.prune` are made
    permanent in the copy. The copy is for inference; `model` is left as it was.

    Raises
    ------
    ValueError
        If the model has no `nn.Linear`.

    Examples
    --------
    >>> dense = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> sparse = sparse_linear_copy(dense)
    >>> x = torch.ones(5, 3)
    >>> torch.allclose(dense(x), sparse(x), atol=1e-6)
    True
    """
    twin = clone_model(model)
    if prune.is_pruned(twin):
        remove_masks(twin)
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


@dataclass(frozen=True)
class Latency:
    """How long one forward pass takes.

    Attributes
    ----------
    median, q25, q75 : float
        Median and quartiles over the repeats, in seconds.
    repeats : int
        Number of timed passes.
    """

    median: float
    q25: float
    q75: float
    repeats: int


def latency(
    model: nn.Module, example: torch.Tensor, *, repeats: int = 50, warmup: int = 10
) -> Latency:
    """Time the forward pass of `model` on `example`, in evaluation mode and without gradients.

    Parameters
    ----------
    model : nn.Module
        Any network. Its mode is put back afterwards. A mask of `torch.nn.utils.prune` costs a
        multiplication in every pass; make it permanent first for a fair time.
    example : torch.Tensor, shape (B, ...)
        A batch, on the model's device.
    repeats, warmup : int
        Timed passes, and untimed ones before them.

    Examples
    --------
    >>> time_of = latency(nn.Linear(10, 10), torch.zeros(1, 10), repeats=5)
    >>> 0 < time_of.q25 <= time_of.median <= time_of.q75
    True
    """
    seconds = _time({"model": model}, example, repeats, warmup)[:, 0]
    q25, median, q75 = np.quantile(seconds, QUARTILES)
    return Latency(float(median), float(q25), float(q75), repeats)


def compare_latency(
    models: Mapping[str, nn.Module], example: torch.Tensor, *, repeats: int = 50, warmup: int = 10
) -> pd.DataFrame:
    """Time several models on one example, taking turns, so that noise hits all of them alike.

    Parameters
    ----------
    models : mapping from name to nn.Module
        The first is the one that the others are compared with.
    example, repeats, warmup
        As for `latency`; `repeats` rounds in which every model runs once.

    Returns
    -------
    pandas.DataFrame
        One row per model: `model`; `median`, `q25`, `q75` in seconds; `ratio`, the median over the
        rounds of its time over the first model's time in the same round, with `ratio_q25` and
        `ratio_q75`; `repeats`.

    Examples
    --------
    >>> models = {"wide": nn.Linear(10, 500), "narrow": nn.Linear(10, 5)}
    >>> compare_latency(models, torch.zeros(1, 10), repeats=5)["ratio"].tolist()[0]
    1.0
    """
    if not models:
        raise ValueError("models must hold at least one model; got an empty mapping.")
    seconds = _time(models, example, repeats, warmup)  # (repeats, models)
    ratios = seconds / seconds[:, :1]
    own_q25, own_median, own_q75 = np.quantile(seconds, QUARTILES, axis=0)  # (models,) each
    ratio_q25, ratio_median, ratio_q75 = np.quantile(ratios, QUARTILES, axis=0)
    return pd.DataFrame(
        {
            "model": list(models),
            "median": own_median,
            "q25": own_q25,
            "q75": own_q75,
            "ratio": ratio_median,
            "ratio_q25": ratio_q25,
            "ratio_q75": ratio_q75,
            "repeats": repeats,
        }
    )


def _time(
    models: Mapping[str, nn.Module], example: torch.Tensor, repeats: int, warmup: int
) -> np.ndarray:
    """Seconds (repeats, models) of one forward pass each, the models taking turns."""
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
                column = (repeat + turn) % len(networks)  # a different one starts each round
                _wait_for(example.device)
                started = time.perf_counter()
                networks[column](example)
                _wait_for(example.device)
                seconds[repeat, column] = time.perf_counter() - started
    return seconds


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":  # a GPU computes while Python runs on: wait until it is done
        torch.cuda.synchronize(device)
