"""Masks where torch.nn.utils.prune needs help: shared weights, attention, copies of a model."""

import copy

import pytest
import torch
from torch import nn

from causalprune_lib._random import seeded
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import apply_masks, clone_model, masks_of, remove_masks
from causalprune_lib.pruning.select import masks_from_scores


def random_masks(model, amount):
    layout = ParameterLayout.of(model)
    scores = torch.rand(layout.size, generator=torch.Generator().manual_seed(1))
    return masks_from_scores(layout.unflatten(scores), amount)


def mlp():
    with seeded(0):
        return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


def inputs(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def train(model, x, steps=3):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("embedding", [False, True])
def test_a_shared_weight_is_masked_wherever_it_is_used(embedding):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Embedding(5, 4) if embedding else nn.Linear(4, 5)
            self.last = nn.Linear(4, 5)
            self.last.weight = self.first.weight

        def forward(self, x):
            return self.last(self.first(x)[:, :4])

    model = Tied()
    masks = random_masks(model, 0.5)
    assert masks.n == 20
    x = torch.tensor([0, 1, 2]) if embedding else inputs(3, 4)
    train(apply_masks(model, masks), x)
    model(x)
    (keep,) = masks.values()
    for module in (model.first, model.last):
        assert (module.weight[~keep] == 0).all()
        assert (module.weight[keep] != 0).all()
    remove_masks(model)
    assert model.first.weight is model.last.weight
    assert (model.first.weight[~keep] == 0).all()


def test_attention_uses_and_trains_the_masked_projection():
    # nn.MultiheadAttention reads out_proj.weight without calling out_proj.
    with seeded(0):
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    masks = random_masks(layer, 0.5)
    assert "self_attn.out_proj.weight" in masks
    x = inputs(2, 3, 8)
    train(apply_masks(layer, masks), x)
    trained = masks.layout.flatten(layer)
    with torch.no_grad():
        masked_out = layer.eval()(x)
        permanent = remove_masks(clone_model(layer)).eval()
        assert torch.allclose(permanent(x), masked_out, atol=1e-6)
    assert torch.equal(masks.layout.flatten(permanent), trained)
    assert (trained[~masks.flat()] == 0).all()
    assert not permanent.self_attn._forward_pre_hooks


def test_clone_of_a_masked_model_is_equal_and_independent():
    model, x = mlp(), inputs(5, 4)
    masks = random_masks(model, 0.5)
    train(apply_masks(model, masks), x)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)  # the reason why clone_model exists
    before = masks.layout.flatten(model)
    twin = clone_model(model)  # after a step, before the next forward pass
    assert torch.equal(twin[0].weight, twin[0].weight_orig * masks["0.weight"])
    assert torch.equal(twin(x), model(x))
    assert masks_of(twin) == masks
    train(twin, x)
    after, keep = masks.layout.flatten(twin), masks.flat()
    assert (after != before)[keep].float().mean() > 0.5
    assert (after[~keep] == 0).all()
    assert torch.equal(masks.layout.flatten(model), before)
    assert torch.equal(clone_model(mlp())[0].weight, mlp()[0].weight)
