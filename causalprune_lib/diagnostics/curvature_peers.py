"""Two other libraries on the same Hessian: PyHessian, as in the paper, and hessian-eigenthings.

Both get the network as a module whose one parameter is the vector of the weights left, so they see
the same function, coordinates and examples as `top_eigenvalues`, and none of the user's parameters.
They are imported where they are used and need not be installed for anything else.
"""

from __future__ import annotations

import importlib
import math
import warnings
from types import ModuleType

import torch
from torch import nn

from causalprune_lib.diagnostics.hessian import HessianOperator
from causalprune_lib.diagnostics.objective import Objective
from causalprune_lib.diagnostics.probing import mean_and_error

Found = tuple[torch.Tensor, tuple[float, float]]  # unit vectors (k, n); trace and its error


class OneVector(nn.Module):
    """The network of an objective as a function of one parameter, the vector of weights left.

    Examples
    --------
    >>> batch = (torch.eye(2), torch.zeros(2, 1))
    >>> objective = Objective(nn.Linear(2, 1), nn.functional.mse_loss, [batch])
    >>> [tuple(parameter.shape) for parameter in OneVector(objective).parameters()]
    [(3,)]
    """

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective
        self.weights_left = nn.Parameter(objective.start.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The network's output."""
        objective = self.objective
        theta = objective.full(self.weights_left, base=objective.theta)
        return objective.output(objective.named(theta), x)


def by_pyhessian(
    hessian: HessianOperator, k: int, *, by: str, tol: float, trace_probes: int, max_products: int
) -> Found:
    """Power iteration and Hutchinson's trace of PyHessian 0.1, with its stopping rules.

    Both rules compare two successive estimates: the trace may stop by chance after a few probes.
    """
    objective = hessian.objective
    if objective.dtype != torch.float32:
        raise ValueError(
            f"dtype must be torch.float32 for method='pyhessian'; got {objective.dtype}."
        )
    pyhessian = _require("pyhessian", "PyHessian")
    network = OneVector(objective)
    with (
        objective.at_rest(),
        torch.inference_mode(False),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message=".*create_graph=True", category=UserWarning)
        peer = pyhessian.hessian(
            network,
            objective.loss,
            dataloader=objective.batches,
            cuda=objective.device.type == "cuda",
        )
        product = peer.dataloader_hv_product

        def counted(v):
            hessian.n_products += 1
            return product(v)

        peer.dataloader_hv_product = counted
        _, vectors = peer.eigenvalues(maxIter=max(2, max_products // k), tol=tol, top_n=k)
        samples = peer.trace(maxIter=trace_probes, tol=tol) if trace_probes else []
        network.weights_left.grad = None  # breaks the circle that backward(create_graph) leaves
    if not all(math.isfinite(sample) for sample in samples):
        raise FloatingPointError("PyHessian's trace must be finite; got NaN or infinity.")
    trace = mean_and_error(samples) if samples else (math.nan, math.nan)
    found = torch.stack([pieces[0].detach() for pieces in vectors]).double()
    return nn.functional.normalize(found, dim=1), trace


def by_eigenthings(
    hessian: HessianOperator, k: int, *, by: str, tol: float, trace_probes: int, max_products: int
) -> Found:
    """Lanczos without restarts and Hutchinson's trace of hessian-eigenthings 1.0."""
    peer = _require("hessian_eigenthings", "hessian-eigenthings")
    objective, n_batches = hessian.objective, len(hessian.objective.batches)

    def loss_of(network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        share = len(batch[0]) / objective.n_examples  # the peer gives every batch one weight
        return n_batches * share * objective.loss(network(batch[0]), batch[1])

    with objective.at_rest(), torch.inference_mode(False), torch.enable_grad():
        operator = peer.HessianOperator(OneVector(objective), objective.batches, loss_of)
        steps = min(max(4 * k, 20), hessian.size)
        while True:  # it cannot go on from where it stopped
            found = peer.lanczos(
                operator,
                k=k,
                max_iter=steps,
                tol=tol,
                reorthogonalize=True,
                which="LA" if by == "algebraic" else "LM",
                seed=objective.seed,
            )
            hessian.n_products += found.iterations
            done = found.iterations < steps or steps == hessian.size
            if done or bool(found.converged.all()) or hessian.n_products + 2 * steps > max_products:
                break
            steps = min(2 * steps, hessian.size)
        trace = (math.nan, math.nan)
        if trace_probes:
            guess = peer.hutchinson(operator, num_samples=trace_probes, seed=objective.seed)
            hessian.n_products += trace_probes
            trace = guess.estimate, guess.stderr
    return nn.functional.normalize(found.eigenvectors.double(), dim=1), trace


def _require(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This method needs the package {package!r}: pip install {package}"
        ) from error
