"""Filters taken out: the smaller network computes what the masked one does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toys import blobs, network

from causalprune_lib._random import seeded
from causalprune_lib.diagnostics.cost import compare_latency, model_cost
from causalprune_lib.nets.models import ResidualBlock, build_model
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.nets.training import Training, train
from causalprune_lib.pruning.causal import record_scores
from causalprune_lib.pruning.masks import apply_masks, clone_model, masks_of
from causalprune_lib.pruning.scores import inverse_scores, magnitude_scores, random_scores
from causalprune_lib.pruning.select import masks_from_scores
from causalprune_lib.pruning.structured import causal_structured, filter_masks, remove_filters


def lenet():
    return build_model("lenet", shape=(1, 16, 16), n_classes=3, seed=0)


def residual():
    with seeded(0):
        model = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            ResidualBlock(6, 6, batch_norm=True),
            ResidualBlock(6, 8, stride=2, batch_norm=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        )
        for _ in range(3):  # running statistics of its own
            model(3 + 2 * torch.randn(16, 2, 8, 8))
    return model


def sigmoid():
    return build_model("mlp", shape=(5,), n_classes=3, hidden=[7, 6], activation="sigmoid")


def transposed():
    with seeded(0):
        return nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 6, 3),
            nn.Tanh(),
            nn.Conv2d(6, 2, 1),
        )


NETWORKS = {
    "lenet": (lenet, (1, 16, 16)),
    "residual": (residual, (2, 8, 8)),
    "sigmoid": (sigmoid, (5,)),
    "transposed": (transposed, (2, 8, 8)),
}


def batch(shape, n=4):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


def size(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_smaller_network_is_the_masked_one(name, scope):
    make, shape = NETWORKS[name]
    model, x = make().eval(), batch(shape)
    scores = random_scores(model, seed=2)
    masks = filter_masks(model, scores, 0.5, example=x, scope=scope, floor=1)
    small = remove_filters(model, masks, example=x)
    masked = apply_masks(clone_model(model), masks)
    with torch.no_grad():
        torch.testing.assert_close(small(x), masked(x), rtol=0, atol=1e-5)
        assert (small(x) - model(x)).abs().max() > 1e-3
    assert size(small) == masks.n_kept < masks.n == size(model)
    assert small.training is model.training


def test_lenet_has_the_parameters_that_the_formula_says():
    model, x = build_model("lenet", shape=(1, 28, 28), n_classes=10), torch.zeros(2, 1, 28, 28)
    for amount, (a, b, c) in {0.8: (4, 10, 100), 0.0: (20, 50, 500)}.items():
        small = causal_structured(
            model, amount, example=x, importance_scores=magnitude_scores(model)
        )
        weights = 25 * a + 25 * a * b + 16 * b * c + 10 * c
        assert size(small) == weights + a + b + c + 10
        assert ParameterLayout.of(small).size == weights
        assert [small.conv1.out_channels, small.conv2.out_channels, small.fc1.out_features] == [
            a,
            b,
            c,
        ]
    assert size(model) == 431_080


def test_the_filters_of_lowest_score_go_and_the_others_keep_their_bits():
    model, x = lenet(), batch((1, 16, 16))
    scores = magnitude_scores(model)
    small = causal_structured(model, 0.25, example=x, importance_scores=scores)
    rank = scores["conv1.weight"].sum(dim=(1, 2, 3))
    best = rank.topk(15).indices.sort().values
    assert torch.equal(small.conv1.weight, model.conv1.weight[best])
    assert torch.equal(small.conv1.bias, model.conv1.bias[best])
    worst = causal_structured(
        model, 15, example=x, importance_scores=inverse_scores(scores), ignore=["conv2", "fc1"]
    )
    lowest = rank.topk(5, largest=False).indices.sort().values
    assert torch.equal(worst.conv1.weight, model.conv1.weight[lowest])
    assert worst.conv2.out_channels == 50
    assert torch.equal(worst.conv2.weight, model.conv2.weight[:, lowest])


def test_a_filter_is_judged_by_the_sum_of_its_weights_before_the_sign_is_dropped():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    sums = {"0.weight": torch.tensor([[5.0, -5.0], [1.0, 1.0], [-2.0, -1.0]])}
    sums["2.weight"] = torch.ones(2, 3)
    x = torch.zeros(1, 2)
    tied = filter_masks(model, sums, 1, example=x, signed=True)
    assert tied["0.bias"].tolist() == [False, True, True]
    assert tied["2.weight"].tolist() == [[False, True, True]] * 2
    unsigned = filter_masks(model, sums, 1, example=x)
    assert unsigned["0.bias"].tolist() == [True, True, False]
    above = filter_masks(model, sums, example=x, signed=True, threshold=2.0)
    assert above["0.bias"].tolist() == [False, False, True]
    per_filter = {name: value.sum(1) for name, value in sums.items()}
    assert filter_masks(model, per_filter, 1, example=x) == unsigned


def test_branches_that_are_added_lose_the_same_filters_by_their_common_score():
    model, x = residual(), batch((2, 8, 8))
    scores = {k: torch.zeros_like(v) for k, v in magnitude_scores(model).items()}
    # Filter 4 of the first width is best only over the stem and the block's second convolution.
    scores["0.weight"][:, 0, 0, 0] = torch.tensor([3.0, 2, 0, 0, 2, 0])
    scores["3.conv2.weight"][:, 0, 0, 0] = torch.tensor([0.0, 0, 0, 0, 2, 0])
    masks = filter_masks(model, scores, example=x, threshold=2.5, floor=1)
    for name in ("0.bias", "1.weight", "3.norm2.bias"):
        assert masks[name].tolist() == [True, False, False, False, True, False]
    for name in ("0.weight", "3.conv2.weight"):  # rows
        assert masks[name].flatten(1).any(1).tolist() == [True, False, False, False, True, False]
    columns = masks["4.shortcut.0.weight"].any(0).flatten()
    assert columns.tolist() == [True, False, False, False, True, False]
    assert masks["7.bias"].all()


def test_the_causal_score_of_a_filter_is_that_of_the_recording():
    model, data = network(), blobs()
    x = data[0][:2]
    options = {"training": Training(epochs=3, batch_size=20, lr=0.05), "seed": 4}
    small = causal_structured(model, 0.5, example=x, data=data, **options)
    recorded = record_scores(model, data, **options)
    value = recorded.sums["0.weight"].double().sum(1).abs()
    best = value.topk(4).indices.sort().values
    assert torch.equal(small[0].weight, model[0].weight[best])  # the weights it was given
    alpha = float(value.sort().values[2:4].mean()) / recorded.total_step
    kept = causal_structured(model, alpha=alpha, example=x, data=data, **options)
    best = value.topk(5).indices.sort().values
    assert torch.equal(kept[0].weight, model[0].weight[best])
    other = record_scores(model, data, **options, change="same_batch").sums["0.weight"]
    same = causal_structured(model, 0.5, example=x, data=data, change="same_batch", **options)
    best = other.double().sum(1).abs().topk(4).indices.sort().values
    assert torch.equal(same[0].weight, model[0].weight[best])


def test_controls_take_over_the_counts_of_a_global_ranking():
    model, x = lenet(), batch((1, 16, 16))
    masks = filter_masks(model, magnitude_scores(model), 0.6, example=x, scope="global", floor=2)
    random = random_scores(model, seed=0)
    small = causal_structured(model, example=x, importance_scores=random, scope="like", like=masks)
    other = remove_filters(model, masks, example=x)
    assert [p.shape for p in small.parameters()] == [p.shape for p in other.parameters()]
    assert not torch.equal(small.conv1.weight, other.conv1.weight)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), amount=st.floats(0, 0.9), like=st.floats(0, 0.9))
def test_amounts_are_exact_and_nested(seed, amount, like):
    model, x = sigmoid(), torch.zeros(1, 5)
    scores = random_scores(model, seed=seed)
    masks = [filter_masks(model, scores, a, example=x, floor=1) for a in sorted((amount, like))]
    for mask, a in zip(masks, sorted((amount, like)), strict=True):
        assert int(mask["fc1.bias"].sum()) == max(1, 7 - round(a * 7))
        assert int(mask["fc2.bias"].sum()) == max(1, 6 - round(a * 6))
        assert mask["fc3.bias"].all()
    assert masks[0] & masks[1] == masks[1]


@pytest.fixture
def one_thread():
    """No waiting for others, where other programs use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_it_trains_on_and_is_faster_and_can_be_cut_again():
    model, x = build_model("mlp", shape=(2,), n_classes=3, hidden=[1000, 1000]), torch.ones(128, 2)
    small = causal_structured(model, 0.9, example=x, importance_scores=magnitude_scores(model))
    timed = compare_latency({"model": model, "small": small}, x, repeats=9, warmup=2)
    assert timed["ratio_q25"].iloc[1] < 1  # of a hundredth of the operations
    cost = model_cost(small, x).total
    assert cost["multiply_adds"] == cost["weights"] == 2 * 100 + 100 * 100 + 100 * 3
    smaller = causal_structured(small, 0.5, example=x, importance_scores=magnitude_scores(small))
    assert smaller.fc2.in_features == smaller.fc2.out_features == 50
    history = train(smaller, *blobs(), epochs=2, progress=False)
    assert history.frame["train_loss"].iloc[1] < history.frame["train_loss"].iloc[0]


def test_the_model_is_not_changed_and_frozen_or_masked_ones_work():
    model, x = lenet(), batch((1, 16, 16))
    model.conv1.weight.requires_grad_(False)
    model.conv1.weight.grad = None
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores = magnitude_scores(model)
    with torch.no_grad():
        small = causal_structured(model, 0.5, example=x, importance_scores=scores)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not small.conv1.weight.requires_grad
    assert small.fc1.weight.requires_grad
    assert all(p.is_leaf and p.dtype == torch.float32 for p in small.parameters())
    apply_masks(model, masks_from_scores(scores, 0.5, scope="layer"))
    cut = causal_structured(model, 0.5, example=x, importance_scores=magnitude_scores(model))
    assert masks_of(cut).amount == 0  # permanent
    assert (cut.fc1.weight == 0).float().mean() > 0.3


def test_double_precision_keeps_its_bits():
    model, x = sigmoid().double(), torch.zeros(1, 5).double()
    small = causal_structured(model, 0.5, example=x, importance_scores=magnitude_scores(model))
    assert set(small.fc3.weight.flatten().tolist()) <= set(model.fc3.weight.flatten().tolist())
