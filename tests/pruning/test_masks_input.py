"""Masks given what they must refuse: the error names the parameter, what was needed, what came."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from causalprune_lib.nets.parameters import ParameterLayout
from causalprune_lib.pruning.masks import (
    Masks,
    apply_masks,
    jaccard,
    masks_of,
    remove_masks,
)

FOUR = ParameterLayout(("fc",), (torch.Size([4]),))


@pytest.fixture
def saved(tmp_path):
    """A file of masks of 5000 weights."""
    random = torch.rand(5000, generator=torch.Generator().manual_seed(0))
    Masks({"w": random < 0.5}).save(tmp_path / "m.npz")
    return tmp_path / "m.npz"


@pytest.mark.parametrize("value", [torch.ones(2), torch.ones(2, dtype=torch.int64), [True], None])
def test_a_mask_that_is_not_boolean_is_an_error_that_names_the_layer(value):
    with pytest.raises(TypeError, match=r"keep\['fc'\].*torch\.bool"):
        Masks({"fc": value})


def test_masks_without_layers_or_names_are_errors():
    with pytest.raises(ValueError, match="at least one layer"):
        Masks({})
    with pytest.raises(TypeError, match="mapping"):
        Masks(torch.tensor([True]))


def test_masks_cannot_be_changed_or_hashed():
    masks = Masks({"a": torch.tensor([True, False])})
    with pytest.raises(dataclasses.FrozenInstanceError):
        masks.keep = {}
    with pytest.raises(TypeError):
        masks["a"] = torch.tensor([True, True])
    with pytest.raises(TypeError):
        hash(masks)


@pytest.mark.parametrize(
    ("indices", "error", "words"),
    [
        ([5], ValueError, r"0\.\.3; got 5"),
        ([-1], ValueError, r"0\.\.3; got -1"),
        ([1, 1], ValueError, "distinct"),
        ([0.5], TypeError, r"whole numbers.*torch\.float32"),
        ([[1], [2]], TypeError, r"one flat sequence.*\(2, 1\)"),
    ],
)
def test_wrong_indices_are_errors(indices, error, words):
    with pytest.raises(error, match=words):
        Masks.from_indices(FOUR, indices)
    assert Masks.from_indices(FOUR, []).n_kept == 4


def test_a_flat_vector_of_another_length_or_type_is_an_error():
    with pytest.raises(ValueError, match=r"shape \(4\)"):
        Masks.from_flat(FOUR, torch.ones(3) != 0)
    with pytest.raises(TypeError, match=r"torch\.bool"):
        Masks.from_flat(FOUR, torch.ones(4))


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_a_truncated_file_is_an_error_that_names_it(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"whole file.*m\.npz"):
        Masks.load(saved)


def test_a_flipped_bit_or_another_archive_or_none_is_an_error(saved):
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ValueError, match="whole file"):
        Masks.load(saved)
    np.savez(saved, weights=np.ones(3))
    with pytest.raises(ValueError, match="whole file"):
        Masks.load(saved)
    with pytest.raises(FileNotFoundError):
        Masks.load(saved.with_name("absent.npz"))


@pytest.mark.parametrize("use", [jaccard, lambda a, b: a & b])
def test_layers_that_do_not_match_are_named_with_the_nearest(use):
    one = Masks({"conv1.weight": torch.ones(2) != 0})
    with pytest.raises(ValueError, match=r"got 'conv2.weight'. Did you mean 'conv1.weight'"):
        use(one, Masks({"conv2.weight": torch.ones(2) != 0}))
    with pytest.raises(ValueError, match="shape"):
        use(one, Masks({"conv1.weight": torch.ones(3) != 0}))
    with pytest.raises(ValueError, match="fc"):
        use(Masks({**one, "fc": torch.ones(1) != 0}), one)


def test_an_unknown_set_is_an_error():
    masks = Masks({"a": torch.tensor([True])})
    with pytest.raises(ValueError, match="Did you mean 'kept'"):
        jaccard(masks, masks, of="keep")


def test_a_layer_the_model_does_not_have_is_an_error_and_changes_nothing(convnet, masks_for):
    model = convnet()
    good = masks_for(model)["0.weight"]
    for wrong, words in (
        (Masks({"0.weight": good, "4.weights": good}), "Did you mean '4.weight'"),
        (Masks({"0.weight": good, "4.weight": good}), "shape"),
    ):
        with pytest.raises(ValueError, match=words):
            apply_masks(model, wrong)
        assert not prune.is_pruned(model)
        assert (model[0].weight != 0).all()


def test_a_model_with_nothing_to_prune_or_remove_is_an_error(convnet):
    with pytest.raises(ValueError, match="linear or convolution"):
        masks_of(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match="must have a mask to remove"):
        remove_masks(convnet())
