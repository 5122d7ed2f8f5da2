"""`masks_from_scores` given what it must refuse or have a rule for: NaN, amounts, collapse."""

import warnings

import pytest
import torch

from causalprune_lib.pruning.masks import Masks
from causalprune_lib.pruning.select import LayerCollapseWarning, masks_from_scores


@pytest.mark.filterwarnings("ignore::causalprune_lib.pruning.select.LayerCollapseWarning")
def test_nan_is_an_error_that_counts_them_by_layer_or_has_the_rank_it_is_given():
    nan = float("nan")
    scores = {
        "a": torch.tensor([1.0, 2.0]),
        "b": torch.tensor([nan, 5.0]),
        "c": torch.tensor([nan, nan]),
    }
    with pytest.raises(ValueError, match=r"1 in layer 'b', 2 in layer 'c'"):
        masks_from_scores(scores, 0.5)
    prune = masks_from_scores(scores, 3, nan="prune")
    assert prune.flat().tolist() == [True, True, False, True, False, False]
    keep = masks_from_scores(scores, 3, nan="keep")
    assert keep.flat().tolist() == [False, False, True, False, True, True]
    assert masks_from_scores(scores, 4, within=prune).n_kept == 2  # only pruned weights are NaN


@pytest.mark.parametrize(
    ("amount", "error"),
    [
        (-0.1, ValueError),
        (1.1, ValueError),
        (float("nan"), ValueError),
        (-1, ValueError),
        (7, ValueError),
        (None, ValueError),
        ("0.5", TypeError),
        (True, TypeError),
    ],
)
def test_an_amount_out_of_range_is_an_error_that_names_it(amount, error):
    scores = {"a": torch.arange(4.0), "b": torch.arange(2.0)}
    with pytest.raises(error, match="amount"):
        masks_from_scores(scores, amount)


def test_a_count_larger_than_one_layer_names_the_layer():
    scores = {"a": torch.arange(4.0), "b": torch.arange(2.0)}
    with pytest.raises(ValueError, match=r"2 weights of layer 'b'; got 3"):
        masks_from_scores(scores, 3, scope="layer")


def test_an_amount_below_what_is_pruned_already_is_an_error():
    scores = {"a": torch.arange(4.0)}
    before = masks_from_scores(scores, 3)
    with pytest.raises(ValueError, match=r"at least the 3 weights"):
        masks_from_scores(scores, 0.5, within=before)
    like = masks_from_scores(scores, 1)
    with pytest.raises(ValueError, match=r"at most the 1 weights of layer 'a'"):
        masks_from_scores(scores, scope="like", like=like, within=before)


LIKE = Masks({"a": torch.arange(4) > 0})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scope": "like"}, "like and scope='like' must come together; got scope='like'"),
        ({"like": LIKE, "amount": 0.5}, "like and scope='like' must come together"),
        ({}, "amount must be given, unless scope='like'"),
        ({"scope": "like", "like": LIKE, "amount": 0.5}, "amount must be None .* got 0.5"),
        ({"scope": "like", "like": LIKE, "floor": 1}, "floor must be 0 with scope='like'"),
        ({"scope": "layers", "amount": 0.5}, "Did you mean 'layer'"),
        ({"amount": 0.5, "nan": "ignore"}, "nan must be one of 'error', 'keep', 'prune'"),
        ({"amount": 0.5, "floor": -1}, "floor must be >= 0; got -1"),
        ({"amount": 0.5, "floor": 1.5}, r"floor must be in \[0, 1\]; got 1.5"),
        ({"amount": 0.5, "within": Masks({"b": torch.ones(4) != 0})}, "layer .* got 'b'"),
        ({"amount": 0.5, "within": Masks({"a": torch.ones(3) != 0})}, "shape"),
    ],
)
def test_options_that_contradict_each_other_are_errors(options, words):
    with pytest.raises(ValueError, match=words):
        masks_from_scores({"a": torch.arange(4.0)}, **options)


@pytest.mark.parametrize(
    ("scores", "error"),
    [
        (torch.ones(3), TypeError),
        ({"a": [1.0]}, TypeError),
        ({"a": torch.ones(2) * 1j}, TypeError),
        ({}, ValueError),
        ({"a": torch.ones(0)}, ValueError),
    ],
)
def test_scores_that_are_no_tensors_by_name_are_errors(scores, error):
    with pytest.raises(error, match="scores"):
        masks_from_scores(scores, 0.5)


def test_a_collapsing_layer_is_reported_and_a_floor_prevents_it():
    scores = {"small": torch.full((10,), 0.1), "large": torch.ones(90)}
    with pytest.warns(LayerCollapseWarning, match="'small'"):
        masks = masks_from_scores(scores, 0.5)
    assert masks.empty_layers() == ("small",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        floored = masks_from_scores(scores, 0.5, floor=0.3)
        assert masks_from_scores(scores, 1.0).n_kept == 0  # asked for
        assert masks_from_scores(scores, scope="like", like=masks) == masks  # known already
        masks_from_scores(scores, 0.6, within=masks)  # reported in the round before
    assert floored.counts()["kept"].tolist() == [3, 47]
