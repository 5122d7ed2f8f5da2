"""SHAP: what each feature of an input adds to the output of a network.

The players of the game are the features. A coalition is worth what the network gives on average
when its features are those of the example and all others come from a background set:

    v(S) = mean over b of f(x_S, b_rest)

The Shapley values of this game add up to f(x) - mean f(background). `method="exact"` asks for every
coalition; the package `shap` (Lundberg and Lee 2017) estimates them, by a regression on coalitions
("kernel") or in one backward pass with DeepLIFT's rules ("deep").

The LEGCNet paper (arXiv:2308.09955) compares dense and pruned networks so: section 5.1, figures 3,
7 and 8. The games are in `shapley.py`, the comparison of two networks in `agreement.py`; they can
be imported from here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune

from causalprune_lib._validation import check_choice, check_finite, check_int, check_positive
from causalprune_lib.diagnostics.agreement import global_importance, rank_agreement
from causalprune_lib.diagnostics.explainers import (
    explain_by_kernel,
    explain_deep,
    explain_exactly,
    outputs_of,
)
from causalprune_lib.diagnostics.shapley import exact_shapley
from causalprune_lib.nets.guards import device_and_dtype, try_forward
from causalprune_lib.pruning.masks import clone_model, remove_masks

__all__ = ["additivity_gap", "exact_shapley", "global_importance", "rank_agreement", "shap_values"]

MOST_FEATURES = 14  # for "exact"


def shap_values(
    model: nn.Module,
    x: torch.Tensor,
    *,
    background: torch.Tensor,
    method: str = "deep",
    output: str = "logit",
    seed: int = 0,
    samples: int | None = None,
    tolerance: float = 1e-4,
) -> np.ndarray:
    """Attribute the outputs of `model` for the examples `x` to their features.

    Parameters
    ----------
    model : nn.Module
        Maps (N, ...) to (N, K); masked or not. It is copied, and the copy explained in evaluation
        mode and in float64; its own state stays as it is.
    x : torch.Tensor, shape (N, ...)
        Examples to explain.
    background : torch.Tensor, shape (B, ...)
        What a missing feature is replaced by. All attributions are relative to it; use the same for
        networks to be compared. 20 to 100 training examples are usual.
    method : {"deep", "kernel", "exact"}
        "deep": fast, for networks of layers that shap knows (linear, convolution, batch
        normalisation, pooling, the usual activations), each used once in a pass. It is not the
        Shapley value of a network with interactions, but adds up. "kernel": any network; all
        coalitions where they are few, else a sample. "exact": every coalition, up to 14 features;
        up to 9 it is also the fastest.
    output : {"logit", "probability"}
        What is explained. For a chain that ends in a sigmoid or a softmax: what goes into it, or
        what comes out. For any other network: what it returns, or the softmax of that (K = 1: the
        sigmoid).
    seed : int
        Fixes the coalitions that "kernel" samples. The others draw nothing.
    samples : int, optional
        Coalitions per example for "kernel"; default 2 F + 2048, and never more than all.
    tolerance : float
        How far the attributions of one example may fail to add up, relative to the largest
        difference that they explain (at least 1).

    Returns
    -------
    array (N, F, K) of float64
        F features (for images: pixels of all channels, in a row), K outputs.

    Raises
    ------
    ValueError
        If inputs do not fit each other or the model, "exact" has too many features, or "deep" meets
        a layer that it has no rule for, a softmax among them.
    FloatingPointError
        If the attributions do not add up to f(x) - mean f(background).
    ModuleNotFoundError
        If the package shap is not there: `pip install causalprune-lib[diagnostics]`.

    Notes
    -----
    shap's own defaults are not used where they would mislead. "kernel" there keeps 10 features and
    gives zero to all others. "deep" there attributes each output of a softmax to its own score
    alone, as if the others did not matter: that adds up, and is wrong, and is refused here.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> model.weight.data = torch.tensor([[1.0, -2.0]])
    >>> x, background = torch.tensor([[3.0, 4.0]]), torch.zeros(5, 2)
    >>> shap_values(model, x, background=background, method="exact").round(9).tolist()
    [[[3.0], [-8.0]]]
    """
    check_choice("method", method, ["deep", "kernel", "exact"])
    check_int("seed", seed, minimum=0)
    check_positive("tolerance", tolerance)
    network, x, background = _prepared(model, x, background, output)
    features = x[0].numel()
    if method == "exact":
        if features > MOST_FEATURES:
            raise ValueError(
                f"method 'exact' must have at most {MOST_FEATURES} features, since it asks for 2^F "
                f"coalitions; got {features}. 'kernel' takes a sample of them."
            )
        values = np.stack([explain_exactly(network, example, background) for example in x])
    elif method == "kernel":
        samples = 2 * features + 2048 if samples is None else check_int("samples", samples)
        values = explain_by_kernel(network, x, background, seed, samples)
    else:
        values = explain_deep(network, x, background)
    gap, explained = _gap(values, network, x, background)
    if not gap.max() <= tolerance * max(1.0, explained.max()):  # NaN lands here too
        raise FloatingPointError(
            f"the attributions must add up to f(x) - mean f(background) within {tolerance:g}; they "
            f"miss it by up to {gap.max():.3g} with method {method!r}. A layer used twice in one "
            "pass can be the cause; 'kernel' does not mind."
        )
    return values


def additivity_gap(
    values: np.ndarray,
    model: nn.Module,
    x: torch.Tensor,
    *,
    background: torch.Tensor,
    output: str = "logit",
) -> np.ndarray:
    """How far attributions (N, F, K) fail to add up: |sum - (f(x) - mean f(background))|, (N, K).

    Other parameters as for `shap_values`.

    Examples
    --------
    >>> model = nn.Linear(2, 1)
    >>> x, background = torch.ones(1, 2), torch.zeros(3, 2)
    >>> values = shap_values(model, x, background=background, method="exact")
    >>> additivity_gap(values + 1, model, x, background=background).round(6).tolist()
    [[2.0]]
    """
    network, x, background = _prepared(model, x, background, output)
    return _gap(np.asarray(values), network, x, background)[0]


def _gap(
    values: np.ndarray, network: nn.Module, x: torch.Tensor, background: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """By how much the sums are off, and what they should explain; (N, K) each."""
    base = outputs_of(network, background).mean(0)  # (K,)
    explained = outputs_of(network, x) - base  # (N, K)
    return np.abs(values.sum(1) - explained), np.abs(explained)


def _prepared(
    model: nn.Module, x: torch.Tensor, background: torch.Tensor, output: str
) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network of its own that gives what is to be explained, and checked data in float64."""
    check_choice("output", output, ["logit", "probability"])
    device, _ = device_and_dtype(model)
    for name, data in (("x", x), ("background", background)):
        if not isinstance(data, torch.Tensor):
            raise TypeError(f"{name} must be a torch.Tensor; got {type(data).__name__}.")
        if data.dim() < 2 or len(data) == 0:
            raise ValueError(
                f"{name} must have shape (N, ...) with N >= 1; got {tuple(data.shape)}."
            )
        check_finite(name, data)
    if x.shape[1:] != background.shape[1:]:
        raise ValueError(
            f"background must have examples of the shape of those of x, {tuple(x.shape[1:])}; got "
            f"{tuple(background.shape[1:])}."
        )
    x, background = x.detach().to(device).double(), background.detach().to(device).double()
    twin = clone_model(model)
    if prune.is_pruned(twin):
        remove_masks(twin)
    network = _ending(twin.double().eval().requires_grad_(False), output, x[:1])
    return network, x, background


def _ending(network: nn.Module, output: str, example: torch.Tensor) -> nn.Module:
    """`network` with its last sigmoid or softmax taken off, left or put on, as `output` asks."""
    parent, name, last = None, "", network
    while isinstance(last, nn.Sequential) and len(last):
        parent, (name, last) = last, list(last.named_children())[-1]
    squashes = parent is not None and isinstance(last, (nn.Sigmoid, nn.Softmax))
    if squashes and output == "logit":
        setattr(parent, name, nn.Identity())
    with torch.no_grad():
        scores = try_forward(network, example, "x")
    if scores.dim() != 2:
        raise ValueError(f"model must return (N, K); got {tuple(scores.shape)} for one example.")
    if squashes or output == "logit":
        return network
    return nn.Sequential(network, nn.Sigmoid() if scores.shape[1] == 1 else nn.Softmax(1)).eval()
