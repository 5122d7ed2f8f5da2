"""The Hessian of a network's loss, by its products with vectors.

The product H v is the derivative of the gradient along v and costs about as much as two gradients
(Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 1994). Whatever
`curvature.py` says about H, it says from such products.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from causalprune_lib._random import seeded
from causalprune_lib._validation import check_int, check_shape
from causalprune_lib.dynamics.tangent import Batch, FlatNetwork, Loss, as_batches
from causalprune_lib.nets.parameters import masked
from causalprune_lib.nets.training import device_and_dtype, in_mode

GRAPH_BYTES = 2e9  # the gradients' graphs are kept for the next product while they take less
MOST_DENSE = 3000  # weights, of a Hessian that is written down
NOT_TWICE = ("differentiate twice", "derivative for", "not implemented")  # how PyTorch says it


class HessianOperator:
    """The Hessian of a network's mean loss, in the coordinates of the weights that are left.

    `hessian @ v` has length n, the number of weights left, and the spectrum has no zeros that
    pruning put there.

    Autograd sees the smooth pieces of a function and none of its kinks. With ReLU and max-pooling H
    is that of the piece on which the weights lie, which is the Hessian wherever there is one. A
    loss that is piecewise linear in the output (L1, hinge) has its own curvature in its kinks: H
    holds only what the layers do together, and for a linear model it is zero.

    Parameters
    ----------
    model : nn.Module
        Its weights are read when the operator is made. Weights that its own masks prune and frozen
        parameters are constants. It is used in evaluation mode, so batch normalisation takes its
        running statistics, and left as it was.
    loss : callable
        loss(output, target) -> scalar tensor, the mean over the examples of a batch.
    batches : iterable of (x, y)
        The data, read once; each batch counts by its number of examples. On a CPU, batches of about
        250 examples are fastest, and images in `torch.channels_last`.
    dtype : torch.float32 or torch.float64, optional
        Of the computation; by default that of the model.
    seed : int
        For a model, or a data loader, that draws random numbers.

    Raises
    ------
    ValueError
        No weight left, or one that is not finite; model or loss cannot be differentiated twice.
    FloatingPointError
        A loss or a product that is not finite.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> batch = (torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1))
    >>> hessian = HessianOperator(model, nn.functional.mse_loss, [batch])
    >>> hessian @ torch.tensor([1.0, 1.0])  # the Hessian is diag(1, 4)
    tensor([1., 4.])
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batches: Iterable[Batch],
        *,
        dtype: torch.dtype | None = None,
        seed: int = 0,
    ):
        self.objective = Objective(model, loss, batches, dtype=dtype, seed=seed)
        self.size = self.objective.size  # n, the number of weights left
        if self.size == 0:
            raise ValueError(
                "model must have a weight that is neither pruned nor frozen; got "
                f"{self.objective.layout.size} weights, all of them pruned or frozen."
            )
        self.n_products = 0  # products taken so far
        with torch.inference_mode(False):
            tensors = self.objective.named(self.objective.theta).items()
            self._leaves = {name: t.detach().clone().requires_grad_() for name, t in tensors}
            self._keep_graphs = self._graph_bytes() <= GRAPH_BYTES
        self._gradients: list[tuple[torch.Tensor, ...]] = []  # of each batch, with their graphs

    def __matmul__(self, v: torch.Tensor) -> torch.Tensor:
        """H v for a vector `v` (n,), in the dtype and on the device of the computation."""
        objective, leaves = self.objective, list(self._leaves.values())
        check_shape("v", v, (self.size,))
        along = [t.detach() for t in objective.named(objective.full(v)).values()]
        total = [torch.zeros_like(t) for t in leaves]
        for number, batch in enumerate(objective.batches):
            gradient = self._gradient(number)
            for part, product in zip(total, _derivative(gradient, leaves, along), strict=True):
                part.add_(product, alpha=len(batch[0]) / objective.n_examples)
        self.n_products += 1
        product = torch.cat([part.reshape(-1) for part in total])[objective.index]  # (n,)
        if not bool(torch.isfinite(product).all()):
            bad = int((~torch.isfinite(product)).sum())
            raise FloatingPointError(
                f"the Hessian's product with a vector must be finite; got {bad} NaN or infinite "
                f"values of {self.size}. The loss overflows at these weights."
            )
        return product

    def dense(self) -> torch.Tensor:
        """Every entry (n, n), exactly symmetric, by n products."""
        if self.size > MOST_DENSE:
            raise ValueError(
                f"model must have at most {MOST_DENSE} weights left for the exact Hessian; got "
                f"{self.size}. top_eigenvalues needs products only."
            )
        eye = torch.eye(self.size, dtype=self.objective.dtype, device=self.objective.device)
        matrix = torch.stack([self @ unit for unit in eye])
        return (matrix + matrix.T) / 2

    def check_loss_curves(self) -> None:
        """Raise if the loss is linear in the network's output; called where H v is zero.

        A zero Hessian can be true: of a collapsed network, or where the loss has underflown. So the
        loss itself is asked, at the outputs and near zero, where it cannot have underflown.
        """
        x, y = self.objective.batches[0]
        with self.objective.at_rest(), torch.no_grad():
            output = self.objective.output(self._leaves, x)
        for scale in (1.0, 0.01):
            at = (scale * output).clone().requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(self.objective.loss(at, y), at, create_graph=True)
            along = torch.linspace(-1.0, 2.0, at.numel()).reshape(at.shape).to(at)
            if any(bool(product.any()) for product in _derivative([slope], [at], [along])):
                return
        raise ValueError(
            "loss must have second derivatives; got one that is linear in the network's output "
            "here, and the Hessian is zero. Its curvature, if any, sits in kinks (L1, hinge), "
            "which derivatives do not see."
        )

    def _gradient(self, number: int) -> tuple[torch.Tensor, ...]:
        """Gradient of batch `number`, with its graph."""
        if number < len(self._gradients):
            return self._gradients[number]
        with torch.inference_mode(False), torch.enable_grad(), self.objective.at_rest():
            value = self.objective.batch_loss(self._leaves, self.objective.batches[number])
        if not value.requires_grad:
            raise ValueError("loss must be differentiable in the weights; got a constant.")
        if not bool(torch.isfinite(value)):
            raise FloatingPointError(f"the loss of batch {number} must be finite; got {value}.")
        gradient = torch.autograd.grad(
            value, list(self._leaves.values()), create_graph=True, materialize_grads=True
        )
        if number == 0 and self.n_products == 0:
            _refuse_differentiable_once(gradient)
        if self._keep_graphs:
            self._gradients.append(gradient)
        return gradient

    def _graph_bytes(self) -> float:
        """Memory for the graphs of all batches: three times what the forward passes save."""
        objective, saved = self.objective, {}

        def count(tensor: torch.Tensor) -> None:
            storage = tensor.untyped_storage()  # held, so that its place is not used again
            saved[storage.data_ptr()] = storage

        hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda _: None)
        with torch.enable_grad(), objective.at_rest(), hooks:
            objective.batch_loss(self._leaves, objective.batches[0])
        size = sum(storage.nbytes() for storage in saved.values())
        return 3 * size * objective.n_examples / len(objective.batches[0][0])


