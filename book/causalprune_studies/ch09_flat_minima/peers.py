"""PyHessian, as the paper used it, and hessian-eigenthings, on the weights that are left."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

import torch
from torch import nn

from causalprune_lib.diagnostics.curvature import Curvature, rayleigh_quotients
from causalprune_lib.diagnostics.hessian import HessianOperator, Objective
from causalprune_lib.dynamics.tangent import Batch, Loss


def by_pyhessian(
    model: nn.Module, loss: Loss, batches: Iterable[Batch], *, k: int, tol: float = 1e-3
) -> Curvature:
    """The k eigenvalues of largest size by PyHessian's power iteration.

    It stops where one iteration changes an estimate by less than `tol` of it.
    """
    import pyhessian

    hessian = HessianOperator(model, loss, batches, dtype=torch.float32)
    objective = hessian.objective
    network = OneVector(objective)
    with objective.at_rest(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*create_graph=True")
        on_gpu = objective.device.type == "cuda"
        peer = pyhessian.hessian(network, loss, dataloader=objective.batches, cuda=on_gpu)
        product = peer.dataloader_hv_product

        def counted(v):
            hessian.n_products += 1
            return product(v)

        peer.dataloader_hv_product = counted
        _, vectors = peer.eigenvalues(maxIter=1000, tol=tol, top_n=k)
        network.weights_left.grad = None  # breaks the circle that backward(create_graph) leaves
    return _curvature(hessian, torch.stack([parts[0].detach() for parts in vectors]), k)


def by_eigenthings(
    model: nn.Module, loss: Loss, batches: Iterable[Batch], *, k: int, tol: float = 1e-3
) -> Curvature:
    """The k largest eigenvalues by the Lanczos method of hessian-eigenthings, without restarts."""
    import hessian_eigenthings as peer

    hessian = HessianOperator(model, loss, batches)
    objective = hessian.objective

    def loss_of(network: nn.Module, batch: Batch) -> torch.Tensor:
        share = len(batch[0]) / objective.n_examples  # the peer gives every batch one weight
        return len(objective.batches) * share * loss(network(batch[0]), batch[1])

    with objective.at_rest():
        operator = peer.HessianOperator(OneVector(objective), objective.batches, loss_of)
        steps = min(max(4 * k, 20), hessian.size)
        while True:  # it cannot go on from where it stopped
            found = peer.lanczos(
                operator, k=k, max_iter=steps, tol=tol, reorthogonalize=True, which="LA", seed=0
            )
            hessian.n_products += found.iterations
            if bool(found.converged.all()) or found.iterations < steps or steps == hessian.size:
                break
            steps = min(2 * steps, hessian.size)
    return _curvature(hessian, found.eigenvectors, k)


class OneVector(nn.Module):
    """A network as a function of one parameter, the vector of its weights that are left.

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
        self.weights_left = nn.Parameter(objective.start.clone())  # (n,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The network's output."""
        theta = self.objective.full(self.weights_left, base=self.objective.theta)
        return self.objective.output(self.objective.named(theta), x)


def _curvature(hessian: HessianOperator, vectors: torch.Tensor, k: int) -> Curvature:
    """Our own eigenvalues and residuals of the eigenvectors (k, n) that a peer has found."""
    unit = nn.functional.normalize(vectors.double(), dim=1)
    values, residuals = rayleigh_quotients(hessian, unit, k)
    return Curvature(values, residuals, math.nan, math.nan, hessian.size, hessian.n_products)
