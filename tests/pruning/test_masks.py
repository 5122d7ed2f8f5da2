"""Masks on models: zeros that survive any optimizer, beside torch's own pruning."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from causalprune_lib._random import seeded
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks, apply_masks, hold_masks, masks_of, remove_masks
from causalprune_lib.pruning.select import masks_from_scores

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum and decay": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True
    ),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
}


def network():
    with seeded(0):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        )


def random_masks(model, amount=0.7, seed=1):
    layout = ParameterLayout.of(model)
    scores = torch.rand(layout.size, generator=torch.Generator().manual_seed(seed))
    return masks_from_scores(layout.unflatten(scores), amount)


def train(model, optimizer, steps=12):
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        x = torch.randn(16, 1, 6, 6, generator=generator)
        loss = nn.functional.cross_entropy(model(x), (x.mean((1, 2, 3)) > 0).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def moved_share(before, after, masks):
    """Share of the kept weights that differ: not all, for what a dead filter feeds stands still."""
    return (before != after)[masks.flat()].float().mean()


def images(n):
    return torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_in_use_stay_zero_and_kept_ones_move(name):
    model = network()
    optimizer = OPTIMIZERS[name](model.parameters())  # made before the masks
    train(model, optimizer, steps=2)  # so that momentum is under way
    masks = random_masks(model)
    layout = masks.layout
    start = layout.flatten(apply_masks(model, masks))
    train(model, optimizer)
    end = layout.flatten(model)
    keep = masks.flat()
    assert (end[~keep] == 0).all()
    assert moved_share(start, end, masks) > 0.5
    model.eval()(torch.zeros(1, 1, 6, 6))
    for name, mask in masks.items():  # what the forward pass has used
        weight = model.get_submodule(name.removesuffix(".weight")).weight
        assert (weight[~mask] == 0).all()
    remove_masks(model)
    assert torch.equal(layout.flatten(model), end)
    assert set(dict(model.named_parameters())) == set(dict(network().named_parameters()))
    assert set(model.state_dict()) == set(network().state_dict())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_hold_masks_keeps_a_plain_model_at_zero(name):
    model = network()
    masks = random_masks(model)
    optimizer = OPTIMIZERS[name](model.parameters())
    start = masks.layout.flatten(model)
    with hold_masks(model, masks) as held:
        assert held is model
        assert (masks.layout.flatten(model)[~masks.flat()] == 0).all()
        train(model, optimizer)
        end = masks.layout.flatten(model)
    assert (end[~masks.flat()] == 0).all()
    assert moved_share(start, end, masks) > 0.5
    train(model, optimizer, steps=1)
    assert (masks.layout.flatten(model)[~masks.flat()] != 0).any()  # nothing holds them now


def test_live_masks_and_held_zeros_are_the_same_training_under_sgd():
    # The gradient of a kept weight is the same in both, so plain SGD takes the same path.
    live, held = network(), network()
    masks = random_masks(live)
    apply_masks(live, masks)
    train(live, OPTIMIZERS["sgd"](live.parameters()))
    with hold_masks(held, masks):
        train(held, OPTIMIZERS["sgd"](held.parameters()))
    assert torch.allclose(masks.layout.flatten(live), masks.layout.flatten(held), atol=1e-6)


def test_hold_masks_lets_go_after_an_error():
    model = network()
    masks = random_masks(model)
    with pytest.raises(KeyError), hold_masks(model, masks):
        raise KeyError("in training")
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    other = nn.Linear(1, 1)
    other(torch.ones(1, 1)).sum().backward()
    torch.optim.SGD(other.parameters(), lr=0.1).step()
    assert (model[0].weight == 1).all()


def test_apply_leaves_what_torch_prune_leaves():
    ours, theirs = network(), network()
    masks = random_masks(ours)
    assert apply_masks(ours, masks) is ours
    for name, mask in masks.items():
        prune.custom_from_mask(theirs.get_submodule(name.removesuffix(".weight")), "weight", mask)
    assert prune.is_pruned(ours)
    a, b = ours.state_dict(), theirs.state_dict()
    assert list(a) == list(b)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert masks_of(ours) == masks_of(theirs) == masks


def test_a_second_mask_is_combined_as_torch_does_or_replaces_the_first():
    ours, theirs = network(), network()
    first, second = random_masks(ours, seed=1), random_masks(ours, seed=2)
    dense = first.layout.flatten(ours)
    for masks in (first, second):
        apply_masks(ours, masks)
        for name, mask in masks.items():
            module = theirs.get_submodule(name.removesuffix(".weight"))
            prune.custom_from_mask(module, "weight", mask)
    assert masks_of(ours) == masks_of(theirs) == first & second
    apply_masks(ours, second, replace=True)
    assert masks_of(ours) == second
    assert torch.equal(first.layout.flatten(ours), dense * second.flat())  # values came back
    assert torch.equal(ours[4].weight, ours[4].weight_orig * second["4.weight"])


def test_torch_prune_can_go_on_where_we_stopped_and_the_other_way_round():
    model = network()
    masks = random_masks(model)
    prune.l1_unstructured(model[4], "weight", 0.5)
    alone = masks_of(model)
    assert bool(alone["0.weight"].all())
    apply_masks(model, masks)
    assert masks_of(model) == masks & alone
    left = int(masks_of(model)["4.weight"].sum())
    prune.l1_unstructured(model[4], "weight", 5)
    assert int(masks_of(model)["4.weight"].sum()) == left - 5
    prune.remove(model[4], "weight")
    assert int((model[4].weight != 0).sum()) == left - 5


def test_masks_of_a_plain_model_keep_everything_even_zeros():
    model = network()
    with torch.no_grad():
        model[4].weight.zero_()
    assert masks_of(model).amount == 0
    assert list(masks_of(model)) == ["0.weight", "4.weight"]


def test_masks_may_cover_some_layers_and_biases():
    model = network()
    apply_masks(model, Masks({"4.bias": torch.tensor([True, False, True])}))
    train(model, OPTIMIZERS["adam"](model.parameters()))
    assert model[4].bias[1] == 0
    assert not hasattr(model[4], "weight_mask")
    assert masks_of(model).amount == 0
    remove_masks(model)
    assert "bias" in dict(model[4].named_parameters())


def test_masked_state_goes_through_a_state_dict():
    model, other = network(), network()
    apply_masks(model, random_masks(model, seed=1))
    train(model, OPTIMIZERS["sgd"](model.parameters()))
    apply_masks(other, random_masks(model, seed=2))
    other.load_state_dict(model.state_dict())
    assert masks_of(other) == masks_of(model)
    x = images(4)
    assert torch.equal(other.eval()(x), model.eval()(x))


def test_a_layer_the_model_does_not_have_is_an_error_and_changes_nothing():
    model = network()
    good = random_masks(model)["0.weight"]
    for wrong, words in (
        (Masks({"0.weight": good, "4.weights": good}), "Did you mean '4.weight'"),
        (Masks({"0.weight": good, "4.weight": good}), "shape"),
    ):
        for use in (apply_masks, lambda m, k: hold_masks(m, k).__enter__()):
            with pytest.raises(ValueError, match=words):
                use(model, wrong)
            assert not prune.is_pruned(model)
            assert (model[0].weight != 0).all()


def test_a_model_with_nothing_to_prune_or_remove_is_an_error():
    with pytest.raises(ValueError, match="linear or convolution"):
        masks_of(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match="must have a mask to remove"):
        remove_masks(network())
