"""The loss around a minimum, along one or two random directions.

Figures 4 and 5 of the causal pruning paper show f(theta + alpha u1 + beta u2) for alpha and beta
in (-1, 1), with filter-normalised u1 and u2 and the height as log(1 + f) (appendix B, after Li et
al., NeurIPS 2018). Two directions out of n show little of a landscape: `flatness.py` says how sharp
it is on average over many. Directions are made in `directions.py`; its names and those of
`flatness.py` can be imported from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from tqdm.auto import tqdm

from causalprune_lib._random import own_stream
from causalprune_lib._validation import (
    check_choice,
    check_finite,
    check_int,
    check_positive,
    check_shape,
)
from causalprune_lib.diagnostics.hessian import Loss, Objective, kept_weights, mean_and_error
from causalprune_lib.dynamics.tangent import Batch
from causalprune_lib.nets.parameters import PRUNABLE_MODULES, ParameterLayout
from causalprune_lib.nets.training import device_and_dtype
from causalprune_lib.pruning.masks import Masks, clone_model, refresh

# ---- directions: Random directions in weight space that are comparable between networks.


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


# ---- flatness: Flatness without eigenvalues: the loss under random perturbations, and two things


@dataclass(frozen=True, eq=False)
class PerturbationFlatness:
    """How much the loss grows when the weights are shaken.

    Attributes
    ----------
    loss : float
        Mean loss of the network itself.
    increases : tensor (S,) of float64
        What each perturbation adds to it. An increase may be negative, or infinite.
    radius : float
        Norm of a filter's perturbation over the norm of the filter.
    """

    loss: float
    increases: torch.Tensor
    radius: float

    @property
    def mean(self) -> float:
        """Mean increase: the expected sharpness."""
        return float(self.increases.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean; NaN for one sample."""
        return mean_and_error(self.increases.tolist())[1]

    @property
    def maximum(self) -> float:
        """Largest increase met: a lower bound of the largest there is."""
        return float(self.increases.max())


