r"""How close is the pruned network to the dense one, as a function of the input?

Theorem 3.1 of the LEGCNet paper (arXiv:2308.09955) says that a wide enough dense network f^d and
its pruned version f^s differ by at most epsilon over the unit ball, with probability 1 - delta:

.. math:: \sup_{\|x\| \le 1} \| f^s(x) - f^d(x) \|_2 \le \epsilon
   \quad \text{if} \quad h \ge \max\{K_1^{1/\alpha}, (K_2/\epsilon)^{1/\alpha},
   (K_3/\delta)^{1/\alpha}, K_4 + K_5 \log(1/\delta)\}.

It has no proof there. It is taken from Qian and Klabjan (ICML 2021, arXiv:2105.10065), who study
random and magnitude pruning of networks with independent random weights, and establish that pruned
networks within any given distance exist. A mask read from a training run is neither, and a trained
network has no independent weights. The constants are not given, and nothing limits how many weights
the mask may take: for a mask that takes all, or a fixed fraction at random, the distance does not
fall with the width (chapter "How close is close?"). Its one other ingredient is lemma 3.2, that the
sigmoid is Lipschitz, shown with a constant of at most 1.

Two things are left to do: bound the distance of two given networks by their weights
(`removal_bound`), and measure it (`sup_distance`, in `distance.py`; it can be imported from here).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import nn

from causalprune_lib._validation import check_choice, check_finite, check_int, check_positive
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import in_mode, try_forward

# ---- distance: The distance of two networks as functions: measured over inputs, and searched for


@dataclass(frozen=True, eq=False)
class SupDistance:
    """The largest distance found between the outputs of two networks.

    Attributes
    ----------
    value : float
        max over x of the 2-norm of f(x) - g(x): a lower bound on the supremum.
    at : tensor (...)
        Where.
    measured : float
        The largest over the given inputs alone, before any search.
    mean : float
        The mean over the given inputs.
    """

    value: float
    at: torch.Tensor = field(repr=False)
    measured: float
    mean: float


def sup_distance(
    model: nn.Module,
    other: nn.Module,
    x: torch.Tensor,
    *,
    steps: int = 0,
    box: tuple[float, float] | None = None,
    radius: float | None = None,
    starts: int = 16,
    rate: float = 0.1,
) -> SupDistance:
    """Measure how far two networks are apart, and search for where they are farthest.

    Parameters
    ----------
    model, other : nn.Module
        Networks that map (N, ...) to (N, K), masked or not; compared in evaluation mode.
    x : torch.Tensor, shape (N, ...)
        Inputs, on the device of `model`.
    steps : int
        Steps of gradient ascent on the distance; 0 only measures.
    box : (low, high), optional
        Where to search: every feature from `low` to `high`.
    radius : float, optional
        Where to search instead: the ball of this radius about zero, as in theorem 3.1.
    starts : int
        How many of the inputs to start from: those at which the networks are farthest apart, once
        all inputs have been moved into the box or ball.
    rate : float
        Length of the first step, as a share of the size of the box or ball; the last is a hundredth
        of it.

    Returns
    -------
    SupDistance
        With `box` or `radius`, `value` is for points in there alone, the given inputs among them,
        moved to the nearest point in there.

    Raises
    ------
    ValueError
        If the networks' outputs differ in shape, or a search has not exactly one of `box` and
        `radius`.

    Notes
    -----
    The search climbs from where it starts. Data lie in one corner of a ball about zero: add points
    in other directions to `x`, or the search may not leave that corner.

    Examples
    --------
    >>> f, g = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    >>> f.weight.data[:], g.weight.data[:] = 3.0, 1.0
    >>> x = torch.tensor([[0.1], [0.5]])
    >>> sup_distance(f, g, x).value, round(sup_distance(f, g, x, steps=50, box=(-2, 2)).value, 4)
    (1.0, 4.0)
    """
    check_int("steps", steps, minimum=0)
    check_int("starts", starts)
    check_positive("rate", rate)
    if not isinstance(x, torch.Tensor) or x.dim() < 2 or len(x) == 0:
        got = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
        raise ValueError(f"x must be a tensor (N, ...) with N >= 1; got {got}.")
    check_finite("x", x)
    x = x.detach()
    with in_mode(model, training=False), in_mode(other, training=False), torch.no_grad():
        shapes = [tuple(try_forward(net, x[:1], "x").shape) for net in (model, other)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"other must have outputs of shape {shapes[0]}; got {shapes[1]}.")
    project = _region(box, radius) if steps or box is not None or radius is not None else None
    with in_mode(model, training=False), in_mode(other, training=False):
        with torch.no_grad():
            found = _distance(model, other, x)  # (N,)
            measured, mean = float(found.max()), float(found.mean())
            if project is None:
                best = int(found.argmax())
                return SupDistance(measured, x[best].detach().clone(), measured, mean)
            moved = project(x)
            there = _distance(model, other, moved)
            first = there.argsort(descending=True)[:starts]
        best, at, points = there[first[0]].item(), moved[first[0]], moved[first]
        size = radius if box is None else (box[1] - box[0]) / 2 * points[0].numel() ** 0.5
        for step in range(steps + 1):
            points = points.detach().requires_grad_()
            with torch.enable_grad():
                distances = _distance(model, other, points)
                total = distances.sum()
            top = int(distances.argmax())
            if distances[top].item() > best:
                best, at = distances[top].item(), points[top]
            if step == steps:
                break
            (slope,) = torch.autograd.grad(total, points)
            steepness = slope.flatten(1).norm(dim=1).clamp(min=torch.finfo(slope.dtype).tiny)
            length = rate * size * 0.01 ** (step / max(steps - 1, 1))
            shift = length * slope / steepness.view(-1, *[1] * (slope.dim() - 1))
            with torch.no_grad():
                points = project(points + shift)
    return SupDistance(best, at.detach().clone(), measured, mean)


def _region(
    box: tuple[float, float] | None, radius: float | None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """What takes inputs (N, ...) to the nearest ones in the box or ball."""
    if (box is None) == (radius is None):
        raise ValueError(
            f"a search must have either box or radius; got box={box!r} and radius={radius!r}."
        )
    if radius is not None:
        most = check_positive("radius", radius)

        def into_ball(x: torch.Tensor) -> torch.Tensor:
            norm = x.flatten(1).norm(dim=1).clamp(min=torch.finfo(x.dtype).tiny)
            shrink = (most / norm).clamp(max=1)
            return x * shrink.view(-1, *[1] * (x.dim() - 1))

        return into_ball
    low, high = box
    if not low < high:
        raise ValueError(f"box must be (low, high) with low < high; got {box!r}.")
    return lambda x: x.clamp(low, high)


def _distance(model: nn.Module, other: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """2-norm (N,) of the difference of the outputs."""
    difference = model(x) - other(x)
    return difference.flatten(1).norm(dim=1)


# ---- approximation: How close is the pruned network to the dense one, as a function of the input


LIPSCHITZ = {"identity": 1.0, "relu": 1.0, "sigmoid": 0.25, "softmax": 0.5, "tanh": 1.0}


ACTIVATIONS = {
    nn.Identity: "identity",
    nn.ReLU: "relu",
    nn.Sigmoid: "sigmoid",
    nn.Softmax: "softmax",
    nn.Tanh: "tanh",
}


INERT = (nn.Flatten, nn.Dropout)  # in evaluation mode


def lipschitz_constant(activation: str) -> float:
    r"""The smallest L with :math:`\|\sigma(x) - \sigma(y)\|_2 \le L \|x - y\|_2`.

    Parameters
    ----------
    activation : {"identity", "relu", "sigmoid", "softmax", "tanh"}

    Notes
    -----
    *The sigmoid has L = 1/4.* Its derivative is :math:`\sigma' = \sigma (1 - \sigma)`, and for any
    number s

    .. math:: s (1 - s) = \tfrac14 - \left(s - \tfrac12\right)^2 \le \tfrac14.

    By the mean value theorem :math:`|\sigma(x) - \sigma(y)| = \sigma'(z) |x - y|` for a z between x
    and y, so L = 1/4 will do. No smaller one will: at z = 0 the sigmoid is 1/2 and the derivative
    is 1/4, so that the ratio comes as near to 1/4 as one likes for x, y near 0. For a vector the
    same holds entry by entry. (Lemma 3.2 of the LEGCNet paper bounds the factors by 1 each and gets
    L <= 1: true, and four times too large for every layer that a signal passes.)

    *The softmax has L <= 1/2*, reached for two classes: its Jacobian diag(p) - p p^T is symmetric,
    and row i has absolute values that add up to 2 p_i (1 - p_i) <= 1/2.

    Examples
    --------
    >>> lipschitz_constant("sigmoid")
    0.25
    """
    return LIPSCHITZ[check_choice("activation", activation, LIPSCHITZ)]


@dataclass(frozen=True)
class RemovalBound:
    """An upper bound on the distance of two networks.

    Attributes
    ----------
    value : float
        At least the 2-norm of f(x) - g(x), for every x with a 2-norm of at most `radius`.
    radius : float
    frame : pandas.DataFrame
        One row per linear layer: `layer`; `changed`, weights that differ; `weight_change` and
        `bias_change`, 2-norms of what differs (for the weights, as a matrix); `input_norm`, the
        most that the dense network sends into the layer; `gain`, by how much the rest of the other
        network can stretch a change of the layer's sums; `share` = gain (weight_change input_norm +
        bias_change). The shares add up to `value`.
    """

    value: float
    radius: float
    frame: pd.DataFrame = field(repr=False)


def removal_bound(model: nn.Module, other: nn.Module, *, radius: float) -> RemovalBound:
    r"""Bound the distance of a network and its pruned version by the weights that went.

    Change one layer after the other, from the first to the last. With W_l, b_l the dense layer,
    W'_l, b'_l the other one, and a_{l-1} what the dense network sends into it,

    .. math:: \|f(x) - f'(x)\| \le \sum_l G_l \left( \|W_l - W'_l\| \, \|a_{l-1}\|
              + \|b_l - b'_l\| \right), \qquad G_l = L_l \prod_{i > l} L_i \|W'_i\|.

    For one hidden layer of sigmoids, inputs with norm at most R, H neurons and linear outputs:

    .. math:: \|f(x) - f'(x)\| \le \tfrac14 \|W'_2\| \, \|\Delta W_1\| \, R
              + \|\Delta W_2\| \sqrt H.

    Parameters
    ----------
    model, other : nn.Module
        Chains of linear layers and activations of the same shapes: the dense network and the
        pruned one, masked or not, retrained or not.
    radius : float
        R, the largest 2-norm of an input.

    Returns
    -------
    RemovalBound

    Raises
    ------
    ValueError
        If a layer is not linear or an activation of `lipschitz_constant`, the two networks have
        other shapes, or a weight is not finite.

    Notes
    -----
    Matrix norms are spectral. a_l is bounded by sqrt(H) after sigmoids and tanh, else by the layer
    before. The bound holds always; how loose it is, `sup_distance` shows from below.

    Examples
    --------
    >>> from causalprune_lib.nets.models import MLP
    >>> dense, pruned = MLP([2, 1, 1], activation="sigmoid"), MLP([2, 1, 1], activation="sigmoid")
    >>> _ = pruned.load_state_dict(dense.state_dict())
    >>> removal_bound(dense, pruned, radius=1).value
    0.0
    >>> dense.fc1.weight.data = torch.tensor([[4.0, 3.0]])
    >>> pruned.fc1.weight.data = torch.tensor([[4.0, 0.0]])
    >>> dense.fc2.weight.data[:] = pruned.fc2.weight.data[:] = 2.0
    >>> removal_bound(dense, pruned, radius=1).value  # 1/4 * 2 * 3
    1.5
    """
    check_positive("radius", radius)
    layers = list(_layers(model, "model"))
    others = list(_layers(other, "other"))
    shapes = [[(tuple(w.shape), kind) for _, w, _, kind in chain] for chain in (layers, others)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"other must have the layers of model, {shapes[0]}; got {shapes[1]}.")
    rows, size = [], float(radius)
    for (name, weight, bias, kind), (_, weight2, bias2, _) in zip(layers, others, strict=True):
        rows.append(
            {
                "layer": name,
                "changed": int((weight != weight2).sum()),
                "weight_change": _norm(weight - weight2),
                "bias_change": float((bias - bias2).norm()),
                "input_norm": size,
                "gain": LIPSCHITZ[kind],
            }
        )
        if kind in ("sigmoid", "tanh"):
            size = math.sqrt(len(weight))
        elif kind == "softmax":
            size = 1.0
        else:
            size = _norm(weight) * size + float(bias.norm())
    for i in range(len(rows) - 1, 0, -1):  # a change of layer i - 1 passes through layer i
        rows[i - 1]["gain"] *= rows[i]["gain"] * _norm(others[i][1])
    frame = pd.DataFrame(rows)
    frame["share"] = frame["gain"] * (
        frame["weight_change"] * frame["input_norm"] + frame["bias_change"]
    )
    return RemovalBound(float(frame["share"].sum()), float(radius), frame)


def _norm(weight: torch.Tensor) -> float:
    """Spectral norm of a matrix."""
    return float(torch.linalg.matrix_norm(weight, 2))


def _layers(model: nn.Module, title: str) -> Iterator[tuple[str, torch.Tensor, torch.Tensor, str]]:
    """Name, weight in use, bias and activation of each linear layer of a chain, in float64."""
    values = ParameterLayout.of(model).tensors(model)  # masks applied
    pending: list = []
    for name, module in _leaves(model):
        if isinstance(module, nn.Linear):
            if pending:
                yield (*pending, "identity")
            weight = values[f"{name}.weight" if name else "weight"].double()
            bias = weight.new_zeros(len(weight))
            if module.bias is not None:
                bias = module.bias.detach().double()
            for part, tensor in (("weight", weight), ("bias", bias)):
                check_finite(f"{title} {name}.{part}", tensor)
            pending = [name or "(model)", weight, bias]
        elif type(module) in ACTIVATIONS and pending:
            if ACTIVATIONS[type(module)] != "identity":
                yield (*pending, ACTIVATIONS[type(module)])
                pending = []
        elif not isinstance(module, INERT):
            raise ValueError(
                f"{title} must be a chain of linear layers, each with at most one of the "
                f"activations {', '.join(LIPSCHITZ)}; got {name!r}, a {type(module).__name__}."
            )
    if pending:
        yield (*pending, "identity")


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested `nn.Sequential`s in the order in which they are called."""
    if not isinstance(model, nn.Sequential):
        yield "", model
        return
    for name, child in model.named_children():
        for inner, leaf in _leaves(child):
            yield f"{name}.{inner}" if inner else name, leaf
