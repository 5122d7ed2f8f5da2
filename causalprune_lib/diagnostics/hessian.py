"""The Hessian of a network's loss, by its products with vectors.

A network with n weights has n^2 second derivatives: too many to store, and seldom needed. The
product H v is the derivative of the gradient along v and costs about as much as two gradients
(Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 1994). Whatever
`curvature.py` and `density.py` say about H, they say from such products.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from causalprune_lib._validation import check_finite, check_int, check_positive, check_shape
from causalprune_lib.diagnostics.derivatives import derivative, refuse_differentiable_once
from causalprune_lib.diagnostics.objective import Batch, Loss, Objective
from causalprune_lib.pruning.maskset import Masks


class HessianOperator:
    r"""The Hessian of the mean loss in the coordinates of the weights that are left.

    With M the diagonal matrix that keeps those weights, products with M H M are taken without the
    rows and columns that M makes zero: `H @ v` has length n, the number of weights left, and the
    spectrum has no zeros that pruning put there. With nothing pruned this is H itself.

    Parameters
    ----------
    model, loss, batches, which, masks, dtype, seed
        As for `Objective`. The weights are read when the operator is made; later changes of the
        model's weights are not seen.
    graph_gigabytes : float
        The gradient of a batch and the graph behind it are kept for the next products while all
        of them fit into about this much memory, and computed anew in each product otherwise. Kept
        graphs save about a third of the time.

    Attributes
    ----------
    objective : Objective
        The function whose Hessian this is.
    size : int
        n.
    n_products : int
        How many products have been taken.

    Raises
    ------
    ValueError
        As for `Objective`; also where no weight is left, and in a product where model or loss
        cannot be differentiated twice.
    FloatingPointError
        In a product: a loss, gradient or product that is not finite.

    Notes
    -----
    Autograd sees the smooth pieces of a function and none of its kinks. ReLU and max-pooling are
    piecewise linear and are accepted: H is that of the piece on which the weights lie, which is the
    Hessian wherever there is one. A loss that is itself piecewise linear (L1, hinge) has all of its
    own curvature in its kinks, so H then holds only what the layers of the network do together, and
    for a linear model it is zero.

    On a CPU, batches of about 250 examples are faster than one large batch, and images in
    `torch.channels_last` are faster still.

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
        which: str = "all",
        masks: Masks | None = None,
        dtype: torch.dtype | None = None,
        seed: int = 0,
        graph_gigabytes: float = 2.0,
    ):
        limit = 1e9 * check_positive("graph_gigabytes", graph_gigabytes, allow_zero=True)
        self.objective = Objective(
            model, loss, batches, which=which, masks=masks, dtype=dtype, seed=seed
        )
        if self.size == 0:
            raise ValueError(
                "model must have a weight that is neither pruned nor frozen; got "
                f"{self.objective.layout.size} weights, all of them pruned or frozen."
            )
        self.n_products = 0
        with torch.inference_mode(False):
            pieces = self.objective.named(self.objective.theta).items()
            self._leaves = {name: t.detach().clone().requires_grad_() for name, t in pieces}
            self._keep = self._graph_bytes() <= limit
        self._gradients: list[tuple[torch.Tensor, ...]] = []  # of each batch, with their graphs

    @property
    def size(self) -> int:
        """n, the number of weights left."""
        return self.objective.size

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.size, self.size

    def __matmul__(self, v: torch.Tensor) -> torch.Tensor:
        """H v for a vector `v` (n,), in the dtype and on the device of the computation."""
        objective, leaves = self.objective, list(self._leaves.values())
        check_shape("v", v, (self.size,))
        along = [t.detach() for t in objective.named(objective.full(v)).values()]
        total = [torch.zeros_like(t) for t in leaves]
        for number, batch in enumerate(objective.batches):
            gradient = self._gradient(number)
            for part, product in zip(total, self._times(gradient, along), strict=True):
                part.add_(product, alpha=len(batch[0]) / objective.n_examples)
        self.n_products += 1
        product = torch.cat([part.reshape(-1) for part in total])[objective.index]
        if not bool(torch.isfinite(product).all()):
            bad = int((~torch.isfinite(product)).sum())
            raise FloatingPointError(
                f"the Hessian's product with a vector must be finite; got {bad} NaN or infinite "
                f"values of {self.size}. The loss overflows at these weights."
            )
        return product

    def to_scipy(self):
        """This Hessian as a `scipy.sparse.linalg.LinearOperator` on float64 vectors."""
        from scipy.sparse.linalg import LinearOperator

        def product(v):
            return (self @ torch.from_numpy(v.reshape(-1))).double().cpu().numpy()

        return LinearOperator(self.shape, matvec=product, rmatvec=product, dtype="float64")

    def check_loss_curves(self) -> None:
        """Raise if the loss is linear in the network's output; called where H v is zero.

        A zero Hessian can be true: of a collapsed network, or where the loss has underflown.
        The loss itself is asked at the outputs and near zero, where it cannot have underflown.
        """
        x, y = self.objective.batches[0]
        with self.objective.at_rest(), torch.no_grad():
            output = self.objective.output(self._leaves, x)
        for scale in (1.0, 0.01):
            at = (scale * output).clone().requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(self.objective.loss(at, y), at, create_graph=True)
            along = torch.linspace(-1.0, 2.0, at.numel()).reshape(at.shape).to(at)
            if any(bool(product.any()) for product in derivative([slope], [at], [along])):
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
        objective, batch = self.objective, self.objective.batches[number]
        with torch.inference_mode(False), torch.enable_grad(), objective.at_rest():
            value = objective.batch_loss(self._leaves, batch)
        if not value.requires_grad:
            raise ValueError(
                "loss must be differentiable in the weights; got a value without a gradient."
            )
        if not bool(torch.isfinite(value)):
            raise FloatingPointError(f"the loss of batch {number} must be finite; got {value}.")
        gradient = torch.autograd.grad(
            value, list(self._leaves.values()), create_graph=True, materialize_grads=True
        )
        if number == 0 and self.n_products == 0:
            refuse_differentiable_once(gradient)
        if self._keep:
            self._gradients.append(gradient)
        return gradient

    def _times(self, gradient, along) -> tuple[torch.Tensor, ...]:
        return derivative(gradient, list(self._leaves.values()), along)

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


