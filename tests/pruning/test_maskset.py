"""The value type `Masks`: a frozen set of kept weights that survives copies and the disk."""

import copy
import dataclasses
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import Masks

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)
MASKS = st.lists(SHAPES.flatmap(lambda s: hnp.arrays(bool, s)), min_size=1, max_size=4).map(
    lambda arrays: Masks({f"net.{i}.weight": torch.from_numpy(a) for i, a in enumerate(arrays)})
)


@pytest.fixture
def masks():
    return Masks({"a": torch.tensor([[True, False], [False, False]]), "b": torch.zeros(3) != 0})


@settings(max_examples=40, deadline=None)
@given(masks=MASKS)
def test_save_and_load_give_back_every_bit_name_and_shape(masks):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deep" / "masks.npz"
        masks.save(path)
        back = Masks.load(path)
        assert back == masks
        assert list(back) == list(masks)
        assert [p.name for p in path.parent.iterdir()] == ["masks.npz"]


@settings(max_examples=40, deadline=None)
@given(masks=MASKS)
def test_flat_and_indices_hold_the_same_information_as_the_mapping(masks):
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


def test_a_saved_mask_takes_one_bit_per_weight(tmp_path):
    generator = torch.Generator().manual_seed(0)
    masks = Masks({"w": torch.rand(400, 200, generator=generator) < 0.5})
    masks.save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").stat().st_size < 80_000 / 8 + 1000


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, masks, keep):
    path = tmp_path / "m.npz"
    masks.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"m\.npz"):
        Masks.load(path)


def test_a_flipped_bit_or_another_archive_is_an_error(tmp_path, masks):
    path = tmp_path / "m.npz"
    big = Masks({"w": torch.rand(5000, generator=torch.Generator().manual_seed(0)) < 0.5})
    big.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="whole file"):
        Masks.load(path)
    np.savez(path, weights=np.ones(3))
    with pytest.raises(ValueError, match="whole file"):
        Masks.load(path)
    with pytest.raises(FileNotFoundError):
        Masks.load(tmp_path / "absent.npz")


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, masks, monkeypatch):
    path = tmp_path / "m.npz"
    masks.save(path)

    def full_disk(stream, **_):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="No space"):
        Masks({"c": torch.ones(2) != 0}).save(path)
    assert Masks.load(path) == masks
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_masks_are_frozen_and_do_not_share_memory_with_what_they_were_made_of(masks):
    source = torch.tensor([True, False])
    made = Masks({"w": source})
    flat = torch.tensor([True, True])
    from_flat = Masks.from_flat(made.layout, flat)
    source[:] = False
    flat[:] = False
    assert made["w"].tolist() == [True, False]
    assert from_flat["w"].tolist() == [True, True]
    with pytest.raises(dataclasses.FrozenInstanceError):
        masks.keep = {}
    with pytest.raises(TypeError):
        masks["a"] = source


def test_copies_through_pickle_and_deepcopy_are_equal(masks):
    assert pickle.loads(pickle.dumps(masks)) == masks
    assert copy.deepcopy(masks) == masks
    assert masks.to("cpu") == masks


def test_equality_is_about_names_shapes_and_bits_but_not_about_order():
    a, b = torch.tensor([True, False]), torch.tensor([False, False])
    assert Masks({"a": a, "b": b}) == Masks({"b": b, "a": a})
    assert Masks({"a": a}) != Masks({"b": a})
    assert Masks({"a": a}) != Masks({"a": a, "b": b})
    assert Masks({"a": a}) != Masks({"a": a.reshape(2, 1)})
    assert Masks({"a": a}) != Masks({"a": ~a})
    assert Masks({"a": a}) != {"a": a}
    with pytest.raises(TypeError):
        hash(Masks({"a": a}))


def test_and_keeps_what_both_keep_whatever_the_order_of_the_layers():
    a = Masks({"x": torch.tensor([True, True]), "y": torch.tensor([True, False])})
    b = Masks({"y": torch.tensor([True, True]), "x": torch.tensor([False, True])})
    both = Masks({"x": torch.tensor([False, True]), "y": torch.tensor([True, False])})
    assert a & b == both
    assert b & a == both


def test_flat_follows_the_layout_it_is_given(masks):
    layout = ParameterLayout(("b", "a"), (torch.Size([3]), torch.Size([2, 2])))
    assert masks.flat(layout).tolist() == [False] * 3 + [True] + [False] * 3


def test_layers_that_do_not_match_are_named_with_the_nearest():
    one = Masks({"conv1.weight": torch.ones(2) != 0})
    other = Masks({"conv2.weight": torch.ones(2) != 0})
    with pytest.raises(ValueError, match=r"got 'conv2.weight'. Did you mean 'conv1.weight'"):
        one & other
    two = ParameterLayout(("conv1.weight", "fc"), (torch.Size([2]), torch.Size([1])))
    with pytest.raises(ValueError, match="fc"):
        one.flat(two)
    with pytest.raises(ValueError, match="shape"):
        one & Masks({"conv1.weight": torch.ones(3) != 0})


@pytest.mark.parametrize("value", [torch.ones(2), torch.ones(2, dtype=torch.int64), [True], None])
def test_a_mask_that_is_not_boolean_is_an_error_that_names_the_layer(value):
    with pytest.raises(TypeError, match=r"keep\['fc'\].*torch\.bool"):
        Masks({"fc": value})


def test_masks_without_layers_or_names_are_errors():
    with pytest.raises(ValueError, match="at least one layer"):
        Masks({})
    with pytest.raises(TypeError, match="mapping"):
        Masks(torch.tensor([True]))


@pytest.mark.parametrize(
    ("indices", "error", "words"),
    [
        ([5], ValueError, r"0\.\.3"),
        ([-1], ValueError, r"0\.\.3"),
        ([1, 1], ValueError, "distinct"),
        ([0.5], TypeError, "whole numbers"),
    ],
)
def test_wrong_indices_are_errors(indices, error, words):
    layout = ParameterLayout(("fc",), (torch.Size([4]),))
    with pytest.raises(error, match=words):
        Masks.from_indices(layout, indices)
    assert Masks.from_indices(layout, []).n_kept == 4


def test_a_flat_vector_of_another_length_or_type_is_an_error():
    layout = ParameterLayout(("fc",), (torch.Size([4]),))
    with pytest.raises(ValueError, match=r"shape \(4\)"):
        Masks.from_flat(layout, torch.ones(3) != 0)
    with pytest.raises(TypeError, match=r"torch\.bool"):
        Masks.from_flat(layout, torch.ones(4))
