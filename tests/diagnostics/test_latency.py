"""Sparse copies compute the same, and the clock is fair."""

import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from causalprune_lib.diagnostics.cost import (
    CSRLinear,
    compare_latency,
    latency,
    model_cost,
    sparse_linear_copy,
)
from causalprune_lib.nets.models import MLP, build_model
from causalprune_lib.nets.parameters import ParameterLayout


def sparsify(model, sparsity, seed=0):
    """Set a share of every weight to zero."""
    generator = torch.Generator().manual_seed(seed)
    for weight in ParameterLayout.of(model).parameters(model).values():
        weight.data *= torch.rand(weight.shape, generator=generator) >= sparsity
    return model


@pytest.mark.parametrize("sparsity", [0.0, 0.8, 0.99, 1.0])
@pytest.mark.parametrize("batch", [1, 7])
def test_a_sparse_copy_computes_the_same(sparsity, batch):
    model = sparsify(MLP([50, 40, 30, 5]), sparsity)
    x = torch.randn(batch, 50, generator=torch.Generator().manual_seed(1))
    sparse = sparse_linear_copy(model)
    torch.testing.assert_close(sparse(x), model(x).detach(), rtol=1e-5, atol=1e-5)
    stored = sum(layer.weight.values().numel() for layer in (sparse.fc1, sparse.fc2, sparse.fc3))
    assert stored == model_cost(model, x).total["nonzeros"]


def test_a_sparse_copy_of_a_pruned_convolutional_network():
    model = build_model("lenet", dataset="digits", image_size=28)
    for name in ("conv2", "fc1"):
        prune.l1_unstructured(model.get_submodule(name), "weight", amount=0.9)
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    expected = model(x).detach()  # leaves a computed weight with a gradient, hard to copy
    sparse = sparse_linear_copy(model)
    torch.testing.assert_close(sparse(x), expected, rtol=1e-5, atol=1e-5)
    assert isinstance(sparse.fc1, CSRLinear)
    assert type(sparse.conv2) is nn.Conv2d
    assert not sparse.conv2._forward_pre_hooks  # the mask is permanent
    assert int((sparse.conv2.weight == 0).sum()) == 22_500
    assert prune.is_pruned(model)


def test_a_csr_layer_takes_any_leading_dimensions():
    dense = nn.Linear(6, 4)
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(3))
    sparse = sparse_linear_copy(dense)
    torch.testing.assert_close(sparse(x), dense(x).detach(), rtol=1e-5, atol=1e-5)
    assert sparse(x[0, 0]).shape == (4,)


def test_a_shared_layer_stays_shared():
    layer = nn.Linear(3, 3)
    sparse = sparse_linear_copy(nn.Sequential(layer, nn.ReLU(), layer))
    assert sparse[0] is sparse[2]


def test_a_sparse_copy_raises_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sparse_linear_copy(MLP([4, 3, 2]))(torch.zeros(2, 4))


class Sleeper(nn.Module):
    def __init__(self, seconds, calls):
        super().__init__()
        self.seconds, self.calls = seconds, calls

    def forward(self, x):
        self.calls.append((self.seconds, self.training, torch.is_grad_enabled()))
        time.sleep(self.seconds)
        return x


def test_latency_measures_seconds_without_gradients_in_evaluation_mode():
    calls = []
    measured = latency(Sleeper(0.01, calls), torch.zeros(1), repeats=5, warmup=2)
    assert 0.01 <= measured.q25 <= measured.median <= measured.q75
    assert measured.repeats == 5
    assert set(calls) == {(0.01, False, False)}


def test_models_take_turns_and_the_ratio_is_to_the_first():
    calls = []
    models = {"slow": Sleeper(0.02, calls), "fast": Sleeper(0.005, calls)}
    frame = compare_latency(models, torch.zeros(1), repeats=6, warmup=0)
    timed = [seconds for seconds, *_ in calls[2:]]
    for turn in range(0, len(timed), 2):  # each round runs each model once
        assert set(timed[turn : turn + 2]) == {0.02, 0.005}
    assert {timed[0], timed[2]} == {0.02, 0.005}  # and rounds start with another one
    assert frame["model"].tolist() == ["slow", "fast"]
    assert frame["ratio"][0] == 1.0
    assert frame["ratio"][1] < 0.75  # 0.25 but for an overloaded machine
    assert (frame["ratio_q25"] <= frame["ratio"]).all()
    assert np.isfinite(frame.drop(columns="model").to_numpy()).all()


def state(model):
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    buffers = {name: value.clone() for name, value in model.state_dict().items()}
    return gradients, modes, hooks, buffers


@pytest.mark.parametrize(
    "measure",
    [
        model_cost,
        lambda model, example: latency(model, example, repeats=2, warmup=1),
        lambda model, example: compare_latency({"a": model, "b": model}, example, repeats=2),
        lambda model, example: sparse_linear_copy(model),
    ],
    ids=["cost", "latency", "compare", "copy"],
)
@pytest.mark.parametrize("good", [True, False])
def test_the_model_is_left_as_it_was_even_after_an_error(measure, good):
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model[2].eval()
    prune.l1_unstructured(model[3], "weight", amount=3)
    model(torch.randn(5, 6)).sum().backward()
    before = state(model)
    try:
        measure(model, torch.randn(3, 6 if good else 5))
    except ValueError:
        assert not good
    gradients, modes, hooks, buffers = state(model)
    assert all(torch.equal(a, b) for a, b in zip(gradients, before[0], strict=True))
    assert (modes, hooks) == before[1:3]
    assert all(torch.equal(buffers[name], before[3][name]) for name in before[3])


def test_a_network_without_linear_layers_is_an_error():
    with pytest.raises(ValueError, match=r"must have an nn\.Linear; got a Conv2d"):
        sparse_linear_copy(nn.Conv2d(1, 1, 1))


def test_bad_options_of_the_clock_are_named():
    model, x = MLP([4, 2]), torch.zeros(1, 4)
    with pytest.raises(ValueError, match="repeats must be >= 1; got 0"):
        latency(model, x, repeats=0)
    with pytest.raises(ValueError, match="warmup must be >= 0; got -1"):
        latency(model, x, warmup=-1)
    with pytest.raises(ValueError, match="at least one model"):
        compare_latency({}, x)
    with pytest.raises(ValueError, match="example must fit the model"):
        latency(model, torch.zeros(1, 3))
    with pytest.raises(TypeError, match=r"example must be a torch\.Tensor; got list"):
        latency(model, [0.0] * 4)
