"""Bounds on the distance of two networks: never below what is found, tight where they can be."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from causalprune_lib._random import seeded
from causalprune_lib.diagnostics.closeness import LIPSCHITZ, removal_bound, sup_distance
from causalprune_lib.nets.models import MLP, build_model
from causalprune_lib.pruning.masks import apply_masks, clone_model
from causalprune_lib.pruning.scores import random_scores
from causalprune_lib.pruning.select import masks_from_scores


def mlp(*sizes, seed=0, **options):
    with seeded(seed):
        return MLP(sizes, **{"activation": "sigmoid"} | options).double()


def pruned(model, amount, seed=0):
    twin = clone_model(model)
    return apply_masks(twin, masks_from_scores(random_scores(twin, seed=seed), amount))


def ball(n, d, radius, seed=0):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return radius * x / x.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("kind", [nn.Sigmoid, nn.Tanh, nn.ReLU, nn.Identity])
def test_the_lipschitz_constant_is_the_steepest_slope(kind):
    x = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    slope = (kind()(x).diff() / x.diff()).max().item()
    assert slope == pytest.approx(LIPSCHITZ[kind], rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(scores=st.lists(st.floats(-20, 20), min_size=2, max_size=6))
def test_the_softmax_never_stretches_by_more_than_a_half(scores):
    x = torch.tensor(scores, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda s: s.softmax(0), x)
    assert torch.linalg.matrix_norm(jacobian, 2) <= LIPSCHITZ[nn.Softmax] + 1e-12
    even = torch.autograd.functional.jacobian(lambda s: s.softmax(0), torch.zeros(2))
    assert torch.linalg.matrix_norm(even, 2).item() == pytest.approx(0.5)


networks = st.fixed_dictionaries(
    {
        "hidden": st.lists(st.integers(1, 12), min_size=0, max_size=3),
        "activation": st.sampled_from(["sigmoid", "tanh", "relu"]),
        "output": st.sampled_from([None, "sigmoid", "tanh"]),
    }
)


@settings(max_examples=25, deadline=None)
@given(
    options=networks,
    amount=st.floats(0, 1),
    radius=st.floats(0.1, 10),
    scale=st.floats(0.3, 5),
    seed=st.integers(0, 999),
    retrained=st.booleans(),
)
def test_the_bound_is_never_below_what_is_found(options, amount, radius, scale, seed, retrained):
    model = mlp(5, *options.pop("hidden"), 3, seed=seed, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(scale)
    other = pruned(model, amount, seed)
    if retrained:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in other.parameters():
                p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    x = torch.cat([ball(40, 5, radius, seed), 0.3 * ball(20, 5, radius, seed + 1)])
    found = sup_distance(model, other, x, steps=10, radius=radius, starts=8)
    bound = removal_bound(model, other, radius=radius)
    assert max(found.value, found.measured) <= bound.value * (1 + 1e-9) + 1e-12
    # x lies in the ball, up to rounding, which the networks stretch by no more than their norms
    stretch = max(1.0, (2 * scale * 12**0.5) ** 4)
    assert found.value >= found.measured - 1e-12 * radius * stretch
    assert bound.frame["share"].sum() == pytest.approx(bound.value)


def test_one_hidden_layer_by_hand():
    model = mlp(4, 6, 2)
    other = pruned(model, 0.5)
    other(torch.zeros(1, 4, dtype=torch.float64))
    norm = lambda w: np.linalg.norm(w.detach().numpy(), 2)  # noqa: E731
    first = norm(model.fc1.weight - other.fc1.weight) * 3.0 * norm(other.fc2.weight) / 4
    second = norm(model.fc2.weight - other.fc2.weight) * math.sqrt(6)
    bound = removal_bound(model, other, radius=3)
    assert bound.frame["share"].tolist() == pytest.approx([first, second])
    assert bound.frame["layer"].tolist() == ["fc1", "fc2"]
    assert bound.frame["changed"].sum() == 18


def test_tight_for_a_small_weight_into_one_neuron():
    ratios = []
    for size in (1.0, 0.1, 0.01):  # sigmoid(w x) - sigmoid(0) -> w x / 4
        model = mlp(1, 1, 1)
        with torch.no_grad():
            model.fc1.weight.fill_(size), model.fc1.bias.zero_(), model.fc2.weight.fill_(3.0)
        other = copy.deepcopy(model)
        nn.init.zeros_(other.fc1.weight)
        found = sup_distance(model, other, torch.ones(1, 1, dtype=torch.float64))
        ratios.append(found.value / removal_bound(model, other, radius=1).value)
    assert ratios[0] < ratios[1] < ratios[2] <= 1
    assert ratios[2] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("sizes", "activation", "weight", "bias", "cut", "x", "distance"),
    [
        (
            (1, 1, 1),
            "sigmoid",
            2.0,
            40.0,
            "fc2",
            0.0,
            2.0,
        ),  # an output weight of a neuron that is on
        ((1, 1, 1, 1, 1), "relu", 2.0, 0.0, "fc1", 1.0, 16.0),  # a deep chain
    ],
)
def test_tight_where_all_layers_pass_on_all(sizes, activation, weight, bias, cut, x, distance):
    model = mlp(*sizes, activation=activation)
    for name, p in model.named_parameters():
        nn.init.constant_(p, weight if p.dim() == 2 else bias if name == "fc1.bias" else 0.0)
    other = copy.deepcopy(model)
    nn.init.zeros_(other.get_submodule(cut).weight)
    found = sup_distance(model, other, torch.full((1, 1), x, dtype=torch.float64))
    assert found.value == pytest.approx(distance, rel=1e-9)
    assert removal_bound(model, other, radius=1).value == pytest.approx(distance, rel=1e-9)


def test_tight_for_a_bias_that_meets_a_pruned_weight():
    model = mlp(1, 1, 1, activation="relu")
    with torch.no_grad():
        model.fc1.weight.zero_()
        model.fc1.bias.fill_(5.0)
        model.fc2.weight.fill_(2.0)
    other = copy.deepcopy(model)
    nn.init.zeros_(other.fc2.weight)
    found = sup_distance(model, other, torch.ones(1, 1, dtype=torch.float64))
    assert found.value == pytest.approx(10)
    assert removal_bound(model, other, radius=1).value == pytest.approx(10)


def test_a_network_is_at_distance_zero_from_itself():
    model = mlp(3, 5, 2)
    assert removal_bound(model, clone_model(model), radius=2).value == 0
    found = sup_distance(model, clone_model(model), ball(5, 3, 1), steps=5, radius=1)
    assert (found.value, found.mean) == (0, 0)
    assert torch.isfinite(found.at).all()


def test_the_search_finds_the_supremum_of_a_linear_difference():
    generator = torch.Generator().manual_seed(0)
    f, g = (nn.Linear(6, 3, bias=False).double() for _ in range(2))
    for layer in (f, g):
        layer.weight.data = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    change = f.weight - g.weight
    x = 0.01 * ball(10, 6, 1)
    in_ball = sup_distance(f, g, x, steps=100, radius=2)
    assert in_ball.value == pytest.approx(2 * torch.linalg.matrix_norm(change, 2).item(), rel=1e-4)
    assert in_ball.at.norm() <= 2 + 1e-9
    assert in_ball.value == pytest.approx((change @ in_ball.at).norm().item())
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 3.0], dtype=torch.float64)] * 6)
    in_box = sup_distance(f, g, x, steps=200, box=(-1, 3))
    best = (corners @ change.T).norm(dim=1).max().item()
    assert 0.8 * best < in_box.value <= best + 1e-9  # a corner, perhaps not the best one
    assert ((in_box.at >= -1) & (in_box.at <= 3)).all()


def test_inputs_outside_the_region_do_not_count():
    f, g = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    f.weight.data[:], g.weight.data[:] = 3.0, 1.0
    found = sup_distance(f, g, torch.tensor([[50.0], [0.2]]), radius=1)
    assert (found.value, found.measured, found.mean) == pytest.approx((2, 100, 50.2))


def test_the_models_are_left_as_they_were(state_of):
    model, other = mlp(4, 6, 2).train(), pruned(mlp(4, 6, 2), 0.5).train()
    x = ball(8, 4, 1)
    other(x).sum().backward()
    before = state_of(model)[:-1], state_of(other)[:-1]  # a pass multiplies masks and weights anew
    with torch.no_grad():
        found = sup_distance(model, other, x, steps=3, radius=1)
    removal_bound(model, other, radius=1)
    assert found.value >= found.measured * (1 - 1e-9)  # x lies in the ball, up to rounding
    assert not x.requires_grad
    assert not found.at.requires_grad
    assert (state_of(model)[:-1], state_of(other)[:-1]) == before


def test_softmax_and_nested_chains_are_read():
    scores = mlp(4, 5, 3)
    model = nn.Sequential(nn.Flatten(), scores, nn.Dropout(), nn.Softmax(1))
    other = nn.Sequential(nn.Flatten(), pruned(scores, 0.4), nn.Dropout(), nn.Softmax(1))
    half = removal_bound(model, other, radius=1)
    assert half.value == pytest.approx(removal_bound(scores, other[1], radius=1).value / 2)
    assert half.frame["layer"].tolist() == ["1.fc1", "1.fc2"]
    x = ball(50, 4, 1)
    assert 0 < sup_distance(model, other, x).value <= half.value


def test_a_layer_that_stands_in_two_places_counts_twice():
    act, layer = nn.Sigmoid(), nn.Linear(2, 2)
    shared = nn.Sequential(layer, act, layer, act, nn.Linear(2, 2))
    plain = nn.Sequential(*[copy.deepcopy(part) for part in shared])
    bounds = [removal_bound(net, pruned(net, 1.0), radius=1) for net in (shared, plain)]
    assert bounds[0].frame.equals(bounds[1].frame)
    assert len(bounds[0].frame) == 3


def test_bad_input_is_named():
    model = mlp(4, 5, 3)
    lenet = build_model("lenet", dataset="digits", image_size=28)
    with pytest.raises(ValueError, match=r"must be a chain of linear layers.*Sigmoid.*a Conv2d"):
        removal_bound(lenet, lenet, radius=1)
    with pytest.raises(ValueError, match="other must have the layers of model"):
        removal_bound(model, mlp(4, 6, 3), radius=1)
    with pytest.raises(ValueError, match="other must have the layers of model"):
        removal_bound(model, mlp(4, 5, 3, activation="relu"), radius=1)
    with pytest.raises(ValueError, match="radius must be a finite number > 0"):
        removal_bound(model, model, radius=0)
    x = ball(3, 4, 1)
    with pytest.raises(ValueError, match="either box or radius"):
        sup_distance(model, model, x, steps=2)
    with pytest.raises(ValueError, match="either box or radius"):
        sup_distance(model, model, x, box=(0, 1), radius=1)
    with pytest.raises(ValueError, match="starts must be >= 1"):
        sup_distance(model, model, x, starts=0)
    with pytest.raises(ValueError, match="low < high"):
        sup_distance(model, model, x, steps=2, box=(1, 1))
    with pytest.raises(ValueError, match=r"outputs of shape \(1, 3\); got \(1, 2\)"):
        sup_distance(model, mlp(4, 5, 2), x)
    with pytest.raises(ValueError, match="x must fit the model"):
        sup_distance(model, MLP([4, 3]), x[:, :2])
    with pytest.raises(ValueError, match=r"x must be a tensor \(N, ...\) with N >= 1"):
        sup_distance(model, model, x[0])
    broken = clone_model(model)
    broken.fc2.weight.data[0, 0] = math.inf
    with pytest.raises(ValueError, match=r"other fc2.weight must be finite"):
        removal_bound(model, broken, radius=1)