def exact_hessian(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    which: str = "all",
    masks: Masks | None = None,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    max_size: int = 3000,
) -> torch.Tensor:
    """Every entry of the Hessian (n, n) of a small network: the ground truth for the estimates.

    One product per column. Parameters and errors are those of `HessianOperator`.

    Parameters
    ----------
    max_size : int
        Largest n that is accepted; n products and n^2 numbers are needed.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> batch = (torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1))
    >>> exact_hessian(model, nn.functional.mse_loss, [batch])
    tensor([[1., 0.],
            [0., 4.]], dtype=torch.float64)
    """
    hessian = HessianOperator(
        model, loss, batches, which=which, masks=masks, dtype=dtype, seed=seed
    )
    return dense(hessian, max_size=max_size)


def dense(hessian: HessianOperator, *, max_size: int = 3000) -> torch.Tensor:
    """Every entry (n, n) of `hessian`, exactly symmetric."""
    if hessian.size > check_int("max_size", max_size):
        raise ValueError(
            f"model must have at most {max_size} weights left for the exact Hessian; got "
            f"{hessian.size}. Raise max_size, or use top_eigenvalues."
        )
    eye = torch.eye(hessian.size, dtype=hessian.objective.dtype, device=hessian.objective.device)
    matrix = torch.stack([hessian @ row for row in eye])
    check_finite("the Hessian", matrix)
    return (matrix + matrix.T) / 2