def perturbation_flatness(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    radius: float = 0.1,
    samples: int = 30,
    biases: bool = False,
    masks: Masks | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> PerturbationFlatness:
    """Increase of the mean loss under random filter-normalised perturbations.

    Each filter is moved by `radius` times its norm, in a random direction. The perturbations are on
    the surface of the ball: in many dimensions almost all of a ball is there. Networks of one
    architecture meet the same perturbations, each scaled to its own filters, so differences between
    them are known better than the standard errors say. Where a ReLU network is rescaled filter by
    filter (`rescale_relu`), perturbations scale with it, and this measure does not change.

    Parameters
    ----------
    model, loss, batches, masks, dtype
        As for `Objective`. Pruned weights stay where they are.
    radius : float
        Relative size.
    samples : int
        S, perturbations.
    biases : bool
        Move parameters of one dimension too; see `filter_normalised_directions`.
    seed : int
        Of the perturbations.

    Raises
    ------
    ValueError
        As for `Objective`.
    FloatingPointError
        The loss of the network itself is not finite.

    Examples
    --------
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 2.0)
    >>> batch = (torch.ones(1, 1), torch.full((1, 1), 2.0))
    >>> shaken = perturbation_flatness(model, nn.functional.mse_loss, [batch], radius=0.5)
    >>> round(shaken.mean, 6), round(shaken.maximum, 6)  # the weight moves by 1, up or down
    (1.0, 1.0)
    """
    check_positive("radius", radius)
    objective = Objective(model, loss, batches, masks=masks, dtype=dtype, seed=seed)
    increases = []
    with torch.inference_mode(), objective.at_rest():
        centre = objective.mean_loss(objective.theta)
        if not math.isfinite(centre):
            raise FloatingPointError(f"the loss of the network must be finite; got {centre}.")
        seeds = own_stream(seed, "perturbations")
        for _ in range(check_int("samples", samples)):
            one = int(torch.randint(2**31, (1,), generator=seeds))
            direction = filter_normalised_directions(
                model, seed=one, n=1, masks=masks, biases=biases
            )[0]
            theta = objective.theta + radius * direction.to(objective.theta)
            increases.append(objective.mean_loss(theta) - centre)
    return PerturbationFlatness(centre, torch.tensor(increases, dtype=torch.float64), radius)


@torch.no_grad()
def rescale_relu(model: nn.Module, first: str, second: str, c: float) -> nn.Module:
    """A copy of `model` that computes the same function with other weights.

    Weights and biases of the layer `first` are multiplied by c, the weights of `second` divided by
    it. For c > 0, relu(c z) = c relu(z), so the output is unchanged where all that stands between
    the two layers treats its input so: ReLU, max- or mean-pooling, flattening, dropout; not batch
    normalisation, sigmoid or tanh; and where no other path leads around them. The Hessian changes:
    a minimum can be made as sharp as one likes.

    Parameters
    ----------
    model : nn.Module
        Left as it is; masks are kept in the copy.
    first, second : str
        Names of two linear or convolution layers, the second one fed by the first.
    c : float
        Above 0.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> twin = rescale_relu(model, "0", "2", 10.0)
    >>> x = torch.ones(1, 3)
    >>> torch.allclose(model(x), twin(x), atol=1e-5), torch.equal(model[0].weight, twin[0].weight)
    (True, False)
    """
    check_positive("c", c)
    twin = clone_model(model)
    layers = {name: m for name, m in twin.named_modules() if isinstance(m, PRUNABLE_MODULES)}
    for label, name in (("first", first), ("second", second)):
        check_choice(label, name, layers)
    if first == second:
        raise ValueError(f"first and second must be two layers; got {first!r} twice.")
    for parameter in layers[first].parameters(recurse=False):
        parameter.mul_(c)
    for leaf, parameter in layers[second].named_parameters(recurse=False):
        if leaf.removesuffix("_orig") == "weight":
            parameter.div_(c)
    refresh(twin)
    return twin


def sam_step(
    model: nn.Module,
    loss: Loss,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    *,
    rho: float = 0.05,
) -> float:
    """One step of sharpness-aware minimisation on `batch` = (x, y); returns the loss before it.

    The weights go up the gradient g by rho g / |g|, the gradient is taken there, the weights come
    back, and `optimizer` steps with that gradient. Costs two steps. Weights with a live mask have
    no gradient and stay pruned. Batch normalisation sees the batch twice.

    Examples
    --------
    At weight 1 of the loss w^2 the gradient is taken at 1.1: the step is 0.25 * 2.2.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 1.0)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    >>> batch = (torch.ones(1, 1), torch.zeros(1, 1))
    >>> sam_step(model, nn.functional.mse_loss, batch, optimizer, rho=0.1)
    1.0
    >>> round(model.weight.item(), 6)
    0.45
    """
    check_positive("rho", rho, allow_zero=True)
    x, y = batch
    optimizer.zero_grad()
    value = loss(model(x), y)
    value.backward()
    moved = [p for p in model.parameters() if p.grad is not None]
    before = [p.detach().clone() for p in moved]
    length = torch.stack([p.grad.norm() for p in moved]).norm()
    try:
        with torch.no_grad():
            for parameter in moved:
                parameter.add_(parameter.grad * (rho / length.clamp(min=1e-12)))
        optimizer.zero_grad()
        loss(model(x), y).backward()
    finally:
        with torch.no_grad():
            for parameter, old in zip(moved, before, strict=True):
                parameter.copy_(old)
    optimizer.step()
    return value.item()


# ---- landscape: The loss around a minimum, along one or two random directions.


@dataclass(frozen=True, eq=False)
class LossSlice:
    """The loss along a line through the weights.

    Attributes
    ----------
    alphas : tensor (A,) of float64
        Positions; 0 is the network itself, 1 is one direction away from it.
    loss : tensor (A,) of float64
        Mean loss there; infinite or NaN where it overflows.
    """

    alphas: torch.Tensor
    loss: torch.Tensor

    @property
    def log_loss(self) -> torch.Tensor:
        """log(1 + loss), the height of the paper's figures."""
        return self.loss.log1p()


@dataclass(frozen=True, eq=False)
class LossSurface:
    """The loss on a plane through the weights.

    Attributes
    ----------
    alphas : tensor (A,) of float64
        Positions along the first direction.
    betas : tensor (B,) of float64
        Positions along the second.
    loss : tensor (A, B) of float64
        Mean loss there; infinite or NaN where it overflows.
    """

    alphas: torch.Tensor
    betas: torch.Tensor
    loss: torch.Tensor

    @property
    def log_loss(self) -> torch.Tensor:
        """log(1 + loss), the height of the paper's figures."""
        return self.loss.log1p()


def loss_slice(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    direction: torch.Tensor | None = None,
    extent: float = 1.0,
    points: int = 51,
    seed: int = 0,
    masks: Masks | None = None,
    dtype: torch.dtype | None = None,
    progress: bool = True,
) -> LossSlice:
    """The loss at theta + alpha u for alpha from -extent to extent.

    Parameters
    ----------
    direction : tensor (P,), optional
        u, in the order of `ParameterLayout.of(model, which="all")`. Default: the first of
        `filter_normalised_directions(model, seed=seed, masks=masks)`.
    model, loss, batches, extent, points, seed, masks, dtype, progress
        As for `loss_surface`.

    Examples
    --------
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 2.0)
    >>> batch = (torch.ones(1, 1), torch.full((1, 1), 2.0))
    >>> u = torch.tensor([2.0])
    >>> cut = loss_slice(
    ...     model, nn.functional.mse_loss, [batch], direction=u, points=3, progress=False
    ... )
    >>> cut.alphas.tolist(), cut.loss.tolist()
    ([-1.0, 0.0, 1.0], [4.0, 0.0, 4.0])
    """
    directions = None if direction is None else direction[None]
    alphas = _positions(extent, points)
    objective, directions = _prepare(model, loss, batches, directions, 1, seed, masks, dtype)
    values = _walk(objective, directions, alphas[:, None], progress)
    return LossSlice(alphas, values)


def loss_surface(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    *,
    directions: torch.Tensor | None = None,
    extent: float = 1.0,
    points: int = 31,
    seed: int = 0,
    masks: Masks | None = None,
    dtype: torch.dtype | None = None,
    progress: bool = True,
) -> LossSurface:
    """The loss at theta + alpha u1 + beta u2, for alpha and beta from -extent to extent.

    Pruned weights stay where they are, all over the plane. To compare networks of one architecture,
    give them the same `seed`, data, `extent` and `points`.

    Parameters
    ----------
    model, loss, batches, dtype
        As for `Objective`. A CPU draws images in `torch.channels_last` about twice as fast.
    directions : tensor (2, P), optional
        u1 and u2, in the order of `ParameterLayout.of(model, which="all")`. Default:
        `filter_normalised_directions(model, seed=seed, masks=masks)`.
    extent : float
        Half the side of the square, in lengths of u1 and u2.
    points : int
        Points per side. An odd number has the network itself in the middle.
    seed : int
        Of the directions.
    masks : Masks, optional
        Pruned weights besides those that the model's own masks prune.
    progress : bool
        Show a bar.

    Returns
    -------
    LossSurface

    Raises
    ------
    ValueError
        As for `Objective`; also directions of another shape, or that would move a pruned weight.
    FloatingPointError
        The loss of the network itself is not finite.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> batch = (torch.eye(2), torch.zeros(2, 1))
    >>> options = {"directions": torch.eye(2), "points": 3, "progress": False}
    >>> surface = loss_surface(model, nn.functional.mse_loss, [batch], **options)
    >>> bool(torch.isclose(surface.loss[1, 1], model.weight.double().square().mean()))
    True
    """
    alphas = _positions(extent, points)
    objective, directions = _prepare(model, loss, batches, directions, 2, seed, masks, dtype)
    pairs = torch.cartesian_prod(alphas, alphas)  # (A B, 2)
    values = _walk(objective, directions, pairs, progress)
    return LossSurface(alphas, alphas.clone(), values.reshape(points, points))


def _positions(extent: float, points: int) -> torch.Tensor:
    extent = check_positive("extent", extent)
    return torch.linspace(-extent, extent, check_int("points", points, minimum=2)).double()


def _prepare(
    model, loss, batches, directions, n: int, seed: int, masks, dtype
) -> tuple[Objective, torch.Tensor]:
    """The loss as a function, and `n` directions (n, P) of its type."""
    objective = Objective(model, loss, batches, masks=masks, dtype=dtype, seed=seed)
    if directions is None:
        directions = filter_normalised_directions(model, seed=seed, n=n, masks=masks)
    check_shape("directions", directions, (n, objective.layout.size))
    check_finite("directions", directions)
    directions = directions.to(objective.theta)
    moved = int((directions[:, ~objective.kept] != 0).any(0).sum())
    if moved:
        raise ValueError(f"directions must be zero at pruned weights; {moved} of them would move.")
    return objective, directions


def _walk(
    objective: Objective, directions: torch.Tensor, steps: torch.Tensor, progress: bool
) -> torch.Tensor:
    """Mean loss (S,) at theta + steps @ directions, for `steps` (S, n)."""
    losses = []
    with torch.inference_mode(), objective.at_rest():
        centre = objective.mean_loss(objective.theta)
        if not math.isfinite(centre):
            raise FloatingPointError(f"the loss of the network must be finite; got {centre}.")
        for step in tqdm(steps, unit="point", disable=not progress, leave=False):
            theta = objective.theta + step.to(directions) @ directions
            losses.append(objective.mean_loss(theta))
    return torch.tensor(losses, dtype=torch.float64)
