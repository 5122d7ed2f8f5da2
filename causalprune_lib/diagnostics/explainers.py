"""Three ways to attribute the outputs of a network to its features; `attribution.py` chooses.

Each takes a network in evaluation mode that it may hook into, and data in the network's type.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from causalprune_lib.diagnostics.shapley import coalitions, shapley_of_worths

ROWS = 2**16  # inputs in one forward pass


@torch.no_grad()
def outputs_of(network: nn.Module, x: torch.Tensor) -> np.ndarray:
    """f(x), (N, K), in batches."""
    return torch.cat([network(part) for part in x.split(ROWS)]).cpu().numpy()


def explain_exactly(
    network: nn.Module, example: torch.Tensor, background: torch.Tensor
) -> np.ndarray:
    """Shapley values (F, K) of one example."""
    present = torch.from_numpy(coalitions(example.numel())).to(example.device)  # (2^F, F)
    flat, rest = example.flatten(), background.flatten(1)
    worths = []
    for part in present.split(max(1, ROWS // len(rest))):
        mixed = torch.where(part[:, None], flat, rest)  # (coalitions, B, F)
        found = outputs_of(network, mixed.reshape(-1, *example.shape))
        worths.append(found.reshape(len(part), len(rest), -1).mean(1))
    return shapley_of_worths(np.concatenate(worths))


def explain_by_kernel(
    network: nn.Module, x: torch.Tensor, background: torch.Tensor, seed: int, samples: int
) -> np.ndarray:
    import shap

    def f(rows: np.ndarray) -> np.ndarray:
        inputs = torch.from_numpy(np.ascontiguousarray(rows)).to(x)
        return outputs_of(network, inputs.reshape(-1, *x.shape[1:]))

    with _numpy_seeded(seed):
        explainer = shap.KernelExplainer(f, background.flatten(1).cpu().numpy())
        return explainer.shap_values(
            x.flatten(1).cpu().numpy(), nsamples=samples, l1_reg=False, silent=True
        )


def explain_deep(network: nn.Module, x: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    import shap

    if any(isinstance(module, (nn.Softmax, nn.LogSoftmax)) for module in network.modules()):
        raise ValueError(
            "method 'deep' has no rule for a softmax that is right; explain output 'logit', or "
            "take 'kernel' or 'exact'."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="unrecognized nn.Module")
        try:
            explainer = shap.DeepExplainer(network, background)
            values = explainer.shap_values(x, check_additivity=False)  # (N, ..., K)
        except UserWarning as warning:
            layer = str(warning).rpartition(" ")[2]
            raise ValueError(
                f"method 'deep' has no rule for a layer {layer}; take 'kernel' or 'exact'."
            ) from warning
        except RuntimeError as error:
            raise ValueError(
                "method 'deep' must have a network that uses each of its layers once in a pass; a "
                f"{type(network).__name__} failed with: {error}"
            ) from error
    return np.asarray(values, dtype=float).reshape(len(x), x[0].numel(), -1)


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """shap draws from NumPy's global generator: seed it for a block, then put it back."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
