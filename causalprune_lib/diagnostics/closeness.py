"""How close is the pruned network to the dense one, as a function of the input?

Theorem 3.1 of the LEGCNet paper (arXiv:2308.09955) says that a wide enough dense network and its
pruned version differ by at most epsilon over the unit ball, with probability 1 - delta. It is taken
from Qian and Klabjan (ICML 2021, arXiv:2105.10065), who study random and magnitude pruning of
networks with independent random weights; a mask read from a training run is neither. Two things are
left to do: bound the distance of two given networks by their weights, and measure it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import nn

from causalprune_lib._validation import check_finite, check_int, check_positive
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import in_mode, try_forward

# Lipschitz constants: the smallest L with |s(x) - s(y)| <= L |x - y|, in 2-norms. The sigmoid has
# 1/4, since s' = s (1 - s) = 1/4 - (s - 1/2)^2 (lemma 3.2 of the paper gets 1). The softmax has at
# most 1/2: its Jacobian diag(p) - p p^T has rows whose absolute values add up to 2 p_i (1 - p_i).
LIPSCHITZ = {nn.Identity: 1.0, nn.ReLU: 1.0, nn.Sigmoid: 0.25, nn.Softmax: 0.5, nn.Tanh: 1.0}
INERT = (nn.Flatten, nn.Dropout)  # in evaluation mode


@dataclass(frozen=True, eq=False)
class SupDistance:
    """The largest distance found between the outputs of two networks."""

    value: float  # max over x of the 2-norm of f(x) - g(x): a lower bound on the supremum
    at: torch.Tensor = field(repr=False)  # where, (...)
    measured: float  # the largest over the given inputs alone, before any search
    mean: float  # the mean over the given inputs


def sup_distance(
    model: nn.Module,
    other: nn.Module,
    x: torch.Tensor,
    *,
    steps: int = 0,
    box: tuple[float, float] | None = None,
    radius: float | None = None,
    starts: int = 16,
) -> SupDistance:
    """Measure how far two networks are apart, and search for where they are farthest.

    Parameters
    ----------
    model, other : nn.Module
        Networks that map (N, ...) to (N, K), masked or not; compared in evaluation mode.
    x : torch.Tensor, shape (N, ...)
        Inputs, on the device of `model`.
    steps : int
        Steps of gradient ascent on the distance, from the `starts` inputs at which the networks are
        farthest apart; 0 only measures. Data lie in one corner of a ball about zero: add points in
        other directions to `x`, or the search may not leave that corner.
    box, radius : (low, high) or float, optional
        Where to search: every feature from `low` to `high`, or the ball of this radius about zero.
        The inputs are moved to the nearest point in there, and `value` is for in there alone.

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
    if not isinstance(x, torch.Tensor) or x.dim() < 2 or len(x) == 0:
        got = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
        raise ValueError(f"x must be a tensor (N, ...) with N >= 1; got {got}.")
    check_finite("x", x)
    x = x.detach()
    project = _region(box, radius) if steps or box is not None or radius is not None else None
    with in_mode(model, training=False), in_mode(other, training=False):
        with torch.no_grad():
            shapes = [tuple(try_forward(net, x[:1], "x").shape) for net in (model, other)]
            if shapes[0] != shapes[1]:
                raise ValueError(f"other must have outputs of shape {shapes[0]}; got {shapes[1]}.")
            found = _distance(model, other, x)  # (N,)
            measured, mean = float(found.max()), float(found.mean())
            if project is None:
                at = x[int(found.argmax())]
                return SupDistance(measured, at.clone(), measured, mean)
            moved = project(x)
            there = _distance(model, other, moved)
            first = there.argsort(descending=True, stable=True)[:starts]
        best, at, inputs = there[first[0]].item(), moved[first[0]], moved[first]
        size = radius if box is None else (box[1] - box[0]) / 2 * inputs[0].numel() ** 0.5
        for step in range(steps + 1):
            inputs = inputs.detach().requires_grad_()
            with torch.enable_grad():
                distances = _distance(model, other, inputs)
            top = int(distances.argmax())
            if distances[top].item() > best:
                best, at = distances[top].item(), inputs[top]
            if step == steps:
                break
            (slope,) = torch.autograd.grad(distances, inputs, torch.ones_like(distances))
            steepness = slope.flatten(1).norm(dim=1).clamp(min=torch.finfo(slope.dtype).tiny)
            length = 0.1 * size * 0.01 ** (step / max(steps - 1, 1))  # a tenth to a thousandth
            shift = length * slope / steepness.view(-1, *[1] * (slope.dim() - 1))
            with torch.no_grad():
                inputs = project(inputs + shift)
    return SupDistance(best, at.detach().clone(), measured, mean)


