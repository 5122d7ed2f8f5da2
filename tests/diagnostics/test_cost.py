"""Costs, against the counter of PyTorch, the bytes of SciPy and arithmetic by hand."""

import copy

import pytest
import scipy.sparse
import torch
from torch import nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from causalprune_lib.diagnostics.cost import model_cost
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
    ("model", "shape"),
    [
        (MLP([784, 300, 100, 10]), (784,)),
        (build_model("lenet", dataset="cifar10"), (3, 32, 32)),
        (build_model("alexnet", dataset="fashion_mnist"), (1, 28, 28)),
        (build_model("resnet18", dataset="cifar10"), (3, 32, 32)),
        (build_model("resnet18", dataset="cifar10", batch_norm=True), (3, 32, 32)),
        (mixed(), MIXED_SHAPE),
    ],
    ids=["mlp", "lenet", "alexnet", "resnet18", "resnet18-bn", "mixed"],
)
def test_multiply_adds_are_half_of_pytorchs_flops(model, shape):
    example = torch.zeros(1, *shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(model).eval()(example)
    cost = model_cost(model, example)
    assert 2 * cost.total["multiply_adds"] == counter.get_total_flops()


def test_lenet_layer_by_layer():
    frame = model_cost(build_model("lenet", dataset="cifar10"), torch.zeros(1, 3, 32, 32)).frame
    assert frame["layer"].tolist() == ["conv1", "conv2", "fc1", "fc2"]
    assert frame["weights"].tolist() == [1_500, 25_000, 625_000, 5_000]
    assert frame["parameters"].tolist() == [1_520, 25_050, 625_500, 5_010]
    positions = [28 * 28, 10 * 10, 1, 1]
    assert (frame["multiply_adds"] == frame["weights"] * positions).all()
    assert (frame["dense_bytes"] == 4 * frame["weights"]).all()


def test_totals_are_sums_and_count_every_parameter():
    model = build_model("lenet", dataset="cifar10")
    cost = model_cost(model, torch.zeros(1, 3, 32, 32))
    assert cost.total["parameters"] == 657_080
    assert "layer" not in cost.total
    for column, total in cost.total.items():
        assert total == cost.frame[column].sum()


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 1.0])
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
    model = build_model("lenet", dataset="digits", image_size=28)
    one, many = (model_cost(model, torch.zeros(n, 1, 28, 28)).frame for n in (1, 5))
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


def test_double_precision_takes_more_bytes():
    model = nn.Sequential(nn.Linear(4, 2)).double()
    total = model_cost(model, torch.zeros(1, 4, dtype=torch.float64)).total
    assert total["dense_bytes"] == 64
    assert total["csr_bytes"] == 8 * (8 + 4) + 4 * 3


def test_a_single_layer_has_a_name():
    assert model_cost(nn.Linear(2, 2), torch.zeros(1, 2)).frame["layer"].tolist() == ["(model)"]


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
