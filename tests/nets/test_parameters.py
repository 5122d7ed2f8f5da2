"""`ParameterLayout`: one order for flat weights, agreed on by everything."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parameters_to_vector, prune

from causalprune_lib.nets.parameters import ParameterLayout


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 2)
    )


widths = st.lists(st.integers(1, 5), min_size=2, max_size=5)


def test_prunable_are_the_weights_of_linear_and_convolution_layers():
    layout = ParameterLayout.of(network())
    assert layout.names == ("0.weight", "3.weight", "4.weight")
    assert layout.shapes == ((3, 2, 3, 3), (5, 12), (2, 5))
    assert layout.size == 54 + 60 + 10


def test_all_has_the_order_and_the_numbers_of_pytorch():
    model = network()
    layout = ParameterLayout.of(model, which="all")
    assert list(layout.names) == [name for name, _ in model.named_parameters()]
    torch.testing.assert_close(layout.flatten(model), parameters_to_vector(model.parameters()))


@given(widths)
@settings(max_examples=30)
def test_flatten_and_unflatten_are_inverse(sizes):
    model = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))
    for which in ("prunable", "all"):
        layout = ParameterLayout.of(model, which=which)
        flat = torch.arange(layout.size, dtype=torch.float32)
        assert torch.equal(layout.flatten(layout.unflatten(flat)), flat)
        layout.load(model, flat)
        assert torch.equal(layout.flatten(model), flat)


@given(widths, st.data())
@settings(max_examples=30)
def test_locate_names_the_weight_at_a_flat_index(sizes, data):
    model = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))
    layout = ParameterLayout.of(model)
    k = data.draw(st.integers(0, layout.size - 1))
    name, index = layout.locate(k)
    assert layout.tensors(model)[name][index] == layout.flatten(model)[k]
    assert k in range(*layout.span(name).indices(layout.size))


def test_unflatten_keeps_leading_dimensions_and_shares_memory():
    layout = ParameterLayout.of(network())
    walk = torch.zeros(4, layout.size)  # (T, P)
    pieces = layout.unflatten(walk)
    assert pieces["3.weight"].shape == (4, 5, 12)
    pieces["3.weight"][2, 0, 0] = 7.0
    assert walk[2, layout.span("3.weight").start] == 7.0


def test_flatten_is_a_copy():
    model = network()
    layout = ParameterLayout.of(model)
    layout.flatten(model).zero_()
    assert layout.flatten(model).abs().sum() > 0


def test_pruning_changes_neither_names_nor_order():
    model = network()
    before = {which: ParameterLayout.of(model, which=which) for which in ("prunable", "all")}
    prune.random_unstructured(model[3], "weight", amount=30)
    prune.random_unstructured(model[3], "bias", amount=2)
    for which, layout in before.items():
        assert ParameterLayout.of(model, which=which) == layout
    flat = before["prunable"].flatten(model)
    assert int((flat == 0).sum()) == 30
    assert before["prunable"].parameters(model)["3.weight"] is model[3].weight_orig


def test_masked_values_follow_the_weights_without_a_forward_pass():
    model = network()
    prune.l1_unstructured(model[3], "weight", amount=10)
    layout = ParameterLayout.of(model)
    layout.load(model, torch.ones(layout.size))
    assert float(layout.flatten(model).sum()) == layout.size - 10


def test_a_shared_tensor_is_listed_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    layout = ParameterLayout.of(model)
    assert layout.names == ("0.weight",)
    layout.load(model, torch.full((9,), 2.0))
    assert torch.equal(model[1].weight, torch.full((3, 3), 2.0))


def test_a_single_layer_is_a_model_too():
    assert ParameterLayout.of(nn.Linear(2, 3)).names == ("weight",)
    assert ParameterLayout.of(nn.Linear(2, 3), which="all").names == ("weight", "bias")


def test_a_parameter_that_only_looks_pruned_keeps_its_name():
    model = nn.Linear(2, 2)
    model.register_parameter("scale_orig", nn.Parameter(torch.ones(1)))
    assert "scale_orig" in ParameterLayout.of(model, which="all").names


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Sequential(nn.BatchNorm1d(3))])
def test_nothing_to_prune_is_an_error(model):
    with pytest.raises(ValueError, match=f"linear or convolution.*{type(model).__name__}"):
        ParameterLayout.of(model)


def test_unknown_words_offer_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'prunable'"):
        ParameterLayout.of(network(), which="prunnable")
    with pytest.raises(ValueError, match=r"Did you mean '3\.weight'"):
        ParameterLayout.of(network()).span("3.weigth")


@pytest.mark.parametrize("k", [-1, 124])
def test_locate_outside_is_an_error(k):
    with pytest.raises(IndexError, match=rf"k must be in 0\.\.123; got {k}"):
        ParameterLayout.of(network()).locate(k)


def test_a_vector_of_another_length_is_an_error():
    layout = ParameterLayout.of(network())
    for flat in (torch.zeros(123), torch.zeros(2, 125), torch.tensor(0.0)):
        with pytest.raises(ValueError, match="flat must have last dimension P = 124"):
            layout.unflatten(flat)


def test_a_numpy_vector_is_a_clear_error():
    with pytest.raises(TypeError, match=r"flat must be a torch\.Tensor; got ndarray"):
        ParameterLayout.of(network()).unflatten(np.zeros(124))


def test_another_model_is_an_error():
    layout = ParameterLayout.of(network())
    with pytest.raises(ValueError, match=r"must have the parameter '3\.weight'"):
        layout.flatten(network()[:2])
    wider = copy.deepcopy(network())
    wider[4] = nn.Linear(5, 3)
    with pytest.raises(ValueError, match=r"'4\.weight' must have shape \(2, 5\); got \(3, 5\)"):
        layout.load(wider, torch.zeros(layout.size))


def test_a_dictionary_must_have_every_name_and_shape():
    layout = ParameterLayout.of(network())
    tensors = layout.tensors(network())
    del tensors["0.weight"]
    with pytest.raises(ValueError, match=r"missing \['0.weight'\]"):
        layout.flatten(tensors)
    with pytest.raises(ValueError, match=r"source\['0.weight'\] must have shape"):
        layout.flatten(tensors | {"0.weight": torch.zeros(2)})