def _region(
    box: tuple[float, float] | None, radius: float | None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """What takes inputs (N, ...) to the nearest ones in the box or ball."""
    if (box is None) == (radius is None):
        raise ValueError(
            f"a search must have either box or radius; got box={box!r} and radius={radius!r}."
        )
    if radius is None:
        low, high = box
        if not low < high:
            raise ValueError(f"box must be (low, high) with low < high; got {box!r}.")
        return lambda x: x.clamp(low, high)
    check_positive("radius", radius)

    def into_ball(x: torch.Tensor) -> torch.Tensor:
        norm = x.flatten(1).norm(dim=1).clamp(min=torch.finfo(x.dtype).tiny)
        shrink = (radius / norm).clamp(max=1)
        return x * shrink.view(-1, *[1] * (x.dim() - 1))

    return into_ball


def _distance(model: nn.Module, other: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """2-norm (N,) of the difference of the outputs."""
    return (model(x) - other(x)).flatten(1).norm(dim=1)


@dataclass(frozen=True)
class RemovalBound:
    """An upper bound on the distance of two networks."""

    value: float  # at least the 2-norm of f(x) - g(x), for every x with a 2-norm up to the radius
    # One row per linear layer: `layer`; `changed`, weights that differ; `weight_change` and
    # `bias_change`, norms of what differs; `input_norm`, the bound on a_{l-1}; `gain`, G_l;
    # `share`, the layer's term of the sum.
    frame: pd.DataFrame = field(repr=False)


def removal_bound(model: nn.Module, other: nn.Module, *, radius: float) -> RemovalBound:
    r"""Bound the distance of a network and its pruned version by the weights that went.

    Change one layer after the other, from the first to the last. With W_l, b_l the dense layer,
    W'_l, b'_l the other one, and a_{l-1} what the dense network sends into it,

    .. math:: \|f(x) - f'(x)\| \le \sum_l G_l \left( \|W_l - W'_l\| \, \|a_{l-1}\|
              + \|b_l - b'_l\| \right), \qquad G_l = L_l \prod_{i > l} L_i \|W'_i\|.

    Matrix norms are spectral, L_l is the Lipschitz constant of layer l's activation (sigmoid 1/4,
    softmax 1/2, else 1), and a_l is bounded by sqrt(H) after H sigmoids or tanhs, by 1 after a
    softmax, else by the layer before. How loose the bound is, `sup_distance` shows.

    Both networks are chains of linear layers and these activations, of the same shapes, masked or
    not, retrained or not; `radius` is the largest 2-norm of an input.

    >>> from causalprune_lib.nets.models import MLP
    >>> dense, pruned = MLP([2, 1, 1], activation="sigmoid"), MLP([2, 1, 1], activation="sigmoid")
    >>> _ = pruned.load_state_dict(dense.state_dict())
    >>> dense.fc1.weight.data = torch.tensor([[4.0, 3.0]])
    >>> pruned.fc1.weight.data = torch.tensor([[4.0, 0.0]])
    >>> dense.fc2.weight.data[:] = pruned.fc2.weight.data[:] = 2.0
    >>> removal_bound(dense, pruned, radius=1).value  # 1/4 * 2 * 3
    1.5
    """
    check_positive("radius", radius)
    layers, others = list(_layers(model, "model")), list(_layers(other, "other"))
    ours, theirs = ([(*w.shape, kind.__name__) for _, w, _, kind in c] for c in (layers, others))
    if ours != theirs:
        raise ValueError(f"other must have the layers of model, {ours}; got {theirs}.")
    rows, size = [], float(radius)
    for (name, weight, bias, kind), (_, weight2, bias2, _) in zip(layers, others, strict=True):
        row = {"layer": name, "changed": int((weight != weight2).sum())}
        row["weight_change"] = _norm(weight - weight2)
        row["bias_change"] = float((bias - bias2).norm())
        rows.append(row | {"input_norm": size, "gain": LIPSCHITZ[kind]})
        if kind in (nn.Sigmoid, nn.Tanh):
            size = math.sqrt(len(weight))
        elif kind is nn.Softmax:
            size = 1.0
        else:
            size = _norm(weight) * size + float(bias.norm())
    for i in range(len(rows) - 1, 0, -1):  # a change of layer i - 1 passes through layer i
        rows[i - 1]["gain"] *= rows[i]["gain"] * _norm(others[i][1])
    frame = pd.DataFrame(rows)
    sums = frame["weight_change"] * frame["input_norm"] + frame["bias_change"]
    frame["share"] = frame["gain"] * sums
    return RemovalBound(float(frame["share"].sum()), frame)


def _norm(weight: torch.Tensor) -> float:
    """Spectral norm of a matrix."""
    return float(torch.linalg.matrix_norm(weight, 2))


def _layers(model: nn.Module, title: str) -> Iterator[tuple[str, torch.Tensor, torch.Tensor, type]]:
    """Name, weight in use, bias and activation of each linear layer of a chain, in float64."""
    values = ParameterLayout.of(model).tensors(model)  # masks applied
    pending, first_names = [], {}
    for name, module in model.named_modules(remove_duplicate=False):
        kind = type(module)
        if isinstance(module, nn.Sequential):
            continue
        if isinstance(module, nn.Linear):
            if pending:
                yield (*pending, nn.Identity)
            known_as = first_names.setdefault(module, f"{name}.weight" if name else "weight")
            weight = values[known_as].double()
            bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach()
            check_finite(f"{title} {name}.weight", weight)
            check_finite(f"{title} {name}.bias", bias)
            pending = [name or "(model)", weight, bias.double()]
        elif kind in LIPSCHITZ and pending:
            if kind is not nn.Identity:
                yield (*pending, kind)
                pending = []
        elif not isinstance(module, INERT):
            known = ", ".join(activation.__name__ for activation in LIPSCHITZ)
            raise ValueError(
                f"{title} must be a chain of linear layers, each with at most one of the "
                f"activations {known}; got {name!r}, a {kind.__name__}."
            )
    if pending:
        yield (*pending, nn.Identity)
