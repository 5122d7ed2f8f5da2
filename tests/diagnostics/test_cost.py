"""Costs, against the counter of PyTorch and the bytes of SciPy; sparse copies; a fair clock."""

import copy
import time
import warnings

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from causalprune_lib.diagnostics.cost import (
    CSRLinear,
    compare_latency,
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


def mixed():
    """Every kind of layer that is counted, with groups, strides, dilation and padding."""
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2),
        nn.ConvTranspose2d(8, 6, 2, stride=2, bias=False),
        nn.Conv2d(6, 3, (1, 3), dilation=2),
        nn.Flatten(2),
        nn.Conv1d(3, 2, 5),
        nn.Linear(124, 7),  # on (N, 2, 124): two positions for each example
    )


MIXED_SHAPE = (4, 16, 12)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: build_model("lenet", dataset="digits", image_size=28), (1, 28, 28)),
        (lambda: build_model("resnet18", dataset="cifar10", batch_norm=True), (3, 8, 8)),
        (mixed, MIXED_SHAPE),
    ],
    ids=["lenet", "resnet18", "mixed"],
)
def test_multiply_adds_are_half_of_pytorchs_flops(build, shape):
    model, example = build(), torch.zeros(1, *shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(model).eval()(example)
    cost = model_cost(model, example)
    assert 2 * cost.total["multiply_adds"] == counter.get_total_flops()


def test_lenet_layer_by_layer_and_in_all():
    cost = model_cost(build_model("lenet", dataset="cifar10"), torch.zeros(1, 3, 32, 32))
    frame = cost.frame
    assert frame["layer"].tolist() == ["conv1", "conv2", "fc1", "fc2"]
    assert frame["weights"].tolist() == [1_500, 25_000, 625_000, 5_000]
    assert frame["parameters"].tolist() == [1_520, 25_050, 625_500, 5_010]
    positions = [28 * 28, 10 * 10, 1, 1]
    assert (frame["multiply_adds"] == frame["weights"] * positions).all()
    assert (frame["dense_bytes"] == 4 * frame["weights"]).all()
    assert cost.total["parameters"] == 657_080
    assert cost.total.equals(frame.drop(columns="layer").sum())


@pytest.mark.parametrize("sparsity", [0.0, 0.9, 1.0])
def test_csr_bytes_are_scipys(sparsity):
    model = sparsify(mixed(), sparsity)
    frame = model_cost(model, torch.zeros(1, *MIXED_SHAPE)).frame
    tensors = ParameterLayout.of(model).tensors(model).values()
    for row, weight in zip(frame.itertuples(), tensors, strict=True):
        matrix = scipy.sparse.csr_matrix(weight.flatten(1).numpy())
        stored = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
        assert row.csr_bytes == stored
        assert row.nonzeros == matrix.nnz
        assert row.multiply_adds_sparse * row.weights == row.multiply_adds * row.nonzeros


def test_masked_weights_count_as_zero():
    model = MLP([10, 8, 3])
    prune.random_unstructured(model.fc1, "weight", amount=60)
    frame = model_cost(model, torch.zeros(1, 10)).frame
    assert frame["nonzeros"].tolist() == [20, 24]
    assert frame["weights"].tolist() == [80, 24]
    assert frame["parameters"].tolist() == [88, 27]
    model.fc1.weight_mask.zero_()  # before any forward pass
    assert model_cost(model, torch.zeros(1, 10)).frame["nonzeros"].tolist() == [0, 24]


def test_only_one_example_is_counted():
    one, many = (model_cost(mixed(), torch.zeros(n, *MIXED_SHAPE)).frame for n in (1, 5))
    assert one.equals(many)


def test_a_layer_called_twice_costs_twice_and_one_never_called_nothing():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice, self.never = nn.Linear(3, 3, bias=False), nn.Linear(3, 9)

        def forward(self, x):
            return self.twice(self.twice(x))

    frame = model_cost(Odd(), torch.zeros(1, 3)).frame
    assert frame["multiply_adds"].tolist() == [18, 0]
    assert frame["weights"].tolist() == [9, 27]


def test_a_single_layer_has_a_name_and_double_precision_takes_more_bytes():
    frame = model_cost(nn.Linear(4, 2).double(), torch.zeros(1, 4, dtype=torch.float64)).frame
    assert frame["layer"].tolist() == ["(model)"]
    assert frame["dense_bytes"].tolist() == [64]
    assert frame["csr_bytes"].tolist() == [8 * (8 + 4) + 4 * 3]


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.zeros(1, 5), r"example\[:1\] must fit the model; a MLP failed on shape \(1, 5\)"),
        (torch.zeros(0, 4), r"batch of at least one example \(B, \.\.\.\); got \(0, 4\)"),
        (torch.tensor(1.0), r"batch of at least one example"),
        ([[0.0] * 4], r"batch of at least one example .* got list"),
        (torch.zeros(1, 4, dtype=torch.float64), r"failed on shape \(1, 4\), torch\.float64"),
    ],
)
def test_an_example_that_does_not_fit_is_named(example, message):
    with pytest.raises(ValueError, match=message):
        model_cost(MLP([4, 2]), example)


