"""`Masks`, alone and on models: zeros that survive any optimizer, beside torch's own pruning."""

import copy
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import jaccard_score
from torch import nn
from torch.nn.utils import prune

from causalprune_lib._random import seeded
from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import (
    Masks,
    apply_masks,
    clone_model,
    jaccard,
    masks_of,
    remove_masks,
)

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum and decay": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True
    ),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
}
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)
MASKS = st.lists(SHAPES.flatmap(lambda s: hnp.arrays(bool, s)), min_size=1, max_size=3).map(
    lambda arrays: Masks({f"net.{i}.weight": torch.from_numpy(a) for i, a in enumerate(arrays)})
)
PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20)


def noise(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def train(model, optimizer, x, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return model


def moved_share(before, after, masks):
    """Share of the kept weights that differ: not all, for what a dead filter feeds stands still."""
    return (before != after)[masks.flat()].float().mean()


# ---- The value: a frozen mapping that survives copies and the disk.


@settings(max_examples=15, deadline=None)
@given(masks=MASKS)
def test_every_form_holds_the_same_information(masks):
    flat = masks.flat()
    assert Masks.from_flat(masks.layout, flat) == masks
    pruned = (~flat).nonzero().squeeze(1)
    assert Masks.from_indices(masks.layout, pruned.flip(0).tolist()) == masks
    assert masks.n_kept == int(flat.sum())
    assert masks.amount == pytest.approx(1 - masks.n_kept / masks.n, abs=1e-12)
    counts = masks.counts()
    assert counts["kept"].sum() == masks.n_kept
    assert counts["weights"].sum() == masks.n
    assert tuple(counts.query("kept == 0")["layer"]) == masks.empty_layers()
    assert pickle.loads(pickle.dumps(masks)) == copy.deepcopy(masks) == masks.to("cpu") == masks
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deep" / "masks.npz"
        masks.save(path)
        back = Masks.load(path)
        assert back == masks
        assert list(back) == list(masks)
        assert [p.name for p in path.parent.iterdir()] == ["masks.npz"]


def test_a_saved_mask_takes_one_bit_per_weight(tmp_path):
    Masks({"w": noise(400, 200) < 0}).save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").stat().st_size < 80_000 / 8 + 1000


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path, masks = tmp_path / "m.npz", Masks({"a": torch.tensor([True, False])})
    masks.save(path)

    def full_disk(stream, **_):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="No space"):
        Masks({"c": torch.ones(2) != 0}).save(path)
    assert Masks.load(path) == masks
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_masks_do_not_share_memory_with_what_they_were_made_of():
    source, flat = torch.tensor([True, False]), torch.tensor([True, True])
    made = Masks({"w": source})
    from_flat = Masks.from_flat(made.layout, flat)
    source[:] = False
    flat[:] = False
    assert made["w"].tolist() == [True, False]
    assert from_flat["w"].tolist() == [True, True]


def test_equality_is_about_names_shapes_and_bits_but_not_about_order():
    a, b = torch.tensor([True, False]), torch.tensor([False, False])
    assert Masks({"a": a, "b": b}) == Masks({"b": b, "a": a})
    for other in ({"b": a}, {"a": a, "b": b}, {"a": a.reshape(2, 1)}, {"a": ~a}):
        assert Masks({"a": a}) != Masks(other)
        assert Masks(other) != Masks({"a": a})
    assert Masks({"a": a}) != {"a": a}


def test_and_keeps_what_both_keep_whatever_the_order_of_the_layers():
    a = Masks({"x": torch.tensor([True, True]), "y": torch.tensor([True, False])})
    b = Masks({"y": torch.tensor([True, True]), "x": torch.tensor([False, True])})
    both = Masks({"x": torch.tensor([False, True]), "y": torch.tensor([True, False])})
    assert a & b == b & a == both


def test_flat_follows_the_layout_it_is_given():
    masks = Masks({"a": torch.tensor([[True, False], [False, False]]), "b": torch.zeros(3) != 0})
    layout = ParameterLayout(("b", "a"), (torch.Size([3]), torch.Size([2, 2])))
    assert masks.flat(layout).tolist() == [False] * 3 + [True] + [False] * 3


# ---- On a model.


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_in_use_stay_zero_and_kept_ones_move(name, convnet, masks_for):
    model, x = convnet(), noise(16, 1, 6, 6)
    optimizer = OPTIMIZERS[name](model.parameters())  # made before the masks
    train(model, optimizer, x, steps=2)  # so that momentum is under way
    masks = masks_for(model)
    layout, keep = masks.layout, masks.flat()
    start = layout.flatten(apply_masks(model, masks))
    train(model, optimizer, x, steps=6)
    end = layout.flatten(model)
    assert (end[~keep] == 0).all()
    assert moved_share(start, end, masks) > 0.5
    model.eval()(x)
    for name, mask in masks.items():  # what the forward pass has used
        weight = model.get_submodule(name.removesuffix(".weight")).weight
        assert (weight[~mask] == 0).all()
    remove_masks(model)
    assert torch.equal(layout.flatten(model), end)
    assert set(dict(model.named_parameters())) == set(dict(convnet().named_parameters()))
    assert set(model.state_dict()) == set(convnet().state_dict())


def test_once_or_twice_apply_leaves_what_torch_prune_leaves(convnet, masks_for):
    ours, theirs = convnet(), convnet()
    first, second = masks_for(ours, seed=1), masks_for(ours, seed=2)
    for masks, expected in ((first, first), (second, first & second)):
        assert apply_masks(ours, masks) is ours
        for name, mask in masks.items():
            module = theirs.get_submodule(name.removesuffix(".weight"))
            prune.custom_from_mask(module, "weight", mask)
        assert prune.is_pruned(ours)
        a, b = ours.state_dict(), theirs.state_dict()
        assert list(a) == list(b)
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert torch.equal(ours[4].weight, theirs[4].weight)
        assert masks_of(ours) == masks_of(theirs) == expected


def test_torch_prune_can_go_on_where_we_stopped_and_the_other_way_round(convnet, masks_for):
    model = convnet()
    masks = masks_for(model)
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


def test_masks_of_a_plain_model_keep_everything_even_zeros(convnet):
    model = convnet()
    with torch.no_grad():
        model[4].weight.zero_()
    assert masks_of(model).amount == 0
    assert list(masks_of(model)) == ["0.weight", "4.weight"]


def test_masks_may_cover_some_layers_and_biases(convnet):
    model = convnet()
    apply_masks(model, Masks({"4.bias": torch.tensor([True, False, True])}))
    train(model, OPTIMIZERS["adam"](model.parameters()), noise(4, 1, 6, 6), steps=3)
    assert model[4].bias[1] == 0
    assert not hasattr(model[4], "weight_mask")
    assert masks_of(model).amount == 0
    remove_masks(model)
    assert "bias" in dict(model[4].named_parameters())


def test_masked_state_goes_through_a_state_dict(convnet, masks_for):
    model, other, x = convnet(), convnet(), noise(4, 1, 6, 6)
    apply_masks(model, masks_for(model, seed=1))
    train(model, OPTIMIZERS["sgd"](model.parameters()), x, steps=3)
    apply_masks(other, masks_for(other, seed=2))
    other.load_state_dict(model.state_dict())
    assert masks_of(other) == masks_of(model)
    assert torch.equal(other.eval()(x), model.eval()(x))


@pytest.mark.parametrize("embedding", [False, True])
def test_a_shared_weight_is_masked_wherever_it_is_used(embedding, masks_for):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Embedding(5, 4) if embedding else nn.Linear(4, 5)
            self.last = nn.Linear(4, 5)
            self.last.weight = self.first.weight

        def forward(self, x):
            return self.last(self.first(x)[:, :4])

    model = Tied()
    masks = masks_for(model, 0.5)
    assert masks.n == 20
    x = torch.tensor([0, 1, 2]) if embedding else noise(3, 4)
    train(apply_masks(model, masks), OPTIMIZERS["adamw"](model.parameters()), x, steps=3)
    model(x)
    (keep,) = masks.values()
    for module in (model.first, model.last):
        assert (module.weight[~keep] == 0).all()
        assert (module.weight[keep] != 0).all()
    remove_masks(model)
    assert model.first.weight is model.last.weight
    assert (model.first.weight[~keep] == 0).all()


def test_attention_uses_and_trains_the_masked_projection(masks_for):
    # nn.MultiheadAttention reads out_proj.weight without calling out_proj.
    with seeded(0):
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    masks = masks_for(layer, 0.5)
    assert "self_attn.out_proj.weight" in masks
    x = noise(2, 3, 8)
    train(apply_masks(layer, masks), OPTIMIZERS["adamw"](layer.parameters()), x, steps=3)
    trained = masks.layout.flatten(layer)
    with torch.no_grad():
        masked_out = layer.eval()(x)
        permanent = remove_masks(clone_model(layer)).eval()
        # Layer norms make outputs of size 1; a few hundred roundings of them.
        assert torch.allclose(permanent(x), masked_out, rtol=0, atol=1e-5)
    assert torch.equal(masks.layout.flatten(permanent), trained)
    assert (trained[~masks.flat()] == 0).all()
    assert not permanent.self_attn._forward_pre_hooks


def test_clone_of_a_masked_model_is_equal_and_independent(convnet, masks_for):
    model, x = convnet(), noise(5, 1, 6, 6)
    masks = masks_for(model, 0.5)
    train(apply_masks(model, masks), OPTIMIZERS["adamw"](model.parameters()), x, steps=3)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)  # the reason why clone_model exists
    before = masks.layout.flatten(model)
    twin = clone_model(model)  # after a step, before the next forward pass
    assert torch.equal(twin[4].weight, twin[4].weight_orig * masks["4.weight"])
    assert torch.equal(twin(x), model(x))
    assert masks_of(twin) == masks
    train(twin, OPTIMIZERS["adamw"](twin.parameters()), x, steps=3)
    after = masks.layout.flatten(twin)
    assert moved_share(before, after, masks) > 0.5
    assert (after[~masks.flat()] == 0).all()
    assert torch.equal(masks.layout.flatten(model), before)
    assert torch.equal(clone_model(convnet())[0].weight, convnet()[0].weight)


# ---- The overlap of two masks.


@settings(max_examples=15, deadline=None)
@given(bits=PAIRS)
def test_jaccard_is_symmetric_and_agrees_with_scikit_learn(bits):
    x, y = np.array(bits).T
    cut = len(bits) // 2 + 1
    a = Masks({"x": torch.tensor(x[:cut]), "y": torch.tensor(x[cut:])})
    b = Masks({"y": torch.tensor(y[cut:]), "x": torch.tensor(y[:cut])})  # in another order
    for of, (p, q) in {"kept": (x, y), "pruned": (~x, ~y)}.items():
        expected = jaccard_score(p, q) if (p | q).any() else 1.0
        assert jaccard(a, b, of=of) == pytest.approx(expected, abs=1e-12)
        assert jaccard(a, b, of=of) == jaccard(b, a, of=of)
        assert jaccard(a, a, of=of) == 1.0