class Objective(FlatNetwork):
    """The mean loss over all the data as a function of the weights that are left."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batches: Iterable[Batch],
        *,
        dtype: torch.dtype | None = None,
        seed: int = 0,
    ):
        self.seed = check_int("seed", seed, minimum=0)
        self.device, own = device_and_dtype(model)
        dtype = own if dtype is None else dtype
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64; got {dtype}.")
        super().__init__(model, loss, dtype)
        self.index = self.free.nonzero()[:, 0]  # (n,) the variables
        self.size, self.start = len(self.index), self.theta[self.index]  # n, and their values (n,)
        self.batches = self._read(batches)
        self.n_examples = sum(len(x) for x, _ in self.batches)

    def full(self, v: torch.Tensor, *, base: torch.Tensor | None = None) -> torch.Tensor:
        """All P weights, with `v` (n,) at the variables and `base` elsewhere (default: zeros)."""
        v = v.to(self.theta)
        if self.size == self.layout.size:
            return v
        base = torch.zeros_like(self.theta) if base is None else base
        return base.index_copy(0, self.index, v)

    def batch_loss(self, values: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """Loss of one batch with the weights `values`. To be called `at_rest`."""
        x, y = batch
        value = self.loss(self.output(values, x), y)
        if not isinstance(value, torch.Tensor) or value.dim() != 0:
            got = tuple(value.shape) if isinstance(value, torch.Tensor) else value
            raise ValueError(f"loss must return a tensor with one number; got {got}.")
        return value

    def mean_loss(self, theta: torch.Tensor) -> float:
        """Mean loss over all examples at the P weights `theta`. To be called `at_rest`."""
        values = self.named(theta)
        total = math.fsum(len(b[0]) * self.batch_loss(values, b).item() for b in self.batches)
        return total / self.n_examples

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Evaluation mode and a fixed seed in the block; afterwards all is as before.

        So is the product of mask and weight, which `torch.nn.utils.prune` makes anew in every pass.
        """
        products = [
            (module, hook._tensor_name, getattr(module, hook._tensor_name))
            for module, hook in masked(self.model)
        ]
        try:
            with (
                in_mode(self.model, training=False),
                seeded(self.seed, self.device),
                torch.autocast(self.device.type, enabled=False),
            ):
                yield
        finally:
            for module, name, product in products:
                setattr(module, name, product)

    def _read(self, batches: Iterable[Batch]) -> list[Batch]:
        with seeded(self.seed, self.device):  # a data loader draws from the global generator
            listed = as_batches(batches)
        for number, (x, y) in enumerate(listed):
            if len(x) == 0 or len(x) != len(y):
                raise ValueError(
                    "batches must hold pairs (x, y) of one length of at least 1; got lengths "
                    f"{len(x)} and {len(y)} in batch {number}."
                )
        return [tuple(self.cast(part.to(self.device)) for part in batch) for batch in listed]


def _derivative(
    values: Sequence[torch.Tensor], at: Sequence[torch.Tensor], along: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """The derivative of sum_i <values_i, along_i> by each of `at`; zeros where there is none."""
    pairs = [(value, v) for value, v in zip(values, along, strict=True) if value.requires_grad]
    if not pairs:
        return tuple(torch.zeros_like(t) for t in at)
    values, along = zip(*pairs, strict=True)
    try:
        return torch.autograd.grad(values, at, along, retain_graph=True, materialize_grads=True)
    except RuntimeError as error:
        if any(phrase in str(error) for phrase in NOT_TWICE):
            raise ValueError(
                f"model and loss must be differentiable twice; PyTorch says: {error}"
            ) from error
        raise


def _refuse_differentiable_once(values: Iterable[torch.Tensor]) -> None:
    """Raise if a function marked `once_differentiable` stands behind `values`.

    PyTorch would leave its part of the derivative out without a word.
    """
    todo = [value.grad_fn for value in values if value.grad_fn is not None]
    seen = set(todo)
    while todo:
        node = todo.pop()
        if node.name().endswith("Error"):
            raise ValueError(
                "model and loss must be differentiable twice; got a function that is marked "
                "once_differentiable."
            )
        ahead = {following for following, _ in node.next_functions if following is not None}
        todo.extend(ahead - seen)
        seen |= ahead