def test_nothing_to_count_is_an_error():
    with pytest.raises(ValueError, match="linear or convolution layer; got a ReLU"):
        model_cost(nn.ReLU(), torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"must have an nn\.Linear; got a Conv2d"):
        sparse_linear_copy(nn.Conv2d(1, 1, 1))


# Sparse copies


@pytest.mark.parametrize("sparsity", [0.0, 0.8, 1.0])
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


# The clock


class Sleeper(nn.Module):
    def __init__(self, seconds, calls):
        super().__init__()
        self.seconds, self.calls = seconds, calls

    def forward(self, x):
        self.calls.append((self.seconds, self.training, torch.is_grad_enabled()))
        time.sleep(self.seconds)
        return x


def test_latency_is_seconds_without_gradients_in_evaluation_mode():
    calls = []
    model = {"a": Sleeper(0.01, calls)}
    (row,) = compare_latency(model, torch.zeros(1), repeats=5, warmup=2).to_dict("records")
    assert 0.01 <= row["q25"] <= row["median"] <= row["q75"]
    assert (row["repeats"], len(calls)) == (5, 8)  # one pass more tries the example
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


@pytest.mark.parametrize(
    "measure",
    [
        model_cost,
        lambda model, example: compare_latency({"a": model, "b": model}, example, repeats=2),
        lambda model, example: sparse_linear_copy(model),
    ],
    ids=["cost", "compare", "copy"],
)
@pytest.mark.parametrize("good", [True, False])
def test_the_model_is_left_as_it_was_even_after_an_error(measure, good, state_of):
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model[2].eval()
    prune.l1_unstructured(model[3], "weight", amount=3)
    model(torch.randn(5, 6)).sum().backward()
    example = torch.ones(3, 6 if good else 5)
    before = state_of(model)[:-1]  # a pass multiplies masks and weights anew
    try:
        measure(model, example)
    except ValueError:
        assert not good
    assert state_of(model)[:-1] == before


def test_bad_options_of_the_clock_are_named():
    models, x = {"a": MLP([4, 2])}, torch.zeros(1, 4)
    with pytest.raises(ValueError, match="repeats must be >= 1; got 0"):
        compare_latency(models, x, repeats=0)
    with pytest.raises(ValueError, match="warmup must be >= 0; got -1"):
        compare_latency(models, x, warmup=-1)
    with pytest.raises(ValueError, match="at least one model"):
        compare_latency({}, x)
    with pytest.raises(ValueError, match="example must fit the model"):
        compare_latency(models, torch.zeros(1, 3))
    with pytest.raises(TypeError, match=r"example must be a torch\.Tensor; got list"):
        compare_latency(models, [0.0] * 4)
